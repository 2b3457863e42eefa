//! The differences between a private copy and the tree of the host.

use super::base::{self, Bases};
use super::change::{Change, Scan, Verdict, is_git, is_repository, leads_out, verdict};
use super::held::Held;
use super::node::{Node, What};
use super::{DEPTH, Layer, same};
use crate::dir::Dir;
use crate::error::Result;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::Path;

pub(super) fn scan(layer: &Layer) -> Result<Scan> {
    let (copy, host) = (Dir::open(&layer.changes())?, layer.host()?);
    let mut scanner = Scanner { layer, bases: base::read(layer)?, out: Scan::default() };
    scanner.directory(Some(&copy), Some(&host), Path::new(""), None)?;
    Ok(scanner.out)
}

struct Scanner<'a> {
    layer: &'a Layer,
    bases: Bases,
    out: Scan,
}

impl Scanner<'_> {
    /// Whether something in the directory is left on the host that the agent does not have.
    fn directory(&mut self, copy: Option<&Dir>, host: Option<&Dir>, place: &Path, held: Option<&Held>) -> Result<bool> {
        let here = Held { reason: "git takes its directory for a repository", root: place.to_owned() };
        let is_new_repository = held.is_none() && copy.is_some_and(|copy| is_repository(copy, None, true));
        let held = if is_new_repository { Some(&here) } else { held };
        let mut names: BTreeSet<OsString> = BTreeSet::new();
        names.extend(host.map(Dir::entries).transpose()?.unwrap_or_default().into_iter().map(|entry| entry.name));
        names.extend(copy.map(Dir::entries).transpose()?.unwrap_or_default().into_iter().map(|entry| entry.name));
        let mut left = false;
        for name in names {
            let path = place.join(&name);
            left |= self.entry(copy, host, &path, &name, held).unwrap_or_else(|error| {
                let verdict = Verdict::Never(error.to_string());
                self.out.changes.push(Change { path, old: None, new: None, verdict });
                true
            });
        }
        Ok(left)
    }

    fn entry(
        &mut self,
        copy: Option<&Dir>,
        host: Option<&Dir>,
        path: &Path,
        name: &OsStr,
        held: Option<&Held>,
    ) -> Result<bool> {
        if self.layer.own() == Some(path) {
            return Ok(true);
        }
        let look = |dir: Option<&Dir>| dir.map(|dir| Node::look(dir, name)).transpose().map(Option::flatten);
        let (new, old) = (look(copy)?, look(host)?);
        if is_git(name) {
            self.out.repositories.push(path.to_owned());
            return Ok(old.is_some());
        }
        let base = self.bases.get(path).copied();
        let conflict = match (&base, &old) {
            (Some(base), Some(old)) => {
                (!base.is_of(old)).then(|| "it changed on the host after the run began".to_owned())
            }
            (Some(_), None) => Some("it is no longer on the host".into()),
            (None, Some(_)) => Some("it was made on the host, too".into()),
            (None, None) => None,
        };
        match (new, old) {
            (None, None) => Ok(false),
            // Made on the host since: the agent never had it.
            (None, Some(_)) if base.is_none() => Ok(true),
            (None, Some(old)) => {
                if old.is_directory() && self.directory(None, Some(&sub(host, name)?), path, held)? {
                    return Ok(true);
                }
                let conflict = conflict.filter(|_| !old.is_directory());
                self.push(path, Some(old), None, conflict, held);
                Ok(self.out.changes.last().is_some_and(|change| change.verdict != Verdict::Ready))
            }
            (Some(new), old) => {
                let (Some(copy), untouched) = (copy, base.is_some_and(|base| base.is_untouched(&new))) else {
                    return Ok(true);
                };
                let both = matches!(&old, Some(old) if old.is_directory() && new.is_directory());
                if !untouched {
                    self.changed(copy, host, (path, name), (&new, old.clone()), conflict, held)?;
                }
                if new.is_directory() && path.components().count() > DEPTH {
                    let verdict = Verdict::Never("the tree is too deep".into());
                    self.out.changes.push(Change { path: path.to_owned(), old, new: Some(new), verdict });
                } else if new.is_directory() {
                    let (copy, host) = (copy.sub_lent(name)?, if both { Some(sub(host, name)?) } else { None });
                    self.directory(Some(&copy), host.as_ref(), path, held)?;
                }
                Ok(true)
            }
        }
    }

    /// An entry that the agent made or changed.
    fn changed(
        &mut self,
        copy: &Dir,
        host: Option<&Dir>,
        (path, name): (&Path, &OsStr),
        (new, old): (&Node, Option<Node>),
        mut conflict: Option<String>,
        held: Option<&Held>,
    ) -> Result<()> {
        if let (Some(host), Some(old)) = (host, &old) {
            if same((copy, new), (host, old), name) {
                return Ok(());
            }
            if old.is_directory() && !new.is_directory() {
                let left = self.directory(None, Some(&host.sub(name)?), path, held)?;
                conflict = left.then(|| "the directory on the host has something in it that is left".into());
            }
        }
        let outward = new.what == What::Link && leads_out(path, &copy.link(name)?);
        let link = Held { reason: "a link that leads out of the tree", root: path.to_owned() };
        self.push(path, old, Some(new.clone()), conflict, if outward { Some(&link) } else { held });
        Ok(())
    }

    fn push(
        &mut self,
        path: &Path,
        old: Option<Node>,
        new: Option<Node>,
        conflict: Option<String>,
        held: Option<&Held>,
    ) {
        let special = new.as_ref().is_some_and(|new| new.what == What::Special);
        let verdict = verdict(path, special, conflict, held);
        self.out.changes.push(Change { path: path.to_owned(), old, new, verdict });
    }
}

fn sub(dir: Option<&Dir>, name: &OsStr) -> Result<Dir> {
    dir.ok_or_else(|| crate::error::Error::new("a directory of the host is missing"))?.sub(name)
}
