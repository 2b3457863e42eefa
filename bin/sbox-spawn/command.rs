//! The last process before the command: gives up what is left, then becomes it.

use crate::args::Level;
use crate::sandbox::Sandbox;
use crate::{filter, landlock, layer, limits, listener, symlink_layout};
use libsbox::error::{Context, Error, Kind, Result, reason};
use libsbox::sys::{self, Signals};
use rustix::fd::OwnedFd;
use std::ffi::OsString;
use std::os::fd::IntoRawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;

/// Executes the command; returns only if that failed. What the filter refuses is reported to `socket`, if there is one.
pub fn become_it(sandbox: &Sandbox, level: Level, socket: Option<&OwnedFd>) -> Error {
    if let Err(error) = prepare(sandbox, level) {
        return error;
    }
    let words = &sandbox.args.command;
    let mut command = std::process::Command::new(&words[0]);
    command.args(&words[1..]).env_clear().envs(sandbox.environment.iter().map(|(name, value)| (name, value)));
    // Before the filter of the sandbox, which refuses to load one.
    if let Some(learner) = &sandbox.learner
        && let Err(error) = learner.watch_this_process()
    {
        return error;
    }
    // Last: exec needs nothing that it refuses, and everything before might.
    if level != Level::Env
        && let Err(error) = filter_calls(&filter::Scope::of(&sandbox.args, level), socket)
    {
        return error;
    }
    let error = command.exec();
    cannot_execute(&words[0], &error, &sandbox.environment)
}

/// Loads the filter. Where nobody can be told what it refuses, it refuses all the same.
fn filter_calls(scope: &filter::Scope, socket: Option<&OwnedFd>) -> Result<()> {
    let plain = filter::program(scope);
    if let Some(socket) = socket.filter(|_| scope.is_reported()) {
        // There is one listener for a process and all that come from it: a sandbox in this one may have it.
        if let Ok(listener) = sys::filter_with_listener(&filter::reporting(&plain)) {
            return listener::hand_over(socket, &listener);
        }
    }
    sys::filter_system_calls(&plain).map_err(|error| no_filter(&error))
}

fn no_filter(error: &std::io::Error) -> Error {
    Error::new(format!("cannot filter system calls: {}", reason(error)))
        .hint("the kernel needs CONFIG_SECCOMP_FILTER, which every distribution sets; nothing was run")
}

/// Every descriptor from `first` on ends with the next exec. Before Linux 5.11, which came with the flag for that, one by one.
fn close_on_exec_from(first: i32) -> std::io::Result<()> {
    match sys::close_on_exec_from(first) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS)) => {}
        done => return done,
    }
    let names = std::fs::read_dir("/proc/self/fd")?.map(|entry| entry.map(|entry| entry.file_name()));
    let names: Vec<_> = names.collect::<std::io::Result<_>>()?;
    for number in names.iter().filter_map(|name| name.to_str()?.parse::<i32>().ok()).filter(|number| *number >= first) {
        // The one of the list itself is closed by now.
        if let Ok(descriptor) = sys::adopt(number) {
            let marked = rustix::io::fcntl_setfd(&descriptor, rustix::io::FdFlags::CLOEXEC);
            // It is others' to close.
            let _ = descriptor.into_raw_fd();
            marked?;
        }
    }
    Ok(())
}

fn prepare(sandbox: &Sandbox, level: Level) -> Result<()> {
    no_directories_as_standard_streams()?;
    close_on_exec_from(3).context(|| "close the inherited descriptors".into())?;
    sys::block(&Signals::of(&[])).context(|| "restore the signals".into())?;
    sys::ignore_signal(libc::SIGXFSZ, false);
    if let Some(directory) = &sandbox.args.chdir {
        let directory =
            if level == Level::Namespace { directory.clone() } else { symlink_layout::on_host(sandbox, directory) };
        let shown = libsbox::escape::visible_path(&directory);
        rustix::process::chdir(&directory).context(|| format!("enter '{shown}' in the sandbox"))?;
    }
    if sandbox.args.overlays().next().is_some() {
        layer::wait_for_a_tick_after(sandbox.start);
    }
    limits::apply(&sandbox.args.limits, level)?;
    match level {
        Level::Namespace => landlock::restrict_to_root(sandbox.args.nested),
        Level::Landlock => landlock::rules(sandbox),
        Level::Env => Ok(()),
    }
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
        // An O_PATH descriptor is not a stream either.
        let flags = rustix::fs::fcntl_getfl(stream).context(shown)?;
        if flags.contains(rustix::fs::OFlags::PATH) {
            return Err(Error::new("a standard stream was opened with O_PATH"));
        }
    }
    Ok(())
}

fn cannot_execute(name: &OsString, error: &std::io::Error, environment: &[(OsString, OsString)]) -> Error {
    let shown = libsbox::escape::visible(&name.to_string_lossy());
    let is_path = name.to_string_lossy().contains('/');
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR) if is_path && Path::new(name).exists() => {
            Error::of(Kind::NotExecutable, format!("cannot execute '{shown}': its interpreter is not in the sandbox"))
                .hint("the first line of the file, or its ELF header, names a program that is not mounted")
        }
        Some(libc::ENOENT | libc::ENOTDIR) => {
            let path = environment.iter().find(|(name, _)| name == "PATH").map(|(_, path)| path.to_string_lossy());
            let error = Error::of(Kind::NotFound, format!("'{shown}' was not found in the sandbox"));
            match path {
                Some(path) if !is_path => error.hint(format!("PATH inside is {}", libsbox::escape::visible(&path))),
                _ => error,
            }
        }
        _ => Error::of(Kind::NotExecutable, format!("cannot execute '{shown}': {}", reason(error))),
    }
}
