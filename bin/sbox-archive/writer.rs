//! One entry after the other into a tar.

use crate::content::{Content, Found};
use crate::items::{Item, Options};
use libsbox::checksums::{self, Sum};
use libsbox::dir::{Dir, DirEntry};
use libsbox::error::{Context, Error, Result};
use libsbox::escape::visible_path;
use libsbox::fs;
use libsbox::sites::{Search, SiteIndex};
use rustix::fs::FileType;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tar::{Builder, EntryType, Header};

/// An archive while it is written.
pub struct Writer<'a, W: Write> {
    tar: Builder<W>,
    options: &'a Options,
    sums: Vec<u8>,
    sites: SiteIndex,
    files: u64,
    bytes: u64,
    left_out: Vec<String>,
    /// Places that are in the archive: nothing is there twice.
    directories: HashSet<PathBuf>,
    others: HashSet<PathBuf>,
}

impl<'a, W: Write> Writer<'a, W> {
    pub fn new(options: &'a Options, to: W) -> Writer<'a, W> {
        Writer {
            tar: Builder::new(to),
            options,
            sums: Vec::new(),
            sites: SiteIndex::default(),
            files: 0,
            bytes: 0,
            left_out: Vec::new(),
            directories: [PathBuf::new()].into(),
            others: HashSet::new(),
        }
    }

    /// Writes all items; gives back what was written to, and what is to be said of it.
    pub fn all(mut self, items: &[Item]) -> Result<(Value, W)> {
        if !self.options.name.is_empty() {
            self.write_directory(Path::new(""), 0o755, None)?;
        }
        for item in items {
            let dst = plain(&item.dst)?;
            // Directories that lead there, each once.
            let above: Vec<&Path> = dst.ancestors().skip(1).filter(|place| !place.as_os_str().is_empty()).collect();
            for place in above.into_iter().rev() {
                self.directory(place, 0o755, None)?;
            }
            self.item(item, dst)?;
        }
        let mut summary = json!({"files": self.files, "bytes": self.bytes, "left_out": self.left_out});
        if self.options.prefix.is_some() && self.options.sites.is_none() {
            summary["sites"] = self.sites.places().map(|place| place.to_string_lossy().into_owned()).collect();
        }
        Ok((summary, self.tar.into_inner().context(shown)?))
    }

    fn item(&mut self, item: &Item, dst: &Path) -> Result<()> {
        match item {
            Item { src: Some(src), .. } => self.tree(item, src, dst),
            Item { text: Some(text), .. } => self.text(dst, text.as_bytes()),
            Item { link: Some(target), .. } => self.link(dst, target, None),
            Item { directory: Some(mode), .. } => self.directory(dst, *mode & 0o7777, None),
            Item { metadata: Some(metadata), .. } => self.metadata(dst, metadata),
            _ => Err(Error::usage("a line on stdin needs 'src', 'text', 'link', 'directory' or 'metadata'")),
        }
    }

    fn tree(&mut self, item: &Item, src: &Path, dst: &Path) -> Result<()> {
        let (Some(parent), Some(name)) = (src.parent(), src.file_name()) else {
            return Err(Error::usage("a source has no name"));
        };
        let dir = Dir::open(parent)?;
        let Some(stat) = dir.stat(name)? else {
            return Err(Error::new(format!("'{}' does not exist", visible_path(src))));
        };
        let entry = DirEntry { name: name.into(), kind: FileType::from_raw_mode(stat.st_mode) };
        self.entry(&dir, &entry, dst)?;
        if entry.kind != FileType::Directory {
            return Ok(());
        }
        // The walk does not go into what it skips, so that the parent is all that has to be looked at.
        let skipped = |place: &Path| {
            item.omit.contains(place)
                || item.only.as_ref().is_some_and(|only| !only.contains(place))
                || place.parent().is_some_and(|parent| item.skip.contains(parent))
        };
        dir.sub_lent(name)?.walk_in(&skipped, &mut |dir, entry, place| self.entry(dir, entry, &dst.join(place)))
    }

    /// Whether a place is still free. What stands in another's way is left out, with all that is below it.
    fn is_free(&mut self, place: &Path, is_directory: bool) -> bool {
        let parent = place.parent().unwrap_or(Path::new(""));
        if !self.directories.contains(parent) {
            return false;
        }
        if self.others.contains(place) || (!is_directory && self.directories.contains(place)) {
            self.left_out.push(place.to_string_lossy().into_owned());
            return false;
        }
        match is_directory {
            // The first one counts, and another has its files in it.
            true => self.directories.insert(place.to_owned()),
            false => self.others.insert(place.to_owned()),
        }
    }

    /// The index, the checksums, and then what tells of both.
    fn metadata(&mut self, dst: &Path, metadata: &serde_json::Map<String, Value>) -> Result<()> {
        let mut metadata = metadata.clone();
        metadata.insert("files".into(), self.files.into());
        metadata.insert("bytes".into(), self.bytes.into());
        if let (Some(place), Some(prefix)) = (&self.options.sites, &self.options.prefix) {
            self.sites.prefix.clone_from(prefix);
            (self.sites.files, self.sites.bytes) = (self.files, self.bytes);
            let index = serde_json::to_string(&self.sites)?;
            self.text(plain(place)?, format!("{index}\n").as_bytes())?;
        }
        if let Some(place) = &self.options.sums {
            let sums = std::mem::take(&mut self.sums);
            metadata.insert("checksums".into(), json!({place: format!("sha256:{}", fs::sha256(&sums))}));
            self.text(plain(place)?, &sums)?;
        }
        let text = serde_json::to_string_pretty(&metadata)?;
        self.text(dst, format!("{text}\n").as_bytes())
    }

    /// `time` is that of a file; without one it is the time of what was made up.
    fn header(&self, kind: EntryType, mode: u32, time: Option<i64>) -> Header {
        let made = self.options.made_time.unwrap_or(self.options.latest);
        let time = time.map_or(made, |time| time.try_into().unwrap_or(0));
        let shared = if self.options.group_like_owner { mode >> 3 & 0o070 } else { 0 };
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode | shared);
        header.set_mtime(time.min(self.options.latest));
        header.set_uid(self.options.owner.0);
        header.set_gid(self.options.owner.1);
        header.set_size(0);
        header
    }

    fn path(&self, place: &Path) -> PathBuf {
        Path::new(&self.options.name).join(place)
    }

    fn directory(&mut self, place: &Path, mode: u32, time: Option<i64>) -> Result<()> {
        if self.is_free(place, true) { self.write_directory(place, mode, time) } else { Ok(()) }
    }

    fn write_directory(&mut self, place: &Path, mode: u32, time: Option<i64>) -> Result<()> {
        let time = time.filter(|_| self.options.made_time.is_none());
        let mut header = self.header(EntryType::Directory, mode, time);
        let mut path = self.path(place).into_os_string();
        if !path.as_bytes().ends_with(b"/") {
            path.push("/");
        }
        self.tar.append_data(&mut header, path, std::io::empty()).context(shown)
    }

    fn text(&mut self, place: &Path, content: &[u8]) -> Result<()> {
        if !self.is_free(place, false) {
            return Ok(());
        }
        let mut header = self.header(EntryType::Regular, 0o644, None);
        header.set_size(content.len() as u64);
        self.tar.append_data(&mut header, self.path(place), content).context(shown)?;
        checksums::add(&mut self.sums, place, &Sum::File(fs::sha256(content)));
        Ok(())
    }

    fn link(&mut self, place: &Path, target: &Path, time: Option<i64>) -> Result<()> {
        if !self.is_free(place, false) {
            return Ok(());
        }
        let mut search = self.search();
        search.look(target.as_os_str().as_bytes());
        if search.found() {
            self.sites.add(place);
        }
        let mut header = self.header(EntryType::Symlink, 0o777, time);
        self.tar.append_link(&mut header, self.path(place), target).context(shown)
    }

    fn search(&self) -> Search<'a> {
        let prefix = self.options.prefix.as_deref();
        if self.options.sites.is_some() { Search::new(prefix) } else { Search::exact(prefix) }
    }

    fn entry(&mut self, dir: &Dir, entry: &DirEntry, place: &Path) -> Result<()> {
        match entry.kind {
            FileType::Directory => {
                let stat = dir.stat(&entry.name)?;
                let (mode, time) = stat.map_or((0o755, 0), |stat| (stat.st_mode, stat.st_mtime));
                self.directory(place, mode & 0o777 | 0o700, Some(time))
            }
            FileType::RegularFile => self.file(dir, &entry.name, place),
            FileType::Symlink => {
                let time = dir.stat(&entry.name)?.map_or(0, |stat| stat.st_mtime);
                self.link(place, &dir.link(&entry.name)?, Some(time))
            }
            _ => {
                // A socket or a pipe belongs to a program that is running now.
                self.left_out.push(place.to_string_lossy().into_owned());
                Ok(())
            }
        }
    }

    fn file(&mut self, dir: &Dir, name: &OsStr, place: &Path) -> Result<()> {
        if !self.is_free(place, false) {
            return Ok(());
        }
        let shown = || format!("read '{}'", visible_path(dir.path().join(name)));
        let file = dir.file_lent(name)?;
        let metadata = file.metadata().context(shown)?;
        let mode = metadata.permissions().mode() & 0o777 | 0o400;
        let mut header = self.header(EntryType::Regular, mode, Some(metadata.mtime()));
        // Python corrects the path in byte code when it loads it.
        let is_byte_code = place.extension().is_some_and(|extension| extension == "pyc");
        let search = if is_byte_code && self.options.sites.is_some() { Search::new(None) } else { self.search() };
        let mut content = Content::new(&file, &metadata, search).context(shown)?;
        if let Some(map) = content.map() {
            let path = self.path(place);
            crate::sparse::append(&mut self.tar, &mut header, &path, metadata.len(), &map, &mut content)
        } else {
            header.set_size(metadata.len());
            self.tar.append_data(&mut header, self.path(place), &mut content)
        }
        .context(shown)?;
        let Some(Found { sum, has_prefix }) = content.finish() else {
            return Err(Error::new(format!("'{}' became shorter while it was read", visible_path(place)))
                .hint("end what writes it, and pack again"));
        };
        self.files += 1;
        self.bytes += metadata.len();
        if has_prefix {
            self.sites.add(place);
        }
        checksums::add(&mut self.sums, place, &sum);
        Ok(())
    }
}

fn shown() -> String {
    "write the archive".into()
}

/// A place in the archive: relative, and without `..`.
fn plain(place: &str) -> Result<&Path> {
    let path = Path::new(place);
    let fits = path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    if fits && !place.is_empty() {
        Ok(path)
    } else {
        Err(Error::usage(format!("'{place}' is not a valid place in an archive")))
    }
}
