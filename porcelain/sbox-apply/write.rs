//! One change, brought to the host: made beside its place and renamed into it, beneath the root of the tree, never through
//! a link. The user may be at work in the same tree: what is replaced is looked at once more when it is out of the way,
//! and put back if it is not what was compared.

use libsbox::cow::{Change, Layer, Node, Tree, What};
use libsbox::dir::Dir;
use libsbox::error::{Context, Error, Result};
use libsbox::escape::visible_path;
use libsbox::fs;
use rustix::fs::{AtFlags, Gid, Mode, OFlags, RenameFlags, SeekFrom, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::path::PathBuf;

/// What became of a change.
pub enum Outcome {
    /// The host has it: inode and change time that it had in its place, if that is known.
    Applied(Option<(u64, i64)>),
    /// Something changed since it was compared.
    Conflict(String),
}

/// SHA-256 of the agent's versions that the user was shown, by their paths on the host.
pub type Shown = HashMap<PathBuf, String>;

/// Applies the changes of a layer.
pub struct Writer<'a> {
    shown: &'a Shown,
    root: Dir,
    host: Tree,
    tree: Tree,
    token: String,
    number: u64,
    is_root: bool,
}

impl<'a> Writer<'a> {
    /// For one layer; `token` is how names beside the places begin.
    pub fn new(layer: &Layer, token: &str, shown: &'a Shown) -> Result<Writer<'a>> {
        Ok(Writer {
            shown,
            root: layer.host()?,
            host: Tree::host(layer)?,
            tree: Tree::layer(&layer.changes())?,
            token: token.to_owned(),
            number: 0,
            is_root: rustix::process::geteuid().is_root(),
        })
    }

    /// Applies one change.
    pub fn apply(&mut self, change: &Change) -> Result<Outcome> {
        self.number += 1;
        let beside = format!("{}-{}", self.token, self.number);
        let name = change.path.file_name().unwrap_or_default().to_owned();
        let now = Node::look(self.host.parent(&change.path)?, &name)?;
        if !is_same(now.as_ref(), change.old.as_ref()) {
            return Ok(changed());
        }
        match (&change.old, &change.new) {
            (Some(old), None) => self.delete(change, old, &name, beside.as_ref()),
            (old, Some(new)) if new.is_directory() => self.directory(change, old.as_ref(), new, &name, beside.as_ref()),
            (old, Some(new)) => self.entry(change, old.as_ref(), new, &name, beside.as_ref()),
            (None, None) => Err(Error::new("it cannot be read")),
        }
    }

    /// What was written is on the disk.
    pub fn sync(&self) -> Result<()> {
        rustix::fs::syncfs(&self.root).context(|| format!("write '{}' to the disk", visible_path(self.root.path())))
    }

    fn delete(&mut self, change: &Change, old: &Node, name: &OsStr, beside: &OsStr) -> Result<Outcome> {
        let dir = self.host.parent(&change.path)?;
        if old.is_directory() {
            let gone = dir.remove_empty(name);
            self.host.forget();
            return match gone {
                true => Ok(Outcome::Applied(None)),
                false => Ok(Outcome::Conflict("the directory on the host is not empty".into())),
            };
        }
        rustix::fs::renameat_with(dir, name, dir, beside, RenameFlags::NOREPLACE)
            .context(|| format!("remove '{}'", visible_path(&change.path)))?;
        take_away(dir, old, name, beside, RenameFlags::NOREPLACE)
    }

    fn directory(
        &mut self,
        change: &Change,
        old: Option<&Node>,
        new: &Node,
        name: &OsStr,
        beside: &OsStr,
    ) -> Result<Outcome> {
        let shown = || format!("make directory '{}'", visible_path(&change.path));
        let mode = Mode::from_raw_mode(new.mode_on_the_host(old.map(|old| old.mode)));
        let is_root = self.is_root;
        let dir = self.host.parent(&change.path)?;
        if old.is_none_or(|old| !old.is_directory()) {
            if let Some(old) = old {
                rustix::fs::renameat_with(dir, name, dir, beside, RenameFlags::NOREPLACE).context(shown)?;
                if let Outcome::Conflict(why) = take_away(dir, old, name, beside, RenameFlags::NOREPLACE)? {
                    return Ok(Outcome::Conflict(why));
                }
            }
            // Beside its place until it is as it has to be: one that a killed apply left half made would look like the user's.
            rustix::fs::mkdirat(dir, beside, Mode::from_raw_mode(0o700)).context(shown)?;
            let made = dir.sub(beside)?;
            if is_root && old.is_none() {
                give(&made, Node::look(dir, OsStr::new("."))?.as_ref())?;
            }
            rustix::fs::fchmod(&made, mode).context(shown)?;
            let placed = rustix::fs::renameat_with(dir, beside, dir, name, RenameFlags::NOREPLACE);
            if placed.is_err() {
                dir.remove_empty(beside);
            }
            return match placed {
                Err(Errno::EXIST) => Ok(changed()),
                placed => placed.context(shown).map(|()| Outcome::Applied(ids_of(dir, name))),
            };
        }
        let mode = mode | Mode::from_raw_mode(old.map_or(0, |old| old.mode & 0o7000));
        rustix::fs::fchmod(&dir.sub(name)?, mode).context(shown)?;
        Ok(Outcome::Applied(ids_of(dir, name)))
    }

    fn entry(
        &mut self,
        change: &Change,
        old: Option<&Node>,
        new: &Node,
        name: &OsStr,
        beside: &OsStr,
    ) -> Result<Outcome> {
        let made = match new.what {
            What::File => self.file(change, old, new, beside),
            What::Link => self.link(change, beside),
            _ => return Err(Error::new("a pipe, a socket or a device is never applied")),
        };
        // The agent may be at work, too: half of a file is not a version of it.
        let after = Node::look(self.tree.parent(&change.path)?, name)?;
        let dir = self.host.parent(&change.path)?;
        let shown = self.shown.get(&dir.path().join(name));
        let result = made.and_then(|()| {
            // Not by its times: what is written through a mapping changes none.
            if shown.is_some_and(|shown| digest(dir, beside, new.what).as_ref() != Some(shown)) {
                return Ok(Outcome::Conflict("the agent changed it after it was shown".into()));
            }
            // To read one that is closed to its owner its mode was changed, and put back: that is a change, too.
            let is_as_read = |after: Node| match new.is_closed() {
                true => (after.id, after.mtime, after.size, after.mode) == (new.id, new.mtime, new.size, new.mode),
                false => (after.id, after.ctime) == (new.id, new.ctime),
            };
            if !after.is_some_and(is_as_read) {
                return Ok(Outcome::Conflict("the agent is changing it at this moment".into()));
            }
            place(dir, old, name, beside)
        });
        if !matches!(result, Ok(Outcome::Applied(_))) {
            let _ = rustix::fs::unlinkat(dir, beside, AtFlags::empty());
        }
        result
    }

    fn file(&mut self, change: &Change, old: Option<&Node>, new: &Node, beside: &OsStr) -> Result<()> {
        let shown = || format!("write '{}'", visible_path(&change.path));
        let source = self.tree.file(&change.path)?;
        let is_root = self.is_root;
        let dir = self.host.parent(&change.path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let target = rustix::fs::openat(dir, beside, flags, Mode::from_raw_mode(0o600)).context(shown)?;
        let mut target = File::from(target);
        fill(&source, &mut target, new.size).context(shown)?;
        let time = |nanoseconds: i64| Timespec {
            tv_sec: nanoseconds.div_euclid(1_000_000_000),
            tv_nsec: nanoseconds.rem_euclid(1_000_000_000),
        };
        let times = Timestamps { last_access: time(new.mtime), last_modification: time(new.mtime) };
        rustix::fs::futimens(&target, &times).context(shown)?;
        if is_root {
            let parent = Node::look(dir, OsStr::new("."))?;
            give(&target, old.or(parent.as_ref()))?;
        }
        let mode = new.mode_on_the_host(old.filter(|old| old.what == What::File).map(|old| old.mode));
        rustix::fs::fchmod(&target, Mode::from_raw_mode(mode)).context(shown)
    }

    fn link(&mut self, change: &Change, beside: &OsStr) -> Result<()> {
        let target: PathBuf = self.tree.link(&change.path)?;
        let dir = self.host.parent(&change.path)?;
        rustix::fs::symlinkat(&target, dir, beside).context(|| format!("link '{}'", visible_path(&change.path)))
    }
}

/// Puts what was made beside into its place.
fn place(dir: &Dir, old: Option<&Node>, name: &OsStr, beside: &OsStr) -> Result<Outcome> {
    let shown = || format!("replace '{}'", visible_path(dir.path().join(name)));
    let rename = |flags| rustix::fs::renameat_with(dir, beside, dir, name, flags);
    let made = Node::look(dir, beside)?;
    // The user may have written to it already: then it is not as it was made.
    let placed = || {
        let (now, made) = (Node::look(dir, name).ok()??, made.as_ref()?);
        (now.id == made.id && now.mtime == made.mtime && now.size == made.size).then_some((now.id.1, now.ctime))
    };
    let Some(old) = old.filter(|old| !old.is_directory() || !dir.remove_empty(name)) else {
        return match rename(RenameFlags::NOREPLACE) {
            Ok(()) => Ok(Outcome::Applied(placed())),
            Err(Errno::EXIST) => Ok(changed()),
            Err(error) => Err(error).context(shown),
        };
    };
    if old.is_directory() {
        return Ok(Outcome::Conflict("the directory on the host is not empty".into()));
    }
    match rename(RenameFlags::EXCHANGE) {
        Ok(()) => {
            let ids = placed();
            Ok(match take_away(dir, old, name, beside, RenameFlags::EXCHANGE)? {
                Outcome::Applied(_) => Outcome::Applied(ids),
                conflict => conflict,
            })
        }
        Err(Errno::NOENT) => Ok(changed()),
        // Not every file system can exchange two entries.
        Err(Errno::INVAL | Errno::NOSYS) => {
            rename(RenameFlags::empty()).context(shown)?;
            Ok(Outcome::Applied(placed()))
        }
        Err(error) => Err(error).context(shown),
    }
}

/// Removes what was renamed out of its place if it is what was compared; else it goes back.
fn take_away(dir: &Dir, old: &Node, name: &OsStr, beside: &OsStr, back: RenameFlags) -> Result<Outcome> {
    let found = Node::look(dir, beside)?;
    // The rename itself gives it a new change time.
    let is_it = found.as_ref().is_some_and(|found| {
        found.id == old.id && found.mtime == old.mtime && found.size == old.size && found.mode == old.mode
    });
    if !is_it {
        rustix::fs::renameat_with(dir, beside, dir, name, back)
            .context(|| format!("put '{}' back", visible_path(dir.path().join(name))))?;
        return Ok(changed());
    }
    rustix::fs::unlinkat(dir, beside, AtFlags::empty())
        .context(|| format!("remove '{}'", visible_path(dir.path().join(beside))))?;
    Ok(Outcome::Applied(None))
}

fn ids_of(dir: &Dir, name: &OsStr) -> Option<(u64, i64)> {
    Node::look(dir, name).ok().flatten().map(|node| (node.id.1, node.ctime))
}

/// SHA-256 of a file's content, or of where a link leads.
fn digest(dir: &Dir, name: &OsStr, what: What) -> Option<String> {
    match what {
        What::Link => Some(fs::sha256(dir.link(name).ok()?.as_os_str().as_encoded_bytes())),
        _ => fs::sha256_of(&mut dir.file(name).ok()?).ok(),
    }
}

fn changed() -> Outcome {
    Outcome::Conflict("it changed on the host at this moment".into())
}

fn is_same(now: Option<&Node>, then: Option<&Node>) -> bool {
    match (now, then) {
        (None, None) => true,
        (Some(now), Some(then)) if now.is_directory() && then.is_directory() => now.id == then.id,
        (Some(now), Some(then)) => now.id == then.id && now.ctime == then.ctime,
        _ => false,
    }
}

/// Root works in a tree of somebody else's: what is made there is theirs.
fn give(file: &impl std::os::fd::AsFd, like: Option<&Node>) -> Result<()> {
    let Some(like) = like else { return Ok(()) };
    let (uid, gid) = (Uid::from_raw(like.owner.0), Gid::from_raw(like.owner.1));
    rustix::fs::fchown(file, Some(uid), Some(gid)).context(|| "give a file to its owner".into())
}

/// The content of a file, `length` bytes of it and no more: the agent may be writing faster than this reads. Holes stay holes: a
/// file of a terabyte may be nothing but one.
fn fill(source: &File, target: &mut File, length: u64) -> std::io::Result<()> {
    if length < 1 << 20 {
        return std::io::copy(&mut std::io::Read::take(source, length), target).map(drop);
    }
    if rustix::fs::ioctl_ficlone(&*target, source).is_ok() {
        return Ok(());
    }
    let mut at = 0;
    while at < length {
        let Ok(start) = rustix::fs::seek(source, SeekFrom::Data(at)) else { break };
        let end = rustix::fs::seek(source, SeekFrom::Hole(start))?.min(length);
        rustix::fs::seek(source, SeekFrom::Start(start))?;
        rustix::fs::seek(&*target, SeekFrom::Start(start))?;
        std::io::copy(&mut std::io::Read::take(source, end.saturating_sub(start)), target)?;
        at = end.max(start + 1);
    }
    target.set_len(length)
}
