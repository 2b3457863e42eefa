//! What can stand in a line.

use crate::process::Identity;
use serde::{Deserialize, Serialize};

/// What happened. Readers meet kinds that they do not know, and pass them over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A sandbox was started.
    Start(Box<Start>),
    /// A name was asked of the network for the first time in this run. How often in all, the end says.
    Network(Asked),
    /// A system call was refused for the first time in this run.
    Call(Call),
    /// A limit was met.
    Limit {
        /// In words.
        what: String,
    },
    /// What the guard of read-write mounts did.
    Guard {
        /// In words.
        what: String,
        /// What to do about it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
    },
    /// Files that this run changed in a copy-on-write mount.
    Changes(Changes),
    /// Programs that were still running when the command had ended, and were ended with the sandbox.
    Left {
        /// How many.
        count: u64,
        /// Their names, as many as are listed.
        programs: Vec<String>,
    },
    /// Something about the sandbox or the record itself.
    Note {
        /// In words.
        what: String,
    },
    /// The sandbox has ended.
    End(Box<End>),
    /// Of a newer version.
    #[serde(other)]
    Other,
}

/// How a sandbox was started.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Start {
    /// `run`, `exec`, `shell`, `daemon`, `build`: which command started it.
    pub kind: String,
    /// The name of the daemon.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What was run, quoted as a shell reads it, and cut.
    pub command: String,
    /// The isolation level that was asked for.
    pub isolation: String,
    /// `host`, `none` or `proxy`.
    pub network: String,
    /// Whether it may make namespaces of its own.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub nested: bool,
    /// What of the host is mounted.
    pub mounts: Vec<MountShown>,
    /// The process that waits for its end, and writes it down.
    pub monitor: Identity,
}

/// A mount, in words.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MountShown {
    /// On the host.
    pub src: String,
    /// Inside.
    pub dst: String,
    /// `ro`, `rw` or `cow`.
    pub mode: String,
}

/// What was asked of the network, and what became of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Asked {
    /// The name; empty where the request was not one.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Whether it was let through.
    pub allowed: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The entry of `allow` that would have let it through, if one would.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// How often, so far.
    pub count: u64,
    /// Bytes that the sandbox sent.
    pub sent: u64,
    /// Bytes that it got.
    pub received: u64,
}

/// A system call that the filter refused.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Call {
    /// Its name: `unshare`.
    pub call: String,
    /// What it asked for: `user namespaces`.
    pub what: String,
    /// What the configuration could say to allow it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// How often, so far.
    pub count: u64,
}

/// What a run changed in a copy-on-write mount.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Changes {
    /// Where it is mounted.
    pub dst: String,
    /// How many files this run changed, made or deleted.
    pub count: u64,
    /// Their paths below the mount, as many as are listed.
    pub files: Vec<String>,
    /// How many of git's own files changed beside them.
    pub in_git: u64,
    /// There are more than were counted.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_cut: bool,
}

/// How a sandbox ended, and what was counted in all.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct End {
    /// Its exit code; 128 and the number of a signal for one that died of that.
    pub code: u8,
    /// Why it was ended, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How long it ran.
    pub seconds: f64,
    /// The isolation level that it had; nothing if it did not start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub isolation: Option<String>,
    /// What was asked of the network.
    pub asked: Vec<Asked>,
    /// Requests for further names, which are not listed: allowed, refused.
    pub more_asked: (u64, u64),
    /// System calls that were refused.
    pub calls: Vec<Call>,
    /// Whether they could be counted.
    pub are_calls_counted: bool,
}
