//! sbox-report: what runs asked for, were refused and changed, in plain words, for somebody who was not there.
#![forbid(unsafe_code)]

mod gathered;
mod json;
mod text;

use gathered::Gathered;
use lexopt::prelude::*;
use libsbox::cli::{self, Tool};
use libsbox::error::{Error, Result};
use libsbox::escape::{visible, visible_path};
use libsbox::model;
use libsbox::output;
use libsbox::project::Project;
use libsbox::record::{self, Run};
use libsbox::time;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const TOOL: Tool = Tool { name: "sbox-report", usage: USAGE, runs_a_command: false };
const USAGE: &str = "\
usage: sbox report [--since TIME] [-j] [NAME | RUN | --last]
       sbox report --list [-j]
       sbox report --verify [-j]
Say what the runs of this project asked of the network, what they were refused,
which files they changed and how they ended: all runs, those of the daemon NAME,
or the run with the number RUN. Outside of a project, runs without one.

      --last         the newest run
      --since TIME   runs that began not earlier: 90s, 10m, 2h, 3d ago, or a
                     time such as 2026-01-30T12:00:00Z
      --list         list the runs
      --verify       check that no line of the record was changed or removed
  -j, --json         print JSON
  -h, --help         print this text
  -V, --version      print the version
";

fn main() -> ExitCode {
    TOOL.main(run)
}

#[derive(Default)]
struct Options {
    which: Option<String>,
    last: bool,
    since: Option<u64>,
    list: bool,
    verify: bool,
    json: bool,
}

fn run(args: &mut lexopt::Parser) -> Result<u8> {
    let mut options = Options::default();
    while let Some(arg) = args.next()? {
        match arg {
            Long("last") => options.last = true,
            Long("since") => options.since = Some(moment(&args.value()?.string()?)?),
            Long("list") => options.list = true,
            Long("verify") => options.verify = true,
            Short('j') | Long("json") => options.json = true,
            Value(which) if options.which.is_none() => options.which = Some(which.string()?),
            other => return Err(cli::common(other)),
        }
    }
    let chosen = [options.which.is_some(), options.last, options.list, options.verify];
    if chosen.into_iter().filter(|chosen| *chosen).count() > 1 {
        return Err(Error::usage("a name or number, '--last', '--list' and '--verify' cannot be used together"));
    }
    let place = place()?;
    if options.verify {
        return verify(&place, options.json);
    }
    let all = record::runs(&place);
    let runs = choose(all, &options)?;
    if options.json {
        cli::out_json(&runs.iter().map(json::run).collect::<Vec<_>>())?;
        return Ok(0);
    }
    let text = match &runs[..] {
        _ if options.list => text::list(&runs, usize::MAX),
        [one] => text::one(one, &Gathered::of(&runs)),
        _ => text::several(&runs, &Gathered::of(&runs)),
    };
    cli::out(text.as_bytes())?;
    Ok(0)
}

/// The record of the project that this is in; outside of one, that of runs without a project.
fn place() -> Result<PathBuf> {
    match Project::find() {
        Ok(project) => Ok(project.logs()),
        Err(error) => record::of_one_offs().filter(|place| place.join(record::FILE).is_file()).ok_or(error),
    }
}

fn choose(mut runs: Vec<Run>, options: &Options) -> Result<Vec<Run>> {
    if let Some(since) = options.since {
        // Of one whose beginning is rotated away nobody knows that it began later.
        runs.retain(|run| {
            run.start.as_ref().and_then(|(begun, _)| time::seconds_of(begun)).is_some_and(|begun| begun >= since)
        });
    }
    if let Some(which) = &options.which {
        runs.retain(|run| match which.parse::<u64>() {
            Ok(number) => run.number == number,
            Err(_) => run.start.as_ref().is_some_and(|(_, start)| start.name.as_deref() == Some(which)),
        });
    }
    if options.last {
        runs = runs.pop().into_iter().collect();
    }
    if runs.is_empty() && !(options.list || options.json && options.which.is_none()) {
        let error = match &options.which {
            Some(which) => Error::new(format!("there is no run of '{}' in the record", visible(which))),
            None => Error::new("there is no run in the record"),
        };
        return Err(error.hint("sbox report --list"));
    }
    Ok(runs)
}

/// Seconds since 1970 of a moment, or of so long ago.
fn moment(text: &str) -> Result<u64> {
    let ago = model::seconds(text).map(|seconds| time::now().saturating_sub(seconds));
    ago.or_else(|| time::seconds_of(text)).ok_or_else(|| {
        Error::usage(format!("'{}' is not a time", visible(text)))
            .hint("write, for example, 10m for ten minutes ago, or 2026-01-30T12:00:00Z")
    })
}

fn verify(place: &Path, as_json: bool) -> Result<u8> {
    let verified = record::verify(place)?;
    if as_json {
        cli::out_json(&json::verified(&verified))?;
        return Ok(u8::from(!verified.is_whole()));
    }
    for finding in &verified.findings {
        let file = visible_path(place.join(&finding.file));
        let at = if finding.line > 0 { format!(" line {}", finding.line) } else { String::new() };
        let label = if finding.is_harmless { output::Label::Info } else { output::Label::Error };
        output::say(label, format_args!("'{file}'{at}: {}", finding.what));
    }
    if !verified.is_whole() {
        output::hint("what the other lines say may still be true; nobody can say what is missing");
        return Ok(1);
    }
    if verified.lines == 0 {
        output::info("there is nothing in the record yet");
        return Ok(0);
    }
    output::ok(format_args!(
        "The record is as it was written: {} lines, from {} to {}",
        verified.lines, verified.first, verified.last
    ));
    output::info(format_args!("hash of the last line: {}", verified.hash));
    output::hint("whoever can write all files of the record can forge it: keep this hash elsewhere to see that");
    Ok(0)
}
