//! A layer that no sandbox uses is tidied: what the host has by now, too, is taken out of it.
//!
//! An overlay takes changes to its upper directory between two mounts. What must not happen is that something of the host
//! shows through that the agent had deleted: inside of an opaque directory an entry may go only once nothing of the host
//! below it is hidden.

use super::known::Known;
use super::node::{Node, attribute};
use super::{Kind, Layer, base, same};
use crate::dir::Dir;
use crate::error::{Context, Result};
use crate::escape::visible_path;
use crate::fs::{self, Lock};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};

const OPAQUE: &str = "user.overlay.opaque";

/// What was applied while a sandbox used the layer: by path, the inode and the change time that the host's entry had then.
/// As long as it has them, the agent's next change of it is not in conflict with anything.
pub(super) fn applied(layer: &Layer) -> HashMap<PathBuf, (u64, i64)> {
    let bytes = fs::read_plain(&layer.path().join("applied")).unwrap_or_default();
    let record = |line: &[u8]| {
        let mut parts = line.splitn(3, |byte| *byte == b' ');
        let mut number = || std::str::from_utf8(parts.next()?).ok()?.parse::<i64>().ok();
        let (inode, ctime) = (number()?, number()?);
        let path = OsString::from_vec(parts.next()?.to_vec());
        Some((PathBuf::from(path), (inode as u64, ctime)))
    };
    bytes.split(|byte| *byte == 0).filter_map(record).collect()
}

/// Writes down what was applied while a sandbox used the layer: by path, the inode and the change time that it had as soon as it was in
/// its place. What it has now may be the user's next version already.
pub fn remember_applied(layer: &Layer, applied: &[(PathBuf, Option<(u64, i64)>)]) -> Result<()> {
    let known = applied.iter().filter_map(|(path, ids)| Some(record(path, (*ids)?)));
    let text: Vec<u8> = known.flatten().collect();
    let file = layer.path().join("applied");
    let mut options = std::fs::OpenOptions::new();
    options.append(true).create(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    options
        .open(&file)
        .and_then(|mut file| file.write_all(&text))
        .context(|| format!("write '{}'", visible_path(&file)))
}

fn record(path: &Path, (inode, ctime): (u64, i64)) -> Vec<u8> {
    let mut line = format!("{inode} {ctime} ").into_bytes();
    line.extend(path.as_os_str().as_bytes());
    line.push(0);
    line
}

/// The directory at `place`, which may be the root itself.
fn sub(root: &Dir, place: &Path) -> Result<Dir> {
    root.sub(if place.as_os_str().is_empty() { Path::new(".") } else { place })
}

/// Called before a run, when nobody uses the layer.
pub(super) fn before_a_run(layer: &Layer, alone: &Lock) -> Result<()> {
    if layer.kind() == Kind::Copy {
        return base::refresh(layer);
    }
    settle_applied(layer, alone)?;
    Known::record(layer)
}

/// Takes out what was applied while a sandbox used the layer, as far as the agent has not changed it since.
pub fn settle_applied(layer: &Layer, alone: &Lock) -> Result<()> {
    let mut applied = applied(layer);
    if applied.is_empty() {
        return Ok(());
    }
    let (upper, host) = (Dir::open(&layer.changes())?, layer.host()?);
    let mut settled = Vec::new();
    for path in applied.keys() {
        let (place, name) = (path.parent().unwrap_or(Path::new("")), path.file_name().unwrap_or_default());
        let Some((dir, _)) = open_chain(&upper, place) else { continue };
        let below = sub(&host, place).ok();
        let old = below.as_ref().and_then(|below| Node::look(below, name).ok().flatten());
        let gone = match (Node::look(&dir, name)?, old, &below) {
            (Some(new), None, _) => new.whiteout,
            (Some(new), Some(old), Some(below)) => same((&dir, &new), (below, &old), name),
            (None, ..) => true,
            _ => false,
        };
        if gone {
            settled.push(path.clone());
        }
    }
    settle(layer, alone, &settled)?;
    for path in &settled {
        applied.remove(path);
    }
    let file = layer.path().join("applied");
    if applied.is_empty() {
        return std::fs::remove_file(&file).context(|| format!("remove '{}'", visible_path(&file)));
    }
    let text: Vec<u8> = applied.iter().flat_map(|(path, ids)| record(path, *ids)).collect();
    fs::write_locked(&file, &text, 0o600)
}

/// Takes entries out of a layer that are the same on the host now. `_alone` is the lock that [`Layer::take`] gave.
pub fn settle(layer: &Layer, _alone: &Lock, paths: &[PathBuf]) -> Result<()> {
    if layer.kind() == Kind::Copy {
        return base::accept(layer, paths);
    }
    let (upper, host) = (Dir::open(&layer.changes())?, layer.host()?);
    let mut by_place: BTreeMap<&Path, Vec<&OsStr>> = BTreeMap::new();
    let mut directories = BTreeSet::new();
    for path in paths {
        let place = path.parent().unwrap_or(Path::new(""));
        by_place.entry(place).or_default().push(path.file_name().unwrap_or_default());
        directories.extend(path.ancestors().filter(|place| !place.as_os_str().is_empty()).map(Path::to_owned));
    }
    let mut opened = HashMap::new();
    // The deepest first: a directory is looked at when what was in it is gone.
    for (place, names) in by_place.iter().rev() {
        let Some((dir, opaque)) = open_chain(&upper, place) else { continue };
        if !opaque.is_none_or(|top| uncover(&upper, &host, top, &mut opened)) {
            continue;
        }
        for name in names {
            if Node::look(&dir, name)?.is_some_and(|node| !node.is_directory()) {
                dir.lend(|| dir.remove_tree(name))?;
            }
        }
    }
    for path in directories.iter().rev() {
        let place = path.parent().unwrap_or(Path::new(""));
        let name = path.file_name().unwrap_or_default();
        let Some((_, opaque)) = open_chain(&upper, path) else { continue };
        let Some((dir, _)) = open_chain(&upper, place) else { continue };
        let is_open = opaque.is_none_or(|top| uncover(&upper, &host, top, &mut opened));
        let on_the_host = sub(&host, place).and_then(|host| Ok(Node::look(&host, name)?.map(|node| (host, node))));
        if let (true, Ok(Some((host, old))), Some(new)) = (is_open, on_the_host, Node::look(&dir, name)?)
            && same((&dir, &new), (&host, &old), name)
        {
            dir.lend(|| Ok(dir.remove_empty(name)))?;
        }
    }
    Ok(())
}

/// The directory at `place` of an upper directory, and the topmost one on the way that is opaque.
fn open_chain(upper: &Dir, place: &Path) -> Option<(Dir, Option<PathBuf>)> {
    let (mut dir, mut opaque, mut way) = (upper.sub(".").ok()?, None, PathBuf::new());
    for part in place.components() {
        let Component::Normal(name) = part else { return None };
        way.push(name);
        if opaque.is_none() && attribute(&dir, name, OPAQUE).is_some_and(|value| value == b"y") {
            opaque = Some(way.clone());
        }
        if !Node::look(&dir, name).ok().flatten()?.is_directory() {
            return None;
        }
        dir = dir.sub_lent(name).ok()?;
    }
    Some((dir, opaque))
}

/// Lets the host show through an opaque directory, if it would show nothing that is not there already. Whether it does.
fn uncover(upper: &Dir, host: &Dir, top: PathBuf, opened: &mut HashMap<PathBuf, bool>) -> bool {
    if let Some(known) = opened.get(&top) {
        return *known;
    }
    let attempt = || -> Option<()> {
        let (dir, _) = open_chain(upper, &top)?;
        if let Ok(host) = host.sub(&top)
            && !covers(&dir, &host)?
        {
            return None;
        }
        rustix::fs::fremovexattr(&dir, OPAQUE).ok()
    };
    let done = attempt().is_some();
    opened.insert(top, done);
    done
}

/// Whether each entry of the host's directory has one in the layer's, all the way down.
fn covers(dir: &Dir, host: &Dir) -> Option<bool> {
    for entry in host.entries().ok()? {
        let Some(new) = Node::look(dir, &entry.name).ok()? else { return Some(false) };
        if new.is_directory() && entry.kind == rustix::fs::FileType::Directory {
            let (new, old) = (dir.sub_lent(&entry.name).ok()?, host.sub(&entry.name).ok()?);
            if !covers(&new, &old)? {
                return Some(false);
            }
        }
    }
    Some(true)
}

/// Forgets what the agent changed at and below `paths`. `_alone` is the lock that [`Layer::take`] gave.
pub fn discard(layer: &Layer, _alone: &Lock, paths: &[PathBuf]) -> Result<()> {
    let changes = Dir::open(&layer.changes())?;
    let trash = Dir::open(layer.path())?.sub_or_make(Path::new("trash"))?;
    for path in paths {
        let (place, name) = (path.parent().unwrap_or(Path::new("")), path.file_name());
        let (Some(name), Some((dir, opaque))) = (name, open_chain(&changes, place)) else {
            if let Some(whole) = whiteout_above(&changes, path) {
                return Err(deleted_as_a_whole(&whole));
            }
            if path.as_os_str().is_empty() {
                for entry in changes.entries()? {
                    throw(&changes, &entry.name, &trash)?;
                }
            }
            continue;
        };
        if let Some(top) = opaque {
            return Err(deleted_as_a_whole(&top));
        }
        throw(&dir, name, &trash)?;
    }
    Dir::open(layer.path())?.remove_tree("trash".as_ref())?;
    if layer.kind() == Kind::Copy {
        base::forget(layer, paths)?;
        base::refresh(layer)?;
    }
    Ok(())
}

/// In one step: half of a directory that replaced one of the host would read as a deletion of the other half.
fn throw(dir: &Dir, name: &OsStr, trash: &Dir) -> Result<()> {
    if Node::look(dir, name)?.is_none() {
        return Ok(());
    }
    let number = trash.entries()?.len();
    let shown = || format!("remove '{}'", visible_path(dir.path().join(name)));
    if Node::look(dir, name)?.is_some_and(|node| node.is_directory()) {
        // To move it, its own `..` is written.
        dir.open_to_owner(name)?;
    }
    rustix::fs::renameat(dir, name, trash, format!("{number}-{}", super::now())).context(shown)
}

fn deleted_as_a_whole(top: &Path) -> crate::error::Error {
    let shown = visible_path(top);
    let word = crate::escape::shell_path(&shown);
    crate::error::Error::new(format!("'{shown}' was deleted or replaced as a whole, and comes back as a whole"))
        .hint(format!("sbox discard {word}"))
}

/// The directory above `path` that was deleted.
fn whiteout_above(changes: &Dir, path: &Path) -> Option<PathBuf> {
    let mut above: Vec<&Path> = path.ancestors().skip(1).filter(|place| !place.as_os_str().is_empty()).collect();
    above.reverse();
    above.into_iter().find_map(|place| {
        let (dir, _) = open_chain(changes, place.parent().unwrap_or(Path::new("")))?;
        let node = Node::look(&dir, place.file_name()?).ok()??;
        node.whiteout.then(|| place.to_owned())
    })
}
