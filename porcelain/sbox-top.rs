//! sbox-top: what all sandboxes of this user use, now.
#![forbid(unsafe_code)]

use lexopt::prelude::*;
use libsbox::cli::{self, Tool};
use libsbox::error::{Error, Result};
use libsbox::escape;
use libsbox::format;
use libsbox::output;
use libsbox::plumbing::spawn::Described;
use libsbox::plumbing::supervise;
use libsbox::process::{self, Stat, Table, Usage};
use libsbox::width;
use serde_json::json;
use std::collections::{HashMap, HashSet};
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{Duration, Instant};

const TOOL: Tool = Tool { name: "sbox-top", usage: USAGE, runs_a_command: false };
const USAGE: &str = "\
usage: sbox top [-n N] [-i SECONDS] [-j]
Show what the sandboxes of all your projects use: processor time as a share of
one processor, memory, processes, and bytes over the loopback of a separate
network. On a terminal this is refreshed until Ctrl-C.

  -n, --count N            look N times [without a terminal 1]
  -i, --interval SECONDS   the time between two looks [2]
  -j, --json               print JSON
  -h, --help               print this text
  -V, --version            print the version
";

const INTERVAL: u64 = 2;

/// Before the first look: a share of the processor is that of some time.
const FIRST: Duration = Duration::from_millis(200);

/// Home, and nothing on the screen.
const CLEAR: &str = "\x1b[H\x1b[2J";

fn main() -> ExitCode {
    TOOL.main(run)
}

fn run(args: &mut lexopt::Parser) -> Result<u8> {
    let (mut count, mut interval, mut as_json) = (None, INTERVAL, false);
    while let Some(arg) = args.next()? {
        match arg {
            Short('n') | Long("count") => count = Some(args.value()?.parse::<u64>()?),
            Short('i') | Long("interval") => interval = args.value()?.parse()?,
            Short('j') | Long("json") => as_json = true,
            other => return Err(cli::common(other)),
        }
    }
    if interval == 0 || count == Some(0) {
        return Err(Error::usage("a number of looks or seconds begins with 1"));
    }
    let refresh = std::io::stdout().is_terminal() && !as_json && count != Some(1);
    let count = count.or((!refresh).then_some(1));
    let mut before = Look::now();
    let mut pause = FIRST;
    for look in 1.. {
        std::thread::sleep(pause);
        let now = Look::now();
        let rows = rows(&before, &now);
        match as_json {
            true => cli::out_json(&rows.iter().map(Row::to_json).collect::<Vec<_>>())?,
            false => print(&rows, refresh)?,
        }
        if count.is_some_and(|count| look >= count) {
            break;
        }
        (before, pause) = (now, Duration::from_secs(interval));
    }
    Ok(0)
}

/// One sandbox, by its monitor's command line.
struct Sandbox {
    /// Its first process.
    pid: i32,
    /// That of the daemon, if it is one.
    name: Option<String>,
    project: String,
    network: String,
    command: String,
    uptime: u64,
    /// Bytes over the loopback of its own network, if it has one. Of the host's network nobody knows whose they are.
    loopback: Option<u64>,
}

/// All of them at one moment.
struct Look {
    at: Instant,
    found: Vec<(Sandbox, Usage)>,
}

impl Look {
    fn now() -> Look {
        let table = Table::read();
        let supervised: HashMap<i32, Vec<String>> = process::running("sbox-supervise").into_iter().collect();
        let running = process::running("sbox-spawn").into_iter();
        let found = running.filter_map(|(monitor, words)| sandbox(&table, &supervised, monitor, &words));
        let mut found: Vec<(Sandbox, Vec<i32>)> = found.collect();
        add_joined(&table, &mut found);
        let measured = |(mut sandbox, pids): (Sandbox, Vec<i32>)| {
            sandbox.loopback = pids.iter().find_map(|pid| loopback(*pid)).filter(|_| sandbox.network != "host");
            let usage = table.usage_of(&pids);
            (sandbox, usage)
        };
        let mut found: Vec<_> = found.into_iter().map(measured).collect();
        let key = |sandbox: &Sandbox| (sandbox.project.clone(), sandbox.name.clone(), sandbox.pid);
        found.sort_by_key(|(sandbox, _)| key(sandbox));
        Look { at: Instant::now(), found }
    }
}

/// What `sbox exec --in` runs beside a daemon's command is not below its first process, and in the same namespace of
/// processes.
fn add_joined(table: &Table, found: &mut [(Sandbox, Vec<i32>)]) {
    let namespace = |pid: i32| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let own = namespace(rustix::process::getpid().as_raw_pid());
    let below: HashSet<i32> = found.iter().flat_map(|(_, pids)| pids.iter().copied()).collect();
    // The first process does not tell users about itself; those below it do.
    let inside = |pids: &[i32]| pids.iter().find_map(|pid| namespace(*pid)).filter(|_| own.is_some());
    let theirs: Vec<_> = found.iter().map(|(_, pids)| inside(pids)).collect();
    for pid in table.pids().filter(|pid| !below.contains(pid)) {
        let Some(inside) = namespace(pid).filter(|inside| Some(inside) != own.as_ref()) else { continue };
        if let Some(at) = theirs.iter().position(|one| one.as_ref() == Some(&inside)) {
            found[at].1.push(pid);
        }
    }
}

fn sandbox(
    table: &Table,
    supervised: &HashMap<i32, Vec<String>>,
    monitor: i32,
    words: &[String],
) -> Option<(Sandbox, Vec<i32>)> {
    let pid = first_process(&table.children(monitor), table)?;
    let supervisor = Stat::of(monitor).and_then(|stat| supervised.get(&stat.parent));
    let described = Described::of(words);
    let sandbox = Sandbox {
        pid,
        name: supervisor.and_then(|words| supervise::name(words)).map(str::to_owned),
        project: described.project.to_owned(),
        network: described.network.to_owned(),
        command: described.command.join(" "),
        uptime: process::age(pid)?,
        loopback: None,
    };
    Some((sandbox, table.tree(pid)))
}

/// What the loopback of a process's network has carried: the second column of proc_pid_net_dev(5), bytes received.
fn loopback(pid: i32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/net/dev")).ok()?;
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix("lo:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The first process of a sandbox among the children of its monitor, which has helpers beside it: in a namespace of
/// processes it is the first one there; without one it is the one that has started something.
fn first_process(children: &[i32], table: &Table) -> Option<i32> {
    let is_first = |pid: &&i32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let inside = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
        inside.is_some_and(|pids| pids.split_whitespace().count() > 1 && pids.split_whitespace().last() == Some("1"))
    };
    let is_sandbox = |pid: &&i32| {
        let program = process::arguments(**pid).and_then(|words| words.first()?.rsplit('/').next().map(str::to_owned));
        !matches!(program.as_deref(), Some("sbox-proxy" | "sbox-forward"))
    };
    let first = children.iter().find(is_first);
    first.or_else(|| children.iter().filter(is_sandbox).max_by_key(|pid| table.tree(**pid).len())).copied()
}

struct Row<'a> {
    sandbox: &'a Sandbox,
    usage: Usage,
    /// Percent of one processor since the look before.
    share: f64,
}

fn rows<'a>(before: &Look, now: &'a Look) -> Vec<Row<'a>> {
    let seconds = now.at.duration_since(before.at).as_secs_f64().max(0.001);
    let row = |(sandbox, usage): &'a (Sandbox, Usage)| {
        let old = before.found.iter().find(|(old, _)| old.pid == sandbox.pid).map_or(0.0, |(_, usage)| usage.cpu);
        Row { sandbox, usage: *usage, share: (usage.cpu - old).max(0.0) * 100.0 / seconds }
    };
    now.found.iter().map(row).collect()
}

impl Row<'_> {
    fn to_json(&self) -> serde_json::Value {
        let round = |value: f64| (value * 100.0).round() / 100.0;
        json!({
            "pid": self.sandbox.pid,
            "name": self.sandbox.name,
            "project": self.sandbox.project,
            "command": self.sandbox.command,
            "network": self.sandbox.network,
            "uptime": self.sandbox.uptime,
            "cpu_percent": round(self.share),
            "cpu_seconds": round(self.usage.cpu),
            "memory": self.usage.memory,
            "processes": self.usage.processes,
            "loopback_bytes": self.sandbox.loopback,
        })
    }

    fn cells(&self) -> Vec<String> {
        let name = self.sandbox.name.as_deref().unwrap_or("-");
        vec![
            self.sandbox.pid.to_string(),
            width::shortened(&escape::visible(name), 20),
            format!("{:.1}%", self.share),
            format::size(self.usage.memory),
            self.usage.processes.to_string(),
            self.sandbox.network.clone(),
            self.sandbox.loopback.map_or_else(|| "-".into(), format::size),
            format::span(self.sandbox.uptime),
            escape::visible(&self.sandbox.project),
        ]
    }
}

fn print(rows: &[Row], refresh: bool) -> Result<()> {
    let clear = if refresh { CLEAR } else { "" };
    if rows.is_empty() {
        cli::out(clear.as_bytes())?;
        output::info("No sandboxes are running");
        return Ok(());
    }
    let titles = ["PID", "NAME", "CPU", "MEMORY", "PROCS", "NETWORK", "TRAFFIC", "UPTIME", "PROJECT"].map(String::from);
    let lines: Vec<Vec<String>> = [titles.to_vec()].into_iter().chain(rows.iter().map(Row::cells)).collect();
    let (mut text, columns) = (output::table(&lines), width::of_stdout());
    if let Some(columns) = columns {
        text = text.lines().map(|line| width::shortened(line, columns) + "\n").collect();
    }
    cli::out(format!("{clear}{text}").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_says_the_default_of_the_code() {
        assert_eq!(cli::default_in(USAGE, "--interval"), Some(INTERVAL.to_string().as_str()));
    }
}
