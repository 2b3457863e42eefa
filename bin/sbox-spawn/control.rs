//! What the monitor tells the watcher.

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags};
use std::time::{Duration, Instant};

/// What the monitor says.
#[derive(Default)]
pub struct Control {
    /// The first process of the sandbox.
    init: Option<Pid>,
    has_mounts: bool,
    is_orphan: bool,
}

impl Control {
    /// Reads what has come; gives something when the sandbox has ended.
    pub fn read(&mut self, end: &OwnedFd) -> Option<()> {
        let mut space = [0u8; 64];
        let length = rustix::io::read(end, &mut space).unwrap_or(0);
        let text = String::from_utf8_lossy(&space[..length]);
        for line in text.lines() {
            if let Some(pid) = line.get(1..).and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw) {
                (self.init, self.has_mounts) = (Some(pid), line.starts_with('m'));
            }
        }
        self.is_orphan = length == 0;
        (length == 0 || text.contains('!')).then_some(())
    }

    /// The process through which something can be covered again.
    pub fn way_in(&self) -> Option<Pid> {
        self.init.filter(|_| self.has_mounts)
    }

    /// Whether it runs without mounts of its own: what is protected can be changed.
    pub fn covers_nothing(&self) -> bool {
        self.init.is_some() && !self.has_mounts
    }

    /// A sandbox whose monitor was killed is killed with it, which takes a moment.
    pub fn await_death(&self) {
        const LONGEST: Duration = Duration::from_secs(2);
        let Some(init) = self.init.filter(|_| self.is_orphan) else { return };
        let Ok(process) = rustix::process::pidfd_open(init, PidfdFlags::empty()) else { return };
        let end = Instant::now() + LONGEST;
        let left = || end.saturating_duration_since(Instant::now());
        let time = |left: Duration| Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        let mut polled = [PollFd::new(&process, PollFlags::IN)];
        while rustix::event::poll(&mut polled, Some(&time(left()))).is_err() && !left().is_zero() {}
    }
}
