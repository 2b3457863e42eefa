//! Reading an archive that anybody may have made. Every name is looked at here, and a wrong one is an error before anything
//! of it is used. It is read to the end of the stream: only there is known whether all of it was what was written.

use crate::decompress;
use crate::header::{self, Next};
use libsbox::error::{Error, Result};
use libsbox::escape::{visible, visible_path};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use tar::EntryType;

/// What an archive may cost its reader.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of all files together.
    pub bytes: u64,
    /// Entries.
    pub entries: u64,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Directory,
    File,
    /// A symbolic link; where it leads was not looked at.
    Link(PathBuf),
}

/// An entry.
#[derive(Debug, Clone)]
pub struct Item {
    /// Relative, without `.` and `..`.
    pub path: PathBuf,
    pub kind: Kind,
    /// Read, write, execute; nothing else.
    pub mode: u32,
    /// Seconds since 1970.
    pub time: u64,
    pub size: u64,
    /// Where the pieces of a file with holes belong: offset and length.
    pub map: Option<Vec<(u64, u64)>>,
}

impl Item {
    /// Bytes that are not in its pieces.
    pub fn holes(&self) -> u64 {
        self.map.as_ref().map_or(0, |map| self.size - map.iter().map(|(_, length)| length).sum::<u64>())
    }
}

/// Calls `visit` for each entry in turn, with its content; of a file with holes, with the pieces one after the other.
pub fn each(path: &Path, limits: Limits, visit: &mut dyn FnMut(&Item, &mut dyn Read) -> Result<()>) -> Result<()> {
    let bad = |error: std::io::Error| {
        let reason = libsbox::error::reason(&error);
        Error::new(format!("'{}' is truncated or corrupt: {reason}", visible_path(path)))
    };
    let mut source = decompress::opened(path)?;
    let mut seen = Seen::default();
    let (mut count, mut bytes) = (0u64, 0u64);
    while let Some(Next { header, name, link, map, size, stored, before }) = header::next(&mut source).map_err(bad)? {
        // What stands before an entry is an entry to those who fill disks and memory with them.
        count += 1 + before;
        if count > limits.entries {
            return Err(too_much(&format!("more than {} entries", limits.entries), "--max-entries"));
        }
        let mut content = (&mut source).take(stored);
        if let Some(path) = plain(&name)? {
            let kind = match header.entry_type() {
                EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Kind::File,
                EntryType::Directory => Kind::Directory,
                EntryType::Symlink => Kind::Link(PathBuf::from(OsStr::from_bytes(&link))),
                other => return Err(Error::new(format!("'{}': {}", shown(&name), strange(other)))),
            };
            seen.add(&path, kind == Kind::Directory)?;
            bytes = bytes.saturating_add(stored);
            if bytes > limits.bytes {
                return Err(too_much(&format!("more than {}", libsbox::format::size(limits.bytes)), "--max-size"));
            }
            let (mode, time) = (header.mode().map_err(bad)? & 0o777, header.mtime().map_err(bad)?);
            visit(&Item { path, kind, mode, time, size, map }, &mut content)?;
        }
        let rest = content.limit();
        header::skip(&mut source, rest + header::padding(stored)).map_err(bad)?;
    }
    if count == 0 {
        return Err(Error::new(format!("'{}' is empty or not an archive", visible_path(path))));
    }
    header::end(&mut source).map_err(bad)
}

/// What was in the archive so far: whether it is a directory.
#[derive(Default)]
struct Seen(HashMap<PathBuf, bool>);

impl Seen {
    /// Refuses what is there twice, also where a file and a directory have one name.
    fn add(&mut self, path: &Path, is_directory: bool) -> Result<()> {
        let twice = |path: &Path| Err(Error::new(format!("'{}' is in the archive twice", visible_path(path))));
        for parent in path.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty()) {
            match self.0.get(parent) {
                Some(true) => break,
                Some(false) => return twice(parent),
                None => self.0.insert(parent.to_owned(), true),
            };
        }
        match self.0.insert(path.to_owned(), is_directory) {
            Some(before) if !before || !is_directory => twice(path),
            _ => Ok(()),
        }
    }
}

fn too_much(what: &str, option: &str) -> Error {
    Error::new(format!("the archive has {what}")).hint(format!("if that is meant: {option}"))
}

fn shown(name: &[u8]) -> String {
    visible(&String::from_utf8_lossy(name))
}

fn strange(kind: EntryType) -> &'static str {
    match kind {
        EntryType::Link => "a hard link",
        EntryType::Char | EntryType::Block => "a device",
        EntryType::Fifo => "a pipe",
        _ => "unsupported entry type",
    }
}

/// A name without its `.`; nothing for the archive's own root. An absolute one, or one with `..`, is an error.
fn plain(name: &[u8]) -> Result<Option<PathBuf>> {
    let path = Path::new(OsStr::from_bytes(name));
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => out.push(name),
            Component::CurDir => {}
            _ => return Err(Error::new(format!("'{}' leads out of the archive's folder", shown(name)))),
        }
    }
    if name.contains(&0) || out.as_os_str().len() > 4096 {
        return Err(Error::new(format!("'{}' is not a valid name", shown(&name[..name.len().min(80)]))));
    }
    Ok(Some(out).filter(|out| !out.as_os_str().is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use libsbox::error::Context;
    use libsbox::testing::{Noise, Scratch};

    #[test]
    fn names_stay_in_the_folder() {
        assert_eq!(plain(b"./a/./b/").unwrap(), Some(PathBuf::from("a/b")));
        assert_eq!(plain(b"./").unwrap(), None);
        for bad in [&b"/etc/passwd"[..], b"a/../../b", b"..", b"a\0b"] {
            assert!(plain(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn noise_is_no_archive_and_brings_nothing_down() {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, content) in [("top/a", "content"), ("top/b/c", "x")] {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, content.as_bytes()).unwrap();
        }
        let good = builder.into_inner().unwrap();
        let scratch = Scratch::new("archive-noise");
        let place = scratch.join("archive");
        let mut noise = Noise::default();
        let mut next = |limit| noise.below(limit);
        for _ in 0..1500 {
            let mut bad = good.clone();
            for _ in 0..=next(4) {
                let at = next(bad.len());
                bad[at] = next(256) as u8;
            }
            bad.truncate(if next(4) == 0 { next(bad.len()) } else { bad.len() });
            std::fs::write(&place, &bad).unwrap();
            let limits = Limits { bytes: 1 << 20, entries: 100 };
            let _ = each(&place, limits, &mut |item, content| {
                assert!(item.path.components().all(|part| matches!(part, Component::Normal(_))));
                std::io::copy(content, &mut std::io::sink()).map(drop).context(|| "read".into())
            });
        }
    }
}
