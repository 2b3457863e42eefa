//! Changes that are held back: they are listed apart, and applied only when they are named.

use crate::escape;
use crate::host_triggers::judge;
use std::path::{Path, PathBuf};

/// Why a path is held back, and from where on downward.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// What would act on it.
    pub reason: &'static str,
    /// The part of the path that is one of those names.
    pub root: PathBuf,
}

/// Whether programs of the host act on `path`, also where a file system does not tell cases apart or drops dots and spaces at
/// the end of a name.
pub fn held(path: &Path) -> Option<Held> {
    let root = |count: usize| path.components().take(count).collect();
    let control = |name: std::path::Component<'_>| {
        let text = name.as_os_str().to_string_lossy();
        text.chars().any(|c| c.is_control() || escape::visible(c.encode_utf8(&mut [0; 4])).len() > 4)
    };
    if let Some(at) = path.components().position(control) {
        let reason = "terminals act on the control characters in its name";
        return Some(Held { reason, root: root(at + 1) });
    }
    let (trigger, top) = judge(path)?;
    Some(Held { reason: trigger.reason, root: root(top.components().count()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_stands_for_what_is_in_it_in_any_case() {
        let root = |path: &str| held(Path::new(path)).map(|held| held.root);
        assert_eq!(root("a/.vscode/tasks.json"), Some("a/.vscode".into()));
        assert_eq!(root("A/.ENVRC"), Some("A/.ENVRC".into()));
        assert_eq!(root("package.json"), None);
        assert_eq!(root("a/.envrc."), Some("a/.envrc.".into()));
        assert_eq!(root("a/x\x1b[2J/b"), Some("a/x\x1b[2J".into()));
        assert_eq!(root("größe/\u{202e}b"), Some("größe/\u{202e}b".into()));
        assert_eq!(root("größe"), None);
    }
}
