//! sbox-ps: list the daemons of a project, or of all projects.
#![forbid(unsafe_code)]

use lexopt::prelude::*;
use libsbox::cli::{self, Tool};
use libsbox::daemon;
use libsbox::daemon::record::Record;
use libsbox::daemon::{living, processes};
use libsbox::error::Result;
use libsbox::escape;
use libsbox::format;
use libsbox::output;
use libsbox::process::{Table, Usage};
use libsbox::project::Project;
use libsbox::width;
use serde_json::json;
use std::process::ExitCode;

const TOOL: Tool = Tool { name: "sbox-ps", usage: USAGE, runs_a_command: false };
const USAGE: &str = "\
usage: sbox ps [-a] [-g] [-q | --names | -j]
List the running daemons of this project.

  -a, --all        include those that have ended
  -g, --global     include all projects of this user
  -q, --quiet      print process ids only
      --names      print names only
  -j, --json       print JSON
  -h, --help       print this text
  -V, --version    print the version
";

fn main() -> ExitCode {
    TOOL.main(run)
}

fn run(args: &mut lexopt::Parser) -> Result<u8> {
    let (mut all, mut global, mut quiet, mut names, mut as_json) = (false, false, false, false, false);
    while let Some(arg) = args.next()? {
        match arg {
            Short('a') | Long("all") => all = true,
            Short('g') | Long("global") => global = true,
            Short('q') | Long("quiet") => quiet = true,
            Long("names") => names = true,
            Short('j') | Long("json") => as_json = true,
            other => return Err(cli::common(other)),
        }
    }
    let project = if global { None } else { Some(Project::find()?) };
    let living = living::all();
    let projects = project.map_or_else(|| daemon::projects(&living), |project| vec![project]);
    let mut records = Vec::new();
    for project in &projects {
        match processes::list_among(project, &living) {
            Ok(found) => records.extend(found),
            Err(error) if global => output::warn(error),
            Err(error) => return Err(error),
        }
    }
    if global {
        records.extend(daemon::orphans(&living));
    }
    records.retain(|record| all || record.status.is_live());
    if names {
        return records.iter().try_for_each(|record| cli::out_line(escape::visible(&record.name))).map(|()| 0);
    }
    if quiet {
        let mut pids = records.iter().filter(|record| record.pid > 0).map(|record| record.pid);
        return pids.try_for_each(cli::out_line).map(|()| 0);
    }
    let table = if records.iter().any(|record| record.pid > 0) { Table::read() } else { Table::default() };
    let rows: Vec<(Record, Usage)> = records
        .into_iter()
        .map(|record| {
            let usage = if record.pid > 0 { table.usage(record.pid) } else { Usage::default() };
            (record, usage)
        })
        .collect();
    match as_json {
        true => cli::out_json(&rows.iter().map(to_json).collect::<Vec<_>>())?,
        false => print(&rows, global, all)?,
    }
    Ok(0)
}

/// Processor time as a part of one processor, from its start until now, as in ps(1).
fn share(record: &Record, usage: &Usage) -> Option<f64> {
    record.uptime().map(|seconds| usage.cpu * 100.0 / seconds.max(1) as f64)
}

fn to_json((record, usage): &(Record, Usage)) -> serde_json::Value {
    let round = |value: f64| (value * 100.0).round() / 100.0;
    let runs = record.pid > 0;
    json!({
        "pid": record.pid,
        "name": record.name,
        "status": record.status,
        "command": record.command,
        "words": record.words,
        "start_time": record.start_time,
        "uptime": record.uptime(),
        "restarts": record.restarts,
        "exit_code": record.exit_code,
        "signal": record.exit_code.filter(|code| *code > 128).map(|code| code - 128),
        "ended_at": record.ended_at,
        "reason": record.reason,
        "memory": runs.then_some(usage.memory),
        "cpu_seconds": runs.then(|| round(usage.cpu)),
        "cpu_percent": share(record, usage).map(round),
        "processes": runs.then_some(usage.processes),
        "supervisor": record.supervisor.pid,
        "log_file": record.log_file,
        "project": record.project,
    })
}

fn print(rows: &[(Record, Usage)], global: bool, all: bool) -> Result<()> {
    if rows.is_empty() {
        output::info(if all { "No daemons" } else { "No daemons are running" });
        output::hint(if all { "sbox run -d starts one" } else { "sbox ps --all shows those that have ended" });
        return Ok(());
    }
    let mut lines: Vec<Vec<String>> =
        vec![["PID", "NAME", "STATUS", "UPTIME", "RESTARTS", "MEMORY", "CPU", "COMMAND"].map(String::from).to_vec()];
    lines.push(lines[0].iter().map(|title| "-".repeat(title.len())).collect());
    let dash = || String::from("-");
    for (record, usage) in rows {
        let runs = record.pid > 0;
        lines.push(vec![
            if runs { record.pid.to_string() } else { dash() },
            escape::visible(&record.name),
            record.shown_status(),
            record.uptime().map_or_else(dash, format::span),
            record.restarts.to_string(),
            if runs { format::size(usage.memory) } else { dash() },
            share(record, usage).map_or_else(dash, |share| format!("{share:.1}%")),
            escape::visible(&record.command),
        ]);
    }
    if global {
        lines[0].insert(2, "PROJECT".into());
        lines[1].insert(2, "-------".into());
        for (line, (record, _)) in lines.iter_mut().skip(2).zip(rows) {
            line.insert(2, escape::visible(&record.project));
        }
    }
    let mut text = output::table(&lines);
    if let Some(columns) = width::of_stdout() {
        // The command, which comes last, gets what is left.
        text = text.lines().map(|line| width::shortened(line, columns) + "\n").collect();
    }
    cli::out(text.as_bytes())?;
    let why = rows.iter().filter_map(|(record, _)| Some((record, record.reason.as_ref()?)));
    for (record, reason) in why {
        output::info(format_args!("{}: {}", escape::visible(&record.name), escape::visible(reason)));
    }
    Ok(())
}
