//! What is being applied, written down before it begins: an apply that was killed is finished by the next one.
//!
//! Each entry is put in its place by one rename, and the layer forgets nothing before all are there. So there is little to
//! repair: files beside their places, and entries that still wait. A file beside its place is one that was made and not yet
//! renamed, or the one that was there before; if that is not what was compared, it is the user's and goes back.

use libsbox::cow::{Change, Layer, Node, Tree};
use libsbox::dir::Dir;
use libsbox::error::{Context, Result};
use libsbox::escape::visible_path;
use libsbox::fs;
use libsbox::output;
use rustix::fs::RenameFlags;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// In the directory of the layer.
const NAME: &str = "journal";

fn remove(file: &Path) -> Result<()> {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed.context(|| format!("remove '{}'", visible_path(file))),
    }
}

/// What identifies an entry of the host as the one that was compared. Its change time is another one after a rename.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Old {
    id: (u64, u64),
    mtime: i64,
    size: u64,
    mode: u32,
}

impl Old {
    fn of(node: &Node) -> Old {
        Old { id: node.id, mtime: node.mtime, size: node.size, mode: node.mode }
    }
}

/// One change, as it was when the apply began.
struct Planned {
    path: PathBuf,
    old: Option<Old>,
    /// Inode and change time of the agent's version.
    new: Option<(u64, i64)>,
}

/// What an apply that was killed has left to do.
#[derive(Default)]
pub struct Interrupted {
    /// By path below the root of the layer: inode and change time that the agent's version had, which the user had chosen.
    planned: BTreeMap<PathBuf, Option<(u64, i64)>>,
}

impl Interrupted {
    pub fn is_empty(&self) -> bool {
        self.planned.is_empty()
    }

    /// Whether the change is exactly one of those: what the agent made of a path since, nobody has chosen.
    pub fn has(&self, change: &Change) -> bool {
        let now = change.new.as_ref().map(|new| (new.id.1, new.ctime));
        self.planned.get(&change.path).is_some_and(|new| *new == now)
    }
}

/// An apply under way.
pub struct Journal {
    file: PathBuf,
    token: String,
}

impl Journal {
    /// Writes down what will be applied.
    pub fn begin(layer: &Layer, plan: &[Change]) -> Result<Journal> {
        let file = layer.path().join(NAME);
        let token = format!(".sbox-apply-{}-{:x}", std::process::id(), libsbox::cow::now());
        let mut text = token.clone().into_bytes();
        for change in plan {
            text.push(0);
            let (old, new) = (change.old.as_ref().map(Old::of), change.new.as_ref());
            let old = old.map(|old| [old.id.0 as i64, old.id.1 as i64, old.mtime, old.size as i64, old.mode.into()]);
            let new = new.map(|new| [new.id.1 as i64, new.ctime]);
            let numbers = old.into_iter().flatten().chain(new.into_iter().flatten());
            text.extend(format!("{}{} ", u8::from(old.is_some()), u8::from(new.is_some())).into_bytes());
            numbers.for_each(|number| text.extend(format!("{number} ").into_bytes()));
            text.extend(change.path.as_os_str().as_bytes());
        }
        fs::write_locked(&file, &text, 0o600)?;
        Ok(Journal { file, token })
    }

    /// The start of the names of files that are not in their places; the number of the change follows, from 1.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// It is done.
    pub fn end(self) -> Result<()> {
        remove(&self.file)
    }

    /// Removes one that has nothing left to say.
    pub fn forget(layer: &Layer) -> Result<()> {
        remove(&layer.path().join(NAME))
    }

    /// Cleans up after an apply that did not come to its end; which changes it was about.
    pub fn recover(layer: &Layer) -> Result<Interrupted> {
        let file = layer.path().join(NAME);
        let Some(bytes) = fs::read_plain(&file) else { return Ok(Interrupted::default()) };
        let mut parts = bytes.split(|byte| *byte == 0);
        let token = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
        let planned: Vec<Planned> = parts.filter_map(planned).collect();
        if token.starts_with(".sbox-apply-") {
            repair(layer, &token, &planned)?;
        }
        Ok(Interrupted { planned: planned.into_iter().map(|planned| (planned.path, planned.new)).collect() })
    }
}

fn planned(line: &[u8]) -> Option<Planned> {
    let (has_old, has_new) = (line.first()? == &b'1', line.get(1)? == &b'1');
    let count = 2 + 5 * usize::from(has_old) + 2 * usize::from(has_new);
    let mut parts = line.splitn(count, |byte| *byte == b' ').skip(1);
    let mut number = || std::str::from_utf8(parts.next()?).ok()?.parse::<i64>().ok();
    let old = match has_old {
        true => {
            let id = (number()? as u64, number()? as u64);
            Some(Old { id, mtime: number()?, size: number()? as u64, mode: number()? as u32 })
        }
        false => None,
    };
    let new = if has_new { Some((number()? as u64, number()?)) } else { None };
    Some(Planned { path: OsString::from_vec(parts.next()?.to_vec()).into(), old, new })
}

/// Looks at each file beside its place.
fn repair(layer: &Layer, token: &str, planned: &[Planned]) -> Result<()> {
    let host = layer.host()?;
    let mut places: BTreeMap<&Path, Vec<(usize, &Planned)>> = BTreeMap::new();
    for (number, planned) in planned.iter().enumerate() {
        places.entry(planned.path.parent().unwrap_or(Path::new(""))).or_default().push((number + 1, planned));
    }
    for (place, all) in places {
        let Ok(dir) = host.sub(if place.as_os_str().is_empty() { Path::new(".") } else { place }) else { continue };
        for (number, planned) in all {
            let beside = OsString::from(format!("{token}-{number}"));
            if let Some(found) = Node::look(&dir, &beside)? {
                put_right(layer, &dir, &beside, &found, planned)?;
            }
        }
    }
    Ok(())
}

fn put_right(layer: &Layer, dir: &Dir, beside: &OsStr, found: &Node, planned: &Planned) -> Result<()> {
    let name = planned.path.file_name().unwrap_or_default();
    let there = Node::look(dir, name)?;
    let is_old = |node: &Node| planned.old.is_some_and(|old| old.id == node.id);
    // A directory that was made, or the file that was replaced as it was compared.
    if found.is_directory() {
        dir.remove_empty(beside);
        return Ok(());
    }
    // Made and not yet renamed: the old one is in its place, or there is none to be lost.
    let waits = planned.old.is_none() || there.as_ref().is_some_and(is_old);
    if Some(Old::of(found)) == planned.old || waits && !is_old(found) {
        return dir.remove_tree(beside);
    }
    let is_the_agents = |entry: &OsStr, node: &Node| {
        let mut tree = Tree::layer(&layer.changes()).ok()?;
        let agents = tree.parent(&planned.path).ok()?;
        let new = Node::look(agents, name).ok()??;
        // Under the name that it has in the layer it is compared with what has another name on the host.
        libsbox::cow::same_as((agents, &new, name), (dir, node, entry)).then_some(())
    };
    match there {
        // The user's, renamed out of its place at the moment of the kill: back.
        None if is_old(found) => dir.rename_new(beside, name),
        Some(there) if is_the_agents(name, &there).is_some() => {
            rustix::fs::renameat_with(dir, beside, dir, name, RenameFlags::EXCHANGE)
                .context(|| format!("put '{}' back", visible_path(&planned.path)))?;
            dir.remove_tree(beside)
        }
        _ if is_the_agents(beside, found).is_some() => dir.remove_tree(beside),
        // Nobody can tell whose it is: nothing is lost.
        _ => {
            let mut kept = name.to_owned();
            kept.push(format!(".sbox-kept-{:x}", libsbox::cow::now()));
            dir.rename_new(beside, &kept)?;
            let kept = visible_path(planned.path.with_file_name(kept));
            output::warn(format_args!("a killed 'sbox apply' left a file that may be yours: it is '{kept}' now"));
            Ok(())
        }
    }
}
