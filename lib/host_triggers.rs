//! Files that programs of the host act on by themselves: one table, each line with its reason.
//!
//! An agent that may write in a directory of the user's can leave one of these there and wait until the user enters it,
//! opens it in an editor or starts a tool. What is not listed is what somebody has to start by name (`Makefile`,
//! `package.json`, a test): whoever runs a project's programs runs what is in it. What git(1) acts on is in [`crate::git`].

mod fold;
mod table;

pub use fold::folded;
pub use table::HOST_TRIGGERS;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// What is done about one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// It is kept from the agent: one that exists is read-only, a new one is moved away.
    Protected,
    /// Agents change it in ordinary work, and it acts only together with something else: it is reported.
    Reported,
}

/// One line of the table.
#[derive(Debug)]
pub struct HostTrigger {
    /// A name (`.envrc`), the start or the end of one (`*.code-workspace`), or names that follow each other
    /// (`.cargo/config.toml`), at any depth.
    pub pattern: &'static str,
    /// Who acts on it, and how.
    pub reason: &'static str,
    /// What is done about it.
    pub weight: Weight,
}

/// The line for what has exactly this path below some directory: its last names fit a pattern.
pub fn named(path: &Path) -> Option<&'static HostTrigger> {
    entry(path.parent().and_then(Path::file_name), path.file_name()?)
}

/// The line for the entry `name` of a directory called `above`.
pub fn entry(above: Option<&OsStr>, name: &OsStr) -> Option<&'static HostTrigger> {
    let name = folded(name)?;
    let above = || above.and_then(folded);
    let by_end = || {
        let found = index().ends.iter().find(|(end, _)| name.ends_with(end.as_str()));
        found.map(|(_, trigger)| *trigger)
    };
    let fits = |trigger: &&&HostTrigger| {
        let first = trigger.pattern.split_once('/').map(|(first, _)| first);
        first.is_none_or(|first| above().is_some_and(|above| above.eq_ignore_ascii_case(first)))
    };
    index().names.get(&*name).and_then(|all| all.iter().find(fits)).copied().or_else(by_end)
}

/// The table by the last name of each pattern: every entry of a large tree is asked for.
struct Index {
    names: HashMap<String, Vec<&'static HostTrigger>>,
    ends: Vec<(String, &'static HostTrigger)>,
}

fn index() -> &'static Index {
    static INDEX: OnceLock<Index> = OnceLock::new();
    INDEX.get_or_init(|| {
        let mut index = Index { names: HashMap::new(), ends: Vec::new() };
        for trigger in HOST_TRIGGERS {
            let last = trigger.pattern.rsplit('/').next().unwrap_or(trigger.pattern).to_ascii_lowercase();
            match last.strip_prefix('*') {
                Some(end) => index.ends.push((end.to_owned(), trigger)),
                None => index.names.entry(last).or_default().push(trigger),
            }
        }
        index
    })
}

/// The line for a path or for a directory that it is in, and the part of the path that fits it.
pub fn judge(path: &Path) -> Option<(&'static HostTrigger, PathBuf)> {
    let mut tops: Vec<&Path> = path.ancestors().filter(|top| !top.as_os_str().is_empty()).collect();
    tops.reverse();
    tops.into_iter().find_map(|top| Some((named(top)?, top.to_owned())))
}

/// Whether a directory of this name makes what is in it a trigger, by a pattern of two names.
pub fn starts_a_pattern(name: &OsStr) -> bool {
    line_that_starts_with(name).is_some()
}

/// A line whose first of two names this is.
pub fn line_that_starts_with(name: &OsStr) -> Option<&'static HostTrigger> {
    let name = folded(name)?;
    let fits = |trigger: &&HostTrigger| {
        trigger.pattern.split_once('/').is_some_and(|(first, _)| name.eq_ignore_ascii_case(first))
    };
    HOST_TRIGGERS.iter().find(fits)
}

/// The names of the table that can be looked for one by one, relative to a directory: where nobody may list it.
pub fn plain_names() -> impl Iterator<Item = &'static str> {
    HOST_TRIGGERS.iter().map(|trigger| trigger.pattern).filter(|pattern| !pattern.starts_with('*'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(path: &str) -> Option<&'static str> {
        judge(Path::new(path)).map(|(trigger, _)| trigger.pattern)
    }

    #[test]
    fn a_pattern_fits_at_any_depth_and_for_all_that_is_below() {
        assert_eq!(fits(".envrc"), Some(".envrc"));
        assert_eq!(fits("a/b/.vscode/tasks.json"), Some(".vscode"));
        assert_eq!(judge(Path::new("a/.claude/x/y")).unwrap().1, Path::new("a/.claude"));
        assert_eq!(fits("a/.cargo/config.toml"), Some(".cargo/config.toml"));
        assert_eq!(fits("a/b.code-workspace"), Some("*.code-workspace"));
        assert_eq!(fits("a/.Rprofile"), Some(".Rprofile"));
    }

    #[test]
    fn a_name_that_only_looks_like_one_does_not_fit() {
        for path in [".envrc.bak", "envrc", ".cargo/registry/x", "config.toml", ".gitignore", ""] {
            assert_eq!(fits(path), None, "{path}");
        }
    }

    #[test]
    fn a_name_that_a_file_system_takes_for_another_fits_as_that() {
        for name in [
            ".ENVRC",
            ".Claude",
            ".en\u{200c}vrc",
            ".envrc.",
            ".v\u{17f}code",
            ".pro\u{fb01}le",
            ".\u{df}h",
            ".\u{212a}shrc",
            ".CARGO/Config.TOML",
            "x.Code-Workspace",
        ] {
            assert!(fits(name).is_some(), "{name:?}");
        }
        assert_eq!(folded(".GIT\u{feff}".as_ref()).unwrap(), ".git");
        assert_eq!(fits("README"), None);
    }

    #[test]
    fn every_line_has_a_reason_and_no_pattern_comes_twice() {
        let mut seen = std::collections::BTreeSet::new();
        for trigger in HOST_TRIGGERS {
            assert!(seen.insert(trigger.pattern), "{}", trigger.pattern);
            assert!(trigger.reason.len() > 10 && !trigger.reason.ends_with('.'), "{}", trigger.pattern);
            let names = trigger.pattern.split('/').count();
            assert!(names <= 2, "{}", trigger.pattern);
        }
    }
}
