//! Files that appear whole or not at all.

use crate::error::{Context, Result};
use crate::escape::visible_path;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Writes a file so that a reader, or a crash, sees the old content or the new and never a part: beside, synced, renamed.
pub fn write_atomic(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    replace(path, &beside(path, "new"), content, mode)
}

/// The same for a writer that holds a lock on the file. The name beside it is always the same: what one that was killed
/// has left there, the next one uses up.
pub fn write_locked(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    replace(path, &path.with_file_name(name), content, mode)
}

fn replace(path: &Path, temporary: &Path, content: &[u8], mode: u32) -> Result<()> {
    let shown = || format!("write '{}'", visible_path(path));
    let written = (|| {
        // Created, never opened: what has that name may be a link that came with an archive.
        let _ = std::fs::remove_file(temporary);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(temporary, path)
    })();
    if written.is_err() {
        let _ = std::fs::remove_file(temporary);
    }
    written.context(shown)
}

/// The content of a regular file of the project's, if it is one: what came with an archive may be a link, a pipe that
/// no process writes to, or larger than memory.
pub fn read_plain(path: &Path) -> Option<Vec<u8>> {
    const LARGEST: u64 = 256 << 20;
    let (parent, name) = (path.parent()?, path.file_name()?);
    let mut file = crate::dir::Dir::open(parent).ok()?.file(name).ok()?;
    let mut bytes = Vec::new();
    let fits = file.metadata().ok()?.len() <= LARGEST;
    fits.then(|| std::io::Read::read_to_end(&mut file, &mut bytes))?.ok()?;
    Some(bytes)
}

/// A name in the same directory that no other process uses: `.NAME.SUFFIX-PID`.
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{suffix}-{}", std::process::id()));
    path.with_file_name(name)
}

/// Makes a directory and those above it.
pub fn make_dirs(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).context(|| format!("make directory '{}'", visible_path(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_beside_stays_in_the_directory() {
        assert_eq!(beside(Path::new("/a/b"), "x").parent(), Some(Path::new("/a")));
    }
}
