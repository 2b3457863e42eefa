//! The terminal of a run, when a line can be asked on it.

use rustix::fs::{Mode, OFlags};
use rustix::termios::{LocalModes, QueueSelector, Termios};
use std::fs::File;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

pub struct Terminal(File);

impl Terminal {
    /// The one that this process has, if it has one.
    pub fn own() -> Option<Terminal> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = rustix::fs::open("/dev/tty", flags, Mode::empty()).ok()?;
        Some(Terminal(File::from(file)))
    }

    /// Whether it takes lines and is ours: not in full screen, and not another job's.
    pub fn is_free(&self) -> bool {
        let is_cooked = |modes: Termios| modes.local_modes.contains(LocalModes::ICANON | LocalModes::ECHO);
        let is_front = rustix::termios::tcgetpgrp(&self.0).is_ok_and(|front| front == rustix::process::getpgrp());
        is_front && rustix::termios::tcgetattr(&self.0).is_ok_and(is_cooked)
    }

    /// Writes, having dropped what was typed before: it is not an answer.
    pub fn ask(&mut self, text: &str) {
        let _ = rustix::termios::tcflush(&self.0, QueueSelector::IFlush);
        let _ = write!(self.0, "\r\n[sbox] {text}");
        let _ = self.0.flush();
    }

    pub fn say(&mut self, text: &str) {
        let _ = write!(self.0, "{text}\r\n");
    }

    /// A line, if one comes within a moment.
    pub fn line(&mut self, patience: Duration) -> Option<String> {
        let end = Instant::now() + patience;
        let mut line = [0; 256];
        loop {
            match self.0.read(&mut line) {
                Ok(count) if count > 0 => return Some(String::from_utf8_lossy(&line[..count]).into_owned()),
                _ if Instant::now() >= end => return None,
                _ => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }
}
