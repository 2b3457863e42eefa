//! sbox-supervise: hold one daemon of a project: its sandbox, its log, its entry in `processes.json`.
//!
//! One small process for each daemon, outside of the sandbox and away from the terminal. It starts `sbox-spawn`, which is
//! tied to it: if this process dies, however it dies, so does the sandbox. There is nothing above it: whoever asks looks at
//! the entry and whether its supervisor lives.
#![forbid(unsafe_code)]

mod args;
mod log;
mod place;
mod registration;
mod sandbox;

use args::Args;
use libsbox::cli::{self, Tool};
use libsbox::daemon::record::State;
use libsbox::error::{Context, Result};
use libsbox::escape;
use libsbox::model::RestartPolicy;
use libsbox::output;
use libsbox::project::Project;
use libsbox::sys::{self, Signals};
use log::Log;
use registration::Registration;
use rustix::fd::OwnedFd;
use sandbox::{Sandbox, Start};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const TOOL: Tool = Tool { name: "sbox-supervise", usage: args::USAGE, runs_a_command: true };

/// The wait before the first restart; it doubles with each that follows, up to [`LONGEST_PAUSE`], and starts over after a
/// run of [`STEADY`]. The figures are those of Docker's restart policies
/// (<https://docs.docker.com/reference/cli/docker/container/run/#restart>).
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
const STEADY: Duration = Duration::from_secs(10);

/// How long the monitor may take to end what it was told to end at once.
const UNANSWERED: Duration = Duration::from_secs(5);

/// The code of a run that did not come about: sbox-spawn's own.
const NOT_STARTED: u8 = 125;

fn main() -> ExitCode {
    TOOL.main(run)
}

fn run(parser: &mut lexopt::Parser) -> Result<u8> {
    let args = args::parse(parser)?;
    let project = Project::at(&args.project)?;
    let signals = away_from_the_terminal(&args)?;
    place::enter(&project).context(|| format!("enter '{}'", escape::visible_path(project.state())))?;
    // As long as a sandbox is held, nobody takes its files away.
    let _use = project.lock_shared()?;
    let log = Log::open(&project, &args.name, args.log_size, args.log_keep)?;
    let entry = Registration::reserve(&project, &args)?;
    let mut supervisor = Supervisor { args, signals, log, entry, request: None, failures: 0, reason: None };
    let outcome = supervisor.first_start();
    if outcome.is_err() {
        supervisor.entry.rollback();
    }
    match outcome? {
        First::Runs(sandbox) => supervisor.run(sandbox),
        First::Failed(code) => {
            supervisor.entry.rollback();
            Ok(code)
        }
    }
}

/// A separate session: no terminal, no hang-up, no key reaches it. Of the descriptors those of the environment and of secrets stay.
fn away_from_the_terminal(args: &Args) -> Result<OwnedFd> {
    let all = Signals::of(&[libc::SIGTERM, libc::SIGINT, libc::SIGQUIT, libc::SIGHUP, libc::SIGUSR2, libc::SIGCHLD]);
    sys::block(&all).context(|| "hold signals back".into())?;
    // Already the leader of a group: whoever starts it by hand in a shell. It works from there too.
    let _ = rustix::process::setsid();
    let mut keep: Vec<i32> = [args.environment, args.secrets].into_iter().flatten().collect();
    keep.sort_unstable();
    let shown = || String::from("close the inherited descriptors");
    let mut first = 3;
    for fd in keep {
        if fd > first {
            sys::close_range(first, fd as u32 - 1).context(shown)?;
        }
        first = fd + 1;
    }
    sys::close_range(first, u32::MAX).context(shown)?;
    sys::signal_file(&all).context(|| "wait for signals".into())
}

/// What somebody asked for with a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StopRequest {
    Stop,
    /// Stop, and another supervisor follows.
    Restart,
}

enum First {
    Runs(Sandbox),
    Failed(u8),
}

struct Supervisor {
    args: Args,
    signals: OwnedFd,
    log: Log,
    entry: Registration,
    request: Option<StopRequest>,
    /// Ends in a row, none after a steady run.
    failures: u32,
    /// Why sbox-spawn ended the last sandbox, if it did.
    reason: Option<String>,
}

impl Supervisor {
    /// Until this has reported how it went, the caller waits: on stdout for a line, or for the end.
    fn first_start(&mut self) -> Result<First> {
        let mut sandbox = self.start()?;
        match sandbox.wait_for_start(&mut self.log)? {
            Start::Executed(started) => {
                self.entry.runs(&started);
                cli::out_line(serde_json::to_string(&started)?)?;
                let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null");
                let null = null.context(|| "open '/dev/null'".into())?;
                // Nobody waits for the end of what the caller's streams are.
                rustix::stdio::dup2_stdin(&null).context(|| "let go of stdin".into())?;
                rustix::stdio::dup2_stdout(&null).context(|| "let go of stdout".into())?;
                rustix::stdio::dup2_stderr(&null).context(|| "let go of stderr".into())?;
                self.keep_what_a_restart_needs();
                Ok(First::Runs(sandbox))
            }
            Start::Ended(code, said) => {
                for line in String::from_utf8_lossy(&said).lines() {
                    output::line(escape::visible(line).trim_end());
                }
                self.log.note(&format!("could not be started (exit code {code})"));
                Ok(First::Failed(code))
            }
        }
    }

    /// The environment of a daemon that is not started again is of no use any more, and may hold secrets.
    fn keep_what_a_restart_needs(&mut self) {
        if self.args.restart == RestartPolicy::No
            && let Some(fd) = self.args.environment.take()
        {
            drop(sys::adopt(fd));
        }
    }

    fn start(&mut self) -> Result<Sandbox> {
        self.log.header(&self.args);
        Sandbox::start(&self.args.command)
    }

    /// Holds the daemon until it has ended for good.
    fn run(&mut self, first: Sandbox) -> Result<u8> {
        let mut sandbox = Some(first);
        loop {
            let begun = Instant::now();
            let code = match sandbox {
                Some(sandbox) => self.watch(sandbox)?,
                None => NOT_STARTED,
            };
            let lasted = begun.elapsed();
            self.failures = if lasted >= STEADY { 0 } else { self.failures + 1 };
            if self.request.is_some() {
                return Ok(self.stopped(code));
            }
            if !self.args.restart.wants(code) {
                self.log.note(&format!("ended with exit code {code}"));
                self.entry.ended(State::Exited, code, self.reason.take());
                return Ok(0);
            }
            if self.failures > self.args.max_restarts {
                let why = format!("it ended {} times in a row, the last time with exit code {code}", self.failures);
                self.log.note(&why);
                self.entry.ended(State::Failed, code, Some(why));
                return Ok(0);
            }
            let pause = pause(self.failures);
            self.log.note(&format!("ended with exit code {code}; starting again in {:.1}s", pause.as_secs_f64()));
            self.entry.backs_off(code, self.reason.take());
            self.sleep(pause);
            if self.request.is_some() {
                return Ok(self.stopped(code));
            }
            sandbox = self.restarted();
        }
    }

    fn stopped(&mut self, code: u8) -> u8 {
        self.log.note(&format!("stopped (exit code {code})"));
        let state = if self.request == Some(StopRequest::Restart) { State::Restarting } else { State::Stopped };
        self.entry.ended(state, code, None);
        0
    }

    /// Starts it again; nothing if that did not work, which is one more failure.
    fn restarted(&mut self) -> Option<Sandbox> {
        let mut sandbox = self.start().map_err(|error| self.log.note(&error.to_string())).ok()?;
        match sandbox.wait_for_start(&mut self.log) {
            Ok(Start::Executed(started)) => {
                self.entry.restarted(&started);
                Some(sandbox)
            }
            Ok(Start::Ended(..)) => None,
            Err(error) => {
                self.log.note(&error.to_string());
                None
            }
        }
    }

    /// Writes the log until the sandbox is gone; gives its exit code.
    fn watch(&mut self, mut sandbox: Sandbox) -> Result<u8> {
        let (mut due, mut given_up): (Option<Instant>, Option<Instant>) = (None, None);
        loop {
            let now = Instant::now();
            if due.is_some_and(|at| now >= at) {
                sandbox.end_now();
                (due, given_up) = (None, now.checked_add(UNANSWERED));
            }
            if given_up.is_some_and(|at| now >= at) {
                // The monitor did not answer; with it everything goes.
                sandbox.kill();
                given_up = None;
            }
            let pause = due.or(given_up).map(|at| at.saturating_duration_since(now));
            sandbox.wait(&self.signals, &mut self.log, pause.or(self.entry.pause()))?;
            self.entry.retry();
            if let Some(request) = self.asked() {
                // Whoever asks again may have less patience.
                let timeout = Instant::now().checked_add(self.entry.stop_timeout());
                due = if self.request.is_none() { timeout } else { due.into_iter().chain(timeout).min() };
                if self.request.is_none() {
                    self.request = Some(request);
                    self.entry.stops();
                    sandbox.stop();
                }
            }
            if let Some(code) = sandbox.ended(&mut self.log)? {
                self.reason = sandbox.reason();
                return Ok(code);
            }
        }
    }

    /// What the signals that have arrived ask for.
    fn asked(&mut self) -> Option<StopRequest> {
        let mut request = None;
        for arrived in sys::taken_signals(&self.signals) {
            match arrived.signal {
                libc::SIGTERM | libc::SIGINT | libc::SIGQUIT => request = Some(StopRequest::Stop),
                libc::SIGUSR2 => request = Some(StopRequest::Restart),
                // A hang-up is what a daemon is to survive.
                _ => {}
            }
        }
        request
    }

    fn sleep(&mut self, pause: Duration) {
        let end = Instant::now() + pause;
        while self.request.is_none() && Instant::now() < end {
            sandbox::wait_for(&[&self.signals], Some(end.saturating_duration_since(Instant::now())));
            self.request = self.asked();
        }
    }
}

fn pause(failures: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute() {
        let all: Vec<u128> = [1, 2, 3, 4, 10, 11, 30].map(|n| pause(n).as_millis()).into();
        assert_eq!(all, [100, 200, 400, 800, 51_200, 60_000, 60_000]);
    }
}
