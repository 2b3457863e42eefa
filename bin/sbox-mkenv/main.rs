//! sbox-mkenv: make a runtime at a prefix, through a provider and the user's cache.
//!
//! A provider is a program `sbox-mkenv-NAME`. What it makes goes into the cache once; every prefix gets a private copy
//! of that, relocated.
#![forbid(unsafe_code)]

mod clone;
mod provider;

use lexopt::prelude::*;
use provider::Provider;
use sbox::cache::{self, Draft, Entry};
use sbox::cli::{self, Tool};
use sbox::config::{Language, Runtime};
use sbox::error::{Error, Kind, Result};
use sbox::words;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

const TOOL: Tool = Tool { name: "sbox-mkenv", usage: USAGE, runs_a_command: false };
const USAGE: &str = "\
usage: sbox-mkenv [--provider NAME] [--into DIR] SPEC... PREFIX
Make the runtimes SPEC (python:3.11, node:22) at PREFIX; print one JSON object on what was made.

      --provider NAME   who makes it: auto, or the NAME of a program sbox-mkenv-NAME [auto]
      --into DIR        put the files into DIR, though they are written to work at PREFIX
  -h, --help            print this text
  -V, --version         print the version

auto tries conda, npm (for Node.js) and host, in this order.
";

fn main() -> ExitCode {
    TOOL.main(run)
}

fn run(args: &mut lexopt::Parser) -> Result<u8> {
    let (mut provider, mut into, mut words) = (String::from("auto"), None, Vec::new());
    while let Some(arg) = args.next()? {
        match arg {
            Long("provider") => provider = args.value()?.string()?,
            Long("into") => into = Some(PathBuf::from(args.value()?)),
            Value(word) => words.push(word),
            other => return Err(cli::common(other)),
        }
    }
    let prefix = words.pop().map(PathBuf::from).filter(|_| !words.is_empty());
    let prefix = prefix.ok_or_else(|| Error::usage("missing SPEC and PREFIX"))?;
    if !prefix.is_absolute() {
        return Err(Error::usage(format!("'{}' is no absolute path", words::visible_path(&prefix))));
    }
    let runtimes = words
        .into_iter()
        .map(|word| Runtime::parse(&word.to_string_lossy()).map_err(|error| Error::usage(error.to_string())))
        .collect::<Result<Vec<_>>>()?;
    let into = into.unwrap_or_else(|| prefix.clone());
    let entries = runtimes.iter().map(|runtime| held(runtime, &provider)).collect::<Result<Vec<_>>>()?;
    clone::clone(&entries.iter().map(|(entry, ..)| entry).collect::<Vec<_>>(), &into, &prefix)?;
    let made = runtimes.iter().zip(&entries).map(|(runtime, (entry, cached, _))| {
        json!({
            "spec": runtime.to_string(), "provider": entry.provider, "version": entry.version,
            "source": entry.source, "cached": cached, "packages": entry.packages,
        })
    });
    cli::out_line(json!({"prefix": prefix, "runtimes": made.collect::<Vec<_>>()}))?;
    Ok(0)
}

/// The cache entry that serves a runtime, which nobody removes until it was copied.
fn held(runtime: &Runtime, wanted: &str) -> Result<(Entry, bool, Option<sbox::fsx::Lock>)> {
    for _ in 0..5 {
        let (entry, cached) = obtain(runtime, wanted)?;
        // A cache that cannot be written is one that nobody removes anything from.
        let lock = cache::hold(&entry).ok();
        if entry.path.join("env").is_dir() {
            return Ok((entry, cached, lock));
        }
    }
    Err(Error::new(format!("the cache entry for {runtime} is removed again and again")))
}

/// The cache entry that serves a runtime, made if there is none; and whether it was there already.
fn obtain(runtime: &Runtime, wanted: &str) -> Result<(Entry, bool)> {
    let names: Vec<&str> = match (wanted, runtime.language) {
        ("auto", Language::Python) => vec!["conda", "host"],
        ("auto", Language::Node) => vec!["conda", "npm", "host"],
        (name, _) => vec![name],
    };
    let mut refusals = Vec::new();
    for name in names {
        let Some(provider) = Provider::find(name)? else {
            if wanted != "auto" {
                return Err(Error::new(format!("there is no provider '{name}': no program sbox-mkenv-{name}"))
                    .hint("use auto, host or npm, or put such a program on PATH"));
            }
            continue;
        };
        match serve(&provider, runtime)? {
            Ok(served) => return Ok(served),
            Err(refusal) => refusals.push((name.to_owned(), refusal)),
        }
    }
    Err(nobody(runtime, &refusals))
}

/// The entry, or the provider's words on why it has none.
fn serve(provider: &Provider, runtime: &Runtime) -> Result<std::result::Result<(Entry, bool), String>> {
    let cached = |fingerprint: Option<&str>| -> Result<Option<Entry>> {
        let entries = cache::entries(runtime)?.into_iter().filter(|entry| entry.provider == provider.name);
        Ok(entries.into_iter().find(|entry| fingerprint.is_none_or(|wanted| entry.fingerprint == wanted)))
    };
    // A provider that can tell cheaply what it would make is asked, so that an upgraded interpreter is seen; for the
    // others, and for what has gone from the host since, the newest entry serves.
    let resolved = provider.resolve(runtime)?;
    let fingerprint = resolved.as_ref().ok().and_then(|made| made.fingerprint.as_deref());
    if let Some(entry) = cached(fingerprint)? {
        cache::touch(&entry);
        return Ok(Ok((entry, true)));
    }
    if let Err(refusal) = resolved {
        return Ok(Err(refusal));
    }
    let _lock = cache::lock(runtime)?;
    if let Some(entry) = cached(fingerprint)? {
        return Ok(Ok((entry, true)));
    }
    cache::sweep(runtime)?;
    let draft = Draft::new(runtime)?;
    let made = match provider.make(runtime, &draft.env())? {
        Ok(made) => made,
        Err(refusal) => return Ok(Err(refusal)),
    };
    if !runtime.accepts(&made.version) {
        return Err(Error::new(format!("provider '{}' made version {} for {runtime}", provider.name, made.version)));
    }
    let fingerprint = made.fingerprint.unwrap_or_else(|| sbox::fsx::sha256(made.version.as_bytes()));
    let entry = Entry {
        provider: provider.name.clone(),
        version: made.version,
        fingerprint,
        source: made.source,
        prefix: draft.env(),
        made_at: sbox::fsx::rfc3339(sbox::fsx::now()),
        packages: made.packages,
        sites: clone::sites(&draft.env())?,
        ..Entry::default()
    };
    let entry = draft.publish(entry)?;
    cache::touch(&entry);
    Ok(Ok((entry, false)))
}

fn nobody(runtime: &Runtime, refusals: &[(String, String)]) -> Error {
    for (name, refusal) in refusals {
        for line in refusal.lines() {
            words::line(format_args!("  {name}: {}", words::visible(line)));
        }
    }
    let hint = match runtime.language {
        Language::Python => format!(
            "install Python {} where it is looked for (for example: uv python install {0}, pyenv install {0}, or your system's package), or ask for a version from the list above",
            runtime.version
        ),
        Language::Node => "install npm so that Node.js can be fetched with it, or a Node.js of that version; if the registry cannot be reached, see npm's words above".into(),
    };
    Error::of(Kind::Failure, format!("nothing on this host can provide {runtime}")).hint(hint)
}
