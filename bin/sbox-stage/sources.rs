//! What should be in the root: every entry walked, every file with what tells a change.

use crate::place::Place;
use crate::{Entry, EntryKind};
use libsbox::dir::Dir;
use libsbox::error::{Context, Error, Result, reason};
use libsbox::escape::visible_path;
use libsbox::inner_source;
use libsbox::output;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// What goes to which place, relative to the root; a later entry wins.
pub type Wanted = BTreeMap<Place, Item>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Directory,
    File,
    Link(PathBuf),
    MountDirectory,
    MountFile,
}

#[derive(Debug, Clone)]
pub struct Item {
    pub kind: Kind,
    pub src: PathBuf,
    /// Where a sandbox can exchange what is at `src`: an open directory, and the path beneath it.
    pub beneath: Option<(Rc<Dir>, PathBuf)>,
    pub mode: u32,
    pub size: u64,
    pub mtime: i128,
    /// When the source was changed last, nanoseconds since 1970.
    pub ctime: i64,
}

impl Item {
    fn of(kind: Kind, src: &Path, metadata: &std::fs::Metadata) -> Item {
        let mut item = Item { kind, src: src.into(), ..Item::bare(Kind::File) };
        item.note(metadata);
        item
    }

    fn bare(kind: Kind) -> Item {
        Item { kind, src: PathBuf::new(), beneath: None, mode: 0o755, size: 0, mtime: 0, ctime: 0 }
    }

    /// Takes over what is known of an open file.
    pub fn note(&mut self, metadata: &std::fs::Metadata) {
        (self.mode, self.size) = (metadata.mode() & 0o777, metadata.len());
        self.mtime = i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
        self.ctime = metadata.ctime().saturating_mul(1_000_000_000).saturating_add(metadata.ctime_nsec());
    }

    /// The source, opened.
    pub fn open(&self) -> Result<std::fs::File> {
        let shown = visible_path(&self.src);
        let file = match &self.beneath {
            Some((directory, name)) => directory.file(name)?,
            None => std::fs::File::open(&self.src).map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => {
                    Error::new(format!("source '{shown}' vanished while it was copied")).hint("run the command again")
                }
                _ => Error::new(format!("cannot read source '{shown}': {}", reason(&error))),
            })?,
        };
        Ok(file)
    }
}

pub fn collect(entries: &[Entry]) -> Result<Wanted> {
    let mut wanted = Wanted::new();
    let writable = entries.iter().filter(|entry| entry.writable).filter_map(|entry| entry.src.canonicalize().ok());
    let writable: Vec<PathBuf> = writable.collect();
    for entry in entries {
        let place = Place::new(&entry.dst);
        match entry.kind {
            EntryKind::Dir => add_with_parents(&mut wanted, place, Item::bare(Kind::Directory)),
            EntryKind::Mount => {
                let kind = if metadata(&entry.src)?.is_dir() { Kind::MountDirectory } else { Kind::MountFile };
                add_with_parents(&mut wanted, place, Item::bare(kind));
            }
            EntryKind::Copy => copy(&mut wanted, &entry.src, &place, &writable)?,
        }
    }
    Ok(wanted)
}

fn metadata(path: &Path) -> Result<std::fs::Metadata> {
    std::fs::metadata(path).context(|| format!("read source '{}'", visible_path(path)))
}

fn add_with_parents(wanted: &mut Wanted, place: Place, item: Item) {
    for parent in place.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty()) {
        let replace = wanted
            .get(parent.as_os_str())
            .is_none_or(|item| !matches!(item.kind, Kind::Directory | Kind::MountDirectory));
        if replace {
            wanted.insert(Place::new(parent), Item::bare(Kind::Directory));
        }
    }
    wanted.insert(place, item);
}

fn copy(wanted: &mut Wanted, src: &Path, place: &Place, writable: &[PathBuf]) -> Result<()> {
    // The entry itself may be a link: that is how its owner names it. Links below stay links.
    let source = inner_source::resolve(src, writable)?;
    let outer =
        source.below().map(|(root, name)| Dir::open(root).map(|dir| (Rc::new(dir), name.to_owned()))).transpose()?;
    let beneath = |below: &Path| {
        let (dir, name) = outer.as_ref()?;
        let path = if below.as_os_str().is_empty() { name.clone() } else { name.join(below) };
        Some((Rc::clone(dir), path))
    };
    let top = metadata(&source.path)?;
    if top.is_file() {
        let item = Item { beneath: beneath(Path::new("")), ..Item::of(Kind::File, src, &top) };
        add_with_parents(wanted, place.clone(), item);
        return Ok(());
    }
    if !top.is_dir() {
        return Err(Error::new(format!("cannot copy '{}': it is neither a file nor a directory", visible_path(src))));
    }
    add_with_parents(wanted, place.clone(), Item::bare(Kind::Directory));
    let root = source.path.clone();
    for entry in walkdir::WalkDir::new(&root).min_depth(1).sort_by_file_name().into_iter().filter_entry(is_the_users) {
        let entry = entry.map_err(|error| unreadable(src, &error))?;
        // By bytes: the walk's paths begin with the root, as it is written.
        let Some(below) = entry.path().as_os_str().as_bytes().strip_prefix(root.as_os_str().as_bytes()) else {
            continue;
        };
        let below = OsStr::from_bytes(below.strip_prefix(b"/").unwrap_or(below));
        let shown = || format!("read source '{}'", visible_path(entry.path()));
        let kind = entry.file_type();
        let item = if kind.is_dir() {
            Item::bare(Kind::Directory)
        } else if kind.is_symlink() {
            let target = std::fs::read_link(entry.path()).context(shown)?;
            Item { kind: Kind::Link(target), ..Item::bare(Kind::File) }
        } else if kind.is_file() {
            let metadata = entry.metadata().map_err(|error| unreadable(src, &error))?;
            Item { beneath: beneath(Path::new(below)), ..Item::of(Kind::File, entry.path(), &metadata) }
        } else {
            output::warn(format_args!(
                "'{}' is a socket, a pipe or a device and is not copied",
                visible_path(entry.path())
            ));
            continue;
        };
        wanted.insert(place.join(below), item);
    }
    Ok(())
}

/// What could not be read, and why.
fn unreadable(src: &Path, error: &walkdir::Error) -> Error {
    let shown = visible_path(error.path().unwrap_or(src));
    match error.io_error() {
        Some(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Error::new(format!("source '{shown}' vanished while it was copied")).hint("run the command again")
        }
        Some(error) => Error::new(format!("cannot read source '{shown}': {}", reason(error))),
        None => Error::new(format!("cannot read source '{shown}': it leads into itself")),
    }
}

/// What sbox made beside the sources is not part of them: a copy of `.` would swallow its own result.
fn is_the_users(entry: &walkdir::DirEntry) -> bool {
    let name = entry.file_name().to_string_lossy();
    let beside_state = || entry.path().parent().is_some_and(|parent| parent.join(".sbox").is_dir());
    match &*name {
        ".sbox" => !entry.file_type().is_dir(),
        "sbox.lock" => !beside_state(),
        name if name.ends_with("-sbox.tar.gz")
            || name.ends_with("-sbox.tar.zst")
            || name.ends_with("-sbox.oci.tar") =>
        {
            !beside_state()
        }
        _ => true,
    }
}
