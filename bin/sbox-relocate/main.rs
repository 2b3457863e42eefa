//! sbox-relocate: rewrite the prefix that the files of an environment have written in them.
//!
//! Runs no code and uses no network. The tree may be an agent's: nothing outside it is read or written.
#![forbid(unsafe_code)]

mod rewrite;

use lexopt::prelude::*;
use rewrite::{Change, Mapping};
use rustix::fs::FileType;
use sbox::beneath::{Dir, Entry};
use sbox::cli::{self, Tool};
use sbox::error::{Context, Error, Result};
use sbox::fsx;
use sbox::words::{self, visible_path};
use std::io::{Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const TOOL: Tool = Tool { name: "sbox-relocate", usage: USAGE, runs_a_command: false };
const USAGE: &str = "\
usage: sbox-relocate [-n] [-0] [--only FILE] --from OLD --to NEW [--from OLD --to NEW]... DIR
Replace the path OLD by NEW in the files below DIR. Prints each file that it changed.

  -n, --dry-run      print what would change
  -0, --null         end each printed path by NUL
      --from OLD     a path that is written in the files
      --to NEW       the path to write in its place; belongs to the --from before it
      --only FILE    look only at these files: paths below DIR, each ended by NUL
  -h, --help         print this text
  -V, --version      print the version

Text grows and shrinks. A string in a binary file keeps its room, so that it can only shrink; a file whose
string would have to grow is left as it is and named on stderr (exit code 1).
";

fn main() -> ExitCode {
    TOOL.main(run)
}

#[derive(Default)]
struct Options {
    dry_run: bool,
    null: bool,
    only: Option<PathBuf>,
    mappings: Vec<Mapping>,
    /// The same, for Python sources.
    python: Vec<Mapping>,
}

fn run(args: &mut lexopt::Parser) -> Result<u8> {
    let (mut options, mut from, mut dir) = (Options::default(), None::<Vec<u8>>, None);
    while let Some(arg) = args.next()? {
        match arg {
            Short('n') | Long("dry-run") => options.dry_run = true,
            Short('0') | Long("null") => options.null = true,
            Long("only") => options.only = Some(args.value()?.into()),
            Long("from") => from = Some(args.value()?.into_vec()),
            Long("to") => {
                let from = from.take().ok_or_else(|| Error::usage("'--to' without a '--from' before it"))?;
                options.mappings.push(Mapping::new(from, args.value()?.into_vec())?);
            }
            Value(value) if dir.is_none() => dir = Some(PathBuf::from(value)),
            other => return Err(cli::common(other)),
        }
    }
    let dir = dir.ok_or_else(|| Error::usage("missing directory"))?;
    if options.mappings.is_empty() || from.is_some() {
        return Err(Error::usage("missing '--from OLD --to NEW'"));
    }
    options.python = rewrite::in_python(&options.mappings);
    relocate(&options, &Dir::open(&dir)?)
}

fn relocate(options: &Options, root: &Dir) -> Result<u8> {
    let mut stuck = 0;
    let mut visit = |dir: &Dir, entry: &Entry, place: &Path| -> Result<()> {
        match one(options, dir, entry)? {
            Change::None => {}
            Change::Done => print(options, place)?,
            Change::Stuck { lacks } => {
                stuck += 1;
                let shown = visible_path(place);
                words::warn(format_args!("sbox-relocate: '{shown}' cannot be moved: it lacks {lacks} bytes"));
            }
        }
        Ok(())
    };
    match &options.only {
        None => root.walk(&mut visit)?,
        Some(list) => {
            let list = std::fs::read(list).context(|| format!("read '{}'", visible_path(list)))?;
            for place in list.split(|byte| *byte == 0).filter(|place| !place.is_empty()) {
                let place = Path::new(std::ffi::OsStr::from_bytes(place));
                listed(root, place, &mut visit)?;
            }
        }
    }
    Ok(u8::from(stuck > 0))
}

/// Visits one listed path. One that is no longer there has nothing to move.
fn listed(root: &Dir, place: &Path, visit: &mut dyn FnMut(&Dir, &Entry, &Path) -> Result<()>) -> Result<()> {
    let (Some(name), Some(parent)) = (place.file_name(), place.parent()) else { return Ok(()) };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let Ok(dir) = root.sub(parent) else { return Ok(()) };
    match dir.stat(name)? {
        Some(stat) => visit(&dir, &Entry { name: name.into(), kind: FileType::from_raw_mode(stat.st_mode) }, place),
        None => Ok(()),
    }
}

fn one(options: &Options, dir: &Dir, entry: &Entry) -> Result<Change> {
    match entry.kind {
        FileType::RegularFile => file(options, dir, entry),
        FileType::Symlink => link(options, dir, entry),
        _ => Ok(Change::None),
    }
}

fn file(options: &Options, dir: &Dir, entry: &Entry) -> Result<Change> {
    if rewrite::is_exempt(Path::new(&entry.name)) {
        return Ok(Change::None);
    }
    let shown = || format!("read '{}'", visible_path(dir.path().join(&entry.name)));
    let mut file = dir.file(&entry.name)?;
    let metadata = file.metadata().context(shown)?;
    let mut old = Vec::with_capacity(metadata.len() as usize);
    file.read_to_end(&mut old).context(shown)?;
    let is_python = Path::new(&entry.name).extension().is_some_and(|extension| extension == "py");
    let mappings = if is_python { &options.python } else { &options.mappings };
    let new = match rewrite::rewrite(&old, mappings) {
        Ok(Some(new)) => new,
        Ok(None) => return Ok(Change::None),
        Err(lacks) => return Ok(Change::Stuck { lacks }),
    };
    if !options.dry_run {
        // A new file in the place of the old one: a hard link elsewhere keeps its content, a running program its code,
        // and a read-only file is no obstacle.
        let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions());
        dir.put_file(&entry.name, mode, |file| {
            file.write_all(&new)?;
            fsx::keep_times(file, &metadata)
        })?;
    }
    Ok(Change::Done)
}

fn link(options: &Options, dir: &Dir, entry: &Entry) -> Result<Change> {
    let target = dir.link(&entry.name)?;
    let Some(new) = rewrite::replace_all(target.as_os_str().as_bytes(), &options.mappings) else {
        return Ok(Change::None);
    };
    if !options.dry_run {
        dir.put_link(&entry.name, Path::new(std::ffi::OsStr::from_bytes(&new)))?;
    }
    Ok(Change::Done)
}

fn print(options: &Options, place: &Path) -> Result<()> {
    match options.null {
        true => cli::out(&[place.as_os_str().as_bytes(), b"\0"].concat()),
        false => cli::out_line(visible_path(place)),
    }
}
