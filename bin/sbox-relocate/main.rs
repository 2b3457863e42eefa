//! sbox-relocate: rewrite the prefix that the files of an environment have written in them.
//!
//! Runs no code and uses no network. The tree may be an agent's: nothing outside it is read or written.
#![forbid(unsafe_code)]

mod binary;
mod records;
mod rewrite;

use binary::{Room, Slots};
use lexopt::prelude::*;
use libsbox::cli::{self, Tool};
use libsbox::dir::{Dir, Entry};
use libsbox::error::{Context, Error, Result};
use libsbox::escape::visible_path;
use libsbox::fs;
use libsbox::output;
use rewrite::{Kind, Mapping};
use rustix::fs::FileType;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, Metadata};
use std::io::{Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const TOOL: Tool = Tool { name: "sbox-relocate", usage: USAGE, runs_a_command: false };
const USAGE: &str = "\
usage: sbox-relocate [-n] [-0] [--only FILE] [--slots FILE]
                     --from OLD --to NEW [--from OLD --to NEW]... DIR
Replace the path OLD by NEW in the files below DIR, and print each file that
changed.

  -n, --dry-run      print what would change
  -0, --null         print NUL after each path, not a newline
      --from OLD     a path that is written in the files
      --to NEW       the path to write in its place; follows its --from
      --only FILE    look only at these files: paths below DIR, each followed by
                     NUL
      --slots FILE   the room that earlier moves left in binary files: read, and
                     written for the next move
  -h, --help         print this text
  -V, --version      print the version

Text grows and shrinks. A string in a binary file keeps to its room. If one does
not fit, nothing is changed, and each such file is printed on stderr with the
bytes that are missing (exit code 1).
";

fn main() -> ExitCode {
    TOOL.main(run)
}

#[derive(Default)]
struct Options {
    dry_run: bool,
    null: bool,
    only: Option<PathBuf>,
    slots: Option<PathBuf>,
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
            Long("slots") => options.slots = Some(args.value()?.into()),
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

/// What is to be written in the place of a file or a link.
enum New {
    Content(Vec<u8>, Metadata),
    /// The file is large and is read once more when it is its turn.
    Later,
    Link(Vec<u8>),
}

/// How much new content is kept in memory between looking and writing.
const KEPT: usize = 64 << 20;

/// What moves in a tree.
struct Plan<'a> {
    options: &'a Options,
    /// By place: what room there is.
    slots: BTreeMap<String, Slots>,
    placeholders: BTreeMap<PathBuf, usize>,
    changes: Vec<(PathBuf, New)>,
    kept: usize,
    stuck: Vec<(PathBuf, usize)>,
}

fn relocate(options: &Options, root: &Dir) -> Result<u8> {
    let slots = options.slots.as_deref().and_then(fs::read_plain);
    let slots = slots.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
    let placeholders = records::placeholders(root);
    let mut plan = Plan { options, slots, placeholders, changes: Vec::new(), kept: 0, stuck: Vec::new() };
    look(&mut plan, root)?;
    if !plan.stuck.is_empty() {
        for (place, lacks) in &plan.stuck {
            let shown = visible_path(place);
            output::warn(format_args!("sbox-relocate: '{shown}' cannot be moved: it lacks {lacks} bytes"));
        }
        return Ok(1);
    }
    plan.write(root)?;
    Ok(0)
}

/// Looks at everything before anything is touched.
fn look(plan: &mut Plan<'_>, root: &Dir) -> Result<()> {
    let only = plan.options.only.clone();
    let mut visit = |dir: &Dir, entry: &Entry, place: &Path| plan.look_at(dir, entry, place);
    match only {
        None => root.walk(&mut visit),
        Some(list) => {
            let list = std::fs::read(&list).context(|| format!("read '{}'", visible_path(&list)))?;
            for place in list.split(|byte| *byte == 0).filter(|place| !place.is_empty()) {
                listed(root, Path::new(std::ffi::OsStr::from_bytes(place)), &mut visit)?;
            }
            Ok(())
        }
    }
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

impl Plan<'_> {
    fn look_at(&mut self, dir: &Dir, entry: &Entry, place: &Path) -> Result<()> {
        match entry.kind {
            FileType::RegularFile if !rewrite::is_exempt(Path::new(&entry.name)) => {
                let (content, metadata) = read(dir, entry)?;
                match self.rewritten(&content, place) {
                    Ok(None) => {}
                    Ok(Some(new)) => {
                        let fits = self.kept + new.len() <= KEPT;
                        self.kept += if fits { new.len() } else { 0 };
                        let new = if fits { New::Content(new, metadata) } else { New::Later };
                        self.changes.push((place.to_owned(), new));
                    }
                    Err(lacks) => self.stuck.push((place.to_owned(), lacks)),
                }
            }
            FileType::Symlink => {
                let target = dir.link(&entry.name)?;
                if let Some(new) = rewrite::replace_all(target.as_os_str().as_bytes(), &self.options.mappings) {
                    self.changes.push((place.to_owned(), New::Link(new)));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The new content of a file; the bytes it lacks if it cannot have one.
    fn rewritten(&mut self, content: &[u8], place: &Path) -> std::result::Result<Option<Vec<u8>>, usize> {
        let is_python = place.extension().is_some_and(|extension| extension == "py");
        let mappings = if is_python { &self.options.python } else { &self.options.mappings };
        match rewrite::kind(content) {
            Kind::Sealed => Ok(None),
            Kind::Text | Kind::Application => Ok(rewrite::text(content, mappings)),
            Kind::Binary => {
                let name = place.to_string_lossy();
                let placeholder = self.placeholders.get(place).copied();
                let room = Room { slots: self.slots.get(&*name), placeholder };
                let Some((new, slots)) = binary::rewrite(content, &self.options.mappings, &room)? else {
                    return Ok(None);
                };
                if !slots.is_empty() {
                    self.slots.insert(name.into_owned(), slots);
                }
                Ok(Some(new))
            }
        }
    }

    fn write(mut self, root: &Dir) -> Result<()> {
        let changes = std::mem::take(&mut self.changes);
        let mut changed = BTreeSet::new();
        if let (Some(slots), false) = (&self.options.slots, self.options.dry_run || self.slots.is_empty()) {
            // First: a slot that is larger than what stands in it harms nothing, one that was forgotten is lost.
            let text = serde_json::to_string(&self.slots).map_err(|error| Error::new(error.to_string()))?;
            fs::write_atomic(slots, text.as_bytes(), 0o600)?;
        }
        for (place, new) in changes {
            if !self.options.dry_run {
                self.put(root, &place, new)?;
            }
            print(self.options, &place)?;
            changed.insert(place);
        }
        if !self.options.dry_run {
            for place in records::update(root, &changed)?.iter().filter(|place| !changed.contains(*place)) {
                print(self.options, place)?;
            }
        }
        Ok(())
    }

    /// A new file in the place of the old one: a hard link elsewhere keeps its content, a running program its code, and a
    /// read-only file is no obstacle.
    fn put(&mut self, root: &Dir, place: &Path, new: New) -> Result<()> {
        let (Some(name), Some(parent)) = (place.file_name(), place.parent()) else { return Ok(()) };
        let dir = root.sub(if parent.as_os_str().is_empty() { Path::new(".") } else { parent })?;
        let (content, metadata) = match new {
            New::Link(target) => return dir.put_link(name, Path::new(std::ffi::OsStr::from_bytes(&target))),
            New::Content(content, metadata) => (content, metadata),
            New::Later => {
                let (content, metadata) = read(&dir, &Entry { name: name.into(), kind: FileType::RegularFile })?;
                match self.rewritten(&content, place) {
                    Ok(Some(new)) => (new, metadata),
                    _ => return Ok(()),
                }
            }
        };
        let old = dir.file(name)?;
        dir.put_file(name, metadata.permissions().mode(), |file| {
            file.write_all(&content)?;
            keep_owner(file, &metadata);
            keep_attributes(&old, file);
            fs::keep_times(file, &metadata)
        })
    }
}

fn read(dir: &Dir, entry: &Entry) -> Result<(Vec<u8>, Metadata)> {
    let shown = || format!("read '{}'", visible_path(dir.path().join(&entry.name)));
    let mut file = dir.file(&entry.name)?;
    let metadata = file.metadata().context(shown)?;
    let mut content = Vec::with_capacity(metadata.len() as usize);
    file.read_to_end(&mut content).context(shown)?;
    Ok((content, metadata))
}

/// Root moves the files of others, and they stay theirs.
fn keep_owner(file: &File, old: &Metadata) {
    if rustix::process::geteuid().is_root() && old.uid() != 0 {
        let (user, group) = (rustix::fs::Uid::from_raw(old.uid()), rustix::fs::Gid::from_raw(old.gid()));
        let _ = rustix::fs::fchown(file, Some(user), Some(group));
    }
}

/// Extended attributes that users set; those of the system are made anew by it.
fn keep_attributes(old: &File, new: &File) {
    let mut names = [0u8; 4096];
    let length = rustix::fs::flistxattr(old, &mut names[..]).unwrap_or(0);
    for name in names[..length].split(|byte| *byte == 0).filter(|name| name.starts_with(b"user.")) {
        let mut value = [0u8; 4096];
        if let Ok(length) = rustix::fs::fgetxattr(old, name, &mut value[..]) {
            let _ = rustix::fs::fsetxattr(new, name, &value[..length], rustix::fs::XattrFlags::empty());
        }
    }
}

fn print(options: &Options, place: &Path) -> Result<()> {
    match options.null {
        true => cli::out(&[place.as_os_str().as_bytes(), b"\0"].concat()),
        false => cli::out_line(visible_path(place)),
    }
}
