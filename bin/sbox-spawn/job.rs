//! The command as a job: which signals pid 1 passes on to it, and what pid 1 says when it stops.

use crate::limits::Exceeded;
use crate::line;
use libsbox::error::Result;
use libsbox::status;
use libsbox::sys;
use rustix::fd::OwnedFd;
use rustix::process::{Pid, Signal, WaitOptions};
use std::time::{Duration, Instant};

/// How long a signal that reached pid 1 may be part of one that was sent to the whole process group: the monitor has got it,
/// too, and says so at once.
const SHARED: Duration = Duration::from_millis(100);

pub struct Job<'a> {
    command: Pid,
    line: Option<&'a OwnedFd>,
    signals: OwnedFd,
    /// Whether signals may come that were sent to the whole process group.
    has_group: bool,
    /// Signals that some process sent to pid 1, and when.
    direct: Vec<(libc::c_int, Instant)>,
}

impl Job<'_> {
    pub fn new(command: Pid, line: &OwnedFd, has_group: bool) -> Result<Job<'_>> {
        Ok(Job { command, line: Some(line), signals: line::file()?, has_group, direct: Vec::new() })
    }

    /// Waits at most for `pause`; gives the signals that have arrived and are not the command's already.
    pub fn arrived(&mut self, pause: Option<Duration>) -> Result<Vec<libc::c_int>> {
        let shared = self.direct.iter().map(|(_, since)| SHARED.saturating_sub(since.elapsed())).min();
        let fds: Vec<&OwnedFd> = [Some(&self.signals), self.line].into_iter().flatten().collect();
        line::wait_for(&fds, pause.into_iter().chain(shared).min())?;
        let mut all = Vec::new();
        for arrived in sys::taken_signals(&self.signals) {
            match arrived.signal {
                libc::SIGCHLD => all.push(libc::SIGCHLD),
                _ if arrived.from_kernel => {}
                // The end of the monitor, where that is told with a signal, must not wait.
                libc::SIGTERM if !self.has_group => all.push(libc::SIGTERM),
                signal if self.has_group => self.direct.push((signal, Instant::now())),
                signal => all.push(signal),
            }
        }
        match self.line.map(line::told) {
            Some(Some((told, _))) => all.extend(told.into_iter().filter(|signal| !self.was_for_all(*signal))),
            Some(None) => self.line = None,
            None => {}
        }
        // The monitor did not get it: it was for this process, which hands it on.
        self.direct.retain(|(signal, since)| {
            let is_ours = since.elapsed() >= SHARED;
            all.extend(is_ours.then_some(*signal));
            !is_ours
        });
        Ok(all)
    }

    /// Whether the monitor is gone.
    pub fn is_orphan(&self) -> bool {
        self.line.is_none()
    }

    /// Whether a signal that the monitor passes on has come to this process, too, and so to the command. The kernel sends
    /// to the youngest of a group first: what the monitor has got was here before.
    fn was_for_all(&mut self, signal: libc::c_int) -> bool {
        let Some(at) = self.direct.iter().position(|(direct, _)| *direct == signal) else { return false };
        self.direct.remove(at);
        self.own_group().is_none()
    }

    /// The command's process group, if it has made one.
    fn own_group(&self) -> Option<Pid> {
        let group = sys::process_group(self.command.as_raw_pid()).ok()?;
        let is_own = sys::process_group(0).is_ok_and(|own| own != group);
        Pid::from_raw(group).filter(|_| is_own)
    }

    /// Says something to the monitor.
    pub fn say(&self, word: &crate::recorder::Word) {
        if let (Some(line), Ok(text)) = (self.line, serde_json::to_string(word)) {
            line::say(line, &text);
        }
    }

    /// Hands a signal to the command. What continues it continues its group: to a shell outside both are one job.
    pub fn pass_on(&self, signal: libc::c_int) {
        line::send(self.command, signal);
        if let (libc::SIGCONT, Some(group)) = (signal, self.own_group()) {
            let _ = rustix::process::kill_process_group(group, Signal::CONT);
        }
    }

    /// Says to the monitor why the sandbox ends.
    pub fn tell_exceeded(&self, limit: Exceeded) {
        self.line.inspect(|line| line::tell(line, line::exceeded(limit)));
    }

    /// Reaps all that ended; the exit code of the command, if it is among them. Says so if it was stopped.
    pub fn reaped(&self) -> Option<u8> {
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG | WaitOptions::UNTRACED) {
            match (pid == self.command, status.stopping_signal()) {
                (true, Some(signal)) => {
                    self.line.inspect(|line| line::tell(line, signal));
                }
                (true, None) => {
                    if let (Some(signal), Some(line)) = (status.terminating_signal(), self.line) {
                        line::tell(line, line::DIED + signal);
                    }
                    return Some(status::of_wait(status));
                }
                (false, _) => {}
            }
        }
        None
    }
}
