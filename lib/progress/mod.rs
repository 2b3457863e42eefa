//! A sign of life for anything that takes more than a second: one line on a terminal, a plain message elsewhere.
//!
//! Only one process draws: the one that a person started. What its children write to stderr meanwhile goes through it and
//! is printed above the line, and how far they are comes through a separate pipe (see [`amount`]).

pub mod amount;

use crate::output;
use crate::width;
use crate::{format, sys};
use amount::Amount;
use rustix::event::{PollFd, PollFlags, poll};
use std::io::{IsTerminal, PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often the line is drawn.
const TICK: Duration = Duration::from_millis(120);
const FRAMES: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
/// To the start of the line, and nothing on it.
const CLEAR: &str = "\r\x1b[2K";

/// A step that is under way. Dropping it clears the line.
#[derive(Debug)]
pub struct Progress(Option<Drawer>);

#[derive(Debug)]
struct Drawer {
    thread: Option<JoinHandle<()>>,
    /// Closed to stop the thread.
    stop: Option<PipeWriter>,
    words: PipeWriter,
    amounts: PipeWriter,
}

impl Progress {
    /// Announces a step that takes its time.
    pub fn start(message: &str) -> Progress {
        let progress = Progress::spin(message);
        if progress.0.is_none() {
            output::info(message);
        }
        progress
    }

    /// Shows life on a terminal, and nothing elsewhere: for a step that is mostly over at once.
    pub fn spin(message: &str) -> Progress {
        let can = std::io::stderr().is_terminal() && std::env::var_os("TERM").is_some_and(|term| term != "dumb");
        // A step that cannot be shown is done all the same.
        Progress(if can { Drawer::start(message).ok() } else { None })
    }

    /// Lets a child write its messages above the line, and tell how far it is.
    pub fn watch(&self, command: &mut Command) {
        let Some(drawer) = &self.0 else { return };
        if let Ok(words) = drawer.words.try_clone() {
            command.stderr(Stdio::from(words));
            amount::announce(command, &drawer.amounts);
        }
    }

    /// Where this process itself reports how far it is.
    fn amounts(&self) -> Option<PipeWriter> {
        self.0.as_ref()?.amounts.try_clone().ok()
    }
}

impl Drawer {
    fn start(message: &str) -> std::io::Result<Drawer> {
        let (stopped, stop) = std::io::pipe()?;
        let (said, words) = std::io::pipe()?;
        let (reported, amounts) = std::io::pipe()?;
        for end in [said.as_fd(), reported.as_fd(), amounts.as_fd()] {
            rustix::io::ioctl_fionbio(end, true)?;
        }
        let line = Line::new(message);
        sys::clear_line_when_interrupted(true);
        let thread = std::thread::Builder::new().spawn(move || draw(line, &stopped, said, reported))?;
        Ok(Drawer { thread: Some(thread), stop: Some(stop), words, amounts })
    }
}

impl Drop for Drawer {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        sys::clear_line_when_interrupted(false);
    }
}

/// Draws until `stopped` is closed, then prints what is left to print and clears the line.
fn draw(mut line: Line, stopped: &PipeReader, mut said: PipeReader, mut reported: PipeReader) {
    let mut words = Vec::new();
    loop {
        let mut ends = [
            PollFd::new(stopped, PollFlags::empty()),
            PollFd::new(&said, PollFlags::IN),
            PollFd::new(&reported, PollFlags::IN),
        ];
        let tick = rustix::event::Timespec { tv_sec: 0, tv_nsec: TICK.subsec_nanos().into() };
        let _ = poll(&mut ends, Some(&tick));
        let is_over = !ends[0].revents().is_empty();
        let mut reports = Vec::new();
        drain(&mut said, &mut words);
        drain(&mut reported, &mut reports);
        line.take(&reports);
        let whole =
            if is_over { words.len() } else { words.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1) };
        if whole > 0 || is_over {
            let text = String::from_utf8_lossy(&words[..whole]).into_owned();
            let lines: String = text.split_inclusive('\n').map(output::repaint).collect();
            words.drain(..whole);
            write(format!("{CLEAR}{lines}").as_bytes());
        }
        if is_over {
            return;
        }
        write(format!("{CLEAR}{}", line.text(columns())).as_bytes());
    }
}

fn drain(pipe: &mut PipeReader, into: &mut Vec<u8>) {
    let mut block = [0; 4096];
    while let Ok(length @ 1..) = pipe.read(&mut block) {
        into.extend_from_slice(&block[..length]);
    }
}

fn write(bytes: &[u8]) {
    let _ = std::io::stderr().lock().write_all(bytes);
}

/// A terminal that does not know its width is an ordinary one.
fn columns() -> usize {
    let known = rustix::termios::tcgetwinsize(std::io::stderr()).map_or(0, |size| usize::from(size.ws_col));
    if known == 0 { 80 } else { known.max(20) }
}

/// What the line shows.
struct Line {
    message: String,
    start: Instant,
    frame: usize,
    amount: Option<Amount>,
    /// When the amount that is under way began, and with how much.
    began: (Instant, u64),
}

impl Line {
    fn new(message: &str) -> Line {
        let now = Instant::now();
        Line { message: message.to_owned(), start: now, frame: 0, amount: None, began: (now, 0) }
    }

    /// The last whole report counts.
    fn take(&mut self, reports: &[u8]) {
        let Some(amount) = reports.split(|byte| *byte == b'\n').rev().find_map(Amount::read) else { return };
        if self.amount.as_ref().is_none_or(|known| known.what != amount.what || known.done > amount.done) {
            self.began = (Instant::now(), amount.done);
        }
        self.amount = (!amount.what.is_empty()).then_some(amount);
    }

    /// `⠙ making the runtime: node 12.3 MB of 60.1 MB, 5.2 MB/s (4s)`, cut to the width: a line that wraps cannot be
    /// cleared.
    fn text(&mut self, columns: usize) -> String {
        self.frame = (self.frame + 1) % FRAMES.len();
        let mut text = format!("{} {}", FRAMES[self.frame], self.message);
        if let Some(amount) = &self.amount {
            text += &format!(": {} {}", amount.what, format::size(amount.done));
            if let Some(total) = amount.total.filter(|total| *total >= amount.done) {
                text += &format!(" of {}", format::size(total));
            }
            let seconds = self.began.0.elapsed().as_secs_f64();
            if seconds > 0.5 {
                let speed = amount.done.saturating_sub(self.began.1) as f64 / seconds;
                text += &format!(", {}/s", format::size(speed as u64));
            }
        }
        text += &format!(" ({})", format::span(self.start.elapsed().as_secs()));
        width::shortened(&text, columns - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_whole_report_is_shown_and_the_line_never_wraps() {
        let mut line = Line::new("making the runtime");
        assert!(line.text(80).ends_with(" making the runtime (0s)"));
        line.take(b"{\"what\":\"node\",\"done\":1,\"total\":60100000}\n{\"what\":\"node\",\"done\":12300000,\"total\":60100000}\n{\"wh");
        assert!(line.text(80).contains(": node 12.3 MB of 60.1 MB"));
        assert_eq!(width::of(&line.text(20)), 19);
        line.take(b"{\"what\":\"\",\"done\":0}\n");
        assert!(line.text(80).ends_with(" making the runtime (0s)"));
    }
}
