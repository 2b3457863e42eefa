//! What was known at the start and has another file in its place: the user's, which is covered again.

use super::{Event, Watches};
use crate::cover_again::cover_again;
use crate::protect::{Place, facts, open};
use libsbox::dir::Dir;
use std::ffi::OsStr;
use std::path::Path;
use std::time::{Duration, Instant};

/// So soon after a known file was removed, another one in its place is the user's: programs replace files that way.
const REPLACING: Duration = Duration::from_secs(2);

impl Watches<'_> {
    /// A known entry has gone; inside nobody can do that, but at the levels without mounts.
    pub(super) fn forget(&mut self, watch: i32, name: &OsStr) {
        let Some((number, path)) = self.path_of(watch) else { return };
        let Ok(dir) = self.root(number).and_then(|root| open(&root, &path)) else { return };
        let known = self.protection.places[number].known(&dir, name).map(|(path, _)| path.clone());
        if let Some(known) = known {
            self.removed.insert((number, known), Instant::now());
        }
    }

    /// A name that something was known under: tells whether that is all there is to it.
    pub(super) fn judge_known(&mut self, number: usize, root: &Dir, path: &Path, event: &Event) -> bool {
        let above = path.parent().unwrap_or(Path::new(""));
        let Ok(dir) = open(root, above) else { return false };
        let place = &self.protection.places[number];
        let Some((known, thing)) = place.known(&dir, &event.name) else { return false };
        let (known, thing) = (known.clone(), thing.clone());
        let Some(now) = facts(&dir, &event.name) else { return true };
        if !thing.is_covered() {
            return false;
        }
        let was_removed = self.removed.remove(&(number, known.clone()));
        // At the levels without mounts anybody can have changed it: it is compared at the end.
        if now.id == thing.facts.id || self.control.covers_nothing() {
            return false;
        }
        // The user's, if it took the place of the other in one step or at once.
        if !event.moved && was_removed.is_some_and(|then| then.elapsed() > REPLACING) {
            self.protection.places[number].forget(&known);
            return false;
        }
        self.protection.places[number].knows_now(&known, now);
        if was_removed.is_some() && !event.moved {
            let shown = self.protection.places[number].src.join(path);
            self.protection.findings().warn(&shown, "was removed and made again while the sandbox ran: review it");
        }
        self.uncovered.push((number, path.to_owned(), 0));
        self.cover_uncovered();
        // `.git` as a whole: what is in the new one is judged as anything new is.
        now.kind != rustix::fs::FileType::Directory || !path.ends_with(".git")
    }

    pub(super) fn cover_uncovered(&mut self) {
        const TRIES: u8 = 20;
        let Some(init) = self.control.way_in() else { return };
        for (number, path, tries) in std::mem::take(&mut self.uncovered) {
            let place = &self.protection.places[number];
            let Some((op, wanted)) = self.cover_of(place, &path) else { continue };
            if !cover_again(init, &op, wanted) {
                if tries < TRIES {
                    self.uncovered.push((number, path, tries + 1));
                } else {
                    let shown = self.protection.places[number].src.join(&path);
                    self.protection.findings().warn(
                        &shown,
                        "was replaced on the host while the sandbox ran and could not be protected again: review it",
                    );
                }
            }
        }
    }

    pub(super) fn cover_of(&self, place: &Place, path: &Path) -> Option<(libsbox::operation::Op, (u64, u64))> {
        let dir = place.root().and_then(|root| open(&root, path.parent().unwrap_or(Path::new("")))).ok()?;
        let name = path.file_name()?;
        let (_, thing) = place.known(&dir, name)?;
        let stat = dir.stat(name).ok()??;
        Some((thing.cover(place.dst.join(path))?, (stat.st_dev, stat.st_ino)))
    }

    /// git(1) writes `config.lock` and renames it, which a read-only `config` does not allow.
    pub(super) fn note_lock(&mut self, number: usize, root: &Dir, above: &Path) {
        let place = &self.protection.places[number];
        let is_covered = || {
            let dir = open(root, above).ok()?;
            place.known(&dir, "config".as_ref()).map(drop)
        };
        if self.control.way_in().is_some() && is_covered().is_some() {
            let shown = libsbox::escape::visible_path(place.src.join(above).join("config")).to_string();
            self.protection.findings().note(
                &format!(
                    "'{shown}' is read-only in a read-write mount: a change to it failed with 'Device or resource busy'"
                ),
                "mount the repository copy-on-write ('cow'), or run that git command on the host",
            );
        }
    }
}
