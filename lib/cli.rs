//! How every program begins and ends: usage, version, exit codes, stdout.

use crate::commands::{self, Group};
use crate::error::{Error, Kind, Result};
use crate::escape;
use crate::output;
use std::io::Write;
use std::process::ExitCode;

/// The version of the toolkit; all programs have the same.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// One program.
#[derive(Debug)]
pub struct Tool {
    /// The program's full name, `sbox-stage`.
    pub name: &'static str,
    /// The text of `--help`.
    pub usage: &'static str,
    /// Whether the program runs a command for the user, so that its own failures need a separate code: 125.
    pub runs_a_command: bool,
}

impl Tool {
    /// Runs the program and gives its exit code. The only place where an error becomes one.
    pub fn main(&self, run: fn(&mut lexopt::Parser) -> Result<u8>) -> ExitCode {
        if !crate::plumbing::obey_death_of_parent() {
            return ExitCode::FAILURE;
        }
        // A file that grows beyond the limit of the shell's (`ulimit -f`) is an error in words, not a death.
        crate::sys::ignore_signal(libc::SIGXFSZ, true);
        // What the owner cannot read or write is of no use to anybody: no record, no log, no directory.
        let mask = rustix::process::umask(rustix::fs::Mode::RWXU);
        rustix::process::umask(mask.difference(rustix::fs::Mode::RWXU));
        match run(&mut lexopt::Parser::from_env()) {
            Ok(code) => ExitCode::from(code),
            Err(error) => ExitCode::from(self.fail(&error)),
        }
    }

    /// Reports an error and gives its exit code.
    pub fn fail(&self, error: &Error) -> u8 {
        match error.kind() {
            Kind::Answer => return self.answer(&error.to_string()),
            Kind::ClosedPipe => return 0,
            Kind::Reported(code) => return code,
            _ => self.report(error),
        }
        match error.kind() {
            Kind::NotTrusted => 125,
            Kind::NotExecutable => 126,
            Kind::NotFound => 127,
            _ if self.runs_a_command => 125,
            Kind::Usage => 2,
            Kind::Unavailable => crate::error::CANNOT_SERVE,
            _ => 1,
        }
    }

    fn report(&self, error: &Error) {
        // Plumbing names itself: its words arrive in the middle of somebody else's.
        match commands::group(self.name) {
            Some(Group::Plumbing) => output::say(output::Label::Error, format_args!("{}: {error}", self.name)),
            _ => output::say(output::Label::Error, error),
        }
        match (error.hint_text(), error.kind()) {
            (Some(hint), _) => output::hint(hint),
            (None, Kind::Usage) => output::hint(format_args!("{} --help", self.name.replacen('-', " ", 1))),
            _ => {}
        }
    }

    fn answer(&self, what: &str) -> u8 {
        let text = match what {
            "version" => format!("{} {VERSION}\n", self.name),
            _ => self.usage.to_owned(),
        };
        match out(text.as_bytes()) {
            Ok(()) => 0,
            Err(error) => self.fail(&error),
        }
    }
}

/// The options that every program has, and the error for those that it has not.
pub fn common(arg: lexopt::Arg<'_>) -> Error {
    match arg {
        lexopt::Arg::Short('h') | lexopt::Arg::Long("help") => Error::of(Kind::Answer, "help"),
        lexopt::Arg::Short('V') | lexopt::Arg::Long("version") => Error::of(Kind::Answer, "version"),
        lexopt::Arg::Value(value) => {
            Error::usage(format!("unexpected argument '{}'", escape::visible(&value.to_string_lossy())))
        }
        other => other.unexpected().into(),
    }
}

/// The options of a program that has no other than those of all.
pub fn no_options(args: &mut lexopt::Parser) -> Result<()> {
    args.next()?.map_or(Ok(()), |arg| Err(common(arg)))
}

/// The options of a program that has `-j` only: whether it is there.
pub fn is_json(args: &mut lexopt::Parser) -> Result<bool> {
    let mut is_json = false;
    while let Some(arg) = args.next()? {
        match arg {
            lexopt::Arg::Short('j') | lexopt::Arg::Long("json") => is_json = true,
            other => return Err(common(other)),
        }
    }
    Ok(is_json)
}

/// The seconds that the value of an option means, at least one.
pub fn span(text: &str) -> Result<u64> {
    crate::model::seconds(text).ok_or_else(|| {
        Error::usage(format!("'{}' is not a span of time", escape::visible(text)))
            .hint("write, for example, 5s, 10m, 12h or 30d")
    })
}

/// The error for `options` of which there can be one at a time.
pub fn exclusive(options: &str) -> Error {
    Error::usage(format!("{options} cannot be used together"))
}

/// The one that was chosen, if any was; `options` are those that choose.
pub fn at_most_one<T: PartialEq>(mut chosen: Vec<T>, options: &str) -> Result<Option<T>> {
    chosen.dedup();
    if chosen.len() > 1 { Err(exclusive(options)) } else { Ok(chosen.pop()) }
}

/// What a usage text gives in brackets as the default of an option. For the tests that compare it with the code's.
pub fn default_in<'a>(usage: &'a str, option: &str) -> Option<&'a str> {
    let is_option = |line: &&str| line.trim_start().starts_with('-');
    let line = usage.lines().filter(is_option).find(|line| line.split_whitespace().any(|word| word == option))?;
    let item = &usage[line.as_ptr() as usize - usage.as_ptr() as usize..];
    let end = item.match_indices('\n').find(|(at, _)| item[at + 1..].trim_start_matches(' ').starts_with(['-', '\n']));
    item[..end?.0].strip_suffix(']')?.rsplit_once('[').map(|(_, default)| default)
}

/// This machine as container engines name it: `linux-amd64`.
pub fn platform() -> String {
    let machine = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("{}-{machine}", std::env::consts::OS)
}

/// Writes data to stdout. A reader that went away is [`Kind::ClosedPipe`]: the quiet end that a pipeline expects.
pub fn out(data: &[u8]) -> Result<()> {
    if crate::sys::was_closed(1) {
        return Err(Error::new("cannot write to stdout: it is closed"));
    }
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(data).and_then(|()| stdout.flush()).map_err(|error| match error.kind() {
        std::io::ErrorKind::BrokenPipe => Error::of(Kind::ClosedPipe, ""),
        _ => Error::new(format!("cannot write to stdout: {}", crate::error::reason(&error))),
    })
}

/// Writes a line to stdout.
pub fn out_line(text: impl std::fmt::Display) -> Result<()> {
    out(format!("{text}\n").as_bytes())
}

/// Writes a value to stdout as indented JSON: what `--json` gives a person's program.
pub fn out_json(value: &impl serde::Serialize) -> Result<()> {
    let text =
        serde_json::to_string_pretty(value).map_err(|error| Error::new(format!("cannot write JSON: {error}")))?;
    out_line(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAGE: Tool = Tool { name: "sbox-stage", usage: "", runs_a_command: false };
    const RUN: Tool = Tool { name: "sbox-run", usage: "", runs_a_command: true };

    #[test]
    fn the_kind_decides_the_code() {
        let codes = |tool: &Tool| {
            [Kind::Failure, Kind::Usage, Kind::Reported(7), Kind::NotExecutable, Kind::NotFound]
                .map(|kind| tool.fail(&Error::of(kind, "x")))
        };
        assert_eq!(codes(&STAGE), [1, 2, 7, 126, 127]);
        assert_eq!(codes(&RUN), [125, 125, 7, 126, 127]);
    }
}
