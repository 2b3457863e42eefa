//! What a provider of runtimes is asked, see sbox-mkenv(1):
//! `sbox-mkenv-NAME [--resolve] [--channel C]... [--package P]... [--lock FILE] [--update] [--offline] SPEC... [PREFIX]`.

use crate::cli;
use crate::error::{CANNOT_SERVE, Error, Kind, Result};
use crate::model::Runtime;
use crate::plumbing;
use lexopt::prelude::*;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::process::Stdio;

/// One request.
#[derive(Debug)]
pub struct Request {
    /// What is wanted: one runtime, or several in one environment from a provider that can.
    pub runtimes: Vec<Runtime>,
    /// Where it goes; `None` when it is only asked what would be made.
    pub prefix: Option<PathBuf>,
    /// Where packages come from, if not from where the provider has them by itself.
    pub channels: Vec<String>,
    /// Packages beside the runtimes.
    pub packages: Vec<String>,
    /// The exact packages to take: a JSON array of [`crate::lockfile::Package`].
    pub lock: Option<PathBuf>,
    /// What is known of channels is to be asked for again, however new it is.
    pub update: bool,
    /// Nothing may be fetched.
    pub offline: bool,
}

impl Request {
    /// Reads the command line of a provider.
    pub fn parse(args: &mut lexopt::Parser) -> Result<Request> {
        let (mut resolve, mut words) = (false, Vec::new());
        let (mut channels, mut packages, mut lock) = (Vec::new(), Vec::new(), None);
        let (mut update, mut offline) = (false, false);
        while let Some(arg) = args.next()? {
            match arg {
                Long("resolve") => resolve = true,
                Long("channel") => channels.push(args.value()?.string()?),
                Long("package") => packages.push(args.value()?.string()?),
                Long("lock") => lock = Some(PathBuf::from(args.value()?)),
                Long("update") => update = true,
                Long("offline") => offline = true,
                Value(word) => words.push(word),
                other => return Err(cli::common(other)),
            }
        }
        let prefix = if resolve { None } else { words.pop().map(PathBuf::from) };
        if words.is_empty() {
            return Err(Error::usage(if resolve { "missing SPEC" } else { "missing SPEC and PREFIX" }));
        }
        let runtimes = words
            .iter()
            .map(|spec| Runtime::parse(&spec.to_string_lossy()).map_err(|error| Error::usage(error.to_string())))
            .collect::<Result<_>>()?;
        if prefix.as_ref().is_some_and(|prefix| !prefix.is_absolute() || prefix.symlink_metadata().is_ok()) {
            return Err(Error::usage("PREFIX must be an absolute path that does not exist yet"));
        }
        Ok(Request { runtimes, prefix, channels, packages, lock, update, offline })
    }

    /// The one runtime that is asked for, for a provider that has no more than that.
    pub fn only_runtime(&self) -> Result<&Runtime> {
        match &self.runtimes[..] {
            [runtime] if self.channels.is_empty() && self.packages.is_empty() => Ok(runtime),
            [_] => Err(cannot("has runtimes only: 'packages' and 'channels' are for conda")),
            _ => Err(cannot("makes one runtime at a time")),
        }
    }
}

/// The refusal of a provider: another may serve.
pub fn cannot(why: impl Into<String>) -> Error {
    Error::of(Kind::Unavailable, why)
}

/// What a provider prints on stdout when it cannot serve.
#[derive(Debug, Serialize, Deserialize)]
pub struct Refusal {
    /// Why not, for a person; further lines say more.
    pub refused: String,
}

/// Ends a provider: one that cannot serve says so on stdout, where whoever asked reads it, and a person at a terminal, too.
pub fn answer(result: Result<u8>) -> Result<u8> {
    match result {
        Err(error) if error.kind() == Kind::Unavailable => {
            let hint = error.hint_text().map(|hint| format!("\n{hint}")).unwrap_or_default();
            let refusal = Refusal { refused: format!("{error}{hint}") };
            cli::out_line(serde_json::to_string(&refusal)?)?;
            Ok(CANNOT_SERVE)
        }
        other => other,
    }
}

/// The newest Python that this host can give without a download, among those that are known to work: 3.12 first, for
/// which most packages have wheels.
pub fn python_of_this_host() -> Result<Option<Runtime>> {
    for version in ["3.12", "3.13", "3.11", "3.10", "3.9", "3.8"] {
        let runtime = Runtime::parse(&format!("python:{version}"))?;
        let mut command = plumbing::program("sbox-mkenv-host")?;
        command.args(["--resolve", &runtime.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
        if command.status().is_ok_and(|status| status.success()) {
            return Ok(Some(runtime));
        }
    }
    Ok(None)
}
