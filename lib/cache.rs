//! The user's cache: `~/.sbox/cache/{bin,runtimes,pkgs}`, or what `SBOX_CACHE` names.
//!
//! An entry of `runtimes` is a directory `LANGUAGE-SERIES/PROVIDER-VERSION-FINGERPRINT` with `env` and `entry.json`. It is
//! published by one rename and never changed after: what is under a final name is whole.

use crate::config::{Language, Runtime};
use crate::error::{Context, Error, Result};
use crate::fsx;
use crate::lockfile::Package;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The root of the cache; it may not exist yet.
pub fn root() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("SBOX_CACHE").filter(|path| !path.is_empty()) {
        return std::path::absolute(path).context(|| "find the cache".into());
    }
    match std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute()) {
        Some(home) => Ok(home.join(".sbox/cache")),
        None => {
            Err(Error::new("cannot find the cache: HOME is not set").hint("set HOME, or SBOX_CACHE to a directory"))
        }
    }
}

/// What `entry.json` says.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Entry {
    /// Who made it.
    pub provider: String,
    /// The exact version of the runtime.
    pub version: String,
    /// Tells two runtimes of one version apart: what they were made from.
    pub fingerprint: String,
    /// Where it came from.
    pub source: String,
    /// The prefix that is written in its files.
    pub prefix: PathBuf,
    /// When it was made, RFC 3339.
    pub made_at: String,
    /// Packages in it.
    pub packages: Vec<Package>,
    /// Files below `env` in which the prefix is written.
    pub sites: Vec<PathBuf>,
    /// Where it is. Not in the file.
    #[serde(skip)]
    pub path: PathBuf,
}

/// The name of the group that serves a runtime: `python-3.11`, `node-22`.
pub fn group(runtime: &Runtime) -> String {
    let parts = if runtime.language == Language::Python { 2 } else { 1 };
    let series = runtime.version.split('.').take(parts).collect::<Vec<_>>().join(".");
    format!("{}-{series}", runtime.language.name())
}

/// The published entries that serve a runtime, newest version first.
pub fn entries(runtime: &Runtime) -> Result<Vec<Entry>> {
    let directory = root()?.join("runtimes").join(group(runtime));
    let mut found: Vec<Entry> = std::fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|item| !item.file_name().as_encoded_bytes().starts_with(b"."))
        .filter_map(|item| read_entry(&item.path()))
        .filter(|entry| runtime.accepts(&entry.version))
        .collect();
    found.sort_by_key(|entry| std::cmp::Reverse(version_key(&entry.version)));
    Ok(found)
}

/// A version as numbers, to compare: `3.9` is before `3.11`.
pub fn version_key(version: &str) -> Vec<u64> {
    version.split('.').map(|part| part.parse().unwrap_or(0)).collect()
}

fn read_entry(path: &Path) -> Option<Entry> {
    let mut entry: Entry = serde_json::from_slice(&std::fs::read(path.join("entry.json")).ok()?).ok()?;
    entry.path = path.to_owned();
    Some(entry)
}

/// A place to make an entry in. Its name is never that of an entry, and it goes away unless it is published.
#[derive(Debug)]
pub struct Draft {
    directory: PathBuf,
    group: PathBuf,
}

impl Draft {
    /// A fresh place in the group that serves `runtime`.
    pub fn new(runtime: &Runtime) -> Result<Draft> {
        let group = root()?.join("runtimes").join(group(runtime));
        fsx::make_dirs(&group)?;
        let directory = group.join(format!(".draft-{}", std::process::id()));
        fsx::remove_tree(&directory)?;
        fsx::make_dirs(&directory)?;
        Ok(Draft { directory, group })
    }

    /// Where the environment goes.
    pub fn env(&self) -> PathBuf {
        self.directory.join("env")
    }

    /// Publishes the draft under its final name. If another process was first, its entry is the one that counts.
    pub fn publish(self, mut entry: Entry) -> Result<Entry> {
        let text = serde_json::to_string_pretty(&entry).map_err(|error| Error::new(error.to_string()))?;
        fsx::write_atomic(&self.directory.join("entry.json"), text.as_bytes(), 0o644)?;
        // The name must not survive a power cut that the content does not.
        let directory = std::fs::File::open(&self.directory).context(|| "sync the cache".into())?;
        rustix::fs::syncfs(&directory).context(|| "sync the cache".into())?;
        let name =
            format!("{}-{}-{}", entry.provider, entry.version, &entry.fingerprint[..entry.fingerprint.len().min(8)]);
        entry.path = self.group.join(name);
        match std::fs::rename(&self.directory, &entry.path) {
            Ok(()) => Ok(entry),
            Err(_) if read_entry(&entry.path).is_some() => Ok(entry),
            Err(error) => Err(error).context(|| format!("publish '{}'", entry.path.display())),
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let _ = fsx::remove_tree(&self.directory);
    }
}

/// Takes the lock under which entries of a group are made: two builds of one runtime make it once.
pub fn lock(runtime: &Runtime) -> Result<fsx::Lock> {
    let runtimes = root()?.join("runtimes");
    fsx::make_dirs(&runtimes)?;
    let name = group(runtime);
    fsx::Lock::exclusive(&runtimes.join(format!(".{name}.lock")), || {
        crate::words::info(format_args!("waiting for another build of {name}"));
    })
}

/// Removes drafts that a killed process left in the group. The caller holds the group's lock, so that none is in use.
pub fn sweep(runtime: &Runtime) -> Result<()> {
    let directory = root()?.join("runtimes").join(group(runtime));
    for item in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if item.file_name().as_encoded_bytes().starts_with(b".draft-") {
            fsx::remove_tree(&item.path())?;
        }
    }
    Ok(())
}

/// Notes that an entry was used now.
pub fn touch(entry: &Entry) {
    // A cache on a read-only disk serves as well.
    let _ = std::fs::write(entry.path.join("last_used"), fsx::rfc3339(fsx::now()));
}
