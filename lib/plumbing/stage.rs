//! `sbox-stage` for a project: what its configuration wants in the root of the sandbox.

use super::{answer, in_home, output, program, reply, reply_lines};
use crate::config::Config;
use crate::dir::Dir;
use crate::error::{Error, Result};
use crate::escape::percent_decoded;
use crate::model::MountMode;
use crate::project::Project;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// A staging.
#[derive(Debug)]
pub struct Staging<'a> {
    /// The project.
    pub project: &'a Project,
    /// What is wanted.
    pub config: &'a Config,
    /// The root file system.
    pub rootfs: &'a Path,
    /// The record of what was put there; nothing for a root that is not staged again.
    pub record: Option<&'a Path>,
    /// Put everything again.
    pub force: bool,
    /// Change nothing, and only say what would be.
    pub dry_run: bool,
}

/// What a staging did, or would do.
#[derive(Debug, Default)]
pub struct Staged {
    /// `put /app/x`, `remove /app/y`; names are made visible.
    pub changes: Vec<String>,
    /// A hash over all that is there.
    pub fingerprint: String,
}

#[derive(Deserialize)]
struct Line {
    put: Option<String>,
    remove: Option<String>,
    fingerprint: Option<String>,
}

impl Staging<'_> {
    /// Stages.
    pub fn run(&self) -> Result<Staged> {
        let mut command = program("sbox-stage")?;
        command.args(["--json", "--keep-missing"]);
        command.args([(self.force, "--force"), (self.dry_run, "--dry-run")].iter().filter(|o| o.0).map(|o| o.1));
        command.arg("--into").arg(self.rootfs);
        if let Some(record) = self.record {
            command.arg("--record").arg(record);
        }
        let lines: String = self.entries().iter().map(|entry| format!("{entry}\n")).collect();
        let output = answer(&mut command, lines.as_bytes())?;
        if !output.status.success() {
            return Err(Error::reported(crate::status::of(output.status)));
        }
        let mut staged = Staged::default();
        for line in reply_lines::<Line>("sbox-stage", &output.stdout)? {
            staged.changes.extend(line.put.map(|place| format!("put {place}")));
            staged.changes.extend(line.remove.map(|place| format!("remove {place}")));
            staged.fingerprint = line.fingerprint.unwrap_or(staged.fingerprint);
        }
        Ok(staged)
    }

    fn entries(&self) -> Vec<Value> {
        let config = self.config;
        let dirs = ["/app", "/home", "/tmp", &config.workdir].map(|dst| json!({"kind": "dir", "dst": dst}));
        let copies = config.copy.iter().map(|entry| json!({"kind": "copy", "src": entry.src, "dst": entry.dst}));
        let mounts = config.mount.iter().filter_map(|entry| {
            let writable = entry.mode == MountMode::ReadWrite;
            let dst = in_home::staged_place(self.project, config, entry)?;
            Some(json!({"kind": "mount", "src": entry.src, "dst": dst, "writable": writable}))
        });
        dirs.into_iter().chain(copies).chain(mounts).collect()
    }
}

/// The record of what was staged: what is where, and what tells a change of it.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Sources {
    /// A hash over all items.
    pub fingerprint: String,
    /// By their place in the root, without its slash. Bytes that are not UTF-8, and `%`, are written as `%XX`.
    pub items: BTreeMap<String, String>,
}

impl Sources {
    /// What `record` says; nothing was staged if there is none.
    pub fn of(record: &Path) -> Result<Sources> {
        if std::fs::symlink_metadata(record).is_err() {
            return Ok(Sources::default());
        }
        let mut command = program("sbox-stage")?;
        let text = output(command.arg("--list").arg("--record").arg(record))?;
        reply("sbox-stage", &text)
    }

    /// The same of a record that may be broken.
    pub fn of_readable(record: &Path) -> Option<Sources> {
        let mut command = program("sbox-stage").ok()?;
        let list = command.arg("--list").arg("--record").arg(record).stderr(Stdio::null()).output().ok()?;
        serde_json::from_slice(&list.stdout).ok().filter(|_| list.status.success())
    }

    /// Where files and links were put, relative to the root.
    pub fn places(&self) -> impl Iterator<Item = PathBuf> {
        let copied = self.items.iter().filter(|(_, stamp)| stamp.starts_with(['f', 'l', '?']));
        copied.map(|(place, _)| percent_decoded(place))
    }

    /// Removes from the agent's home what was copied into it and is not in `wanted`. The home outlives the rootfs and its
    /// record, after which nobody would know that such a file is not the agent's.
    pub fn leave_home(&self, project: &Project, wanted: &Sources) -> Result<()> {
        let stays: BTreeSet<PathBuf> = wanted.places().collect();
        let Ok(root) = Dir::open(&project.rootfs()) else { return Ok(()) };
        for place in self.places().filter(|place| place.starts_with("home") && !stays.contains(place)) {
            let (Some(parent), Some(name)) = (place.parent(), place.file_name()) else { continue };
            if let Some(dir) = root.sub_opened(parent)? {
                dir.remove_file(name);
            }
        }
        Ok(())
    }
}
