//! Changes of files that git ignores: build outputs, installed packages. They stay with the agent unless they are asked for.
//!
//! The host's git says which, by the host's rules, in the host's tree: what the agent writes into a `.gitignore` counts once it
//! was applied. A file that is tracked on the host is never one of them, whatever the rules say. What is left out is left out of
//! `diff` and of `apply` alike, so that nothing hidden reaches the host.

use super::change::Change;
use super::{Layer, What};
use std::collections::HashSet;
use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Takes the changes that the host ignores out of `changes`; gives them. `named` has the paths that the user named: what is
/// ignored and named, or lies in something ignored that is named, stays.
pub(super) fn take(layer: &Layer, changes: &mut Vec<Change>, named: &[PathBuf]) -> Vec<Change> {
    if changes.is_empty() {
        return Vec::new();
    }
    let Some(rules) = Rules::ask(layer, changes, named) else { return Vec::new() };
    let mut left = HashSet::new();
    for change in changes.iter().filter(|change| rules.ignores(&change.path)) {
        left.insert(change.path.clone());
    }
    // A directory cannot go while something in it stays.
    let above: HashSet<&Path> = left.iter().flat_map(|path: &PathBuf| path.ancestors()).collect();
    let stays = |change: &&Change| change.new.is_none() && above.contains(change.path.as_path());
    let goes: HashSet<PathBuf> = changes.iter().filter(stays).map(|change| change.path.clone()).collect();
    left.extend(goes);
    let (out, kept) = std::mem::take(changes).into_iter().partition(|change| left.contains(&change.path));
    *changes = kept;
    out
}

struct Rules {
    ignored: HashSet<PathBuf>,
    tracked: HashSet<PathBuf>,
    /// Those that were named, and are ignored themselves.
    named: Vec<PathBuf>,
}

impl Rules {
    /// Nothing where the tree is not one of git's, or git cannot say.
    fn ask(layer: &Layer, changes: &[Change], named: &[PathBuf]) -> Option<Rules> {
        // Through a link git looks at nothing, and says nothing at all.
        let links: Vec<&Path> = changes
            .iter()
            .filter(|change| change.old.as_ref().is_some_and(|old| old.what == What::Link))
            .map(|change| change.path.as_path())
            .collect();
        let beyond = |path: &Path| path.ancestors().skip(1).any(|above| links.contains(&above));
        let mut text = Vec::new();
        for change in changes.iter().filter(|change| links.is_empty() || !beyond(&change.path)) {
            text.extend(change.path.as_os_str().as_bytes());
            // Which is not there for git to look at.
            if !links.contains(&change.path.as_path())
                && change.new.as_ref().or(change.old.as_ref()).is_some_and(|node| node.is_directory())
            {
                text.push(b'/');
            }
            text.push(0);
        }
        for path in named.iter().filter(|path| !path.as_os_str().is_empty() && !beyond(path)) {
            for end in ["\0", "/\0"] {
                text.extend(path.as_os_str().as_bytes());
                text.extend(end.bytes());
            }
        }
        // Of a directory above that ignores all of this tree (a home that is a repository of settings), nothing can be learned.
        if !git(layer.src(), &["check-ignore", "--no-index", "-z", "--stdin"], b".\0".to_vec())?.is_empty() {
            return None;
        }
        let ignored = paths(git(layer.src(), &["check-ignore", "--no-index", "--stdin", "-z"], text)?);
        let mut rules = Rules { ignored, tracked: HashSet::new(), named: Vec::new() };
        if !rules.ignored.is_empty() {
            let words = ["ls-files", "-z", "--cached", "--ignored", "--exclude-standard"];
            rules.tracked = paths(git(layer.src(), &words, Vec::new())?);
            let is_named = |path: &&PathBuf| rules.ignored.contains(*path);
            rules.named = named.iter().filter(is_named).cloned().collect();
        }
        Some(rules)
    }

    fn ignores(&self, path: &Path) -> bool {
        self.ignored.contains(path)
            && !self.tracked.contains(path)
            && !self.named.iter().any(|named| path.starts_with(named) || named.starts_with(path))
    }
}

fn paths(bytes: Vec<u8>) -> HashSet<PathBuf> {
    let path = |name: &[u8]| PathBuf::from(OsStr::from_bytes(name.strip_suffix(b"/").unwrap_or(name)));
    bytes.split(|byte| *byte == 0).filter(|name| !name.is_empty()).map(path).collect()
}

/// What the host's git prints. It reads the user's own settings, and starts nothing that they name.
fn git(at: &Path, words: &[&str], input: Vec<u8>) -> Option<Vec<u8>> {
    let mut git = Command::new("git");
    git.args(["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"]).args(words);
    git.current_dir(at).env("GIT_OPTIONAL_LOCKS", "0").env("GIT_NO_LAZY_FETCH", "1").env("LC_ALL", "C");
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX"] {
        git.env_remove(name);
    }
    let mut child = git.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
    let mut pipe = child.stdin.take()?;
    // It answers while it is still asked.
    let Ok(writer) = crate::thread::spawn(move || pipe.write_all(&input)) else {
        let _ = (child.kill(), child.wait());
        return None;
    };
    let output = child.wait_with_output().ok()?;
    let _ = writer.join();
    // 1: nothing is ignored.
    matches!(output.status.code(), Some(0 | 1)).then_some(output.stdout)
}
