//! Trees that an agent could have written, touched from the host without ever leaving them.
//!
//! A [`Dir`] is an open directory. Everything is looked up beneath it by openat2(2) with `RESOLVE_BENEATH` and
//! `RESOLVE_NO_SYMLINKS`: a symbolic link planted anywhere, at any moment, makes a call fail and never leads it outside.

use crate::error::{Context, Error, Result};
use crate::escape::visible_path;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// An open directory, and its path for messages.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    path: PathBuf,
    /// Held for its end.
    _lent: Option<Lent>,
}

/// Bits that a file or a directory has for as long as somebody looks into it.
#[derive(Debug)]
struct Lent {
    fd: OwnedFd,
    /// Those that it had.
    mode: u32,
}

impl Lent {
    fn change(&self, mode: u32) -> rustix::io::Result<()> {
        use std::os::fd::AsRawFd;
        // Through /proc: a descriptor that only names a file cannot be changed directly.
        rustix::fs::chmod(format!("/proc/self/fd/{}", self.fd.as_raw_fd()), Mode::from_raw_mode(mode))
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let _ = self.change(self.mode);
    }
}

impl std::os::fd::AsFd for Dir {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// One entry of a directory.
#[derive(Debug, Clone)]
pub struct Entry {
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

    /// The directory at `place`, if there is one that no link leads to; one on the way to it that its owner closed to
    /// themselves is opened to them again.
    pub fn sub_reopened(&self, place: &Path) -> Result<Option<Dir>> {
        let mut error = match self.at(place, OFlags::DIRECTORY | OFlags::RDONLY) {
            Ok(fd) => return Ok(Some(Dir { fd, path: self.path.join(place), _lent: None })),
            Err(error) => error,
        };
        if error == Errno::ACCESS {
            let mut above: Vec<&Path> = place.ancestors().filter(|path| !path.as_os_str().is_empty()).collect();
            above.reverse();
            for path in above {
                self.open_to_owner(path);
            }
            match self.at(place, OFlags::DIRECTORY | OFlags::RDONLY) {
                Ok(fd) => return Ok(Some(Dir { fd, path: self.path.join(place), _lent: None })),
                Err(second) => error = second,
            }
        }
        match error {
            Errno::NOENT | Errno::NOTDIR | Errno::LOOP => Ok(None),
            error => Err(error).context(|| format!("open '{}'", visible_path(self.path.join(place)))),
        }
    }

    /// Removes what a program that was killed in [`Dir::put_file`] or [`Dir::put_link`] has left here.
    pub fn remove_temporaries(&self) {
        for entry in self.entries().unwrap_or_default() {
            let name = entry.name.to_string_lossy();
            let pid = name.strip_prefix('.').and_then(|name| Some(name.rsplit_once(".sbox-")?.1));
            if entry.kind != FileType::Directory && pid.is_some_and(|pid| pid.parse::<u32>().is_ok()) {
                self.remove_file(&entry.name);
            }
        }
    }

    /// The directory `name` in this one, which its owner closed to themselves: it can be read and searched until what this
    /// gives is dropped.
    pub fn sub_lent(&self, name: &OsStr) -> Result<Dir> {
        let lent = self.lent(name, OFlags::DIRECTORY, 0o500)?;
        Ok(Dir { _lent: Some(lent), ..self.sub(name)? })
    }

    /// The directory at `place`, also through those that their owner closed to themselves: each is opened to its owner for
    /// the moment in which it is looked into, the last one until what this gives is dropped.
    pub fn reached(&self, place: &Path) -> Result<Dir> {
        let error = match self.sub(place) {
            Ok(found) if found.is_searchable() => return Ok(found),
            Ok(_) => Error::new(format!("cannot look into '{}'", visible_path(self.path.join(place)))),
            Err(error) => error,
        };
        let mut here: Option<Dir> = None;
        for part in place.components() {
            let at = here.as_ref().unwrap_or(self);
            let Component::Normal(name) = part else { return Err(error) };
            let next = match at.at(name, OFlags::DIRECTORY | OFlags::RDONLY) {
                Ok(fd) => Dir { fd, path: at.path.join(name), _lent: None },
                Err(Errno::ACCESS) => at.sub_lent(name)?,
                Err(_) => return Err(error),
            };
            here = Some(if next.is_searchable() { next } else { at.sub_lent(name)? });
        }
        here.ok_or(error)
    }

    /// Whether what is in it can be looked up.
    pub fn is_searchable(&self) -> bool {
        let access = rustix::fs::Access::READ_OK | rustix::fs::Access::EXEC_OK;
        rustix::fs::accessat(&self.fd, ".", access, AtFlags::EACCESS).is_ok()
    }

    /// The directory at `place`, made where it is missing; whatever else stands in its way is removed.
    pub fn sub_or_make(&self, place: &Path) -> Result<Dir> {
        let fd = self.fd.try_clone().context(|| format!("open '{}'", visible_path(&self.path)))?;
        let mut dir = Dir { fd, path: self.path.clone(), _lent: None };
        for part in place.components() {
            match part {
                Component::Normal(name) => dir = dir.child_or_make(name)?,
                Component::CurDir => {}
                _ => return Err(Error::new(format!("'{}' leads out of its directory", visible_path(place)))),
            }
        }
        Ok(dir)
    }

    fn child_or_make(&self, name: &OsStr) -> Result<Dir> {
        let path = self.path.join(name);
        let shown = || format!("make directory '{}'", visible_path(&path));
        let flags = OFlags::DIRECTORY | OFlags::RDONLY;
        let fd = match self.at(name, flags) {
            Ok(fd) => fd,
            Err(error) => {
                if matches!(error, Errno::LOOP | Errno::NOTDIR) {
                    self.remove_tree(name)?;
                }
                match rustix::fs::mkdirat(&self.fd, name, Mode::from_raw_mode(0o755)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(error).context(shown),
                }
                self.at(name, flags).context(shown)?
            }
        };
        Ok(Dir { fd, path, _lent: None })
    }

    /// What is in the directory, without `.` and `..`, sorted by name.
    pub fn entries(&self) -> Result<Vec<Entry>> {
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
            entries.push(Entry { name: name.to_owned(), kind });
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

    /// Puts a file at `name`, whole or not at all, in place of whatever was there. `fill` writes the content and sets times.
    pub fn put_file(&self, name: &OsStr, mode: u32, fill: impl FnOnce(&mut File) -> std::io::Result<()>) -> Result<()> {
        let shown = || format!("write '{}'", visible_path(self.path.join(name)));
        let temporary = temporary_name(name);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let _ = rustix::fs::unlinkat(&self.fd, &temporary, AtFlags::empty());
        let fd = rustix::fs::openat(&self.fd, &temporary, flags, Mode::from_raw_mode(0o600)).context(shown)?;
        let mut file = File::from(fd);
        let result = fill(&mut file)
            .and_then(|()| Ok(rustix::fs::fchmod(&file, Mode::from_raw_mode(mode & 0o777))?))
            .context(shown)
            .and_then(|()| self.rename_over(&temporary, name));
        if result.is_err() {
            let _ = rustix::fs::unlinkat(&self.fd, &temporary, AtFlags::empty());
        }
        result
    }

    /// Puts a symbolic link at `name` in place of whatever was there.
    pub fn put_link(&self, name: &OsStr, target: &Path) -> Result<()> {
        let shown = || format!("link '{}'", visible_path(self.path.join(name)));
        let temporary = temporary_name(name);
        let _ = rustix::fs::unlinkat(&self.fd, &temporary, AtFlags::empty());
        rustix::fs::symlinkat(target, &self.fd, &temporary).context(shown)?;
        self.rename_over(&temporary, name)
    }

    fn rename_over(&self, from: &OsStr, to: &OsStr) -> Result<()> {
        let rename = || rustix::fs::renameat(&self.fd, from, &self.fd, to);
        match rename() {
            Err(Errno::ISDIR) => {
                self.remove_tree(to)?;
                rename()
            }
            result => result,
        }
        .context(|| format!("replace '{}'", visible_path(self.path.join(to))))
    }

    /// Gives `from` another name in this directory, which nothing has yet.
    pub fn rename_new(&self, from: &OsStr, to: &OsStr) -> Result<()> {
        let flags = rustix::fs::RenameFlags::NOREPLACE;
        rustix::fs::renameat_with(&self.fd, from, &self.fd, to, flags)
            .context(|| format!("rename '{}'", visible_path(self.path.join(from))))
    }

    /// Removes `name` and everything below it, following nothing. Missing is fine; directories made read-only are no
    /// obstacle, nor is a tree deeper than there are descriptors or than a stack is: directories are moved up before
    /// they are looked into.
    pub fn remove_tree(&self, name: &OsStr) -> Result<()> {
        let shown = || format!("remove '{}'", visible_path(self.path.join(name)));
        if self.unlink(name)? {
            return Ok(());
        }
        let top = self.sub_opened(name)?;
        let mut moved = 0;
        loop {
            let entries = top.entries()?;
            if entries.is_empty() {
                break;
            }
            for entry in entries {
                if !top.unlink(&entry.name)? {
                    top.sub_opened(&entry.name)?.empty_into(&top, &mut moved)?;
                    rustix::fs::unlinkat(&top.fd, &entry.name, AtFlags::REMOVEDIR).context(shown)?;
                }
            }
        }
        drop(top);
        rustix::fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR).context(shown)
    }

    /// Removes what is in this directory; its directories are moved to `top` under names that nobody has.
    fn empty_into(&self, top: &Dir, moved: &mut u64) -> Result<()> {
        for entry in self.entries()? {
            if self.unlink(&entry.name)? {
                continue;
            }
            // To move a directory to another parent, its own `..` is written.
            self.make_writable(&entry.name)?;
            loop {
                *moved += 1;
                let name = format!(".sbox-removed-{moved}");
                let flags = rustix::fs::RenameFlags::NOREPLACE;
                match rustix::fs::renameat_with(&self.fd, &entry.name, &top.fd, &name, flags) {
                    Err(Errno::EXIST) => {}
                    result => {
                        break result.context(|| format!("remove '{}'", visible_path(self.path.join(&entry.name))))?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Removes `name` unless it is a directory; returns whether it is gone.
    fn unlink(&self, name: &OsStr) -> Result<bool> {
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(true),
            Err(Errno::ISDIR | Errno::PERM) => Ok(false),
            Err(error) => Err(error).context(|| format!("remove '{}'", visible_path(self.path.join(name)))),
        }
    }

    /// The directory `name`, opened for everything, whatever its mode was.
    fn sub_opened(&self, name: &OsStr) -> Result<Dir> {
        if let Err(Errno::ACCESS) = self.at(name, OFlags::DIRECTORY | OFlags::RDONLY) {
            self.make_writable(name)?;
        }
        let dir = self.sub(name)?;
        let _ = rustix::fs::fchmod(&dir.fd, Mode::from_raw_mode(0o700));
        Ok(dir)
    }

    /// chmod of a directory that cannot even be opened. Through `/proc/self/fd` of an `O_PATH` descriptor: no link is
    /// followed.
    pub(crate) fn make_writable(&self, name: &OsStr) -> Result<()> {
        use std::os::fd::AsRawFd;
        let shown = || format!("open '{}'", visible_path(self.path.join(name)));
        let fd = self.at(name, OFlags::DIRECTORY | OFlags::PATH).context(shown)?;
        let through = format!("/proc/self/fd/{}", fd.as_raw_fd());
        rustix::fs::chmod(through, Mode::from_raw_mode(0o700)).context(shown)
    }

    /// Gives the owner of the directory at `place` all rights to it, if it can be done. Through an `O_PATH` descriptor, which
    /// needs none: no link is followed.
    fn open_to_owner(&self, place: &Path) -> bool {
        self.change_mode(place, OFlags::DIRECTORY, &|mode| mode | 0o700)
    }

    /// Takes every right to `name` from everybody, its owner included. A link is not followed.
    pub fn close_to_all(&self, name: &OsStr) -> bool {
        self.change_mode(Path::new(name), OFlags::empty(), &|_| 0)
    }

    fn change_mode(&self, place: &Path, flags: OFlags, new: &dyn Fn(u32) -> u32) -> bool {
        use std::os::fd::AsRawFd;
        let Ok(fd) = self.at(place, flags | OFlags::PATH) else { return false };
        let Ok(stat) = rustix::fs::fstat(&fd) else { return false };
        let mode = Mode::from_raw_mode(new(stat.st_mode & 0o7777));
        rustix::fs::chmod(format!("/proc/self/fd/{}", fd.as_raw_fd()), mode).is_ok()
    }

    /// Takes set-uid and set-gid from a regular file; tells whether it had one. A link is not followed.
    pub fn take_set_id(&self, name: &OsStr) -> bool {
        use std::os::fd::AsRawFd;
        let Ok(fd) = self.at(name, OFlags::PATH) else { return false };
        let Ok(stat) = rustix::fs::fstat(&fd) else { return false };
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        let through = format!("/proc/self/fd/{}", fd.as_raw_fd());
        is_file
            && stat.st_mode & 0o6000 != 0
            && rustix::fs::chmod(through, Mode::from_raw_mode(stat.st_mode & 0o1777)).is_ok()
    }

    /// Removes `name` if it is not a directory; tells whether it did.
    pub fn remove_file(&self, name: &OsStr) -> bool {
        rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()).is_ok()
    }

    /// Removes the directory `name` if it is empty; tells whether it did.
    pub fn remove_empty(&self, name: &OsStr) -> bool {
        rustix::fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR).is_ok()
    }

    /// Calls `visit` for everything below, parents first, with the directory it is in and its path from here.
    /// Does not cross into other file systems' mounts by link, since no link is followed.
    pub fn walk(&self, visit: &mut dyn FnMut(&Dir, &Entry, &Path) -> Result<()>) -> Result<()> {
        self.walk_in(&|_| false, visit)
    }

    /// The same without the places for which `skipped` is true, and what is below them.
    pub fn walk_in(
        &self,
        skipped: &dyn Fn(&Path) -> bool,
        visit: &mut dyn FnMut(&Dir, &Entry, &Path) -> Result<()>,
    ) -> Result<()> {
        self.walk_below(Path::new(""), skipped, visit)
    }

    fn walk_below(
        &self,
        place: &Path,
        skipped: &dyn Fn(&Path) -> bool,
        visit: &mut dyn FnMut(&Dir, &Entry, &Path) -> Result<()>,
    ) -> Result<()> {
        for entry in self.entries()? {
            let below = place.join(&entry.name);
            if skipped(&below) {
                continue;
            }
            visit(self, &entry, &below)?;
            if entry.kind == FileType::Directory {
                self.sub(&entry.name)?.walk_below(&below, skipped, visit)?;
            }
        }
        Ok(())
    }

    /// Adds `mode` to the file `name` while `work` runs, and takes it away again. A link is not followed.
    pub fn lend<T>(&self, name: &OsStr, mode: u32, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let _lent = self.lent(name, OFlags::empty(), mode)?;
        work()
    }

    /// Gives the owner every right to this directory while `work` runs: what is in it can be removed then.
    pub fn lend_self<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let shown = || format!("open '{}'", visible_path(&self.path));
        let mode = rustix::fs::fstat(&self.fd).context(shown)?.st_mode & 0o7777;
        if mode & 0o700 == 0o700 {
            return work();
        }
        let lent = Lent { fd: self.fd.try_clone().context(shown)?, mode };
        lent.change(mode | 0o700).context(shown)?;
        work()
    }

    fn lent(&self, name: &OsStr, flags: OFlags, mode: u32) -> Result<Lent> {
        let shown = || format!("open '{}'", visible_path(self.path.join(name)));
        let fd = self.at(name, OFlags::PATH | flags).context(shown)?;
        let old = rustix::fs::fstat(&fd).context(shown)?.st_mode & 0o7777;
        let lent = Lent { fd, mode: old };
        lent.change(old | mode).context(shown)?;
        Ok(lent)
    }
}

/// A hidden name beside `name`, short enough for any file system.
fn temporary_name(name: &OsStr) -> OsString {
    let start: String = name.to_string_lossy().chars().take(40).collect();
    OsString::from(format!(".{start}.sbox-{}", std::process::id()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("sbox-beneath-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(path.join("root")).unwrap();
        path
    }

    #[test]
    fn a_planted_link_never_leads_a_write_outside() {
        let base = scratch("link");
        std::fs::create_dir(base.join("outside")).unwrap();
        std::os::unix::fs::symlink(base.join("outside"), base.join("root/dir")).unwrap();
        let root = Dir::open(&base.join("root")).unwrap();
        let dir = root.sub_or_make(Path::new("dir/deep")).unwrap();
        dir.put_file("f".as_ref(), 0o644, |_| Ok(())).unwrap();
        assert!(std::fs::read_dir(base.join("outside")).unwrap().next().is_none());
        assert!(base.join("root/dir/deep/f").is_file());
        std::fs::remove_dir_all(base).unwrap();
    }

    #[test]
    fn a_place_cannot_lead_out() {
        let base = scratch("dots");
        let root = Dir::open(&base.join("root")).unwrap();
        assert!(root.sub_or_make(Path::new("a/../../b")).is_err());
        assert!(root.sub("..").is_err());
        std::fs::remove_dir_all(base).unwrap();
    }

    #[test]
    fn a_fifo_or_a_link_is_no_file() {
        let base = scratch("fifo");
        let fifo = base.join("root/fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", base.join("root/link")).unwrap();
        let root = Dir::open(&base.join("root")).unwrap();
        assert!(root.file("fifo").is_err());
        assert!(root.file("link").is_err());
        std::fs::remove_dir_all(base).unwrap();
    }

    #[test]
    fn a_tree_deeper_than_there_are_descriptors_is_removed() {
        let base = scratch("deep");
        let mut dir = Dir::open(&base.join("root")).unwrap();
        for level in 0..3000 {
            let deeper = dir.sub_or_make(Path::new("a-long-name-so-that-the-path-is-too-long-for-the-kernel")).unwrap();
            if level % 500 == 0 {
                deeper.put_file("f".as_ref(), 0o600, |_| Ok(())).unwrap();
                deeper.put_file(".sbox-removed-1".as_ref(), 0o600, |_| Ok(())).unwrap();
            }
            dir = Dir { fd: deeper.fd, path: PathBuf::from("deep"), _lent: None };
        }
        drop(dir);
        Dir::open(&base).unwrap().remove_tree("root".as_ref()).unwrap();
        assert!(!base.join("root").exists());
        std::fs::remove_dir_all(base).unwrap();
    }

    #[test]
    fn removing_a_tree_removes_links_and_not_their_targets() {
        let base = scratch("remove");
        std::fs::write(base.join("kept"), "x").unwrap();
        std::fs::create_dir_all(base.join("root/a/b")).unwrap();
        std::os::unix::fs::symlink(&base, base.join("root/a/b/up")).unwrap();
        let mut mode = std::fs::metadata(base.join("root/a/b")).unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut mode, 0o000);
        std::fs::set_permissions(base.join("root/a/b"), mode).unwrap();
        Dir::open(&base.join("root")).unwrap().remove_tree("a".as_ref()).unwrap();
        assert!(base.join("kept").is_file() && !base.join("root/a").exists());
        std::fs::remove_dir_all(base).unwrap();
    }
}
