//! What an entry is, on the host or in a layer.

use crate::dir::Dir;
use crate::error::{Context, Result};
use crate::escape::visible_path;
use rustix::fs::{AtFlags, FileType, StatxFlags};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd};

/// What sort of entry it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A regular file.
    File,
    /// A symbolic link.
    Link,
    /// A directory.
    Directory,
    /// A pipe, a socket or a device: never applied.
    Special,
}

/// What is known of an entry.
#[derive(Debug, Clone)]
pub struct Node {
    /// What sort it is.
    pub what: What,
    /// All bits of its mode but the sort.
    pub mode: u32,
    /// In bytes.
    pub size: u64,
    /// Its device and inode.
    pub id: (u64, u64),
    /// When it last changed in any way, in nanoseconds.
    pub ctime: i64,
    /// When its content last changed.
    pub mtime: i64,
    /// When its inode was made, where the file system knows.
    pub birth: Option<i64>,
    /// Its owner and group.
    pub owner: (u32, u32),
    /// Whether it is the mark of an overlay for something that was deleted.
    pub whiteout: bool,
}

impl Node {
    /// Looks at `name` in `dir`, not following a link; `None` if there is none.
    pub fn look(dir: &Dir, name: &OsStr) -> Result<Option<Node>> {
        let flags = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
        let found = match rustix::fs::statx(dir, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT, flags) {
            Ok(found) => found,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(error) => return Err(error).context(|| format!("look at '{}'", visible_path(dir.path().join(name)))),
        };
        let nanoseconds = |time: rustix::fs::StatxTimestamp| time.tv_sec * 1_000_000_000 + i64::from(time.tv_nsec);
        let kind = FileType::from_raw_mode(found.stx_mode.into());
        let has_birth = found.stx_mask & StatxFlags::BTIME.bits() != 0;
        let device = (found.stx_rdev_major, found.stx_rdev_minor);
        let empty = kind == FileType::RegularFile && found.stx_size == 0;
        Ok(Some(Node {
            what: match kind {
                FileType::RegularFile => What::File,
                FileType::Symlink => What::Link,
                FileType::Directory => What::Directory,
                _ => What::Special,
            },
            mode: u32::from(found.stx_mode) & 0o7777,
            size: found.stx_size,
            id: (rustix::fs::makedev(found.stx_dev_major, found.stx_dev_minor), found.stx_ino),
            ctime: nanoseconds(found.stx_ctime),
            mtime: nanoseconds(found.stx_mtime),
            owner: (found.stx_uid, found.stx_gid),
            birth: has_birth.then(|| nanoseconds(found.stx_btime)),
            whiteout: kind == FileType::CharacterDevice && device == (0, 0)
                // The other form, since Linux 6.7. An agent cannot make one: what it writes gets another name.
                || empty && attribute(dir, name, "user.overlay.whiteout").is_some(),
        }))
    }

    /// The mode that an entry of the agent's gets on the host, in place of one that had `old`: never a set-id or sticky
    /// bit, never writable for the whole world unless it was that before, and never closed to its owner, who could not
    /// work in such a directory, nor compare such a file with the agent's.
    pub fn mode_on_the_host(&self, old: Option<u32>) -> u32 {
        let owner = if self.is_directory() { 0o700 } else { 0o400 };
        (self.mode | owner) & 0o777 & !(0o002 & !old.unwrap_or(0))
    }

    /// Whether nothing of the host's shows through a directory of an overlay's upper layer.
    pub fn is_opaque(dir: &Dir, name: &OsStr) -> bool {
        attribute(dir, name, "user.overlay.opaque").is_some_and(|value| value == b"y")
    }

    /// Whether its owner may not read it.
    pub fn is_closed(&self) -> bool {
        self.mode & 0o400 == 0
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.what == What::Directory
    }
}

/// An extended attribute of `name` in `dir`. The last component is not followed.
pub(super) fn attribute(dir: &Dir, name: &OsStr, attribute: &str) -> Option<Vec<u8>> {
    let path = std::path::Path::new("/proc/self/fd").join(dir.as_fd().as_raw_fd().to_string()).join(name);
    let mut value = [0; 256];
    let length = rustix::fs::lgetxattr(path, attribute, &mut value).ok()?;
    Some(value[..length].to_vec())
}
