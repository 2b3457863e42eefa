//! What was changed in a layer lately: a quick look for the record of a run, which ends on time however much there is.

use super::change::is_git;
use super::node::Node;
use super::{DEPTH, Layer};
use crate::dir::Dir;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long is looked.
const TIME: Duration = Duration::from_millis(200);

/// What was found.
#[derive(Debug, Default)]
pub struct Touched {
    /// Files that were made, changed or deleted, git's own not among them.
    pub count: u64,
    /// The first of them.
    pub files: Vec<PathBuf>,
    /// Git's own files.
    pub in_git: u64,
    /// There was more than there was time for.
    pub is_cut: bool,
}

/// Files in the layer at `path` that were changed at `since` (nanoseconds since 1970) or later; `most` of them by name.
/// Nothing if it is not a layer.
pub fn touched(path: &Path, since: i64, most: usize) -> Option<Touched> {
    let layer = Layer::open(path).ok()??;
    let mut walk = Walk { since, most, end: Instant::now() + TIME, found: Touched::default() };
    walk.directory(&Dir::open(&layer.changes()).ok()?, Path::new(""), false, 0);
    Some(walk.found)
}

struct Walk {
    since: i64,
    most: usize,
    end: Instant,
    found: Touched,
}

impl Walk {
    fn directory(&mut self, dir: &Dir, place: &Path, in_git: bool, depth: usize) {
        // One that the agent has closed stays closed: to open it would change it.
        let (Ok(entries), false) = (dir.entries(), depth > DEPTH) else { return self.found.is_cut = true };
        for entry in entries {
            if Instant::now() > self.end {
                return self.found.is_cut = true;
            }
            let Ok(Some(node)) = Node::look(dir, &entry.name) else { continue };
            let path = place.join(&entry.name);
            let in_git = in_git || is_git(&entry.name);
            if node.is_directory() {
                match dir.sub(&entry.name) {
                    Ok(below) => self.directory(&below, &path, in_git, depth + 1),
                    Err(_) => self.found.is_cut = true,
                }
                continue;
            }
            // The marks of a run are links to one file, which the next run has one link less of.
            let changed = if node.whiteout { node.mtime } else { node.ctime };
            if changed >= self.since && in_git {
                self.found.in_git += 1;
            } else if changed >= self.since {
                self.found.count += 1;
                if self.found.files.len() < self.most {
                    self.found.files.push(path);
                }
            }
        }
    }
}
