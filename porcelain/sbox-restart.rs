//! sbox-restart: end a daemon and start it again, with the command and from the environment that it was started with.
#![forbid(unsafe_code)]

use lexopt::prelude::*;
use libsbox::cli::{self, Tool};
use libsbox::daemon::processes;
use libsbox::daemon::{self, Daemon};
use libsbox::error::{Error, Result};
use libsbox::escape;
use libsbox::output;
use libsbox::project::Project;
use std::ffi::OsString;
use std::process::ExitCode;

const TOOL: Tool = Tool { name: "sbox-restart", usage: USAGE, runs_a_command: false };
const USAGE: &str = "\
usage: sbox restart [NAME]
Stop the daemon NAME, or the project's default daemon, and start it again with
the same command, options and environment, and with the configuration as it is
now. A daemon that has ended is started with your current environment.

  -h, --help       print this text
  -V, --version    print the version
";

fn main() -> ExitCode {
    TOOL.main(run)
}

fn run(args: &mut lexopt::Parser) -> Result<u8> {
    let mut name = None;
    while let Some(arg) = args.next()? {
        match arg {
            Value(word) if name.is_none() => name = Some(word.string()?),
            other => return Err(cli::common(other)),
        }
    }
    let project = Project::find()?;
    let record = daemon::choose(&project, &processes::list(&project)?, name.as_deref())?;
    let shown = escape::visible(&record.name);
    if record.words.is_empty() {
        return Err(
            Error::new(format!("what '{shown}' ran is not known")).hint(format!("sbox run -d --name {shown} COMMAND"))
        );
    }
    // Before anything is stopped: a configuration that cannot be used ends nothing.
    let mut host = daemon::started_from(&record);
    let overrides = &daemon::started_with(&record, host.as_mut())?;
    let config = libsbox::check::load_with(&project, overrides)?;
    libsbox::trust::require_with(&project, &config, overrides)?;
    libsbox::built::require(&project, &config)?;
    libsbox::plumbing::secrets::require_variables(&config)?;
    let left = daemon::stop(&project, std::slice::from_ref(&record), rustix::process::Signal::USR2)?;
    if !left.is_empty() {
        return Err(Error::new(format!("cannot stop '{shown}'")));
    }
    let command: Vec<OsString> = record.words.iter().map(OsString::from).collect();
    let daemon = Daemon { project: &project, config: &config, name: &record.name, words: &command, overrides, host };
    let started = daemon.start()?;
    output::ok(format_args!("Restarted '{shown}' (PID {})", started.pid));
    Ok(0)
}
