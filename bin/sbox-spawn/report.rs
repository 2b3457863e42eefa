//! `--status-fd`: what happens to the sandbox, as JSON Lines, for programs that watch it; and how the processes inside tell
//! the monitor what went wrong.

use crate::args::TOOL;
use libsbox::error::{Context, Error, Kind, Result};
use rustix::fd::{AsFd, OwnedFd};
use rustix::net::{AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType};
use rustix::process::Pid;
use std::fs::File;
use std::io::{Read, Write};

/// Writes events to a descriptor, or nowhere.
pub struct Reporter {
    to: Option<File>,
    exec: Option<OwnedFd>,
    /// Why the sandbox was ended.
    why: Option<String>,
}

impl Reporter {
    pub fn new(fd: Option<i32>) -> Result<Reporter> {
        let to = fd.map(|fd| libsbox::sys::adopt(fd).context(|| format!("write to descriptor {fd}"))).transpose()?;
        Ok(Reporter { to: to.map(File::from), exec: None, why: None })
    }

    /// The end of a socket for the process that becomes the command: it says who it is, and exec closes it; a failure
    /// before that leaves a byte more. Nothing if nobody wants to know.
    pub fn exec_socket(&mut self, is_asked: bool) -> Result<Option<OwnedFd>> {
        if self.to.is_none() && !is_asked {
            return Ok(None);
        }
        let shown = || String::from("make a socket");
        let (read, write) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
                .context(shown)?;
        // The kernel adds the sender's pid, as it is called in the reader's namespace.
        rustix::net::sockopt::set_socket_passcred(&read, true).context(shown)?;
        self.exec = Some(read);
        Ok(Some(write))
    }

    /// Waits until the command has really been executed, and says so; gives its pid, and where calls are reported that its
    /// filter refuses. Nothing if it was not executed. The other end must be closed in this process.
    pub fn started(&mut self, init: Pid) -> Result<(Option<Pid>, Option<OwnedFd>)> {
        let Some(exec) = self.exec.take() else { return Ok((None, None)) };
        let (mut command, mut listener) = (None, None);
        loop {
            match receive(&exec).context(|| "wait for the command".into())? {
                Some(Said { letter: b'c', pid, .. }) => command = pid,
                Some(Said { letter: b'l', fd, .. }) => listener = fd,
                Some(_) => return Ok((None, None)),
                None => break,
            }
        }
        let Some(command) = command else { return Ok((None, listener)) };
        let (init, pid) = (init.as_raw_pid(), command.as_raw_pid());
        self.write(&serde_json::json!({"event": "started", "pid": init, "command": pid}));
        Ok((Some(command), listener))
    }

    /// Keeps why the sandbox was ended, for the last event.
    pub fn ended_for(&mut self, why: String) {
        self.why = Some(why);
    }

    /// That reason.
    pub fn reason(&self) -> Option<String> {
        self.why.clone()
    }

    pub fn ended(&mut self, code: u8) {
        let mut event = serde_json::json!({"event": "exit", "code": code});
        if let Some(why) = self.why.take() {
            event["reason"] = why.into();
        }
        self.write(&event);
    }

    fn write(&mut self, event: &serde_json::Value) {
        if let Some(to) = &mut self.to {
            // One write: a reader that wakes up sees a whole line. Whoever watched may be gone; the command is not to
            // suffer for it.
            let _ = to.write_all(format!("{event}\n").as_bytes());
        }
    }
}

/// One byte, the pid of who sent it, and a descriptor that came with it.
struct Said {
    letter: u8,
    pid: Option<Pid>,
    fd: Option<OwnedFd>,
}

/// Waits for one; nothing at the end.
fn receive(socket: &OwnedFd) -> rustix::io::Result<Option<Said>> {
    let mut byte = [0u8; 1];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1), ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut data = [std::io::IoSliceMut::new(&mut byte)];
    let got = loop {
        match rustix::net::recvmsg(socket, &mut data, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            got => break got?,
        }
    };
    let (mut pid, mut fd) = (None, None);
    for message in ancillary.drain() {
        match message {
            RecvAncillaryMessage::ScmCredentials(sender) => pid = Some(sender.pid),
            RecvAncillaryMessage::ScmRights(mut fds) => fd = fds.next(),
            _ => {}
        }
    }
    Ok((got.bytes > 0).then_some(Said { letter: byte[0], pid, fd }))
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

    /// Lets go of it: nothing will come.
    pub fn close(&mut self) {
        self.read = None;
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
        (kind, Some(pipe)) if kind == Kind::Unavailable || (failure.tells_all && kind == Kind::Failure) => {
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
    /// The end of [`Reporter::exec_socket`].
    pub exec: Option<OwnedFd>,
    /// Takes what the host lacks, if a weaker level can be tried instead.
    pub unavailable: Option<OwnedFd>,
    /// Whether the monitor hears what the filter refuses.
    pub hears_calls: bool,
    /// It takes every other failure, too.
    pub tells_all: bool,
}

impl FailurePipes {
    /// Where the descriptor goes that refused calls are reported to.
    pub fn listener(&self) -> Option<&OwnedFd> {
        self.exec.as_ref().filter(|_| self.hears_calls)
    }

    /// In the process that becomes the command: says who that is.
    pub fn announce(&self) {
        if let Some(socket) = &self.exec {
            let _ = rustix::io::write(socket, b"c");
        }
    }
}

/// Ends a forked process without returning into its parent's code.
#[allow(clippy::exit, reason = "a forked process must not run what its parent is in the middle of")]
pub fn end(code: u8) -> ! {
    std::process::exit(code.into())
}
