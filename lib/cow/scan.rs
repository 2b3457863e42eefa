//! What is different in a layer from what the host has now.

use super::change::{Change, Scan, Verdict, is_git, is_repository, leads_out, verdict};
use super::held::Held;
use super::known::Known;
use super::node::{Node, What, attribute};
use super::{DEPTH, Kind, Layer, Runs, ignored, led, offline, private, same};
use crate::dir::Dir;
use crate::error::Result;
use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Compares a layer with the tree of the host. What git ignores there is left out, but for what is in `named`.
pub fn scan_without_ignored(layer: &Layer, named: &[PathBuf]) -> Result<Scan> {
    let mut scan = scan(layer)?;
    scan.ignored = ignored::take(layer, &mut scan.changes, named);
    Ok(scan)
}

/// Compares a layer with the tree of the host.
pub fn scan(layer: &Layer) -> Result<Scan> {
    let mut scan = match layer.kind() {
        Kind::Copy => private::scan(layer)?,
        Kind::Overlay => scan_overlay(layer)?,
    };
    led::hold(layer, &mut scan.changes);
    Ok(scan)
}

fn scan_overlay(layer: &Layer) -> Result<Scan> {
    let (upper, host) = (Dir::open(&layer.changes())?, layer.host()?);
    let runs = Runs::read(&layer.runs());
    let (known, applied) = (Known::read(layer), offline::applied(layer));
    let mut scanner = Scanner { layer, runs, known, applied, out: Scan::default() };
    let inside = Inside { opaque: None, held: None, blocked: None, depth: 0 };
    scanner.directory(&upper, Some(&host), Path::new(""), &inside)?;
    Ok(scanner.out)
}

struct Scanner<'a> {
    layer: &'a Layer,
    runs: Runs,
    known: Known,
    applied: HashMap<PathBuf, (u64, i64)>,
    out: Scan,
}

/// What holds for everything in a directory.
#[derive(Clone)]
struct Inside {
    /// The host's directory does not show through; since when.
    opaque: Option<i64>,
    held: Option<Held>,
    blocked: Option<String>,
    depth: usize,
}

impl Scanner<'_> {
    fn directory(&mut self, upper: &Dir, host: Option<&Dir>, place: &Path, inside: &Inside) -> Result<()> {
        let entries = upper.entries()?;
        let mut inside = inside.clone();
        if inside.held.is_none() && is_repository(upper, host, inside.opaque.is_some()) {
            inside.held = Some(Held { reason: "git takes its directory for a repository", root: place.to_owned() });
        }
        for entry in &entries {
            self.entry(upper, host, &place.join(&entry.name), &entry.name, &inside);
        }
        if let (Some(since), Some(host)) = (inside.opaque, host) {
            let names: HashSet<&OsStr> = entries.iter().map(|entry| entry.name.as_os_str()).collect();
            for entry in host.entries()?.iter().filter(|entry| !names.contains(entry.name.as_os_str())) {
                self.deletion(host, &entry.name, &place.join(&entry.name), since, &inside);
            }
        }
        Ok(())
    }

    /// One entry of the layer. What goes wrong with one is not a reason to hide the others.
    fn entry(&mut self, upper: &Dir, host: Option<&Dir>, path: &Path, name: &OsStr, inside: &Inside) {
        if let Err(error) = self.try_entry(upper, host, path, name, inside) {
            let verdict = Verdict::Never(error.to_string());
            self.out.changes.push(Change { path: path.to_owned(), old: None, new: None, verdict });
        }
    }

    fn try_entry(&mut self, upper: &Dir, host: Option<&Dir>, path: &Path, name: &OsStr, inside: &Inside) -> Result<()> {
        if self.is_left_alone(path, name) {
            return Ok(());
        }
        let Some(new) = Node::look(upper, name)? else { return Ok(()) };
        let old = host.map(|host| Node::look(host, name)).transpose()?.flatten();
        let since = self.runs.start_of(new.birth);
        if new.whiteout {
            match (host, &old) {
                (Some(host), Some(_)) => drop(self.deletion(host, name, path, since, inside)),
                _ => self.out.settled.push(path.to_owned()),
            }
            return Ok(());
        }
        if new.is_directory() {
            return self.subdirectory(upper, host, path, (old, new, since), inside);
        }
        if let (Some(host), Some(old)) = (host, &old) {
            if same((upper, &new), (host, old), name) {
                self.out.settled.push(path.to_owned());
                return Ok(());
            }
            if old.is_directory() {
                let left = self.deletions_in(host, name, path, since, inside)?;
                if left {
                    let reason = "the directory on the host has something in it that is left".into();
                    self.push(path, Some(old.clone()), Some(new), Some(reason), inside);
                    return Ok(());
                }
                self.push(path, Some(old.clone()), Some(new), None, inside);
                return Ok(());
            }
        }
        let conflict = self.conflict(upper, host, name, path, (old.as_ref(), since));
        let outward = new.what == What::Link && leads_out(path, &upper.link(name)?);
        let mut inside = inside.clone();
        if outward && inside.held.is_none() {
            inside.held = Some(Held { reason: "a link that leads out of the tree", root: path.to_owned() });
        }
        self.push(path, old, Some(new), conflict, &inside);
        Ok(())
    }

    fn subdirectory(
        &mut self,
        upper: &Dir,
        host: Option<&Dir>,
        path: &Path,
        (old, new, since): (Option<Node>, Node, i64),
        inside: &Inside,
    ) -> Result<()> {
        let name = path.file_name().unwrap_or_default();
        let mut below = Inside { depth: inside.depth + 1, ..inside.clone() };
        let deeper = upper.sub_lent(name)?;
        if inside.depth >= DEPTH {
            self.never(path, old, new, "the tree is too deep");
            return Ok(());
        }
        let under = match (&old, host) {
            (Some(old), Some(host)) if old.is_directory() => {
                if !same((upper, &new), (host, old), name) {
                    let conflict = self.later(path, old, since);
                    self.push(path, Some(old.clone()), Some(new), conflict, inside);
                } else {
                    self.out.settled.push(path.to_owned());
                }
                Some(host.sub(name)?)
            }
            _ => {
                let conflict = self.conflict(upper, host, name, path, (old.as_ref(), since));
                below.blocked = below
                    .blocked
                    .or_else(|| conflict.as_ref().map(|_| "its directory is in conflict with the host's".to_owned()));
                self.push(path, old, Some(new), conflict, inside);
                None
            }
        };
        let is_opaque = Node::is_opaque(upper, name);
        if is_opaque && below.opaque.is_none() {
            below.opaque = Some(since);
        }
        self.directory(&deeper, under.as_ref(), path, &below)
    }

    /// What of the host is not there for the agent any more: the entry and all in it. Whether something of it is left.
    fn deletion(&mut self, host: &Dir, name: &OsStr, path: &Path, since: i64, inside: &Inside) -> bool {
        let attempt = (|| {
            if self.is_left_alone(path, name) {
                return Ok(true);
            }
            let Some(old) = Node::look(host, name)? else { return Ok(false) };
            if old.is_directory() {
                if self.deletions_in(host, name, path, since, inside)? {
                    return Ok(true);
                }
                self.push(path, Some(old), None, None, inside);
            } else {
                let conflict = self.later(path, &old, since);
                self.push(path, Some(old), None, conflict, inside);
            }
            Ok(self.out.changes.last().is_some_and(|change| change.verdict != Verdict::Ready))
        })();
        attempt.unwrap_or_else(|error: crate::error::Error| {
            let verdict = Verdict::Never(error.to_string());
            self.out.changes.push(Change { path: path.to_owned(), old: None, new: None, verdict });
            true
        })
    }

    fn deletions_in(&mut self, host: &Dir, name: &OsStr, path: &Path, since: i64, inside: &Inside) -> Result<bool> {
        let dir = host.sub(name)?;
        let mut inside = inside.clone();
        if inside.held.is_none() && is_repository(&dir, None, false) {
            inside.held = Some(Held { reason: "git takes its directory for a repository", root: path.to_owned() });
        }
        let mut left = false;
        for entry in dir.entries()? {
            left |= self.deletion(&dir, &entry.name, &path.join(&entry.name), since, &inside);
        }
        Ok(left)
    }

    /// Git's own data is never applied as files, and what is sbox's own is not the agent's to change.
    fn is_left_alone(&mut self, path: &Path, name: &OsStr) -> bool {
        if is_git(name) {
            self.out.repositories.push(path.to_owned());
            return true;
        }
        self.layer.own() == Some(path)
    }

    /// Why a change on the host stands against one of the agent's.
    fn conflict(
        &self,
        upper: &Dir,
        host: Option<&Dir>,
        name: &OsStr,
        path: &Path,
        (old, since): (Option<&Node>, i64),
    ) -> Option<String> {
        match (old, host) {
            (Some(old), _) => self.later(path, old, since),
            (None, Some(host)) => {
                // A file that came from the host and is not there any more; or one that the agent renamed, and the
                // directory changed for another reason: who can tell? The user.
                let changed = Node::look(host, OsStr::new(".")).ok().flatten().is_none_or(|dir| dir.mtime > since);
                let copied = || attribute(upper, name, "user.overlay.origin").is_some();
                (changed && copied()).then(|| "it is no longer on the host".into())
            }
            (None, None) => None,
        }
    }

    fn later(&self, path: &Path, old: &Node, since: i64) -> Option<String> {
        let ours = self.applied.get(path) == Some(&(old.id.1, old.ctime));
        (old.ctime > self.known.since(path, since) && !ours)
            .then(|| "it changed on the host after the run began".into())
    }

    fn never(&mut self, path: &Path, old: Option<Node>, new: Node, why: &str) {
        self.out.changes.push(Change {
            path: path.to_owned(),
            old,
            new: Some(new),
            verdict: Verdict::Never(why.into()),
        });
    }

    fn push(&mut self, path: &Path, old: Option<Node>, new: Option<Node>, conflict: Option<String>, inside: &Inside) {
        let special = new.as_ref().is_some_and(|new| new.what == What::Special);
        let verdict = verdict(path, special, conflict.or_else(|| inside.blocked.clone()), inside.held.as_ref());
        self.out.changes.push(Change { path: path.to_owned(), old, new, verdict });
    }
}
