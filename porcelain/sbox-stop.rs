//! sbox-stop: end daemons, and return when nothing of them is left.
#![forbid(unsafe_code)]

use lexopt::prelude::*;
use libsbox::cli::{self, Tool};
use libsbox::daemon;
use libsbox::daemon::record::{self, Record};
use libsbox::error::{Error, Result};
use libsbox::escape;
use libsbox::output;
use libsbox::project::Project;
use std::process::ExitCode;

const TOOL: Tool = Tool { name: "sbox-stop", usage: USAGE, runs_a_command: false };
const USAGE: &str = "\
usage: sbox stop [NAME... | -a]
Stop the daemons NAME, or the project's default daemon. Every process in the
sandbox gets SIGTERM; those that are left after the configured stop_timeout are
killed.

  -a, --all        stop all daemons of the project
  -h, --help       print this text
  -V, --version    print the version
";

fn main() -> ExitCode {
    TOOL.main(run)
}

fn run(args: &mut lexopt::Parser) -> Result<u8> {
    let (mut all, mut names) = (false, Vec::new());
    while let Some(arg) = args.next()? {
        match arg {
            Short('a') | Long("all") => all = true,
            Value(name) => names.push(name.string()?),
            other => return Err(cli::common(other)),
        }
    }
    if all && !names.is_empty() {
        return Err(Error::usage("'--all' and a name cannot be used together"));
    }
    let project = Project::find()?;
    let records = record::list(&project)?;
    let chosen = chosen(&project, &records, all, &names)?;
    let left = daemon::stop(&project, &chosen, rustix::process::Signal::TERM)?;
    for record in &chosen {
        if !left.contains(&record.name) {
            output::ok(format_args!("Stopped '{}'", escape::visible(&record.name)));
        }
    }
    match left.is_empty() {
        true => Ok(0),
        false => Err(Error::new(format!("cannot stop: {}", escape::visible(&left.join(", "))))),
    }
}

fn chosen(project: &Project, records: &[Record], all: bool, names: &[String]) -> Result<Vec<Record>> {
    let is_live = |record: &Record| record.status.is_live();
    if all {
        let live: Vec<Record> = records.iter().filter(|record| is_live(record)).cloned().collect();
        if live.is_empty() {
            output::info("No daemons run");
        }
        return Ok(live);
    }
    let mut names: Vec<Option<&str>> = names.iter().map(|name| Some(name.as_str())).collect();
    if names.is_empty() {
        names.push(None);
    }
    let mut chosen = Vec::new();
    for name in names {
        let record = daemon::choose(project, records, name)?;
        if !is_live(&record) {
            let message = format!("'{}' is not running: {}", escape::visible(&record.name), record.shown_status());
            return Err(Error::new(message).hint("sbox ps --all"));
        }
        chosen.push(record);
    }
    Ok(chosen)
}
