//! What a provider of runtimes is asked: `sbox-mkenv-NAME [--resolve] SPEC [PREFIX]`, see sbox-mkenv(1).

use crate::cli;
use crate::config::Runtime;
use crate::error::{Error, Kind, Result};
use crate::plumb;
use lexopt::prelude::*;
use std::path::PathBuf;
use std::process::Stdio;

/// Exit code of a provider that cannot serve what it was asked for.
pub const CANNOT_SERVE: u8 = 3;

/// One request.
#[derive(Debug)]
pub struct Request {
    /// What is wanted.
    pub runtime: Runtime,
    /// Where it goes; `None` when it is only asked what would be made.
    pub prefix: Option<PathBuf>,
}

impl Request {
    /// Reads the command line of a provider.
    pub fn parse(args: &mut lexopt::Parser) -> Result<Request> {
        let (mut resolve, mut words) = (false, Vec::new());
        while let Some(arg) = args.next()? {
            match arg {
                Long("resolve") => resolve = true,
                Value(word) if words.len() < 2 => words.push(word),
                other => return Err(cli::common(other)),
            }
        }
        let spec = words.first().ok_or_else(|| Error::usage("missing SPEC"))?;
        let runtime = Runtime::parse(&spec.to_string_lossy()).map_err(|error| Error::usage(error.to_string()))?;
        if resolve {
            return Ok(Request { runtime, prefix: None });
        }
        let prefix = words.get(1).map(PathBuf::from).ok_or_else(|| Error::usage("missing PREFIX"))?;
        if !prefix.is_absolute() || prefix.symlink_metadata().is_ok() {
            return Err(Error::usage("PREFIX must be an absolute path that does not exist yet"));
        }
        Ok(Request { runtime, prefix: Some(prefix) })
    }
}

/// The refusal of a provider: another may serve.
pub fn cannot(why: impl Into<String>) -> Error {
    Error::of(Kind::Unavailable, why)
}

/// The newest Python that this host can give without a download, among those that are known to work: 3.12 first, for
/// which most packages have wheels.
pub fn python_of_this_host() -> Result<Option<Runtime>> {
    for version in ["3.12", "3.13", "3.11", "3.10", "3.9", "3.8"] {
        let runtime = Runtime::parse(&format!("python:{version}"))?;
        let mut command = plumb::program("sbox-mkenv-host")?;
        command.args(["--resolve", &runtime.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
        if command.status().is_ok_and(|status| status.success()) {
            return Ok(Some(runtime));
        }
    }
    Ok(None)
}
