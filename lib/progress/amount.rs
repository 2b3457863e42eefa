//! How far a program is, reported to the one that draws: JSON Lines of `{"what", "done", "total"}` on the descriptor that
//! SBOX_PROGRESS_FD names. Programs in between pass it on by doing nothing.

use super::Progress;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd};
use std::process::Command;
use std::time::{Duration, Instant};

const VARIABLE: &str = "SBOX_PROGRESS_FD";
/// How often something is reported.
const PAUSE: Duration = Duration::from_millis(100);

/// One report.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Amount {
    /// Empty: it is over.
    pub(super) what: String,
    pub(super) done: u64,
    pub(super) total: Option<u64>,
}

impl Amount {
    pub(super) fn read(line: &[u8]) -> Option<Amount> {
        let amount: Amount = serde_json::from_slice(line).ok()?;
        Some(Amount { what: crate::escape::visible(&amount.what), ..amount })
    }
}

/// Lets `command` and its children inherit the pipe.
pub(super) fn announce(command: &mut Command, pipe: &impl AsFd) {
    if rustix::io::fcntl_setfd(pipe, rustix::io::FdFlags::empty()).is_ok() {
        command.env(VARIABLE, pipe.as_fd().as_raw_fd().to_string());
    }
}

/// Tells how far something is: to the program that draws, or else on this process's own terminal. Dropping it says that
/// it is over.
#[derive(Debug)]
pub struct Report {
    what: &'static str,
    done: u64,
    total: Option<u64>,
    pipe: Option<File>,
    last: Option<Instant>,
    _own: Option<Progress>,
}

impl Report {
    /// Begins with `done` bytes of `total`, if that is known.
    pub fn begin(what: &'static str, done: u64, total: Option<u64>) -> Report {
        let mut report = Report { what, done, total, pipe: inherited(), last: None, _own: None };
        if report.pipe.is_none() {
            let own = Progress::spin("downloading");
            report.pipe = own.amounts().map(|pipe| File::from(std::os::fd::OwnedFd::from(pipe)));
            report._own = Some(own);
        }
        report.set(done);
        report
    }

    /// Begins with nothing, for the program that draws; nothing if there is none.
    pub fn to_caller(what: &'static str) -> Option<Report> {
        let pipe = inherited()?;
        Some(Report { what, done: 0, total: None, pipe: Some(pipe), last: None, _own: None })
    }

    /// Whether anybody looks.
    pub fn is_watched(&self) -> bool {
        self.pipe.is_some()
    }

    /// So many bytes more.
    pub fn add(&mut self, bytes: u64) {
        self.set(self.done + bytes);
    }

    /// So many bytes in all.
    pub fn set(&mut self, done: u64) {
        self.done = done;
        if self.last.is_none_or(|last| last.elapsed() >= PAUSE) {
            self.last = Some(Instant::now());
            self.tell(self.what);
        }
    }

    /// The pipe does not block: who draws is never waited for.
    fn tell(&mut self, what: &str) {
        let amount = Amount { what: what.into(), done: self.done, total: self.total };
        if let (Some(pipe), Ok(text)) = (&mut self.pipe, serde_json::to_string(&amount)) {
            let _ = pipe.write_all(format!("{text}\n").as_bytes());
        }
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        self.tell("");
    }
}

/// The pipe of the program that draws. Opened again through /proc: nothing is assumed of the number in the environment.
fn inherited() -> Option<File> {
    use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
    let number: u32 = std::env::var(VARIABLE).ok()?.parse().ok()?;
    let flags = rustix::fs::OFlags::NONBLOCK.bits();
    let file = File::options().write(true).custom_flags(flags as i32).open(format!("/proc/self/fd/{number}")).ok()?;
    file.metadata().ok()?.file_type().is_fifo().then_some(file)
}
