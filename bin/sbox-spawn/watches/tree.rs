//! The tree of watched directories: where each is now, which one is added, what its events mean for it.

use super::{Event, Node, Watches};
use crate::protect::{Met, is_repository, open};
use libsbox::dir::Dir;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::inotify::{self, ReadFlags, WatchFlags};
use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Directories that are watched; each takes about a kilobyte of the kernel's memory. What is in others is found at the end.
const MOST: usize = 20_000;

impl Watches<'_> {
    /// Keeps the tree of directories as it is, and collects what has to be judged.
    pub(super) fn note(
        &mut self,
        watch: i32,
        flags: ReadFlags,
        cookie: u32,
        name: Option<OsString>,
        batch: &mut BTreeSet<Event>,
    ) {
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

    pub(super) fn root(&self, number: usize) -> libsbox::error::Result<Dir> {
        self.protection.places[number].root()
    }

    /// Where a watched directory is now.
    pub(super) fn path_of(&self, watch: i32) -> Option<(usize, PathBuf)> {
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

    pub(super) fn node_at(&self, number: usize, path: &Path) -> Option<i32> {
        let mut at = *self.nodes.iter().find(|(_, node)| node.number == number && node.parent == 0)?.0;
        for name in path.components() {
            at = *self.children.get(&(at, name.as_os_str().to_owned()))?;
        }
        Some(at)
    }

    /// Watches a directory and all below it; what is in it already is judged too, since it may have come before the watch
    /// did. `false` if `end` said meanwhile that it is over.
    pub(super) fn add_below(&mut self, number: usize, parent: i32, path: PathBuf, end: Option<&OwnedFd>) -> bool {
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
            let Some(dir) = self.opened(&root, &path) else { continue };
            let Some((watch, is_new)) = self.add(number, parent, &dir, &path) else { continue };
            // A directory that was watched already was seen all the while.
            if !is_new {
                continue;
            }
            let entries = dir.entries().unwrap_or_default();
            if is_repository(&entries) {
                self.hear_repository(watch, &root, &path);
            }
            for entry in entries {
                let below = path.join(&entry.name);
                let place = &self.protection.places[number];
                match self.protection.meet_listed(place, &root, &dir, &below, entry.kind) {
                    Met::Directory => queue.push_back((watch, below)),
                    Met::Placeholder(top, id) => self.hold(number, &root, top, id),
                    Met::LeadsNowhere => self.leave_unsettled(Event { watch, name: entry.name, moved: false }),
                    _ => {}
                }
            }
        }
        true
    }

    pub(super) fn is_over(&mut self, end: &OwnedFd) -> bool {
        let mut one = [PollFd::new(end, PollFlags::IN)];
        let ready =
            rustix::event::poll(&mut one, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|count| count > 0);
        ready && self.control.read(end).is_some()
    }

    /// What cannot be opened is looked at by name, at the end.
    pub(super) fn opened(&mut self, root: &Dir, path: &Path) -> Option<Dir> {
        let dir = open(root, path).ok();
        self.is_whole &= dir.is_some() || open(root, path.parent()?).is_err();
        dir
    }

    /// Adds one watch; tells whether it is a new one.
    pub(super) fn add(&mut self, number: usize, parent: i32, dir: &Dir, path: &Path) -> Option<(i32, bool)> {
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

    pub(super) fn hear_writes(&self, dir: &Dir) {
        let flags = WatchFlags::MODIFY | WatchFlags::ONLYDIR | WatchFlags::MASK_ADD;
        let _ = inotify::add_watch(self.inotify_fd, through(dir), flags);
    }
}

fn through(dir: &Dir) -> String {
    format!("/proc/self/fd/{}", dir.as_fd().as_raw_fd())
}
