//! `.sbox/processes.json`: the daemons of a project, written under a lock and by rename.
//!
//! A daemon is there as long as its supervisor is (`sbox-supervise`), which holds its sandbox, its log and its entry. The
//! file is what was known last: whoever reads it asks the supervisors that run ([`super::living`]), and corrects stale
//! entries. Nobody who only reads fails because the file cannot be written.

use super::last;
use super::living::{self, Living};
use super::record::{Record, State};
use crate::error::{Context, Error, Result};
use crate::escape;
use crate::fs;
use crate::output;
use crate::plumbing::supervise;
use crate::process;
use crate::project::Project;
use crate::time;

impl Record {
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
}
