//! Signals between the processes of a sandbox: which ones are waited for and passed on, and how one process dies with
//! another.

use libsbox::error::{Context, Error, Result};
use libsbox::status;
use libsbox::sys::{self, Signals};
use rustix::fd::OwnedFd;
use rustix::process::{Pid, Signal, WaitOptions};

/// Signals that are passed on to the command when a process sends them. What a key on the terminal sends reaches the
/// command by itself, since it is in the terminal's foreground group too.
const PASSED_ON: [libc::c_int; 9] = [
    libc::SIGTERM,
    libc::SIGINT,
    libc::SIGHUP,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGWINCH,
    libc::SIGALRM,
    libc::SIGCONT,
];

/// The signals that pid 1 and the monitor wait for; blocked, so that none is lost and none kills.
pub fn awaited() -> Signals {
    let mut all = PASSED_ON.to_vec();
    all.push(libc::SIGCHLD);
    Signals::of(&all)
}

/// Holds them back, before the first process is started.
pub fn block() -> Result<()> {
    sys::block(&awaited()).context(|| "hold signals back".into())
}

/// Sends a signal on, unless the kernel sent it to the whole foreground group already.
pub fn pass_on(to: Pid, signal: libc::c_int, from_kernel: bool) {
    if let (false, Some(signal)) = (from_kernel, Signal::from_named_raw(signal)) {
        // It may be gone by now; then its status arrives next.
        let _ = rustix::process::kill_process(to, signal);
    }
}

/// Waits for the end of a child and passes on what signals arrive meanwhile; gives its exit code.
pub fn wait_for_end(child: Pid) -> Result<u8> {
    loop {
        match sys::arrived_signal(&awaited(), None).context(|| "wait for a signal".into())? {
            Some((libc::SIGCHLD, _)) => {
                let ended = rustix::process::waitpid(Some(child), WaitOptions::NOHANG);
                if let Some((_, status)) = ended.context(|| "wait for the sandbox".into())? {
                    return Ok(status::of_wait(status));
                }
            }
            Some((signal, from_kernel)) => pass_on(child, signal, from_kernel),
            None => {}
        }
    }
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
