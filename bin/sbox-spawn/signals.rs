//! Signals between the processes of a sandbox: which ones are waited for and passed on, how one process dies with another,
//! and how the monitor stops with the command.
//!
//! The monitor, init and the command are in one process group, the shell's job. A key on the terminal and a signal to the
//! job reach the command directly; a signal to the monitor alone is passed on. What reaches init, too, was sent to the whole
//! job, and the command must not get it twice. The monitor stops when the command has stopped, never before, so that the
//! shell gets the terminal back from a program that has put it in order; and whatever continues the monitor continues
//! the command.

use crate::limits::Exceeded;
use crate::line::{DIED, EXCEEDED, awaited, awaited_but, exceeded, file, send, tell, told, wait_for};
use crate::recorder::Recorder;
use crate::terminal::Terminal;
use crate::witness::Witness;
use libsbox::error::{Context, Error, Result};
use libsbox::status;
use libsbox::sys::{self, Arrived};
use rustix::fd::OwnedFd;
use rustix::process::{Pid, Signal, WaitOptions};

/// The monitor, waiting for the end of the sandbox.
pub struct Monitor<'a> {
    /// Pid 1 of the sandbox, or the command that joined one.
    pub child: Pid,
    /// The line to pid 1. Without one the child is the command itself.
    pub line: Option<&'a OwnedFd>,
    /// Where there is no pid 1 that would know: which signals the command has got already.
    pub witness: Option<&'a Witness>,
    pub terminal: &'a Terminal,
}

/// How a sandbox ended.
pub struct End {
    /// Its exit code.
    pub code: u8,
    /// What it could not go on without.
    pub lost: Option<String>,
    /// Over which limit it was, where pid 1 ended it for that.
    pub exceeded: Option<Exceeded>,
}

impl Monitor<'_> {
    /// Waits for the end of the child; passes on what signals arrive meanwhile, and stops when the command does. `lost` is
    /// asked when a child of this process has ended, and says why the sandbox must end with it.
    pub fn wait(&self, recorder: &mut Recorder, mut lost: impl FnMut() -> Option<String>) -> Result<End> {
        let signals = file()?;
        let mut line = self.line;
        // What pid 1 said last.
        let mut said = None;
        // Whether this process has just tried to stop.
        let mut was_stopped = false;
        loop {
            if !was_stopped {
                let fds: Vec<&OwnedFd> = [Some(&signals), line].into_iter().flatten().chain(recorder.fds()).collect();
                wait_for(&fds, recorder.pause())?;
            }
            recorder.attend();
            let (mut stopped, mut is_continued) = (None, false);
            let taken = sys::taken_signals(&signals);
            let is_asked = taken.iter().any(|arrived| arrived.signal != libc::SIGCHLD);
            let for_all = self.witness.filter(|_| is_asked).map(Witness::seen).unwrap_or_default();
            for arrived in taken {
                is_continued |= arrived.signal == libc::SIGCONT;
                if arrived.signal != libc::SIGCHLD {
                    if !(for_all.contains(&arrived.signal) && self.is_in_our_group()) {
                        self.pass_on(arrived);
                    }
                    continue;
                }
                let options = WaitOptions::NOHANG | WaitOptions::UNTRACED;
                let changed = rustix::process::waitpid(Some(self.child), options);
                match changed.context(|| "wait for the sandbox".into())? {
                    Some((_, status)) if status.stopped() => {
                        stopped = status.stopping_signal().filter(|_| self.line.is_none())
                    }
                    Some((_, status)) => {
                        let (last, words) = line.and_then(told).unwrap_or_default();
                        words.iter().for_each(|word| recorder.hear(word));
                        let last = last.last().copied().or(said);
                        let of_command =
                            last.filter(|signal| (DIED + 1..EXCEEDED).contains(signal)).map(|signal| signal - DIED);
                        self.terminal.note_end(of_command.or(status.terminating_signal()));
                        let exceeded = Exceeded::ALL.into_iter().find(|limit| last == Some(exceeded(*limit)));
                        return Ok(End { code: status::of_wait(status), lost: None, exceeded });
                    }
                    None => {}
                }
                if let Some(why) = lost() {
                    let _ = rustix::process::kill_process(self.child, Signal::KILL);
                    let _ = rustix::process::waitpid(Some(self.child), WaitOptions::empty());
                    return Ok(End { code: 128 + libc::SIGKILL as u8, lost: Some(why), exceeded: None });
                }
            }
            match line.map(told) {
                Some(Some((new, words))) => {
                    words.iter().for_each(|word| recorder.hear(word));
                    said = new.last().copied().or(said);
                    stopped = new.last().copied().filter(|signal| *signal < DIED).or(stopped);
                }
                Some(None) => line = None,
                None => {}
            }
            if was_stopped && !is_continued {
                // In an orphaned process group nobody stops: the command goes on, as it would by itself.
                self.send(libc::SIGCONT);
            }
            // What continued this process meanwhile has continued the command, too.
            let stop = stopped.filter(|_| !is_continued && self.terminal.is_there());
            was_stopped = stop.is_some();
            if let Some(signal) = stop {
                stop_with(signal)?;
            }
        }
    }

    /// Whether the child is in this process's group, and gets what is sent to that.
    fn is_in_our_group(&self) -> bool {
        let group = sys::process_group(self.child.as_raw_pid());
        group.is_ok_and(|group| sys::process_group(0).is_ok_and(|own| own == group))
    }

    fn pass_on(&self, Arrived { signal, from_kernel }: Arrived) {
        if from_kernel {
            self.terminal.note_key(signal);
        }
        // The kernel tells the end of a terminal to the leader of its session alone.
        let hangs_up = [libc::SIGHUP, libc::SIGCONT].contains(&signal);
        if !from_kernel || (hangs_up && leads_the_session()) {
            self.send(signal);
        }
    }

    fn send(&self, signal: libc::c_int) {
        match self.line {
            Some(line) => tell(line, signal),
            None => send(self.child, signal),
        }
    }
}

fn leads_the_session() -> bool {
    rustix::process::getsid(None) == Ok(rustix::process::getpid())
}

/// Stops this process as the command was stopped, so that the shell sees what it would see without us.
fn stop_with(signal: libc::c_int) -> Result<()> {
    let shown = || String::from("stop with the command");
    sys::block(&awaited_but(signal)).context(shown)?;
    send(rustix::process::getpid(), signal);
    sys::block(&awaited()).context(shown)
}

/// When the monitor dies, however it dies, this process gets `signal`: killed, pid 1 takes everything with it.
pub fn die_with_the_monitor(sync_pipe: &OwnedFd, signal: Signal) -> Result<()> {
    let shown = || String::from("make the sandbox die with its monitor");
    rustix::process::set_parent_process_death_signal(Some(signal)).context(shown)?;
    // It may be dead already, and the signal would never come.
    if is_closed(sync_pipe) { Err(Error::new("the monitor is gone")) } else { Ok(()) }
}

/// Whether the other end of the pipe is closed.
pub fn is_closed(pipe: &OwnedFd) -> bool {
    let mut poll = [rustix::event::PollFd::new(pipe, rustix::event::PollFlags::IN)];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::event::poll(&mut poll, Some(&now)) != Ok(0)
}
