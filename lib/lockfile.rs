//! `sbox.lock`: what was asked for and resolved. The user's file to commit, JSON at the project root, written whole, keys only
//! ever added. What was built of it is in [`crate::built`].

use crate::error::Result;
use crate::model::Runtime;
use crate::project::Project;
use serde::{Deserialize, Serialize};

/// The version of the file's format.
pub const VERSION: &str = "1";

/// A whole lock. What else the file of version 0.1.0 has is left aside.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Lockfile {
    /// Version of the format.
    pub version: String,
    /// The runtimes asked for, as one text: `python:3.11`, or several joined by commas.
    pub runtime: String,
    /// Where the runtimes come from, and with which packages.
    pub runtimes: Vec<RuntimeRecord>,
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

impl Lockfile {
    /// The project's lock; `None` if there is none or it cannot be read as one.
    pub fn read(project: &Project) -> Option<Lockfile> {
        serde_json::from_slice(&crate::fs::read_plain(&project.lock())?).ok()
    }

    /// Whether the runtimes are those of a request: of what was asked for beside them ([`crate::cache::request`]), and of a
    /// provider, `auto` for any.
    pub fn serves(&self, runtimes: &[Runtime], request: &str, provider: &str) -> bool {
        serves(&self.runtimes, runtimes, request, provider)
    }

    /// Writes the lock, whole or not at all; leaves one that says the same alone.
    pub fn write(&self, project: &Project) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        if crate::fs::read_plain(&project.lock()).is_some_and(|old| old == text.as_bytes()) {
            return Ok(());
        }
        crate::fs::write_atomic(&project.lock(), text.as_bytes(), 0o644)
    }
}

/// Whether `records` are those of a request.
pub(crate) fn serves(records: &[RuntimeRecord], runtimes: &[Runtime], request: &str, provider: &str) -> bool {
    let fits = |(record, runtime): (&RuntimeRecord, &Runtime)| {
        record.spec == runtime.to_string()
            && record.request == request
            && (provider == "auto" || record.provider == provider)
    };
    records.len() == runtimes.len() && records.iter().zip(runtimes).all(fits)
}
