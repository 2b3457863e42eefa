//! sbox: find the program `sbox-COMMAND` and become it.
//!
//! Our own programs come before PATH, so that an extension adds commands and never replaces one.
#![forbid(unsafe_code)]

mod help;
mod page;

use lexopt::prelude::*;
use libsbox::cli::{self, Tool};
use libsbox::commands::{self, COMMANDS, Group};
use libsbox::error::{Context, Error, Kind, Result, reason};
use libsbox::escape;
use libsbox::plumbing;
use libsbox::suggest;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const TOOL: Tool = Tool { name: "sbox", usage: USAGE, runs_a_command: false };
const USAGE: &str = "\
usage: sbox [-C DIR] COMMAND [ARGUMENT...]
Run AI agents in a sandbox, without Docker and without root. If a file is not
mounted, it does not exist for the agent.

COMMANDS
  -C DIR             work as if started in DIR
      --exec-path    print the directory of sbox's programs
      --list-cmds    print commands, extensions; =all: plumbing, too
  -h, --help         print this text
  -V, --version      print the version

'sbox COMMAND --help' lists the options of a command; 'sbox help COMMAND' shows
its manual page, 'sbox help config' that of the configuration.
'sbox completion bash|zsh|fish' prints completions. A program sbox-NAME on PATH
is the command NAME.
";

fn main() -> ExitCode {
    TOOL.main(run)
}

fn run(args: &mut lexopt::Parser) -> Result<u8> {
    while let Some(arg) = args.next()? {
        match arg {
            Short('C') => enter(&PathBuf::from(args.value()?))?,
            Long("exec-path") => return cli::out_line(plumbing::exec_path()?.display()).map(|()| 0),
            Long("list-cmds") => {
                let which = args.optional_value().map(|which| which.string()).transpose()?;
                return list(which.as_deref());
            }
            Short('V') | Long("version") => {
                return cli::out_line(format_args!("sbox version {}", cli::VERSION)).map(|()| 0);
            }
            Short('h') | Long("help") => break,
            Value(name) => {
                let rest: Vec<OsString> = args.raw_args()?.collect();
                return match name.to_str() {
                    Some("help") => help::help(&rest),
                    Some("completion") => help::completion(&rest),
                    _ => Err(become_program(&name, &rest)),
                };
            }
            other => return Err(cli::common(other)),
        }
    }
    cli::out(usage().as_bytes())?;
    Ok(0)
}

/// The usage with every command that people type, group by group.
fn usage() -> String {
    let mut list = String::new();
    for (group, heading) in Group::PORCELAIN {
        list += &format!("{heading}\n");
        for command in COMMANDS.iter().filter(|command| command.group == *group) {
            list += &format!("  {:<12} {}\n", command.name, command.line);
        }
        list.push('\n');
    }
    USAGE.replacen("COMMANDS\n", &list, 1)
}

fn enter(directory: &Path) -> Result<()> {
    std::env::set_current_dir(directory).context(|| format!("enter '{}'", escape::visible_path(directory)))
}

/// Executes the program in place of this one: signals, terminal and exit code stay its own.
fn become_program(name: &OsStr, arguments: &[OsString]) -> Error {
    let (program, exec_path, own) = match (find(name), plumbing::exec_path(), std::env::current_exe()) {
        (Ok(Some(program)), Ok(exec_path), Ok(own)) => (program, exec_path, own),
        (Ok(None), ..) => return unknown(name),
        (Err(error), ..) | (_, Err(error), _) => return error,
        (.., Err(error)) => return Error::new(format!("cannot find this program: {}", reason(&error))),
    };
    let mut command = Command::new(&program);
    command.args(arguments).env("SBOX", own).env("SBOX_EXEC_PATH", exec_path);
    plumbing::trace(&command);
    let error = command.exec();
    let shown = escape::visible_path(&program);
    match error.raw_os_error() {
        Some(libc::ENOENT) if program.exists() => {
            Error::of(Kind::NotExecutable, format!("cannot run '{shown}': its interpreter is missing"))
                .hint("the first line of the file names a program that is not installed")
        }
        _ => Error::of(Kind::NotExecutable, format!("cannot run '{shown}': {}", reason(&error))),
    }
}

/// Where commands are looked for: our own directory, then PATH. Relative entries are never searched: the current
/// directory may hold an agent's files.
fn places() -> Result<Vec<PathBuf>> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = vec![plumbing::exec_path()?];
    places.extend(std::env::split_paths(&path).filter(|place| place.is_absolute()));
    Ok(places)
}

fn find(name: &OsStr) -> Result<Option<PathBuf>> {
    if name.as_encoded_bytes().contains(&b'/') {
        return Ok(None);
    }
    let mut program = OsString::from("sbox-");
    program.push(name);
    Ok(places()?.into_iter().map(|place| place.join(&program)).find(|path| is_program(path)))
}

fn is_program(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// Every command that can be started, plumbing and extensions included.
fn available() -> Result<BTreeSet<String>> {
    let entries = places()?.into_iter().filter_map(|place| std::fs::read_dir(place).ok()).flatten().flatten();
    let programs = entries.filter(|entry| is_program(&entry.path()));
    let names = programs.filter_map(|entry| entry.file_name().to_str()?.strip_prefix("sbox-").map(str::to_owned));
    Ok(names.filter(|name| !name.contains('.')).chain(["help".into(), "completion".into()]).collect())
}

/// Every command that people type; with `all`, plumbing too.
fn list(which: Option<&str>) -> Result<u8> {
    let plumbing = match which {
        None => false,
        Some("all") => true,
        Some(other) => return Err(Error::usage(format!("'--list-cmds' does not know '{}'", escape::visible(other)))),
    };
    let is_wanted = |name: &String| plumbing || commands::group(&format!("sbox-{name}")) != Some(Group::Plumbing);
    for name in available()?.into_iter().filter(is_wanted) {
        cli::out_line(escape::visible(&name))?;
    }
    Ok(0)
}

fn unknown(name: &OsStr) -> Error {
    let name = name.to_string_lossy();
    let known = available().unwrap_or_default();
    let error = Error::new(format!("'{}' is not an sbox command", escape::visible(&name)));
    match suggest::did_you_mean(&name, known.iter().map(String::as_str)) {
        Some(meant) => error.hint(format!("did you mean 'sbox {meant}'?")),
        None => error.hint("'sbox --help' lists the commands; a program sbox-NAME on PATH adds one"),
    }
}
