//! Where a link, or the file `.git` of a worktree, leads on the host: to a place that is guarded, or to one where the agent
//! can leave what it likes.
//!
//! Unguarded are a sandbox's own files (its root, its environment, the layers of other mounts: `.sbox` of the project that
//! the mount is of) and what git keeps its data in (`.git/objects`), which nobody watches: it has too many directories. What
//! a path leads to is found as the kernel would, link by link, since the agent can make any part of it.

use super::Place;
use libsbox::dir::Dir;
use libsbox::git;
use libsbox::inner_source::names;
use rustix::fs::FileType;
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Where it leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leads {
    /// To something that is there, and is guarded or not the agent's to write.
    Well,
    /// To something that is not there or is a file: another answer may be right later.
    Nowhere,
    /// To a directory that nobody guards, or to another place for each who follows it.
    Unguarded,
}

/// Where the link or the `.git` file `name` in `dir` leads; `above` is the directory's path below the mount.
pub fn leads(places: &[Place], place: &Place, dir: &Dir, above: &Path, name: &OsStr, kind: FileType) -> Leads {
    let written = match kind {
        FileType::Symlink => dir.link(name).ok(),
        FileType::RegularFile => gitdir(dir, name),
        _ => None,
    };
    let Some(written) = written else { return Leads::Nowhere };
    let End { path, is_there, is_strange } = follow(&place.src.join(above), &written);
    if is_strange {
        // What a log is linked to, such as /dev/stdout, is not a directory.
        return if kind == FileType::RegularFile || !is_there { Leads::Unguarded } else { Leads::Nowhere };
    }
    let is_directory = is_there && path.is_dir();
    match (is_unguarded(places, &path), is_directory) {
        (true, true) => Leads::Unguarded,
        (false, true) => Leads::Well,
        (_, false) => Leads::Nowhere,
    }
}

/// What a file `.git` names, as git reads it (`read_gitfile_gently` in its setup.c).
fn gitdir(dir: &Dir, name: &OsStr) -> Option<PathBuf> {
    const LONGEST: u64 = 8192;
    let mut text = Vec::new();
    dir.file(name).ok()?.take(LONGEST).read_to_end(&mut text).ok()?;
    let path = text.strip_prefix(b"gitdir: ")?;
    let end = path.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r'))?;
    Some(OsStr::from_bytes(&path[..=end]).into())
}

/// Where a path ends.
struct End {
    path: PathBuf,
    is_there: bool,
    /// It goes through links of /proc, which are others for each process, or in circles.
    is_strange: bool,
}

fn follow(start: &Path, written: &Path) -> End {
    const MOST_LINKS: usize = 40;
    let mut here = if written.is_absolute() { PathBuf::from("/") } else { start.to_owned() };
    let (mut rest, mut links, mut is_there) = (names(written), 0, true);
    while let Some(name) = rest.pop_front() {
        if name == ".." {
            // Behind what is not there yet: whatever it will be, it is looked at again.
            here.pop();
            continue;
        }
        let next = here.join(&name);
        match std::fs::symlink_metadata(&next) {
            Ok(metadata) if metadata.is_symlink() => {
                links += 1;
                let is_of_processes = next.starts_with("/proc") && name != "self";
                if links > MOST_LINKS || is_of_processes {
                    let is_file = next.metadata().is_ok_and(|metadata| !metadata.is_dir());
                    return End { path: next, is_there: is_file, is_strange: true };
                }
                let Ok(target) = std::fs::read_link(&next) else {
                    return End { path: next, is_there, is_strange: true };
                };
                if target.is_absolute() {
                    here = PathBuf::from("/");
                }
                for name in names(&target).into_iter().rev() {
                    rest.push_front(name);
                }
            }
            found => {
                is_there &= found.is_ok();
                here = next;
            }
        }
    }
    End { path: here, is_there, is_strange: false }
}

/// Whether the agent may leave something at this real path that nobody looks at.
fn is_unguarded(places: &[Place], path: &Path) -> bool {
    let inside = places.iter().filter_map(|place| path.strip_prefix(&place.src).ok());
    let below = inside.min_by_key(|below| below.components().count());
    let judged = below.unwrap_or(path);
    let is_state = judged.components().any(|part| part.as_os_str() == ".sbox");
    is_state || below.is_some() && is_bulk(path)
}

fn is_bulk(path: &Path) -> bool {
    path.ancestors().any(|top| {
        let is_bulk = top.file_name().is_some_and(super::survey::is_bulk);
        is_bulk && top.parent().is_some_and(|above| Dir::open(above).is_ok_and(|dir| git::is_repository(&dir)))
    })
}
