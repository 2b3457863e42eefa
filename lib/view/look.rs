//! What one mount has at a path.

use crate::cow::{Node, What};
use crate::dir::Dir;
use crate::operation::Op;
use rustix::fs::FileType;
use std::path::{Path, PathBuf};

/// An entry of a directory.
#[derive(Debug, PartialEq, Eq)]
pub enum Entry {
    Nothing,
    Directory,
    /// A file, or anything else that is not a directory.
    File {
        is_program: bool,
        is_changed: bool,
    },
    Link(PathBuf),
    /// The agent deleted it in its own version.
    Deleted,
    /// Permissions do not let even us look.
    Closed,
    /// Only the kernel knows.
    Kernel,
}

const PLAIN: Entry = Entry::File { is_program: false, is_changed: false };

/// Where a path in a mount is on the host.
pub fn on_host(op: &Op, path: &Path) -> Option<PathBuf> {
    let source = match op {
        Op::Bind { src, .. } | Op::Overlay { src, .. } | Op::Copy { src, .. } => src.clone(),
        Op::BindBeneath { root, name, .. } => root.join(name),
        _ => return None,
    };
    let below = path.strip_prefix(op.dst()).ok()?;
    Some(if below.as_os_str().is_empty() { source } else { source.join(below) })
}

/// Whether a mount is there to hide what would show: an empty directory of ours in somebody else's mount.
pub fn is_cover(op: &Op, all: &[Op]) -> bool {
    let in_a_bind = |other: &Op| {
        matches!(other, Op::Bind { .. } | Op::BindBeneath { .. } | Op::Overlay { .. })
            && op.dst() != other.dst()
            && op.dst().starts_with(other.dst())
    };
    match op {
        Op::Mask { .. } => true,
        Op::Tmpfs { mode: 0o755, .. } => all.iter().any(in_a_bind),
        _ => false,
    }
}

/// What a mount has at a path in it.
pub fn look(op: &Op, path: &Path) -> Entry {
    let Ok(below) = path.strip_prefix(op.dst()) else { return Entry::Nothing };
    let is_itself = below.as_os_str().is_empty();
    match op {
        Op::Link { target, .. } => Entry::Link(target.clone()),
        Op::File { .. } | Op::Copy { .. } if is_itself => PLAIN,
        Op::Proc { .. } | Op::Pts { .. } if is_itself => Entry::Directory,
        Op::Proc { .. } | Op::Pts { .. } => Entry::Kernel,
        // Whether there is something to cover, only the kernel knows, if it is the kernel's.
        Op::Mask { .. } => Entry::Kernel,
        Op::Tmpfs { .. } if is_itself => Entry::Directory,
        Op::Bind { src, .. } => beneath(src, below),
        Op::BindBeneath { root, name, .. } => beneath(&root.join(name), below),
        Op::Overlay { src, layer, .. } => changed(&layer.join("upper"), below).unwrap_or_else(|| beneath(src, below)),
        _ => Entry::Nothing,
    }
}

fn beneath(source: &Path, below: &Path) -> Entry {
    let (Some(parent), Some(name)) = (below.parent(), below.file_name()) else {
        return match source.symlink_metadata() {
            Ok(metadata) if metadata.is_dir() => Entry::Directory,
            Ok(metadata) => file(std::os::unix::fs::MetadataExt::mode(&metadata)),
            Err(_) => Entry::Closed,
        };
    };
    let Ok(mut dir) = Dir::open(source) else { return Entry::Closed };
    for part in parent.components() {
        match dir.stat(part.as_os_str()) {
            // What is made on the way to another mount need not be there yet.
            Ok(None) => return Entry::Nothing,
            Ok(Some(_)) => {}
            Err(_) => return Entry::Closed,
        }
        let Ok(next) = dir.sub(part) else { return Entry::Closed };
        dir = next;
    }
    let Ok(found) = dir.stat(name) else { return Entry::Closed };
    let Some(stat) = found else { return Entry::Nothing };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Entry::Directory,
        FileType::Symlink => dir.link(name).map_or(Entry::Closed, Entry::Link),
        _ => file(stat.st_mode),
    }
}

fn file(mode: u32) -> Entry {
    let is_program = FileType::from_raw_mode(mode) == FileType::RegularFile && mode & 0o111 != 0;
    Entry::File { is_program, is_changed: false }
}

/// What the upper directory of an overlay says of a path; nothing if the lower one is to be asked.
fn changed(upper: &Path, below: &Path) -> Option<Entry> {
    let mut dir = Dir::open(upper).ok()?;
    let mut names = below.components().peekable();
    let mut is_opaque = false;
    while let Some(name) = names.next() {
        let name = name.as_os_str();
        let Some(node) = Node::look(&dir, name).ok()? else { return is_opaque.then_some(Entry::Deleted) };
        if node.whiteout {
            return Some(Entry::Deleted);
        }
        match (node.what, names.peek()) {
            (What::Directory, None) => return Some(Entry::Directory),
            (What::Directory, Some(_)) => {
                let Ok(next) = dir.sub_lent(name) else { return Some(Entry::Closed) };
                is_opaque |= Node::is_opaque(&dir, name);
                dir = next;
            }
            (What::Link, _) => return Some(dir.link(name).map_or(Entry::Closed, Entry::Link)),
            (_, None) => return Some(Entry::File { is_program: node.mode & 0o111 != 0, is_changed: true }),
            // A file in the place of a directory; found out when it was looked at itself.
            (_, Some(_)) => return Some(Entry::Nothing),
        }
    }
    None
}
