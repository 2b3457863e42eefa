//! `.sbox/processes.json`: the daemons of a project, written under a lock and by rename.
//!
//! A daemon is there as long as its supervisor is (`sbox-supervise`), which holds its sandbox, its log and its entry. The
//! file is what was known last: whoever reads it asks the supervisors that run ([`super::living`]), and corrects stale
//! entries. Nobody who only reads fails because the file cannot be written.

use super::last;
use super::living::{self, Living, Workplace};
use super::record::{Record, State};
use crate::error::{Context, Result};
use crate::escape;
use crate::fs;
use crate::output;
use crate::plumbing::supervise;
use crate::process::{self, Identity};
use crate::project::Project;
use crate::time;
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

impl Record {
    /// The supervisor, held, if it is really that of this daemon: what the file says may have come with an archive, and
    /// nobody else is to get a signal. Where the project was when it was started does not matter.
    pub fn hold(&self) -> Option<std::os::fd::OwnedFd> {
        let held = self.supervisor.open()?;
        let arguments = process::arguments(self.supervisor.pid)?;
        let is_here = || {
            let (project, place) = (Project::at(self.project.as_ref()), Workplace::of(self.supervisor.pid));
            project.is_ok_and(|project| place.is_for(&project, "")) || place.is_gone()
        };
        let is_ours = supervise::is_of(&arguments, Some(&self.project), &self.name)
            || (supervise::is_of(&arguments, None, &self.name) && is_here());
        is_ours.then_some(held)
    }

    /// What the file says may be over.
    fn correct(&mut self, project: &Project, living: &HashSet<&Identity>) {
        if !self.status.is_live() || living.contains(&self.supervisor) || self.hold().is_some() {
            return;
        }
        if last::take_over(project, self) {
            return;
        }
        let rebooted = self.supervisor.is_of_another_boot();
        (self.status, self.reason) = match rebooted {
            true => (State::Stopped, Some("the machine was restarted".into())),
            false => (State::Failed, Some("its supervisor was killed".into())),
        };
        (self.pid, self.command_pid, self.exit_code) = (0, 0, None);
        self.ended_at = Some(time::rfc3339(time::now()));
    }
}

/// What the list says, made true: a supervisor that runs knows better, and one that does not is over. Tells whether the list
/// was wrong about who runs; what those that run do is their own word, and nobody writes it down for them.
fn make_true(project: &Project, records: &mut Vec<Record>, living: &[&Living]) -> bool {
    let who = |records: &[Record]| -> Vec<(Identity, bool)> {
        records.iter().map(|record| (record.supervisor.clone(), record.status.is_live())).collect()
    };
    let before = who(records);
    let root = project.root().to_string_lossy();
    let places: HashMap<String, usize> =
        records.iter().enumerate().map(|(at, record)| (record.name.clone(), at)).collect();
    for living in living.iter().filter(|living| living.is_known) {
        let record = Record { project: root.to_string(), ..living.record.clone() };
        match places.get(&record.name).and_then(|at| records.get_mut(*at)) {
            // Somebody else may have written how long it has to end.
            Some(other) => *other = Record { stop_timeout: other.stop_timeout, ..record },
            None => records.push(record),
        }
    }
    let alive: HashSet<&Identity> = living.iter().map(|living| &living.identity).collect();
    for record in records.iter_mut() {
        record.correct(project, &alive);
    }
    who(records) != before
}

/// Changes the list, under its lock. Nothing is written if nothing changed.
pub fn update<T>(project: &Project, change: impl FnOnce(&mut Vec<Record>) -> Result<T>) -> Result<T> {
    let _lock = fs::Lock::exclusive(&lock(project), || {})?;
    change_locked(project, change)
}

/// The same if nobody else changes the list at this moment; tells whether it was done.
pub fn update_at_once(project: &Project, change: impl FnOnce(&mut Vec<Record>) -> Result<()>) -> Result<bool> {
    let Some(_lock) = fs::Lock::at_once(&lock(project))? else { return Ok(false) };
    change_locked(project, change).map(|()| true)
}

/// Writes down what a supervisor says of its own daemon, and looks at no other.
pub fn put(project: &Project, own: &Record) -> Result<()> {
    let _lock = fs::Lock::exclusive(&lock(project), || {})?;
    let mut records = readable(project)?;
    match records.iter_mut().find(|record| record.name == own.name) {
        Some(record) => record.clone_from(own),
        None => records.push(own.clone()),
    }
    write(project, &records)
}

fn lock(project: &Project) -> PathBuf {
    project.state().join("processes.lock")
}

fn change_locked<T>(project: &Project, change: impl FnOnce(&mut Vec<Record>) -> Result<T>) -> Result<T> {
    let mut records = readable(project)?;
    let before = records.clone();
    let all = living::all();
    make_true(project, &mut records, &living::of(project, &all));
    let result = change(&mut records)?;
    if records != before {
        write(project, &records)?;
        let ended: HashSet<&str> = records.iter().filter(|new| !new.status.is_live()).map(|new| &*new.name).collect();
        let over = before.iter().filter(|old| old.status.is_live() && ended.contains(&*old.name));
        over.for_each(|record| last::remove(project, &record.name));
    }
    Ok(result)
}

/// The list, under its lock; an empty one in the place of what is none.
fn readable(project: &Project) -> Result<Vec<Record>> {
    match read(project)? {
        Read::List(records) => Ok(records),
        Read::Malformed(why) => set_aside(project, &why).map(|()| Vec::new()),
    }
}

fn write(project: &Project, records: &[Record]) -> Result<()> {
    let text = serde_json::to_string_pretty(records)?;
    fs::write_locked(&project.processes(), format!("{text}\n").as_bytes(), 0o600)
}

/// The daemons as they are now, by name. What the file says of the past is set right in it if it can be written; what is
/// true is given in any case.
pub fn list(project: &Project) -> Result<Vec<Record>> {
    list_among(project, &living::all())
}

/// The same for whoever has looked at the supervisors that run.
pub fn list_among(project: &Project, all: &[Living]) -> Result<Vec<Record>> {
    let living = living::of(project, all);
    let (mut records, is_malformed) = match read(project) {
        Ok(Read::List(records)) => (records, false),
        Ok(Read::Malformed(_)) => (Vec::new(), true),
        Err(error) => {
            output::warn(format_args!("{error}: only running daemons are known"));
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
        assert!(supervise::is_of(&own, Some("/p"), "web") && supervise::is_of(&own, None, "web"));
        assert!(!supervise::is_of(&own, Some("/p"), "api") && !supervise::is_of(&own, Some("/q"), "web"));
        assert!(!supervise::is_of(&words("/x/cat --project /p --name web"), Some("/p"), "web"));
    }
}
