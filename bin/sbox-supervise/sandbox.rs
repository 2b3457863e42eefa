//! One run of the sandbox: `sbox-spawn`, tied to this process, what it prints, and what it says of itself.

use crate::log::Log;
use libsbox::daemon::Started;
use libsbox::error::{Context, Error, Result};
use libsbox::plumbing;
use libsbox::process::{Identity, Stat};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::io::FdFlags;
use rustix::process::{Pid, Signal};
use std::ffi::OsString;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How much of what a failed start prints is passed on to whoever asked for it.
const SAID: usize = 8192;

pub struct Sandbox {
    monitor: Child,
    /// What the command prints; nothing once everybody has closed it.
    output: Option<OwnedFd>,
    status: OwnedFd,
    /// Its first process, once the command was executed.
    init: Option<Identity>,
    /// The same, held, once the monitor has ended before it.
    last: Option<OwnedFd>,
    /// The exit code of the monitor, which may end before the last process inside has.
    code: Option<u8>,
    /// Until it was executed: what was printed.
    said: Vec<u8>,
    /// What sbox-spawn said of the sandbox.
    events: Vec<u8>,
}

/// How a start went.
pub enum Start {
    Executed(Started),
    /// With this code, after these words.
    Ended(u8, Vec<u8>),
}

impl Sandbox {
    pub fn start(command: &[OsString]) -> Result<Sandbox> {
        let (status, their_status) = pipe()?;
        let (output, their_output) = pipe()?;
        rustix::io::fcntl_setfd(&their_status, FdFlags::empty()).context(|| "pass a pipe on".into())?;
        for end in [&status, &output] {
            rustix::io::ioctl_fionbio(end, true).context(|| "read without waiting".into())?;
        }
        let mut monitor = Command::new(&command[0]);
        monitor.arg("--status-fd").arg(their_status.as_raw_fd().to_string()).args(&command[1..]);
        let streams = (their_output.try_clone(), Stdio::from(their_output));
        // This process's directory is the project's state, where no sandbox has any business.
        monitor
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(streams.0.context(|| "pass a pipe on".into())?)
            .stderr(streams.1);
        let name = command[0].to_string_lossy();
        let monitor = plumbing::die_with_parent(&mut monitor)
            .spawn()
            .context(|| format!("start '{}'", libsbox::escape::visible(&name)))?;
        Ok(Sandbox {
            monitor,
            output: Some(output),
            status,
            init: None,
            last: None,
            code: None,
            said: Vec::new(),
            events: Vec::new(),
        })
    }

    /// Waits until the command was executed, or could not be.
    /// Signals that arrive in the meantime wait.
    pub fn wait_for_start(&mut self, log: &mut Log) -> Result<Start> {
        loop {
            let output = self.output.as_ref().map(std::os::fd::AsFd::as_fd);
            let fds: Vec<_> = [Some(std::os::fd::AsFd::as_fd(&self.status)), output].into_iter().flatten().collect();
            poll(&fds, None);
            self.drain(log);
            let is_open = read(&self.status, &mut self.events);
            // What ends at once has closed its end by the time that its event is read, which is one write and whole.
            let started = self.events.split(|byte| *byte == b'\n').find_map(|line| serde_json::from_slice(line).ok());
            if let Some(started) = started.filter(|event: &Started| event.event == "started") {
                Pid::from_raw(started.pid).ok_or_else(|| Error::new("sbox-spawn did not name a process"))?;
                self.init = self.child_of_the_monitor(started.pid);
                self.said = Vec::new();
                return Ok(Start::Executed(started));
            }
            if !is_open {
                return self.no_start(log);
            }
        }
    }

    /// Nobody else: what ended at once may have left its pid to another process.
    fn child_of_the_monitor(&self, pid: i32) -> Option<Identity> {
        let identity = Identity::of(pid)?;
        Stat::of(pid).filter(|stat| stat.parent == self.monitor.id() as i32).map(|_| identity)
    }

    /// It has closed its end, and is about to be gone.
    fn no_start(&mut self, log: &mut Log) -> Result<Start> {
        loop {
            if let Some(code) = self.ended(log)? {
                return Ok(Start::Ended(code, std::mem::take(&mut self.said)));
            }
            self.drain(log);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until there is something to do, at most for `pause`, and writes what was printed into the log.
    pub fn wait(&mut self, signals: &OwnedFd, log: &mut Log, pause: Option<Duration>) -> Result<()> {
        let mut fds = vec![signals];
        fds.extend(&self.output);
        fds.extend(&self.last);
        wait_for(&fds, pause.or_else(|| log.pause()));
        self.drain(log);
        Ok(())
    }

    /// Its exit code, once nothing of it is left and all that it printed is in the log.
    pub fn ended(&mut self, log: &mut Log) -> Result<Option<u8>> {
        if self.code.is_none() {
            let status = self.monitor.try_wait().context(|| "wait for the sandbox".into())?;
            self.code = status.map(libsbox::status::of);
            // Killed, the monitor is gone before its sandbox is. That one's first process ends last.
            self.last = self.code.and(self.init.as_ref()).and_then(Identity::open);
        }
        let Some(code) = self.code else { return Ok(None) };
        let gone = self.last.as_ref().is_none_or(|init| poll(&[std::os::fd::AsFd::as_fd(init)], Some(Duration::ZERO)));
        if !gone {
            return Ok(None);
        }
        let end = Instant::now() + Duration::from_secs(1);
        // Everybody who could write is gone: what is in the pipe is all there will be. A process at a weaker level may
        // have passed it on to somebody outside.
        while self.drain(log) && Instant::now() < end {}
        log.flush();
        Ok(Some(code))
    }

    /// Why sbox-spawn ended it, if it did.
    pub fn reason(&mut self) -> Option<String> {
        #[derive(serde::Deserialize)]
        struct Exit {
            reason: String,
        }
        read(&self.status, &mut self.events);
        let lines = self.events.split(|byte| *byte == b'\n');
        lines.rev().find_map(|line| serde_json::from_slice::<Exit>(line).ok()).map(|exit| exit.reason)
    }

    /// Asks it to end.
    pub fn stop(&self) {
        self.signal(Signal::TERM);
        // Stopped, it would not hear of it.
        self.signal(Signal::CONT);
    }

    /// After that: its time is up.
    pub fn end_now(&self) {
        self.signal(Signal::ALARM);
    }

    /// Ends it: with its monitor goes everything.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        // Not waited for yet, so that the pid is still its.
        if let (None, Some(pid)) = (self.code, Pid::from_raw(self.monitor.id() as i32)) {
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    /// Writes what was printed into the log; tells whether there may be more.
    fn drain(&mut self, log: &mut Log) -> bool {
        let Some(output) = &self.output else { return false };
        let mut buffer = [0u8; 16 * 1024];
        match rustix::io::read(output, &mut buffer) {
            Ok(0) => {
                self.output = None;
                false
            }
            Ok(length) => {
                log.write(&buffer[..length]);
                if self.init.is_none() && self.said.len() < SAID {
                    self.said.extend(&buffer[..length]);
                }
                true
            }
            Err(_) => false,
        }
    }
}

fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).context(|| "make a pipe".into())
}

/// Reads what there is; `false` at its end.
fn read(from: &OwnedFd, into: &mut Vec<u8>) -> bool {
    let mut buffer = [0u8; 1024];
    loop {
        match rustix::io::read(from, &mut buffer) {
            Ok(0) => return false,
            Ok(length) => into.extend(&buffer[..length]),
            Err(_) => return true,
        }
    }
}

/// Waits until one of them can be read, at most for `pause`.
pub fn wait_for(fds: &[&OwnedFd], pause: Option<Duration>) {
    let fds: Vec<_> = fds.iter().map(|fd| std::os::fd::AsFd::as_fd(*fd)).collect();
    poll(&fds, pause);
}

/// The same; tells whether one can.
fn poll(fds: &[rustix::fd::BorrowedFd<'_>], pause: Option<Duration>) -> bool {
    let mut all: Vec<PollFd<'_>> = fds.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    let pause = pause.and_then(|pause| Timespec::try_from(pause).ok());
    rustix::event::poll(&mut all, pause.as_ref()).is_ok_and(|ready| ready > 0)
}
