//! sbox-spawn: run one command confined.
//!
//! Three processes: the *launcher* (this one) waits outside and passes signals on; *init* is pid 1 of the sandbox,
//! makes its root and reaps; the *command* is the third. The launcher's death kills init, and init's death kills
//! everything in the sandbox: the kernel sees to both.
#![forbid(unsafe_code)]

mod args;
mod assemble;
mod base;
mod denied;
mod environment;
mod filter;
mod init;
mod plan;
mod probe;
mod report;

use rustix::fd::OwnedFd;
use rustix::process::{Pid, WaitOptions};
use sbox::cli::{self, Tool};
use sbox::error::{Context, Error, Result};
use sbox::sys::{self, Fork};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

const TOOL: Tool = Tool { name: "sbox-spawn", usage: args::USAGE, runs_a_command: true };

/// Everything that init needs, made before it exists.
pub struct Setup {
    args: args::Args,
    environment: Vec<(OsString, OsString)>,
    ops: Vec<plan::Op>,
    /// Readable, or closed at the other end, when the launcher is dead.
    alive: OwnedFd,
    /// Where this process's arguments and environment are in memory.
    own_text: Vec<(usize, usize)>,
}

fn main() -> ExitCode {
    TOOL.main(run)
}

fn run(parser: &mut lexopt::Parser) -> Result<u8> {
    let args = args::parse(parser)?;
    if args.probe {
        return probe::run(args);
    }
    let environment = environment::read(&args)?;
    let home = environment.iter().find(|(name, _)| name == "HOME").map(|(_, home)| PathBuf::from(home));
    let ops = plan::build(&args, &home.unwrap_or_else(|| "/home".into()))?;
    if args.dry_run {
        return print(&ops);
    }
    let mut reporter = report::Reporter::new(args.status_fd)?;
    let terminal = Terminal::remember();
    sys::block(&init::awaited()).context(|| "hold signals back".into())?;
    let launched = launch(args, environment, ops, reporter.exec_pipe())?;
    reporter.started(launched.init)?;
    let code = wait(launched.init)?;
    terminal.restore();
    reporter.ended(code);
    Ok(code)
}

/// A sandbox that is being made or runs. Its end of the pipe must live as long as the launcher.
pub struct Launched {
    /// Pid 1 of the sandbox, as the launcher sees it.
    pub init: Pid,
    _alive: OwnedFd,
}

/// Makes the namespaces and starts init in them.
pub fn launch(
    args: args::Args,
    environment: Vec<(OsString, OsString)>,
    ops: Vec<plan::Op>,
    exec_pipe: Option<OwnedFd>,
) -> Result<Launched> {
    let own_text = own_text()?;
    let (alive, alive_other_end) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).context(|| "make a pipe".into())?;
    enter_namespaces(&args)?;
    let setup = Setup { args, environment, ops, alive, own_text };
    match sys::fork().context(|| "start a process".into())? {
        Fork::Parent(init) => Ok(Launched { init, _alive: alive_other_end }),
        Fork::Child => {
            drop(alive_other_end);
            let code = match init::run(&setup) {
                Ok(code) => code,
                Err(error) => report::failed_inside(&TOOL, &error, exec_pipe),
            };
            end(code)
        }
    }
}

/// Ends init (or the process that could not become the command) without returning into the launcher's code.
#[allow(clippy::exit, reason = "a forked process must not run what its parent is in the middle of")]
fn end(code: u8) -> ! {
    std::process::exit(code.into())
}

/// New user, mount, pid, IPC, UTS and cgroup namespaces; a network namespace when asked for.
fn enter_namespaces(args: &args::Args) -> Result<()> {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    if uid == 0 {
        // Real root's supplementary groups (disk, docker) would open the host's files to the agent. In a user namespace
        // that may not set groups this fails, and the groups are then not root's to use either.
        let _ = sys::leave_all_groups();
    }
    let network = if args.no_network { libc::CLONE_NEWNET } else { 0 };
    let flags = libc::CLONE_NEWUSER
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWCGROUP;
    sys::unshare(flags | network).map_err(|error| probe::no_namespaces(&error))?;
    let write = |file: &str, text: String| std::fs::write(file, text).map_err(|error| probe::no_namespaces(&error));
    write("/proc/self/setgroups", "deny".into())?;
    write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
    write("/proc/self/gid_map", format!("{gid} {gid} 1"))
}

/// Waits for init. Signals sent to the launcher go on to it.
fn wait(init: Pid) -> Result<u8> {
    loop {
        match sys::arrived_signal(&init::awaited()) {
            Ok((libc::SIGCHLD, _)) => {
                let ended = rustix::process::waitpid(Some(init), WaitOptions::NOHANG);
                if let Some((_, status)) = ended.context(|| "wait for the sandbox".into())? {
                    return Ok(init::code(status));
                }
            }
            Ok((signal, from_kernel)) => init::pass_on(init, signal, from_kernel),
            Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
            Err(error) => return Err(error).context(|| "wait for a signal".into()),
        }
    }
}

fn print(ops: &[plan::Op]) -> Result<u8> {
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
