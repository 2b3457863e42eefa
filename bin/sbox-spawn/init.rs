//! Pid 1 of the sandbox: starts the command, passes signals on, reaps, and takes everything with it when it ends.

use crate::assemble::Taken;
use crate::identity::{self, IdMap};
use crate::job::Job;
use crate::limits::{self, Watch};
use crate::members::Members;
use crate::network::Outside;
use crate::recorder::Word;
use crate::report::{self, FailurePipes};
use crate::sandbox::Sandbox;
use crate::signals;
use crate::{assemble, command, plan, privileges, unavailable};
use libsbox::error::{Context, Error, Result};
use libsbox::sys::{self, Fork};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::process::{Pid, Signal, WaitOptions};
use std::time::{Duration, Instant};

/// What the monitor hands to init.
pub struct Start<'a> {
    /// A byte comes when the ids are mapped; its end, when the monitor is dead.
    pub sync_pipe: OwnedFd,
    /// The line to the monitor.
    pub line: OwnedFd,
    pub outside: &'a Outside,
    pub ids: IdMap,
    /// The sources of mounts, where only the monitor could take them.
    pub taken: Option<Vec<Taken>>,
    /// Whether a control group counts memory and processes.
    pub in_group: bool,
}

/// The whole life of pid 1; gives the exit code of the sandbox.
pub fn main(sandbox: &Sandbox, start: &mut Start<'_>, failure: &FailurePipes) -> u8 {
    run(sandbox, start, failure).unwrap_or_else(|error| report::failed_inside(&error, failure))
}

/// Runs as pid 1 until the command ends; gives its exit code.
fn run(sandbox: &Sandbox, start: &mut Start<'_>, failure: &FailurePipes) -> Result<u8> {
    wait_for_go(&start.sync_pipe)?;
    confine(sandbox, start).map_err(unavailable::where_calls_are_missing)?;
    if sandbox.args.probe {
        return Ok(0);
    }
    // Before there is anybody who could look.
    hide_from_the_command(sandbox)?;
    match sys::fork().context(|| "start a process".into())? {
        Fork::Child => {
            failure.announce();
            Err(command::become_it(sandbox, crate::args::Level::Namespace, failure.listener()))
        }
        Fork::Parent(child) => {
            close_all_but(&start.line)?;
            let job = Job::new(child, &start.line, sandbox.args.stop_timeout.is_none())?;
            let watch = Watch::new(&sandbox.args.limits, Members::Everybody, sandbox.files_in_memory(), start.in_group);
            reap(job, watch, Stop::new(sandbox.args.stop_timeout, Members::Everybody), || false)
        }
    }
}

/// Makes the sandbox around this process.
fn confine(sandbox: &Sandbox, start: &mut Start<'_>) -> Result<()> {
    identity::set_ids(start.ids)?;
    privileges::limit_inotify();
    signals::die_with_the_monitor(&start.sync_pipe, Signal::KILL)?;
    // The first call that the filters of container engines keep for those who administer the host.
    sys::host_name(plan::hostname(&sandbox.args))
        .context(|| "set the host name".into())
        .map_err(unavailable::where_a_filter_forbids)?;
    if sandbox.args.network.is_own() {
        start.outside.open()?;
    }
    assemble::enter(sandbox, start.taken.take())?;
    privileges::drop_privileges()
}

fn close_all_but(line: &OwnedFd) -> Result<()> {
    let shown = || String::from("close the inherited descriptors");
    let kept = line.as_raw_fd();
    if kept > 3 {
        sys::close_range(3, kept as u32 - 1).context(shown)?;
    }
    sys::close_range(kept + 1, u32::MAX).context(shown)
}

/// Waits until the monitor has mapped the ids; fails when it died, or gave up.
pub fn wait_for_go(sync_pipe: &OwnedFd) -> Result<()> {
    match rustix::io::read(sync_pipe, &mut [0u8; 1]) {
        Ok(1) => Ok(()),
        _ => Err(Error::reported(125)),
    }
}

/// The exit code of a sandbox that was ended for using too much: that of a process killed with SIGKILL.
const ENDED: u8 = 128 + libc::SIGKILL as u8;

/// How the whole sandbox is asked to end.
pub struct Stop {
    /// Without one, a SIGTERM is the command's alone.
    timeout: Option<Duration>,
    members: Members,
    /// When what is left is killed, once it was asked.
    end: Option<Instant>,
    /// Of the command, which ended before others.
    code: Option<u8>,
}

impl Stop {
    pub fn new(timeout: Option<Duration>, members: Members) -> Stop {
        Stop { timeout, members, end: None, code: None }
    }

    /// Asks everything inside to end.
    fn begin(&mut self, timeout: Duration) {
        if self.end.is_none() {
            // A time that is too long to be counted is a year.
            let now = Instant::now();
            self.end = now.checked_add(timeout).or_else(|| now.checked_add(Duration::from_secs(365 * 86_400)));
            for pid in self.members.all().into_iter().filter_map(Pid::from_raw) {
                let _ = rustix::process::kill_process(pid, Signal::TERM);
                // What is stopped takes no signal until it is continued.
                let _ = rustix::process::kill_process(pid, Signal::CONT);
            }
        }
    }

    /// The exit code of the sandbox, if nothing is left to wait for.
    fn exit_code(&mut self, code: Option<u8>) -> Option<u8> {
        self.code = self.code.or(code);
        match self.end {
            None => self.code,
            Some(end) if Instant::now() >= end => Some(self.code.unwrap_or(ENDED)),
            // Others may have more to put away than the command had. Every orphan is a child of this process.
            Some(_) => self.code.filter(|_| nobody_is_left()),
        }
    }

    fn pause(&self) -> Option<Duration> {
        self.end.map(|end| end.saturating_duration_since(Instant::now()))
    }
}

/// Waits for the command, reaping everything that is orphaned on the way. `is_over` is asked at a SIGTERM, which then ends
/// the sandbox at once.
pub fn reap(mut job: Job<'_>, mut watch: Watch, mut stop: Stop, is_over: impl Fn() -> bool) -> Result<u8> {
    loop {
        let pause = watch.pause().into_iter().chain(stop.pause()).min();
        let mut code = None;
        for signal in job.arrived(pause)? {
            match (signal, stop.timeout) {
                (libc::SIGTERM, _) if is_over() => return Ok(128 + libc::SIGTERM as u8),
                (libc::SIGTERM, Some(timeout)) => stop.begin(timeout),
                // Whoever asked it to end counts the time, too.
                (libc::SIGALRM, _) if stop.end.is_some() => stop.end = Some(Instant::now()),
                (libc::SIGCHLD, _) => code = job.reaped().or(code),
                _ => job.pass_on(signal),
            }
        }
        if let Some(code) = stop.exit_code(code) {
            job.say(&left_behind(stop.members));
            return Ok(code);
        }
        if job.is_orphan() {
            return Ok(ENDED);
        }
        if let Some(limit) = watch.exceeded() {
            limits::say(&watch.words(limit));
            job.tell_exceeded(limit);
            return Ok(ENDED);
        }
    }
}

/// The programs that are still running: they end with the sandbox.
fn left_behind(members: Members) -> Word {
    const MOST: usize = 20;
    let runs = |pid: &i32| libsbox::process::Stat::of(*pid).is_some_and(|stat| stat.state != 'Z');
    let name = |pid: i32| std::fs::read_to_string(format!("/proc/{pid}/comm")).ok();
    let names: Vec<String> = members.all().into_iter().filter(runs).filter_map(name).collect();
    let left_in_all = names.len() as u64;
    Word { left: names.iter().take(MOST).map(|name| name.trim_end().to_owned()).collect(), left_in_all }
}

/// Reaps what ended; whether that was all there was.
fn nobody_is_left() -> bool {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some(_)) => {}
            Ok(None) => return false,
            Err(_) => return true,
        }
    }
}

/// From here on pid 1 tells nothing about the host: no argument, no environment, no memory to look into. The command is
/// forked from it and gets its own back when it is executed.
fn hide_from_the_command(sandbox: &Sandbox) -> Result<()> {
    identity::set_nondumpable()?;
    rustix::thread::set_name(c"init").context(|| "take the name 'init'".into())?;
    sandbox.hide_argv_and_environ();
    Ok(())
}
