//! sbox-exec: execute a program of the sandbox with its arguments, as they are; or in the sandbox of a daemon that runs.
#![forbid(unsafe_code)]

use lexopt::prelude::*;
use libsbox::cli::{self, Tool};
use libsbox::config::Overrides;
use libsbox::daemon;
use libsbox::daemon::processes;
use libsbox::error::{Error, Result};
use libsbox::escape;
use libsbox::plumbing;
use libsbox::plumbing::sandbox;
use libsbox::project::Project;
use std::ffi::OsString;
use std::process::ExitCode;

const TOOL: Tool = Tool { name: "sbox-exec", usage: USAGE, runs_a_command: true };
const USAGE: &str = concat!(
    "\
usage: sbox exec [--in NAME] [options] COMMAND [ARGUMENT...]
Execute COMMAND in the project's sandbox. Options after COMMAND belong to it.

      --in NAME            use the running sandbox of the daemon NAME; it takes
                           variables and --workdir of the options below

",
    libsbox::options_for_one_run!(),
    "
  -h, --help               print this text
  -V, --version            print the version
"
);

fn main() -> ExitCode {
    TOOL.main(run)
}

fn run(args: &mut lexopt::Parser) -> Result<u8> {
    let (mut overrides, mut inside, mut words) = (Overrides::default(), None, Vec::new());
    while let Some(arg) = args.next()? {
        match arg {
            Long("in") => inside = Some(args.value()?.string()?),
            Long(name) if Overrides::has_option(name) => {
                let name = name.to_owned();
                overrides.take(&name, args)?;
            }
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
        Some(name) => beside(&name, &overrides, &words),
        None => sandbox::become_command(&overrides, |_, _| Ok(words)),
    }
}

/// Becomes a command beside the daemon's own.
fn beside(name: &str, overrides: &Overrides, words: &[OsString]) -> Result<u8> {
    overrides.of_a_command()?;
    let project = Project::find()?;
    let record = daemon::choose(&project, &processes::list(&project)?, Some(name))?;
    let shown = escape::visible(name);
    let not_running =
        || Error::new(format!("'{shown}' is not running: {}", record.shown_status())).hint("sbox ps --all");
    // Held: its supervisor is really that, and what it wrote is true.
    let _supervisor = record.hold().ok_or_else(not_running)?;
    let command = if record.command_pid > 0 { record.command_pid } else { return Err(not_running()) };
    // As the daemon was started, and what is said now beside it.
    let started = daemon::started_with(&record, daemon::started_from(&record).as_mut())?;
    let overrides = &started.and(overrides);
    let config = libsbox::check::load_with(&project, overrides)?;
    libsbox::trust::require_with(&project, &config, overrides)?;
    let mut sandbox = sandbox::ProjectSandbox::new(&project, &config);
    sandbox.daemon = Some(&record.name);
    Err(plumbing::exec(&mut sandbox.joining(command, &config.workdir, words)?.command))
}
