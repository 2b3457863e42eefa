//! Making and replacing entries: each appears whole or not at all, in place of whatever was there.

use super::Dir;
use crate::error::{Context, Error, Result};
use crate::escape::visible_path;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::{Component, Path};

impl Dir {
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
}

/// A hidden name beside `name`, short enough for any file system.
fn temporary_name(name: &OsStr) -> OsString {
    let start: String = name.to_string_lossy().chars().take(40).collect();
    OsString::from(format!(".{start}.sbox-{}", std::process::id()))
}
