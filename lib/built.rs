//! `.sbox/built.json`: what was built, where, from what. Nobody commits it and no sandbox sees it.
//!
//! Version 0.1.0 kept this in `sbox.lock`, in the working tree, where `git stash -u` or a checkout took it away and with it
//! the sandbox. Such a file is still read as long as there is no other.

use crate::config::Config;
use crate::error::{Error, Result};
use crate::lockfile::{self, Lockfile, RuntimeRecord};
use crate::model::Runtime;
use crate::project::Project;
use crate::registries::Registries;
use serde::{Deserialize, Serialize};
use std::path::{Component, Path, PathBuf};

/// Everything that a build knows of the last one. Sections are written as their layer is finished, so that a killed build is
/// seen for what it is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Built {
    /// Version of the format.
    pub version: String,
    /// Hash of the configuration that was built.
    pub config_hash: String,
    /// Hash of what a build takes from the configuration: see [`Built::is_of`].
    pub inputs: String,
    /// When the build ended, RFC 3339; empty while it is not whole.
    pub built_at: String,
    /// The runtimes asked for, as one text: `python:3.11`, or several joined by commas.
    pub runtime: String,
    /// The prefix that is written in the environment's files.
    pub prefix: String,
    /// Whether that prefix could not be rewritten into the project's own. Then sandboxes see everything at the old place,
    /// which only level `namespace` can give.
    #[serde(alias = "stays", skip_serializing_if = "std::ops::Not::not")]
    pub pinned_prefix: bool,
    /// The root for which that was found out: at another one it may fit.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pinned_at: String,
    /// Where the runtimes come from.
    pub runtimes: Vec<RuntimeRecord>,
    /// SHA-256 over what was copied: places, sizes, modes, times.
    pub sources: String,
    /// What npm and pip of this environment have built in. Asked before anything else ran in it.
    pub registries: Registries,
    /// Install commands that were done, in order, each with a hash of what it depends on.
    pub install: Vec<InstallRecord>,
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

impl Built {
    /// What was built; `None` if nothing was, or if that cannot be read (then everything is built from scratch).
    pub fn read(project: &Project) -> Option<Built> {
        match std::fs::symlink_metadata(project.built()) {
            Ok(_) => serde_json::from_slice(&crate::fs::read_plain(&project.built())?).ok(),
            Err(_) => {
                let old = crate::fs::read_plain(&project.lock())?;
                serde_json::from_slice(&old).ok().filter(|built: &Built| !built.prefix.is_empty())
            }
        }
    }

    /// Writes it, whole or not at all.
    pub fn write(&self, project: &Project) -> Result<()> {
        hide_from_git(project)?;
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        crate::fs::write_atomic(&project.built(), text.as_bytes(), 0o644)
    }

    /// Writes what is known of the environment of a one-off run: what its clients have built in. It is not whole.
    pub fn write_of_one_off(project: &Project, registries: Registries) -> Result<()> {
        let built = Built { version: lockfile::VERSION.into(), registries, ..Built::default() };
        let text = serde_json::to_string(&built)?;
        crate::fs::write_new(&project.built(), text.as_bytes(), 0o644)
    }

    /// The part of it that is the user's to commit.
    pub fn lock(&self) -> Lockfile {
        Lockfile { version: self.version.clone(), runtime: self.runtime.clone(), runtimes: self.runtimes.clone() }
    }

    /// Whether the runtimes are those of a request: see [`Lockfile::serves`].
    pub fn serves(&self, runtimes: &[Runtime], request: &str, provider: &str) -> bool {
        lockfile::serves(&self.runtimes, runtimes, request, provider)
    }

    /// The root of the project whose paths are written in the files; nothing if the record names none that can be one.
    pub fn written_root(&self) -> Option<PathBuf> {
        let prefix = Path::new(&self.prefix);
        let plain = prefix.components().all(|part| !matches!(part, Component::ParentDir | Component::CurDir));
        let root = prefix.strip_prefix("/").ok().filter(|_| plain && prefix.ends_with(".sbox/env"));
        let root = Path::new("/").join(root?).ancestors().nth(2)?.to_owned();
        (root.components().count() > 1 && Project::at(&root).is_ok()).then_some(root)
    }

    /// The project as its sandboxes see it: at the place where it is, or where it was built if it cannot move.
    pub fn seen_from_inside(project: &Project) -> Project {
        let built = Built::read(project).filter(|built| built.pinned_prefix && built.is_whole());
        let root = built.and_then(|built| built.written_root());
        root.and_then(|root| Project::at(&root).ok()).unwrap_or_else(|| project.clone())
    }

    /// Whether the environment works where the project is now.
    pub fn is_here(&self, project: &Project) -> bool {
        self.pinned_prefix || Path::new(&self.prefix) == project.env()
    }

    /// Notes that this is what a build makes of a configuration.
    pub fn record(&mut self, config: &Config) {
        self.config_hash.clone_from(&config.hash);
        self.inputs = inputs(config);
    }

    /// Whether this is what a build makes of a configuration. Most of its keys are read at each start, such as `mount` and
    /// `network`: an edit of those needs no build.
    pub fn is_of(&self, config: &Config) -> bool {
        self.config_hash == config.hash || self.inputs == inputs(config)
    }

    /// Whether a build ran to its end.
    pub fn is_whole(&self) -> bool {
        self.version == lockfile::VERSION && !self.built_at.is_empty()
    }
}

/// What the layers are made of, as it is written: a project that moves keeps it.
fn inputs(config: &Config) -> String {
    let Config { runtimes, provider, channels, packages, workdir, copy, install, env, env_file, .. } = config;
    let copied: Vec<_> = copy.iter().map(|entry| (&entry.written, &entry.dst)).collect();
    let all = (runtimes, provider, channels, packages, workdir, copied, install, env, env_file);
    crate::fs::sha256(format!("{all:?}").as_bytes())[..16].to_owned()
}

/// A `.gitignore` in `.sbox`, which ignores itself, too: without it `git stash -u` takes what was built along.
fn hide_from_git(project: &Project) -> Result<()> {
    let path = project.state().join(".gitignore");
    match std::fs::symlink_metadata(&path) {
        Ok(_) => Ok(()),
        Err(_) => crate::fs::write_atomic(&path, b"*\n!config.yaml\n", 0o644),
    }
}

/// Refuses to go on with a project that was not built, or not here.
pub fn require(project: &Project, config: &Config) -> Result<()> {
    let lock = Built::read(project).filter(|lock| lock.is_whole());
    let (true, Some(lock)) = (project.env().is_dir() && project.rootfs().is_dir(), lock) else {
        return Err(Error::new(format!("project '{}' is not built", project.name())).hint("sbox build"));
    };
    if !lock.is_here(project) {
        let message = format!("project '{}' was built at '{}' and has moved", project.name(), lock.prefix);
        return Err(Error::new(message).hint("sbox build makes it work here; if it came in an archive: sbox unpack"));
    }
    if !lock.is_of(config) && std::io::IsTerminal::is_terminal(&std::io::stderr()) {
        crate::output::warn("the configuration changed after the last build");
        crate::output::hint("sbox build");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(prefix: &str) -> Option<PathBuf> {
        Built { prefix: prefix.into(), ..Built::default() }.written_root()
    }

    #[test]
    fn a_record_from_an_archive_names_no_wild_root() {
        assert_eq!(at("/home/u/p/.sbox/env"), Some("/home/u/p".into()));
        for wild in ["", "/", "/.sbox/env", "p/.sbox/env", "/a/../b/.sbox/env", "/usr/bin", "/a\nb/.sbox/env"] {
            assert_eq!(at(wild), None, "{wild:?}");
        }
    }

    #[test]
    fn what_is_read_at_each_start_needs_no_build() {
        let config = |more: &str| {
            let text = format!("runtime: node:22\nmount: [/usr:/u]\n{more}");
            crate::check::check(&text, Path::new("/p")).config.unwrap()
        };
        let mut built = Built::default();
        assert!(!built.is_of(&config("")));
        built.record(&config(""));
        for more in ["", "# a comment\n", "network: none\n", "limits: {pids: 9}\n", "cmd: ls\n"] {
            assert!(built.is_of(&config(more)), "{more}");
        }
        for more in ["install: [npm i x]\n", "copy: [/etc/hosts:/h]\n", "env: {A: b}\n", "workdir: /w\n"] {
            assert!(!built.is_of(&config(more)), "{more}");
        }
    }

    #[test]
    fn the_name_that_version_0_1_gave_a_pinned_prefix_is_read() {
        let old = r#"{"version": "1", "built_at": "x", "prefix": "/p/.sbox/env", "stays": true}"#;
        assert!(serde_json::from_str::<Built>(old).unwrap().pinned_prefix);
    }
}
