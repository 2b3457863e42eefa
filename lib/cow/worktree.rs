//! A linked working tree of git keeps nearly everything in the directory of another one: the sandbox needs that, too.

use crate::dir::Dir;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The common directory of the repository that `src` is a linked working tree of, if it is one. What `.git` says is believed
/// only when the repository agrees: its record of this tree must name it. A file in an archive cannot arrange that.
pub fn common_directory(src: &Path) -> Option<PathBuf> {
    let dir = Dir::open(&src.canonicalize().ok()?).ok()?;
    let own = src.canonicalize().ok()?.join(".git");
    let pointer = line(&dir, ".git")?;
    let place = dir.path().join(pointer.strip_prefix("gitdir:")?.trim()).canonicalize().ok()?;
    let record = Dir::open(&place).ok()?;
    if Path::new(&line(&record, "gitdir")?).canonicalize().ok()? != own {
        return None;
    }
    let common = place.join(line(&record, "commondir")?).canonicalize().ok()?;
    let is_below = place.parent()?.file_name()? == "worktrees" && place.parent()?.parent()? == common;
    let looks_right = common.join("HEAD").is_file() && common.join("objects").is_dir() && common.join("refs").is_dir();
    (is_below && looks_right && !common.starts_with(dir.path())).then_some(common)
}

fn line(dir: &Dir, name: &str) -> Option<String> {
    let mut text = String::new();
    dir.file(name).ok()?.take(8192).read_to_string(&mut text).ok()?;
    Some(text.trim_end_matches('\n').to_owned())
}
