//! sbox-mkenv: make a runtime at a prefix, through a provider and the user's cache.
//!
//! A provider is a program `sbox-mkenv-NAME`. What it makes goes into the cache once; every prefix gets a private copy
//! of that, relocated.
#![forbid(unsafe_code)]

mod clone;
mod provider;
mod provision;
mod registries;

use lexopt::prelude::*;
use libsbox::cache;
use libsbox::cli::{self, Tool};
use libsbox::error::{Error, Result};
use libsbox::escape;
use libsbox::fs;
use libsbox::lockfile::{Lockfile, RuntimeRecord};
use libsbox::model::Runtime;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

const TOOL: Tool = Tool { name: "sbox-mkenv", usage: USAGE, runs_a_command: false };
const USAGE: &str = "\
usage: sbox-mkenv [options] SPEC... PREFIX
       sbox-mkenv [options] --cache-only SPEC...
Make the runtimes SPEC (python:3.11, node:22) at PREFIX, and print one JSON
object that describes them.

      --provider NAME   auto, or NAME of a program sbox-mkenv-NAME [auto]
      --channel C       use conda packages from C, a name or an address; can be
                        repeated, the first has priority
      --package P       install the conda package P too; can be repeated
      --lock FILE       make what FILE, an earlier sbox.lock, says, if it was
                        made for the same request
      --locked          fail unless it was, and can be made again
      --update          look for newer versions than the cache has, and choose
                        the provider again
      --offline         use caches only
      --into DIR        put the files into DIR; they will work at PREFIX
      --cache-only      make no copy: only see to it that the cache has them
  -h, --help            print this text
  -V, --version         print the version

auto tries conda, npm (for Node.js) and host, in this order.
";

fn main() -> ExitCode {
    TOOL.main(run)
}

/// What is asked for.
#[derive(Debug, Default)]
pub struct Wanted {
    runtimes: Vec<Runtime>,
    provider: String,
    channels: Vec<String>,
    packages: Vec<String>,
    /// The hash of all but the provider, [`cache::request`].
    request: String,
    /// What an earlier lock says, if it is of the same request; one record for each runtime, or none.
    lock: Vec<RuntimeRecord>,
    locked: bool,
    update: bool,
    offline: bool,
}

fn run(args: &mut lexopt::Parser) -> Result<u8> {
    let mut wanted = Wanted { provider: "auto".into(), ..Wanted::default() };
    let (mut into, mut lock, mut words, mut cache_only) = (None, None, Vec::new(), false);
    while let Some(arg) = args.next()? {
        match arg {
            Long("provider") => wanted.provider = args.value()?.string()?,
            Long("channel") => wanted.channels.push(args.value()?.string()?),
            Long("package") => wanted.packages.push(args.value()?.string()?),
            Long("lock") => lock = Some(PathBuf::from(args.value()?)),
            Long("locked") => wanted.locked = true,
            Long("update") => wanted.update = true,
            Long("offline") => wanted.offline = true,
            Long("into") => into = Some(PathBuf::from(args.value()?)),
            Long("cache-only") => cache_only = true,
            Value(word) => words.push(word),
            other => return Err(cli::common(other)),
        }
    }
    let prefix = if cache_only { None } else { Some(prefix(&mut words)?) };
    if cache_only && (into.is_some() || words.is_empty()) {
        return Err(Error::usage("'--cache-only' takes one SPEC or more, and makes nothing at a PREFIX"));
    }
    wanted.runtimes = words
        .into_iter()
        .map(|word| Runtime::parse(&word.to_string_lossy()).map_err(|error| Error::usage(error.to_string())))
        .collect::<Result<Vec<_>>>()?;
    if wanted.locked && (wanted.update || lock.is_none()) {
        return Err(Error::usage("'--locked' needs '--lock', and cannot be used together with '--update'"));
    }
    wanted.request = cache::request(&wanted.runtimes, &wanted.channels, &wanted.packages);
    if let Some(lock) = lock.filter(|_| !wanted.update) {
        wanted.lock = records(&lock, &wanted)?;
    }
    let provisioned = provision::provision(&wanted)?;
    let entries: Vec<_> = provisioned.iter().map(|one| &one.entry).collect();
    let made: Vec<_> = provisioned.iter().flat_map(provision::Provisioned::records).collect();
    let Some(prefix) = prefix else {
        // Asked one by one: each sees itself at a place of its own.
        entries.iter().for_each(|entry| drop(registries::of(&[entry], &entry.path.join("env"), &entry.prefix)));
        let paths: Vec<_> = entries.iter().map(|entry| &entry.path).collect();
        return cli::out_line(json!({"entries": paths, "runtimes": made})).map(|()| 0);
    };
    let into = into.unwrap_or_else(|| prefix.clone());
    clone::clone(&entries, &into, &prefix)?;
    let registries = registries::of(&entries, &into, &prefix);
    cli::out_line(json!({"prefix": prefix, "runtimes": made, "registries": registries}))?;
    Ok(0)
}

/// The last word says where.
fn prefix(words: &mut Vec<std::ffi::OsString>) -> Result<PathBuf> {
    let prefix = words.pop().map(PathBuf::from).filter(|_| !words.is_empty());
    let prefix = prefix.ok_or_else(|| Error::usage("missing SPEC and PREFIX"))?;
    match prefix.is_absolute() {
        true => Ok(prefix),
        false => Err(Error::usage(format!("'{}' is not an absolute path", escape::visible_path(&prefix)))),
    }
}

/// What the lock says of this very request; nothing if it is of another.
fn records(path: &std::path::Path, wanted: &Wanted) -> Result<Vec<RuntimeRecord>> {
    let shown = escape::visible_path(path);
    // It may have come with an archive: a link would lead anywhere.
    let text = fs::read_plain(path).ok_or_else(|| Error::new(format!("there is no '{shown}'")));
    let parsed = text.and_then(|text| {
        serde_json::from_slice::<Lockfile>(&text).map_err(|_| Error::new(format!("'{shown}' is not a valid lock file")))
    });
    let lock = match parsed {
        Ok(lock) => lock,
        Err(error) if wanted.locked => return Err(error.hint("sbox build makes one")),
        Err(_) => Lockfile::default(),
    };
    match lock.serves(&wanted.runtimes, &wanted.request, &wanted.provider) {
        true => Ok(lock.runtimes),
        false if wanted.locked => {
            Err(Error::new(format!("'{shown}' was made for different runtimes, packages or channels"))
                .hint("sbox build brings it up to date"))
        }
        false => Ok(Vec::new()),
    }
}
