//! Talking to a provider: `sbox-mkenv-NAME [--resolve] [options] SPEC... [PREFIX]`. It gets those options only that say
//! something: one that does not know them refuses.
//!
//! It prints one JSON object; with exit code 3 it cannot serve the runtime, and the object says why: `{"refused": "..."}`.

use libsbox::error::CANNOT_SERVE;
use libsbox::error::{Context, Error, Result};
use libsbox::lockfile::Package;
use libsbox::model::Runtime;
use libsbox::plumbing;
use libsbox::provider::Refusal;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The provider that puts several runtimes, and packages, into one environment. Two environments of its making, one over the
/// other, would have two versions of the libraries that both bring.
pub const MULTI_RUNTIME: &str = "conda";

/// A provider that is there.
pub struct Provider {
    pub name: String,
    path: PathBuf,
}

/// What a provider made, or would make.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Made {
    pub version: String,
    /// Of each runtime, if there are several.
    pub versions: Vec<String>,
    /// What is written in the files, if it is not where they were asked for.
    pub prefix: Option<PathBuf>,
    pub fingerprint: Option<String>,
    pub source: String,
    pub packages: Vec<Package>,
}

/// What a provider is asked.
pub struct Ask<'a> {
    pub runtimes: &'a [Runtime],
    pub channels: &'a [String],
    pub packages: &'a [String],
    /// The exact packages.
    pub lock: Option<&'a [Package]>,
    /// What is known of channels is to be asked for again.
    pub update: bool,
    pub offline: bool,
    /// Whether another provider can be asked instead: then this one does not wait for what is slow.
    pub has_fallback: bool,
}

impl Provider {
    /// Looks among our own programs, then on PATH.
    pub fn find(name: &str) -> Result<Option<Provider>> {
        // It may come from a lock that a sandbox could write.
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_') {
            return Ok(None);
        }
        let file = format!("sbox-mkenv-{name}");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let places = std::iter::once(plumbing::exec_path()?)
            .chain(std::env::split_paths(&path).filter(|place| place.is_absolute()));
        let found = places.map(|place| place.join(&file)).find(|path| path.is_file());
        Ok(found.map(|path| Provider { name: name.to_owned(), path }))
    }

    /// What the provider would make, without making it. The inner error is its refusal.
    pub fn resolve(&self, ask: &Ask<'_>) -> Result<std::result::Result<Made, String>> {
        let mut command = self.command(ask);
        command.arg("--resolve").args(ask.runtimes.iter().map(ToString::to_string));
        self.run(command)
    }

    /// Makes the runtimes at `prefix`. The inner error is its refusal.
    pub fn make(&self, ask: &Ask<'_>, prefix: &Path) -> Result<std::result::Result<Made, String>> {
        let mut command = self.command(ask);
        let Some(packages) = ask.lock else {
            command.args(ask.runtimes.iter().map(ToString::to_string)).arg(prefix);
            return self.run(command);
        };
        let list = libsbox::fs::beside(prefix, "lock");
        let text = serde_json::to_vec(packages)?;
        libsbox::fs::write_atomic(&list, &text, 0o600)?;
        command.arg("--lock").arg(&list).args(ask.runtimes.iter().map(ToString::to_string)).arg(prefix);
        let made = self.run(command);
        let _ = std::fs::remove_file(&list);
        made
    }

    fn command(&self, ask: &Ask<'_>) -> Command {
        let mut command = Command::new(&self.path);
        command.args(ask.channels.iter().flat_map(|channel| ["--channel", channel]));
        command.args(ask.packages.iter().flat_map(|package| ["--package", package]));
        command.args(ask.offline.then_some("--offline"));
        // Only of channels is anything known that could be old.
        command.args((ask.update && self.name == MULTI_RUNTIME).then_some("--update"));
        if ask.has_fallback {
            command.env("SBOX_PATIENCE", "short");
        }
        command
    }

    /// Its words go where ours go; its refusal is kept for the end, when no provider could serve.
    fn run(&self, mut command: Command) -> Result<std::result::Result<Made, String>> {
        plumbing::trace(&command);
        let output = plumbing::die_with_parent(&mut command).stdin(Stdio::null()).stderr(Stdio::inherit()).output();
        let output = output.context(|| format!("start the provider '{}'", self.name))?;
        match output.status.code() {
            Some(0) => {}
            Some(code) if code == i32::from(CANNOT_SERVE) => {
                let refusal: Option<Refusal> = serde_json::from_slice(&output.stdout).ok();
                return Ok(Err(refusal.map_or_else(|| "it cannot serve this".into(), |refusal| refusal.refused)));
            }
            _ => return Err(Error::reported(1)),
        }
        let made = serde_json::from_slice(&output.stdout);
        made.map(Ok)
            .map_err(|error| Error::new(format!("the provider '{}' did not print a JSON object: {error}", self.name)))
    }
}
