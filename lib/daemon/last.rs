//! `.sbox/ends/NAME`: how a daemon ended, where the list could not be written.
//!
//! The file is made when the daemon starts, with room in it: its content can be replaced when the disk is full. It is
//! removed when the end stands in the list.

use super::record::{Record, State};
use crate::dir::Dir;
use crate::error::{Context, Result};
use crate::fs;
use crate::process::Identity;
use crate::project::Project;
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes that are kept free for the end: a block of most file systems.
const ROOM: usize = 4096;

/// What is kept of a reason, so that all of it fits.
const REASON: usize = 500;

#[derive(Serialize, Deserialize)]
struct End {
    supervisor: Identity,
    status: State,
    exit_code: Option<u8>,
    ended_at: Option<String>,
    reason: Option<String>,
    restarts: u32,
}

/// The room that a supervisor keeps.
#[derive(Debug)]
pub struct Reserved(File);

fn directory(project: &Project) -> PathBuf {
    project.state().join("ends")
}

impl Reserved {
    /// Makes it for the daemon `name`.
    pub fn new(project: &Project, name: &str) -> Result<Reserved> {
        let dir = Dir::open(&project.state())?.sub_or_make(Path::new("ends"))?;
        dir.put_file(OsStr::new(name), 0o600, |file| file.write_all(&[b' '; ROOM]))?;
        let path = directory(project).join(name);
        let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::CLOEXEC;
        let file = rustix::fs::open(&path, flags, rustix::fs::Mode::empty());
        Ok(Reserved(file.context(|| format!("open '{}'", crate::escape::visible_path(&path)))?.into()))
    }

    /// Writes the end of a daemon into it.
    pub fn write(&self, record: &Record) {
        let end = End {
            supervisor: record.supervisor.clone(),
            status: record.status,
            exit_code: record.exit_code,
            ended_at: record.ended_at.clone(),
            reason: record.reason.as_ref().map(|reason| reason.chars().take(REASON).collect()),
            restarts: record.restarts,
        };
        if let Ok(mut text) = serde_json::to_vec(&end) {
            text.resize(ROOM.max(text.len()), b' ');
            let _ = self.0.write_all_at(&text, 0).and_then(|()| self.0.sync_data());
        }
    }
}

/// Takes over into a record what its supervisor wrote last; tells whether it did.
pub fn take_over(project: &Project, record: &mut Record) -> bool {
    let Some(text) = fs::read_plain(&directory(project).join(&record.name)) else { return false };
    let Ok(end) = serde_json::from_slice::<End>(&text) else { return false };
    if end.supervisor != record.supervisor || end.status.is_live() {
        return false;
    }
    (record.pid, record.command_pid, record.status) = (0, 0, end.status);
    (record.exit_code, record.ended_at, record.reason) = (end.exit_code, end.ended_at, end.reason);
    record.restarts = end.restarts;
    true
}

/// Removes the room: the end stands in the list.
pub fn remove(project: &Project, name: &str) {
    if let Ok(dir) = Dir::open(&directory(project)) {
        dir.remove_file(OsStr::new(name));
        if let Ok(state) = Dir::open(&project.state()) {
            state.remove_empty(OsStr::new("ends"));
        }
    }
}
