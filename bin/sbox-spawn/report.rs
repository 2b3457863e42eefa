//! `--status-fd`: what happens to the sandbox, as JSON Lines, for programs that watch it; and how the processes inside tell
//! the monitor what went wrong.

use crate::args::TOOL;
use libsbox::error::{Context, Error, Kind, Result};
use rustix::fd::{AsFd, OwnedFd};
use rustix::process::Pid;
use std::fs::File;
use std::io::{Read, Write};

/// Writes events to a descriptor, or nowhere.
pub struct Reporter {
    to: Option<File>,
    exec: Option<OwnedFd>,
}

impl Reporter {
    pub fn new(fd: Option<i32>) -> Result<Reporter> {
        let to = fd.map(|fd| libsbox::sys::adopt(fd).context(|| format!("write to descriptor {fd}"))).transpose()?;
        Ok(Reporter { to: to.map(File::from), exec: None })
    }

    /// A pipe that the command's exec closes; a failure before it leaves a byte. Nothing if nobody watches.
    pub fn exec_pipe(&mut self) -> Result<Option<OwnedFd>> {
        if self.to.is_none() {
            return Ok(None);
        }
        let (read, write) = pipe()?;
        self.exec = Some(read);
        Ok(Some(write))
    }

    /// Waits until the command has really been executed, and says so; stays silent if it was not. The writing end must be
    /// closed in this process.
    pub fn started(&mut self, init: Pid) -> Result<()> {
        let Some(exec) = self.exec.take() else { return Ok(()) };
        let mut failed = Vec::new();
        File::from(exec).read_to_end(&mut failed).context(|| "wait for the command".into())?;
        if failed.is_empty() {
            self.write(&serde_json::json!({"event": "started", "pid": init.as_raw_pid()}));
        }
        Ok(())
    }

    pub fn ended(&mut self, code: u8) {
        self.write(&serde_json::json!({"event": "exit", "code": code}));
    }

    fn write(&mut self, event: &serde_json::Value) {
        if let Some(to) = &mut self.to {
            // Whoever watched may be gone; the command is not to suffer for it.
            let _ = writeln!(to, "{event}");
        }
    }
}

fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).context(|| "make a pipe".into())
}

/// Where a process inside says that this host cannot give the level, so that a weaker one can be tried.
pub struct UnavailablePipe {
    read: Option<OwnedFd>,
    write: Option<OwnedFd>,
}

impl UnavailablePipe {
    /// With nothing weaker to try there is none: the error is printed where it is met.
    pub fn new(wanted: bool) -> Result<UnavailablePipe> {
        if !wanted {
            return Ok(UnavailablePipe { read: None, write: None });
        }
        let (read, write) = pipe()?;
        Ok(UnavailablePipe { read: Some(read), write: Some(write) })
    }

    /// The end for the processes inside.
    pub fn writer(&mut self) -> Option<OwnedFd> {
        self.write.take()
    }

    /// After the end of the sandbox: what it lacked.
    pub fn read(self) -> Option<Error> {
        let mut text = String::new();
        File::from(self.read?).take(4096).read_to_string(&mut text).ok()?;
        let (message, hint) = text.split_once('\n')?;
        let error = Error::of(Kind::Unavailable, message);
        Some(if hint.is_empty() { error } else { error.hint(hint) })
    }
}

/// In init, or in the process that could not become the command: tells the error, marks the pipe, gives the code.
pub fn failed_inside(error: &Error, failure: &FailurePipes) -> u8 {
    if let Some(pipe) = &failure.exec {
        let _ = rustix::io::write(pipe.as_fd(), b"!");
    }
    match (error.kind(), &failure.unavailable) {
        (Kind::Unavailable, Some(pipe)) => {
            let text = format!("{error}\n{}", error.hint_text().unwrap_or_default());
            let _ = rustix::io::write(pipe.as_fd(), text.as_bytes());
            125
        }
        (Kind::Answer | Kind::ClosedPipe, _) => 125,
        _ => TOOL.fail(error),
    }
}

/// How a process inside tells the monitor that it failed.
pub struct FailurePipes {
    /// A byte in it says that the command was never executed.
    pub exec: Option<OwnedFd>,
    /// Takes what the host lacks, if a weaker level can be tried instead.
    pub unavailable: Option<OwnedFd>,
}

/// Ends a forked process without returning into its parent's code.
#[allow(clippy::exit, reason = "a forked process must not run what its parent is in the middle of")]
pub fn end(code: u8) -> ! {
    std::process::exit(code.into())
}
