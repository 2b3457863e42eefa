//! The line between the monitor and pid 1, and the signals that both wait for.

use crate::limits::Exceeded;
use libsbox::error::{Context, Result};
use libsbox::sys::{self, Signals};
use rustix::event::{PollFd, PollFlags};
use rustix::fd::OwnedFd;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::process::{Pid, Signal};

/// Signals that are passed on to the command when a process sends them. What a key on the terminal sends reaches the
/// command by itself, since it is in the terminal's foreground group too.
const PASSED_ON: [libc::c_int; 12] = [
    libc::SIGTERM,
    libc::SIGINT,
    libc::SIGHUP,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGWINCH,
    libc::SIGALRM,
    libc::SIGCONT,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
];

/// The signals that pid 1 and the monitor wait for; blocked, so that none is lost and none kills.
pub fn awaited() -> Signals {
    awaited_but(0)
}

/// The same without one.
pub fn awaited_but(one: libc::c_int) -> Signals {
    let all = PASSED_ON.iter().copied().chain([libc::SIGCHLD]);
    Signals::of(&all.filter(|signal| *signal != one).collect::<Vec<_>>())
}

/// Holds them back, before the first process is started.
pub fn block() -> Result<()> {
    sys::block(&awaited()).context(|| "hold signals back".into())
}

/// A descriptor that they are read from.
pub fn file() -> Result<OwnedFd> {
    sys::signal_file(&awaited()).context(|| "wait for signals".into())
}

/// The line between the monitor and pid 1. A message of one byte is a signal: the monitor's say which one to pass on, those of
/// pid 1 which one the command was stopped by, or died of, or over which limit the sandbox is. A longer one is a
/// [`crate::recorder::Word`] of pid 1's. The monitor's end comes first.
pub fn line() -> Result<(OwnedFd, OwnedFd)> {
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .context(|| "make a socket".into())
}

/// Added to the number of a signal that the command did not stop at, but died of.
pub const DIED: libc::c_int = 128;

/// Above all of those: pid 1 ended the sandbox because it was over one of its limits.
pub const EXCEEDED: libc::c_int = 200;

/// What stands for a limit on the line.
pub fn exceeded(limit: Exceeded) -> libc::c_int {
    EXCEEDED + limit as libc::c_int
}

/// Says a signal's number on the line. Whoever is gone need not be told.
pub fn tell(line: &OwnedFd, signal: libc::c_int) {
    let _ = rustix::net::send(line, &[signal as u8], SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
}

/// Says more than a signal. What is too long is not said.
pub fn say(line: &OwnedFd, word: &str) {
    if (2..LONGEST).contains(&word.len()) {
        let _ = rustix::net::send(line, word.as_bytes(), SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
    }
}

const LONGEST: usize = 4096;

/// The signals that were said on the line, and what else was; nothing once the other side is gone.
pub fn told(line: &OwnedFd) -> Option<(Vec<libc::c_int>, Vec<String>)> {
    let (mut signals, mut words) = (Vec::new(), Vec::new());
    let mut space = [0u8; LONGEST];
    // At the end of the line there may be words before it.
    for _ in 0..64 {
        match rustix::net::recv(line, &mut space, RecvFlags::DONTWAIT) {
            Ok((0, _)) if signals.is_empty() && words.is_empty() => return None,
            Ok((0, _)) | Err(_) => break,
            Ok((1, _)) => signals.push(libc::c_int::from(space[0])),
            Ok((length, _)) => words.push(String::from_utf8_lossy(&space[..length]).into_owned()),
        }
    }
    Some((signals, words))
}

/// Sends a signal to a process.
pub fn send(to: Pid, signal: libc::c_int) {
    if let Some(signal) = Signal::from_named_raw(signal) {
        // It may be gone by now; then its status arrives next.
        let _ = rustix::process::kill_process(to, signal);
    }
}

/// Waits until one of them can be read, at most for `pause`.
pub fn wait_for(fds: &[&OwnedFd], pause: Option<std::time::Duration>) -> Result<()> {
    let mut polled: Vec<PollFd<'_>> = fds.iter().map(|fd| PollFd::new(*fd, PollFlags::IN)).collect();
    let pause = pause.and_then(|pause| rustix::event::Timespec::try_from(pause).ok());
    match rustix::event::poll(&mut polled, pause.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error).context(|| "wait for a signal".into()),
    }
}
