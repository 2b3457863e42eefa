//! sbox-stage: put copy and mount entries into the root of a sandbox, incrementally.
//!
//! The record says what was put there from what. What did not change at its source is left alone, whatever the agent
//! made of it; what is gone from the sources is removed; what nobody recorded was made inside and stays.
//!
//! The record is a journal, too: before anything is changed it says what will be. Whatever happens then, the next staging
//! knows of every file that this one has put there.
#![forbid(unsafe_code)]

mod place;
mod record;
mod sources;
mod stager;

use lexopt::prelude::*;
use libsbox::cli::{self, Tool};
use libsbox::error::{Context, Error, Result};
use libsbox::escape::visible_path;
use place::Place;
use record::Record;
use serde::Deserialize;
use serde_json::json;
use std::io::BufRead;
use std::path::PathBuf;
use std::process::ExitCode;

const TOOL: Tool = Tool { name: "sbox-stage", usage: USAGE, runs_a_command: false };
const USAGE: &str = "\
usage: sbox-stage [-n] [-f] [-j] [--keep-missing] [--record FILE] --into DIR
                  <ENTRIES
       sbox-stage --list --record FILE
Put ENTRIES, read from stdin, into DIR: one JSON object {\"kind\", \"src\", \"dst\"} a
line. The kinds are copy, mount (a place to mount on) and dir. Print what
changed: put PATH, remove PATH.

  -n, --dry-run       print what would change
  -f, --force         put everything again, changed or not
      --into DIR      root of the sandbox
      --record FILE   what was put there before; without it nothing is removed
      --keep-missing  leave in place what was copied from a source that is gone
      --list          print the record as a JSON object: fingerprint, and items
  -j, --json          print JSON Lines, and the fingerprint of all that is there
                      in the last one
  -h, --help          print this text
  -V, --version       print the version
";

fn main() -> ExitCode {
    TOOL.main(run)
}

/// One line of stdin.
#[derive(Debug, Deserialize)]
pub struct Entry {
    kind: EntryKind,
    #[serde(default)]
    src: PathBuf,
    dst: PathBuf,
    /// Of a mount: a sandbox can write what is at `src`.
    #[serde(default)]
    writable: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum EntryKind {
    Copy,
    Mount,
    Dir,
}

#[derive(Default)]
struct Options {
    into: PathBuf,
    record: Option<PathBuf>,
    dry_run: bool,
    force: bool,
    keep_missing: bool,
    json: bool,
}

fn run(args: &mut lexopt::Parser) -> Result<u8> {
    let (mut options, mut into, mut list) = (Options::default(), None, false);
    while let Some(arg) = args.next()? {
        match arg {
            Short('n') | Long("dry-run") => options.dry_run = true,
            Short('f') | Long("force") => options.force = true,
            Long("into") => into = Some(args.value()?.into()),
            Long("keep-missing") => options.keep_missing = true,
            Long("list") => list = true,
            Short('j') | Long("json") => options.json = true,
            Long("record") => options.record = Some(args.value()?.into()),
            other => return Err(cli::common(other)),
        }
    }
    if list {
        let path = options.record.ok_or_else(|| Error::usage("missing option '--record'"))?;
        let (fingerprint, items) = Record::read(&path)?.listed();
        return cli::out_line(json!({"fingerprint": fingerprint, "items": items})).map(|()| 0);
    }
    options.into = into.ok_or_else(|| Error::usage("missing option '--into'"))?;
    let old = options.record.as_deref().map(Record::read).transpose()?.unwrap_or_default();
    let mut entries = read_entries()?;
    let mut kept = Record::default();
    if options.keep_missing {
        // Without a record nothing was put there that could be kept: that is an error of the source's.
        entries.retain(|entry| !(is_gone(entry) && keep(entry, &old, &mut kept)));
    }
    stager::stage(&options, sources::collect(&entries)?, &old, kept)?;
    Ok(0)
}

/// Whether the source of a copy is not there.
fn is_gone(entry: &Entry) -> bool {
    let missing = |error: std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
    matches!(entry.kind, EntryKind::Copy) && std::fs::metadata(&entry.src).is_err_and(missing)
}

/// Adds what was put at an entry's place to `kept`; `false` if that is nothing.
fn keep(entry: &Entry, old: &Record, kept: &mut Record) -> bool {
    let place = Place::new(&entry.dst);
    let before = kept.items.len();
    let below = old.items.iter().filter(|(known, _)| known.starts_with(&*place));
    kept.items.extend(below.map(|(known, stamp)| (known.clone(), stamp.clone())));
    kept.seen.extend(old.seen.iter().map(|(known, seen)| (known.clone(), seen.clone())));
    kept.seen.retain(|known, _| kept.items.contains_key(known));
    kept.items.len() > before
}

fn read_entries() -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for line in std::io::stdin().lock().lines() {
        let line = line.context(|| "read the entries".into())?;
        if line.trim().is_empty() {
            continue;
        }
        let entry: Entry =
            serde_json::from_str(&line).map_err(|error| Error::usage(format!("not an entry: {error}")))?;
        if !entry.dst.is_absolute() || entry.dst.components().any(|part| part == std::path::Component::ParentDir) {
            return Err(Error::new(format!("'{}' is not a valid path inside the root", visible_path(&entry.dst))));
        }
        entries.push(entry);
    }
    Ok(entries)
}
