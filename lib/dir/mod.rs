//! Trees that an agent could have written, touched from the host without ever leaving them.
//!
//! A [`Dir`] is an open directory. Everything is looked up beneath it by openat2(2) with `RESOLVE_BENEATH` and
//! `RESOLVE_NO_SYMLINKS`: a symbolic link planted anywhere, at any moment, makes a call fail and never leads it outside.

mod modes;
mod put;
mod remove;

use crate::error::{Context, Error, Result};
use crate::escape::visible_path;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// An open directory, and its path for messages.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    path: PathBuf,
    /// Held for its end.
    _lent: Option<modes::Lent>,
}

impl std::os::fd::AsFd for Dir {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// One entry of a directory.
#[derive(Debug, Clone)]
pub struct DirEntry {
    /// Its name.
    pub name: OsString,
    /// What it is; a symbolic link is a link.
    pub kind: FileType,
}

impl Dir {
    /// Opens the directory at `path`. Its last component may not be a symbolic link.
    pub fn open(path: &Path) -> Result<Dir> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| match error {
            Errno::LOOP | Errno::NOTDIR => {
                Error::new(format!("cannot open '{}': it is not a directory", visible_path(path)))
                    .hint("something replaced it; remove it and build again")
            }
            error => {
                Error::new(format!("cannot open '{}': {}", visible_path(path), crate::error::reason(&error.into())))
            }
        })?;
        Ok(Dir { fd, path: path.to_owned(), _lent: None })
    }

    /// Opens the directory at an absolute path without a symbolic link in any component.
    pub fn open_real(path: &Path) -> Result<Dir> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat2(rustix::fs::CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS);
        let fd = fd.context(|| format!("open '{}'", visible_path(path)))?;
        Ok(Dir { fd, path: path.to_owned(), _lent: None })
    }

    /// The path it was opened under, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn at(&self, name: impl AsRef<Path>, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        rustix::fs::openat2(&self.fd, name.as_ref(), flags | OFlags::CLOEXEC, Mode::empty(), resolve)
    }

    /// The directory at `place` below this one.
    pub fn sub(&self, place: impl AsRef<Path>) -> Result<Dir> {
        let path = self.path.join(place.as_ref());
        let fd = self.at(place, OFlags::DIRECTORY | OFlags::RDONLY);
        Ok(Dir { fd: fd.context(|| format!("open '{}'", visible_path(&path)))?, path, _lent: None })
    }

    /// What is in the directory, without `.` and `..`, sorted by name.
    pub fn entries(&self) -> Result<Vec<DirEntry>> {
        let shown = || format!("read directory '{}'", visible_path(&self.path));
        let mut entries = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.fd).context(shown)? {
            let entry = entry.context(shown)?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::Unknown => match self.stat(name)? {
                    Some(stat) => FileType::from_raw_mode(stat.st_mode),
                    None => continue,
                },
                kind => kind,
            };
            entries.push(DirEntry { name: name.to_owned(), kind });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// What is known of the entry `name`, not following a link; `None` if there is none.
    pub fn stat(&self, name: &OsStr) -> Result<Option<Stat>> {
        match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error).context(|| format!("look at '{}'", visible_path(self.path.join(name)))),
        }
    }

    /// Opens a regular file for reading. A link, a fifo, a device or a socket is an error; none of them can block.
    pub fn file(&self, place: impl AsRef<Path>) -> Result<File> {
        let path = self.path.join(place.as_ref());
        let shown = || format!("read '{}'", visible_path(&path));
        let fd = self.at(place, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY).context(shown)?;
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&fd).context(shown)?.st_mode);
        if kind != FileType::RegularFile {
            return Err(Error::new(format!("cannot read '{}': it is not a regular file", visible_path(&path))));
        }
        Ok(File::from(fd))
    }

    /// Opens a regular file for writing at its end, and makes it if there is none. Never through a link.
    pub fn append(&self, name: &OsStr) -> Result<File> {
        let shown = || format!("write '{}'", visible_path(self.path.join(name)));
        let flags =
            OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, name, flags, Mode::from_raw_mode(0o600)).context(shown)?;
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&fd).context(shown)?.st_mode);
        if kind != FileType::RegularFile {
            return Err(Error::new(format!("cannot {}: it is not a regular file", shown())));
        }
        Ok(File::from(fd))
    }

    /// Where a symbolic link points.
    pub fn link(&self, name: &OsStr) -> Result<PathBuf> {
        let target = rustix::fs::readlinkat(&self.fd, name, Vec::new())
            .context(|| format!("read link '{}'", visible_path(self.path.join(name))))?;
        Ok(PathBuf::from(OsStr::from_bytes(target.to_bytes())))
    }

    /// Calls `visit` for everything below, parents first, with the directory it is in and its path from here.
    /// Directories that their owner closed are lent for it.
    pub fn walk(&self, visit: &mut dyn FnMut(&Dir, &DirEntry, &Path) -> Result<()>) -> Result<()> {
        self.walk_in(&|_| false, visit)
    }

    /// The same without the places for which `skipped` is true, and what is below them.
    pub fn walk_in(
        &self,
        skipped: &dyn Fn(&Path) -> bool,
        visit: &mut dyn FnMut(&Dir, &DirEntry, &Path) -> Result<()>,
    ) -> Result<()> {
        self.walk_below(Path::new(""), skipped, visit)
    }

    fn walk_below(
        &self,
        place: &Path,
        skipped: &dyn Fn(&Path) -> bool,
        visit: &mut dyn FnMut(&Dir, &DirEntry, &Path) -> Result<()>,
    ) -> Result<()> {
        for entry in self.entries()? {
            let below = place.join(&entry.name);
            if skipped(&below) {
                continue;
            }
            visit(self, &entry, &below)?;
            if entry.kind == FileType::Directory {
                self.sub_lent(&entry.name)?.walk_below(&below, skipped, visit)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Scratch;

    #[test]
    fn a_planted_link_never_leads_a_write_outside() {
        let base = Scratch::new("dir-link");
        std::fs::create_dir(base.join("root")).unwrap();
        std::fs::create_dir(base.join("outside")).unwrap();
        std::os::unix::fs::symlink(base.join("outside"), base.join("root/dir")).unwrap();
        let root = Dir::open(&base.join("root")).unwrap();
        let dir = root.sub_or_make(Path::new("dir/deep")).unwrap();
        dir.put_file("f".as_ref(), 0o644, |_| Ok(())).unwrap();
        assert!(std::fs::read_dir(base.join("outside")).unwrap().next().is_none());
        assert!(base.join("root/dir/deep/f").is_file());
    }

    #[test]
    fn a_place_cannot_lead_out() {
        let base = Scratch::new("dir-dots");
        std::fs::create_dir(base.join("root")).unwrap();
        let root = Dir::open(&base.join("root")).unwrap();
        assert!(root.sub_or_make(Path::new("a/../../b")).is_err());
        assert!(root.sub("..").is_err());
    }

    #[test]
    fn a_fifo_or_a_link_is_not_a_file() {
        let base = Scratch::new("dir-fifo");
        std::fs::create_dir(base.join("root")).unwrap();
        let fifo = base.join("root/fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", base.join("root/link")).unwrap();
        let root = Dir::open(&base.join("root")).unwrap();
        assert!(root.file("fifo").is_err());
        assert!(root.file("link").is_err());
    }
}
