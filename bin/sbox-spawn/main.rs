//! sbox-spawn: run one command confined.
//!
//! Three processes: the *launcher* (this one) waits outside and passes signals on; *init* is pid 1 of the sandbox,
//! makes its root and reaps; the *command* is the third. The launcher's death kills init, and init's death kills
//! everything in the sandbox: the kernel sees to both. Where there can be no namespaces (levels `landlock` and `env`) a
//! *keeper* takes the place of init, on the host's side.
#![forbid(unsafe_code)]

mod args;
mod assemble;
mod base;
mod cgroup;
mod command;
mod denied;
mod environment;
mod filter;
mod guard;
mod init;
mod join;
mod keeper;
mod landlock;
mod limits;
mod links;
mod members;
mod namespaces;
mod network;
mod op;
mod plan;
mod probe;
mod report;
mod warden;

use args::Level;
use libsbox::cli::{self, Tool};
use libsbox::error::{Context, Error, Kind, Result};
use libsbox::sys;
use namespaces::Launched;
use rustix::process::{Pid, WaitOptions};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

const TOOL: Tool = Tool { name: "sbox-spawn", usage: args::USAGE, runs_a_command: true };

/// Everything that a sandbox is made of, known before anything is made.
pub struct Sandbox {
    args: args::Args,
    environment: Vec<(OsString, OsString)>,
    ops: Vec<op::Op>,
    /// Where this process's arguments and environment are in memory.
    own_text: Vec<(usize, usize)>,
}

/// How a process that is not the launcher says that it failed.
pub struct Exit {
    /// A byte in it says that the command was never executed.
    exec: Option<rustix::fd::OwnedFd>,
    /// Where a lack of the host's is told, if a weaker level can be tried instead.
    verdict: Option<rustix::fd::OwnedFd>,
}

fn main() -> ExitCode {
    TOOL.main(run)
}

fn run(parser: &mut lexopt::Parser) -> Result<u8> {
    let args = args::parse(parser)?;
    if args.probe {
        return probe::run(args);
    }
    let mut environment = environment::read(&args)?;
    network::name_proxy(&args.network, &mut environment);
    let home = environment.iter().find(|(name, _)| name == "HOME").map(|(_, home)| PathBuf::from(home));
    let guard = guard::Guard::look(&args)?;
    let ops = plan::build(&args, &home.unwrap_or_else(|| "/home".into()), &guard)?;
    if args.dry_run {
        return print(&ops);
    }
    if args.join.is_some() {
        return join::run(Sandbox { args, environment, ops: Vec::new(), own_text: own_text()? });
    }
    let terminal = Terminal::remember();
    sys::block(&init::awaited()).context(|| "hold signals back".into())?;
    let warden = warden::Warden::start(&guard)?;
    let mut reporter = report::Reporter::new(args.status_fd)?;
    let mut sandbox = Sandbox { args, environment, ops, own_text: own_text()? };
    let code = strongest(&mut sandbox, &mut reporter);
    terminal.restore();
    warden.finish();
    let code = code?;
    reporter.ended(code);
    Ok(code)
}

/// Runs the command at the level asked for, or at the strongest that this host gives.
fn strongest(sandbox: &mut Sandbox, reporter: &mut report::Reporter) -> Result<u8> {
    let levels = match sandbox.args.isolation {
        Some(level) => vec![level],
        None => vec![Level::Namespace, Level::Landlock, Level::Env],
    };
    let mut lack = None;
    for (at, level) in levels.iter().enumerate() {
        let last = at + 1 == levels.len();
        sandbox.may_run_at(*level)?;
        if let Some(why) = &lack {
            namespaces::warn_of(*level, why);
        }
        environment::name_level(&mut sandbox.environment, *level);
        match attempt(sandbox, *level, reporter, last)? {
            Attempt::Ended(code) => return Ok(code),
            Attempt::Unavailable(why) if last => return Err(why),
            Attempt::Unavailable(why) => lack = Some(why),
        }
    }
    Err(lack.unwrap_or_else(|| Error::new("no isolation level is left")))
}

impl Sandbox {
    /// Nothing runs with less than was asked for: what a weaker level cannot give is an error there.
    fn may_run_at(&self, level: Level) -> Result<()> {
        let network = &self.args.network;
        let lost = match level {
            Level::Namespace => return Ok(()),
            _ if network.mode == args::Mode::Proxy => "a network that leads to some names only",
            _ if !network.ports.is_empty() => "ports that lead into a network of its own",
            Level::Env if network.mode == args::Mode::None => "a command without network",
            _ => return self.may_show_at(level),
        };
        let message = format!("isolation level '{}' cannot give {lost}", level.name());
        Err(Error::new(message).hint("sbox doctor says what this host lacks for level 'namespace'"))
    }

    /// What is hidden in a directory that is shown can only be covered by a mount.
    fn may_show_at(&self, level: Level) -> Result<()> {
        for hidden in &self.args.hide {
            for mount in &self.args.mounts {
                let args::Mount::Bind { src, .. } = mount else { continue };
                if level == Level::Landlock && hidden.starts_with(src) {
                    let (hidden, src) = (libsbox::escape::visible_path(hidden), libsbox::escape::visible_path(src));
                    let message = format!("isolation level 'landlock' cannot hide '{hidden}' in '{src}'");
                    return Err(Error::new(message).hint("mount a directory that does not hold it"));
                }
            }
        }
        Ok(())
    }
}

enum Attempt {
    Ended(u8),
    /// The host cannot give this level, and the command was not run.
    Unavailable(Error),
}

fn attempt(sandbox: &Sandbox, level: Level, reporter: &mut report::Reporter, last: bool) -> Result<Attempt> {
    let mut verdict = report::Verdict::new(!last)?;
    let exit = Exit { exec: reporter.exec_pipe()?, verdict: verdict.writer() };
    let launched = match level {
        Level::Namespace => namespaces::launch(sandbox, &exit),
        level => keeper::launch(sandbox, level, &exit),
    };
    let mut launched = match launched {
        Err(error) if error.kind() == Kind::Unavailable => return Ok(Attempt::Unavailable(error)),
        launched => launched?,
    };
    drop(exit);
    launched.lead_in()?;
    reporter.started(launched.init)?;
    let code = wait(&launched)?;
    Ok(verdict.read().map_or(Attempt::Ended(code), Attempt::Unavailable))
}

/// Ends init (or the process that could not become the command) without returning into the launcher's code.
#[allow(clippy::exit, reason = "a forked process must not run what its parent is in the middle of")]
fn end(code: u8) -> ! {
    std::process::exit(code.into())
}

/// Waits for init. Signals sent to the launcher go on to it.
fn wait(launched: &Launched) -> Result<u8> {
    loop {
        match sys::arrived_signal(&init::awaited(), None).context(|| "wait for a signal".into())? {
            Some((libc::SIGCHLD, _)) => {
                if let Some(code) = ended(launched.init)? {
                    return Ok(launched.verdict(code));
                }
            }
            Some((signal, from_kernel)) => init::pass_on(launched.init, signal, from_kernel),
            None => {}
        }
    }
}

fn ended(init: Pid) -> Result<Option<u8>> {
    let ended = rustix::process::waitpid(Some(init), WaitOptions::NOHANG).context(|| "wait for the sandbox".into())?;
    Ok(ended.map(|(_, status)| init::code(status)))
}

fn print(ops: &[op::Op]) -> Result<u8> {
    for op in ops {
        cli::out_line(serde_json::to_string(op).map_err(|error| Error::new(format!("cannot print: {error}")))?)?;
    }
    Ok(0)
}

/// The addresses of this process's arguments and environment: fields 48 to 51 of proc_pid_stat(5).
fn own_text() -> Result<Vec<(usize, usize)>> {
    let stat = std::fs::read_to_string("/proc/self/stat").context(|| "read '/proc/self/stat'".into())?;
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<usize> = after_name.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
    let field = |number: usize| fields.get(number - 3).copied().unwrap_or(0);
    let ranges = [(field(48), field(49)), (field(50), field(51))];
    Ok(ranges.into_iter().filter(|(start, end)| *start != 0 && start < end).collect())
}

/// The state of the terminal before the command, to be put back if the command dies with it turned raw.
struct Terminal(Option<rustix::termios::Termios>);

impl Terminal {
    fn remember() -> Terminal {
        Terminal(rustix::termios::tcgetattr(rustix::stdio::stdin()).ok())
    }

    fn restore(&self) {
        let Some(state) = &self.0 else { return };
        // Only in the foreground: from the background this would stop us (SIGTTOU).
        if rustix::termios::tcgetpgrp(rustix::stdio::stdin()).ok() == Some(rustix::process::getpgrp()) {
            let _ = rustix::termios::tcsetattr(rustix::stdio::stdin(), rustix::termios::OptionalActions::Now, state);
        }
    }
}
