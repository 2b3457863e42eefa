//! sbox-stop: end daemons, and return when nothing of them is left.
#![forbid(unsafe_code)]

use lexopt::prelude::*;
use libsbox::cli::{self, Tool};
use libsbox::daemon;
use libsbox::daemon::record::Record;
use libsbox::daemon::{living, processes};
use libsbox::error::{Error, Result};
use libsbox::escape;
use libsbox::output;
use libsbox::process::Identity;
use libsbox::project::Project;
use std::collections::HashSet;
use std::process::ExitCode;

const TOOL: Tool = Tool { name: "sbox-stop", usage: USAGE, runs_a_command: false };
const USAGE: &str = "\
usage: sbox stop [-g] [-t TIME] [NAME... | -a]
Stop the daemons NAME, or the project's default daemon. Every process in the
sandbox gets SIGTERM; those that are left after some time are killed.

  -a, --all            stop all daemons of the project
  -g, --global         of all projects of this user, also of those that were
                       removed
  -t, --timeout TIME   how long they have to end: 5s, 1m, or 0 for no time [the
                       configured stop_timeout]
  -h, --help           print this text
  -V, --version        print the version
";

fn main() -> ExitCode {
    TOOL.main(run)
}

fn run(args: &mut lexopt::Parser) -> Result<u8> {
    let (mut all, mut global, mut timeout, mut names) = (false, false, None, Vec::new());
    while let Some(arg) = args.next()? {
        match arg {
            Short('a') | Long("all") => all = true,
            Short('g') | Long("global") => global = true,
            Short('t') | Long("timeout") => timeout = Some(grace(&args.value()?.string()?)?),
            Value(name) => names.push(name.string()?),
            other => return Err(cli::common(other)),
        }
    }
    if all && !names.is_empty() {
        return Err(cli::exclusive("'--all' and a name"));
    }
    if global {
        return everywhere(all, &names, timeout);
    }
    let project = Project::find()?;
    let records = processes::list(&project)?;
    let chosen = chosen(&project, &records, all, &names)?;
    report(&stop(&project, chosen, timeout)?)
}

/// Those that did not go.
type Left = Vec<String>;

/// Stops them; gives the names of those that did not go.
fn stop(project: &Project, mut chosen: Vec<Record>, timeout: Option<u64>) -> Result<Left> {
    if let Some(timeout) = timeout {
        set_timeout(project, &mut chosen, timeout);
    }
    let left = daemon::stop(project, &chosen, rustix::process::Signal::TERM)?;
    for record in &chosen {
        if !left.contains(&record.name) {
            output::ok(format_args!("Stopped '{}'", escape::visible(&record.name)));
        }
    }
    Ok(left)
}

fn report(left: &Left) -> Result<u8> {
    match left.is_empty() {
        true => Ok(0),
        false => Err(Error::new(format!("cannot stop: {}", escape::visible(&left.join(", "))))),
    }
}

/// Daemons of all projects, and those whose project is gone.
fn everywhere(all: bool, names: &[String], timeout: Option<u64>) -> Result<u8> {
    if !all && names.is_empty() {
        return Err(Error::usage("'--global' needs a name, or '--all'").hint("sbox ps --global lists them"));
    }
    let is_meant = |record: &Record| record.status.is_live() && (all || names.contains(&record.name));
    let (mut left, mut found) = (Left::new(), Vec::new());
    let living = living::all();
    for project in daemon::projects(&living) {
        let Ok(records) = processes::list_among(&project, &living) else { continue };
        let chosen: Vec<Record> = records.into_iter().filter(|record| is_meant(record)).collect();
        found.extend(chosen.iter().map(|record| record.name.clone()));
        left.extend(stop(&project, chosen, timeout)?);
    }
    for orphan in daemon::orphans(&living).into_iter().filter(|record| is_meant(record)) {
        found.push(orphan.name.clone());
        let project = Project::at(orphan.project.as_ref())?;
        left.extend(stop(&project, vec![orphan], None)?);
    }
    if let Some(missing) = names.iter().find(|name| !found.contains(name)) {
        return Err(Error::new(format!("no daemon '{}' is running", escape::visible(missing)))
            .hint("sbox ps --global lists those that are"));
    }
    if found.is_empty() {
        output::info("No daemons are running");
    }
    report(&left)
}

/// No time is one, too.
fn grace(text: &str) -> Result<u64> {
    if text == "0" || text == "0s" { Ok(0) } else { cli::span(text) }
}

/// Where a supervisor looks when it is asked to stop.
fn set_timeout(project: &Project, chosen: &mut [Record], timeout: u64) {
    let written = processes::update(project, |records| {
        let meant: HashSet<&Identity> = chosen.iter().map(|record| &record.supervisor).collect();
        let is_meant = |one: &&mut Record| meant.contains(&one.supervisor);
        records.iter_mut().filter(is_meant).for_each(|record| record.stop_timeout = timeout);
        Ok(())
    });
    match written {
        Ok(()) => chosen.iter_mut().for_each(|record| record.stop_timeout = timeout),
        Err(error) => output::warn(format_args!("{error}: they have the time that is configured")),
    }
}

fn chosen(project: &Project, records: &[Record], all: bool, names: &[String]) -> Result<Vec<Record>> {
    let is_live = |record: &Record| record.status.is_live();
    if all {
        let live: Vec<Record> = records.iter().filter(|record| is_live(record)).cloned().collect();
        if live.is_empty() {
            output::info("No daemons are running");
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
