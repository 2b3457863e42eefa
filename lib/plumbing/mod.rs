//! Starting one of our programs from another. With `SBOX_TRACE=1` each command line is printed, quoted for pasting.

pub mod archive;
pub mod cached_env;
pub mod envsh;
pub mod forward;
mod helper;
pub mod in_home;
pub mod mkenv;
pub mod porcelain;
pub mod relocate;
pub mod sandbox;
pub mod secrets;
pub mod spawn;
pub mod stage;
pub mod supervise;

pub use helper::{
    drop_root, inherited_socket, keep_others_out, leave_the_keys, received_sockets, sockets_from, stay_in_front,
};

use crate::error::{Context, Error, Result};
use crate::progress::Progress;
use rustix::fd::BorrowedFd;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The directory of our programs: `SBOX_EXEC_PATH`, else where this program lives.
pub fn exec_path() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("SBOX_EXEC_PATH").map(PathBuf::from).filter(|path| path.is_absolute()) {
        return Ok(path);
    }
    let own = std::env::current_exe().context(|| "find the directory of sbox's programs".into())?;
    own.parent().map(PathBuf::from).ok_or_else(|| Error::new("cannot find the directory of sbox's programs"))
}

/// A command that starts our program `name`.
pub fn program(name: &str) -> Result<Command> {
    let path = exec_path()?.join(name);
    if !path.is_file() {
        return Err(Error::new(format!("'{}' is missing", path.display()))
            .hint("install the whole toolkit again: its programs work together"));
    }
    Ok(Command::new(path))
}

/// Runs a plumbing command and gives what it wrote on stdout. Its stderr is ours. If it failed, it said why.
pub fn output(command: &mut Command) -> Result<Vec<u8>> {
    collect(command.stderr(Stdio::inherit()))
}

/// The same while something draws progress: what the command reports appears there, and its messages above it.
pub fn output_with(command: &mut Command, progress: &Progress) -> Result<Vec<u8>> {
    command.stderr(Stdio::inherit());
    progress.watch(command);
    collect(command)
}

fn collect(command: &mut Command) -> Result<Vec<u8>> {
    trace(command);
    let name = shown(command.get_program());
    let output = die_with_parent(command).output().context(|| format!("start '{name}'"))?;
    match output.status.code() {
        Some(0) => Ok(output.stdout),
        Some(_) => Err(Error::reported(crate::status::of(output.status))),
        None => Err(Error::new(format!("'{name}' was killed"))),
    }
}

/// The same with `input` on its stdin.
pub fn output_of(command: &mut Command, input: &[u8]) -> Result<Vec<u8>> {
    let output = answer(command, input)?;
    match output.status.code() {
        Some(0) => Ok(output.stdout),
        Some(_) => Err(Error::reported(crate::status::of(output.status))),
        None => Err(Error::new(format!("'{}' was killed", shown(command.get_program())))),
    }
}

/// What the program `name` printed, which is JSON.
fn reply<T: serde::de::DeserializeOwned>(name: &str, text: &[u8]) -> Result<T> {
    serde_json::from_slice(text).map_err(|error| Error::new(format!("cannot parse the output of {name}: {error}")))
}

/// The same of lines with a JSON object each.
fn reply_lines<T: serde::de::DeserializeOwned>(name: &str, text: &[u8]) -> Result<Vec<T>> {
    text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(|line| reply(name, line)).collect()
}

/// Runs a plumbing command with `input` on its stdin; gives how it ended, too. Its stderr is ours.
pub fn answer(command: &mut Command, input: &[u8]) -> Result<std::process::Output> {
    trace(command);
    let name = shown(command.get_program());
    let failed = || format!("start '{name}'");
    let mut child = die_with_parent(command).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context(failed)?;
    let stdin = child.stdin.take();
    std::thread::scope(|scope| {
        // While it is written, the program may write, too. If it ended early, its exit code says why.
        let write = move || stdin.map(|mut stdin| std::io::Write::write_all(&mut stdin, input));
        let writer = crate::thread::spawn_scoped(scope, write);
        if writer.is_err() {
            // Its input ends before it has begun, which is nothing to act on.
            let _ = child.kill();
        }
        let output = child.wait_with_output().context(failed);
        writer.and(output)
    })
}

/// Names the process that a program of ours must not outlive.
const PARENT: &str = "SBOX_PARENT_PID";

/// The process that this one must not outlive.
static STARTER: OnceLock<Option<i32>> = OnceLock::new();

/// Ties a program of ours to this process: a build that is killed leaves nothing behind that goes on building.
pub fn die_with_parent(command: &mut Command) -> &mut Command {
    command.env(PARENT, std::process::id().to_string())
}

/// Lets a program of ours outlive this process.
pub fn outlive_parent(command: &mut Command) -> &mut Command {
    command.env_remove(PARENT)
}

/// Called first by every program: asks the kernel to end this one with its parent, if [`die_with_parent`]
/// was used. `false` if the parent is gone already.
///
/// The variable is for this program alone, and is not passed on: so another parent than the one that is named can only
/// mean that the one that is named has died. Called again after a change of ids or of the user namespace, at which the
/// kernel forgets.
pub fn obey_death_of_parent() -> bool {
    let starter = STARTER.get_or_init(|| {
        let named = std::env::var(PARENT).ok()?.parse().ok();
        crate::sys::forget_variable(PARENT);
        named
    });
    let Some(starter) = *starter else { return true };
    // Where this cannot be asked for, what follows is half of it.
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    rustix::process::getppid().is_some_and(|parent| parent.as_raw_pid() == starter)
}

/// Lets a descriptor through the next exec.
pub fn inherit(fd: BorrowedFd<'_>) -> Result<()> {
    rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty()).context(|| "pass a descriptor on".into())
}

/// Becomes the command. Returns only if that failed.
pub fn exec(command: &mut Command) -> Error {
    use std::os::unix::process::CommandExt;
    trace(command);
    let error = command.exec();
    Error::new(format!("cannot start '{}': {}", shown(command.get_program()), crate::error::reason(&error)))
}

/// Prints the command line on stderr if `SBOX_TRACE` asks for it.
pub fn trace(command: &Command) {
    if std::env::var_os("SBOX_TRACE").is_some_and(|value| !value.is_empty() && value != "0") {
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let line: Vec<String> = words.map(|word| crate::escape::shell_word(&word.to_string_lossy())).collect();
        crate::output::line(format_args!("trace: {}", line.join(" ")));
    }
}

fn shown(program: &OsStr) -> String {
    crate::escape::visible_path(std::path::Path::new(program).file_name().unwrap_or(program))
}

/// The value of an option in the words of a program of ours, whose options stand before its command.
pub fn value<'a>(words: &'a [String], option: &str) -> Option<&'a str> {
    let own = words.split(|word| word == "--").next()?;
    own.windows(2).find(|pair| pair[0] == option).map(|pair| pair[1].as_str())
}
