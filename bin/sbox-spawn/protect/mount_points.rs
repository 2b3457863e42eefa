//! Mount points that are missing in a read-write mount: they have to be made in the user's own tree, and go when the
//! sandbox has ended.
//!
//! What was made is known by its inode, and goes only if it is still empty. A lock on each mount point says that it is in
//! use: the kernel takes the mount of another sandbox away when the directory below it is removed.

use super::survey::{Id, facts};
use super::{Place, open};
use libsbox::dir::Dir;
use libsbox::operation::{Access, Op};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FileType, FlockOperation, Mode, OFlags, ResolveFlags};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// One that is there while the sandbox runs.
pub struct MountPoint {
    /// In which read-write mount, and where.
    number: usize,
    path: PathBuf,
    /// What was made for it, from the outermost on.
    made: Vec<(PathBuf, Id)>,
    /// Itself, with a lock that others share. The descriptor is the processes' that need to know.
    held: Option<OwnedFd>,
}

/// Makes those that `ops` need in `places`. What cannot be made is an error when something is mounted there.
pub fn make(places: &[Place], ops: &[Op]) -> Vec<MountPoint> {
    let needed = ops.iter().enumerate().filter_map(|(at, op)| {
        let is_directory = is_mounted_as_directory(op)?;
        let (number, path) = below(places, &ops[..at], op.dst())?;
        Some(MountPoint::make(&places[number], number, path, is_directory))
    });
    needed.collect()
}

/// Whether a directory is mounted, or a file; nothing where nothing is, or what is there gets another mount.
fn is_mounted_as_directory(op: &Op) -> Option<bool> {
    let is_directory = |path: &Path| path.metadata().ok().map(|metadata| metadata.is_dir());
    match op {
        Op::Bind { src, .. } => is_directory(src),
        Op::BindBeneath { root, name, .. } => is_directory(&root.join(name)),
        Op::Overlay { .. } | Op::Tmpfs { .. } => Some(true),
        _ => None,
    }
}

/// What a mount point lies in, after these operations.
fn nearest<'a>(before: &'a [Op], dst: &Path) -> Option<&'a Op> {
    let is_mount = |op: &&Op| {
        matches!(op, Op::Bind { .. } | Op::BindBeneath { .. } | Op::Overlay { .. } | Op::Tmpfs { .. } | Op::Proc { .. })
            && dst.starts_with(op.dst())
            && dst != op.dst()
    };
    before.iter().filter(is_mount).max_by_key(|op| op.dst().components().count())
}

/// In which of the places a mount point lies, and where in it.
fn below(places: &[Place], before: &[Op], dst: &Path) -> Option<(usize, PathBuf)> {
    let (Op::Bind { access: Access::ReadWrite, dst: outer, .. }
    | Op::BindBeneath { access: Access::ReadWrite, dst: outer, .. }) = nearest(before, dst)?
    else {
        return None;
    };
    let number = places.iter().position(|place| place.dst == *outer)?;
    Some((number, dst.strip_prefix(outer).ok()?.to_owned()))
}

/// Removes those in the layer of the overlay at `outer`, which no sandbox uses any more: nobody else made them there, and
/// they would be taken for the agent's. What is not empty or is on the host, too, stays.
pub fn remove_from_layer(ops: &[Op], outer: &Path, src: &Path, upper: &Path) {
    let needed = ops.iter().enumerate().filter(|(at, op)| {
        is_mounted_as_directory(op).is_some()
            && matches!(nearest(&ops[..*at], op.dst()), Some(Op::Overlay { dst, .. }) if dst == outer)
    });
    let paths = needed.filter_map(|(_, op)| op.dst().strip_prefix(outer).ok());
    let (Ok(host), Ok(upper)) = (Dir::open(src), Dir::open(upper)) else { return };
    for part in paths.flat_map(Path::ancestors).filter(|part| !part.as_os_str().is_empty()) {
        let (Some(above), Some(name)) = (part.parent(), part.file_name()) else { continue };
        let is_on_host = open(&host, above).is_ok_and(|above| facts(&above, name).is_some());
        let Ok(above) = open(&upper, above) else { continue };
        match facts(&above, name).filter(|_| !is_on_host) {
            Some(now) if now.kind == FileType::Directory => drop(above.remove_empty(name)),
            Some(now) if now.kind == FileType::RegularFile && now.size == 0 => drop(above.remove_file(name)),
            _ => {}
        }
    }
}

impl MountPoint {
    fn make(place: &Place, number: usize, path: PathBuf, is_directory: bool) -> MountPoint {
        let mut point = MountPoint { number, path, made: Vec::new(), held: None };
        let Ok(root) = place.root() else { return point };
        let parts: Vec<&Path> = {
            let mut all: Vec<&Path> = point.path.ancestors().filter(|part| !part.as_os_str().is_empty()).collect();
            all.reverse();
            all
        };
        for part in &parts {
            let (Ok(above), Some(name)) = (open(&root, part.parent().unwrap_or(Path::new(""))), part.file_name())
            else {
                break;
            };
            let is_last = *part == point.path;
            let made = match is_directory || !is_last {
                true => rustix::fs::mkdirat(above.as_fd(), name, Mode::from_raw_mode(0o755)),
                false => make_file(above.as_fd(), name),
            };
            if let (Ok(()), Some(facts)) = (made, facts(&above, name)) {
                point.made.push((part.to_path_buf(), facts.id));
            }
        }
        point.held = hold(root.as_fd(), &point.path);
        point
    }

    /// The sandbox has ended: removes what was made for it, unless somebody uses it.
    pub fn remove(&self, places: &[Place]) {
        let Some(root) = places.get(self.number).and_then(|place| place.root().ok()) else { return };
        let is_free = |held: &OwnedFd| rustix::fs::flock(held, FlockOperation::NonBlockingLockExclusive).is_ok();
        if self.made.is_empty() || !self.held.as_ref().is_none_or(is_free) {
            return;
        }
        for (path, id) in self.made.iter().rev() {
            let (Ok(above), Some(name)) = (open(&root, path.parent().unwrap_or(Path::new(""))), path.file_name())
            else {
                return;
            };
            let removed = match facts(&above, name).filter(|now| now.id == *id) {
                Some(now) if now.kind == FileType::Directory => above.remove_empty(name),
                Some(now) => now.size == 0 && above.remove_file(name),
                None => false,
            };
            if !removed {
                return;
            }
        }
    }
}

fn make_file(above: impl AsFd, name: &OsStr) -> rustix::io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(above, name, flags, Mode::from_raw_mode(0o644)).map(drop)
}

/// A lock that all sandboxes share that mount something there. A pipe or a device is not opened for it.
fn hold(root: impl AsFd, path: &Path) -> Option<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let is_plain = |fd: &OwnedFd| {
        let kind = rustix::fs::fstat(fd).map(|stat| FileType::from_raw_mode(stat.st_mode));
        matches!(kind, Ok(FileType::Directory | FileType::RegularFile))
    };
    let look = rustix::fs::openat2(&root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve).ok()?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let held = is_plain(&look).then(|| rustix::fs::openat2(&root, path, flags, Mode::empty(), resolve))?.ok()?;
    rustix::fs::flock(&held, FlockOperation::NonBlockingLockShared).ok()?;
    Some(held)
}
