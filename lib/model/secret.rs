//! Keys that the agent uses and never holds: what a configuration says of them, and how they travel to the proxy.

use super::HostRule;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Letters that are enough to be told from any other text.
pub const SHORTEST_PLACEHOLDER: usize = 24;

/// The beginning of a key, and as many letters as the longest value has.
pub const LONGEST_PLACEHOLDER: usize = 17 * 1024;

/// A key that belongs to some hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    /// The agent's variable, which holds a placeholder.
    pub name: String,
    /// The only hosts that get the value.
    pub hosts: Vec<HostRule>,
    /// Where the value comes from.
    pub from: Source,
    /// Where in a request the placeholder is exchanged for the value.
    pub places: Places,
    /// Whether nothing is said where this host has no value.
    pub optional: bool,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A variable of the host.
    Env(String),
    /// A file of the host, read again when it changes.
    File(PathBuf),
    /// What a command on the host prints, for so many seconds; without a number for good.
    Command(String, Option<u64>),
}

/// Where in a request a placeholder is exchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Places {
    /// Header fields, but for `User-Agent`, `Referer` and `Origin`.
    pub header: bool,
    /// The path and the query.
    pub address: bool,
    /// The body.
    pub body: bool,
}

/// The words of `in:`.
pub const PLACES: &[&str] = &["header", "address", "body"];

impl Default for Places {
    fn default() -> Places {
        Places { header: true, address: false, body: false }
    }
}

impl Places {
    /// Those with these names; nothing if one is unknown.
    pub fn named(names: &[String]) -> Option<Places> {
        let has = |name: &str| names.iter().any(|other| other == name);
        let known = names.iter().all(|name| PLACES.contains(&name.as_str()));
        known.then(|| Places { header: has("header"), address: has("address"), body: has("body") })
    }
}

/// What `sbox-secrets` is to keep: one object on its stdin for each secret. Not `Debug`: the value is nobody's to see.
#[derive(Clone, Serialize, Deserialize)]
pub struct Wanted {
    /// The agent's variable.
    pub name: String,
    /// Rules of hosts.
    pub hosts: Vec<String>,
    /// Where it is exchanged.
    pub places: Places,
    /// The placeholder that it had before, which stays if its shape still fits.
    pub placeholder: Option<String>,
    /// The value itself, of a variable.
    pub value: Option<String>,
    /// The file that has it.
    pub file: Option<PathBuf>,
    /// What an agent can write: a file is not read from there.
    #[serde(default)]
    pub writable: Vec<PathBuf>,
    /// The command that prints it.
    pub command: Option<String>,
    /// For how many seconds that is good.
    pub expires: Option<u64>,
}

/// What `sbox-secrets` answers for each, on its stdout.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Kept {
    /// The agent's variable.
    pub name: String,
    /// What it holds.
    pub placeholder: Option<String>,
    /// Why there is no value.
    pub why: Option<String>,
}

/// What the proxy gets, one JSON object a line: at first all, and later what has changed. Not `Debug`.
#[derive(Clone, Serialize, Deserialize)]
pub struct Delivered {
    /// The agent's variable.
    pub name: String,
    /// Rules of hosts.
    pub hosts: Vec<String>,
    /// Where it is exchanged.
    pub places: Places,
    /// What the agent has.
    pub placeholder: String,
    /// What the hosts get; nothing while there is none.
    pub value: Option<String>,
    /// Why there is none.
    pub why: Option<String>,
    /// Whether more follows at once.
    pub more: bool,
}
