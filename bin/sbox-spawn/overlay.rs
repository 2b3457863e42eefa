//! Copy-on-write mounts: an overlay of a directory of the host, which is never written, and of a layer that takes every
//! change.
//!
//! The layer is a directory with `upper/` and `work/` in it. It is mounted in the sandbox's user namespace (`userxattr`,
//! Linux 5.11), so that no capability of the host's is needed. Both directories are given by descriptor: nothing that
//! happens to the host's paths meanwhile can lead the mount elsewhere.

use libsbox::error::{Context, Error, Kind, Result};
use libsbox::escape::visible_path;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, FsPickFlags, MountAttrFlags, OpenTreeFlags};
use std::path::{Path, PathBuf};

/// The two directories of one overlay, taken while the host's tree is in sight.
pub struct Layers {
    /// For messages.
    src: PathBuf,
    pub lower: OwnedFd,
    pub layer: OwnedFd,
    /// Whether they are mount trees of their own, and not yet attached to any place.
    pub detached: bool,
}

impl Layers {
    /// Opens the directories. `detached`: as mount trees, whose ids can be mapped.
    pub fn take(src: &Path, layer: &Path, detached: bool) -> Result<Layers> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        // Both paths have no link in them. One that is there now is the work of a sandbox in which a part of the path is writable.
        let open = |path: &Path| {
            let shown = || format!("open '{}'", visible_path(path));
            let directory =
                rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS).context(shown)?;
            if detached { clone(directory.as_fd()).context(shown) } else { Ok(directory) }
        };
        Ok(Layers { src: src.to_owned(), lower: open(src)?, layer: open(layer)?, detached })
    }

    /// The overlay, not yet attached. The caller's working directory is `/proc/self/fd`.
    pub fn mount(&self) -> Result<OwnedFd> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = |name: &str| {
            rustix::fs::openat2(&self.layer, name, flags, Mode::empty(), resolve)
                .context(|| format!("open '{name}' of the layer for '{}'", visible_path(&self.src)))
        };
        let (upper, work) = (open("upper")?, open("work")?);
        mount(self.lower.as_fd(), upper.as_fd(), work.as_fd()).map_err(|why| cannot(&self.src, &why))
    }
}

/// The error of a host or a file system that has no overlay for this directory.
pub fn cannot(src: &Path, why: &str) -> Error {
    Error::of(Kind::Unavailable, format!("cannot mount '{}' copy-on-write: {why}", visible_path(src)))
        .hint("the overlay file system is not available here; a private copy of the directory can be mounted instead")
}

/// One mount without those below it: an overlay does not show them.
fn clone(directory: BorrowedFd<'_>) -> rustix::io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    rustix::mount::open_tree(directory, "", flags)
}

fn mount(lower: BorrowedFd<'_>, upper: BorrowedFd<'_>, work: BorrowedFd<'_>) -> std::result::Result<OwnedFd, String> {
    let reason = |error: rustix::io::Errno| libsbox::error::reason(&error.into());
    // The kernel mounts it all the same, and then no directory of the lower one can be removed (EIO): tmpfs before Linux 6.6.
    let none = rustix::fs::getxattr(upper.as_raw_fd().to_string(), "user.overlay.opaque", &mut [0u8; 0]);
    if none == Err(rustix::io::Errno::NOTSUP) {
        return Err("its file system has no attributes of users (user.*), as tmpfs before Linux 6.6".into());
    }
    let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(reason)?;
    let configured = (|| {
        for (key, directory) in [("lowerdir", lower), ("upperdir", upper), ("workdir", work)] {
            rustix::mount::fsconfig_set_string(&context, key, directory.as_raw_fd().to_string())?;
        }
        rustix::mount::fsconfig_set_flag(&context, "userxattr")?;
        rustix::mount::fsconfig_create(&context)?;
        let flags = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
        rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, flags)
    })();
    // The kernel explains an error in the context's log; its number alone says little.
    configured.map_err(|error| log(&context).unwrap_or_else(|| reason(error)))
}

/// The last line of a file system context's log, such as `e overlay: ...`.
fn log(context: &OwnedFd) -> Option<String> {
    let mut last = None;
    let mut line = [0u8; 512];
    while let Ok(length @ 1..) = rustix::io::read(context, &mut line) {
        last = Some(String::from_utf8_lossy(&line[..length]).trim_end().to_owned());
    }
    last.map(|line| libsbox::escape::visible(line.trim_start_matches("e ")).to_string())
}

/// Drops what the overlay at `place` remembers of its lower directory. It caches names and files that it has looked up,
/// and does not see that somebody replaced them on the host. The caller has the rights of the overlay's user namespace.
pub fn refresh(place: &Path) -> rustix::io::Result<()> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    // The agent may have put a link in the way.
    let place = rustix::fs::openat2(CWD, place, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)?;
    let picked = FsPickFlags::FSPICK_CLOEXEC | FsPickFlags::FSPICK_EMPTY_PATH;
    let context = rustix::mount::fspick(&place, "", picked)?;
    rustix::mount::fsconfig_reconfigure(&context)
}
