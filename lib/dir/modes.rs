//! Rights that the owner of a file or a directory took from themselves. An agent runs as its user, and `chmod 0` is open to it:
//! that must stop nothing here.
//!
//! What is *lent* has the right for as long as it is looked into; what is *opened to its owner* keeps it. Both go through a
//! descriptor that needs no right, and follow no link.

use super::Dir;
use crate::error::{Context, Error, Result};
use crate::escape::visible_path;
use rustix::fs::{Access, AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Component, Path};

/// A file or directory, whatever its mode, and the mode that it had.
#[derive(Debug)]
struct Handle {
    fd: OwnedFd,
    mode: u32,
}

impl Handle {
    fn of(fd: OwnedFd) -> rustix::io::Result<Handle> {
        let mode = rustix::fs::fstat(&fd)?.st_mode;
        Ok(Handle { fd, mode })
    }

    fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.mode)
    }

    /// Through /proc: a descriptor that only names a file cannot be changed directly.
    fn change(&self, mode: u32) -> rustix::io::Result<()> {
        rustix::fs::chmod(format!("/proc/self/fd/{}", self.fd.as_raw_fd()), Mode::from_raw_mode(mode & 0o7777))
    }

    /// Adds `bits` until what this returns is dropped.
    fn lend(self, bits: u32) -> rustix::io::Result<Lent> {
        self.change(self.mode | bits)?;
        Ok(Lent(self))
    }
}

/// Bits that a file or a directory has for a while.
#[derive(Debug)]
pub(super) struct Lent(Handle);

impl Drop for Lent {
    fn drop(&mut self) {
        let _ = self.0.change(self.0.mode);
    }
}

/// What it takes to list a directory and to look up what is in it.
const LOOK: Access = Access::READ_OK.union(Access::EXEC_OK);

impl Dir {
    fn handle(&self, place: &Path) -> rustix::io::Result<Handle> {
        Handle::of(self.at(place, OFlags::PATH)?)
    }

    fn allows(&self, access: Access) -> bool {
        rustix::fs::accessat(&self.fd, ".", access, AtFlags::EACCESS).is_ok()
    }

    /// The directory `name`. The right to list it and to look up what is in it is lent until what this returns is dropped.
    pub fn sub_lent(&self, name: &OsStr) -> Result<Dir> {
        let error = match self.sub(name) {
            Ok(found) if found.allows(LOOK) => return Ok(found),
            Ok(found) => Error::new(format!("cannot look into '{}'", visible_path(found.path()))),
            Err(error) => error,
        };
        let handle = self.handle(Path::new(name)).ok().filter(|handle| handle.kind() == FileType::Directory);
        let Some(lent) = handle.and_then(|handle| handle.lend(0o700).ok()) else { return Err(error) };
        Ok(Dir { _lent: Some(lent), ..self.sub(name)? })
    }

    /// The same at `place`. Each directory on the way to it is lent for the moment in which it is passed.
    pub fn sub_lent_at(&self, place: &Path) -> Result<Dir> {
        let mut here = match self.sub(place) {
            Ok(found) if found.allows(LOOK) => return Ok(found),
            _ => self.sub(".")?,
        };
        for part in place.components() {
            match part {
                Component::Normal(name) => here = here.sub_lent(name)?,
                Component::CurDir => {}
                _ => return Err(Error::new(format!("'{}' leads out of its directory", visible_path(place)))),
            }
        }
        Ok(here)
    }

    /// The regular file `name` for reading, which its owner may have closed to themselves.
    pub fn file_lent(&self, name: &OsStr) -> Result<File> {
        let file = self.file(name);
        if file.is_ok() {
            return file;
        }
        let handle = self.handle(Path::new(name)).ok().filter(|handle| handle.kind() == FileType::RegularFile);
        match handle.filter(|handle| handle.mode & 0o400 == 0).and_then(|handle| handle.lend(0o400).ok()) {
            Some(_lent) => self.file(name),
            None => file,
        }
    }

    /// Does `work`, which changes what is in this directory; the right to do so is lent.
    pub fn lend<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        if self.allows(LOOK | Access::WRITE_OK) {
            return work();
        }
        let shown = || format!("open '{}'", visible_path(&self.path));
        let handle = Handle::of(self.fd.try_clone().context(shown)?).context(shown)?;
        let _lent = handle.lend(0o700).context(shown)?;
        work()
    }

    /// Gives the owner of the directory `name` every right to it, for good.
    pub fn open_to_owner(&self, name: impl AsRef<Path>) -> Result<()> {
        let change = || match self.handle(name.as_ref())? {
            handle if handle.kind() != FileType::Directory => Err(Errno::NOTDIR),
            handle if handle.mode & 0o700 == 0o700 => Ok(()),
            handle => handle.change(handle.mode | 0o700),
        };
        change().context(|| format!("open '{}'", visible_path(self.path.join(name.as_ref()))))
    }

    /// The directory at `place`, if there is one that no link leads to; those on the way are opened to their owner.
    pub fn sub_opened(&self, place: &Path) -> Result<Option<Dir>> {
        let find = || self.at(place, OFlags::DIRECTORY | OFlags::RDONLY);
        let mut found = find();
        if matches!(found, Err(Errno::ACCESS)) {
            let mut way: Vec<&Path> = place.ancestors().filter(|path| !path.as_os_str().is_empty()).collect();
            way.reverse();
            for path in way {
                let _ = self.open_to_owner(path);
            }
            found = find();
        }
        let path = self.path.join(place);
        match found {
            Ok(fd) => Ok(Some(Dir { fd, path, _lent: None })),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(error) => Err(error).context(|| format!("open '{}'", visible_path(path))),
        }
    }

    /// Takes every right to `name` from everybody, its owner included; returns whether it could.
    pub fn close_to_all(&self, name: &OsStr) -> bool {
        self.handle(Path::new(name)).is_ok_and(|handle| handle.change(0).is_ok())
    }

    /// Takes set-uid and set-gid from a regular file; returns whether it had one.
    pub fn take_set_id(&self, name: &OsStr) -> bool {
        self.handle(Path::new(name)).is_ok_and(|handle| {
            handle.kind() == FileType::RegularFile
                && handle.mode & 0o6000 != 0
                && handle.change(handle.mode & 0o1777).is_ok()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Scratch;
    use std::os::unix::fs::PermissionsExt;

    /// Root has every right: as root this shows that nothing is changed that need not be.
    #[test]
    fn what_its_owner_closed_is_lent_and_closed_again() {
        let base = Scratch::new("modes");
        std::fs::create_dir_all(base.join("a/b")).unwrap();
        std::fs::write(base.join("a/b/f"), "text").unwrap();
        let set = |place: &str, mode| std::fs::set_permissions(base.join(place), PermissionsExt::from_mode(mode));
        for place in ["a/b/f", "a/b", "a"] {
            set(place, 0).unwrap();
        }
        let root = Dir::open(&base).unwrap();
        let read = || {
            std::io::read_to_string(root.sub_lent_at(Path::new("a/b"))?.file_lent("f".as_ref())?).context(|| "".into())
        };
        assert_eq!(read().unwrap(), "text");
        for place in ["a", "a/b", "a/b/f"] {
            assert_eq!(std::fs::metadata(base.join(place)).unwrap().permissions().mode() & 0o7777, 0, "{place}");
            set(place, 0o700).unwrap();
        }
    }

    #[test]
    fn no_link_lends_the_rights_of_another_file() {
        let base = Scratch::new("modes-link");
        std::fs::write(base.join("other"), "").unwrap();
        std::fs::set_permissions(base.join("other"), PermissionsExt::from_mode(0o000)).unwrap();
        std::fs::create_dir(base.join("root")).unwrap();
        std::os::unix::fs::symlink("../other", base.join("root/link")).unwrap();
        let root = Dir::open(&base.join("root")).unwrap();
        assert!(root.file_lent("link".as_ref()).is_err() && !root.close_to_all("link".as_ref()));
        assert!(root.open_to_owner("link").is_err() && root.sub_lent("link".as_ref()).is_err());
        assert_eq!(std::fs::metadata(base.join("other")).unwrap().permissions().mode() & 0o7777, 0);
    }
}
