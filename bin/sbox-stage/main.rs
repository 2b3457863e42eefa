//! sbox-stage: put copy and mount entries into the root of a sandbox, incrementally.
//!
//! The record says what was put there from what. What did not change at its source is left alone, whatever the agent
//! made of it; what is gone from the sources is removed; what nobody recorded was made inside and stays.
#![forbid(unsafe_code)]

mod record;
mod sources;

use lexopt::prelude::*;
use libsbox::cli::{self, Tool};
use libsbox::dir::Dir;
use libsbox::error::{Context, Error, Result};
use libsbox::escape::visible_path;
use libsbox::fs;
use record::{Record, Stamp};
use rustix::fs::FileType;
use serde::Deserialize;
use sources::{Item, Kind, Wanted};
use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const TOOL: Tool = Tool { name: "sbox-stage", usage: USAGE, runs_a_command: false };
const USAGE: &str = "\
usage: sbox-stage [-n] [-f] [--keep-missing] [--record FILE] --into DIR <ENTRIES
Put ENTRIES, read from stdin, into DIR: one JSON object {\"kind\", \"src\", \"dst\"} a
line. The kinds are copy, mount (a place to mount on) and dir. Print what
changed: put PATH, remove PATH.

  -n, --dry-run       print what would change
  -f, --force         put everything again, changed or not
      --into DIR      root of the sandbox
      --record FILE   what was put there before; without it nothing is removed
      --keep-missing  leave in place what was copied from a source that is gone
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
}

fn run(args: &mut lexopt::Parser) -> Result<u8> {
    let (mut options, mut into) = (Options::default(), None);
    while let Some(arg) = args.next()? {
        match arg {
            Short('n') | Long("dry-run") => options.dry_run = true,
            Short('f') | Long("force") => options.force = true,
            Long("into") => into = Some(args.value()?.into()),
            Long("keep-missing") => options.keep_missing = true,
            Long("record") => options.record = Some(args.value()?.into()),
            other => return Err(cli::common(other)),
        }
    }
    options.into = into.ok_or_else(|| Error::usage("missing option '--into'"))?;
    let old = options.record.as_deref().map(Record::read).unwrap_or_default();
    let mut entries = read_entries()?;
    let mut kept = BTreeMap::new();
    if options.keep_missing {
        // Without a record nothing was put there that could be kept: that is an error of the source's.
        entries.retain(|entry| !(is_gone(entry) && keep(entry, &old, &mut kept)));
    }
    stage(&options, &sources::collect(&entries)?, &old, kept)?;
    Ok(0)
}

/// Whether the source of a copy is not there.
fn is_gone(entry: &Entry) -> bool {
    let missing = |error: std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
    matches!(entry.kind, EntryKind::Copy) && std::fs::metadata(&entry.src).is_err_and(missing)
}

/// Adds what was put at an entry's place to `kept`; `false` if that is nothing.
fn keep(entry: &Entry, old: &Record, kept: &mut BTreeMap<PathBuf, Stamp>) -> bool {
    let place = entry.dst.strip_prefix("/").unwrap_or(&entry.dst);
    let before = kept.len();
    let below = old.items.iter().filter(|(known, _)| known.starts_with(place));
    kept.extend(below.map(|(known, stamp)| (known.clone(), stamp.clone())));
    kept.len() > before
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

fn stage(options: &Options, wanted: &Wanted, old: &Record, kept: BTreeMap<PathBuf, Stamp>) -> Result<()> {
    if !options.dry_run {
        fs::make_dirs(&options.into)?;
    }
    let root = match Dir::open(&options.into) {
        Err(_) if options.dry_run && !options.into.exists() => None,
        root => Some(root?),
    };
    let mut stager = Stager { options, root, old, here: None };
    // What is gone goes first: a directory may take the place of a file.
    let is_gone = |place: &PathBuf| !wanted.contains_key(place) && !kept.contains_key(place);
    for (place, _) in old.items.iter().rev().filter(|(place, _)| is_gone(place)) {
        stager.remove(place)?;
    }
    for (place, item) in wanted {
        stager.put(place, item)?;
    }
    match (&options.record, options.dry_run) {
        (Some(path), false) => Record::of(wanted, kept).write(path),
        _ => Ok(()),
    }
}

struct Stager<'a> {
    options: &'a Options,
    /// `None` in a dry run before there is any.
    root: Option<Dir>,
    old: &'a Record,
    /// The directory worked in last: entries come sorted, so that the next is mostly in it too.
    here: Option<(PathBuf, Dir)>,
}

impl Stager<'_> {
    fn put(&mut self, place: &Path, item: &Item) -> Result<()> {
        if !self.is_due(place, item)? {
            return Ok(());
        }
        if item.kind != Kind::Directory {
            cli::out_line(format_args!("put {}", shown(place)))?;
        }
        if self.options.dry_run {
            return Ok(());
        }
        let Some(root) = &self.root else { return Ok(()) };
        if matches!(item.kind, Kind::Directory | Kind::MountDirectory) {
            self.here = None;
            return root.sub_or_make(place).map(drop);
        }
        let parent = place.parent().unwrap_or(Path::new(""));
        if self.here.as_ref().is_none_or(|(path, _)| path != parent) {
            self.here = Some((parent.to_owned(), root.sub_or_make(parent)?));
        }
        let (Some((_, dir)), Some(name)) = (&self.here, place.file_name()) else { return Ok(()) };
        match &item.kind {
            Kind::Link(target) => dir.put_link(name, target),
            Kind::MountFile => dir.put_file(name, 0o644, |_| Ok(())),
            _ => dir.put_file(name, item.mode, |file| copy(item, file)),
        }
    }

    /// Whether the item has to be put: it changed at its source, or it is not there.
    fn is_due(&mut self, place: &Path, item: &Item) -> Result<bool> {
        let Some(root) = &self.root else { return Ok(true) };
        let parent = place.parent().unwrap_or(Path::new(""));
        if self.here.as_ref().is_none_or(|(path, _)| path != parent) {
            let below = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            self.here = root.sub(below).ok().map(|dir| (parent.to_owned(), dir));
        }
        let there = match &self.here {
            Some((_, dir)) => dir.stat(place.file_name().unwrap_or_default())?,
            None => None,
        };
        let kind = there.map(|stat| FileType::from_raw_mode(stat.st_mode));
        let fits = match (&item.kind, kind) {
            (_, None) => false,
            (Kind::Directory | Kind::MountDirectory, Some(kind)) => return Ok(kind != FileType::Directory),
            (Kind::Link(_), Some(kind)) => kind == FileType::Symlink,
            // A place to mount on is made once, and what is in it is left alone.
            (Kind::MountFile, Some(kind)) => return Ok(kind != FileType::RegularFile),
            (Kind::File, Some(kind)) => kind == FileType::RegularFile,
        };
        Ok(self.options.force || !fits || self.old.items.get(place) != Some(&item.stamp()))
    }

    /// Removes what was put at `place` and is not wanted any more.
    fn remove(&mut self, place: &Path) -> Result<()> {
        let (Some(root), Some(name), Some(stamp)) = (&self.root, place.file_name(), self.old.items.get(place)) else {
            return Ok(());
        };
        let Ok(dir) = root.sub(place.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new(".")))
        else {
            return Ok(());
        };
        let Some(stat) = dir.stat(name)? else { return Ok(()) };
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            // Others' files in it keep it.
            if !self.options.dry_run {
                dir.remove_empty(name);
            }
            return Ok(());
        }
        if stamp.is_mount() && stat.st_size > 0 {
            return Ok(());
        }
        cli::out_line(format_args!("remove {}", shown(place)))?;
        if self.options.dry_run { Ok(()) } else { dir.remove_tree(name) }
    }
}

fn copy(item: &Item, file: &mut std::fs::File) -> std::io::Result<()> {
    let source = match &item.beneath {
        Some((directory, name)) => directory.file(name).map_err(|error| std::io::Error::other(error.to_string()))?,
        None => std::fs::File::open(&item.src)?,
    };
    fs::fill(&source, file)?;
    file.flush()?;
    fs::keep_times(file, &source.metadata()?)
}

/// A place as the agent sees it.
fn shown(place: &Path) -> String {
    visible_path(Path::new("/").join(place))
}
