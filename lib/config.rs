//! The configuration, `.sbox/config.yaml`, as the programs use it. What is wrong with one is found by [`crate::check`].

mod daemon;
mod expand;
pub(crate) mod raw;

pub use daemon::{Daemon, Ready, Sign};
pub use expand::{Piece, pieces};

use crate::error::{Context, Error, Result};
use crate::limits::Limits;
use crate::project::Project;
use std::fmt;
use std::path::PathBuf;

/// Every key of the file, in the order of the manual.
pub const KEYS: [&str; 22] = [
    "runtime",
    "provider",
    "channels",
    "packages",
    "mamba",
    "workdir",
    "copy",
    "mount",
    "install",
    "build",
    "cmd",
    "env",
    "isolation",
    "network",
    "ports",
    "limits",
    "nested",
    "restart",
    "max_restarts",
    "stop_timeout",
    "logs",
    "ready",
];

/// Where programs run unless `workdir` says otherwise.
pub const DEFAULT_WORKDIR: &str = "/app";

/// A runtime asked for: a language and a version or the start of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runtime {
    /// What it is.
    pub language: Language,
    /// `3.11`, `3.11.7`, `22`.
    pub version: String,
}

/// The languages there are runtimes for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// CPython.
    Python,
    /// Node.js.
    Node,
}

impl Language {
    /// Its name in a spec.
    pub fn name(self) -> &'static str {
        match self {
            Language::Python => "python",
            Language::Node => "node",
        }
    }
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.language.name(), self.version)
    }
}

impl Runtime {
    /// Reads `python:3.11` or `node:22.1.0`.
    pub fn parse(spec: &str) -> Result<Runtime> {
        let format_hint = "Use format 'language:version', e.g., 'python:3.11' or 'node:22'";
        let wrong =
            || Error::new(format!("Invalid runtime format: '{}'", crate::escape::visible(spec))).hint(format_hint);
        let (language, version) = spec.split_once(':').ok_or_else(wrong)?;
        let language = match language {
            "python" => Language::Python,
            "node" | "nodejs" => Language::Node,
            _ => return Err(wrong()),
        };
        let parts: Vec<&str> = version.split('.').collect();
        let number =
            |part: &&str| !part.is_empty() && part.len() <= 6 && part.bytes().all(|byte| byte.is_ascii_digit());
        // `python:3` would be whichever 3 the host has today: a minor version is part of the name of a Python.
        let least = if language == Language::Python { 2 } else { 1 };
        if parts.len() < least || parts.len() > 3 || !parts.iter().all(number) {
            return Err(wrong());
        }
        Ok(Runtime { language, version: version.to_owned() })
    }

    /// Whether a full version is one that was asked for: `3.11` is served by `3.11.7` and not by `3.1.1`.
    pub fn accepts(&self, version: &str) -> bool {
        version == self.version || version.strip_prefix(&self.version).is_some_and(|rest| rest.starts_with('.'))
    }
}

/// A `copy` or `mount` entry, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// On the host: absolute.
    pub src: PathBuf,
    /// In the sandbox: absolute, without `.` and `..`.
    pub dst: PathBuf,
    /// Whether the agent may only read it.
    pub read_only: bool,
    /// As it stands in the file, for messages.
    pub written: String,
}

/// What is run by `sbox run`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// One line, for `sh -c`.
    Line(String),
    /// A program and its arguments.
    Words(Vec<String>),
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Command::Line(line) => f.write_str(line),
            Command::Words(words) => f.write_str(&words.join(" ")),
        }
    }
}

/// What a sandbox can reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Network {
    /// All that the host can.
    Host,
    /// Its own loopback.
    None,
    /// Some names, through a proxy.
    Allow {
        /// The rules that allow, as they are written.
        allow: Vec<String>,
        /// Those that deny.
        deny: Vec<String>,
        /// Whether there is an access log.
        log: bool,
    },
}

impl Network {
    /// `host`, `none` or `proxy`: the mode of `sbox-spawn`.
    pub fn mode(&self) -> &'static str {
        match self {
            Network::Host => "host",
            Network::None => "none",
            Network::Allow { .. } => "proxy",
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Network::Allow { allow, .. } if allow.is_empty() => f.write_str("nothing is allowed"),
            Network::Allow { allow, .. } => write!(f, "only {}", allow.join(", ")),
            other => f.write_str(other.mode()),
        }
    }
}

/// Where a program is downloaded, if not at its makers' place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Download {
    /// The address.
    pub url: Option<String>,
    /// What has to come.
    pub sha256: Option<String>,
}

/// A whole valid configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// At least one.
    pub runtimes: Vec<Runtime>,
    /// `auto` or the name of a provider.
    pub provider: String,
    /// Absolute, in the sandbox.
    pub workdir: String,
    /// What is copied in when building.
    pub copy: Vec<Entry>,
    /// What of the host is there while running.
    pub mount: Vec<Entry>,
    /// The commands of `install`, then those of `build`.
    pub install: Vec<String>,
    /// The default command.
    pub cmd: Option<Command>,
    /// In the order of the file, not expanded.
    pub env: Vec<(String, String)>,
    /// `auto` or a level.
    pub isolation: String,
    /// What it can reach.
    pub network: Network,
    /// Ports of the host's loopback that lead to ports inside: on the host, inside.
    pub ports: Vec<(u16, u16)>,
    /// What it may use.
    pub limits: Limits,
    /// Whether it may make user namespaces and mounts of its own.
    pub nested: bool,
    /// How daemons run.
    pub daemon: Daemon,
    /// Where conda's packages come from, if not from where it has them by itself.
    pub channels: Vec<String>,
    /// Packages of conda's beside the runtimes.
    pub packages: Vec<String>,
    /// Where micromamba comes from.
    pub mamba: Download,
    /// SHA-256 of the file, the first 16 digits.
    pub hash: String,
}

impl Config {
    /// Reads the project's configuration; anything wrong in it is an error that counts the findings.
    pub fn load(project: &Project) -> Result<Config> {
        let text = read(project)?;
        let report = crate::check::check(&text, project.root());
        // What was copied is in the sandbox: where it came from matters when it is built, and may be on another machine.
        let mut errors = report.errors().filter(|error| !error.only_for_builds);
        let (first, errors) = (errors.next().map(ToString::to_string), errors.count() + 1);
        match (report.config, first) {
            (Some(config), None) => Ok(config),
            (_, first) => {
                let first = first.unwrap_or_default();
                Err(Error::new(format!("the configuration has errors ({errors}): {first}"))
                    .hint("sbox validate lists them all"))
            }
        }
    }
}

/// The text of the project's configuration.
pub fn read(project: &Project) -> Result<String> {
    let path = project.config();
    std::fs::read_to_string(&path).context(|| format!("read '{}'", crate::escape::visible_path(&path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_served_by_its_patch_releases_only() {
        let runtime = Runtime::parse("python:3.1").unwrap();
        assert!(runtime.accepts("3.1") && runtime.accepts("3.1.5") && !runtime.accepts("3.11.7"));
    }

    #[test]
    fn runtimes_are_a_language_and_a_version() {
        for good in ["python:3.11", "python:3.11.7", "node:22", "node:22.1", "nodejs:20"] {
            assert!(Runtime::parse(good).is_ok(), "{good}");
        }
        for bad in
            ["ruby:3.0", "python", "python:", "python:3", "python:3.x", "node:", "node:22.1.2.3", "node:-1", "node:lts"]
        {
            assert!(Runtime::parse(bad).is_err(), "{bad}");
        }
    }
}
