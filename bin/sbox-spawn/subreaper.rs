//! Levels without namespaces: the subreaper stays beside the command on the host's side and does what pid 1 does elsewhere.
//!
//! No kernel ties a tree of processes together here. The subreaper makes itself the parent of every orphan below it
//! (`PR_SET_CHILD_SUBREAPER`) and ends them all when the command or the monitor ends. Landlock's scope keeps the command
//! from signalling it, where the kernel has that (Linux 6.12). If it is killed from outside, the monitor ends what it left.

use crate::args::{Level, TOOL};
use crate::init;
use crate::job::Job;
use crate::limits::Watch;
use crate::line;
use crate::members::Members;
use crate::namespaces::Launched;
use crate::report::{self, FailurePipes};
use crate::sandbox::Sandbox;
use crate::signals::{die_with_the_monitor, is_closed};
use crate::{command, landlock, symlink_layout};
use libsbox::error::{Context, Result};
use libsbox::sys::{self, Fork};
use rustix::fd::OwnedFd;
use rustix::process::{Pid, Signal, WaitOptions};
use std::collections::HashSet;

/// Starts the subreaper.
pub fn launch(sandbox: &Sandbox, level: Level, failure: FailurePipes) -> Result<Launched> {
    if level == Level::Landlock && crate::unavailable::landlock_version() < 1 {
        return Err(landlock::none());
    }
    symlink_layout::make(sandbox)?;
    let (sync_pipe, other_end) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).context(|| "make a pipe".into())?;
    let (line, other_line) = line::line()?;
    // If the subreaper is killed, what is below it comes to this process, which ends it then.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).context(|| "adopt processes".into())?;
    match sys::fork().context(|| "start a process".into())? {
        Fork::Child => {
            drop((other_end, line));
            let code = run(sandbox, level, &sync_pipe, &other_line, failure);
            end_descendants();
            report::end(code)
        }
        Fork::Parent(subreaper) => Ok(Launched::new(subreaper, other_end, line)),
    }
}

fn run(sandbox: &Sandbox, level: Level, sync_pipe: &OwnedFd, line: &OwnedFd, failure: FailurePipes) -> u8 {
    let child = match start(sandbox, level, sync_pipe, &failure) {
        Ok(child) => child,
        Err(error) => return report::failed_inside(&error, &failure),
    };
    // Its end says that the command was executed, so that it must not stay open here.
    drop(failure);
    let watch = Watch::new(&sandbox.args.limits, Members::Descendants, Vec::new(), false);
    let stop = init::Stop::new(sandbox.args.stop_timeout, Members::Descendants);
    Job::new(child, line, sandbox.args.stop_timeout.is_none())
        .and_then(|job| init::reap(job, watch, stop, || is_closed(sync_pipe)))
        .unwrap_or_else(|error| TOOL.fail(&error))
}

fn start(sandbox: &Sandbox, level: Level, sync_pipe: &OwnedFd, failure: &FailurePipes) -> Result<Pid> {
    let shown = || String::from("keep the command's processes together");
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).context(shown)?;
    die_with_the_monitor(sync_pipe, Signal::TERM)?;
    match sys::fork().context(|| "start a process".into())? {
        Fork::Child => {
            no_privileges()?;
            failure.announce();
            Err(command::become_it(sandbox, level, failure.listener()))
        }
        Fork::Parent(child) => Ok(child),
    }
}

/// Root has a bounding set to give up; others have it only in name.
fn no_privileges() -> Result<()> {
    if rustix::process::geteuid().is_root() && crate::privileges::drop_privileges().is_ok() {
        return Ok(());
    }
    sys::no_capabilities().context(|| "give up all capabilities".into())?;
    rustix::thread::set_no_new_privs(true).context(|| "set no_new_privs".into())
}

/// In the monitor, once the subreaper has ended: kills what it left, which is nothing unless it was killed itself.
/// `but` is a child of this process that goes on.
pub fn end_what_it_left(but: Option<Pid>) {
    let kept = |pid: &i32| but.is_some_and(|but| but.as_raw_pid() == *pid);
    loop {
        let left: Vec<i32> = Members::Descendants.all().into_iter().filter(|pid| !kept(pid)).collect();
        let is_alive = |pid: &i32| libsbox::process::Stat::of(*pid).is_some_and(|stat| stat.state != 'Z');
        if !left.iter().any(is_alive) {
            return;
        }
        send(&left, Signal::STOP);
        send(&left, Signal::KILL);
        for pid in left.into_iter().filter_map(Pid::from_raw) {
            let _ = rustix::process::waitpid(Some(pid), WaitOptions::NOHANG);
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

/// Kills all that is left below this process, orphans of orphans too, until there is nothing. Stopped first, all of them:
/// what still runs could make more of itself than is killed.
fn end_descendants() {
    loop {
        let mut stopped = HashSet::new();
        loop {
            let new: Vec<i32> = Members::Descendants.all().into_iter().filter(|pid| stopped.insert(*pid)).collect();
            if new.is_empty() {
                break;
            }
            send(&new, Signal::STOP);
        }
        send(&stopped.into_iter().collect::<Vec<_>>(), Signal::KILL);
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {
                while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
            }
            Err(_) => return,
        }
    }
}

fn send(pids: &[i32], signal: Signal) {
    for pid in pids.iter().copied().filter_map(Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}
