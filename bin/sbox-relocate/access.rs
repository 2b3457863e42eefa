//! Files and directories that an agent has closed (`chmod 0`) are opened all the same, and get their modes back.

use libsbox::dir::Dir;
use libsbox::error::Result;
use rustix::fs::{Access, AtFlags, Mode, Stat};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::{Component, Path};

/// Directories that were opened for us, and the modes that they had.
#[derive(Default)]
pub struct Opened {
    changed: Vec<(Dir, OsString, u32)>,
}

impl Opened {
    /// The directory `place` below `root`, with `access` to it.
    pub fn dir(&mut self, root: &Dir, place: &Path, access: Access) -> Result<Dir> {
        let mut dir = root.sub(".")?;
        for part in place.components() {
            if let Component::Normal(name) = part {
                dir = self.child(&dir, name, access)?;
            }
        }
        Ok(dir)
    }

    /// The directory `name`, with `access` to it.
    pub fn child(&mut self, parent: &Dir, name: &OsStr, access: Access) -> Result<Dir> {
        let found = parent.sub(name);
        if let Ok(dir) = &found
            && rustix::fs::accessat(dir, ".", access, AtFlags::EACCESS).is_ok()
        {
            return found;
        }
        let Some(stat) = parent.stat(name)?.filter(is_ours) else { return found };
        let mode = stat.st_mode & 0o7777;
        if mode & 0o700 == 0o700 || !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir() {
            return found;
        }
        chmod(parent, name, mode | 0o700)?;
        self.changed.push((parent.sub(".")?, name.to_owned(), mode));
        parent.sub(name)
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        for (parent, name, mode) in self.changed.drain(..).rev() {
            let _ = chmod(&parent, &name, mode);
        }
    }
}

/// Whether its modes are ours to change.
pub fn is_ours(stat: &Stat) -> bool {
    stat.st_uid == rustix::process::geteuid().as_raw()
}

/// Through a descriptor that follows no link.
fn chmod(parent: &Dir, name: &OsStr, mode: u32) -> Result<()> {
    use libsbox::error::Context;
    use rustix::fs::{OFlags, ResolveFlags};
    use std::os::fd::AsRawFd;
    let shown = || format!("open '{}'", libsbox::escape::visible_path(parent.path().join(name)));
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let fd = rustix::fs::openat2(parent, name, flags, Mode::empty(), resolve).context(shown)?;
    rustix::fs::chmod(format!("/proc/self/fd/{}", fd.as_raw_fd()), Mode::from_raw_mode(mode)).context(shown)
}

/// A regular file, also one that its owner may not read.
pub fn file(dir: &Dir, name: &OsStr) -> Result<File> {
    match dir.file(name) {
        Err(_) if dir.stat(name)?.is_some_and(|stat| is_ours(&stat) && stat.st_mode & 0o400 == 0) => {
            dir.lend(name, 0o400, || dir.file(name))
        }
        file => file,
    }
}
