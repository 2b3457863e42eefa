//! What is being applied, written down before it begins: an apply that was killed is finished by the next one.
//!
//! Each entry is put in its place by one rename, and the layer forgets nothing before all are there. So there is little to
//! repair: files beside their places that were not renamed yet, and entries that still wait.

use libsbox::cow::{Change, Layer};
use libsbox::dir::Dir;
use libsbox::error::{Context, Result};
use libsbox::escape::visible_path;
use libsbox::fs;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// In the directory of the layer.
const NAME: &str = "journal";

fn remove(file: &Path) -> Result<()> {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed.context(|| format!("remove '{}'", visible_path(file))),
    }
}

/// An apply under way.
pub struct Journal {
    file: PathBuf,
    token: String,
}

impl Journal {
    /// Writes down what will be applied.
    pub fn begin(layer: &Layer, plan: &[Change]) -> Result<Journal> {
        let file = layer.path().join(NAME);
        let token = format!(".sbox-apply-{}-{:x}", std::process::id(), libsbox::cow::now());
        let mut text = token.clone().into_bytes();
        for change in plan {
            text.push(0);
            text.extend(change.path.as_os_str().as_bytes());
        }
        fs::write_locked(&file, &text, 0o600)?;
        Ok(Journal { file, token })
    }

    /// The start of the names of files that are not in their places yet.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// It is done.
    pub fn end(self) -> Result<()> {
        remove(&self.file)
    }

    /// Removes one that has nothing left to say.
    pub fn forget(layer: &Layer) -> Result<()> {
        remove(&layer.path().join(NAME))
    }

    /// Cleans up after an apply that did not come to its end; which entries it was about, as paths of the host.
    pub fn recover(layer: &Layer) -> Result<Vec<PathBuf>> {
        let file = layer.path().join(NAME);
        let Some(bytes) = fs::read_plain(&file) else { return Ok(Vec::new()) };
        let mut parts = bytes.split(|byte| *byte == 0);
        let token = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
        let paths: Vec<PathBuf> = parts.map(|path| OsString::from_vec(path.to_vec()).into()).collect();
        let places: BTreeSet<&Path> = paths.iter().filter_map(|path| path.parent()).collect();
        let host = Dir::open(layer.src())?;
        for place in places.iter().filter(|_| token.starts_with(".sbox-apply-")) {
            let place = if place.as_os_str().is_empty() { Path::new(".") } else { place };
            let Ok(dir) = host.sub(place) else { continue };
            for entry in dir.entries()? {
                if entry.name.as_bytes().starts_with(token.as_bytes()) {
                    dir.remove_tree(&entry.name)?;
                }
            }
        }
        Ok(paths.iter().map(|path| layer.src().join(path)).collect())
    }
}
