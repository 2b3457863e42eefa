//! sbox-rm: forget daemons that have ended, with their logs.
#![forbid(unsafe_code)]

use lexopt::prelude::*;
use libsbox::cli::{self, Tool};
use libsbox::daemon;
use libsbox::daemon::processes;
use libsbox::daemon::record::Record;
use libsbox::error::{Error, Result};
use libsbox::escape;
use libsbox::logs;
use libsbox::output;
use libsbox::plumbing::porcelain;
use libsbox::project::Project;
use std::process::ExitCode;

const TOOL: Tool = Tool { name: "sbox-rm", usage: USAGE, runs_a_command: false };
const USAGE: &str = "\
usage: sbox rm [-f] NAME... | -a
Remove daemons that have ended from the list of 'sbox ps --all', and their logs.

  -f, --force      stop those that are running first
  -a, --all        all that have ended; with --force, all
  -h, --help       print this text
  -V, --version    print the version
";

fn main() -> ExitCode {
    TOOL.main(run)
}

fn run(args: &mut lexopt::Parser) -> Result<u8> {
    let (mut all, mut force, mut names) = (false, false, Vec::new());
    while let Some(arg) = args.next()? {
        match arg {
            Short('a') | Long("all") => all = true,
            Short('f') | Long("force") => force = true,
            Value(name) => names.push(name.string()?),
            other => return Err(cli::common(other)),
        }
    }
    match (all, names.is_empty()) {
        (true, false) => return Err(cli::exclusive("'--all' and a name")),
        (false, true) => return Err(Error::usage("missing NAME").hint("sbox ps --all lists them")),
        _ => {}
    }
    let project = Project::find()?;
    let records = processes::list(&project)?;
    let chosen = if all { of_all(&records, force) } else { named(&project, &records, &names)? };
    if chosen.is_empty() {
        output::info("no daemon has ended");
        return Ok(0);
    }
    let live: Vec<&Record> = records.iter().filter(|one| one.status.is_live() && chosen.contains(&one.name)).collect();
    if force && !live.is_empty() {
        porcelain::stop(&project, live.iter().map(|record| &record.name))?;
    } else if let Some(record) = live.first() {
        let shown = escape::visible(&record.name);
        return Err(Error::new(format!("'{shown}' is {}", record.status.name()))
            .hint(format!("sbox rm --force {shown} stops it first")));
    }
    for name in chosen {
        remove(&project, &name)?;
        output::ok(format_args!("Removed '{}'", escape::visible(&name)));
    }
    Ok(0)
}

fn of_all(records: &[Record], force: bool) -> Vec<String> {
    records.iter().filter(|record| force || !record.status.is_live()).map(|record| record.name.clone()).collect()
}

/// Those that there are: a daemon, or what is left of one whose entry was lost, its log.
fn named(project: &Project, records: &[Record], names: &[String]) -> Result<Vec<String>> {
    let mut chosen: Vec<String> = Vec::new();
    for name in names {
        let has_log = || logs::list(project).iter().any(|(log, _)| log == name) && daemon::name::check(name).is_ok();
        if !records.iter().any(|record| record.name == *name) && !has_log() {
            daemon::choose(project, records, Some(name))?;
        }
        if !chosen.contains(name) {
            chosen.push(name.clone());
        }
    }
    Ok(chosen)
}

/// The entry goes under its lock: a daemon of the same name that was started meanwhile keeps both.
fn remove(project: &Project, name: &str) -> Result<()> {
    processes::update(project, |records| {
        if records.iter().any(|record| record.name == name && record.status.is_live()) {
            return Err(Error::new(format!("'{}' was started meanwhile", escape::visible(name))));
        }
        records.retain(|record| record.name != name);
        logs::remove(project, name)
    })
}
