//! Changes that are held back: they are listed apart, and applied only when they are named.

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

/// Whether programs of the host act on `path`, also where a file system does not tell cases apart.
pub fn held(path: &Path) -> Option<Held> {
    let lower = || PathBuf::from(path.as_os_str().to_ascii_lowercase());
    let (trigger, top) = judge(path).or_else(|| judge(&lower()))?;
    let root = path.components().take(top.components().count()).collect();
    Some(Held { reason: trigger.reason, root })
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
    }
}
