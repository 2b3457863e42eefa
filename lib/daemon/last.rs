//! `.sbox/ends/NAME`: how a daemon ended, until that stands in the list.
//!
//! The file is made when the daemon starts, with room in it: its content can be replaced when the disk is full. Each daemon
//! has its own, so that a thousand that end at once do not wait for each other to write the list. Whoever reads or writes
//! that next takes over what stands here, and removes the file.

use super::record::{Record, State};
use crate::dir::Dir;
use crate::error::Result;
use crate::fs;
use crate::process::Identity;
use crate::project::Project;
use rustix::fs::{Mode, OFlags};
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
    #[serde(default)]
    start_time: String,
    ended_at: Option<String>,
    reason: Option<String>,
    restarts: u32,
}

fn directory(project: &Project) -> PathBuf {
    project.state().join("ends")
}

/// Makes the room for the end of the daemon `name`.
pub fn reserve(project: &Project, name: &str) -> Result<()> {
    let dir = Dir::open(&project.state())?.sub_or_make(Path::new("ends"))?;
    dir.put_file(OsStr::new(name), 0o600, |file| file.write_all(&[b' '; ROOM]))
}

/// Writes the end of a daemon into it; tells whether that worked.
pub fn write(project: &Project, record: &Record) -> bool {
    let end = End {
        supervisor: record.supervisor.clone(),
        status: record.status,
        exit_code: record.exit_code,
        start_time: record.start_time.clone(),
        ended_at: record.ended_at.clone(),
        reason: record.reason.as_ref().map(|reason| reason.chars().take(REASON).collect()),
        restarts: record.restarts,
    };
    let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::open(directory(project).join(&record.name), flags, Mode::empty());
    let (Ok(file), Ok(mut text)) = (file.map(File::from), serde_json::to_vec(&end)) else { return false };
    text.resize(ROOM.max(text.len()), b' ');
    file.write_all_at(&text, 0).and_then(|()| file.sync_data()).is_ok()
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
    if !end.start_time.is_empty() {
        record.start_time = end.start_time;
    }
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
