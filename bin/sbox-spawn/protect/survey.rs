//! What in a read-write mount programs of the host act on: looked for once, before the sandbox starts.
//!
//! Directories are looked at level by level, the nearest first, and each is opened by its path beneath the mount: no depth
//! takes a descriptor or a stack frame.

use libsbox::dir::{Dir, DirEntry};
use libsbox::error::Result;
use libsbox::git;
use libsbox::host_triggers::{self, HostTrigger, Weight};
use rustix::fd::AsFd;
use rustix::fs::{AtFlags, FileType, StatxFlags};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

/// Directories that are looked at; a start must not take minutes.
pub const MOST: usize = 100_000;

/// How deep they may lie.
const DEEPEST: usize = 1000;

/// Directories whose programs are run by name: of Node.js packages and of Python's virtual environments.
const PROGRAMS: [(&str, &str); 4] = [("node_modules", ".bin"), (".venv", "bin"), ("venv", "bin"), ("env", "bin")];

/// Which file it is, whatever its name: device, inode and the time it was made, since inodes are used again.
pub type Id = (u32, u32, u64, i64, u32);

/// What is known of one entry.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    pub kind: FileType,
    pub id: Id,
    /// The time of the last change of any kind, which nobody can set.
    pub changed: (i64, u32),
    /// When it was made, where the file system knows.
    pub born: Option<i64>,
    pub mode: u32,
    pub size: u64,
}

/// Why an entry is looked after.
#[derive(Debug, Clone, Copy)]
pub enum Class {
    /// A project's state, `.sbox`.
    State,
    /// `.git`, a directory or the file that leads to one.
    Repository,
    /// Of a repository: its configuration and hooks.
    OfGit,
    /// A line of the table.
    Trigger(&'static HostTrigger),
    /// A protected link or a repository's configuration leads to it.
    LedTo,
    /// A program that is run by name.
    Program,
}

impl Class {
    /// Whether it is kept from the agent, and not only reported.
    pub fn is_protected(self) -> bool {
        match self {
            Class::Trigger(trigger) => trigger.weight == Weight::Protected,
            Class::Program => false,
            _ => true,
        }
    }
}

/// One of them.
#[derive(Debug, Clone)]
pub struct Thing {
    pub facts: Facts,
    pub class: Class,
    /// Where a link leads.
    pub target: Option<PathBuf>,
}

/// What a look at a directory found, by path below it.
#[derive(Debug, Default)]
pub struct Survey {
    pub things: BTreeMap<PathBuf, Thing>,
    /// The same by identity, those that are protected.
    pub ids: HashSet<Id>,
    /// The same by where they are: the directory's identity and the name in it.
    pub places: HashMap<(Id, OsString), PathBuf>,
    /// Repositories' own directories.
    pub repositories: HashSet<Id>,
    /// What protected links and configurations lead to, whether it is there or not.
    pub led_to: BTreeSet<PathBuf>,
    /// Directories that cannot be listed.
    pub unlisted: Vec<PathBuf>,
    pub is_whole: bool,
}

/// What is known of an entry; a link is not followed.
pub fn facts(dir: impl AsFd, name: impl AsRef<Path>) -> Option<Facts> {
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    let stat = rustix::fs::statx(dir, name.as_ref(), AtFlags::SYMLINK_NOFOLLOW, wanted).ok()?;
    let has_birth = stat.stx_mask & StatxFlags::BTIME.bits() != 0;
    let born = if has_birth { (stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec) } else { (0, 0) };
    Some(Facts {
        kind: FileType::from_raw_mode(stat.stx_mode.into()),
        id: (stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino, born.0, born.1),
        changed: (stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec),
        born: has_birth.then_some(born.0),
        mode: stat.stx_mode.into(),
        size: stat.stx_size,
    })
}

/// The directory at `place` below `root`, however long the path is, and whoever of its owner's processes closed it.
pub fn open(root: &Dir, place: &Path) -> Result<Dir> {
    const LONGEST: usize = 2000;
    let mut here = root.sub(".")?;
    let mut rest = place;
    while rest.as_os_str().len() > LONGEST {
        let part: PathBuf = rest.components().take(8).collect();
        here = here.sub_lent_at(&part)?;
        rest = rest.strip_prefix(&part).unwrap_or(Path::new(""));
    }
    if rest.as_os_str().is_empty() { Ok(here) } else { here.sub_lent_at(rest) }
}

/// Whether these entries make git take their directory for a repository's own.
pub fn is_repository(entries: &[DirEntry]) -> bool {
    git::is_repository_with(&|name| entries.iter().any(|entry| entry.name.eq_ignore_ascii_case(name)))
}

/// Whether programs in this directory are run by name.
pub fn has_programs(place: &Path) -> bool {
    PROGRAMS.iter().any(|(above, name)| place.ends_with(Path::new(above).join(name)))
}

/// Looks at the directory `root`, which is at `src` and whose own last names are `own`.
pub fn survey(root: &Dir, src: &Path, own: &Path) -> Survey {
    let mut survey = Survey { is_whole: true, ..Survey::default() };
    let mut queue = VecDeque::from([PathBuf::new()]);
    let mut looked = 0;
    while let Some(place) = queue.pop_front() {
        looked += 1;
        // Each is opened from the top, so that the cost grows with the square of the depth.
        if place.components().count() > DEEPEST {
            survey.is_whole = false;
            continue;
        }
        if looked > MOST {
            survey.is_whole = false;
            break;
        }
        let Ok(dir) = open(root, &place) else {
            survey.look_by_name(root, place);
            continue;
        };
        survey.look_in(&dir, &place, own, src, &mut queue);
    }
    survey.find_led_to(root, src);
    survey
}

impl Survey {
    fn look_in(&mut self, dir: &Dir, place: &Path, own: &Path, src: &Path, queue: &mut VecDeque<PathBuf>) {
        let entries = dir.entries().unwrap_or_default();
        // One of that name counts before it is whole: git takes it for a repository as soon as it is.
        let of_git = is_repository(&entries) || own.join(place).ends_with(".git");
        let Some(here) = facts(dir, ".").map(|facts| facts.id) else { return };
        if of_git {
            self.repositories.insert(here);
            // Relative to where git runs hooks, and to the file that includes another.
            let worktree = if place.ends_with(".git") { place.parent().unwrap_or(place) } else { place };
            let is_file = |above: &Path, word: &Path| src.join(above).join(word).is_file();
            for (written, is_path) in git::led_to(dir, place) {
                for above in [worktree, place] {
                    if is_path || is_file(above, &written) {
                        self.lead(above, &written, src);
                    }
                }
            }
        }
        let runs = has_programs(place);
        for entry in entries {
            let path = place.join(&entry.name);
            let is_directory = entry.kind == FileType::Directory;
            match class_of(&entry.name, &own.join(&path), of_git, runs && !is_directory) {
                Some(class) => {
                    self.keep(dir, here, path.clone(), class, src);
                    let walk_on = match class {
                        Class::Repository => is_directory,
                        class => is_directory && !class.is_protected(),
                    };
                    if walk_on {
                        queue.push_back(path);
                    }
                }
                None if is_directory && !(of_git && is_bulk(&entry.name)) => queue.push_back(path),
                None => {}
            }
        }
    }

    /// Remembers an entry, and where it leads if it is a link or has links in it.
    fn keep(&mut self, dir: &Dir, here: Id, path: PathBuf, class: Class, src: &Path) {
        const MOST_LINKS: usize = 200;
        let Some(name) = path.file_name() else { return };
        let Some(facts) = facts(dir, name) else { return };
        let target = (facts.kind == FileType::Symlink).then(|| dir.link(name).ok()).flatten();
        if class.is_protected() {
            self.ids.insert(facts.id);
            let above = path.parent().unwrap_or(Path::new("")).to_owned();
            if let Some(target) = &target {
                self.lead(&above, target, src);
            } else if let (FileType::Directory, false, Ok(below)) =
                (facts.kind, matches!(class, Class::Repository | Class::State), dir.sub(name))
            {
                let links =
                    below.entries().unwrap_or_default().into_iter().filter(|entry| entry.kind == FileType::Symlink);
                for link in links.take(MOST_LINKS) {
                    if let Ok(target) = below.link(&link.name) {
                        self.lead(&path, &target, src);
                    }
                }
            }
        }
        self.places.insert((here, name.to_owned()), path.clone());
        self.things.insert(path, Thing { facts, class, target });
    }

    /// Remembers that something in `above` leads to `written`, if that is in the same tree.
    fn lead(&mut self, above: &Path, written: &Path, src: &Path) {
        let mut place = match written.strip_prefix(src) {
            Ok(_) => PathBuf::new(),
            Err(_) if written.is_absolute() => return,
            Err(_) => above.to_owned(),
        };
        for part in written.strip_prefix(src).unwrap_or(written).components() {
            match part {
                Component::Normal(name) => place.push(name),
                Component::ParentDir if !place.pop() => return,
                _ => {}
            }
        }
        if !place.as_os_str().is_empty() {
            self.led_to.insert(place);
        }
    }

    /// What was led to and is there.
    fn find_led_to(&mut self, root: &Dir, src: &Path) {
        // Through links of the user's, too: by its real path it would be any file.
        let real = |path: &PathBuf| src.join(path).canonicalize().ok()?.strip_prefix(src).ok().map(Path::to_owned);
        self.led_to.extend(
            self.led_to.iter().filter_map(real).filter(|path| !path.as_os_str().is_empty()).collect::<Vec<_>>(),
        );
        for path in self.led_to.clone() {
            let protected = |top: &Path| self.things.get(top).is_some_and(|thing| thing.class.is_protected());
            // What is in a protected directory already needs nothing of its own; `.git` is not one as a whole.
            let within = path.ancestors().any(|top| protected(top) && !top.ends_with(".git"));
            let above = path.parent().unwrap_or(Path::new(""));
            let (Some(name), Ok(dir), false) = (path.file_name(), open(root, above), within) else { continue };
            let Some(facts) = facts(&dir, name) else { continue };
            let Some(here) = self::facts(&dir, ".") else { continue };
            self.ids.insert(facts.id);
            self.places.insert((here.id, name.to_owned()), path.clone());
            self.things.insert(path.clone(), Thing { facts, class: Class::LedTo, target: None });
        }
    }

    /// This user may not list this directory, which is somebody else's, but whoever knows a name may open it: shells and git do.
    fn look_by_name(&mut self, root: &Dir, place: PathBuf) {
        for (path, facts) in found_by_name(root, &place) {
            if let Some(class) = host_triggers::named(&path).map(Class::Trigger) {
                self.ids.insert(facts.id);
                self.things.insert(path, Thing { facts, class, target: None });
            }
        }
        self.unlisted.push(place);
    }
}

/// The entries of the table that are in a directory which cannot be listed.
pub fn found_by_name(root: &Dir, place: &Path) -> Vec<(PathBuf, Facts)> {
    let names = host_triggers::plain_names().chain([".git", "HEAD", "config"]);
    names.filter_map(|name| Some((place.join(name), facts(root, place.join(name))?))).collect()
}

/// Why an entry is looked after, if it is. `full` has the names above the mount's own directory too, as far as they count.
pub fn class_of(name: &OsStr, full: &Path, of_git: bool, is_program: bool) -> Option<Class> {
    match host_triggers::folded(name).as_deref() {
        Some(".sbox") => Some(Class::State),
        Some(".git") => Some(Class::Repository),
        Some(known) if of_git && git::OBEYED.contains(&known) => Some(Class::OfGit),
        _ => match host_triggers::named(full) {
            Some(trigger) => Some(Class::Trigger(trigger)),
            None => is_program.then_some(Class::Program),
        },
    }
}

/// What git keeps its data in.
pub fn is_bulk(name: &OsStr) -> bool {
    git::BULK.iter().any(|bulk| name == *bulk)
}
