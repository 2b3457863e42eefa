//! sbox-status: the project at a glance.
#![forbid(unsafe_code)]

use libsbox::built::Built;
use libsbox::check;
use libsbox::cli::{self, Tool};
use libsbox::config::{self, Config};
use libsbox::cow;
use libsbox::daemon::processes;
use libsbox::daemon::record::{Record, State as Live};
use libsbox::error::{Error, Result};
use libsbox::escape;
use libsbox::format;
use libsbox::logs;
use libsbox::output;
use libsbox::plumbing::porcelain;
use libsbox::plumbing::spawn::{self, Probe};
use libsbox::project::Project;
use libsbox::time;
use serde_json::json;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

const TOOL: Tool = Tool { name: "sbox-status", usage: USAGE, runs_a_command: false };
const USAGE: &str = "\
usage: sbox status [-j]
Show the project's configuration, build, isolation, daemons and logs.

  -j, --json       print JSON
  -h, --help       print this text
  -V, --version    print the version
";

fn main() -> ExitCode {
    TOOL.main(run)
}

/// What there is to show.
struct Status {
    project: Project,
    config: Config,
    lock: Option<Built>,
    built: bool,
    state: State,
    isolation: Probe,
    daemons: Vec<Record>,
    logs: Vec<(String, u64)>,
    changes: Vec<(PathBuf, usize, bool)>,
    /// Where layers were mounted that the configuration does not mount any more.
    strays: Vec<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    NotBuilt,
    UpToDate,
    ConfigChanged,
    SourcesChanged,
    Moved,
    Errors,
}

impl State {
    fn words(self) -> &'static str {
        match self {
            State::NotBuilt => "Not built",
            State::UpToDate => "Up to date",
            State::ConfigChanged => "Config changed, rebuild recommended",
            State::SourcesChanged => "Sources changed, rebuild recommended",
            State::Moved => "Moved since the build, rebuild needed",
            State::Errors => "The configuration has errors",
        }
    }
}

fn run(args: &mut lexopt::Parser) -> Result<u8> {
    let as_json = cli::is_json(args)?;
    let status = look()?;
    if as_json {
        cli::out_json(&to_json(&status))?
    } else {
        cli::out(drawing(&status).as_bytes())?
    }
    Ok(0)
}

fn look() -> Result<Status> {
    let project = Project::find()?;
    let text = config::read(&project)?;
    let report = check::check(&text, project.root());
    let errors = report.errors().count();
    let config = report.config.ok_or_else(|| Error::new("the configuration cannot be read").hint("sbox validate"))?;
    if errors > 0 {
        output::warn(format_args!("the configuration has errors ({errors})"));
        output::hint("sbox validate lists them all");
    }
    let lock = Built::read(&project);
    let built = project.env().is_dir() && project.rootfs().is_dir() && lock.as_ref().is_some_and(Built::is_whole);
    let state = match &lock {
        _ if !built => State::NotBuilt,
        Some(lock) if !lock.is_here(&project) => State::Moved,
        Some(lock) if !lock.is_of(&config) => State::ConfigChanged,
        _ if errors > 0 => State::Errors,
        _ if porcelain::is_build_due(&project)? => State::SourcesChanged,
        _ => State::UpToDate,
    };
    let isolation = spawn::probe(config.isolation);
    let (daemons, logs) = (processes::list(&project)?, logs::list(&project));
    let mut changes = Vec::new();
    let layers = cow::Layer::all(&project, &config.mount)?;
    let strays = cow::Layer::strays(&project, &layers).iter().map(|layer| layer.dst().to_owned()).collect();
    for layer in layers {
        let (count, commits) = cow::pending(&layer)?;
        changes.push((layer.dst().to_owned(), count, commits));
    }
    Ok(Status { project, config, lock, built, state, isolation, daemons, logs, changes, strays })
}

fn runtimes(config: &Config) -> String {
    config.runtimes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn to_json(status: &Status) -> serde_json::Value {
    let mut out = json!({
        "project": status.project.name(),
        "root": status.project.root(),
        "runtime": runtimes(&status.config),
        "workdir": status.config.workdir,
        "command": status.config.cmd.as_ref().map(ToString::to_string).unwrap_or_default(),
        "built": status.built,
        "up_to_date": status.state == State::UpToDate,
        "state": status.state.words(),
        "isolation": status.isolation,
        "unmounted_changes": status.strays,
        "changes": status.changes.iter().map(|(dst, count, commits)| json!({"dst": dst, "count": count, "git": commits})).collect::<Vec<_>>(),
        "processes": {"running": running(status).count(), "total": status.daemons.len(), "daemons": status.daemons},
        "logs": status.logs.iter().map(|(name, _)| name).collect::<Vec<_>>(),
    });
    // The names of version 0.1.0, for one version more.
    out["upToDate"] = out["up_to_date"].clone();
    if let (true, Some(lock)) = (status.built, &status.lock) {
        out["build_info"] = json!({
            "config_hash": lock.config_hash, "built_at": lock.built_at, "runtime": lock.runtime, "runtimes": lock.runtimes,
        });
        out["buildInfo"] = json!({
            "configHash": lock.config_hash, "builtAt": lock.built_at, "runtime": lock.runtime, "runtimes": lock.runtimes,
        });
    }
    out
}

/// The drawing of the manual.
fn drawing(status: &Status) -> String {
    let colour = output::colour(std::io::stdout().is_terminal());
    let mut out = format!(
        "{} sbox project: {}\n",
        output::paint(colour, "36", "[STEP]"),
        escape::visible(&status.project.name())
    );
    let mut section = |title: &str, rows: Vec<(&str, String)>| {
        out += &format!("\n┌─ {title}\n");
        for (name, value) in rows {
            out += &if name == "•" {
                format!("│ • {value}\n")
            } else {
                format!("│ {:<11}{value}\n", format!("{name}:"))
            };
        }
    };
    let config = &status.config;
    let command = config.cmd.as_ref().map_or_else(|| "none".into(), |cmd| escape::visible(&cmd.to_string()));
    let mut rows =
        vec![("Runtime", runtimes(config)), ("Workdir", escape::visible(&config.workdir)), ("Command", command)];
    rows.push(("Env vars", format!("{} defined", config.env.len())));
    if !config.mount.is_empty() {
        rows.push(("Mounts", config.mount.len().to_string()));
    }
    section("Configuration", rows);
    section("Build Status", build_rows(status, colour));
    section("Isolation", isolation_rows(status, colour));
    if !status.changes.is_empty() || !status.strays.is_empty() {
        section("Copy-on-write", change_rows(status));
    }
    section("Processes", daemon_rows(status));
    section("Logs", log_rows(status));
    out
}

fn build_rows(status: &Status, colour: bool) -> Vec<(&'static str, String)> {
    let Some(lock) = status.lock.as_ref().filter(|_| status.built) else {
        return vec![("Status", output::paint(colour, "33", "✗ Not built") + " (sbox build)")];
    };
    let state_colour = if status.state == State::UpToDate { "32" } else { "33" };
    let mut rows = vec![
        ("Status", output::paint(colour, "32", "✓ Built")),
        ("State", output::paint(colour, state_colour, status.state.words())),
        ("Hash", lock.config_hash.chars().take(8).collect()),
        ("Built", built_at(lock)),
    ];
    for runtime in &lock.runtimes {
        rows.push((
            "Provider",
            format!(
                "{} ({} {})",
                escape::visible(&runtime.provider),
                escape::visible(&runtime.spec),
                escape::visible(&runtime.version)
            ),
        ));
    }
    rows
}

/// `2026-01-30 12:00:00 UTC (5m ago)`.
fn built_at(lock: &Built) -> String {
    let shown = escape::visible(&lock.built_at.replace('T', " ").replace('Z', " UTC"));
    // The clock may have gone back since; then the age is unknown.
    match time::seconds_of(&lock.built_at).and_then(|then| time::now().checked_sub(then)) {
        Some(age) => format!("{shown} ({} ago)", format::span(age)),
        None => shown,
    }
}

/// What waits in copy-on-write mounts.
fn change_rows(status: &Status) -> Vec<(&'static str, String)> {
    let row = |(dst, count, commits): &(PathBuf, usize, bool)| {
        let noun = if *count == 1 { "change waits" } else { "changes wait" };
        let git = if *commits { ", and git's data changed" } else { "" };
        ("•", format!("{}: {count} {noun}{git}", escape::visible_path(dst)))
    };
    let mut rows: Vec<_> = status.changes.iter().map(row).collect();
    if status.changes.iter().any(|(_, count, _)| *count > 0) {
        rows.push(("Take over", "sbox diff, sbox apply, sbox discard".into()));
    }
    let stray = |dst: &PathBuf| {
        let word = escape::shell_word(&escape::visible_path(dst));
        ("•", format!("{}: not mounted any more, its changes are kept: sbox discard {word}", escape::visible_path(dst)))
    };
    rows.extend(status.strays.iter().map(stray));
    rows
}

fn isolation_rows(status: &Status, colour: bool) -> Vec<(&'static str, String)> {
    let level = status.isolation.level.as_str();
    let mut rows = vec![match level {
        "none" => ("Level", output::paint(colour, "31", "none: nothing can be run")),
        "env" => ("Level", output::paint(colour, "31", "env: NOTHING is enforced")),
        "landlock" => ("Level", output::paint(colour, "33", "landlock: denied by the kernel, not absent")),
        level => ("Level", format!("{level} (enforced by the kernel)")),
    }];
    if let Some(reason) = &status.isolation.reason {
        rows.push(("Reason", reason.to_owned()));
    }
    rows.push(("Network", escape::visible(&status.config.network.to_string())));
    let limits = status.config.limits.written();
    if !limits.is_empty() {
        let by = match status.isolation.limits.as_str() {
            "cgroup" => "a control group",
            _ => "per-process limits, and pid 1 adds up the total; buffers of sockets and pipes are not counted",
        };
        rows.push(("Limits", format!("{} (by {by})", limits.join(" "))));
    }
    rows
}

fn running(status: &Status) -> impl Iterator<Item = &Record> {
    status.daemons.iter().filter(|daemon| daemon.status.is_live())
}

/// `• openclaw-gateway (PID 12345) - up 5m30s`.
fn daemon_rows(status: &Status) -> Vec<(&'static str, String)> {
    let mut rows = vec![("Running", running(status).count().to_string())];
    rows.extend(status.daemons.iter().filter(|daemon| daemon.status != Live::Stopped).map(|daemon| {
        let name = escape::visible(&daemon.name);
        let shown = match (daemon.status, daemon.uptime()) {
            (Live::Running, Some(seconds)) => format!("{name} (PID {}) - up {}", daemon.pid, format::span(seconds)),
            _ => format!("{name} - {}", daemon.shown_status()),
        };
        ("•", shown)
    }));
    rows
}

fn log_rows(status: &Status) -> Vec<(&'static str, String)> {
    let mut rows = vec![("Available", format!("{} log file(s)", status.logs.len()))];
    rows.extend(
        status.logs.iter().map(|(name, size)| ("•", format!("{} ({})", escape::visible(name), format::size(*size)))),
    );
    rows
}
