//! What an event means: the entry is judged, and what cannot be decided yet is kept for later.

use super::{Event, Watches};
use crate::protect::{Id, Met, facts, open};
use libsbox::dir::Dir;
use libsbox::git;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

impl Watches<'_> {
    pub(super) fn judge(&mut self, event: Event) {
        let Some((number, above)) = self.path_of(event.watch) else { return };
        let path = above.join(&event.name);
        let Ok(root) = self.root(number) else { return };
        if self.judge_known(number, &root, &path, &event) {
            return;
        }
        if event.name.to_str().is_some_and(|name| name == "config.lock") {
            self.note_lock(number, &root, &above);
        }
        if libsbox::git::SIGNS.iter().any(|sign| event.name.eq_ignore_ascii_case(sign)) {
            self.hear_repository(event.watch, &root, &above);
        }
        match self.protection.meet(&self.protection.places[number], &root, &path) {
            Met::Directory => {
                let known = self.children.get(&(event.watch, event.name.clone())).copied();
                if known.is_none() {
                    self.add_below(number, event.watch, path, None);
                }
            }
            Met::Placeholder(top, id) => self.hold(number, &root, top, id),
            Met::Gone if is_gone(&root, &above, &event.name) => {}
            Met::Gone => drop(self.again.insert(event)),
            Met::LeadsNowhere => self.leave_unsettled(event),
            Met::Harmless | Met::MovedAway => {}
        }
    }

    /// An empty file or directory of a name that counts: from now on every write beside it is heard.
    pub(super) fn hold(&mut self, number: usize, root: &Dir, top: PathBuf, id: Id) {
        let above = top.parent().unwrap_or(Path::new("")).to_owned();
        let is_new = self.placeholders.insert((number, top.clone()), id).is_none();
        if let Ok(dir) = open(root, &above) {
            self.hear_writes(&dir);
        }
        let is_directory = open(root, &top).is_ok();
        let watch = self.node_at(number, &above);
        if let (true, true, Some(parent)) = (is_new, is_directory, watch) {
            self.add_below(number, parent, top, None);
        } else if is_new {
            // It may have got content before its writes were heard.
            if let (Some(watch), Some(name)) = (watch, top.file_name()) {
                self.again.insert(Event { watch, name: name.to_owned(), moved: false });
            }
        }
    }

    /// Once a directory is a repository, settings that are written into a file which is there already count too.
    pub(super) fn hear_repository(&mut self, watch: i32, root: &Dir, above: &Path) {
        if let Ok(dir) = open(root, above)
            && git::is_repository(&dir)
            && self.repositories.insert(watch)
        {
            self.hear_writes(&dir);
            self.has_new_repositories |= self.is_started;
            // They may have been written before they were heard.
            self.again.insert(Event { watch, name: git::heart(&dir).into(), moved: false });
        }
    }

    pub(super) fn leave_unsettled(&mut self, event: Event) {
        const MOST: usize = 2000;
        if self.unsettled.len() < MOST {
            self.unsettled.insert(event);
        } else {
            self.is_whole = false;
        }
    }

    /// What can change its meaning without an event: an empty file and the settings of a repository, when they are written
    /// through another name of theirs or through a mapping in memory, and links to what was not there.
    pub(super) fn look_over(&mut self) {
        let held: Vec<(usize, PathBuf)> = self.placeholders.keys().cloned().collect();
        for (number, path) in held {
            if let Ok(root) = self.root(number) {
                self.protection.meet(&self.protection.places[number], &root, &path);
            }
        }
        for event in std::mem::take(&mut self.unsettled) {
            self.judge(event);
        }
        for watch in self.repositories.clone() {
            let Some((number, path)) = self.path_of(watch) else { continue };
            let Ok(dir) = self.root(number).and_then(|root| open(&root, &path)) else { continue };
            self.judge(Event { watch, name: git::heart(&dir).into(), moved: false });
        }
    }
}

/// Whether there is nothing of that name in a directory that can be opened.
fn is_gone(root: &Dir, above: &Path, name: &OsStr) -> bool {
    open(root, above).is_ok_and(|dir| facts(&dir, name).is_none())
}
