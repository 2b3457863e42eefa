//! Talking to a provider: `sbox-mkenv-NAME [--resolve] SPEC PREFIX`.
//!
//! It prints one JSON object; exit code 3 means that it cannot serve the runtime, and its stderr says why.

use sbox::config::Runtime;
use sbox::error::{Context, Error, Result};
use sbox::lockfile::Package;
use sbox::plumb;
use sbox::provider::CANNOT_SERVE;
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
    pub fingerprint: Option<String>,
    pub source: String,
    pub packages: Vec<Package>,
}

impl Provider {
    /// Looks among our own programs, then on PATH.
    pub fn find(name: &str) -> Result<Option<Provider>> {
        let file = format!("sbox-mkenv-{name}");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let places = std::iter::once(plumb::exec_path()?)
            .chain(std::env::split_paths(&path).filter(|place| place.is_absolute()));
        let found = places.map(|place| place.join(&file)).find(|path| path.is_file());
        Ok(found.map(|path| Provider { name: name.to_owned(), path }))
    }

    /// What the provider would make, without making it. The inner error is its refusal.
    pub fn resolve(&self, runtime: &Runtime) -> Result<std::result::Result<Made, String>> {
        let mut command = Command::new(&self.path);
        command.arg("--resolve").arg(runtime.to_string());
        self.ask(command)
    }

    /// Makes the runtime at `prefix`. The inner error is its refusal.
    pub fn make(&self, runtime: &Runtime, prefix: &Path) -> Result<std::result::Result<Made, String>> {
        let mut command = Command::new(&self.path);
        command.arg(runtime.to_string()).arg(prefix);
        self.ask(command)
    }

    /// A refusal is kept for the end, when nobody served; it would only confuse when somebody else did.
    fn ask(&self, mut command: Command) -> Result<std::result::Result<Made, String>> {
        plumb::trace(&command);
        let output = plumb::tie(&mut command).stdin(Stdio::null()).stderr(Stdio::piped()).output();
        let output = output.context(|| format!("start the provider '{}'", self.name))?;
        let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        match output.status.code() {
            Some(0) => {}
            Some(code) if code == i32::from(CANNOT_SERVE) => return Ok(Err(words)),
            _ => {
                sbox::words::line(words);
                return Err(Error::reported(1));
            }
        }
        for line in words.lines() {
            sbox::words::line(line);
        }
        let made = serde_json::from_slice(&output.stdout);
        made.map(Ok)
            .map_err(|error| Error::new(format!("the provider '{}' printed no JSON object: {error}", self.name)))
    }
}
