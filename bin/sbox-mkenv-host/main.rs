//! sbox-mkenv-host: provide a runtime from an interpreter that the host has.
//!
//! The interpreter is copied whole and made private: its libraries are found beside it and its files name the new
//! prefix. What somebody installed into it on the host is left behind.
#![forbid(unsafe_code)]

mod elf;
mod find;
mod known;
mod libraries;
mod node;
mod python;
mod wheels;

use libsbox::cli::{self, Tool};
use libsbox::error::{Context, Result};
use libsbox::escape;
use libsbox::fs;
use libsbox::lockfile::Package;
use libsbox::model::Language;
use libsbox::provider::{self, Request};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const TOOL: Tool = Tool { name: "sbox-mkenv-host", usage: USAGE, runs_a_command: false };
const USAGE: &str = "\
usage: sbox-mkenv-host [--resolve] SPEC [PREFIX]
Make the runtime SPEC (python:3.11, node:22) at PREFIX from an interpreter of
this host, and print JSON that describes it. Exit code 3: the host has none that
fits; the JSON, {\"refused\": \"...\"}, lists those that were found.

      --resolve    only print which interpreter would be used
  -h, --help       print this text
  -V, --version    print the version

It searches PATH, pyenv, asdf, mise, uv, conda, nvm, fnm, volta, Homebrew, and
the system's directories.
";

fn main() -> ExitCode {
    TOOL.main(|args| provider::answer(run(args)))
}

/// An interpreter that was found and asked.
#[derive(Serialize, Deserialize)]
pub struct Source {
    /// Its real path.
    pub executable: PathBuf,
    /// Its full version.
    pub version: String,
}

fn run(args: &mut lexopt::Parser) -> Result<u8> {
    let request = Request::parse(args)?;
    let runtime = request.only_runtime()?.clone();
    let prefix = request.prefix;
    match runtime.language {
        Language::Python => {
            let python = python::find(&runtime, prefix.is_none())?;
            let source = Source { executable: python.executable.clone(), version: python.version.clone() };
            finish(&source, prefix, |prefix| python::make(&python, prefix))
        }
        Language::Node => {
            let source = node::find(&runtime, prefix.is_none())?;
            finish(&source, prefix, |prefix| node::make(&source, prefix))
        }
    }
}

/// Makes the environment, unless only asked about it, and prints what it is.
fn finish(source: &Source, prefix: Option<PathBuf>, make: impl FnOnce(&Path) -> Result<Vec<Package>>) -> Result<u8> {
    let packages = match &prefix {
        Some(prefix) => make(prefix).inspect_err(|_| drop(fs::remove_tree(prefix)))?,
        None => Vec::new(),
    };
    cli::out_line(json!({
        "version": source.version, "source": source.executable, "fingerprint": fingerprint(source)?, "packages": packages,
    }))?;
    Ok(0)
}

/// Changes when the host's interpreter is replaced, or when this program makes something else of it.
fn fingerprint(source: &Source) -> Result<String> {
    let shown = || format!("look at '{}'", escape::visible_path(&source.executable));
    let metadata = std::fs::metadata(&source.executable).context(shown)?;
    let facts = (&source.executable, &source.version, metadata.len(), metadata.mtime(), cli::VERSION);
    Ok(fs::sha256(format!("{facts:?}").as_bytes()))
}
