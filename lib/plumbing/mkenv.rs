//! The command line of `sbox-mkenv`, and its reply.

use super::{output_with, program, reply};
use crate::config::Config;
use crate::error::Result;
use crate::lockfile::RuntimeRecord;
use crate::progress::Progress;
use crate::registries::Registries;
use serde::Deserialize;
use std::path::Path;
use std::process::Command;

/// A runtime environment that is to be made.
#[derive(Debug)]
pub struct Environment<'a> {
    /// Its runtimes, packages, channels and provider.
    pub config: &'a Config,
    /// Where it is made.
    pub into: &'a Path,
    /// The path that is written in its files.
    pub prefix: &'a Path,
    /// The versions to keep to.
    pub lock: Option<&'a Path>,
    /// A cache that the project brought.
    pub cache_beside: &'a Path,
    /// Use exactly the versions in the lock.
    pub locked: bool,
    /// Look for newer versions.
    pub update: bool,
    /// Use no network.
    pub offline: bool,
}

/// A runtime that was made.
#[derive(Debug, Deserialize)]
pub struct MadeRuntime {
    /// Whether the cache had it.
    pub cached: bool,
    /// What is recorded of it.
    #[serde(flatten)]
    pub record: RuntimeRecord,
}

/// What was made.
#[derive(Debug, Deserialize)]
pub struct Made {
    /// Each runtime that was asked for.
    pub runtimes: Vec<MadeRuntime>,
    /// What their clients have built in.
    #[serde(default)]
    pub registries: Registries,
}

impl Environment<'_> {
    /// Makes it.
    pub fn make(&self, progress: &Progress) -> Result<Made> {
        let mut command = mkenv(self.config)?;
        command.env("SBOX_CACHE_BESIDE", self.cache_beside);
        if let Some(lock) = self.lock {
            command.arg("--lock").arg(lock);
        }
        let flags = [(self.locked, "--locked"), (self.update, "--update"), (self.offline, "--offline")];
        command.args(flags.iter().filter(|(on, _)| *on).map(|(_, flag)| flag));
        command.arg("--into").arg(self.into);
        command.args(self.config.runtimes.iter().map(ToString::to_string)).arg(self.prefix);
        reply("sbox-mkenv", &output_with(&mut command, progress)?)
    }
}

/// Sees to it that the cache has what a configuration asks for.
pub fn fill_cache(config: &Config, progress: &Progress) -> Result<()> {
    let mut command = mkenv(config)?;
    command.arg("--cache-only").args(config.runtimes.iter().map(ToString::to_string));
    output_with(&mut command, progress).map(drop)
}

/// What both have in common.
fn mkenv(config: &Config) -> Result<Command> {
    let mut command = program("sbox-mkenv")?;
    command.args(["--provider", &config.provider]);
    command.args(config.channels.iter().flat_map(|channel| ["--channel", channel]));
    command.args(config.packages.iter().flat_map(|package| ["--package", package]));
    let download = [("SBOX_MAMBA_URL", &config.mamba.url), ("SBOX_MAMBA_SHA256", &config.mamba.sha256)];
    command.envs(download.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?))));
    Ok(command)
}
