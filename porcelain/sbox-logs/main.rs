//! sbox-logs: print what a daemon printed, from wherever and for as long as wanted.
#![forbid(unsafe_code)]

mod network;
mod printer;

use lexopt::prelude::*;
use libsbox::cli::{self, Tool};
use libsbox::daemon;
use libsbox::daemon::record::{self, State};
use libsbox::error::{Error, Result};
use libsbox::escape;
use libsbox::format;
use libsbox::logs::{self, Reader};
use libsbox::model;
use libsbox::output;
use libsbox::project::Project;
use libsbox::time;
use printer::{Form, Printer};
use serde_json::json;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{Duration, Instant};

const TOOL: Tool = Tool { name: "sbox-logs", usage: USAGE, runs_a_command: false };
const USAGE: &str = "\
usage: sbox logs [-f] [-n N] [--since TIME] [-j] [NAME | --network]
       sbox logs --list [-j]
Print the log of the daemon NAME, or of the project's default daemon. The name
'build' stands for the log of the last build.

  -f, --follow       go on with new lines until the daemon ends
  -n, --lines N      print the last N lines [50, or with --since all]
      --since TIME   print what is not older: 90s, 10m, 2h, 3d, or a time such
                     as 2026-01-30T12:00:00Z
      --network      print what was asked of the network instead: each name,
                     how often, and what would allow it
      --list         list the logs and their sizes
  -j, --json         print a JSON object for each line
  -h, --help         print this text
  -V, --version      print the version
";

/// Between two looks at a log that is followed.
const LOOK: Duration = Duration::from_millis(100);

/// Between two looks at the daemon.
const LOOK_AT_DAEMON: Duration = Duration::from_millis(500);

/// How long `sbox restart` may take to start again what it has stopped.
const RESTART: u64 = 30;

/// How many lines are printed without '--lines' and '--since'.
const LINES: usize = 50;

fn main() -> ExitCode {
    TOOL.main(run)
}

#[derive(Default)]
struct Options {
    name: Option<String>,
    follow: bool,
    lines: Option<usize>,
    since: Option<u64>,
    network: bool,
    list: bool,
    json: bool,
}

fn run(args: &mut lexopt::Parser) -> Result<u8> {
    let mut options = Options::default();
    while let Some(arg) = args.next()? {
        match arg {
            Short('f') | Long("follow") => options.follow = true,
            Short('n') | Long("lines") => options.lines = Some(args.value()?.parse()?),
            Long("since") => options.since = Some(moment(&args.value()?.string()?)?),
            Long("network") => options.network = true,
            Long("list") => options.list = true,
            Short('j') | Long("json") => options.json = true,
            Value(name) if options.name.is_none() => options.name = Some(name.string()?),
            other => return Err(cli::common(other)),
        }
    }
    if options.network && options.name.is_some() {
        return Err(Error::usage("'--network' and a name cannot be used together"));
    }
    let project = Project::find()?;
    if options.list {
        return list(&project, options.json);
    }
    if options.network && !options.json {
        return network(&project, &options);
    }
    let name = name(&project, &options)?;
    let lines = options.lines.or(options.since.is_none().then_some(LINES));
    let mut reader = Reader::open(&project, &name, options.since, lines)?;
    let may_come = options.follow && is_live(&project, &name)?;
    if !reader.is_there() && !may_come && !options.network {
        let error = Error::new(format!("there is no log '{}'", escape::visible(&name)));
        return Err(error.hint("sbox logs --list"));
    }
    let form = match (options.json && !options.network, std::io::stdout().is_terminal()) {
        (true, _) => Form::Json,
        // Its lines are objects already.
        _ if options.network => Form::Raw,
        (false, true) => Form::Terminal,
        (false, false) => Form::Raw,
    };
    let mut printer = Printer::new(form);
    printer.print_rest(&mut reader)?;
    if options.follow {
        follow(&project, &name, &mut reader, &mut printer)?;
    }
    printer.finish()?;
    Ok(0)
}

/// The table, and what comes after it.
fn network(project: &Project, options: &Options) -> Result<u8> {
    let mut reader = Reader::last(project, "network", 0)?;
    let code = network::print(project, options.lines.unwrap_or(LINES), options.since)?;
    let mut rest = Vec::new();
    if !options.follow {
        return Ok(code);
    }
    loop {
        std::thread::sleep(LOOK);
        network::print_new(&mut reader, &mut rest)?;
    }
}

/// Whose log it is.
fn name(project: &Project, options: &Options) -> Result<String> {
    if options.network {
        return Ok("network".into());
    }
    match &options.name {
        Some(name) if matches!(name.as_str(), "build" | "network") => Ok(name.clone()),
        Some(name) => daemon::name::check(name).map(|()| name.clone()),
        None => {
            let own = daemon::name::default(project);
            match daemon::choose(project, &record::list(project)?, None) {
                Ok(record) => Ok(record.name),
                // The record of the daemon is gone, its log is not.
                Err(_) if logs::list(project).iter().any(|(name, _)| *name == own) => Ok(own),
                Err(error) => Err(error),
            }
        }
    }
}

/// Seconds since 1970 of a moment, or of so long ago.
fn moment(text: &str) -> Result<u64> {
    let ago = model::seconds(text).map(|seconds| time::now().saturating_sub(seconds));
    ago.or_else(|| time::seconds_of(text)).ok_or_else(|| {
        Error::usage(format!("'{}' is not a time", escape::visible(text)))
            .hint("write, for example, 10m for ten minutes ago, or 2026-01-30T12:00:00Z")
    })
}

fn list(project: &Project, as_json: bool) -> Result<u8> {
    let all = logs::list(project);
    if as_json {
        cli::out_json(&all.iter().map(|(name, size)| json!({"name": name, "size": size})).collect::<Vec<_>>())?;
        return Ok(0);
    }
    if all.is_empty() {
        output::info("No logs");
    }
    let rows: Vec<Vec<String>> =
        all.iter().map(|(name, size)| vec![escape::visible(name), format::size(*size)]).collect();
    cli::out(output::table(&rows).as_bytes())?;
    Ok(0)
}

fn follow(project: &Project, name: &str, reader: &mut Reader, printer: &mut Printer) -> Result<()> {
    // Logs that are not of a daemon have no end.
    let is_daemon = record::list(project)?.iter().any(|record| record.name == name);
    let mut looked = Instant::now();
    loop {
        std::thread::sleep(LOOK);
        printer.print_rest(reader)?;
        if is_daemon && looked.elapsed() >= LOOK_AT_DAEMON {
            looked = Instant::now();
            if !is_live(project, name)? {
                // What it printed before it ended is in the log by now.
                return printer.print_rest(reader);
            }
        }
    }
}

/// Whether a daemon runs, or will in a moment.
fn is_live(project: &Project, name: &str) -> Result<bool> {
    let records = record::list(project)?;
    let Some(record) = records.iter().find(|record| record.name == name) else { return Ok(false) };
    let ended = record.ended_at.as_deref().and_then(time::seconds_of).unwrap_or(0);
    let restarts = record.status == State::Restarting && time::now().saturating_sub(ended) < RESTART;
    Ok(record.status.is_live() || restarts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_dates_or_spans() {
        assert_eq!(moment("2026-01-30T12:00:00Z").unwrap(), 1_769_774_400);
        assert!(moment("10m").unwrap().abs_diff(time::now() - 600) < 5);
        assert!(moment("yesterday").is_err());
    }

    #[test]
    fn help_says_the_default_of_the_code() {
        assert!(cli::default_in(USAGE, "--lines").is_some_and(|text| text.starts_with(&format!("{LINES},"))));
    }
}
