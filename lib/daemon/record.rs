//! `.sbox/processes.json`: the daemons of a project, written under a lock and by rename.
//!
//! A daemon is there as long as its supervisor is (`sbox-supervise`), which holds its sandbox, its log and its entry. The
//! file is what was known last: whoever reads it looks at the supervisors, and corrects stale entries.

use crate::error::{Context, Error, Result};
use crate::escape;
use crate::fs;
use crate::output;
use crate::process::{self, Identity};
use crate::project::Project;
use crate::time;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// The program that holds a daemon.
pub const SUPERVISOR: &str = "sbox-supervise";

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
    /// nobody else is to get a signal.
    pub fn hold(&self) -> Option<std::os::fd::OwnedFd> {
        let held = self.supervisor.open()?;
        supervises(&process::arguments(self.supervisor.pid)?, &self.project, Some(&self.name)).then_some(held)
    }

    /// What the file says may be over.
    fn correct(&mut self) -> bool {
        if !self.status.is_live() || self.hold().is_some() {
            return false;
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

/// Whether these are the arguments of a supervisor of the project, and of this daemon.
fn supervises(arguments: &[String], project: &str, name: Option<&str>) -> bool {
    let ours = arguments.iter().take_while(|word| *word != "--").collect::<Vec<_>>();
    let has = |option: &str, value: &str| ours.windows(2).any(|pair| pair[0] == option && pair[1] == value);
    let is_one = ours.first().and_then(|first| first.rsplit('/').next()) == Some(SUPERVISOR);
    is_one && has("--project", project) && name.is_none_or(|name| has("--name", name))
}

/// Living supervisors of a project.
fn supervisors(project: &Project) -> Vec<i32> {
    let root = project.root().to_string_lossy();
    let all = process::running(SUPERVISOR).into_iter();
    all.filter(|(_, arguments)| supervises(arguments, &root, None)).map(|(pid, _)| pid).collect()
}

/// Projects of this user in which a daemon runs now.
pub fn projects_with_daemons() -> Vec<String> {
    let value = |words: &[String]| Some(words.get(words.iter().position(|word| word == "--project")? + 1)?.clone());
    process::running(SUPERVISOR).iter().filter_map(|(_, words)| value(words)).collect()
}

/// Changes the list, under its lock. Nothing is written if nothing changed.
pub fn update<T>(project: &Project, change: impl FnOnce(&mut Vec<Record>) -> Result<T>) -> Result<T> {
    let _lock = fs::Lock::exclusive(&project.state().join("processes.lock"), || {})?;
    let mut records = match read(project) {
        Ok(records) => records,
        Err(why) => {
            set_aside(project, &why)?;
            Vec::new()
        }
    };
    let before = records.clone();
    for record in &mut records {
        record.correct();
    }
    let result = change(&mut records)?;
    if records != before {
        let text = serde_json::to_string_pretty(&records).map_err(|error| Error::new(error.to_string()))?;
        fs::write_locked(&project.processes(), format!("{text}\n").as_bytes(), 0o600)?;
    }
    Ok(result)
}

/// The daemons as they are now, by name.
pub fn list(project: &Project) -> Result<Vec<Record>> {
    let is_true = |records: &[Record]| !records.iter().any(|record| record.clone().correct());
    let mut records = match read(project) {
        Ok(records) if is_true(&records) => records,
        Ok(_) => update(project, |records| Ok(records.clone()))?,
        Err(_) => rebuilt(project)?,
    };
    records.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(records)
}

/// The reason if it is not a list of records; a missing file is an empty one.
fn read(project: &Project) -> std::result::Result<Vec<Record>, String> {
    let path = project.processes();
    if std::fs::symlink_metadata(&path).is_err() {
        return Ok(Vec::new());
    }
    let bytes = fs::read_plain(&path).ok_or("it is not a file that can be read")?;
    let records: Vec<Record> = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    let root = project.root().to_string_lossy();
    // A project that moved took its daemons' past along.
    Ok(records.into_iter().map(|record| Record { project: root.to_string(), ..record }).collect())
}

/// Moves the file away, and asks all that run to write their entries into a new one.
fn set_aside(project: &Project, why: &str) -> Result<()> {
    let path = project.processes();
    let aside = path.with_file_name(format!("processes.json.broken-{}-{}", time::now(), std::process::id()));
    std::fs::rename(&path, &aside).context(|| format!("move '{}' away", escape::visible_path(&path)))?;
    let shown = escape::visible_path(aside.file_name().unwrap_or_default());
    output::warn(format_args!("'processes.json' cannot be read ({}); it is '{shown}' now", escape::visible(why)));
    output::hint("running daemons register again; those that had ended are lost");
    // A signal that does nothing to one that is not yet ready for it.
    for pid in supervisors(project).into_iter().filter_map(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::WINCH);
    }
    Ok(())
}

/// After the file was set aside: waits until every supervisor that runs has written its entry.
fn rebuilt(project: &Project) -> Result<Vec<Record>> {
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        let records = update(project, |records| Ok(records.clone()))?;
        let is_known = |pid: &i32| records.iter().any(|record| record.supervisor.pid == *pid);
        if supervisors(project).iter().all(is_known) || Instant::now() > end {
            return Ok(records);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_supervisor_is_known_by_its_own_arguments_only() {
        let words = |line: &str| line.split(' ').map(String::from).collect::<Vec<_>>();
        let own = words("/x/sbox-supervise --project /p --name web -- sbox-spawn --name api");
        assert!(supervises(&own, "/p", Some("web")) && supervises(&own, "/p", None));
        assert!(!supervises(&own, "/p", Some("api")) && !supervises(&own, "/q", None));
        assert!(!supervises(&words("/x/cat --project /p --name web"), "/p", Some("web")));
    }

    #[test]
    fn an_entry_of_the_first_version_is_read() {
        let text = r#"[{"pid":1,"name":"a","command":"x","start_time":"2026-01-30T12:00:00Z","status":"stopped",
            "log_file":"/p/.sbox/logs/a.log","project":"/p"}]"#;
        let records: Vec<Record> = serde_json::from_str(text).unwrap();
        assert_eq!(records[0].status, State::Stopped);
    }
}
