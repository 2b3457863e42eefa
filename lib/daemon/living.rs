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
    /// Where it works.
    pub place: Workplace,
}

/// All of this user, in no order. A supervisor holds the lock of its project's sandbox from its first moment on, or waits
/// for it: the list of locks names each of them.
pub fn all() -> Vec<Living> {
    let own = rustix::process::geteuid().as_raw();
    let is_ours = |pid: i32| std::fs::metadata(format!("/proc/{pid}")).is_ok_and(|metadata| metadata.uid() == own);
    let all = process::running_with_locks(crate::plumbing::supervise::NAME).into_iter();
    all.filter(|(pid, _)| is_ours(*pid)).filter_map(|(pid, words)| look(pid, &words)).collect()
}

/// Those of a project among `all`, wherever it was when they were started.
pub fn of<'a>(project: &Project, all: &'a [Living]) -> Vec<&'a Living> {
    let state = number(&project.state());
    let is_here = |living: &&Living| living.place.is_in(state, project, &living.record.project);
    all.iter().filter(is_here).collect()
}

/// The device and the inode of a directory.
type Number = Option<(u64, u64)>;

fn number(path: &Path) -> Number {
    std::fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// The directory that a supervisor works in: the `.sbox` of its project, wherever that is now.
#[derive(Debug, Clone)]
pub struct Workplace {
    path: Option<PathBuf>,
    number: Number,
}

impl Workplace {
    /// That of a process.
    pub fn of(pid: i32) -> Workplace {
        let cwd = PathBuf::from(format!("/proc/{pid}/cwd"));
        Workplace { path: std::fs::read_link(&cwd).ok(), number: number(&cwd) }
    }

    /// Whether a supervisor there works for the project: it is in its `.sbox`, or was started for the path `named` and is
    /// nowhere.
    pub fn is_for(&self, project: &Project, named: &str) -> bool {
        self.is_in(number(&project.state()), project, named)
    }

    fn is_in(&self, state: Number, project: &Project, named: &str) -> bool {
        // Version 0.1.0 worked in the root directory.
        let is_nowhere = || self.path.as_deref() == Some(Path::new("/"));
        (self.number.is_some() && self.number == state) || (is_nowhere() && Path::new(named) == project.root())
    }

    /// Whether the project was removed.
    pub fn is_gone(&self) -> bool {
        self.path.as_deref().is_some_and(|path| path != Path::new("/")) && self.root().is_none()
    }

    /// The root of the project, as long as there is one.
    pub fn root(&self) -> Option<&Path> {
        let path = self.path.as_deref()?;
        let root = path.parent().filter(|_| path.ends_with(".sbox"))?;
        path.is_dir().then_some(root)
    }
}

fn look(pid: i32, words: &[String]) -> Option<Living> {
    let (identity, place) = (Identity::of(pid)?, Workplace::of(pid));
    match read(pid).filter(|record| record.supervisor == identity) {
        Some(record) => Some(Living { identity, record, is_known: true, place }),
        None => Some(Living { record: guess(&identity, words)?, identity, is_known: false, place }),
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
        options: value("--options").and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default(),
        supervisor: identity.clone(),
        restarts: 0,
        exit_code: None,
        ended_at: None,
        reason: None,
        stop_timeout: value("--stop-timeout").and_then(|text| text.parse().ok()).unwrap_or(10),
    })
}
