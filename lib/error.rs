//! One error type for every program: a sentence, a hint, and the kind that decides the exit code.

use std::fmt;

/// The result of everything here that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The exit code of [`Kind::Unavailable`]: of a provider that cannot serve what it was asked for.
pub const CANNOT_SERVE: u8 = 3;

/// What sort of failure it was. [`crate::cli::Tool::main`] turns it into an exit code, and nothing else does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It did not work: exit code 1, or 125 where the program runs a command.
    Failure,
    /// The program was called in a wrong way: exit code 2, or 125 where the program runs a command.
    Usage,
    /// The text asked for with `--help` or `--version`, for stdout: exit code 0.
    Answer,
    /// Another program said what was wrong already: its exit code, and no word more.
    Reported(u8),
    /// A provider cannot serve what it was asked for, and another may: exit code 3.
    Unavailable,
    /// A configuration asks for what nobody accepted: exit code 125, whichever program found it.
    NotTrusted,
    /// The command to run cannot be executed: exit code 126.
    NotExecutable,
    /// The command to run was not found: exit code 127.
    NotFound,
    /// The reader of stdout went away: a quiet end.
    ClosedPipe,
}

/// An error as a person reads it.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    message: String,
    hint: Option<String>,
    code: Option<i32>,
}

impl Error {
    /// A failure: what could not be done, subject in single quotes, reason last.
    pub fn new(message: impl Into<String>) -> Error {
        Error::of(Kind::Failure, message)
    }

    /// An error of a given kind.
    pub fn of(kind: Kind, message: impl Into<String>) -> Error {
        Error { kind, message: message.into(), hint: None, code: None }
    }

    /// Wrong usage of a program.
    pub fn usage(message: impl Into<String>) -> Error {
        Error::of(Kind::Usage, message)
    }

    /// Somebody else has printed the reason; end with `code`.
    pub fn reported(code: u8) -> Error {
        Error::of(Kind::Reported(code), "")
    }

    /// What to do next, printed after an arrow.
    pub fn hint(mut self, hint: impl Into<String>) -> Error {
        self.hint = Some(hint.into());
        self
    }

    /// The kind of failure.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The number of the system's error (errno(3)), if it was one.
    pub fn code(&self) -> Option<i32> {
        self.code
    }

    /// What to do next, if anybody knows.
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<lexopt::Error> for Error {
    fn from(error: lexopt::Error) -> Error {
        Error::usage(error.to_string())
    }
}

/// Of what is made of our own values: it does not happen. Text from outside gets words of its own.
impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Error {
        Error::new(format!("cannot write JSON: {error}"))
    }
}

/// The reason of a system error for use in a sentence: lower case, without its number.
pub fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => String::from("unknown reason"),
    }
}

/// What to do where a system call failed because something is used up: which limit it is, and how much of it there is.
pub fn exhausted(code: i32) -> Option<String> {
    use rustix::process::{Resource, getrlimit};
    let limit = |what| getrlimit(what).current.map_or_else(|| "unlimited".into(), |most| most.to_string());
    match code {
        libc::EMFILE => {
            let most = limit(Resource::Nofile);
            Some(format!("this process may have {most} open files, and a sandbox takes up to 64: ulimit -n 1024"))
        }
        libc::ENFILE => Some("the whole system has no open file left: sysctl fs.file-max".into()),
        libc::EAGAIN => {
            let most = limit(Resource::Nproc);
            Some(format!(
                "no process can be started: this user may have {most} (ulimit -u), and a control group (pids.max) or the system (sysctl kernel.pid_max) may have a limit, too"
            ))
        }
        libc::ENOMEM => Some("the system or the control group (memory.max) has no memory left".into()),
        _ => None,
    }
}

/// Adds to a system error what could not be done.
pub trait Context<T> {
    /// `what` completes "cannot …": `read 'a/b'`.
    fn context(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Context<T> for std::io::Result<T> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| {
            let mut wrapped = Error::new(format!("cannot {}: {}", what(), reason(&error)));
            wrapped.code = error.raw_os_error();
            if let Some(hint) = error.raw_os_error().and_then(exhausted) {
                return wrapped.hint(hint);
            }
            match error.raw_os_error() {
                Some(libc::ENOSPC | libc::EDQUOT) => {
                    wrapped.hint("free some space and run the command again; nothing is lost")
                }
                Some(libc::EROFS) => {
                    wrapped.hint("the file system is mounted read-only: use a place that can be written")
                }
                _ => wrapped,
            }
        })
    }
}

impl<T> Context<T> for rustix::io::Result<T> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(std::io::Error::from).context(what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_has_no_capital_and_no_number() {
        let error = std::io::Error::from_raw_os_error(libc::ENOENT);
        assert_eq!(reason(&error), "no such file or directory");
    }

    #[test]
    fn context_says_what_could_not_be_done_first() {
        let result: std::io::Result<()> = Err(std::io::Error::from_raw_os_error(libc::EACCES));
        let error = result.context(|| "read 'a/b'".into()).unwrap_err();
        assert_eq!(error.to_string(), "cannot read 'a/b': permission denied");
    }

    #[test]
    fn a_full_disk_has_a_hint() {
        let result: std::io::Result<()> = Err(std::io::Error::from_raw_os_error(libc::ENOSPC));
        assert!(result.context(|| "write 'x'".into()).unwrap_err().hint_text().is_some());
    }
}
