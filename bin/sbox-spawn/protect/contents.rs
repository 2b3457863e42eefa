//! What is in protected files, for the levels that cover nothing: it is compared at the end, so that neither the clock nor
//! a new inode with the old content tells something else.

use super::survey::{Class, Survey, facts, open};
use libsbox::dir::Dir;
use rustix::fs::FileType;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Hash, mode and kind of each file and link, by path.
pub type Contents = BTreeMap<PathBuf, String>;

/// Entries that are read; what is beyond is compared by the times of its change.
const MOST: usize = 2000;

/// Bytes of one file that are read.
const LONGEST: u64 = 4 << 20;

/// Reads what is protected; nothing if that is too much.
pub fn read(root: &Dir, survey: &Survey) -> Option<Contents> {
    let mut contents = Contents::new();
    for (path, thing) in survey.things.iter().filter(|(_, thing)| thing.class.is_protected()) {
        match thing.class {
            // What git keeps there changes in any work; what it obeys is protected by its own name.
            Class::Repository | Class::State if thing.facts.kind == FileType::Directory => {}
            _ => add(root, path, &mut contents)?,
        }
    }
    Some(contents)
}

/// What differs below `top`.
pub fn differs(root: &Dir, before: &Contents, top: &Path) -> bool {
    let mut now = Contents::new();
    let before = before.range(top.to_owned()..).take_while(|(path, _)| path.starts_with(top));
    add(root, top, &mut now).is_none() || !before.eq(now.iter())
}

fn add(root: &Dir, top: &Path, contents: &mut Contents) -> Option<()> {
    let mut rest = vec![top.to_owned()];
    while let Some(path) = rest.pop() {
        let (Some(name), Ok(dir)) = (path.file_name(), open(root, path.parent().unwrap_or(Path::new("")))) else {
            continue;
        };
        let Some(facts) = facts(&dir, name) else { continue };
        if contents.len() >= MOST || facts.size > LONGEST {
            return None;
        }
        let content = match facts.kind {
            FileType::Directory => {
                let below = open(root, &path).and_then(|dir| dir.entries()).unwrap_or_default();
                rest.extend(below.into_iter().map(|entry| path.join(entry.name)));
                String::new()
            }
            FileType::Symlink => format!("{:?}", dir.link(name).ok()),
            _ => dir.file(name).ok().and_then(|mut file| libsbox::fs::sha256_of(&mut file).ok()).unwrap_or_default(),
        };
        contents.insert(path, format!("{:o} {content}", facts.mode));
    }
    Some(())
}
