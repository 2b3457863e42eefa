//! The inotify watches on read-write mounts, and what their events mean.
//!
//! A watch belongs to a directory, not to its path: a renamed directory keeps its watch, and everything below it was seen all
//! the while, so that a rename costs one step however large the directory is. Events are taken in batches, each entry is
//! judged once a batch, and where the kernel dropped events everything is looked at once more when it is quiet.

mod cover;
mod judge;
mod tree;

use crate::control::Control;
use crate::protect::{Id, Protection};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::OwnedFd;
use rustix::fs::inotify;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How soon something is tried again that could not be opened, or was lost.
const AGAIN: Duration = Duration::from_millis(300);

/// How often that is looked over which can change without an event.
const LOOKING_OVER: Duration = Duration::from_secs(1);

/// How often the whole tree is looked at, where not all of it can be watched.
const LOOKING_AGAIN: Duration = Duration::from_secs(5);

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
    /// Repositories whose writes are heard, and whether one of them came after the start.
    repositories: HashSet<i32>,
    has_new_repositories: bool,
    /// Directories on their way from one name to another.
    on_the_way: HashMap<u32, i32>,
    placeholders: Placeholders,
    /// What could not be opened when it was judged: it may have been renamed meanwhile.
    again: BTreeSet<Event>,
    /// Links that lead to nothing yet.
    unsettled: BTreeSet<Event>,
    /// What the user replaced and is not covered yet.
    uncovered: Vec<(usize, PathBuf, u8)>,
    removed: HashMap<(usize, PathBuf), Instant>,
    /// Whether events were dropped, or directories not watched.
    lost: bool,
    is_whole: bool,
    /// Whether all that was there at first is watched.
    is_started: bool,
    looked: Instant,
    looked_over: Instant,
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
            has_new_repositories: false,
            on_the_way: HashMap::new(),
            placeholders: HashMap::new(),
            again: BTreeSet::new(),
            unsettled: BTreeSet::new(),
            uncovered: Vec::new(),
            removed: HashMap::new(),
            lost: false,
            is_whole: true,
            is_started: false,
            looked: Instant::now(),
            looked_over: Instant::now(),
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
        self.is_started = true;
        loop {
            let pause = self.pause();
            let mut both = [PollFd::new(end, PollFlags::IN), PollFd::new(self.inotify_fd, PollFlags::IN)];
            if rustix::event::poll(&mut both, pause.as_ref()).is_err() {
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
            if over || self.looked_over.elapsed() > LOOKING_OVER {
                self.look_over();
                self.looked_over = Instant::now();
            }
            if over {
                self.lost |= self.has_events();
                return;
            }
        }
    }

    /// How long nothing has to be done if nothing happens; `None` is for ever.
    fn pause(&self) -> Option<Timespec> {
        let is_due_again = self.lost || !self.again.is_empty() || !self.uncovered.is_empty();
        let can_change =
            !self.placeholders.is_empty() || !self.unsettled.is_empty() || self.has_new_repositories || !self.is_whole;
        let pause = if is_due_again { AGAIN } else { LOOKING_OVER };
        let time = Timespec { tv_sec: pause.as_secs() as i64, tv_nsec: pause.subsec_nanos().into() };
        (is_due_again || can_change).then_some(time)
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
        // What is in directories that are not watched is looked for now and then: a daemon's end may be days away.
        if !self.is_whole && !self.lost && self.looked.elapsed() > LOOKING_AGAIN {
            let began = Instant::now();
            self.protection.look_again();
            self.looked = Instant::now() + 10 * began.elapsed();
        }
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
