//! sbox-mkenv-conda: provide runtimes and packages from conda channels, through micromamba.
//!
//! micromamba runs in its own sandbox and in three steps: it chooses the packages; it fetches them; it links them.
//! Only the first two have a network, and only the last one runs code of packages, with the package cache read-only.
#![forbid(unsafe_code)]

mod channel;
mod explain;
mod finish;
mod indexes;
mod list;
mod make;
mod mamba_error;
mod micromamba;
mod patience;
mod pkgs;
mod problem;
mod reach;
#[cfg(test)]
mod records;
mod script;
mod scripts;
mod watch;

use libsbox::cache;
use libsbox::cli::{self, Tool};
use libsbox::error::{Context, Error, Result};
use libsbox::fs;
use libsbox::lockfile::Package;
use libsbox::model::{Language, Runtime};
use libsbox::plumbing;
use libsbox::provider::{self, Request, cannot};
use make::Made;
use micromamba::Micromamba;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

const TOOL: Tool = Tool { name: "sbox-mkenv-conda", usage: USAGE, runs_a_command: false };
const USAGE: &str = "\
usage: sbox-mkenv-conda [--resolve] [--channel C]... [--package P]...
                        [--lock FILE] [--update] [--offline] SPEC... [PREFIX]
Make the runtimes SPEC (python:3.12, node:22) at PREFIX, in one environment of
conda packages; print JSON on what was made. Exit code 3: it cannot be had this
way, for the reason in the JSON, {\"refused\": \"...\"}.

      --resolve      only make sure that there is a micromamba
      --channel C    take packages from C, a name or an address; again for more
                     [conda-forge]
      --package P    put P beside the runtimes; again for more
      --lock FILE    take exactly these packages: a JSON array of objects with
                     name, version, url, hash and md5
      --update       ask the channels what is new, however short ago that was
      --offline      use the package cache only
  -h, --help         print this text
  -V, --version      print the version
";

fn main() -> ExitCode {
    TOOL.main(|args| provider::answer(run(args)))
}

fn run(args: &mut lexopt::Parser) -> Result<u8> {
    let request = Request::parse(args)?;
    let program = program(&request)?;
    match &request.prefix {
        Some(prefix) => cli::out_line(made(&request, &program, prefix)?)?,
        // Which packages that are, only the channel knows; cached ones serve without asking.
        None => cli::out_line("{}")?,
    }
    Ok(0)
}

/// Where micromamba is, fetched if it has to be.
fn program(request: &Request) -> Result<PathBuf> {
    // A toolkit that was built without its feature "fetch" has the others.
    let mut command = plumbing::program("sbox-fetch-mamba").map_err(|error| cannot(error.to_string()))?;
    command.arg("--json").args(request.offline.then_some("--offline"));
    if patience::is_short() {
        command.args(["--connect-timeout", "3", "--idle-timeout", "10", "--retries", "0"]);
    }
    plumbing::trace(&command);
    let output = plumbing::die_with_parent(&mut command).stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.context(|| "start 'sbox-fetch-mamba'".into())?;
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    match (answer["path"].as_str(), answer["refused"].as_str()) {
        (Some(path), _) => Ok(PathBuf::from(path)),
        (None, Some(why)) => Err(cannot(why)),
        (None, None) => Err(Error::reported(1)),
    }
}

/// What micromamba is asked for, in conda's words: with the package managers that belong to a runtime.
fn specs(request: &Request) -> Vec<String> {
    let of = |runtime: &Runtime| match runtime.language {
        Language::Python => [format!("python={}", runtime.version), "pip".into()],
        Language::Node => [format!("nodejs={}", runtime.version), "pnpm".into()],
    };
    request.runtimes.iter().flat_map(of).chain(request.packages.iter().cloned()).collect()
}

/// Makes the environment, and describes it.
fn made(request: &Request, program: &Path, prefix: &Path) -> Result<Value> {
    let pkgs = cache::root()?.join("pkgs");
    fs::make_dirs(&pkgs)?;
    let work = fs::beside(prefix, "conda");
    fs::remove_tree(&work)?;
    let made = Micromamba::new(program, &pkgs, &work, &request.channels).and_then(|mamba| {
        let made = make::make(&mamba, request, &specs(request))?;
        mamba.deliver(prefix)?;
        described(request, &made)
    });
    let _ = fs::remove_tree(&work);
    made.inspect_err(|_| drop(fs::remove_tree(prefix)))
}

fn described(request: &Request, made: &Made) -> Result<Value> {
    let versions =
        request.runtimes.iter().map(|runtime| version(runtime, &made.packages)).collect::<Result<Vec<_>>>()?;
    let sources = if request.channels.is_empty() { channel::DEFAULT.into() } else { request.channels.join(", ") };
    let asked = cache::request(&request.runtimes, &request.channels, &request.packages);
    Ok(json!({
        "version": versions.join("+"),
        "versions": versions,
        "source": channel::shown(&sources),
        "fingerprint": cache::fingerprint(&asked, &made.packages),
        "prefix": made.prefix,
        "packages": made.packages,
    }))
}

/// The version of the package that is the runtime.
fn version(runtime: &Runtime, packages: &[Package]) -> Result<String> {
    let name = if runtime.language == Language::Python { "python" } else { "nodejs" };
    let found = packages.iter().find(|package| package.name == name).map(|package| package.version.clone());
    found.ok_or_else(|| Error::new(format!("there is no '{name}' among the packages")))
}
