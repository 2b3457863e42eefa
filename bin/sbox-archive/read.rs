//! Reading an archive that anybody may have made. Every name and every link is looked at here, and a wrong one is an error
//! before anything of it is used.

use flate2::read::MultiGzDecoder;
use libsbox::error::{Context, Error, Result};
use libsbox::escape::{visible, visible_path};
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;
use tar::{Archive, EntryType};

/// What an archive may cost its reader.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of all files together.
    pub bytes: u64,
    /// Entries.
    pub entries: u64,
}

/// The longest name, and list of attributes, that is read.
const LONGEST_NAME: u64 = 64 * 1024;

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
}

/// The bytes of an archive, whatever it is packed with.
fn opened(path: &Path) -> Result<Box<dyn Read>> {
    let shown = || format!("read '{}'", visible_path(path));
    let mut file = File::open(path).context(shown)?;
    let mut start = [0u8; 4];
    let length = file.read(&mut start).context(shown)?;
    std::io::Seek::rewind(&mut file).context(shown)?;
    let file = BufReader::with_capacity(1 << 18, file);
    match &start[..length] {
        [0x1f, 0x8b, ..] => Ok(Box::new(MultiGzDecoder::new(file))),
        [0x28, 0xb5, 0x2f, 0xfd] => Ok(Box::new(Zstd::new(file))),
        _ => Ok(Box::new(file)),
    }
}

/// Reads one zstd frame after the other.
pub struct Zstd<R: BufRead> {
    source: Shared<R>,
    frame: Option<StreamingDecoder<Shared<R>, FrameDecoder>>,
}

/// What a frame's decoder reads from, and the next one's after it.
struct Shared<R>(Rc<RefCell<R>>);

impl<R: Read> Read for Shared<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.borrow_mut().read(buffer)
    }
}

impl<R: BufRead> Zstd<R> {
    pub fn new(source: R) -> Zstd<R> {
        Zstd { source: Shared(Rc::new(RefCell::new(source))), frame: None }
    }
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        loop {
            if let Some(frame) = &mut self.frame {
                match frame.read(buffer)? {
                    0 if !buffer.is_empty() => self.frame = None,
                    length => return Ok(length),
                }
            }
            if self.source.0.borrow_mut().fill_buf()?.is_empty() {
                return Ok(0);
            }
            let next = Shared(Rc::clone(&self.source.0));
            // A frame may ask its reader for as much memory as it likes; nobody's archive needs more than this.
            let frame = StreamingDecoder::new_with_max_window_size(next, WINDOW);
            self.frame = Some(frame.map_err(|error| std::io::Error::other(error.to_string()))?);
        }
    }
}

/// That of `zstd --long`, and no more.
const WINDOW: u64 = 128 << 20;

/// Calls `visit` for each entry in turn, with its content.
pub fn each(path: &Path, limits: Limits, visit: &mut dyn FnMut(&Item, &mut dyn Read) -> Result<()>) -> Result<()> {
    let bad = |error: std::io::Error| {
        Error::new(format!("'{}' is no whole archive: {}", visible_path(path), libsbox::error::reason(&error)))
    };
    let mut archive = Archive::new(opened(path)?);
    // Raw: extensions are read here, with a limit on their size.
    let entries = archive.entries().map_err(bad)?.raw(true);
    let mut extension = Extension::default();
    let mut seen = BTreeSet::new();
    let (mut count, mut bytes) = (0u64, 0u64);
    for entry in entries {
        let mut entry = entry.map_err(bad)?;
        count += 1;
        if count > limits.entries {
            return Err(too_much(&format!("more than {} entries", limits.entries), "--max-entries"));
        }
        let kind = entry.header().entry_type();
        if extension.take(kind, &mut entry).map_err(bad)? {
            continue;
        }
        let Extension { path: long_path, link: long_link, size } = std::mem::take(&mut extension);
        let header = entry.header();
        let raw = long_path.unwrap_or_else(|| header.path_bytes().into_owned());
        let link = long_link.or_else(|| header.link_name_bytes().map(|name| name.into_owned()));
        if size.is_some_and(|size| Some(size) != header.entry_size().ok()) {
            // A file of 8 GiB and more that says so in an extension only; the reader below does not know.
            return Err(Error::new(format!("'{}' has two sizes", shown(&raw))));
        }
        let Some(path) = plain(&raw)? else { continue };
        if !seen.insert(path.clone()) && kind != EntryType::Directory {
            return Err(Error::new(format!("'{}' is in the archive twice", shown(&raw))));
        }
        let kind = match kind {
            EntryType::Regular | EntryType::Continuous => Kind::File,
            EntryType::Directory => Kind::Directory,
            EntryType::Symlink => Kind::Link(PathBuf::from(OsStr::from_bytes(&link.unwrap_or_default()))),
            other => return Err(Error::new(format!("'{}' is {}", shown(&raw), strange(other)))),
        };
        let size = header.entry_size().map_err(bad)?;
        bytes = bytes.saturating_add(size);
        if bytes > limits.bytes {
            return Err(too_much(&format!("more than {}", libsbox::format::size(limits.bytes)), "--max-size"));
        }
        let (mode, time) = (header.mode().map_err(bad)? & 0o777, header.mtime().map_err(bad)?);
        visit(&Item { path, kind, mode, time, size }, &mut entry)?;
    }
    if count == 0 {
        return Err(Error::new(format!("'{}' is no archive, or an empty one", visible_path(path))));
    }
    Ok(())
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
        _ => "nothing that a sandbox has",
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
        return Err(Error::new(format!("'{}' is no name", shown(&name[..name.len().min(80)]))));
    }
    Ok(Some(out).filter(|out| !out.as_os_str().is_empty()))
}

/// What entries of GNU's and POSIX's extensions say of the entry after them.
#[derive(Debug, Default)]
struct Extension {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
}

impl Extension {
    /// Whether this was one.
    fn take(&mut self, kind: EntryType, entry: &mut impl Read) -> std::io::Result<bool> {
        let mut bytes = Vec::new();
        let is_one = matches!(
            kind,
            EntryType::GNULongName | EntryType::GNULongLink | EntryType::XHeader | EntryType::XGlobalHeader
        );
        if !is_one {
            return Ok(false);
        }
        entry.take(LONGEST_NAME + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > LONGEST_NAME {
            return Err(std::io::Error::other("a name is too long"));
        }
        let text = |bytes: &[u8]| bytes.split(|byte| *byte == 0).next().unwrap_or_default().to_vec();
        match kind {
            EntryType::GNULongName => self.path = Some(text(&bytes)),
            EntryType::GNULongLink => self.link = Some(text(&bytes)),
            EntryType::XHeader => self.pax(&bytes),
            _ => {}
        }
        Ok(true)
    }

    fn pax(&mut self, bytes: &[u8]) {
        for record in tar::PaxExtensions::new(bytes).flatten() {
            match record.key_bytes() {
                b"path" => self.path = Some(record.value_bytes().to_vec()),
                b"linkpath" => self.link = Some(record.value_bytes().to_vec()),
                b"size" => self.size = record.value().ok().and_then(|value| value.parse().ok()),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let place = std::env::temp_dir().join(format!("sbox-archive-noise-{}", std::process::id()));
        let mut state = 0x5b0c_5b0cu64;
        let mut next = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
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
        std::fs::remove_file(place).unwrap();
    }
}
