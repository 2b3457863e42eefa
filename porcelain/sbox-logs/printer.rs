//! How what is in a log reaches stdout: as it is into a pipe, harmless onto a terminal, or line by line as JSON.

use libsbox::cli;
use libsbox::error::Result;
use libsbox::logs::{Reader, Times};
use libsbox::time;
use serde_json::json;
use std::collections::VecDeque;

/// What stdout gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The bytes of the log.
    Raw,
    /// Text that does nothing but be read.
    Terminal,
    /// An object for each line.
    Json,
}

/// A line longer than this is printed in parts.
const LONGEST: usize = 64 * 1024;

/// What stands before each line.
#[derive(Debug, Clone, Default)]
pub struct Head {
    /// Whose line it is.
    pub name: String,
    /// The same as it is printed, if several logs are.
    pub prefix: Option<String>,
    /// Whether to print when it was written.
    pub times: bool,
}

impl Head {
    fn is_empty(&self) -> bool {
        self.prefix.is_none() && !self.times
    }
}

pub struct Printer {
    form: Form,
    head: Head,
    /// The beginning of a line whose end was not read yet.
    line: Vec<u8>,
    times: Option<(u64, Times)>,
    buffer: Vec<u8>,
    /// Lines that are ready beside those of other logs, each with when it was written.
    queue: VecDeque<(u64, Vec<u8>)>,
    /// When the last of them was.
    last: u64,
}

/// Prints what can be read now of several logs, in the order in which it was written. What is held of each is a block.
/// `to_the_end`: nothing comes after it, so that the last line is one without an end, too.
pub fn print_merged<'a>(logs: impl Iterator<Item = (&'a mut Printer, &'a mut Reader)>, to_the_end: bool) -> Result<()> {
    let mut logs: Vec<(&mut Printer, &mut Reader, bool)> = logs.map(|(log, reader)| (log, reader, false)).collect();
    let mut out = Vec::new();
    loop {
        for (log, reader, is_over) in &mut logs {
            while log.queue.is_empty() && !*is_over {
                *is_over = !log.fill(reader)?;
                if *is_over && to_the_end {
                    log.queue_rest(reader);
                }
            }
        }
        // The times are those of seconds: of one second, each log is printed at a stretch.
        let first = logs.iter().enumerate().filter_map(|(at, (log, ..))| Some((log.queue.front()?.0, at))).min();
        let Some((_, at)) = first else { return cli::out(&out) };
        out.extend(logs[at].0.queue.pop_front().into_iter().flat_map(|(_, line)| line));
        if out.len() > LONGEST {
            cli::out(&out)?;
            out.clear();
        }
    }
}

impl Printer {
    pub fn new(form: Form, head: Head) -> Printer {
        Printer { form, head, line: Vec::new(), times: None, buffer: vec![0; LONGEST], queue: VecDeque::new(), last: 0 }
    }

    /// Prints what can be read now.
    pub fn print_rest(&mut self, reader: &mut Reader) -> Result<()> {
        loop {
            let mut buffer = std::mem::take(&mut self.buffer);
            let length = reader.read(&mut buffer)?;
            let printed = self.print(&buffer[..length], reader);
            self.buffer = buffer;
            printed?;
            if length == 0 {
                return self.pause();
            }
        }
    }

    /// Reads once; `false` if there is nothing more now.
    fn fill(&mut self, reader: &mut Reader) -> Result<bool> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let length = reader.read(&mut buffer)?;
        for (time, line) in self.lines(&buffer[..length], reader, true) {
            // What has no time was written before there were any.
            self.last = time.unwrap_or(self.last).max(self.last);
            self.queue.push_back((self.last, line));
        }
        self.buffer = buffer;
        Ok(length > 0)
    }

    fn queue_rest(&mut self, reader: &Reader) {
        if !self.line.is_empty() {
            let (mut out, time) = (Vec::new(), reader.time(&mut self.times, 1));
            self.end_line(&mut out, time);
            self.queue.push_back((time.unwrap_or(self.last).max(self.last), out));
        }
    }

    fn print(&mut self, bytes: &[u8], reader: &Reader) -> Result<()> {
        if self.form == Form::Raw && self.head.is_empty() {
            return if bytes.is_empty() { Ok(()) } else { cli::out(bytes) };
        }
        let timed = self.form == Form::Json || self.head.times;
        let lines = self.lines(bytes, reader, timed);
        cli::out(&lines.into_iter().flat_map(|(_, line)| line).collect::<Vec<u8>>())
    }

    /// The lines that end in `bytes`, as they are printed, and when they were written.
    fn lines(&mut self, bytes: &[u8], reader: &Reader, timed: bool) -> Vec<(Option<u64>, Vec<u8>)> {
        let mut lines = Vec::new();
        let mut at = 0;
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            at += part.len();
            self.line.extend(part);
            if part.ends_with(b"\n") || self.line.len() >= LONGEST {
                let time = timed.then(|| reader.time(&mut self.times, (bytes.len() - at + 1) as u64)).flatten();
                let mut out = Vec::new();
                self.end_line(&mut out, time);
                lines.push((time, out));
            }
        }
        lines
    }

    fn end_line(&mut self, out: &mut Vec<u8>, time: Option<u64>) {
        let line = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(&line);
        // Beside others' lines, each is whole.
        let ended = text.ends_with('\n') || !self.head.is_empty();
        let text = text.trim_end_matches('\n').trim_end_matches('\r');
        if self.form == Form::Json {
            let object = json!({"name": self.head.name, "time": time.map(time::rfc3339), "line": text});
            out.extend(format!("{object}\n").bytes());
            return;
        }
        out.extend(self.head.prefix.iter().flat_map(|prefix| prefix.bytes()));
        if self.head.times {
            let time = time.map_or_else(|| "-".into(), time::rfc3339);
            out.extend(format!("{time:<20} ").bytes());
        }
        match self.form {
            Form::Raw => out.extend(line.strip_suffix(b"\n").unwrap_or(&line)),
            _ => out.extend(harmless(text).bytes()),
        }
        if ended {
            out.push(b'\n');
        }
    }

    /// Nothing more comes at the moment: a person sees the beginning of a line, a program waits for its end.
    fn pause(&mut self) -> Result<()> {
        if self.form == Form::Terminal && self.head.is_empty() && !self.line.is_empty() {
            let mut out = Vec::new();
            self.end_line(&mut out, None);
            return cli::out(&out);
        }
        Ok(())
    }

    /// Nothing more will come.
    pub fn finish(&mut self) -> Result<()> {
        if self.line.is_empty() {
            return Ok(());
        }
        let mut out = Vec::new();
        self.end_line(&mut out, None);
        cli::out(&out)
    }
}

/// Text for a terminal: colours are left out, everything else that a terminal would act on is shown and not sent. A tab is a
/// tab.
fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("\x1b[") {
        out += &visible(&rest[..at]);
        let after = &rest[at + 2..];
        let end = after.find(|c: char| !c.is_ascii_digit() && !matches!(c, ';' | ':')).unwrap_or(after.len());
        if after[end..].starts_with('m') {
            rest = &after[end + 1..];
        } else {
            out += "\\x1b[";
            rest = after;
        }
    }
    out + &visible(rest)
}

fn visible(text: &str) -> String {
    text.split('\t').map(libsbox::escape::visible).collect::<Vec<_>>().join("\t")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_gets_nothing_to_obey() {
        assert_eq!(harmless("\x1b[31mred\x1b[0m\tx"), "red\tx");
        assert_eq!(harmless("\x1b]0;title\x07\x1b[2J\x1b[31"), "\\x1b]0;title\\x07\\x1b[2J\\x1b[31");
        assert_eq!(harmless("50%\rdone \u{9b}31m"), "50%\\rdone \\x9b31m");
        assert_eq!(harmless("größe \u{202e}x"), "größe \\u{202e}x");
    }
}
