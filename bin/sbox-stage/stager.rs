//! The work: what is due is found out first, written down, and then done.

use crate::Options;
use crate::place::Place;
use crate::record::{Record, Seen, Stamp};
use crate::sources::{Item, Kind, Wanted};
use libsbox::cli;
use libsbox::dir::{Dir, DirEntry};
use libsbox::error::{Error, Result};
use libsbox::escape::visible_path;
use libsbox::fs;
use libsbox::time;
use rustix::fs::FileType;
use serde_json::json;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// A change that is younger than this may be followed by another one with the same time: clocks of file systems tick, those
/// of the coarsest every two seconds.
const RECENT: i64 = 2_000_000_000;

pub fn stage(options: &Options, mut wanted: Wanted, old: &Record, kept: Record) -> Result<()> {
    if !options.dry_run {
        fs::make_dirs(&options.into)?;
    }
    let root = match Dir::open(&options.into) {
        Err(_) if options.dry_run && !options.into.exists() => None,
        root => Some(root?),
    };
    let mut stager = Stager { options, root, old, new: kept, here: None, listed: Vec::new() };
    let mut due = Vec::new();
    for (place, item) in &wanted {
        match stager.as_recorded(place, item)? {
            Some(stamp) => stager.note(place, item, stamp),
            None => due.push(place.clone()),
        }
    }
    let is_gone = |place: &&Place| !wanted.contains_key(*place) && !stager.new.items.contains_key(*place);
    let gone: Vec<&Place> = old.items.keys().rev().filter(is_gone).collect();
    if let (Some(path), false) = (&options.record, options.dry_run) {
        if !due.is_empty() || !gone.is_empty() {
            stager.intent(&due, &gone).write(path)?;
        }
        stager.sweep();
    }
    // What is gone goes first: a directory may take the place of a file.
    for place in gone {
        stager.remove(place)?;
    }
    for place in due {
        let Some(item) = wanted.get_mut(&place) else { continue };
        let stamp = stager.put(&place, item)?;
        stager.note(&place, item, stamp);
    }
    if let (Some(path), false) = (&options.record, options.dry_run)
        && stager.new != *old
    {
        stager.new.write(path)?;
    }
    if options.json {
        cli::out_line(json!({"fingerprint": stager.new.listed().0}))?;
    }
    Ok(())
}

struct Stager<'a> {
    options: &'a Options,
    /// `None` in a dry run before there is any.
    root: Option<Dir>,
    old: &'a Record,
    /// What is there, as far as it is done.
    new: Record,
    /// The directory that something was put into last: the next thing is mostly put there too.
    here: Option<(PathBuf, Dir)>,
    /// What is in the directory that was looked at last, and in those above it. What is below a directory comes together,
    /// so that each is read once.
    listed: Vec<(PathBuf, Vec<DirEntry>)>,
}

impl Stager<'_> {
    /// What the record has to say while this is at work: where something is put, nobody knows what is there.
    fn intent(&self, due: &[Place], gone: &[&Place]) -> Record {
        let mut intent = self.new.clone();
        intent.items.extend(due.iter().map(|place| (place.clone(), Stamp::unknown())));
        let still = gone.iter().filter_map(|place| Some(((*place).clone(), self.old.items.get(*place)?.clone())));
        intent.items.extend(still);
        intent
    }

    /// Removes what a staging that was killed has left beside the files that it was putting there.
    fn sweep(&self) {
        let unknown = self.old.items.iter().filter(|(_, stamp)| stamp.is_unknown());
        let mut parents: Vec<&Path> = unknown.map(|(place, _)| place.split().0).collect();
        parents.dedup();
        for dir in parents.into_iter().filter_map(|parent| self.root.as_ref()?.sub(parent).ok()) {
            dir.remove_temporaries();
        }
    }

    fn note(&mut self, place: &Place, item: &Item, stamp: Stamp) {
        self.new.items.insert(place.clone(), stamp);
        if item.kind != Kind::File || self.new.seen.contains_key(place) {
            return;
        }
        let seen = match self.old.seen.get(place) {
            Some(Seen::Content(sum)) if is_recent(item.ctime) => Seen::Content(sum.clone()),
            _ => Seen::Change(item.ctime),
        };
        self.new.seen.insert(place.clone(), seen);
    }

    /// The stamp of what is there, if it is what was put there and its source is as it was.
    fn as_recorded(&mut self, place: &Place, item: &Item) -> Result<Option<Stamp>> {
        let old = self.old.items.get(place);
        // A place that was being worked on is made again, whatever is there.
        let is_unknown = old.is_some_and(Stamp::is_unknown);
        if !self.is_there(place, item)? || is_unknown {
            return Ok(None);
        }
        if item.kind != Kind::File {
            // A directory, or a place to mount on, is made once, and what is in it is nobody's business.
            let is_same = !matches!(item.kind, Kind::Link(_)) || (old == Some(&item.stamp()) && !self.options.force);
            return Ok(is_same.then(|| item.stamp()));
        }
        let Some(old) = old.filter(|old| !self.options.force && old.is_like(&item.stamp())) else { return Ok(None) };
        let is_same = match self.old.seen.get(place) {
            // Version 0.1.0 did not note it.
            None => true,
            Some(Seen::Change(ctime)) => *ctime == item.ctime || self.has_content_of(place, item)?,
            Some(Seen::Content(sum)) => hash(item)? == *sum,
        };
        Ok(is_same.then(|| old.clone()))
    }

    /// Whether what is at `place` is of the item's kind.
    fn is_there(&mut self, place: &Place, item: &Item) -> Result<bool> {
        let Some(kind) = self.kind_at(place)? else { return Ok(false) };
        Ok(match &item.kind {
            Kind::Directory | Kind::MountDirectory => kind == FileType::Directory,
            Kind::Link(_) => kind == FileType::Symlink,
            Kind::File | Kind::MountFile => kind == FileType::RegularFile,
        })
    }

    /// What is at `place`. A directory that is not there, or closed, has nothing in it that was put there.
    fn kind_at(&mut self, place: &Place) -> Result<Option<FileType>> {
        let Some(root) = &self.root else { return Ok(None) };
        let (parent, name) = place.split();
        if self.listed.last().is_none_or(|(path, _)| path.as_os_str() != parent.as_os_str()) {
            let is_above = |path: &Path| path == Path::new(".") || parent.starts_with(path);
            while self.listed.pop_if(|(path, _)| !is_above(path)).is_some() {}
            if self.listed.last().is_none_or(|(path, _)| path != parent) {
                let entries = root.sub(parent).ok().map_or_else(|| Ok(Vec::new()), |dir| dir.entries())?;
                self.listed.push((parent.to_owned(), entries));
            }
        }
        let Some((_, entries)) = self.listed.last() else { return Ok(None) };
        let at = entries.binary_search_by(|entry| entry.name.as_os_str().cmp(name)).ok();
        Ok(at.map(|at| entries[at].kind))
    }

    /// Whether source and copy are the same, byte for byte: something touched the source, and may not have changed it.
    fn has_content_of(&self, place: &Place, item: &Item) -> Result<bool> {
        let Some(Ok(mut copy)) = self.root.as_ref().map(|root| root.file(&**place)) else { return Ok(false) };
        let mut source = item.open()?;
        let (mut ours, mut theirs) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
        loop {
            let read = full(&mut source, &mut ours).map_err(|error| unreadable(item, &error))?;
            // The agent's file: one that cannot be read is another one.
            let Ok(other) = full(&mut copy, &mut theirs) else { return Ok(false) };
            if ours[..read] != theirs[..other] {
                return Ok(false);
            }
            if read == 0 {
                return Ok(true);
            }
        }
    }

    /// Puts an item at its place; gives what is to be noted of it.
    fn put(&mut self, place: &Place, item: &mut Item) -> Result<Stamp> {
        // Places to mount on are made at each start, too: they are no reason to build.
        if matches!(item.kind, Kind::File | Kind::Link(_)) {
            self.print("put", place)?;
        }
        let Some(root) = self.root.as_ref().filter(|_| !self.options.dry_run) else { return Ok(item.stamp()) };
        if matches!(item.kind, Kind::Directory | Kind::MountDirectory) {
            self.here = None;
            return root.sub_or_make(place).map(|_| item.stamp());
        }
        let (parent, name) = place.split();
        if self.here.as_ref().is_none_or(|(path, _)| path.as_os_str() != parent.as_os_str()) {
            self.here = Some((parent.to_owned(), root.sub_or_make(parent)?));
        }
        let Some((_, dir)) = &self.here else { return Ok(item.stamp()) };
        match &item.kind {
            Kind::Link(target) => dir.put_link(name, target)?,
            Kind::MountFile => dir.put_file(name, 0o644, |_| Ok(()))?,
            _ => {
                let seen = copy(item, dir, name)?;
                self.new.seen.insert(place.clone(), seen);
            }
        }
        let stamp = item.stamp();
        let differs = |old: &&Stamp| item.kind == Kind::File && (old.is_like(&stamp) || old.is_unknown());
        let had = self.old.items.get(place).filter(differs);
        Ok(if had.is_some() && !self.options.force { stamp.with_other_content(item.ctime) } else { stamp })
    }

    /// Removes what was put at `place` and is not wanted any more.
    fn remove(&mut self, place: &Place) -> Result<()> {
        let (Some(root), Some(stamp)) = (&self.root, self.old.items.get(place)) else { return Ok(()) };
        let (parent, name) = place.split();
        let Some(dir) = root.sub_opened(parent)? else { return Ok(()) };
        let Some(stat) = dir.stat(name)? else { return Ok(()) };
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            // Others' files in it keep it.
            if !self.options.dry_run {
                dir.remove_empty(name);
            }
            return Ok(());
        }
        if stamp.is_mount() && stat.st_size > 0 {
            return Ok(());
        }
        if !stamp.is_mount() {
            self.print("remove", place)?;
        }
        if self.options.dry_run { Ok(()) } else { dir.remove_tree(name) }
    }

    fn print(&self, change: &str, place: &Path) -> Result<()> {
        // As the agent sees it.
        let shown = visible_path(Path::new("/").join(place));
        if self.options.json {
            cli::out_line(json!({change: shown}))
        } else {
            cli::out_line(format!("{change} {shown}"))
        }
    }
}

/// Copies a file. The item is what was copied, which may be newer than what was found before.
fn copy(item: &mut Item, dir: &Dir, name: &OsStr) -> Result<Seen> {
    let source = item.open()?;
    let metadata = source.metadata().map_err(|error| unreadable(item, &error))?;
    item.note(&metadata);
    // Hashed before it is copied: what changes in between is seen the next time.
    let seen = match is_recent(item.ctime) {
        true => Seen::Content(hash(item)?),
        false => Seen::Change(item.ctime),
    };
    dir.put_file(name, item.mode, |file| {
        fs::fill(&source, file)?;
        file.flush()?;
        fs::keep_times(file, &metadata)
    })?;
    let before = (item.size, item.mtime, item.ctime);
    item.note(&source.metadata().map_err(|error| unreadable(item, &error))?);
    if before != (item.size, item.mtime, item.ctime) {
        let shown = visible_path(&item.src);
        return Err(Error::new(format!("source '{shown}' changed while it was copied")).hint("run the command again"));
    }
    Ok(seen)
}

fn is_recent(ctime: i64) -> bool {
    ctime > time::now_nanoseconds().saturating_sub(RECENT)
}

fn hash(item: &Item) -> Result<String> {
    fs::sha256_of(&mut item.open()?).map_err(|error| unreadable(item, &error))
}

fn unreadable(item: &Item, error: &std::io::Error) -> Error {
    Error::new(format!("cannot read source '{}': {}", visible_path(&item.src), libsbox::error::reason(error)))
}

/// Reads until the buffer is full or the file ends.
fn full(file: &mut File, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read(&mut buffer[length..])? {
            0 => break,
            read => length += read,
        }
    }
    Ok(length)
}
