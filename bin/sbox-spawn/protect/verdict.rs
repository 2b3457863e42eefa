//! What to do about an entry that appeared or changed in a read-write mount.

use super::leads::{Leads, leads};
use super::survey::{self, Class, Facts, facts, open};
use super::{Place, Protection};
use libsbox::dir::Dir;
use libsbox::git;
use libsbox::host_triggers::{self, HostTrigger, Weight, folded};
use rustix::fs::FileType;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Met {
    /// It is not there any more, or not where it was.
    Gone,
    /// Nothing acts on it, or it is the user's own.
    Harmless,
    /// A directory whose entries are of interest.
    Directory,
    /// Programs of the host would act on it, but it is empty: it is looked at again when it has content.
    Placeholder(PathBuf, survey::Id),
    /// A link that leads to nothing yet, or the `.git` file of a worktree: it is looked at again now and then.
    LeadsNowhere,
    /// It has another name now.
    MovedAway,
}

impl Protection {
    /// The same for an entry that was met by listing its directory: most names are of no interest to anybody.
    pub fn meet_listed(&self, place: &Place, root: &Dir, dir: &Dir, path: &Path, kind: FileType) -> Met {
        let (Some(name), above) = (path.file_name(), path.parent().unwrap_or(Path::new(""))) else { return Met::Gone };
        if kind == FileType::Symlink || place.may_matter(name, above, path) {
            return self.meet(place, root, path);
        }
        if kind == FileType::RegularFile
            && let Some(facts) = facts(dir, name)
        {
            place.take_set_id(dir, name, &facts, |shown| self.findings().set_id(shown));
        }
        if kind == FileType::Directory { Met::Directory } else { Met::Harmless }
    }

    /// Judges the entry at `path`.
    pub fn meet(&self, place: &Place, root: &Dir, path: &Path) -> Met {
        let above = path.parent().unwrap_or(Path::new(""));
        let (Some(name), Ok(dir)) = (path.file_name(), open(root, above)) else { return Met::Gone };
        // Something in a new directory that is a trigger as a whole: it has content now.
        for top in above.ancestors().filter(|top| !top.as_os_str().is_empty()) {
            if place.is_trigger(top) {
                let met = self.meet_trigger(place, root, top);
                if met != Met::Harmless {
                    return met;
                }
            }
        }
        let Some(facts) = facts(&dir, name) else { return Met::Gone };
        place.take_set_id(&dir, name, &facts, |shown| self.findings().set_id(shown));
        let is_known = place.survey.ids.contains(&facts.id);
        let walk = if facts.kind == FileType::Directory { Met::Directory } else { Met::Harmless };
        let (is_state, is_git) = (is_called(name, ".sbox"), is_called(name, ".git"));
        if is_state || is_known && !is_git {
            return if is_state && !is_known { self.meet_trigger(place, root, path) } else { Met::Harmless };
        }
        if place.is_trigger(path) {
            return self.meet_trigger(place, root, path);
        }
        if facts.kind == FileType::Symlink || is_git && facts.kind != FileType::Directory {
            let met = self.meet_lead(place, &dir, path, &facts);
            if met != Met::Harmless || is_git {
                return met;
            }
        }
        if let Some(trigger) = place.line_for(path)
            && trigger.weight == Weight::Reported
            && place.known(&dir, name).is_none()
        {
            self.findings().changed(&place.src.join(path), Class::Trigger(trigger));
        }
        if survey::has_programs(above) && place.known(&dir, name).is_none() && facts.kind != FileType::Directory {
            self.findings().program(&place.src.join(path));
        }
        if self.meet_in_repository(place, root, &dir, path) {
            return Met::MovedAway;
        }
        let is_known_bulk = || survey::is_bulk(name) && place.is_known_repository(&dir);
        if walk == Met::Directory && is_known_bulk() { Met::Harmless } else { walk }
    }

    /// A link, or a file `.git`: it may lead to where nobody looks, or be what leads to something that is looked after.
    fn meet_lead(&self, place: &Place, dir: &Dir, path: &Path, facts: &Facts) -> Met {
        let above = path.parent().unwrap_or(Path::new(""));
        let Some(name) = path.file_name() else { return Met::Gone };
        let is_the_users = place.survey.ids.contains(&facts.id) || place.is_users(dir, name) || place.was_there(facts);
        if is_the_users || self.findings().gave(name) {
            return Met::Harmless;
        }
        let is_git = is_called(name, ".git");
        let reason = match leads(&self.places, place, dir, above, name, facts.kind) {
            _ if facts.kind == FileType::Symlink && place.leads_through(path) => {
                "it lies on the way to what a protected link or setting names"
            }
            _ if facts.kind == FileType::Symlink
                && name.as_encoded_bytes().starts_with(b".")
                && let Some(trigger) = host_triggers::line_that_starts_with(name) =>
            {
                trigger.reason
            }
            Leads::Unguarded if is_git => "it leads git to a place that is not guarded",
            Leads::Unguarded => "it leads to a directory that is not guarded",
            Leads::Nowhere => return Met::LeadsNowhere,
            // It can be written through another name.
            Leads::Well if facts.kind == FileType::RegularFile => return Met::LeadsNowhere,
            Leads::Well => return Met::Harmless,
        };
        self.set_aside(place, dir, path, reason);
        Met::MovedAway
    }

    /// A name that something acts on: empty it harms nobody, and with content it is moved away.
    fn meet_trigger(&self, place: &Place, root: &Dir, path: &Path) -> Met {
        let above = path.parent().unwrap_or(Path::new(""));
        let (Some(name), Ok(dir)) = (path.file_name(), open(root, above)) else { return Met::Gone };
        let Some(facts) = facts(&dir, name) else { return Met::Gone };
        if place.survey.ids.contains(&facts.id) || place.is_users(&dir, name) {
            return Met::Harmless;
        }
        if is_empty(&dir, name, &facts) {
            return Met::Placeholder(path.to_owned(), facts.id);
        }
        let reason = place.line_for(path).map(|trigger| trigger.reason);
        self.set_aside(place, &dir, path, reason.unwrap_or("a protected link leads to it"));
        Met::MovedAway
    }

    /// Whether the entry made its directory a repository that runs something, or is what one runs; then it was moved.
    fn meet_in_repository(&self, place: &Place, root: &Dir, dir: &Dir, path: &Path) -> bool {
        let above = path.parent().unwrap_or(Path::new(""));
        let name = path.file_name().and_then(folded).unwrap_or_default();
        if above.file_name().is_some_and(|name| is_called(name, "hooks")) {
            let up = above.parent().unwrap_or(Path::new(""));
            let Ok(repository) = open(root, up) else { return false };
            return git::is_repository(&repository) && self.judge_entry(place, &repository, up, "hooks");
        }
        if !(is_obeyed(&name) || is_sign(&name)) || !git::is_repository(dir) {
            return false;
        }
        if !place.is_known_repository(dir) {
            self.findings().repository(&place.src.join(above));
        }
        let mut moved = false;
        for entry in git::OBEYED {
            moved |= self.judge_entry(place, dir, above, entry) && *entry == *name;
        }
        moved
    }

    /// Judges one entry of a repository's own directory; tells whether it was moved away.
    fn judge_entry(&self, place: &Place, dir: &Dir, repository: &Path, name: &str) -> bool {
        let Some(facts) = facts(dir, name) else { return false };
        if place.survey.ids.contains(&facts.id) || place.is_users(dir, name.as_ref()) {
            return false;
        }
        if git::is_harmless_entry(dir, &place.own.join(repository), name) {
            return false;
        }
        // The user's own file stays where it is: without its head the directory is not a repository.
        let is_old = facts.born.is_some_and(|born| born < place.since) && name.starts_with("config");
        let what = if is_old && !place.is_known_repository(dir) { git::heart(dir) } else { name };
        self.set_aside(place, dir, &repository.join(what), "git runs what it says");
        true
    }
}

impl Place {
    /// Whether anything may have to be done about a name; above it is no trigger, or nobody would have looked there.
    fn may_matter(&self, name: &OsStr, above: &Path, path: &Path) -> bool {
        folded(name).is_some_and(|name| name == ".git" || is_obeyed(&name) || is_sign(&name))
            || survey::is_bulk(name)
            || above.file_name().is_some_and(|above| is_called(above, "hooks"))
            || self.line_for(path).is_some()
            || self.survey.led_to.contains(path)
            || survey::has_programs(above)
            || above.ancestors().any(|top| !top.as_os_str().is_empty() && self.is_trigger(top))
    }

    fn is_known_repository(&self, dir: &Dir) -> bool {
        facts(dir, ".").is_some_and(|here| self.survey.repositories.contains(&here.id))
    }

    /// Whether something else was covered at this place, in this very directory: only the host can have replaced it.
    fn is_users(&self, dir: &Dir, name: &OsStr) -> bool {
        self.known(dir, name).is_some_and(|(_, thing)| thing.is_covered())
    }

    /// Whether it is older than the sandbox: a link of the user's, wherever it leads. One that the agent renamed has a
    /// later change, and one of the same tick of the clock may be the agent's.
    fn was_there(&self, facts: &Facts) -> bool {
        (facts.changed.0, i64::from(facts.changed.1)) < self.start
    }

    /// Whether what something protected leads to is reached through `path`.
    fn leads_through(&self, path: &Path) -> bool {
        let after = (std::ops::Bound::Excluded(path), std::ops::Bound::Unbounded);
        self.survey.led_to.range::<Path, _>(after).next().is_some_and(|next| next.starts_with(path))
    }

    /// The line of the table for what is at `path`.
    fn line_for(&self, path: &Path) -> Option<&'static HostTrigger> {
        let above = path.parent().and_then(Path::file_name);
        host_triggers::entry(above.or(self.own.file_name()), path.file_name()?)
    }

    /// Whether the whole of what is at `path` is acted on: by its name, or because something protected leads there.
    fn is_trigger(&self, path: &Path) -> bool {
        let by_name = self.line_for(path).is_some_and(|trigger| trigger.weight == Weight::Protected);
        by_name || self.survey.led_to.contains(path)
    }

    /// A program that is set-uid would run with the rights of whoever owns the directory, for anybody who starts it.
    fn take_set_id(&self, dir: &Dir, name: &OsStr, facts: &Facts, tell: impl FnOnce(&Path)) {
        let is_new = facts.changed.0 >= self.since;
        if facts.kind == FileType::RegularFile && facts.mode & 0o6000 != 0 && is_new && dir.take_set_id(name) {
            tell(&dir.path().join(name));
        }
    }
}

/// Whether a file system may take `name` for `wanted`.
pub fn is_called(name: &OsStr, wanted: &str) -> bool {
    folded(name).is_some_and(|name| name == wanted)
}

/// `name` is in lower case.
fn is_obeyed(name: &str) -> bool {
    git::OBEYED.contains(&name)
}

fn is_sign(name: &str) -> bool {
    git::SIGNS.iter().any(|sign| name.eq_ignore_ascii_case(sign))
}

/// Whether it is a file or a directory without content. A link has some: where it leads.
pub fn is_empty(dir: &Dir, name: &OsStr, facts: &Facts) -> bool {
    match facts.kind {
        FileType::RegularFile => facts.size == 0,
        FileType::Directory => dir.sub(name).and_then(|dir| dir.entries()).is_ok_and(|entries| entries.is_empty()),
        _ => false,
    }
}
