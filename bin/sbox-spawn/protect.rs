//! Read-write mounts, and what in them programs of the host act on ([`libsbox::host_triggers`], [`libsbox::git`]).
//!
//! An agent that may edit a project could leave a git hook, an editor's task or a line for direnv there, and wait. What of
//! that kind exists when the sandbox starts becomes read-only for it, at any depth; a repository's `.git` becomes a mount, so
//! that it can be neither moved nor swapped; a project's `.sbox` is covered. Mounts need something to be put on, and making
//! it would leave files behind: what does not exist yet is watched for ([`crate::watcher`]) and gets a name that nothing acts
//! on as soon as it has content. Something is *known* by device and inode, not by its path, so that renaming a directory
//! above it makes nothing of the agent's known. All of this is best effort: a mount that is copied on write needs none of it.

mod aside;
mod contents;
mod leads;
mod mount_points;
mod survey;
mod verdict;

pub use aside::Findings;
pub use mount_points::remove_from_layer;
pub use survey::{Id, facts, found_by_name, is_repository, open};
pub use verdict::Met;

use crate::args::{Args, Level, Mount};
use libsbox::dir::Dir;
use libsbox::error::Result;
use libsbox::escape::visible_path;
use libsbox::host_triggers;
use libsbox::inner_source;
use libsbox::operation::Op;
use libsbox::output;
use rustix::fs::FileType;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet, VecDeque};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use survey::{Class, Survey, Thing};

/// The read-write directories of a sandbox.
pub struct Protection {
    pub places: Vec<Place>,
    mount_points: Vec<mount_points::MountPoint>,
    findings: RefCell<Findings>,
}

/// One of them.
pub struct Place {
    pub src: PathBuf,
    pub dst: PathBuf,
    /// The directory itself: by its path the agent could lead elsewhere, where it lies in another mount.
    root: Dir,
    /// The last name of `src`: a pattern of two names may begin with it.
    own: PathBuf,
    survey: Survey,
    /// Of what is protected, where it is known that nothing will be covered.
    contents: Option<contents::Contents>,
    /// What was known once, and was removed on the host.
    forgotten: HashSet<PathBuf>,
    /// A second before it was looked at first, since 1970: the clock that files are stamped with lags a little.
    since: i64,
    /// The clock of files when it was looked at first.
    start: (i64, i64),
}

impl Protection {
    /// Looks at every directory that is bound read-write.
    pub fn look(args: &Args) -> Result<Protection> {
        let mut places = Vec::new();
        let writable = args.writable_sources();
        for mount in &args.mounts {
            let Mount::Bind { src, dst, read_only: false } = mount else { continue };
            if args.unguarded.contains(dst) {
                continue;
            }
            // What cannot be found is an error of the mount's own.
            let Ok(source) = inner_source::resolve(src, &writable) else { continue };
            if !source.path.is_dir() {
                continue;
            }
            let root = match source.below() {
                Some((outer, name)) => Dir::open(outer)?.sub(name)?,
                None => Dir::open(&source.path)?,
            };
            let src = source.path;
            let own = src.file_name().map(PathBuf::from).unwrap_or_default();
            let since = libsbox::time::now() as i64 - 1;
            let start = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
            let start = (start.tv_sec, start.tv_nsec);
            let survey = survey::survey(&root, &src, &own);
            let shown = visible_path(&src);
            if !survey.is_whole {
                output::warn(format_args!("'{shown}' has too many directories to look at all of them"));
                output::hint(
                    "what host programs act on is protected in the nearest ones only; mount a smaller directory",
                );
            }
            if let Some((trigger, _)) = host_triggers::judge(&own) {
                output::warn(format_args!("'{shown}' is mounted read-write: {}", trigger.reason));
            }
            let covers_nothing = matches!(args.isolation, Some(Level::Landlock | Level::Env));
            let contents = covers_nothing.then(|| contents::read(&root, &survey)).flatten();
            places.push(Place {
                src,
                dst: dst.clone(),
                root,
                own,
                survey,
                contents,
                forgotten: HashSet::new(),
                since,
                start,
            });
        }
        Ok(Protection { places, mount_points: Vec::new(), findings: RefCell::default() })
    }

    /// Whether there is nothing to protect.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Makes the mount points that `ops` need in these directories. They go at the end.
    pub fn make_mount_points(&mut self, ops: &[Op]) {
        self.mount_points = mount_points::make(&self.places, ops);
    }

    /// What there is to report, once.
    pub fn findings(&self) -> std::cell::RefMut<'_, Findings> {
        self.findings.borrow_mut()
    }

    /// The operations that protect what is in the directory bound at `dst`.
    pub fn ops(&self, bound: &Path) -> Vec<Op> {
        let mut ops = Vec::new();
        for place in self.places.iter().filter(|place| place.dst == bound) {
            let things = || place.survey.things.iter();
            let repositories = things().filter(|(_, thing)| matches!(thing.class, Class::Repository));
            let others = things().filter(|(_, thing)| !matches!(thing.class, Class::Repository));
            // `.git` before what is in it: the mount on it would hide theirs.
            ops.extend(repositories.chain(others).filter_map(|(path, thing)| thing.cover(place.dst.join(path))));
        }
        ops
    }

    /// Looks at all of it once more, when nothing of the sandbox runs any more and not every change was seen.
    pub fn look_again(&self) {
        const MOST: usize = 2 * survey::MOST;
        for place in &self.places {
            let Ok(root) = place.root() else {
                self.findings().warn(&place.src, "cannot be looked at: what the sandbox left there was not checked");
                continue;
            };
            let (mut queue, mut looked) = (VecDeque::from([PathBuf::new()]), 0);
            while let Some(path) = queue.pop_front() {
                looked += 1;
                if looked > MOST {
                    self.findings().warn(&place.src, "has too many directories: those farthest down were not checked");
                    break;
                }
                let Some((dir, entries)) = self.entries(place, &root, &path) else { continue };
                for entry in entries {
                    let below = path.join(&entry.name);
                    if self.meet_listed(place, &root, &dir, &below, entry.kind) == Met::Directory {
                        queue.push_back(below);
                    }
                }
            }
        }
    }

    /// A directory and its entries.
    fn entries(&self, place: &Place, root: &Dir, path: &Path) -> Option<(Dir, Vec<libsbox::dir::DirEntry>)> {
        let listed = open(root, path).and_then(|dir| dir.entries().map(|entries| (dir, entries))).ok();
        if listed.is_none() {
            self.meet_by_name(place, root, path);
        }
        listed
    }

    /// Somebody else's directory that this user may not list.
    fn meet_by_name(&self, place: &Place, root: &Dir, path: &Path) {
        for (found, _) in found_by_name(root, path) {
            self.meet(place, root, &found);
        }
    }

    /// The end: what is still empty and was not there before goes, and what changed among the known is reported.
    /// Without covers (`covered` is false) what is in protected directories is compared too.
    pub fn finish(&self, placeholders: &HashMap<(usize, PathBuf), Id>, covered: bool) {
        self.mount_points.iter().rev().for_each(|point| point.remove(&self.places));
        for ((number, path), id) in placeholders {
            if let Some(place) = self.places.get(*number)
                && !place.remove_placeholder(path, *id)
                && let Ok(root) = place.root()
            {
                self.meet(place, &root, path);
            }
        }
        for place in &self.places {
            let Ok(root) = place.root() else { continue };
            for unlisted in &place.survey.unlisted {
                self.meet_by_name(place, &root, unlisted);
            }
            for (path, thing) in &place.survey.things {
                match &place.contents {
                    Some(before) if !covered && place.is_read(thing) => {
                        if contents::differs(&root, before, path) {
                            self.findings().changed(&place.src.join(path), thing.class);
                        }
                    }
                    _ => {
                        self.compare(place, &root, path, thing);
                        if !covered && thing.class.is_protected() && place.changed_below(&root, path) {
                            self.findings().changed(&place.src.join(path), thing.class);
                        }
                    }
                }
            }
        }
    }

    fn compare(&self, place: &Place, root: &Dir, path: &Path, thing: &Thing) {
        let above = path.parent().unwrap_or(Path::new(""));
        let (Some(name), Ok(dir)) = (path.file_name(), open(root, above)) else { return };
        let Some(now) = facts(&dir, name) else { return };
        // What is in a directory changes its own time only where names come and go; a file's time tells all.
        let same = now.id == thing.facts.id && (now.kind == FileType::Directory || now.changed == thing.facts.changed);
        if same {
            return;
        }
        let full = place.src.join(path);
        match thing.class {
            Class::Program => self.findings().program(&full),
            _ => self.findings().changed(&full, thing.class),
        }
    }
}

impl Thing {
    /// Whether a mount keeps it from the agent. None can be put on a link: another one in its place is moved away.
    pub fn is_covered(&self) -> bool {
        matches!(self.facts.kind, FileType::Directory | FileType::RegularFile) && self.class.is_protected()
    }

    /// What keeps it from the agent at `dst`.
    pub fn cover(&self, dst: PathBuf) -> Option<Op> {
        if !self.is_covered() {
            return None;
        }
        let is_directory = self.facts.kind == FileType::Directory;
        Some(match (self.class, is_directory) {
            (Class::State, true) => Op::Tmpfs { dst, mode: 0o755, seal: true, size: None },
            (Class::State, false) => Op::Mask { dst },
            (Class::Repository, true) => Op::SelfBind { dst },
            // A file is the way to a repository elsewhere (a worktree's, a submodule's).
            _ => Op::RemountReadOnly { dst },
        })
    }
}

impl Place {
    /// Whether its content was read at the start. Of a `.git`, only that it is still the same.
    fn is_read(&self, thing: &Thing) -> bool {
        let is_as_a_whole = matches!(thing.class, Class::Repository | Class::State);
        thing.class.is_protected() && !(is_as_a_whole && thing.facts.kind == FileType::Directory)
    }

    /// Whether anything in a protected directory was changed since the start; `.git` as a whole changes in any work.
    fn changed_below(&self, root: &Dir, path: &Path) -> bool {
        const MOST: usize = 2000;
        if path.ends_with(".git") {
            return false;
        }
        let (mut rest, mut looked) = (vec![path.to_owned()], 0);
        while let Some(path) = rest.pop() {
            let Ok(dir) = open(root, &path) else { continue };
            for entry in dir.entries().unwrap_or_default() {
                looked += 1;
                // The same tick of the clock may have been before the start, or after it.
                let is_later = |now: survey::Facts| (now.changed.0, i64::from(now.changed.1)) >= self.start;
                if looked > MOST || facts(&dir, &entry.name).is_some_and(is_later) {
                    return true;
                }
                if entry.kind == FileType::Directory {
                    rest.push(path.join(&entry.name));
                }
            }
        }
        false
    }

    /// The mounted directory.
    pub fn root(&self) -> Result<Dir> {
        self.root.sub(".")
    }

    /// What was known, when the sandbox started, of the entry `name` of this very directory, and its path then.
    pub fn known(&self, dir: &Dir, name: &OsStr) -> Option<(&PathBuf, &Thing)> {
        let path = self.survey.places.get(&(facts(dir, ".")?.id, name.to_owned()))?;
        if self.forgotten.contains(path) { None } else { self.survey.things.get_key_value(path) }
    }

    /// Whether anything was known in a directory.
    pub fn has_known(&self, dir: &Dir) -> bool {
        let Some(here) = facts(dir, ".") else { return false };
        self.survey.places.keys().any(|(id, _)| *id == here.id)
    }

    /// The user removed what was known at `path`.
    pub fn forget(&mut self, path: &Path) {
        self.forgotten.insert(path.to_owned());
    }

    /// The user put another file in the place of a known one.
    pub fn knows_now(&mut self, path: &Path, facts: survey::Facts) {
        self.survey.ids.insert(facts.id);
        self.forgotten.remove(path);
        if let Some(thing) = self.survey.things.get_mut(path) {
            thing.facts = facts;
        }
    }
}
