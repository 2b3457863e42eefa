//! Levels without namespaces: the keeper stays beside the command on the host's side and does what pid 1 does elsewhere.
//!
//! No kernel ties a tree of processes together here. The keeper makes itself the parent of every orphan below it
//! (`PR_SET_CHILD_SUBREAPER`) and ends them all when the command or the launcher ends. Landlock's scope keeps the command
//! from signalling it, where the kernel has that (Linux 6.12); killed with SIGKILL from outside, it leaves them running.

use crate::args::Level;
use crate::init::{awaited, die_with_the_launcher, is_closed, pass_on, reaped};
use crate::namespaces::Launched;
use crate::{Exit, Sandbox, command, landlock, links, report};
use rustix::fd::OwnedFd;
use rustix::process::{Pid, Signal, WaitOptions};
use sbox::error::{Context, Result};
use sbox::sys::{self, Fork};

/// Starts the keeper.
pub fn launch(sandbox: &Sandbox, level: Level, exit: &Exit) -> Result<Launched> {
    if level == Level::Landlock && landlock::version() < 1 {
        return Err(landlock::none());
    }
    links::make(sandbox)?;
    let (gate, other_end) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).context(|| "make a pipe".into())?;
    match sys::fork().context(|| "start a process".into())? {
        Fork::Child => {
            drop(other_end);
            let code = run(sandbox, level, &gate).unwrap_or_else(|error| report::failed_inside(&error, exit));
            end_descendants();
            crate::end(code)
        }
        Fork::Parent(keeper) => Ok(Launched::new(keeper, other_end)),
    }
}

fn run(sandbox: &Sandbox, level: Level, gate: &OwnedFd) -> Result<u8> {
    let shown = || String::from("keep the command's processes together");
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).context(shown)?;
    die_with_the_launcher(gate, Signal::TERM)?;
    match sys::fork().context(|| "start a process".into())? {
        Fork::Child => {
            no_privileges()?;
            Err(command::become_it(sandbox, level))
        }
        Fork::Parent(child) => keep(child, gate),
    }
}

fn no_privileges() -> Result<()> {
    sys::no_capabilities().context(|| "give up all capabilities".into())?;
    rustix::thread::set_no_new_privs(true).context(|| "set no_new_privs".into())
}

/// Waits for the command, or for the launcher's death.
fn keep(child: Pid, gate: &OwnedFd) -> Result<u8> {
    loop {
        let (signal, from_kernel) = match sys::arrived_signal(&awaited()) {
            Err(error) if error.raw_os_error() == Some(libc::EINTR) => continue,
            arrived => arrived.context(|| "wait for a signal".into())?,
        };
        if signal == libc::SIGTERM && is_closed(gate) {
            return Ok(128 + libc::SIGTERM as u8);
        }
        if signal != libc::SIGCHLD {
            pass_on(child, signal, from_kernel);
        } else if let Some(code) = reaped(child) {
            return Ok(code);
        }
    }
}

/// Kills all that is left below this process, orphans of orphans too, until there is nothing.
fn end_descendants() {
    loop {
        for child in children() {
            let _ = rustix::process::kill_process(child, Signal::KILL);
        }
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

/// The children of this process: those whose fourth field in proc_pid_stat(5) it is.
fn children() -> Vec<Pid> {
    let own = rustix::process::getpid().as_raw_pid();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let child = |entry: std::fs::DirEntry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        let parent: i32 = stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()?;
        (parent == own).then(|| Pid::from_raw(pid)).flatten()
    };
    entries.filter_map(child).collect()
}

