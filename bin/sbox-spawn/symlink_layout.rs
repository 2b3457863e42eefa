//! The levels without namespaces: a path of the sandbox is one below the root directory, and a mount is a link in it.

use crate::args::Mount;
use crate::sandbox::Sandbox;
use libsbox::dir::Dir;
use libsbox::error::{Error, Result};
use libsbox::escape::visible_path;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Where a path of the sandbox is on the host: what is bound there, or below the root directory; else the path itself.
pub fn on_host(sandbox: &Sandbox, path: &Path) -> PathBuf {
    let own = |dst: &Path| sandbox.args.bind_nofollow.iter().any(|(_, own)| dst.starts_with(own));
    if own(path) {
        return path.to_owned();
    }
    let bound = sandbox.args.mounts.iter().rev().find_map(|mount| match mount {
        Mount::Bind { src, dst, .. } => path.strip_prefix(dst).ok().map(|rest| src.join(rest)),
        Mount::Tmpfs { .. } | Mount::Cow { .. } => None,
    });
    let below = || {
        let root = sandbox.args.root.as_ref()?;
        let path = root.join(path.strip_prefix("/").unwrap_or(path));
        path.exists().then_some(path)
    };
    bound.or_else(below).unwrap_or_else(|| path.to_owned())
}

/// The directories that the command may change: the root, and those that the caller made for it.
pub fn own(sandbox: &Sandbox) -> Vec<PathBuf> {
    let own = sandbox.args.bind_nofollow.iter().map(|(dir, _)| dir.clone());
    sandbox.args.root.iter().cloned().chain(own).collect()
}

/// Puts a link into the root directory for every mount. What is in its place stays unless it is a link or an empty
/// directory.
pub fn make(sandbox: &Sandbox) -> Result<()> {
    let Some(root) = &sandbox.args.root else { return Ok(()) };
    for (dir, dst) in &sandbox.args.bind_nofollow {
        // At these levels a path means what it means on the host.
        if dir != dst {
            let (dir, dst) = (visible_path(dir), visible_path(dst));
            return Err(Error::new(format!("'{dir}' can only appear at '{dst}' at level 'namespace'")));
        }
    }
    let root = Dir::open(root)?;
    for mount in &sandbox.args.mounts {
        let Mount::Bind { src, dst, .. } = mount else { continue };
        // What is mounted in the home is below the root's second place: here that is the root.
        let second = sandbox.args.bind_nofollow.iter().find_map(|(_, own)| dst.strip_prefix(own).ok());
        let place = second.or(dst.strip_prefix("/").ok()).unwrap_or(dst);
        let (Some(parent), Some(name)) = (place.parent(), place.file_name()) else { continue };
        put(&root.sub_or_make(parent)?, name, src, dst)?;
    }
    Ok(())
}

fn put(dir: &Dir, name: &OsStr, src: &Path, dst: &Path) -> Result<()> {
    use rustix::fs::FileType;
    let kind = dir.stat(name)?.map(|stat| FileType::from_raw_mode(stat.st_mode));
    let free = match kind {
        None | Some(FileType::Symlink) => true,
        Some(FileType::Directory) => dir.remove_empty(name),
        Some(_) => false,
    };
    if !free {
        let message = format!("cannot link '{}': something is in its place in the sandbox", visible_path(dst));
        return Err(Error::new(message).hint("remove it from .sbox/rootfs, or mount to another place"));
    }
    dir.put_link(name, src)
}
