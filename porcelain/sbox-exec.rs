//! sbox-exec: execute a program of the sandbox with its arguments, as they are; or in the sandbox of a daemon that runs.
#![forbid(unsafe_code)]

use lexopt::prelude::*;
use libsbox::cli::{self, Tool};
use libsbox::daemon;
use libsbox::daemon::record;
use libsbox::error::{Error, Result};
use libsbox::escape;
use libsbox::plumbing;
use libsbox::plumbing::sandbox;
use libsbox::project::Project;
use std::ffi::OsString;
use std::process::ExitCode;

const TOOL: Tool = Tool { name: "sbox-exec", usage: USAGE, runs_a_command: true };
const USAGE: &str = "\
usage: sbox exec [--in NAME | --isolation LEVEL] COMMAND [ARGUMENT...]
Execute COMMAND in the project's sandbox. Options after COMMAND belong to it.

      --in NAME            use the running sandbox of the daemon NAME
      --isolation LEVEL    auto, namespace, landlock or env [as configured]
  -h, --help               print this text
  -V, --version            print the version
";

fn main() -> ExitCode {
    TOOL.main(run)
}

fn run(args: &mut lexopt::Parser) -> Result<u8> {
    let (mut isolation, mut inside, mut words) = (None, None, Vec::new());
    while let Some(arg) = args.next()? {
        match arg {
            Long("in") => inside = Some(args.value()?.string()?),
            Long("isolation") => isolation = Some(args.value()?.string()?.parse()?),
            Value(word) => {
                words.push(word);
                words.extend(args.raw_args()?);
            }
            other => return Err(cli::common(other)),
        }
    }
    if words.is_empty() {
        return Err(Error::usage("missing command").hint("sbox exec python -V"));
    }
    match inside {
        Some(_) if isolation.is_some() => Err(Error::usage("'--in' and '--isolation' cannot be used together")),
        Some(name) => beside(&name, &words),
        None => sandbox::become_command(isolation, |_, _| Ok(words)),
    }
}

/// Becomes a command beside the daemon's own.
fn beside(name: &str, words: &[OsString]) -> Result<u8> {
    let project = Project::find()?;
    let config = libsbox::check::load(&project)?;
    libsbox::trust::require(&project, &config)?;
    let record = daemon::choose(&project, &record::list(&project)?, Some(name))?;
    let shown = escape::visible(name);
    let not_running =
        || Error::new(format!("'{shown}' is not running: {}", record.shown_status())).hint("sbox ps --all");
    // Held: its supervisor is really that, and what it wrote is true.
    let _supervisor = record.hold().ok_or_else(not_running)?;
    let command = if record.command_pid > 0 { record.command_pid } else { return Err(not_running()) };
    let mut join = sandbox::ProjectSandbox::new(&project, &config).joining(command, &config.workdir, words)?;
    Err(plumbing::exec(&mut join.command))
}
