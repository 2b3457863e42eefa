//! The inotify watches on read-write mounts, and what their events mean.
//!
//! A watch belongs to a directory, not to its path: a renamed directory keeps its watch, and everything below it was seen all
//! the while, so that a rename costs one step however large the directory is. Events are taken in batches, each entry is
//! judged once a batch, and where the kernel dropped events everything is looked at once more when it is quiet.

use crate::control::Control;
use crate::cover_again::cover_again;
use crate::protect::{Id, Met, Place, Protection, facts, is_repository, open};
use libsbox::dir::Dir;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::inotify::{self, ReadFlags, WatchFlags};
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Directories that are watched; each takes about a kilobyte of the kernel's memory. What is in others is found at the end.
const MOST: usize = 20_000;

/// How soon something is tried again that could not be opened, or was lost.
const AGAIN: Duration = Duration::from_millis(300);

/// So soon after a known file was removed, another one in its place is the user's: programs replace files that way.
const REPLACING: Duration = Duration::from_secs(2);

/// What is empty and would count with content, by mount and path.
pub type Placeholders = HashMap<(usize, PathBuf), Id>;

/// A watched directory: which mount, the watch of the directory above it, its name there.
struct Node {
    number: usize,
    parent: i32,
    name: OsString,
}

/// An event: the watch, the name, and how the entry came there.
#[derive(PartialEq, Eq, PartialOrd, Ord, Clone)]
struct Event {
    watch: i32,
    name: OsString,
    moved: bool,
}

pub struct Watches<'a> {
    protection: &'a mut Protection,
    inotify_fd: &'a OwnedFd,
    control: Control,
    nodes: HashMap<i32, Node>,
    children: HashMap<(i32, OsString), i32>,
    /// Repositories whose writes are heard.
    repositories: HashSet<i32>,
    /// Directories on their way from one name to another.
    on_the_way: HashMap<u32, i32>,
    placeholders: Placeholders,
    /// What could not be opened when it was judged: it may have been renamed meanwhile.
    again: BTreeSet<Event>,
    /// What the user replaced and is not covered yet.
    uncovered: Vec<(usize, PathBuf, u8)>,
    removed: HashMap<(usize, PathBuf), Instant>,
    /// Whether events were dropped, or directories not watched.
    lost: bool,
    is_whole: bool,
    looked: Instant,
}

impl<'a> Watches<'a> {
    pub fn new(protection: &'a mut Protection, inotify_fd: &'a OwnedFd) -> Watches<'a> {
        Watches {
            protection,
            inotify_fd,
            control: Control::default(),
            nodes: HashMap::new(),
            children: HashMap::new(),
            repositories: HashSet::new(),
            on_the_way: HashMap::new(),
            placeholders: HashMap::new(),
            again: BTreeSet::new(),
            uncovered: Vec::new(),
            removed: HashMap::new(),
            lost: false,
            is_whole: true,
            looked: Instant::now(),
        }
    }

    /// Whether nothing can have been missed.
    pub fn saw_everything(&self) -> bool {
        self.is_whole && !self.lost && self.again.is_empty()
    }

    /// Whether the sandbox had mounts of its own, which cover what is protected.
    pub fn is_covered(&self) -> bool {
        self.control.way_in().is_some()
    }

    pub fn take_placeholders(&mut self) -> Placeholders {
        std::mem::take(&mut self.placeholders)
    }

    /// Watches until the sandbox has ended.
    pub fn run(&mut self, end: &OwnedFd) {
        for number in 0..self.protection.places.len() {
            if !self.add_below(number, 0, PathBuf::new(), Some(end)) {
                self.is_whole = false;
                return self.control.await_death();
            }
        }
        loop {
            let waiting = self.lost || !self.again.is_empty() || !self.uncovered.is_empty();
            let pause = Timespec { tv_sec: 0, tv_nsec: AGAIN.subsec_nanos().into() };
            let mut both = [PollFd::new(end, PollFlags::IN), PollFd::new(self.inotify_fd, PollFlags::IN)];
            if rustix::event::poll(&mut both, waiting.then_some(&pause)).is_err() {
                continue;
            }
            let (told, heard) = (!both[0].revents().is_empty(), !both[1].revents().is_empty());
            let over = told && self.control.read(end).is_some();
            if over {
                self.control.await_death();
            }
            // Bounded: what is still not read after the end is found by the last look.
            for _ in 0..if over { 200 } else { 1 } {
                if !(heard || over) || !self.hear() {
                    break;
                }
            }
            self.try_again();
            if over {
                self.lost |= self.has_events();
                return;
            }
        }
    }

    fn has_events(&self) -> bool {
        let mut one = [PollFd::new(self.inotify_fd, PollFlags::IN)];
        rustix::event::poll(&mut one, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) != Ok(0)
    }

    /// Reads one batch of events and judges what they name; `false` if there was none.
    fn hear(&mut self) -> bool {
        let mut space = [std::mem::MaybeUninit::uninit(); 64 * 1024];
        let mut batch = BTreeSet::new();
        let mut reader = inotify::Reader::new(self.inotify_fd, &mut space);
        let mut events = Vec::new();
        // The buffer is read once; `next` would read again when it is used up.
        while let Ok(event) = reader.next() {
            let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()).to_owned());
            events.push((event.wd(), event.events(), event.cookie(), name));
            if reader.is_buffer_empty() {
                break;
            }
        }
        for (watch, flags, cookie, name) in &events {
            self.note(*watch, *flags, *cookie, name.clone(), &mut batch);
        }
        for event in batch {
            self.judge(event);
        }
        !events.is_empty()
    }

    /// Keeps the tree of directories as it is, and collects what has to be judged.
    fn note(&mut self, watch: i32, flags: ReadFlags, cookie: u32, name: Option<OsString>, batch: &mut BTreeSet<Event>) {
        if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
            self.lost = true;
            self.on_the_way.clear();
            return;
        }
        if flags.contains(ReadFlags::IGNORED) {
            if let Some(node) = self.nodes.remove(&watch)
                && self.children.get(&(node.parent, node.name.clone())) == Some(&watch)
            {
                self.children.remove(&(node.parent, node.name));
            }
            return;
        }
        let Some(name) = name else { return };
        let key = (watch, name.clone());
        if flags.intersects(ReadFlags::MOVED_FROM | ReadFlags::DELETE) {
            if let (Some(child), true) = (self.children.remove(&key), flags.contains(ReadFlags::MOVED_FROM)) {
                self.on_the_way.insert(cookie, child);
            }
            self.forget(watch, &name);
            return;
        }
        let mut seen_all_the_while = false;
        if flags.contains(ReadFlags::MOVED_TO)
            && let Some(child) = self.on_the_way.remove(&cookie)
            && let (Some(number), Some(node)) =
                (self.nodes.get(&watch).map(|node| node.number), self.nodes.get_mut(&child))
        {
            (node.number, node.parent, node.name) = (number, watch, name.clone());
            self.children.insert(key, child);
            seen_all_the_while = true;
        }
        let moved = flags.contains(ReadFlags::MOVED_TO);
        batch.insert(Event { watch, name: name.clone(), moved });
        // By its new name what is in it may count.
        if seen_all_the_while
            && libsbox::host_triggers::starts_a_pattern(&name)
            && let Some(child) = self.children.get(&(watch, name))
            && let Some((number, path)) = self.path_of(*child)
            && let Ok(entries) = self.root(number).and_then(|root| open(&root, &path)).and_then(|dir| dir.entries())
        {
            batch.extend(entries.into_iter().map(|entry| Event { watch: *child, name: entry.name, moved }));
        }
    }

    /// A known entry has gone; inside nobody can do that, but at the levels without mounts.
    fn forget(&mut self, watch: i32, name: &OsStr) {
        let Some((number, path)) = self.path_of(watch) else { return };
        let Ok(dir) = self.root(number).and_then(|root| open(&root, &path)) else { return };
        let known = self.protection.places[number].known(&dir, name).map(|(path, _)| path.clone());
        if let Some(known) = known {
            self.removed.insert((number, known), Instant::now());
        }
    }

    fn root(&self, number: usize) -> libsbox::error::Result<Dir> {
        Dir::open(&self.protection.places[number].src)
    }

    /// Where a watched directory is now.
    fn path_of(&self, watch: i32) -> Option<(usize, PathBuf)> {
        let (mut names, mut at) = (Vec::new(), watch);
        let number = loop {
            let node = self.nodes.get(&at)?;
            if node.parent == 0 {
                break node.number;
            }
            names.push(&node.name);
            at = node.parent;
            // A directory cannot be below itself; what events said of it may be old.
            if names.len() > 100_000 {
                return None;
            }
        };
        Some((number, names.into_iter().rev().collect()))
    }

    fn judge(&mut self, event: Event) {
        let Some((number, above)) = self.path_of(event.watch) else { return };
        let path = above.join(&event.name);
        let Ok(root) = self.root(number) else { return };
        if self.judge_known(number, &root, &path, &event) {
            return;
        }
        if event.name.to_str().is_some_and(|name| name == "config.lock") {
            self.note_lock(number, &root, &above);
        }
        if event.name.to_str().is_some_and(|name| libsbox::git::SIGNS.contains(&name)) {
            self.hear_repository(event.watch, &root, &above);
        }
        match self.protection.meet(&self.protection.places[number], &root, &path) {
            Met::Directory => {
                let known = self.children.get(&(event.watch, event.name.clone())).copied();
                if known.is_none() {
                    self.add_below(number, event.watch, path, None);
                }
            }
            Met::Placeholder(top, id) => self.hold(number, &root, top, id),
            Met::Gone if is_gone(&root, &above, &event.name) => {}
            Met::Gone => drop(self.again.insert(event)),
            Met::Harmless | Met::MovedAway => {}
        }
    }

    /// A name that something was known under: tells whether that is all there is to it.
    fn judge_known(&mut self, number: usize, root: &Dir, path: &Path, event: &Event) -> bool {
        let above = path.parent().unwrap_or(Path::new(""));
        let Ok(dir) = open(root, above) else { return false };
        let place = &self.protection.places[number];
        let Some((known, thing)) = place.known(&dir, &event.name) else { return false };
        let (known, thing) = (known.clone(), thing.clone());
        let Some(now) = facts(&dir, &event.name) else { return true };
        let Some(op) = thing.cover(place.dst.join(path)) else { return false };
        let was_removed = self.removed.remove(&(number, known.clone()));
        if now.id == thing.facts.id {
            return false;
        }
        // The user's, if it took the place of the other in one step or at once.
        if !event.moved && was_removed.is_some_and(|then| then.elapsed() > REPLACING) {
            self.protection.places[number].forget(&known);
            return false;
        }
        let _ = op;
        self.protection.places[number].knows_now(&known, now);
        if was_removed.is_some() && !event.moved {
            let shown = self.protection.places[number].src.join(path);
            self.protection.findings().warn(&shown, "was removed and made again while the sandbox ran: review it");
        }
        self.uncovered.push((number, path.to_owned(), 0));
        self.cover_uncovered();
        // `.git` as a whole: what is in the new one is judged as anything new is.
        now.kind != rustix::fs::FileType::Directory || !path.ends_with(".git")
    }

    fn cover_uncovered(&mut self) {
        const TRIES: u8 = 20;
        let Some(init) = self.control.way_in() else { return };
        for (number, path, tries) in std::mem::take(&mut self.uncovered) {
            let place = &self.protection.places[number];
            let Some((op, wanted)) = self.cover_of(place, &path) else { continue };
            if !cover_again(init, &op, wanted) {
                if tries < TRIES {
                    self.uncovered.push((number, path, tries + 1));
                } else {
                    let shown = self.protection.places[number].src.join(&path);
                    self.protection.findings().warn(
                        &shown,
                        "was replaced on the host while the sandbox ran and could not be protected again: review it",
                    );
                }
            }
        }
    }

    fn cover_of(&self, place: &Place, path: &Path) -> Option<(crate::op::Op, (u64, u64))> {
        let dir = Dir::open(&place.src).and_then(|root| open(&root, path.parent().unwrap_or(Path::new("")))).ok()?;
        let name = path.file_name()?;
        let (_, thing) = place.known(&dir, name)?;
        let stat = dir.stat(name).ok()??;
        Some((thing.cover(place.dst.join(path))?, (stat.st_dev, stat.st_ino)))
    }

    /// git(1) writes `config.lock` and renames it, which a read-only `config` does not allow.
    fn note_lock(&mut self, number: usize, root: &Dir, above: &Path) {
        let place = &self.protection.places[number];
        let is_covered = || {
            let dir = open(root, above).ok()?;
            place.known(&dir, "config".as_ref()).map(drop)
        };
        if self.control.way_in().is_some() && is_covered().is_some() {
            let shown = libsbox::escape::visible_path(place.src.join(above).join("config")).to_string();
            self.protection.findings().note(
                &format!(
                    "'{shown}' is read-only in a read-write mount: a change to it failed with 'Device or resource busy'"
                ),
                "mount the repository copy-on-write ('cow'), or run that git command on the host",
            );
        }
    }

    /// An empty file or directory of a name that counts: from now on every write beside it is heard.
    fn hold(&mut self, number: usize, root: &Dir, top: PathBuf, id: Id) {
        let above = top.parent().unwrap_or(Path::new("")).to_owned();
        let is_new = self.placeholders.insert((number, top.clone()), id).is_none();
        if let Ok(dir) = open(root, &above) {
            self.hear_writes(&dir);
        }
        let is_directory = open(root, &top).is_ok();
        let watch = self.node_at(number, &above);
        if let (true, true, Some(parent)) = (is_new, is_directory, watch) {
            self.add_below(number, parent, top, None);
        } else if is_new {
            // It may have got content before its writes were heard.
            if let (Some(watch), Some(name)) = (watch, top.file_name()) {
                self.again.insert(Event { watch, name: name.to_owned(), moved: false });
            }
        }
    }

    /// Once a directory is a repository, settings that are written into a file which is there already count too.
    fn hear_repository(&mut self, watch: i32, root: &Dir, above: &Path) {
        if let Ok(dir) = open(root, above)
            && libsbox::git::is_repository(&dir)
            && self.repositories.insert(watch)
        {
            self.hear_writes(&dir);
            // They may have been written before they were heard.
            self.again.insert(Event { watch, name: "config".into(), moved: false });
        }
    }

    fn hear_writes(&self, dir: &Dir) {
        let flags = WatchFlags::MODIFY | WatchFlags::ONLYDIR | WatchFlags::MASK_ADD;
        let _ = inotify::add_watch(self.inotify_fd, through(dir), flags);
    }

    fn node_at(&self, number: usize, path: &Path) -> Option<i32> {
        let mut at = *self.nodes.iter().find(|(_, node)| node.number == number && node.parent == 0)?.0;
        for name in path.components() {
            at = *self.children.get(&(at, name.as_os_str().to_owned()))?;
        }
        Some(at)
    }

    /// Watches a directory and all below it; what is in it already is judged too, since it may have come before the watch
    /// did. `false` if `end` said meanwhile that it is over.
    fn add_below(&mut self, number: usize, parent: i32, path: PathBuf, end: Option<&OwnedFd>) -> bool {
        let Ok(root) = self.root(number) else {
            self.is_whole = false;
            return true;
        };
        let mut queue = VecDeque::from([(parent, path)]);
        while let Some((parent, path)) = queue.pop_front() {
            if let Some(end) = end
                && self.is_over(end)
            {
                return false;
            }
            let Some(dir) = self.opened(number, &root, &path) else { continue };
            let Some((watch, is_new)) = self.add(number, parent, &dir, &path) else { continue };
            // A directory that was watched already was seen all the while.
            if !is_new {
                continue;
            }
            let entries = dir.entries().unwrap_or_default();
            if is_repository(&entries) {
                self.hear_writes(&dir);
            }
            for entry in entries {
                let below = path.join(&entry.name);
                let place = &self.protection.places[number];
                match self.protection.meet_listed(place, &root, &dir, &below, entry.kind) {
                    Met::Directory => queue.push_back((watch, below)),
                    Met::Placeholder(top, id) => self.hold(number, &root, top, id),
                    _ => {}
                }
            }
        }
        true
    }

    fn is_over(&mut self, end: &OwnedFd) -> bool {
        let mut one = [PollFd::new(end, PollFlags::IN)];
        let ready =
            rustix::event::poll(&mut one, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|count| count > 0);
        ready && self.control.read(end).is_some()
    }

    /// One that its owner may not list is made so, if it is the agent's; if that does not help, it is looked at by name.
    fn opened(&mut self, number: usize, root: &Dir, path: &Path) -> Option<Dir> {
        for _ in 0..3 {
            match open(root, path) {
                Ok(dir) => return Some(dir),
                Err(_) if self.protection.places[number].make_listable(root, path) => {}
                Err(_) => break,
            }
        }
        if !self.protection.places[number].had_unlisted(path) && root.sub(path.parent()?).is_ok() {
            self.is_whole = false;
        }
        None
    }

    /// Adds one watch; tells whether it is a new one.
    fn add(&mut self, number: usize, parent: i32, dir: &Dir, path: &Path) -> Option<(i32, bool)> {
        if self.nodes.len() >= MOST {
            self.is_whole = false;
            return None;
        }
        let mut flags = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::MOVED_FROM | WatchFlags::ONLYDIR;
        if self.protection.places[number].has_known(dir) {
            flags |= WatchFlags::DELETE;
        }
        let Ok(watch) = inotify::add_watch(self.inotify_fd, through(dir), flags | WatchFlags::MASK_ADD) else {
            self.is_whole = false;
            self.protection.findings().note(
                "some directories of read-write mounts could not be watched: this user has no inotify watches left",
                "raise fs.inotify.max_user_watches; what was planted there was dealt with at the end",
            );
            return None;
        };
        let name = path.file_name().unwrap_or_default().to_owned();
        if let Some(old) = self.nodes.get(&watch)
            && self.children.get(&(old.parent, old.name.clone())) == Some(&watch)
        {
            self.children.remove(&(old.parent, old.name.clone()));
        }
        self.children.insert((parent, name.clone()), watch);
        Some((watch, self.nodes.insert(watch, Node { number, parent, name }).is_none()))
    }

    /// What could not be judged, could not be covered, or was lost.
    fn try_again(&mut self) {
        for event in std::mem::take(&mut self.again) {
            self.judge(event);
        }
        if self.again.len() > 1000 {
            self.again.clear();
            self.lost = true;
        }
        self.cover_uncovered();
        // What is lost in a flood is looked for when it is over, and now and then while it lasts.
        if self.lost && self.looked.elapsed() > 10 * AGAIN && !self.has_events() {
            let began = Instant::now();
            self.lost = false;
            self.protection.look_again();
            for number in 0..self.protection.places.len() {
                self.nodes.retain(|_, node| node.number != number);
                self.children.clear();
            }
            for number in 0..self.protection.places.len() {
                self.add_below(number, 0, PathBuf::new(), None);
            }
            self.looked = Instant::now() + 10 * began.elapsed();
        }
    }
}

/// Whether there is nothing of that name in a directory that can be opened.
fn is_gone(root: &Dir, above: &Path, name: &OsStr) -> bool {
    open(root, above).is_ok_and(|dir| facts(&dir, name).is_none())
}

fn through(dir: &Dir) -> String {
    format!("/proc/self/fd/{}", dir.as_fd().as_raw_fd())
}
