//! Talking to a provider: `sbox-mkenv-NAME [--resolve] [options] SPEC... [PREFIX]`. It gets those options only that say
//! something: one that does not know them refuses.
//!
//! It prints one JSON object; exit code 3 means that it cannot serve the runtime, and its stderr says why.

use libsbox::error::{Context, Error, Result};
use libsbox::lockfile::Package;
use libsbox::model::Runtime;
use libsbox::plumbing;
use libsbox::provider::CANNOT_SERVE;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

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
    pub offline: bool,
    /// Whether to wait for what is slow; otherwise somebody else is asked soon.
    pub patient: bool,
}

impl Provider {
    /// Looks among our own programs, then on PATH.
    pub fn find(name: &str) -> Result<Option<Provider>> {
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
        let text = serde_json::to_vec(packages).map_err(|error| Error::new(error.to_string()))?;
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
        if !ask.patient {
            command.env("SBOX_PATIENCE", "short");
        }
        command
    }

    /// A refusal is kept for the end, when nobody served; it would only confuse when somebody else did.
    fn run(&self, mut command: Command) -> Result<std::result::Result<Made, String>> {
        plumbing::trace(&command);
        let output = plumbing::tie(&mut command).stdin(Stdio::null()).stderr(Stdio::piped()).output();
        let output = output.context(|| format!("start the provider '{}'", self.name))?;
        let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        match output.status.code() {
            Some(0) => {}
            Some(code) if code == i32::from(CANNOT_SERVE) => return Ok(Err(words)),
            _ => {
                libsbox::output::line(words);
                return Err(Error::reported(1));
            }
        }
        for line in words.lines() {
            libsbox::output::line(line);
        }
        let made = serde_json::from_slice(&output.stdout);
        made.map(Ok)
            .map_err(|error| Error::new(format!("the provider '{}' printed no JSON object: {error}", self.name)))
    }
}
