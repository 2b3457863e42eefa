//! Executes the plan: makes the new root, moves into it, and leaves the old one behind.
//!
//! Everything goes by descriptor. Sources are cloned first, while the host's tree is still whole; places in the new
//! root are looked up beneath its descriptor, one component at a time and through no symbolic link, so that nothing an
//! agent planted in an earlier run can lead a mount, a directory or a file of ours to another place.

use crate::overlay::Layers;
use crate::sandbox::Sandbox;
use crate::unavailable;
use libsbox::error::{Context, Error, Result};
use libsbox::escape::visible_path;
use libsbox::operation::{Access, Op};
use libsbox::sys;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Where the new root is hung up while it is made. Any directory would do that is not the source of a bind.
const STAGING_MOUNTPOINT: &str = "/proc";

/// Files, directories and links in each file system in memory: an empty one takes about a kilobyte of the kernel's memory,
/// which no limit of its size counts. As many as a `node_modules` of the larger kind has, several times over.
const INODES: u64 = 1 << 19;

const NO_SETUID: u64 = libc::MOUNT_ATTR_NOSUID;
const NO_DEVICES: u64 = libc::MOUNT_ATTR_NODEV;
const READ_ONLY: u64 = libc::MOUNT_ATTR_RDONLY;

/// What an operation takes from the host while its tree is in sight.
pub enum Taken {
    Nothing,
    /// A detached mount tree, or a file to be copied.
    Source(OwnedFd),
    Layers(Layers),
}

/// Takes the sources of all operations, in their order. The caller may mount in the namespace it is in. `detached`: the
/// layers of overlays as mount trees too, for another process to mount.
pub fn take(sandbox: &Sandbox, detached: bool) -> Result<Vec<Taken>> {
    let source = |op: &Op| match op {
        Op::Overlay { src, dst, layer } => match sandbox.layer(dst).and_then(|layer| layer.shared.as_ref()) {
            Some(shared) => {
                let mount = shared.mount.try_clone().context(|| format!("mount '{}'", visible_path(dst)))?;
                Ok(Taken::Source(mount))
            }
            None => Layers::take(src, layer, detached).map(Taken::Layers),
        },
        op => Ok(clone_source(op)?.map_or(Taken::Nothing, Taken::Source)),
    };
    sandbox.ops.iter().map(source).collect()
}

/// Makes the root of the sandbox and enters it. The caller is in fresh user, mount and pid namespaces; `taken` are
/// the trees if somebody with more rights had to take them.
pub fn enter(sandbox: &Sandbox, taken: Option<Vec<Taken>>) -> Result<()> {
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private).map_err(|error| unavailable::no_namespaces(&error.into()))?;
    let taken = match taken {
        Some(taken) => taken,
        None => take(sandbox, false)?,
    };
    // Before the root is hung up: overlays are given by /proc/self/fd, which it covers.
    let sources = mount_overlays(taken)?;
    let mut root = Root::new()?;
    for (op, source) in sandbox.ops.iter().zip(sources) {
        root.execute(op, source)?;
    }
    root.seal()?;
    root.enter()
}

/// Makes the overlays; what the others took stays as it is.
fn mount_overlays(taken: Vec<Taken>) -> Result<Vec<Option<OwnedFd>>> {
    if taken.iter().any(|taken| matches!(taken, Taken::Layers(_))) {
        rustix::process::chdir("/proc/self/fd").context(|| "open '/proc/self/fd'".into())?;
    }
    let source = |taken: Taken| match taken {
        Taken::Nothing => Ok(None),
        Taken::Source(source) => Ok(Some(source)),
        Taken::Layers(layers) => {
            if layers.detached {
                // Before Linux 6.15 an overlay takes nothing that is not attached. They go with the old root.
                for tree in [&layers.lower, &layers.layer] {
                    attach(tree.as_fd(), staging()?.as_fd()).context(|| "hang up a layer".into())?;
                }
            }
            layers.mount().map(Some)
        }
    };
    taken.into_iter().map(source).collect()
}

/// Executes an operation that takes nothing from the host, in the root that this process is in, if what is at its place is
/// `wanted` (device and inode).
pub fn execute_here(op: &Op, wanted: (u64, u64)) -> Result<()> {
    let top = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let mut root = Root { top: top.context(|| "open the root".into())?, sealed: Vec::new() };
    let found = root.existing(op.dst())?.and_then(|place| rustix::fs::fstat(&place).ok());
    if found.is_none_or(|found| (found.st_dev, found.st_ino) != wanted) {
        return Err(Error::new("something else is at its place"));
    }
    root.execute(op, None)?;
    root.seal_covers()
}

/// A detached copy of the mount tree that `op` takes from the host.
fn clone_source(op: &Op) -> Result<Option<OwnedFd>> {
    let (tree, access) = match op {
        Op::Bind { src, access, optional, .. } => {
            let recursive =
                if *access == Access::Device { OpenTreeFlags::empty() } else { OpenTreeFlags::AT_RECURSIVE };
            let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | recursive;
            match rustix::mount::open_tree(CWD, src, flags) {
                Err(Errno::NOENT | Errno::ACCESS) if *optional => return Ok(None),
                tree => (tree.context(|| format!("bind '{}'", visible_path(src)))?, *access),
            }
        }
        Op::BindBeneath { root, name, access, .. } => (clone_entry(root, name)?, *access),
        // No tree: the file itself, opened while the host's is still in sight.
        Op::Copy { src, .. } => return Ok(rustix::fs::open(src, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()),
        _ => return Ok(None),
    };
    let attributes = match access {
        Access::ReadOnly => NO_SETUID | NO_DEVICES | READ_ONLY,
        Access::ReadWrite => NO_SETUID | NO_DEVICES,
        Access::Device => NO_SETUID | libc::MOUNT_ATTR_NOEXEC,
    };
    sys::mount_attributes(tree.as_fd(), attributes, access != Access::Device)
        .context(|| format!("restrict the bind on '{}'", visible_path(op.dst())))?;
    Ok(Some(tree))
}

fn clone_entry(root: &Path, name: &Path) -> Result<OwnedFd> {
    clone_descriptor(open_beneath(root, name)?.as_fd()).context(|| format!("bind '{}'", visible_path(root.join(name))))
}

/// An entry of a directory that the agent can write. It may have swapped the entry for a symbolic link since the plan was
/// made: then this fails.
pub fn open_beneath(root: &Path, name: &Path) -> Result<OwnedFd> {
    let shown = || format!("bind '{}'", visible_path(root.join(name)));
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::open(root, flags, Mode::empty());
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    // Without O_NOFOLLOW: with it, a symbolic link at the end would be opened itself instead of being refused.
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    rustix::fs::openat2(directory.context(shown)?, name, flags, Mode::empty(), resolve).context(shown)
}

fn clone_descriptor(fd: BorrowedFd<'_>) -> rustix::io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE
        | OpenTreeFlags::AT_EMPTY_PATH;
    rustix::mount::open_tree(fd, "", flags)
}

fn attach(tree: BorrowedFd<'_>, place: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(tree, "", place, "", flags)
}

/// A mount of a fresh file system of `kind`, not yet attached.
fn fresh(kind: &str, options: &[(&str, &str)]) -> rustix::io::Result<OwnedFd> {
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        rustix::mount::fsconfig_set_string(context.as_fd(), *key, *value)?;
    }
    rustix::mount::fsconfig_create(context.as_fd())?;
    let flags = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    // A device node on devpts is a terminal, so that one kind of mount keeps them.
    let flags = match kind {
        "devpts" => MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC,
        "proc" => flags | MountAttrFlags::MOUNT_ATTR_NOEXEC,
        _ => flags,
    };
    rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, flags)
}

fn staging() -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(STAGING_MOUNTPOINT, flags, Mode::empty()).context(|| format!("open '{STAGING_MOUNTPOINT}'"))
}

struct Root {
    top: OwnedFd,
    /// Mounts of ours that become read-only when everything is in place.
    sealed: Vec<(PathBuf, OwnedFd)>,
}

impl Root {
    fn new() -> Result<Root> {
        let top = fresh("tmpfs", &[("mode", "0755")]).context(|| "make the root".into());
        let top = top.map_err(unavailable::where_a_filter_forbids)?;
        attach(top.as_fd(), staging()?.as_fd()).context(|| "hang up the root".into())?;
        Ok(Root { top, sealed: Vec::new() })
    }

    fn execute(&mut self, op: &Op, tree: Option<OwnedFd>) -> Result<()> {
        let place = match op {
            Op::Bind { dst, .. } | Op::BindBeneath { dst, .. } | Op::Overlay { dst, .. } => {
                let Some(tree) = tree else { return Ok(()) };
                return self.bind(tree.as_fd(), dst);
            }
            Op::Copy { dst, .. } => {
                let Some(file) = tree else { return Ok(()) };
                return self.copy(file, dst);
            }
            Op::File { dst, content } => return self.file(dst, content.as_bytes()),
            Op::Link { dst, target } => return self.link(dst, target),
            Op::Show { of, dst } => return self.show(of, dst),
            Op::RemountReadOnly { dst } => return self.again(dst, READ_ONLY | NO_SETUID | NO_DEVICES),
            Op::SelfBind { dst } => return self.again(dst, NO_SETUID | NO_DEVICES),
            Op::Mask { dst } => return self.mask(dst),
            Op::Tmpfs { dst, .. } | Op::Proc { dst } | Op::Pts { dst } => self.directory(dst)?,
        };
        let mount = match op {
            Op::Tmpfs { mode, size, .. } => {
                let (mode, inodes) = (format!("{mode:o}"), INODES.to_string());
                let mut options = vec![("mode", &*mode), ("nr_inodes", &*inodes)];
                let size = size.map(|size| size.to_string());
                options.extend(size.as_deref().map(|size| ("size", size)));
                fresh("tmpfs", &options)
            }
            Op::Proc { .. } => fresh("proc", &[]),
            Op::Pts { .. } => fresh("devpts", &[("mode", "0620"), ("ptmxmode", "0666")]),
            _ => return Ok(()),
        };
        let dst_shown = || format!("mount on '{}'", visible_path(op.dst()));
        let mount = match (op, mount) {
            (Op::Proc { .. }, Err(error @ Errno::PERM)) => return Err(unavailable::no_proc(error)),
            (_, mount) => mount.context(dst_shown)?,
        };
        attach(mount.as_fd(), place.as_fd()).context(dst_shown)?;
        if let Op::Tmpfs { dst, seal: true, .. } = op {
            self.sealed.push((dst.clone(), mount));
        }
        Ok(())
    }

    fn bind(&self, tree: BorrowedFd<'_>, dst: &Path) -> Result<()> {
        let kind = rustix::fs::fstat(tree).context(|| format!("look at '{}'", visible_path(dst)))?.st_mode;
        let place = match FileType::from_raw_mode(kind) {
            FileType::Directory => self.directory(dst)?,
            _ => self.empty_file(dst)?,
        };
        attach(tree, place.as_fd()).context(|| format!("bind onto '{}'", visible_path(dst)))
    }

    /// The directory at `dst`, made where it is missing. No component may be a symbolic link.
    fn directory(&self, dst: &Path) -> Result<OwnedFd> {
        let mut at = self.top.try_clone().context(|| "keep the root".into())?;
        for name in dst.components().skip(1) {
            let name = name.as_os_str();
            let shown = || format!("make '{}' in the sandbox", visible_path(dst));
            at = match open_in(at.as_fd(), name, OFlags::DIRECTORY) {
                Err(Errno::NOENT) => {
                    match rustix::fs::mkdirat(&at, name, Mode::from_raw_mode(0o755)) {
                        Ok(()) | Err(Errno::EXIST) => {}
                        Err(error) => return Err(error).context(shown),
                    }
                    open_in(at.as_fd(), name, OFlags::DIRECTORY).context(shown)?
                }
                Err(Errno::LOOP | Errno::NOTDIR) => return Err(in_the_way(dst)),
                found => found.context(shown)?,
            };
        }
        Ok(at)
    }

    fn parent(&self, dst: &Path) -> Result<(OwnedFd, std::ffi::OsString)> {
        let name = dst.file_name().ok_or_else(|| Error::new("cannot replace the root itself"))?;
        Ok((self.directory(dst.parent().unwrap_or(Path::new("/")))?, name.to_owned()))
    }

    /// A place for a bind of something that is not a directory.
    fn empty_file(&self, dst: &Path) -> Result<OwnedFd> {
        let (parent, name) = self.parent(dst)?;
        match open_in(parent.as_fd(), &name, OFlags::empty()) {
            Err(Errno::NOENT) => {}
            Err(Errno::LOOP) => return Err(in_the_way(dst)),
            found => return found.context(|| format!("open '{}' in the sandbox", visible_path(dst))),
        }
        create(&parent, &name).context(|| format!("make '{}' in the sandbox", visible_path(dst)))
    }

    /// The files of `/etc` that are copied have some kilobytes; what is longer is none of them.
    fn copy(&self, file: OwnedFd, dst: &Path) -> Result<()> {
        const LONGEST: u64 = 4 << 20;
        let mut content = Vec::new();
        let read = std::fs::File::from(file).take(LONGEST).read_to_end(&mut content);
        read.context(|| format!("copy '{}'", visible_path(dst)))?;
        self.file(dst, &content)
    }

    fn file(&self, dst: &Path, content: &[u8]) -> Result<()> {
        let (parent, name) = self.parent(dst)?;
        let shown = || format!("write '{}' in the sandbox", visible_path(dst));
        let file = create(&parent, &name).context(shown)?;
        std::io::Write::write_all(&mut std::fs::File::from(file), content).context(shown)
    }

    fn link(&self, dst: &Path, target: &Path) -> Result<()> {
        let (parent, name) = self.parent(dst)?;
        let made = rustix::fs::symlinkat(target, &parent, &name);
        // In a directory that stays, as /tmp does, it is there since the last run.
        if made == Err(Errno::EXIST) {
            let found = rustix::fs::readlinkat(&parent, &name, Vec::new());
            if found.is_ok_and(|found| found.as_bytes() == target.as_os_str().as_encoded_bytes()) {
                return Ok(());
            }
        }
        made.context(|| format!("link '{}'", visible_path(dst)))
    }

    /// What is at `dst`, if anything is.
    fn existing(&self, dst: &Path) -> Result<Option<OwnedFd>> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        match rustix::fs::openat2(&self.top, dst, flags, Mode::empty(), resolve) {
            Err(Errno::NOENT) => Ok(None),
            found => Ok(Some(found.context(|| format!("open '{}' in the sandbox", visible_path(dst)))?)),
        }
    }

    /// Mounts what is at `dst` there once more.
    fn again(&self, dst: &Path, attributes: u64) -> Result<()> {
        let Some(place) = self.existing(dst)? else { return Ok(()) };
        let shown = || format!("protect '{}'", visible_path(dst));
        let tree = clone_descriptor(place.as_fd()).context(shown)?;
        sys::mount_attributes(tree.as_fd(), attributes, true).context(shown)?;
        attach(tree.as_fd(), place.as_fd()).context(shown)
    }

    /// Shows what is at one place at another one, too.
    fn show(&self, of: &Path, dst: &Path) -> Result<()> {
        let (Some(source), Some(place)) = (self.existing(of)?, self.existing(dst)?) else { return Ok(()) };
        let shown = || format!("show '{}' at '{}'", visible_path(of), visible_path(dst));
        let tree = clone_descriptor(source.as_fd()).context(shown)?;
        sys::mount_attributes(tree.as_fd(), READ_ONLY | NO_SETUID | NO_DEVICES, true).context(shown)?;
        attach(tree.as_fd(), place.as_fd()).context(shown)
    }

    fn mask(&self, dst: &Path) -> Result<()> {
        let Some(place) = self.existing(dst)? else { return Ok(()) };
        let shown = || format!("mask '{}'", visible_path(dst));
        let kind = rustix::fs::fstat(&place).context(shown)?.st_mode;
        let cover = if FileType::from_raw_mode(kind) == FileType::Directory {
            fresh("tmpfs", &[("mode", "0555")])
        } else {
            let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
            rustix::mount::open_tree(CWD, "/dev/null", flags)
        };
        let cover = cover.context(shown)?;
        sys::mount_attributes(cover.as_fd(), READ_ONLY | NO_SETUID, false).context(shown)?;
        attach(cover.as_fd(), place.as_fd()).context(shown)
    }

    /// Nothing more is made: the root and every tmpfs of ours that is not meant for writing become read-only.
    fn seal(&self) -> Result<()> {
        self.seal_covers()?;
        sys::mount_attributes(self.top.as_fd(), READ_ONLY, false).context(|| "seal the root".into())
    }

    fn seal_covers(&self) -> Result<()> {
        for (dst, mount) in &self.sealed {
            sys::mount_attributes(mount.as_fd(), READ_ONLY, false)
                .context(|| format!("seal '{}'", visible_path(dst)))?;
        }
        Ok(())
    }

    /// Makes this the root of the process and takes the old one away (pivot_root(2), "pivot_root(".", ".")").
    fn enter(self) -> Result<()> {
        let shown = || String::from("enter the new root");
        rustix::process::fchdir(&self.top).context(shown)?;
        match rustix::process::pivot_root(".", ".") {
            Err(error @ Errno::INVAL) => return Err(unavailable::no_pivot_root(error)),
            entered => entered.context(shown)?,
        }
        rustix::mount::unmount(".", UnmountFlags::DETACH).context(|| "leave the old root".into())?;
        rustix::process::chdir("/").context(shown)
    }
}

fn open_in(at: BorrowedFd<'_>, name: &std::ffi::OsStr, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    rustix::fs::openat2(at, name, OFlags::PATH | OFlags::CLOEXEC | flags, Mode::empty(), resolve)
}

fn create(parent: &OwnedFd, name: &std::ffi::OsStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o644))
}

fn in_the_way(dst: &Path) -> Error {
    let shown = visible_path(dst);
    Error::new(format!("cannot make '{shown}' in the sandbox: a link or a file is in the way"))
        .hint("something in the sandbox put it there: remove it from .sbox/rootfs, or choose another place")
}
