//! Where the project is in the image: at a path that says nothing of who made it, or where.
//!
//! That path is as long as the project's own, so that nothing in a file moves. Only the few files that name the old one are
//! copied, and `sbox-relocate` changes the copies by its rules.

use libsbox::dir::Dir;
use libsbox::error::{Context, Result};
use libsbox::fs;
use libsbox::plumbing::relocate::{Relocate, trees};
use libsbox::project::Project;
use rustix::fs::FileType;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// What stands at the beginning of it.
const START: &str = "/sbox";

/// A name may have 255 bytes.
const LONGEST_NAME: usize = 200;

/// The path in the image of a project at `root`: as long as that one. One shorter than `/sbox` names no user and stays.
pub fn neutral(root: &Path) -> PathBuf {
    let length = root.as_os_str().len();
    if length < START.len() {
        return root.to_owned();
    }
    let mut path = START.to_owned();
    for at in START.len()..length {
        path.push(if at % LONGEST_NAME == 0 && at + 1 < length { '/' } else { '_' });
    }
    path.into()
}

/// Files with the new path in them, below a directory that has nothing else.
pub struct Rewritten {
    state: PathBuf,
    /// By their place below `.sbox`: whether there is such a file in the image at all.
    files: BTreeMap<PathBuf, bool>,
}

impl Rewritten {
    /// Copies what names the project's path into `work`, and rewrites it there.
    pub fn new(project: &Project, old: &Path, new: &Path, work: &Path) -> Result<Rewritten> {
        let mut rewritten = Rewritten { state: work.join("moved"), files: BTreeMap::new() };
        if new == old {
            return Ok(rewritten);
        }
        let (from, to) = (trees(old), trees(new));
        let relocate = || -> Result<Relocate> {
            let skip = ["tmp"].iter().chain(&crate::CACHES).map(|place| Path::new("rootfs").join(place));
            Ok(Relocate::new(from.iter().zip(&to).map(|(from, to)| (&**from, &**to)))?.skip(skip))
        };
        let both = |state: &Path| (state.join("env"), state.join("rootfs"));
        let (env, rootfs) = both(&project.state());
        let places = relocate()?.dry_run().run(&env, Some(&rootfs))?;
        for tree in ["env", "rootfs"] {
            fs::make_dirs(&rewritten.state.join(tree))?;
        }
        let (from, to) = (Dir::open(&project.state())?, Dir::open(&rewritten.state)?);
        for place in places.into_iter().filter(|place| place.starts_with("env") || place.starts_with("rootfs")) {
            if copy(&from, &to, &place)? {
                rewritten.files.insert(place, false);
            }
        }
        let (env, rootfs) = both(&rewritten.state);
        relocate()?.journal(&work.join("journal")).run(&env, Some(&rootfs))?;
        for (place, is_there) in &mut rewritten.files {
            *is_there = keep_time(&from, &to, place)?;
        }
        Ok(rewritten)
    }

    /// Places below a directory of `.sbox` that are not taken from the project.
    pub fn below(&self, tree: &Path) -> Vec<PathBuf> {
        self.files.keys().filter_map(|place| place.strip_prefix(tree).ok().map(Path::to_owned)).collect()
    }

    /// The same with the file that is taken for each, if there is one.
    pub fn sources(&self, tree: &Path) -> Vec<(PathBuf, PathBuf)> {
        let there = self.files.iter().filter(|(_, is_there)| **is_there).map(|(place, _)| place);
        there.filter_map(|place| Some((place.strip_prefix(tree).ok()?.to_owned(), self.state.join(place)))).collect()
    }
}

fn split(place: &Path) -> (&Path, &OsStr) {
    (place.parent().unwrap_or(Path::new(".")), place.file_name().unwrap_or_default())
}

/// Copies a file or a link beneath both; `false` if there is none.
fn copy(from: &Dir, to: &Dir, place: &Path) -> Result<bool> {
    let (parent, name) = split(place);
    let Ok(source) = from.sub(parent) else { return Ok(false) };
    let kind = source.stat(name)?.map(|stat| FileType::from_raw_mode(stat.st_mode));
    match kind {
        Some(FileType::Symlink) => to.sub_or_make(parent)?.put_link(name, &source.link(name)?)?,
        Some(FileType::RegularFile) => {
            let file = source.file_lent(name)?;
            let metadata = file.metadata().context(|| "read a file to be rewritten".into())?;
            let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions());
            to.sub_or_make(parent)?.put_file(name, mode | 0o600, |copy| {
                fs::fill(&file, copy)?;
                fs::keep_times(copy, &metadata)
            })?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// Gives a rewritten file the time and mode of the first one, so that each image has the same bytes; `false` if it is gone.
fn keep_time(from: &Dir, to: &Dir, place: &Path) -> Result<bool> {
    let (parent, name) = split(place);
    let Ok(dir) = to.sub(parent) else { return Ok(false) };
    match dir.stat(name)?.map(|stat| FileType::from_raw_mode(stat.st_mode)) {
        None => Ok(false),
        Some(FileType::RegularFile) => {
            let shown = || "keep the time of a rewritten file".into();
            let source = from.sub(parent)?;
            let metadata = source.file_lent(name)?.metadata().context(shown)?;
            let file = dir.file(name)?;
            fs::keep_times(&file, &metadata).context(shown)?;
            file.set_permissions(metadata.permissions()).context(shown)?;
            Ok(true)
        }
        Some(_) => Ok(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_in_an_image_is_as_long_as_the_projects_and_names_nobody() {
        for root in ["/home/you/agent", "/sbox", &format!("/home/{}", "x/y".repeat(200))] {
            let path = neutral(Path::new(root));
            assert_eq!(path.as_os_str().len(), root.len());
            assert!(path.starts_with(START) || path.to_string_lossy().starts_with("/sbox_"), "{path:?}");
            assert!(path.components().all(|part| part.as_os_str().len() < 255) && !path.ends_with("/"));
        }
        assert_eq!(neutral(Path::new("/app")), Path::new("/app"));
    }
}
