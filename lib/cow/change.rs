//! One difference between what the agent has and what the host has, and what can be done about it.

use super::held::{Held, held};
use super::node::Node;
use crate::dir::Dir;
use rustix::fs::FileType;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// One difference.
#[derive(Debug, Clone)]
pub struct Change {
    /// Below the root of the mount.
    pub path: PathBuf,
    /// What the host has.
    pub old: Option<Node>,
    /// What the agent has.
    pub new: Option<Node>,
    /// Whether it can be applied.
    pub verdict: Verdict,
}

/// Whether a change can be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It can.
    Ready,
    /// The host's entry changed, too.
    Conflict(String),
    /// When it is named.
    Held(Held),
    /// It is never applied.
    Never(String),
}

/// Everything that is different.
#[derive(Debug, Default)]
pub struct Scan {
    /// In an order in which they can be applied: directories before what is in them, deletions after.
    pub changes: Vec<Change>,
    /// `.git` files and directories with changes: not applied as files.
    pub repositories: Vec<PathBuf>,
    /// What the host's git ignores, if it was not asked for. It stays in the layer.
    pub ignored: Vec<Change>,
    /// What is the same on both sides by now, and need not be in the layer any more.
    pub settled: Vec<PathBuf>,
}

/// What holds for a change, the strongest first.
pub(super) fn verdict(path: &Path, special: bool, conflict: Option<String>, inside: Option<&Held>) -> Verdict {
    if special {
        return Verdict::Never("a pipe, a socket or a device".into());
    }
    match (conflict, inside.cloned().or_else(|| held(path))) {
        (Some(conflict), _) => Verdict::Conflict(conflict),
        (None, Some(held)) => Verdict::Held(held),
        (None, None) => Verdict::Ready,
    }
}

/// Whether a name is git's, as some file system may read it: one that does not tell cases apart, drops dots and spaces at the
/// end (FAT), has short names (FAT, NTFS) or ignores what cannot be seen (HFS+). Git refuses the same names.
pub(super) fn is_git(name: &OsStr) -> bool {
    let text = name.to_string_lossy();
    let is_seen = |c: &char| !matches!(c, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}');
    let seen: String = text.chars().filter(is_seen).flat_map(char::to_lowercase).collect();
    let plain = seen.trim_end_matches([' ', '.']);
    plain == ".git" || plain.strip_prefix("git~").is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whether git would take a directory for a repository: it needs no name for that.
pub(super) fn is_repository(upper: &Dir, host: Option<&Dir>, opaque: bool) -> bool {
    let has = |name: &str| {
        let name = OsString::from(name);
        match upper.stat(&name) {
            Ok(Some(stat)) => FileType::from_raw_mode(stat.st_mode) != FileType::CharacterDevice,
            _ => !opaque && host.is_some_and(|host| matches!(host.stat(&name), Ok(Some(_)))),
        }
    };
    has("HEAD") && (has("commondir") || has("objects") && has("refs"))
}

/// Whether a link at `path` may lead out of the tree, by its text. `..` counts at the start only, where what is above is
/// known to be directories: behind a name, which may be another link, nobody knows where it leads.
pub fn leads_out(path: &Path, target: &Path) -> bool {
    let (mut above, mut named) = (path.components().count().saturating_sub(1), false);
    for part in target.components() {
        match part {
            std::path::Component::Normal(_) => named = true,
            std::path::Component::ParentDir if named || above == 0 => return true,
            std::path::Component::ParentDir => above -= 1,
            std::path::Component::CurDir => {}
            _ => return true,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn git_is_known_by_every_name_that_a_file_system_has_for_it() {
        for name in [".git", ".GIT", ".git.", ".git . .", "GIT~1", ".g\u{200c}it", "\u{feff}.Git"] {
            assert!(is_git(OsStr::new(name)), "{name:?}");
        }
        for name in [".gitignore", "git", "git~x", "..git", ".git2"] {
            assert!(!is_git(OsStr::new(name)), "{name:?}");
        }
    }

    #[test]
    fn links_that_lead_out_are_known_by_their_text() {
        let out = |path: &str, target: &str| leads_out(Path::new(path), Path::new(target));
        assert!(out("a", "/etc"));
        assert!(out("a", "../x"));
        assert!(out("d/a", "../../x"));
        assert!(out("d/a", "up/../y"));
        assert!(!out("d/a", "../x"));
        assert!(!out("a", "x/./y"));
    }
}
