//! Python's byte code of sources that change.
//!
//! A `.pyc` is taken for that of a source with the same time and size (PEP 552). Relocation keeps times, and a path of the same
//! length the size: the old path would live on in constants. It is removed, and Python reads the source.

use libsbox::dir::Dir;
use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};

pub fn is_byte_code(name: &OsStr) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "pyc" || extension == "pyo")
}

/// The byte code that was made from a source, but for that which knows it by its hash.
pub fn of(root: &Dir, source: &Path) -> Vec<PathBuf> {
    let (Some(parent), Some(stem)) = (source.parent(), source.file_stem()) else { return Vec::new() };
    let place = parent.join("__pycache__");
    let Ok(dir) = root.sub_lent_at(&place) else { return Vec::new() };
    let start = [stem.as_encoded_bytes(), b"."].concat();
    let mut found = Vec::new();
    for entry in dir.entries().unwrap_or_default() {
        let is_its = entry.name.as_encoded_bytes().starts_with(&start) && is_byte_code(&entry.name);
        if is_its && !is_checked(&dir, &entry.name) {
            found.push(place.join(&entry.name));
        }
    }
    found
}

/// Whether Python compares the source's hash with the one in the byte code before it takes it.
fn is_checked(dir: &Dir, name: &OsStr) -> bool {
    let mut head = [0; 8];
    let read = dir.file(name).is_ok_and(|mut file| file.read_exact(&mut head).is_ok());
    read && head[4..] == [3, 0, 0, 0]
}
