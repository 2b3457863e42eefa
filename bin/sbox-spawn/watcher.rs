//! The watcher: a process on the host's side that watches the read-write mounts while the sandbox runs.
//!
//! What a command plants there is moved away a moment after it has content, and what the user replaces on the host is
//! covered again. The watcher learns of the sandbox's end from the monitor, or by the monitor's death, so that a sandbox that
//! was killed leaves no more behind than one that ended. It prints nothing: the terminal is the agent's. What there is to say
//! goes to the monitor through a pipe, and the monitor does not wait for the process to end, since the kernel takes
//! milliseconds to close an inotify descriptor.

use crate::control::Control;
use crate::protect::Protection;
use crate::watches::Watches;
use libsbox::error::{Context, Result};
use libsbox::status;
use libsbox::sys::{self, Fork, Signals};
use rustix::event::{PollFd, PollFlags};
use rustix::fd::OwnedFd;
use rustix::fs::inotify::{self, CreateFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitOptions};
use std::collections::HashMap;

/// The monitor's side.
pub struct Watcher {
    /// Where it learns which sandbox it is, and that this has ended.
    line: Option<OwnedFd>,
    report: Option<OwnedFd>,
    pid: Option<Pid>,
}

/// The last line of a report: everything was looked at.
const DONE: &str = ".";

impl Watcher {
    /// Starts it, if there is anything to watch. Before anything else is opened: it must hold no end of another pipe.
    pub fn start(protection: &mut Protection) -> Result<Watcher> {
        if protection.is_empty() {
            return Ok(Watcher { line: None, report: None, pid: None });
        }
        let shown = || String::from("make a pipe");
        let (end, line) = pipe_with(PipeFlags::CLOEXEC).context(shown)?;
        let (report, out) = pipe_with(PipeFlags::CLOEXEC).context(shown)?;
        // Its own descriptor of this one is the last that is closed.
        let inotify_fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok();
        match sys::fork().context(|| "start a process".into())? {
            Fork::Child => {
                drop((line, report));
                watch(protection, inotify_fd, &end, out);
                crate::report::end(0)
            }
            Fork::Parent(pid) => Ok(Watcher { line: Some(line), report: Some(report), pid: Some(pid) }),
        }
    }

    /// Names the first process of the sandbox. If it has mounts of its own, what it protects can be covered again through it.
    pub fn sandbox_is(&self, init: Pid, has_mounts: bool) {
        if let Some(line) = &self.line {
            let letter = if has_mounts { "m" } else { "p" };
            let _ = rustix::io::write(line, format!("{letter}{}\n", init.as_raw_pid()).as_bytes());
        }
    }

    /// The process, while there is one.
    pub fn pid(&self) -> Option<Pid> {
        self.pid
    }

    /// Why the sandbox cannot go on, once this has ended before it: what is planted from now on would stay.
    pub fn lost(&self) -> Option<String> {
        let ended = rustix::process::waitpid(Some(self.pid?), WaitOptions::NOHANG).ok()??;
        Some(format!("the watcher of its read-write mounts {}", status::told(ended.1)))
    }

    /// The sandbox has ended: waits until everything was looked at, and gives what was found. A signal ends the waiting.
    pub fn finish(mut self, protection: &mut Protection) -> Vec<(String, Option<String>)> {
        let (Some(line), Some(report)) = (self.line.take(), self.report.take()) else { return Vec::new() };
        let _ = rustix::io::write(&line, b"!\n");
        let text = read_all(&report);
        drop(line);
        match text {
            Some(text) if text.ends_with(&format!("\n{DONE}\n")) => found(&text),
            Some(_) => {
                protection.findings().note("the watcher of read-write mounts was killed; looked at them now", "");
                protection.look_again();
                protection.finish(&HashMap::new(), false);
                found(&written(protection))
            }
            None => vec![("interrupted while looking at what the sandbox left in read-write mounts".into(), None)],
        }
    }
}

/// What the watcher says, up to its end; nothing if a signal came first.
fn read_all(report: &OwnedFd) -> Option<String> {
    let ending = Signals::of(&[libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT]);
    let signals = sys::signal_file(&ending).ok();
    let (mut bytes, mut space) = (Vec::new(), [0u8; 4096]);
    loop {
        let mut polled = vec![PollFd::new(report, PollFlags::IN)];
        polled.extend(signals.as_ref().map(|signals| PollFd::new(signals, PollFlags::IN)));
        if rustix::event::poll(&mut polled, None).is_err() {
            continue;
        }
        if !polled[0].revents().is_empty() {
            match rustix::io::read(report, &mut space) {
                Ok(length @ 1..) => bytes.extend_from_slice(&space[..length]),
                _ => return Some(String::from_utf8_lossy(&bytes).into_owned()),
            }
            if bytes.ends_with(format!("\n{DONE}\n").as_bytes()) {
                return Some(String::from_utf8_lossy(&bytes).into_owned());
            }
        } else if polled.len() > 1 && !polled[1].revents().is_empty() {
            return None;
        }
    }
}

/// The report as it travels: a line is a warning, or a hint if it begins with a tab.
fn written(protection: &Protection) -> String {
    let mut text = String::from("\n");
    for (line, hint) in &protection.findings().lines {
        text.push_str(&format!("{line}\n"));
        text.extend(hint.iter().map(|hint| format!("\t{hint}\n")));
    }
    text.push_str(&format!("{DONE}\n"));
    text
}

fn found(text: &str) -> Vec<(String, Option<String>)> {
    let mut all: Vec<(String, Option<String>)> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && *line != DONE) {
        match (line.strip_prefix('\t'), all.last_mut()) {
            (Some(hint), Some((_, last))) => *last = Some(hint.to_owned()),
            _ => all.push((line.to_owned(), None)),
        }
    }
    all
}

/// Watches until the monitor says that it is over, or is gone; then looks at what is left to look at.
fn watch(protection: &mut Protection, inotify_fd: Option<OwnedFd>, end: &OwnedFd, out: OwnedFd) {
    let _ = rustix::thread::set_name(c"sbox-watcher");
    // Whoever reads the command's output must not wait for this process.
    if let Ok(null) = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdin(&null);
        let _ = rustix::stdio::dup2_stdout(&null);
        let _ = rustix::stdio::dup2_stderr(&null);
    }
    let (mut whole, mut placeholders) = (false, HashMap::new());
    let covered;
    match &inotify_fd {
        Some(inotify_fd) => {
            let mut watches = Watches::new(protection, inotify_fd);
            watches.run(end);
            covered = watches.is_covered();
            (whole, placeholders) = (watches.saw_everything(), watches.take_placeholders());
        }
        None => {
            protection.findings().note(
                "read-write mounts could not be watched while the sandbox ran: this user has no inotify instance left",
                "raise fs.inotify.max_user_instances; what was planted was dealt with at the end",
            );
            covered = wait_for_end(end);
        }
    }
    if !whole {
        protection.look_again();
    }
    protection.finish(&placeholders, covered);
    let _ = rustix::io::write(&out, written(protection).as_bytes());
    // The inotify descriptor goes with the process, and nobody waits for that.
    drop(out);
}

/// Without watches: only the end matters. Returns whether the sandbox had its own mounts.
fn wait_for_end(end: &OwnedFd) -> bool {
    let mut control = Control::default();
    while control.read(end).is_none() {}
    control.await_death();
    control.way_in().is_some()
}
