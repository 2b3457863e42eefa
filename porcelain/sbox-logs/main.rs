//! sbox-logs: print what a daemon printed, from wherever and for as long as wanted.
#![forbid(unsafe_code)]

mod network;
mod printer;

use lexopt::prelude::*;
use libsbox::cli::{self, Tool};
use libsbox::daemon;
use libsbox::daemon::processes;
use libsbox::daemon::record::State;
use libsbox::error::{Error, Result};
use libsbox::escape;
use libsbox::format;
use libsbox::logs::{self, Reader};
use libsbox::model;
use libsbox::output;
use libsbox::project::Project;
use libsbox::time;
use printer::{Form, Head, Printer, print_merged};
use serde_json::json;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{Duration, Instant};

const TOOL: Tool = Tool { name: "sbox-logs", usage: USAGE, runs_a_command: false };
const USAGE: &str = "\
usage: sbox logs [-f] [-n N] [--since TIME] [-t | -j] [NAME... | --network]
       sbox logs --list [-j]
Print the log of the daemon NAME, or of the project's default daemon. The name
'build' stands for the log of the last build. Lines of several logs begin with
their names, in the order in which they were written.

  -f, --follow       go on with new lines until the daemon ends
  -n, --lines N      print the last N lines [50, or with --since all]
      --since TIME   print what is not older: 90s, 10m, 2h, 3d, or a time such
                     as 2026-01-30T12:00:00Z
  -t, --timestamps   print before each line when it was written
      --network      print what was asked of the network instead: each name,
                     how often, how many bytes, and what would allow it
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
    names: Vec<String>,
    times: bool,
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
            Short('t') | Long("timestamps") => options.times = true,
            Value(name) => options.names.push(name.string()?),
            other => return Err(cli::common(other)),
        }
    }
    if options.times && options.json {
        return Err(cli::exclusive("'--timestamps' and '--json'").hint("JSON has the times"));
    }
    if options.times && options.network {
        return Err(cli::exclusive("'--timestamps' and '--network'").hint("it has times anyway"));
    }
    if options.network && !options.names.is_empty() {
        return Err(cli::exclusive("'--network' and a name"));
    }
    let project = Project::find()?;
    if options.list {
        return list(&project, options.json);
    }
    if options.network && !options.json {
        return network(&project, &options);
    }
    let form = match (options.json && !options.network, std::io::stdout().is_terminal()) {
        (true, _) => Form::Json,
        // Its lines are objects already.
        _ if options.network => Form::Raw,
        (false, true) => Form::Terminal,
        (false, false) => Form::Raw,
    };
    let mut all = Vec::new();
    for (name, head) in heads(&names(&project, &options)?, options.times) {
        all.push(open(&project, &options, name, Printer::new(form, head))?);
    }
    print_rest(&mut all, !options.follow)?;
    if options.follow {
        follow(&project, &mut all)?;
    }
    all.iter_mut().try_for_each(|one| one.printer.finish())?;
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

/// One log that is printed.
struct Log {
    name: String,
    reader: Reader,
    printer: Printer,
    /// Logs that are not of a daemon have no end.
    is_daemon: bool,
}

fn open(project: &Project, options: &Options, name: String, printer: Printer) -> Result<Log> {
    let lines = options.lines.or(options.since.is_none().then_some(LINES));
    let reader = Reader::open(project, &name, options.since, lines)?;
    let may_come = options.follow && is_live(project, &name)?;
    if !reader.is_there() && !may_come && !options.network {
        let error = Error::new(format!("there is no log '{}'", escape::visible(&name)));
        return Err(error.hint("sbox logs --list"));
    }
    let is_daemon = processes::list(project)?.iter().any(|record| record.name == name);
    Ok(Log { name, reader, printer, is_daemon })
}

/// Prints what can be read now.
fn print_rest(all: &mut [Log], to_the_end: bool) -> Result<()> {
    match all {
        [one] => one.printer.print_rest(&mut one.reader),
        all => print_merged(all.iter_mut().map(|log| (&mut log.printer, &mut log.reader)), to_the_end),
    }
}

/// What stands before the lines of each: names of the same width, in colours that differ.
fn heads(names: &[String], times: bool) -> Vec<(String, Head)> {
    const COLOURS: [&str; 6] = ["36", "33", "32", "35", "34", "31"];
    let colour = output::colour(std::io::stdout().is_terminal());
    let width = names.iter().map(String::len).max().unwrap_or(0);
    let head = |(at, name): (usize, &String)| {
        let prefix = format!("{} | ", libsbox::width::padded(name, width));
        let prefix = (names.len() > 1).then(|| output::paint(colour, COLOURS[at % COLOURS.len()], &prefix));
        (name.clone(), Head { name: name.clone(), prefix, times })
    };
    names.iter().enumerate().map(head).collect()
}

/// Whose logs they are.
fn names(project: &Project, options: &Options) -> Result<Vec<String>> {
    if options.network {
        return Ok(vec!["network".into()]);
    }
    let mut names: Vec<String> = Vec::new();
    for name in &options.names {
        if !matches!(name.as_str(), "build" | "network") {
            daemon::name::check(name)?;
        }
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    if names.is_empty() {
        names.push(default(project)?);
    }
    Ok(names)
}

fn default(project: &Project) -> Result<String> {
    let own = daemon::name::default(project);
    match daemon::choose(project, &processes::list(project)?, None) {
        Ok(record) => Ok(record.name),
        // The record of the daemon is gone, its log is not.
        Err(_) if logs::list(project).iter().any(|(name, _)| *name == own) => Ok(own),
        Err(error) => Err(error),
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

fn follow(project: &Project, all: &mut [Log]) -> Result<()> {
    let mut looked = Instant::now();
    let mut over: Vec<bool> = all.iter().map(|_| false).collect();
    while over.contains(&false) {
        std::thread::sleep(LOOK);
        let look = looked.elapsed() >= LOOK_AT_DAEMON;
        if look {
            looked = Instant::now();
        }
        for (log, over) in all.iter().zip(&mut over).filter(|(_, over)| !**over) {
            // What it printed before it ended is in the log by then.
            *over = look && log.is_daemon && !is_live(project, &log.name)?;
        }
        print_rest(all, false)?;
    }
    Ok(())
}

/// Whether a daemon runs, or will in a moment.
fn is_live(project: &Project, name: &str) -> Result<bool> {
    let records = processes::list(project)?;
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
