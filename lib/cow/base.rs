//! The private copy of a tree, for hosts and levels without overlays, and the record of what was copied.
//!
//! An entry whose copy still has the inode and the change time that it had when it was made was not touched by the agent:
//! nobody can set a change time. In the same way the host's entry says whether the user changed it.

use super::node::{Node, What};
use super::{DEPTH, Layer};
use crate::dir::Dir;
use crate::error::{Context, Error, Result};
use crate::fs;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// What is known of an entry that was copied: inode and change time on the host and of the copy, and the mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Base {
    pub host: (u64, i64),
    pub copy: (u64, i64),
    pub mode: u32,
    pub directory: bool,
}

/// By the path below the root.
pub(super) type Bases = BTreeMap<PathBuf, Base>;

impl Base {
    fn new(host: &Node, copy: &Node) -> Base {
        let directory = copy.is_directory();
        Base { host: (host.id.1, host.ctime), copy: (copy.id.1, copy.ctime), mode: copy.mode, directory }
    }

    /// Whether the copy is as it was made. The change time of a directory says nothing: entries come and go.
    pub fn is_untouched(&self, copy: &Node) -> bool {
        match (self.directory, copy.is_directory()) {
            (true, true) => self.mode == copy.mode,
            (false, false) => self.copy == (copy.id.1, copy.ctime),
            _ => false,
        }
    }

    /// Whether the host's entry is the one that was copied.
    pub fn is_of(&self, host: &Node) -> bool {
        match (self.directory, host.is_directory()) {
            (true, true) => true,
            (false, false) => self.host == (host.id.1, host.ctime),
            _ => false,
        }
    }
}

fn file(layer: &Layer) -> PathBuf {
    layer.path().join("base")
}

/// Reads the record.
pub(super) fn read(layer: &Layer) -> Result<Bases> {
    let bytes = std::fs::read(file(layer))
        .map_err(|error| Error::new(format!("cannot read the record of a copy: {}", crate::error::reason(&error))))?;
    let base = |line: &[u8]| {
        let mut parts = line.splitn(7, |byte| *byte == b' ');
        let mut number = || std::str::from_utf8(parts.next()?).ok()?.parse::<i64>().ok();
        let host = (number()? as u64, number()?);
        let copy = (number()? as u64, number()?);
        let (mode, directory) = (number()? as u32, number()? == 1);
        Some((OsString::from_vec(parts.next()?.to_vec()).into(), Base { host, copy, mode, directory }))
    };
    Ok(bytes.split(|byte| *byte == 0).filter_map(base).collect())
}

fn write(layer: &Layer, bases: &Bases) -> Result<()> {
    let mut text = Vec::new();
    for (path, base) in bases {
        let ((inode, ctime), (copied, changed), directory) = (base.host, base.copy, i32::from(base.directory));
        text.extend(format!("{inode} {ctime} {copied} {changed} {} {directory} ", base.mode).into_bytes());
        text.extend(path.as_os_str().as_bytes());
        text.push(0);
    }
    fs::write_locked(&file(layer), &text, 0o600)
}

/// Makes the copy.
pub(super) fn copy(layer: &Layer) -> Result<()> {
    let host = layer.host()?;
    let place = Dir::open(layer.path())?.sub_or_make(Path::new("copy"))?;
    let mut sync = Sync { layer, bases: Bases::new(), seen: BTreeSet::new() };
    sync.directory(Some(&host), &place, Path::new(""))?;
    write(layer, &sync.bases)
}

/// Brings the copy up to date with the host where the agent changed nothing.
pub(super) fn refresh(layer: &Layer) -> Result<()> {
    let (host, place) = (layer.host()?, Dir::open(&layer.changes())?);
    let mut sync = Sync { layer, bases: read(layer)?, seen: BTreeSet::new() };
    sync.directory(Some(&host), &place, Path::new(""))?;
    let Sync { mut bases, seen, .. } = sync;
    bases.retain(|path, _| seen.contains(path));
    write(layer, &bases)
}

/// Forgets the records at and below `paths`: the copy has nothing there any more.
pub(super) fn forget(layer: &Layer, paths: &[PathBuf]) -> Result<()> {
    let mut bases = read(layer)?;
    bases.retain(|path, _| !paths.iter().any(|gone| path.starts_with(gone)));
    write(layer, &bases)
}

/// Takes down that these entries are the same on both sides now.
pub(super) fn accept(layer: &Layer, paths: &[PathBuf]) -> Result<()> {
    let (host, place) = (layer.host()?, Dir::open(&layer.changes())?);
    let mut bases = read(layer)?;
    let look = |root: &Dir, path: &Path| {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Node::look(&root.sub(parent).ok()?, path.file_name()?).ok()?
    };
    for path in paths {
        match (look(&host, path), look(&place, path)) {
            (Some(old), Some(new)) => drop(bases.insert(path.clone(), Base::new(&old, &new))),
            (None, None) => drop(bases.remove(path)),
            _ => {}
        }
    }
    write(layer, &bases)
}

/// Gives a directory of a copy its mode; the agent can always write it.
fn set_mode(dir: &Dir, mode: u32) -> Result<()> {
    rustix::fs::fchmod(dir, rustix::fs::Mode::from_raw_mode(mode & 0o777 | 0o700))
        .context(|| format!("set the mode of '{}'", crate::escape::visible_path(dir.path())))
}

struct Sync<'a> {
    layer: &'a Layer,
    bases: Bases,
    /// Records that are kept: the others are of entries that neither side has.
    seen: BTreeSet<PathBuf>,
}

impl Sync<'_> {
    fn directory(&mut self, host: Option<&Dir>, place: &Dir, path: &Path) -> Result<()> {
        // What lies deeper is not copied, and what the agent has there is its own.
        if path.components().count() > DEPTH {
            return Ok(());
        }
        let mut names: BTreeSet<OsString> = BTreeSet::new();
        names.extend(host.map(Dir::entries).transpose()?.unwrap_or_default().into_iter().map(|entry| entry.name));
        names.extend(place.entries()?.into_iter().map(|entry| entry.name));
        for name in names {
            self.entry(host, place, &path.join(&name), &name)?;
        }
        Ok(())
    }

    fn entry(&mut self, host: Option<&Dir>, place: &Dir, path: &Path, name: &OsStr) -> Result<()> {
        // Of sbox's own directory the agent sees the configuration, as git would miss it otherwise, and nothing else.
        if path.parent() == self.layer.own() && name != "config.yaml" {
            return Ok(());
        }
        let old = host.map(|host| Node::look(host, name)).transpose()?.flatten();
        let new = Node::look(place, name)?;
        let base = self.bases.get(path).copied();
        let untouched = match (&base, &new) {
            (None, None) => true,
            (Some(base), Some(new)) => base.is_untouched(new),
            _ => false,
        };
        if base.is_some() {
            self.seen.insert(path.to_owned());
        }
        match (old, new) {
            (Some(old), Some(new)) if old.is_directory() && new.is_directory() => {
                let (host, copy) = (host.map(|host| host.sub(name)).transpose()?, place.sub_lent(name)?);
                if untouched {
                    set_mode(&copy, old.mode)?;
                }
                if let (true, Some(new)) = (untouched || base.is_none(), Node::look(place, name)?) {
                    self.record(path, &old, &new);
                }
                self.directory(host.as_ref(), &copy, path)
            }
            (None, Some(new)) if new.is_directory() => {
                self.directory(None, &place.sub_lent(name)?, path)?;
                if untouched && place.remove_empty(name) {
                    self.seen.remove(path);
                }
                Ok(())
            }
            (None, Some(_)) if untouched => {
                self.seen.remove(path);
                place.remove_tree(name)
            }
            (Some(old), new) if untouched => {
                let current = base.is_some_and(|base| base.is_of(&old)) && new.is_some();
                match (current, host) {
                    (false, Some(host)) => self.take(host, place, path, name, &old),
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    /// Copies an entry of the host.
    fn take(&mut self, host: &Dir, place: &Dir, path: &Path, name: &OsStr, old: &Node) -> Result<()> {
        match old.what {
            What::Directory => {
                place.remove_tree(name)?;
                let copy = place.sub_or_make(Path::new(name))?;
                set_mode(&copy, old.mode)?;
                let source = host.sub(name)?;
                self.directory(Some(&source), &copy, path)?;
            }
            What::Link => place.put_link(name, &host.link(name)?)?,
            What::File => {
                // What the user cannot read is not there.
                let Ok(source) = host.file(name) else { return Ok(()) };
                let times = source.metadata().map_err(|error| Error::new(crate::error::reason(&error)))?;
                place.put_file(name, old.mode & 0o777, |target| {
                    fs::fill(&source, target)?;
                    fs::keep_times(target, &times)
                })?;
            }
            What::Special => return Ok(()),
        }
        if let Some(new) = Node::look(place, name)? {
            self.record(path, old, &new);
        }
        Ok(())
    }

    fn record(&mut self, path: &Path, old: &Node, new: &Node) {
        self.seen.insert(path.to_owned());
        self.bases.insert(path.to_owned(), Base::new(old, new));
    }
}
