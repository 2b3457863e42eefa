//! `sbox.lock`: what was built, from what. JSON at the project root, written whole, keys only ever added.

use crate::config::Runtime;
use crate::error::{Error, Result};
use crate::project::Project;
use serde::{Deserialize, Serialize};

/// The version of the file's format.
pub const VERSION: &str = "1";

/// A whole lock. Sections are written as their layer is finished, so that a killed build is seen for what it is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Lockfile {
    /// Version of the format.
    pub version: String,
    /// Hash of the configuration that was built.
    pub config_hash: String,
    /// When the build ended, RFC 3339; empty while it is not whole.
    pub built_at: String,
    /// The runtimes asked for, as one text: `python:3.11`, or several joined by commas.
    pub runtime: String,
    /// The prefix that is written in the environment's files.
    pub prefix: String,
    /// Whether that prefix could not be rewritten into the project's own. Then sandboxes see everything at the old place,
    /// which only level `namespace` can give.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub stays: bool,
    /// What serves the runtimes.
    pub runtimes: Vec<RuntimeRecord>,
    /// SHA-256 over what was copied: places, sizes, modes, times.
    pub sources: String,
    /// Install commands that were done, in order, each with a hash of what it depends on.
    pub install: Vec<InstallRecord>,
}

/// What a provider made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RuntimeRecord {
    /// What was asked for.
    pub spec: String,
    /// Who made it.
    pub provider: String,
    /// The exact version.
    pub version: String,
    /// Where it came from: an interpreter of the host, a package.
    pub source: String,
    /// Channels and packages that it was made with, as a hash ([`crate::cache::request`]).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub request: String,
    /// Packages, with URL and hash where the provider gives them. Of several runtimes in one environment, the first
    /// has them all.
    pub packages: Vec<Package>,
}

/// A package of a runtime.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Where it was fetched, if the provider tells.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub url: String,
    /// Its hash, as the provider writes it (`sha512-…`).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hash: String,
    /// Its MD5, where a provider's tool checks by that.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub md5: String,
}

/// An install command that was run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InstallRecord {
    /// The command.
    pub command: String,
    /// Hash of the command, those before it, the runtime, and the files it reads.
    pub key: String,
}

impl Lockfile {
    /// The project's lock; `None` if there is none or it cannot be read as one (then everything is built anew).
    pub fn read(project: &Project) -> Option<Lockfile> {
        serde_json::from_slice(&crate::fs::read_plain(&project.lock())?).ok()
    }

    /// Whether the runtimes are those of a request: of what was asked for beside them ([`crate::cache::request`]), and of a
    /// provider, `auto` for any.
    pub fn serves(&self, runtimes: &[Runtime], request: &str, provider: &str) -> bool {
        let fits = |(record, runtime): (&RuntimeRecord, &Runtime)| {
            record.spec == runtime.to_string()
                && record.request == request
                && (provider == "auto" || record.provider == provider)
        };
        self.runtimes.len() == runtimes.len() && self.runtimes.iter().zip(runtimes).all(fits)
    }

    /// Writes the lock, whole or not at all.
    pub fn write(&self, project: &Project) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self).map_err(|error| Error::new(error.to_string()))?;
        text.push('\n');
        crate::fs::write_atomic(&project.lock(), text.as_bytes(), 0o644)
    }

    /// The project as its sandboxes see it: at the place where it is, or where it was built if it cannot move.
    pub fn seen_from_inside(project: &Project) -> Project {
        let lock = Lockfile::read(project).filter(|lock| lock.stays && lock.is_whole());
        let old = lock.filter(|lock| lock.prefix.ends_with("/.sbox/env"));
        let root = old.and_then(|lock| Some(std::path::Path::new(&lock.prefix).ancestors().nth(2)?.to_owned()));
        root.and_then(|root| Project::at(&root).ok()).unwrap_or_else(|| project.clone())
    }

    /// Whether the environment works where the project is now.
    pub fn is_here(&self, project: &Project) -> bool {
        self.stays || std::path::Path::new(&self.prefix) == project.env()
    }

    /// Whether a build ran to its end.
    pub fn is_whole(&self) -> bool {
        self.version == VERSION && !self.built_at.is_empty()
    }
}
