//! `--status-fd`: what happens to the sandbox, as JSON Lines, for programs that watch it.

use rustix::fd::{AsFd, OwnedFd};
use rustix::process::Pid;
use sbox::cli::Tool;
use sbox::error::{Context, Error, Kind, Result};
use std::fs::File;
use std::io::{Read, Write};

/// Writes events to a descriptor, or nowhere.
pub struct Reporter {
    to: Option<File>,
    exec: Option<OwnedFd>,
    exec_other_end: Option<OwnedFd>,
}

impl Reporter {
    pub fn new(fd: Option<i32>) -> Result<Reporter> {
        let Some(fd) = fd else { return Ok(Reporter { to: None, exec: None, exec_other_end: None }) };
        let to = sbox::sys::adopt(fd).context(|| format!("write to descriptor {fd}"))?;
        // The command's exec closes this pipe; a failure before it leaves a byte.
        let (read, write) =
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).context(|| "make a pipe".into())?;
        Ok(Reporter { to: Some(to.into()), exec: Some(read), exec_other_end: Some(write) })
    }

    /// The end of the pipe that init and the command inherit.
    pub fn exec_pipe(&self) -> Option<OwnedFd> {
        self.exec_other_end.as_ref().and_then(|fd| fd.as_fd().try_clone_to_owned().ok())
    }

    /// Waits until the command has really been executed, and says so; stays silent if it was not.
    pub fn started(&mut self, init: Pid) -> Result<()> {
        drop(self.exec_other_end.take());
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

/// In init, or in the process that could not become the command: prints the error, marks the pipe, gives the code.
pub fn failed_inside(tool: &Tool, error: &Error, exec_pipe: Option<OwnedFd>) -> u8 {
    if let Some(pipe) = exec_pipe {
        let _ = File::from(pipe).write_all(b"!");
    }
    match error.kind() {
        Kind::Answer | Kind::ClosedPipe => 125,
        _ => tool.fail(error),
    }
}
