//! Moving away what was planted, and what is said of it at the end.

use super::survey::{Class, Id, facts};
use super::{Place, Protection, verdict};
use libsbox::dir::Dir;
use libsbox::error::Result;
use libsbox::escape::visible_path;
use rustix::fs::Mode;
use std::collections::{BTreeSet, HashSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// What is said at the end of a run, each thing once: a line for a person, and perhaps what to do.
#[derive(Debug, Default)]
pub struct Findings {
    seen: BTreeSet<(u8, PathBuf)>,
    programs: usize,
    /// Names that were given: a link leads where it led before.
    given: HashSet<OsString>,
    pub lines: Vec<(String, Option<String>)>,
}

impl Findings {
    /// Lines that are said; an agent can cause as many as it likes.
    const MOST: usize = 30;

    fn say(&mut self, kind: u8, path: &Path, line: impl FnOnce(String) -> (String, Option<String>)) {
        if self.seen.len() < 10_000 && self.seen.insert((kind, path.to_owned())) {
            match self.lines.len() {
                Self::MOST => self.lines.push(("... and more of the same".into(), None)),
                length if length < Self::MOST => self.lines.push(line(visible_path(path).to_string())),
                _ => {}
            }
        }
    }

    pub fn warn(&mut self, path: &Path, what: &str) {
        self.say(0, path, |shown| (format!("'{shown}' {what}"), None));
    }

    pub fn note(&mut self, line: &str, hint: &str) {
        let (line, hint) = (line.to_owned(), (!hint.is_empty()).then(|| hint.to_owned()));
        self.say(1, Path::new(&line.clone()), |_| (line, hint));
    }

    pub fn repository(&mut self, path: &Path) {
        self.say(2, path, |shown| {
            (format!("the sandbox created a Git repository at '{shown}'; review its config and hooks"), None)
        });
    }

    pub fn set_id(&mut self, path: &Path) {
        self.say(3, path, |shown| (format!("removed the set-uid/set-gid bit the sandbox set on '{shown}'"), None));
    }

    pub fn program(&mut self, path: &Path) {
        const MOST: usize = 10;
        self.programs += 1;
        if self.programs <= MOST {
            self.say(4, path, |shown| (format!("the sandbox created or changed a program: '{shown}'"), None));
        }
    }

    pub fn changed(&mut self, path: &Path, class: Class) {
        let reason = match class {
            Class::Trigger(trigger) => trigger.reason,
            Class::State => "its configuration says how your next run is confined",
            Class::LedTo => "something protected leads to it",
            _ => "git runs what it says",
        };
        self.say(5, path, |shown| (format!("'{shown}' was changed while the sandbox ran: {reason}"), None));
    }

    /// Whether an entry has its name from here.
    pub fn gave(&self, name: &OsStr) -> bool {
        self.given.contains(name)
    }

    fn planted(&mut self, path: &Path, reason: &str, fate: &str) {
        self.say(6, path, |shown| (format!("the sandbox created '{shown}': {reason}"), Some(fate.to_owned())));
    }
}

impl Protection {
    /// Gives what was planted a name that nothing acts on. Nothing is lost, whoever it belongs to.
    pub fn set_aside(&self, place: &Place, dir: &Dir, path: &Path, reason: &str) {
        let Some(name) = path.file_name() else { return };
        let fate = match rename_away(dir, name) {
            Ok(Some(new)) => {
                let fate = format!("renamed to '{}'; review it before using it", visible_path(&new));
                self.findings().given.insert(new);
                fate
            }
            // It is gone again.
            Ok(None) => return,
            Err(_) if dir.close_to_all(name) => "it could not be renamed and has mode 000 now; remove it".into(),
            Err(error) => format!("{error}: remove it"),
        };
        self.findings().planted(&place.src.join(path), reason, &fate);
        place.put_link_back(dir, path);
    }
}

impl Place {
    /// A link of the user's that the agent replaced is put back.
    fn put_link_back(&self, dir: &Dir, path: &Path) {
        if let (Some(name), Some(target)) =
            (path.file_name(), self.survey.things.get(path).and_then(|thing| thing.target.as_ref()))
            && facts(dir, name).is_none()
        {
            let _ = dir.put_link(name, target);
        }
    }

    /// Removes what other sandboxes make to mount on and leave behind, if it is still empty and the same; `false` if it has
    /// content, or is another.
    pub fn remove_placeholder(&self, path: &Path, id: Id) -> bool {
        let above = path.parent().unwrap_or(Path::new(""));
        let dir = self.root().and_then(|root| super::open(&root, above));
        let (Some(name), Ok(dir)) = (path.file_name(), dir) else { return true };
        let Some(now) = facts(&dir, name) else { return true };
        let is_empty = now.id == id && verdict::is_empty(&dir, name, &now);
        is_empty && (dir.remove_empty(name) || dir.remove_file(name))
    }
}

/// Renames the entry; gives the new name, or `None` if there is nothing of the old one. A name that cannot be guessed:
/// the agent cannot have taken it. Its directory may have been made read-only for its owner.
fn rename_away(dir: &Dir, name: &OsStr) -> Result<Option<OsString>> {
    let new = new_name(name);
    let mut renamed = dir.rename_new(name, &new);
    if renamed.is_err() && facts(dir, name).is_some() {
        use std::os::fd::AsFd;
        let mode = rustix::fs::fstat(dir.as_fd()).map_or(0o755, |stat| stat.st_mode & 0o7777);
        let _ = rustix::fs::fchmod(dir.as_fd(), Mode::from_raw_mode(mode | 0o700));
        renamed = dir.rename_new(name, &new);
        let _ = rustix::fs::fchmod(dir.as_fd(), Mode::from_raw_mode(mode));
    }
    match renamed {
        Ok(()) => Ok(Some(new)),
        Err(_) if facts(dir, name).is_none() => Ok(None),
        Err(error) => Err(error),
    }
}

fn new_name(name: &OsStr) -> OsString {
    let mut random = [0u8; 4];
    let _ = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty());
    let start: String = name.to_string_lossy().chars().take(50).collect();
    format!("{start}.from-sandbox-{:08x}", u32::from_ne_bytes(random)).into()
}
