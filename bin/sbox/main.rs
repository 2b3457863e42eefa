//! sbox: find `sbox-VERB` and become it.
//!
//! Our own programs come before PATH, so that an extension adds verbs and never replaces one.
#![forbid(unsafe_code)]

mod help;
mod page;

use lexopt::prelude::*;
use libsbox::cli::{self, Tool};
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
usage: sbox [-C DIR] VERB [ARGUMENT...]
Run AI agents in a world of their own. If a file is not mounted, it does not exist to the agent.

Start a project
  init        make a project                 build       make its sandbox
  validate    check its configuration        clean       remove what was built

Run in it
  run         run the project's command, or another
  exec        run a program with its arguments
  shell       start a shell

Look at it
  status      project, build, processes      info        paths, runtime, environment
  demo        see what an agent can do       version     print the version

Trust it
  doctor      what this host gives, and      trust       accept what a configuration from
              whether sandboxes hold on it               elsewhere asks for

  -C DIR             work as if started in DIR
      --exec-path    print the directory of sbox's programs
      --list-cmds    print every verb, extensions included
  -h, --help         print this text; sbox help VERB shows a manual page
  -V, --version      print the version

sbox completion bash|zsh|fish prints completions. A program sbox-NAME on PATH is the verb NAME.
";

fn main() -> ExitCode {
    TOOL.main(run)
}

fn run(args: &mut lexopt::Parser) -> Result<u8> {
    while let Some(arg) = args.next()? {
        match arg {
            Short('C') => enter(&PathBuf::from(args.value()?))?,
            Long("exec-path") => return cli::out_line(plumbing::exec_path()?.display()).map(|()| 0),
            Long("list-cmds") => return list(),
            Short('V') | Long("version") => {
                return cli::out_line(format_args!("sbox version {}", cli::VERSION)).map(|()| 0);
            }
            Value(verb) => {
                let rest: Vec<OsString> = args.raw_args()?.collect();
                return match verb.to_str() {
                    Some("help") => help::help(&rest, USAGE),
                    Some("completion") => help::completion(&rest),
                    _ => Err(become_verb(&verb, &rest)),
                };
            }
            other => return Err(cli::common(other)),
        }
    }
    cli::out(USAGE.as_bytes())?;
    Ok(0)
}

fn enter(directory: &Path) -> Result<()> {
    std::env::set_current_dir(directory).context(|| format!("enter '{}'", escape::visible_path(directory)))
}

/// Executes the verb's program in place of this one: signals, terminal and exit code stay its own.
fn become_verb(verb: &OsStr, arguments: &[OsString]) -> Error {
    let (program, exec_path, own) = match (find(verb), plumbing::exec_path(), std::env::current_exe()) {
        (Ok(Some(program)), Ok(exec_path), Ok(own)) => (program, exec_path, own),
        (Ok(None), ..) => return unknown(verb),
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

/// Where programs of verbs are: our own directory, then PATH. Relative entries are never searched: what is in the
/// current directory may be an agent's.
fn places() -> Result<Vec<PathBuf>> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = vec![plumbing::exec_path()?];
    places.extend(std::env::split_paths(&path).filter(|place| place.is_absolute()));
    Ok(places)
}

fn find(verb: &OsStr) -> Result<Option<PathBuf>> {
    if verb.as_encoded_bytes().contains(&b'/') {
        return Ok(None);
    }
    let mut name = OsString::from("sbox-");
    name.push(verb);
    Ok(places()?.into_iter().map(|place| place.join(&name)).find(|path| is_program(path)))
}

fn is_program(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// Every verb, plumbing and extensions included.
fn verbs() -> Result<BTreeSet<String>> {
    let entries = places()?.into_iter().filter_map(|place| std::fs::read_dir(place).ok()).flatten().flatten();
    let programs = entries.filter(|entry| is_program(&entry.path()));
    let names = programs.filter_map(|entry| entry.file_name().to_str()?.strip_prefix("sbox-").map(str::to_owned));
    Ok(names.filter(|name| !name.contains('.')).chain(["help".into(), "completion".into()]).collect())
}

fn list() -> Result<u8> {
    for verb in verbs()? {
        cli::out_line(escape::visible(&verb))?;
    }
    Ok(0)
}

fn unknown(verb: &OsStr) -> Error {
    let verb = verb.to_string_lossy();
    let known = verbs().unwrap_or_default();
    let error = Error::new(format!("'{}' is no verb of sbox", escape::visible(&verb)));
    match suggest::did_you_mean(&verb, known.iter().map(String::as_str)) {
        Some(meant) => error.hint(format!("did you mean 'sbox {meant}'?")),
        None => error.hint("sbox --list-cmds shows all; a program sbox-NAME on PATH adds one"),
    }
}
