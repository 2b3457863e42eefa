//! What programs of the host are led to: a repository's configuration names a directory of hooks in the tree, or a link of a
//! name that programs act on leads to a plain one. Whoever changes what is there changes what is run.
//!
//! Looked at are the directories that changes are in, and those above them. What is led to is followed two steps.

use super::change::{Change, Verdict};
use super::held::Held;
use super::{Layer, What};
use crate::dir::Dir;
use crate::git;
use crate::host_triggers;
use rustix::fs::FileType;
use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

/// Links in one directory that are followed.
const MOST_LINKS: usize = 200;

/// How often what is led to leads further.
const STEPS: usize = 2;

const REASON: &str = "git's settings or a link on this host lead to it";

/// Holds back those of `changes` that the host is led to.
pub(super) fn hold(layer: &Layer, changes: &mut [Change]) {
    let Ok(root) = layer.host() else { return };
    let mut led = Led { src: layer.src(), root: &root, targets: BTreeSet::new() };
    let places: BTreeSet<&Path> = changes.iter().flat_map(|change| change.path.ancestors().skip(1)).collect();
    for place in places {
        led.look_in(place);
    }
    led.follow();
    for change in changes.iter_mut().filter(|change| change.verdict == Verdict::Ready) {
        let at = change.path.ancestors().find(|top| led.targets.contains(*top));
        // What is put in the place of a directory above decides what is below, unless it is a directory, too.
        let is_directory = change.new.as_ref().is_some_and(|new| new.what == What::Directory);
        let above = || !is_directory && led.targets.iter().any(|target| target.starts_with(&change.path));
        if let Some(root) = at.map(Path::to_owned).or_else(|| above().then(|| change.path.clone())) {
            change.verdict = Verdict::Held(Held { reason: REASON, root });
        }
    }
}

struct Led<'a> {
    src: &'a Path,
    root: &'a Dir,
    /// Below the root of the tree.
    targets: BTreeSet<PathBuf>,
}

impl Led<'_> {
    fn open(&self, place: &Path) -> Option<Dir> {
        self.root.sub(if place.as_os_str().is_empty() { Path::new(".") } else { place }).ok()
    }

    fn look_in(&mut self, place: &Path) {
        let Some(dir) = self.open(place) else { return };
        for entry in dir.entries().unwrap_or_default() {
            let path = place.join(&entry.name);
            match entry.kind {
                _ if entry.name == ".git" => self.repository(&dir, place),
                FileType::Symlink if host_triggers::named(&path).is_some() => self.link(&dir, &path),
                FileType::Directory if host_triggers::named(&path).is_some() => self.links_in(&path),
                _ => {}
            }
        }
    }

    fn link(&mut self, dir: &Dir, path: &Path) {
        if let Some(target) = path.file_name().and_then(|name| dir.link(name).ok()) {
            self.lead(path.parent().unwrap_or(Path::new("")), &target);
        }
    }

    fn links_in(&mut self, place: &Path) {
        let Some(dir) = self.open(place) else { return };
        let entries = dir.entries().unwrap_or_default();
        for entry in entries.iter().filter(|entry| entry.kind == FileType::Symlink).take(MOST_LINKS) {
            self.link(&dir, &place.join(&entry.name));
        }
    }

    /// The repository of the working tree at `place`: `.git` is the user's own, and so is where it leads.
    fn repository(&mut self, dir: &Dir, place: &Path) {
        let own = place.join(".git");
        if let Ok(repository) = dir.sub(".git") {
            self.settings(&repository, place, &own);
            self.links_in(&own.join("hooks"));
            return;
        }
        let line = |dir: &Dir, name: &str| -> Option<String> {
            let mut text = String::new();
            dir.file(name).ok()?.take(8192).read_to_string(&mut text).ok()?;
            Some(text.trim_end_matches('\n').to_owned())
        };
        let found = line(dir, ".git").and_then(|text| Some(text.strip_prefix("gitdir:")?.trim().to_owned()));
        let Some(repository) = found.and_then(|found| Dir::open(&self.src.join(place).join(found)).ok()) else {
            return;
        };
        self.settings(&repository, place, &own);
        let common = line(&repository, "commondir").and_then(|way| Dir::open(&repository.path().join(way)).ok());
        let common = common.unwrap_or(repository);
        self.settings(&common, place, &own);
        let Ok(hooks) = common.sub("hooks") else { return };
        for entry in hooks.entries().unwrap_or_default().iter().take(MOST_LINKS) {
            if let Ok(target) = hooks.link(&entry.name) {
                self.lead(place, &hooks.path().join(target));
            }
        }
    }

    /// Relative to where git runs hooks, and to the file that includes another.
    fn settings(&mut self, repository: &Dir, place: &Path, own: &Path) {
        for (written, is_path) in git::led_to(repository, own) {
            for above in [place, own] {
                if is_path || self.src.join(above).join(&written).is_file() {
                    self.lead(above, &written);
                }
            }
        }
    }

    /// Remembers what something in `above` leads to, if that is in the same tree.
    fn lead(&mut self, above: &Path, written: &Path) {
        let written = match written.strip_prefix("~") {
            Ok(below) => std::env::home_dir().unwrap_or_default().join(below),
            Err(_) => written.to_owned(),
        };
        let mut place = if written.is_absolute() { self.src.to_owned() } else { self.src.join(above) };
        if written.is_absolute() {
            place = PathBuf::from("/");
        }
        for part in written.components() {
            match part {
                Component::Normal(name) => place.push(name),
                Component::ParentDir if !place.pop() => return,
                _ => {}
            }
        }
        match place.strip_prefix(self.src) {
            Ok(below) if !below.as_os_str().is_empty() && !below.starts_with(".git") => {
                self.targets.insert(below.to_owned());
            }
            _ => {}
        }
    }

    fn follow(&mut self) {
        for _ in 0..STEPS {
            for target in self.targets.clone() {
                let above = self.open(target.parent().unwrap_or(Path::new("")));
                match above {
                    Some(above) => self.link(&above, &target),
                    None => continue,
                }
                self.links_in(&target);
            }
        }
    }
}
