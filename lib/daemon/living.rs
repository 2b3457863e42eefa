//! Daemons as their supervisors know them.
//!
//! A supervisor keeps its record in a file in memory, too, and works in the project's `.sbox`. Whoever asks reads the one
//! through `/proc/PID/fd` and finds the other by `/proc/PID/cwd`: neither a full disk, nor a list that was lost, nor a project
//! that was moved or removed hides a daemon that runs.

use super::record::{Record, State};
use crate::error::{Context, Result};
use crate::process::{self, Identity};
use crate::project::Project;
use crate::time;
use rustix::fs::MemfdFlags;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The name of the file in memory.
const NAME: &str = "sbox-record";

/// Its descriptor, where that is free: there it is found without a search.
const USUAL: i32 = 20;

/// A supervisor's own record.
#[derive(Debug)]
pub struct Memory(File);

impl Memory {
    /// One that says nothing yet.
    pub fn new() -> Result<Memory> {
        let shown = || String::from("keep the record in memory");
        let file = rustix::fs::memfd_create(NAME, MemfdFlags::CLOEXEC).context(shown)?;
        let file: OwnedFd = rustix::io::fcntl_dupfd_cloexec(&file, USUAL).unwrap_or(file);
        Ok(Memory(file.into()))
    }

    /// Says what is true now.
    pub fn write(&self, record: &Record) {
        if let Ok(text) = serde_json::to_vec(record) {
            // A reader that comes in between finds no JSON, and reads again.
            let _ = self.0.write_all_at(&text, 0).and_then(|()| self.0.set_len(text.len() as u64));
        }
    }
}

/// A supervisor that runs.
#[derive(Debug)]
pub struct Living {
    /// Who it is.
    pub identity: Identity,
    /// Its record.
    pub record: Record,
    /// Whether that is the record's own word: a supervisor that is about to take its name, or one of version 0.1.0, says
    /// nothing.
    pub is_known: bool,
}

/// All of this user, in no order.
pub fn all() -> Vec<Living> {
    let own = rustix::process::geteuid().as_raw();
    let is_ours = |pid: i32| std::fs::metadata(format!("/proc/{pid}")).is_ok_and(|metadata| metadata.uid() == own);
    let all = process::running(crate::plumbing::supervise::NAME).into_iter().filter(|(pid, _)| is_ours(*pid));
    all.filter_map(|(pid, words)| look(pid, &words)).collect()
}

/// Those of a project, wherever it was when they were started.
pub fn of(project: &Project) -> Vec<Living> {
    let is_here = |living: &Living| works_in(living.identity.pid, project, &living.record.project);
    all().into_iter().filter(is_here).collect()
}

/// Whether a supervisor works for the project: it is in its `.sbox`, or was started for that path and is nowhere.
pub fn works_in(pid: i32, project: &Project, named: &str) -> bool {
    let place = |path: &Path| std::fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()));
    let cwd = PathBuf::from(format!("/proc/{pid}/cwd"));
    match (place(&cwd), place(&project.state())) {
        (Some(theirs), Some(ours)) if theirs == ours => true,
        // Version 0.1.0 worked in the root directory.
        _ => std::fs::read_link(&cwd).is_ok_and(|cwd| cwd == Path::new("/")) && Path::new(named) == project.root(),
    }
}

/// Whether the project that a supervisor works for was removed.
pub fn is_orphan(pid: i32) -> bool {
    let cwd = std::fs::read_link(format!("/proc/{pid}/cwd"));
    cwd.is_ok_and(|cwd| cwd != Path::new("/")) && root(pid).is_none()
}

/// The root of the project that a supervisor works for, as long as there is one.
pub fn root(pid: i32) -> Option<PathBuf> {
    let cwd = std::fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
    let root = cwd.parent().filter(|_| cwd.ends_with(".sbox"))?;
    root.join(".sbox").is_dir().then(|| root.to_owned())
}

fn look(pid: i32, words: &[String]) -> Option<Living> {
    let identity = Identity::of(pid)?;
    match read(pid).filter(|record| record.supervisor == identity) {
        Some(record) => Some(Living { identity, record, is_known: true }),
        None => Some(Living { record: guess(&identity, words)?, identity, is_known: false }),
    }
}

fn read(pid: i32) -> Option<Record> {
    let directory = format!("/proc/{pid}/fd");
    let wanted = format!("/memfd:{NAME}");
    let is_it = |path: &Path| std::fs::read_link(path).is_ok_and(|to| to.to_string_lossy().starts_with(&wanted));
    let usual = PathBuf::from(format!("{directory}/{USUAL}"));
    let path = match is_it(&usual) {
        true => usual,
        false => std::fs::read_dir(directory).ok()?.flatten().map(|entry| entry.path()).find(|path| is_it(path))?,
    };
    // It may be in the middle of writing it.
    (0..5).find_map(|_| serde_json::from_slice(&std::fs::read(&path).ok()?).ok())
}

/// What the arguments of a supervisor say.
fn guess(identity: &Identity, words: &[String]) -> Option<Record> {
    let value = |name: &str| Some(words.get(words.iter().position(|word| word == name)? + 1)?.clone());
    let after = words.iter().skip_while(|word| *word != "--").skip(1).skip_while(|word| *word != "--").skip(1);
    let command: Vec<String> = after.cloned().collect();
    Some(Record {
        pid: 0,
        command_pid: 0,
        name: value("--name")?,
        command: command.join(" "),
        start_time: time::rfc3339(time::now()),
        status: State::Starting,
        log_file: String::new(),
        project: value("--project")?,
        words: command,
        isolation: None,
        supervisor: identity.clone(),
        restarts: 0,
        exit_code: None,
        ended_at: None,
        reason: None,
        stop_timeout: value("--stop-timeout").and_then(|text| text.parse().ok()).unwrap_or(10),
    })
}
