//! sbox-wait: wait until daemons have ended, and end as they did.
#![forbid(unsafe_code)]

use lexopt::prelude::*;
use libsbox::cli::{self, Tool};
use libsbox::daemon;
use libsbox::daemon::processes;
use libsbox::daemon::record::{self, Record};
use libsbox::error::{Error, Kind, Result};
use libsbox::escape;
use libsbox::output;
use libsbox::project::Project;
use serde_json::json;
use std::process::ExitCode;
use std::time::{Duration, Instant};

const TOOL: Tool = Tool { name: "sbox-wait", usage: USAGE, runs_a_command: true };
const USAGE: &str = "\
usage: sbox wait [-t TIME] [-j] [NAME...]
Wait until the daemons NAME, or the project's default daemon, have ended for
good. The exit code is that of the daemon that is named last.

  -t, --timeout TIME   give up after TIME (90s, 10m), with exit code 124
  -j, --json           print a JSON object for each daemon: name, status,
                       exit_code
  -h, --help           print this text
  -V, --version        print the version
";

/// The exit code when the time is up: that of timeout(1).
const TIME_IS_UP: u8 = 124;

/// Between two looks at a daemon that is between two supervisors.
const LOOK: Duration = Duration::from_millis(50);

/// How long `sbox restart` may take to start again what it has stopped.
const RESTART: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    TOOL.main(run)
}

fn run(args: &mut lexopt::Parser) -> Result<u8> {
    let (mut timeout, mut as_json, mut names) = (None, false, Vec::new());
    while let Some(arg) = args.next()? {
        match arg {
            Short('t') | Long("timeout") => timeout = Some(Duration::from_secs(cli::span(&args.value()?.string()?)?)),
            Short('j') | Long("json") => as_json = true,
            Value(name) => names.push(name.string()?),
            other => return Err(cli::common(other)),
        }
    }
    let project = Project::find()?;
    let records = processes::list(&project)?;
    let chosen = match names.is_empty() {
        true => vec![daemon::choose(&project, &records, None)?],
        false => names.iter().map(|name| daemon::choose(&project, &records, Some(name))).collect::<Result<_>>()?,
    };
    let end = timeout.map(|timeout| Instant::now() + timeout);
    let mut last = Ok(0);
    for record in chosen {
        let Some(ended) = wait(&project, &record.name, end)? else {
            let shown = escape::visible(&record.name);
            output::say(output::Label::Error, format_args!("'{shown}' is still running"));
            return Ok(TIME_IS_UP);
        };
        if as_json {
            cli::out_json(&json!({"name": ended.name, "status": ended.status, "exit_code": ended.exit_code}))?;
        }
        last = code(&ended);
    }
    last
}

/// What a daemon ended with.
fn code(record: &Record) -> Result<u8> {
    record.exit_code.ok_or_else(|| {
        let why = record.reason.clone().unwrap_or_else(|| record.shown_status());
        let shown = escape::visible(&record.name);
        Error::of(Kind::Failure, format!("how '{shown}' ended is not known: {}", escape::visible(&why)))
    })
}

/// The entry of a daemon once nothing holds it any more; nothing if the time was up before.
fn wait(project: &Project, name: &str, end: Option<Instant>) -> Result<Option<Record>> {
    let mut restarting: Option<Instant> = None;
    loop {
        let records = processes::list(project)?;
        let Some(record) = records.into_iter().find(|record| record.name == name) else {
            return Err(Error::new(format!("'{}' was removed meanwhile", escape::visible(name))));
        };
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        let between = record.status == record::State::Restarting
            && restarting.get_or_insert_with(Instant::now).elapsed() < RESTART;
        if !record.status.is_live() && !between {
            return Ok(Some(record));
        }
        if left.is_some_and(|left| left.is_zero()) {
            return Ok(None);
        }
        match record.hold() {
            Some(supervisor) => {
                restarting = None;
                daemon::is_gone(&supervisor, left);
            }
            None => std::thread::sleep(left.map_or(LOOK, |left| left.min(LOOK))),
        }
    }
}
