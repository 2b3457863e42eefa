//! The terminal of the caller.

use rustix::fd::OwnedFd;
use rustix::process::{Pid, Signal};
use std::cell::Cell;

/// The terminal before the command: to be put back if the command dies with it turned raw, or leaves it to a process
/// group that is gone.
pub struct Terminal {
    modes: Option<rustix::termios::Termios>,
    /// The controlling terminal, if there is one.
    controlling: Option<OwnedFd>,
    /// The caller's process group, if it was in the foreground.
    foreground: Option<Pid>,
    /// The last key that interrupts: Ctrl-C or Ctrl-\.
    key: Cell<Option<Signal>>,
    /// Whether the command died of it.
    died_of_key: Cell<bool>,
}

/// Lines are edited and shown: what is otherwise switched off by a program that draws.
const LINES: rustix::termios::LocalModes = rustix::termios::LocalModes::ICANON.union(rustix::termios::LocalModes::ECHO);

impl Terminal {
    pub fn remember() -> Terminal {
        let controlling = std::fs::OpenOptions::new().read(true).write(true).open("/dev/tty").ok().map(OwnedFd::from);
        let group = controlling.as_ref().and_then(|tty| rustix::termios::tcgetpgrp(tty).ok());
        Terminal {
            modes: rustix::termios::tcgetattr(rustix::stdio::stdin()).ok(),
            controlling,
            foreground: group.filter(|group| Some(*group) == own_group()),
            key: Cell::new(None),
            died_of_key: Cell::new(false),
        }
    }

    /// Whether a person reads what this process says, and reads it as lines: a terminal that is in front, and is not a program's
    /// that draws on it. A job in the background would write into whatever is in front.
    pub fn is_watched(&self) -> bool {
        let stderr = rustix::stdio::stderr();
        let is_lined = |modes: &rustix::termios::Termios| modes.local_modes.contains(LINES);
        let in_front = || rustix::termios::tcgetpgrp(stderr).ok().is_some_and(|group| Some(group) == own_group());
        // Of another terminal than the one of stderr, or of none: then there is no telling.
        self.modes.as_ref().is_none_or(is_lined)
            && rustix::termios::tcgetattr(stderr).is_ok_and(|modes| is_lined(&modes))
            && in_front()
    }

    /// Whether the command has left the terminal in another mode, as programs do that draw on all of it, and did not come to
    /// put it back.
    pub fn has_other_modes(&self) -> bool {
        let Some(before) = &self.modes else { return false };
        rustix::termios::tcgetattr(rustix::stdio::stdin())
            .is_ok_and(|now| now.local_modes & LINES != before.local_modes & LINES)
    }

    /// Whether somebody may be waiting behind a terminal for this process to stop.
    pub fn is_there(&self) -> bool {
        self.controlling.is_some()
    }

    /// The kernel sent a signal, as it does for keys.
    pub fn note_key(&self, signal: libc::c_int) {
        let keys = [Signal::INT, Signal::QUIT];
        self.key.set(keys.into_iter().find(|key| key.as_raw() == signal).or(self.key.get()));
    }

    /// The command died of this signal, or of none.
    pub fn note_end(&self, died_of: Option<libc::c_int>) {
        self.died_of_key.set(self.key.get().is_some_and(|key| died_of == Some(key.as_raw())));
    }

    pub fn restore(&self) {
        self.take_back();
        let Some(modes) = &self.modes else { return };
        // Only in the foreground: from the background this would disturb whoever is there.
        if own_group().is_some() && rustix::termios::tcgetpgrp(rustix::stdio::stdin()).ok() == own_group() {
            let _ = rustix::termios::tcsetattr(rustix::stdio::stdin(), rustix::termios::OptionalActions::Now, modes);
        }
    }

    /// A shell inside makes itself the foreground, and cannot name the group that was there before it: that one is outside
    /// of its sight. Whoever reads from the terminal after us would be stopped or refused.
    fn take_back(&self) {
        let (Some(own), Some(terminal)) = (self.foreground, &self.controlling) else { return };
        let Ok(now) = rustix::termios::tcgetpgrp(terminal) else { return };
        let is_gone = || rustix::process::test_kill_process_group(now) == Err(rustix::io::Errno::SRCH);
        if now != own && is_gone() {
            // SIGTTOU is held back, so that this is allowed from the background.
            let _ = rustix::termios::tcsetpgrp(terminal, own);
        }
    }

    /// A shell script ends at Ctrl-C only if the program that it waits for died of it. Returns if ours did not.
    pub fn die_as_the_command_did(&self) {
        let Some(key) = self.key.get().filter(|_| self.died_of_key.get()) else { return };
        let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
        let _ = rustix::process::setrlimit(rustix::process::Resource::Core, none);
        if libsbox::sys::block(&libsbox::sys::Signals::of(&[])).is_ok() {
            let _ = rustix::process::kill_process(rustix::process::getpid(), key);
        }
    }
}

/// Nothing if it is outside of this pid namespace.
fn own_group() -> Option<Pid> {
    libsbox::sys::process_group(0).ok().and_then(Pid::from_raw)
}
