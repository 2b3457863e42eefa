//! The new root as an ordered list of operations: built here, printed by `--dry-run`, executed by `assemble`.

use crate::args::{Args, Mount};
use crate::base;
use crate::hidden::Hidden;
use crate::home::Home;
use crate::mountinfo;
use crate::protect::Protection;
use libsbox::error::{Context, Error, Result};
use libsbox::inner_source;
use libsbox::model::reserved;
use libsbox::operation::{Access, Op};
use std::path::{Path, PathBuf};

/// The whole root for `args`; `home` is where the account's home directory is inside.
pub fn build(args: &Args, home: &Path, protection: &Protection) -> Result<Vec<Op>> {
    let hidden = Hidden::of(args)?;
    let mut ops = hidden.cover(base::system(home, hostname(args), args.nested)?)?;
    ops.extend(args.devices.iter().map(|(src, dst)| Op::Bind {
        src: src.clone(),
        dst: dst.clone(),
        access: Access::Device,
        optional: false,
    }));
    ops.extend(args.files.iter().map(|(dst, content)| Op::File { dst: dst.clone(), content: content.clone() }));
    ops.extend(args.shown.iter().map(|(of, dst)| Op::Show { of: of.clone(), dst: dst.clone() }));
    let second = Home::of(args, home);
    if let Some(root) = &args.root {
        ops.extend(hidden.cover(root_entries(root, second.is_some(), &args.files)?)?);
        ops.extend(second.as_ref().and_then(Home::before));
    } else {
        ops.extend([home, Path::new("/tmp")].map(|dst| Op::Tmpfs {
            dst: dst.into(),
            mode: 0o1777,
            seal: false,
            size: None,
        }));
    }
    let writable = args.writable_sources();
    let in_home = |mount: &&Mount| second.as_ref().is_some_and(|home| home.has(mount.dst()));
    for mount in args.mounts.iter().filter(|mount| !in_home(mount)) {
        ops.extend(mount_ops(mount, &hidden, protection, &writable)?);
    }
    for (dir, dst) in &args.bind_nofollow {
        if let (Some(root), false) = (&args.root, args.dry_run) {
            make_way(root, dst, second.is_some())?;
        }
        let name = dir.file_name().map(PathBuf::from).unwrap_or_default();
        let root = dir.parent().unwrap_or(Path::new("/")).to_owned();
        ops.push(Op::BindBeneath { root, name, dst: dst.clone(), access: Access::ReadWrite });
        if let (Some(size), true) = (args.limits.tmp, args.root.as_ref() == Some(dir)) {
            ops.push(limited_tmp(&dst.join("tmp"), size));
        }
    }
    for (src, dst, layer) in &args.own_overlays {
        if let Some(root) = &args.root {
            make_way(root, dst, second.is_some())?;
        }
        let (src, layer) = (real(src)?, real(layer)?);
        require_no_mount_below(&src)?;
        require_own(&src)?;
        let overlay = Op::Overlay { src, dst: dst.clone(), layer };
        ops.extend(hidden.cover(vec![overlay])?);
    }
    for mount in args.mounts.iter().filter(in_home) {
        ops.extend(mount_ops(mount, &hidden, protection, &writable)?);
    }
    if let Some(home) = &second {
        if !args.dry_run {
            home.clear_old_way(args);
        }
        ops.extend(home.links(args));
    }
    ops.extend(args.links.iter().map(|(target, dst)| Op::Link { dst: dst.clone(), target: target.clone() }));
    if let Some(size) = args.limits.tmp {
        ops.push(limited_tmp(Path::new("/tmp"), size));
    }
    Ok(ops)
}

/// What shows one mount, and hides or protects what is in it.
fn mount_ops(mount: &Mount, hidden: &Hidden, protection: &Protection, writable: &[PathBuf]) -> Result<Vec<Op>> {
    let mut ops = Vec::new();
    match mount.clone() {
        Mount::Tmpfs { dst } => ops.push(Op::Tmpfs { dst, mode: 0o755, seal: false, size: None }),
        Mount::Bind { src, dst, read_only } => {
            let access = if read_only { Access::ReadOnly } else { Access::ReadWrite };
            let guarded = protection.ops(&dst);
            let source = inner_source::resolve(&src, writable)?;
            let bind = Op::Bind { src: source.path.clone(), dst: dst.clone(), access, optional: false };
            let covers = hidden.covers(&bind)?;
            ops.push(match source.below() {
                Some((root, name)) => Op::BindBeneath { root: root.into(), name: name.into(), dst, access },
                None => bind,
            });
            ops.extend(guarded.into_iter().chain(covers));
        }
        Mount::Cow { src, dst, layer } => {
            let (src, layer) = (inner_source::resolve(&src, writable)?.path, real(&layer)?);
            require_no_mount_below(&src)?;
            require_own(&src)?;
            let overlay = Op::Overlay { src, dst, layer };
            let covers = hidden.covers(&overlay)?;
            ops.push(overlay);
            ops.extend(covers);
        }
    }
    Ok(ops)
}

/// Files for a while, in memory, and no more of them than `size`.
fn limited_tmp(dst: &Path, size: u64) -> Op {
    Op::Tmpfs { dst: dst.into(), mode: 0o1777, seal: false, size: Some(size) }
}

/// A place below `/home` or another entry of the root is one in a directory that the agent can write: it is made there,
/// and what an earlier run may have planted in its way is removed.
/// Not below `/home` where that is not the agent's: see [`Home`].
fn make_way(root: &Path, dst: &Path, has_home: bool) -> Result<()> {
    if has_home && dst.starts_with("/home") {
        return Ok(());
    }
    let place = dst.strip_prefix("/").unwrap_or(dst);
    let first = place.components().next().map(|part| root.join(part));
    if first.is_some_and(|entry| std::fs::symlink_metadata(entry).is_ok_and(|metadata| metadata.is_dir())) {
        libsbox::dir::Dir::open(root)?.sub_or_make(place)?;
    }
    Ok(())
}

/// The name of the host inside.
pub fn hostname(args: &Args) -> &std::ffi::OsStr {
    args.hostname.as_deref().unwrap_or("sbox".as_ref())
}

fn real(path: &Path) -> Result<PathBuf> {
    path.canonicalize().context(|| format!("bind '{}'", libsbox::escape::visible_path(path)))
}

/// `has_home`: `/home` is made by [`Home`]. What `files` has is ours: an entry of that name is one that the agent made.
fn root_entries(root: &Path, has_home: bool, files: &[(PathBuf, String)]) -> Result<Vec<Op>> {
    if !std::fs::symlink_metadata(root).is_ok_and(|metadata| metadata.is_dir()) {
        return Err(Error::new(format!("'{}' is not a directory", libsbox::escape::visible_path(root))));
    }
    let mut names: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(root).context(|| format!("read '{}'", libsbox::escape::visible_path(root)))? {
        let entry = entry.context(|| format!("read '{}'", libsbox::escape::visible_path(root)))?;
        let name = PathBuf::from(entry.file_name());
        let kind = entry.file_type().context(|| format!("read '{}'", libsbox::escape::visible_path(entry.path())))?;
        let is_ours = files.iter().any(|(file, _)| *file == Path::new("/").join(&name));
        if is_ours || name == Path::new("home") && has_home {
            continue;
        }
        if name == Path::new("etc") && kind.is_dir() {
            names.extend(etc_entries(root));
        } else if (kind.is_dir() || kind.is_file()) && reserved(&Path::new("/").join(&name)).is_none() {
            names.push(name);
        }
    }
    names.sort();
    let entry = |name: PathBuf| {
        let dst = Path::new("/").join(&name);
        Op::BindBeneath { root: root.into(), name, dst, access: Access::ReadWrite }
    };
    Ok(names.into_iter().map(entry).collect())
}

/// `/etc` is made by the base; what was staged into it is laid over it, entry by entry.
fn etc_entries(root: &Path) -> Vec<PathBuf> {
    let plain = |entry: std::fs::DirEntry| {
        let kind = entry.file_type().ok()?;
        (kind.is_dir() || kind.is_file()).then(|| Path::new("etc").join(entry.file_name()))
    };
    std::fs::read_dir(root.join("etc")).into_iter().flatten().flatten().filter_map(plain).collect()
}

/// A file that is changed is copied with its owner and group first, and only one of each exists inside. The directory itself
/// speaks for what is in it: to look at all of it would take too long.
fn require_own(src: &Path) -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    let metadata = src.metadata().context(|| format!("look at '{}'", libsbox::escape::visible_path(src)))?;
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let of = match (metadata.uid() == uid, metadata.gid() == gid) {
        (true, true) => return Ok(()),
        (false, _) => format!("it belongs to uid {}, not to you", metadata.uid()),
        (true, false) => format!("its group {} is not your own", metadata.gid()),
    };
    Err(crate::overlay::cannot(src, &format!("{of}, and an overlay could not change the files in it")))
}

/// An overlay shows nothing of what is mounted below its lower directory, but what those mounts cover.
fn require_no_mount_below(src: &Path) -> Result<()> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").context(|| "read '/proc/self/mountinfo'".into())?;
    match mountinfo::places(&mounts, None).find(|place| place != src && place.starts_with(src)) {
        Some(place) => {
            let why = format!("'{}' is a mount point below it", libsbox::escape::visible_path(place));
            Err(crate::overlay::cannot(src, &why))
        }
        None => Ok(()),
    }
}
