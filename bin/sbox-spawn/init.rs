//! Pid 1 of the sandbox: starts the command, passes signals on, reaps, and takes everything with it when it ends.

use crate::Setup;
use rustix::process::{Pid, Signal, WaitOptions};
use sbox::error::{Context, Error, Kind, Result, reason};
use sbox::sys::{self, Fork, Signals};
use std::ffi::OsString;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;

/// Signals that are passed on to the command when a process sends them. What a key on the terminal sends reaches the
/// command by itself, since it is in the terminal's foreground group too.
pub const PASSED_ON: [libc::c_int; 9] = [
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

/// The signals that pid 1 and the launcher wait for; blocked, so that none is lost and none kills.
pub fn awaited() -> Signals {
    let mut all = PASSED_ON.to_vec();
    all.push(libc::SIGCHLD);
    Signals::of(&all)
}

/// The exit code of a process that ended: its own, or 128 and the signal's number.
pub fn code(status: rustix::process::WaitStatus) -> u8 {
    let code = status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(255)
}

/// Runs as pid 1 until the command ends; gives its exit code.
pub fn run(setup: &Setup) -> Result<u8> {
    die_with_the_launcher(setup)?;
    sys::host_name(crate::plan::hostname(&setup.args)).context(|| "set the host name".into())?;
    if setup.args.no_network {
        let socket = sys::interface_socket().context(|| "bring up the loopback interface".into())?;
        sys::interface_up(socket.as_fd(), c"lo").context(|| "bring up the loopback interface".into())?;
    }
    crate::assemble::enter(&setup.ops)?;
    drop_privileges()?;
    if setup.args.probe {
        return Ok(0);
    }
    // Before there is anybody who could look.
    withdraw(setup)?;
    match sys::fork().context(|| "start a process".into())? {
        Fork::Child => Err(become_the_command(setup)),
        Fork::Parent(child) => reap(child),
    }
}

/// When the launcher dies, however it dies, so does this process, and with it everything in the sandbox.
fn die_with_the_launcher(setup: &Setup) -> Result<()> {
    let shown = || String::from("tie the sandbox to its launcher");
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).context(shown)?;
    // It may be dead already: then the other end of the pipe is closed, and the signal would never come.
    let mut poll = [rustix::event::PollFd::new(&setup.alive, rustix::event::PollFlags::IN)];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    match rustix::event::poll(&mut poll, Some(&now)).context(shown)? {
        0 => Ok(()),
        _ => Err(Error::new("the launcher is gone")),
    }
}

/// No capability in any set, none to be gained again by any exec.
fn drop_privileges() -> Result<()> {
    let shown = || String::from("give up all capabilities");
    // SECBIT_NOROOT, SECBIT_NO_SETUID_FIXUP and SECBIT_NO_CAP_AMBIENT_RAISE, each with its lock (linux/securebits.h).
    sys::secure_bits(0b1100_1111).context(shown)?;
    for capability in 0..64 {
        match sys::drop_bounding(capability) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => break,
            result => result.context(shown)?,
        }
    }
    sys::no_capabilities().context(shown)?;
    rustix::thread::set_no_new_privs(true).context(|| "set no_new_privs".into())
}

/// The last process before the command. What confines it further comes here, in this order: Landlock, then seccomp.
fn become_the_command(setup: &Setup) -> Error {
    match prepare(setup) {
        Ok(()) => {}
        Err(error) => return error,
    }
    let words = &setup.args.command;
    let mut command = std::process::Command::new(&words[0]);
    command.args(&words[1..]).env_clear().envs(setup.environment.iter().map(|(name, value)| (name, value)));
    // Last: exec needs nothing that it refuses, and everything before might.
    if let Err(error) = sys::filter_system_calls(&crate::filter::program(setup.args.nested)) {
        return no_filter(&error);
    }
    let error = command.exec();
    cannot_execute(&words[0], &error, &setup.environment)
}

fn no_filter(error: &std::io::Error) -> Error {
    Error::new(format!("cannot filter system calls: {}", reason(error)))
        .hint("the kernel needs CONFIG_SECCOMP_FILTER, which every distribution sets; nothing was run")
}

fn prepare(setup: &Setup) -> Result<()> {
    sys::new_session_keyring().or_else(unless_missing).context(|| "make a session keyring".into())?;
    no_directories_as_standard_streams()?;
    sys::close_on_exec_from(3).context(|| "close the inherited descriptors".into())?;
    sys::block(&Signals::of(&[])).context(|| "restore the signals".into())?;
    if let Some(directory) = &setup.args.chdir {
        let shown = sbox::words::visible_path(directory);
        rustix::process::chdir(directory).context(|| format!("enter '{shown}' in the sandbox"))?;
    }
    Ok(())
}

/// A kernel without keyrings has none to leak.
fn unless_missing(error: std::io::Error) -> std::io::Result<()> {
    if error.raw_os_error() == Some(libc::ENOSYS) { Ok(()) } else { Err(error) }
}

/// A directory as stdin would be a way out: fchdir(2), then `..`.
fn no_directories_as_standard_streams() -> Result<()> {
    let shown = || String::from("look at the standard streams");
    for stream in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
        let Ok(stat) = rustix::fs::fstat(stream) else { continue };
        if rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Directory {
            return Err(Error::new("a standard stream is a directory")
                .hint("give the command a file, a pipe or /dev/null: through a directory it could leave"));
        }
        // An O_PATH descriptor is no stream either.
        let flags = rustix::fs::fcntl_getfl(stream).context(shown)?;
        if flags.contains(rustix::fs::OFlags::PATH) {
            return Err(Error::new("a standard stream was opened with O_PATH"));
        }
    }
    Ok(())
}

fn cannot_execute(name: &OsString, error: &std::io::Error, environment: &[(OsString, OsString)]) -> Error {
    let shown = sbox::words::visible(&name.to_string_lossy());
    let is_path = name.to_string_lossy().contains('/');
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR) if is_path && std::path::Path::new(name).exists() => {
            Error::of(Kind::NotExecutable, format!("cannot execute '{shown}': its interpreter is not in the sandbox"))
                .hint("the first line of the file, or its ELF header, names a program that is not mounted")
        }
        Some(libc::ENOENT | libc::ENOTDIR) => {
            let path = environment.iter().find(|(name, _)| name == "PATH").map(|(_, path)| path.to_string_lossy());
            let error = Error::of(Kind::NotFound, format!("'{shown}' was not found in the sandbox"));
            match path {
                Some(path) if !is_path => error.hint(format!("PATH inside is {}", sbox::words::visible(&path))),
                _ => error,
            }
        }
        _ => Error::of(Kind::NotExecutable, format!("cannot execute '{shown}': {}", reason(error))),
    }
}

/// Waits for the command, reaping everything that is orphaned on the way.
fn reap(child: Pid) -> Result<u8> {
    sys::close_range(3, u32::MAX).context(|| "close the inherited descriptors".into())?;
    loop {
        let (signal, from_kernel) = match sys::arrived_signal(&awaited()) {
            Err(error) if error.raw_os_error() == Some(libc::EINTR) => continue,
            arrived => arrived.context(|| "wait for a signal".into())?,
        };
        if signal != libc::SIGCHLD {
            pass_on(child, signal, from_kernel);
            continue;
        }
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            if pid == child {
                return Ok(code(status));
            }
        }
    }
}

/// Sends a signal on, unless the kernel sent it to the whole foreground group already.
pub fn pass_on(to: Pid, signal: libc::c_int, from_kernel: bool) {
    if let (false, Some(signal)) = (from_kernel, Signal::from_named_raw(signal)) {
        // It may be gone by now; then its status arrives next.
        let _ = rustix::process::kill_process(to, signal);
    }
}

/// From here on pid 1 tells nothing about the host: no argument, no environment, no memory to look into. The command is
/// forked from it and gets its own back when it is executed.
fn withdraw(setup: &Setup) -> Result<()> {
    let shown = || String::from("withdraw from the sandbox's eyes");
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable).context(shown)?;
    rustix::thread::set_name(c"init").context(shown)?;
    sys::wipe(&setup.own_text);
    Ok(())
}
