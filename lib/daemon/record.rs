//! `.sbox/processes.json`: the daemons of a project, written under a lock and by rename.
//!
//! A daemon is there as long as its supervisor is (`sbox-supervise`), which holds its sandbox, its log and its entry. The
//! file is what was known last: whoever reads it asks the supervisors that run ([`super::living`]), and corrects stale
//! entries. Nobody who only reads fails because the file cannot be written.

use super::last;
use super::living::{self, Living};
use crate::error::{Context, Error, Result};
use crate::escape;
use crate::fs;
use crate::output;
use crate::plumbing::supervise;
use crate::process::{self, Identity};
use crate::project::Project;
use crate::time;
use serde::{Deserialize, Serialize};

/// What a daemon does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Its program was not executed yet.
    Starting,
    /// It runs.
    Running,
    /// It failed, and is started again in a moment.
    BackingOff,
    /// It was asked to end.
    Stopping,
    /// It was asked to end, and did.
    Stopped,
    /// It was asked to end, and `sbox restart` starts it again.
    Restarting,
    /// It ended by itself.
    Exited,
    /// It ended again and again, or its supervisor was killed.
    Failed,
}

impl State {
    /// Whether there is, or is to be, a supervisor.
    pub fn is_live(self) -> bool {
        matches!(self, State::Starting | State::Running | State::BackingOff | State::Stopping)
    }

    /// As `sbox ps` shows it.
    pub fn name(self) -> &'static str {
        match self {
            State::Starting => "starting",
            State::Running => "running",
            State::BackingOff => "backing-off",
            State::Stopping => "stopping",
            State::Stopped => "stopped",
            State::Restarting => "restarting",
            State::Exited => "exited",
            State::Failed => "failed",
        }
    }
}

/// One daemon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The first process of its sandbox; 0 while there is none.
    pub pid: i32,
    /// The command itself, which `sbox exec --in` joins; 0 while there is none.
    #[serde(default)]
    pub command_pid: i32,
    /// Its name in the project.
    pub name: String,
    /// The command as a person wrote it.
    pub command: String,
    /// When it was started last: RFC 3339.
    pub start_time: String,
    /// What it does.
    pub status: State,
    /// The log.
    pub log_file: String,
    /// The project.
    pub project: String,
    /// The command as it is executed.
    #[serde(default)]
    pub words: Vec<String>,
    /// The isolation level that was named when it was started.
    #[serde(default)]
    pub isolation: Option<String>,
    /// Who holds it.
    #[serde(default)]
    pub supervisor: Identity,
    /// How often it was started again by its supervisor.
    #[serde(default)]
    pub restarts: u32,
    /// The exit code when it ended last; 128 and the number of the signal that ended it.
    #[serde(default)]
    pub exit_code: Option<u8>,
    /// When it ended last: RFC 3339.
    #[serde(default)]
    pub ended_at: Option<String>,
    /// Why it is in this state, where that needs words.
    #[serde(default)]
    pub reason: Option<String>,
    /// Seconds that it has to end.
    #[serde(default)]
    pub stop_timeout: u64,
}

impl Record {
    /// `running`, `exited (3)`.
    pub fn shown_status(&self) -> String {
        match (self.status, self.exit_code) {
            (State::Exited, Some(code)) => format!("exited ({code})"),
            (status, _) => status.name().into(),
        }
    }

    /// Seconds since it was started, while it runs.
    pub fn uptime(&self) -> Option<u64> {
        let is_up = matches!(self.status, State::Running | State::Stopping);
        time::seconds_of(&self.start_time).filter(|_| is_up).map(|then| time::now().saturating_sub(then))
    }

    /// The supervisor, held, if it is really that of this daemon: what the file says may have come with an archive, and
    /// nobody else is to get a signal. Where the project was when it was started does not matter.
    pub fn hold(&self) -> Option<std::os::fd::OwnedFd> {
        let held = self.supervisor.open()?;
        let arguments = process::arguments(self.supervisor.pid)?;
        let is_here = || {
            let project = Project::at(self.project.as_ref());
            project.is_ok_and(|project| living::works_in(self.supervisor.pid, &project, ""))
                || living::is_orphan(self.supervisor.pid)
        };
        let is_ours = supervises(&arguments, Some(&self.project), &self.name)
            || (supervises(&arguments, None, &self.name) && is_here());
        is_ours.then_some(held)
    }

    /// What the file says may be over.
    fn correct(&mut self, project: &Project, living: &[Living]) -> bool {
        let is_it = |living: &Living| living.identity == self.supervisor;
        if !self.status.is_live() || living.iter().any(is_it) || self.hold().is_some() {
            return false;
        }
        if last::take_over(project, self) {
            return true;
        }
        let rebooted = self.supervisor.is_of_another_boot();
        (self.status, self.reason) = match rebooted {
            true => (State::Stopped, Some("the machine was restarted".into())),
            false => (State::Failed, Some("its supervisor was killed".into())),
        };
        (self.pid, self.command_pid, self.exit_code) = (0, 0, None);
        self.ended_at = Some(time::rfc3339(time::now()));
        true
    }
}

/// Whether these are the arguments of the supervisor of a daemon, of a project if one is named.
fn supervises(arguments: &[String], project: Option<&str>, name: &str) -> bool {
    let ours = arguments.iter().take_while(|word| *word != "--").collect::<Vec<_>>();
    let has = |option: &str, value: &str| ours.windows(2).any(|pair| pair[0] == option && pair[1] == value);
    let is_one = ours.first().and_then(|first| first.rsplit('/').next()) == Some(supervise::NAME);
    is_one && has("--name", name) && project.is_none_or(|project| has("--project", project))
}

/// What the list says, made true: a supervisor that runs knows better, and one that does not is over. Tells whether
/// anything was not true.
fn make_true(project: &Project, records: &mut Vec<Record>, living: &[Living]) -> bool {
    let before = records.clone();
    let root = project.root().to_string_lossy();
    for living in living.iter().filter(|living| living.is_known) {
        let record = Record { project: root.to_string(), ..living.record.clone() };
        match records.iter_mut().find(|other| other.name == record.name) {
            // Somebody else may have written how long it has to end.
            Some(other) => *other = Record { stop_timeout: other.stop_timeout, ..record },
            None => records.push(record),
        }
    }
    for record in records.iter_mut() {
        record.correct(project, living);
    }
    *records != before
}

/// Changes the list, under its lock. Nothing is written if nothing changed.
pub fn update<T>(project: &Project, change: impl FnOnce(&mut Vec<Record>) -> Result<T>) -> Result<T> {
    let _lock = fs::Lock::exclusive(&project.state().join("processes.lock"), || {})?;
    let mut records = match read(project)? {
        Read::List(records) => records,
        Read::Malformed(why) => {
            set_aside(project, &why)?;
            Vec::new()
        }
    };
    let before = records.clone();
    make_true(project, &mut records, &living::of(project));
    let result = change(&mut records)?;
    if records != before {
        let text = serde_json::to_string_pretty(&records).map_err(|error| Error::new(error.to_string()))?;
        fs::write_locked(&project.processes(), format!("{text}\n").as_bytes(), 0o600)?;
        let over = before.iter().filter(|old| old.status.is_live());
        let is_over = |old: &&Record| records.iter().any(|new| new.name == old.name && !new.status.is_live());
        over.filter(is_over).for_each(|record| last::remove(project, &record.name));
    }
    Ok(result)
}

/// The daemons as they are now, by name. What the file says of the past is set right in it if it can be written; what is
/// true is given in any case.
pub fn list(project: &Project) -> Result<Vec<Record>> {
    let living = living::of(project);
    let (mut records, is_malformed) = match read(project) {
        Ok(Read::List(records)) => (records, false),
        Ok(Read::Malformed(_)) => (Vec::new(), true),
        Err(error) => {
            output::warn(format_args!("{error}: only daemons that run are known"));
            (Vec::new(), false)
        }
    };
    let is_untrue = make_true(project, &mut records, &living);
    // A supervisor that has not said anything yet is there all the same.
    for silent in living.iter().filter(|living| !living.is_known) {
        if !records.iter().any(|record| record.name == silent.record.name) {
            records.push(silent.record.clone());
        }
    }
    if is_malformed || is_untrue {
        let _ = update(project, |_| Ok(()));
    }
    records.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(records)
}

/// What the file says, whoever lives.
pub fn in_file(project: &Project) -> Vec<Record> {
    match read(project) {
        Ok(Read::List(records)) => records,
        _ => Vec::new(),
    }
}

enum Read {
    List(Vec<Record>),
    /// It was read, and is not a list of records.
    Malformed(String),
}

/// Reads the file; a missing one is an empty list. One that cannot be read is an error, and may be a good one.
fn read(project: &Project) -> Result<Read> {
    let path = project.processes();
    match std::fs::symlink_metadata(&path) {
        Ok(metadata) if !metadata.is_file() => return Ok(Read::Malformed("it is not a file".into())),
        _ => {}
    }
    let Some(bytes) = fs::read_plain_or_error(&path)? else { return Ok(Read::List(Vec::new())) };
    let records: Vec<Record> = match serde_json::from_slice(&bytes) {
        Ok(records) => records,
        Err(error) => return Ok(Read::Malformed(error.to_string())),
    };
    let root = project.root().to_string_lossy();
    // A project that moved took its daemons' past along.
    Ok(Read::List(records.into_iter().map(|record| Record { project: root.to_string(), ..record }).collect()))
}

/// Moves the file away. What runs is known all the same.
fn set_aside(project: &Project, why: &str) -> Result<()> {
    let path = project.processes();
    let aside = path.with_file_name(format!("processes.json.broken-{}-{}", time::now(), std::process::id()));
    std::fs::rename(&path, &aside).context(|| format!("move '{}' away", escape::visible_path(&path)))?;
    let shown = escape::visible_path(aside.file_name().unwrap_or_default());
    output::warn(format_args!("'processes.json' cannot be read ({}); it is '{shown}' now", escape::visible(why)));
    output::hint("running daemons are in the new one; those that had ended are lost");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_supervisor_is_known_by_its_own_arguments_only() {
        let words = |line: &str| line.split(' ').map(String::from).collect::<Vec<_>>();
        let own = words("/x/sbox-supervise --project /p --name web -- sbox-spawn --name api");
        assert!(supervises(&own, Some("/p"), "web") && supervises(&own, None, "web"));
        assert!(!supervises(&own, Some("/p"), "api") && !supervises(&own, Some("/q"), "web"));
        assert!(!supervises(&words("/x/cat --project /p --name web"), Some("/p"), "web"));
    }

    #[test]
    fn an_entry_of_the_first_version_is_read() {
        let text = r#"[{"pid":1,"name":"a","command":"x","start_time":"2026-01-30T12:00:00Z","status":"stopped",
            "log_file":"/p/.sbox/logs/a.log","project":"/p"}]"#;
        let records: Vec<Record> = serde_json::from_str(text).unwrap();
        assert_eq!(records[0].status, State::Stopped);
    }
}
