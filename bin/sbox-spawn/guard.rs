//! Directories of the host that the command may write, and what in them the *user* runs later.
//!
//! An agent that may edit a project could leave a git hook, an editor's task or a line for direnv there, and wait. What of
//! that kind exists becomes read-only for the sandbox, at any depth; a repository's `.git` becomes a mount, so that it can
//! be neither moved nor swapped; a project's `.sbox` is covered. Programs that are set-uid lose that. Mounts need something to be put on, and making it would
//! leave files behind: what does not exist yet is watched for ([`crate::warden`]). It is moved out of the way under a name
//! that nothing runs, and told. What an agent must be able to make, and a user may run (repositories, programs of
//! packages), is told and left.

use crate::args::{Args, Mount};
use crate::op::Op;
use libsbox::dir::Dir;
use libsbox::error::Result;
use libsbox::escape::visible_path;
use libsbox::output;
use rustix::fs::FileType;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Files and directories that programs of the user's obey: direnv, editors, coding agents, shells.
const OBEYED: [&str; 16] = [
    ".envrc",
    ".vscode",
    ".idea",
    ".claude",
    ".mcp.json",
    ".bashrc",
    ".bash_profile",
    ".bash_login",
    ".bash_logout",
    ".profile",
    ".zshrc",
    ".zshenv",
    ".zprofile",
    ".zlogin",
    ".zlogout",
    ".inputrc",
];

/// In a repository's `.git`: `commondir` and `config.worktree` lead git(1) to another configuration (gitrepository-layout(5)).
const OF_GIT: [&str; 4] = ["hooks", "config", "config.worktree", "commondir"];

/// Directories whose programs are run by name: of Node.js packages and of Python's virtual environments.
const PROGRAMS: [(&str, &str); 4] = [("node_modules", ".bin"), (".venv", "bin"), ("venv", "bin"), ("env", "bin")];

/// Directories and depth that are looked at; a start must not take minutes.
const MOST: usize = 100_000;
const DEEPEST: usize = 64;

/// What a look at a directory found, by path below it.
#[derive(Debug, Default)]
struct Found {
    obeyed: BTreeMap<PathBuf, Thing>,
    repositories: BTreeMap<PathBuf, Thing>,
    states: BTreeMap<PathBuf, Thing>,
    programs: BTreeMap<PathBuf, Thing>,
    looked: usize,
}

/// One of them.
#[derive(Debug, Clone, Copy)]
struct Thing {
    kind: FileType,
    inode: u64,
    /// The time of the last change of any kind, which nobody can set.
    changed: (i64, i64),
}

/// The writable directories of a sandbox.
pub struct Guard(Vec<Place>);

struct Place {
    src: PathBuf,
    dst: PathBuf,
    before: Found,
    /// A second before it was looked at first, since 1970: the clock that files are stamped with lags a little.
    since: i64,
}

impl Guard {
    /// Looks at every directory that is bound read-write.
    pub fn look(args: &Args) -> Result<Guard> {
        let mut places = Vec::new();
        for mount in &args.mounts {
            let Mount::Bind { src, dst, read_only: false } = mount else { continue };
            let Ok(src) = src.canonicalize() else { continue };
            if src.is_dir() {
                let before = look(&src)?;
                if before.looked >= MOST {
                    output::warn(format_args!("'{}' is too large to look at all of it", visible_path(&src)));
                    output::hint(
                        "what programs of yours obey is protected in its first directories only; mount a smaller one",
                    );
                }
                places.push(Place { src, dst: dst.clone(), before, since: libsbox::time::now() as i64 - 1 });
            }
        }
        Ok(Guard(places))
    }

    /// Whether there is nothing to guard.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The directories, in the order of their numbers.
    pub fn sources(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().map(|place| &*place.src)
    }

    /// A directory below one of them, through no link.
    pub fn open(&self, number: usize, path: &Path) -> Option<Dir> {
        Dir::open(&self.0.get(number)?.src).ok()?.sub(path).ok()
    }

    /// Whether what is in a directory is of interest. Not a project's state: it is covered, and in it lie the ways that
    /// sbox itself makes to the directories of a sandbox.
    pub fn walks_into(path: &Path) -> bool {
        let (above, name) = (path.parent().unwrap_or(Path::new("")), path.file_name().unwrap_or_default());
        if name == ".sbox" {
            return false;
        }
        path.components().count() < DEEPEST && !(is_git_directory(above) && (is_bulk(name) || name == "hooks"))
    }

    /// Something was made: moves it away if the user's programs would obey it, and nobody may have it there. Tells whether
    /// it did.
    pub fn met(&self, number: usize, path: &Path) -> bool {
        let Some(place) = self.0.get(number) else { return false };
        let (above, name) = (path.parent().unwrap_or(Path::new("")), path.file_name().unwrap_or_default());
        let is_obeyed =
            |name: &str| name == ".sbox" || OBEYED.contains(&name) || is_git_directory(above) && OF_GIT.contains(&name);
        let known = || place.before.obeyed.contains_key(path) || place.before.states.contains_key(path);
        if let Some(dir) = self.open(number, if above.as_os_str().is_empty() { Path::new(".") } else { above }) {
            place.take_set_id(&dir, path);
        }
        if !name.to_str().is_some_and(is_obeyed) || known() || place.is_new_repositorys(path) {
            return false;
        }
        place.set_aside(path);
        true
    }

    /// The operations that protect what is in the directory bound at `dst`.
    pub fn ops(&self, bound: &Path) -> Vec<Op> {
        let mut ops = Vec::new();
        for Place { dst, before, .. } in self.0.iter().filter(|place| place.dst == bound) {
            // No mount can be put on a link. Another one in its place is found at the end.
            let solid = |things: &BTreeMap<PathBuf, Thing>| -> Vec<(PathBuf, bool)> {
                let solid = things
                    .iter()
                    .filter(|(_, thing)| matches!(thing.kind, FileType::Directory | FileType::RegularFile));
                solid.map(|(path, thing)| (dst.join(path), thing.kind == FileType::Directory)).collect()
            };
            for (dst, is_directory) in solid(&before.repositories) {
                // A file is the way to a repository elsewhere (a worktree's, a submodule's).
                ops.push(if is_directory { Op::SelfBind { dst } } else { Op::RemountReadOnly { dst } });
            }
            ops.extend(solid(&before.obeyed).into_iter().map(|(dst, _)| Op::RemountReadOnly { dst }));
            ops.extend(solid(&before.states).into_iter().map(|(dst, is_directory)| match is_directory {
                true => Op::Tmpfs { dst, mode: 0o755, seal: true, size: None },
                false => Op::Mask { dst },
            }));
        }
        ops
    }

    /// After the end: moves away what was planted, and tells it.
    pub fn report(&self) {
        for place in &self.0 {
            let Ok(after) = look(&place.src) else {
                output::warn(format_args!("cannot look at what was left in '{}'", visible_path(&place.src)));
                continue;
            };
            let before = &place.before;
            for (now, then) in [(&after.obeyed, &before.obeyed), (&after.states, &before.states)] {
                for (path, thing) in now {
                    match then.get(path) {
                        Some(old) if old.is_still(thing) => {}
                        // Perhaps the user did, in an editor that writes beside and renames.
                        Some(_) => place.warn(path, "was changed while the sandbox ran"),
                        None if is_allowed(path, &after, before) => {}
                        None => place.set_aside(path),
                    }
                }
            }
            place.tell(&after);
            if let Ok(dir) = Dir::open(&place.src) {
                place.take_all_set_ids(&dir, Path::new(""), 0);
            }
        }
    }
}

impl Thing {
    /// What is in a directory changes its own time only where names come and go; a file's time tells all.
    fn is_still(&self, now: &Thing) -> bool {
        self.inode == now.inode && (self.kind == FileType::Directory || self.changed == now.changed)
    }
}

/// What belongs to a new repository or worktree is told with that, and works.
fn is_allowed(path: &Path, after: &Found, before: &Found) -> bool {
    let new = |repository: &PathBuf| !before.repositories.contains_key(repository) && path.starts_with(repository);
    path.ancestors().any(|above| above.ends_with(".git/worktrees")) || after.repositories.keys().any(new)
}

impl Place {
    /// Whether a path is in the git directory of a repository that was not there before, or of a worktree.
    fn is_new_repositorys(&self, path: &Path) -> bool {
        let git = path.ancestors().skip(1).find(|above| above.ends_with(".git"));
        git.is_some_and(|git| !self.before.repositories.contains_key(git) || path.starts_with(git.join("worktrees")))
    }

    /// A program that is set-uid would run with the rights of whoever owns the directory, for anybody who starts it.
    fn take_set_id(&self, dir: &Dir, path: &Path) {
        let Some(name) = path.file_name() else { return };
        let is_new = dir.stat(name).ok().flatten().is_some_and(|stat| stat.st_ctime >= self.since);
        if is_new && dir.take_set_id(name) {
            let shown = visible_path(self.src.join(path));
            output::warn(format_args!("the sandbox made '{shown}' set-uid or set-gid; it is not any more"));
        }
    }

    fn take_all_set_ids(&self, dir: &Dir, place: &Path, depth: usize) {
        for entry in dir.entries().unwrap_or_default() {
            let path = place.join(&entry.name);
            if entry.kind == FileType::RegularFile {
                self.take_set_id(dir, &path);
            } else if let (FileType::Directory, true, Ok(sub)) =
                (entry.kind, depth < DEEPEST && entry.name != ".sbox", dir.sub(&entry.name))
            {
                self.take_all_set_ids(&sub, &path, depth + 1);
            }
        }
    }

    fn warn(&self, path: &Path, what: &str) {
        output::warn(format_args!("'{}' {what}: programs on this host obey it", visible_path(self.src.join(path))));
    }

    /// Gives what was planted a name that nothing obeys. Nothing is lost, whoever it belongs to.
    fn set_aside(&self, path: &Path) {
        let moved = (|| {
            let name = path.file_name()?;
            let dir = Dir::open(&self.src)
                .ok()?
                .sub(path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new(".")))
                .ok()?;
            (0..100).find_map(|number| {
                let mut to = name.to_owned();
                to.push(format!(".from-sandbox{}", if number == 0 { String::new() } else { format!("-{number}") }));
                dir.rename_new(name, &to).ok().map(|()| to)
            })
        })();
        // It may be gone again.
        let is_there = || std::fs::symlink_metadata(self.src.join(path)).is_ok();
        if moved.is_some() || is_there() {
            self.warn(path, "was left by the sandbox");
        }
        match moved {
            None if !is_there() => {}
            Some(name) => {
                output::hint(format_args!("it is called '{}' now; look at it before you take it", visible_path(name)))
            }
            None => output::hint("it could not be moved: look at it, or remove it"),
        }
    }

    /// What is allowed, and worth a look.
    fn tell(&self, after: &Found) {
        let exchanged = |(path, thing): &(&PathBuf, &Thing)| {
            self.before.repositories.get(*path).is_none_or(|old| old.inode != thing.inode)
        };
        for (path, _) in after.repositories.iter().filter(exchanged) {
            let shown = visible_path(self.src.join(path));
            output::warn(format_args!(
                "the sandbox made a repository: '{shown}'; its configuration and hooks are its own"
            ));
        }
        let changed = |(path, thing): &(&PathBuf, &Thing)| {
            let same = |old: &Thing| (old.inode, old.changed) == (thing.inode, thing.changed);
            !self.before.programs.get(*path).is_some_and(same)
        };
        let programs: Vec<_> = after.programs.iter().filter(changed).map(|(path, _)| path).collect();
        for path in programs.iter().take(10) {
            output::warn(format_args!(
                "the sandbox made or changed a program: '{}'",
                visible_path(self.src.join(path))
            ));
        }
        if programs.len() > 10 {
            output::warn(format_args!("... and {} more", programs.len() - 10));
        }
    }
}

fn look(src: &Path) -> Result<Found> {
    let mut found = Found::default();
    look_in(&Dir::open(src)?, Path::new(""), 0, &mut found);
    Ok(found)
}

/// A directory that cannot be read by the user has nothing in it that the user's programs obey.
fn look_in(dir: &Dir, place: &Path, depth: usize, found: &mut Found) {
    if found.looked >= MOST || depth > DEEPEST {
        return;
    }
    found.looked += 1;
    let of_git = is_git_directory(place);
    let runs = PROGRAMS.iter().any(|(above, name)| place.ends_with(Path::new(above).join(name)));
    for entry in dir.entries().unwrap_or_default() {
        let path = place.join(&entry.name);
        let name = entry.name.to_str().unwrap_or_default();
        let is_directory = entry.kind == FileType::Directory;
        let kept = match name {
            ".sbox" => Some(&mut found.states),
            ".git" => Some(&mut found.repositories),
            name if OBEYED.contains(&name) || of_git && OF_GIT.contains(&name) => Some(&mut found.obeyed),
            _ if runs && !is_directory => Some(&mut found.programs),
            _ => None,
        };
        let walk_on = name == ".git" || kept.is_none();
        if let Some(kept) = kept
            && let Ok(Some(stat)) = dir.stat(&entry.name)
        {
            let changed = (stat.st_ctime, stat.st_ctime_nsec as i64);
            kept.insert(path.clone(), Thing { kind: entry.kind, inode: stat.st_ino, changed });
        }
        if walk_on
            && is_directory
            && !(of_git && is_bulk(&entry.name))
            && let Ok(sub) = dir.sub(&entry.name)
        {
            look_in(&sub, &path, depth + 1, found);
        }
    }
}

/// `.git` itself, and the git directories of its submodules and worktrees.
fn is_git_directory(place: &Path) -> bool {
    let within = |above: &Path| above.ends_with(".git/modules") || above.ends_with(".git/worktrees");
    place.ends_with(".git") || place.ancestors().skip(1).any(within)
}

/// What git keeps its data in: many directories, nothing that is run.
fn is_bulk(name: &OsStr) -> bool {
    ["objects", "refs", "logs", "lfs"].iter().any(|bulk| name == *bulk)
}
