//! Files that appear whole or not at all.

use crate::error::{Context, Error, Result};
use crate::escape::visible_path;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// What is read as a whole may have this many bytes.
const LARGEST: u64 = 256 << 20;

/// Writes a file so that a reader, or a crash, sees the old content or the new and never a part: beside, synced, renamed.
pub fn write_atomic(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    replace(path, &beside(path, "new"), content, mode)
}

/// Writes a file into a directory that nobody else knows yet. Nothing waits for the disk: whoever would miss it after a power cut
/// misses the directory, too.
pub fn write_new(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(mode).open(path);
    file.and_then(|mut file| file.write_all(content)).context(|| format!("write '{}'", visible_path(path)))
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
    let mut file = crate::dir::Dir::open(parent(path)).ok()?.file(path.file_name()?).ok()?;
    let mut bytes = Vec::new();
    let fits = file.metadata().ok()?.len() <= LARGEST;
    fits.then(|| std::io::Read::read_to_end(&mut file, &mut bytes))?.ok()?;
    Some(bytes)
}

/// The same for a file of which it matters why it cannot be read: `None` only if there is none.
pub fn read_plain_or_error(path: &Path) -> Result<Option<Vec<u8>>> {
    let shown = || format!("read '{}'", visible_path(path));
    match std::fs::symlink_metadata(path) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).context(shown),
    }
    let mut file = crate::dir::Dir::open(parent(path))?.file(path.file_name().unwrap_or_default())?;
    let mut bytes = Vec::new();
    if file.metadata().context(shown)?.len() > LARGEST {
        return Err(Error::new(format!("cannot {}: it is too large", shown())));
    }
    std::io::Read::read_to_end(&mut file, &mut bytes).context(shown)?;
    Ok(Some(bytes))
}

/// The directory that it is in, which is `.` for a name alone.
fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A name in the same directory that no other process uses: `.NAME.SUFFIX-PID`. What processes that are gone have left under
/// such names is removed: they were killed.
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    sweep_beside(path, suffix);
    let mut name = lead(path, suffix);
    name.push(std::process::id().to_string());
    path.with_file_name(name)
}

/// Removes what processes that were killed have left under names that [`beside`] gave them.
pub fn sweep_beside(path: &Path, suffix: &str) {
    let lead = lead(path, suffix);
    for entry in std::fs::read_dir(parent(path)).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.as_encoded_bytes().strip_prefix(lead.as_encoded_bytes());
        let pid = pid.and_then(|pid| std::str::from_utf8(pid).ok()?.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = super::remove_tree(&entry.path());
        }
    }
}

fn lead(path: &Path, suffix: &str) -> std::ffi::OsString {
    let mut lead = std::ffi::OsString::from(".");
    lead.push(path.file_name().unwrap_or_default());
    lead.push(format!(".{suffix}-"));
    lead
}

/// Makes a directory and those above it.
pub fn make_dirs(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).context(|| format!("make directory '{}'", visible_path(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_writer_left_goes_and_what_another_one_writes_stays() {
        let directory = crate::testing::Scratch::new("atomic");
        // No pid is that large.
        for name in [".f.new-4194999", ".f.new-1", ".f.new-x", ".g.new-4194999"] {
            std::fs::write(directory.join(name), "").unwrap();
        }
        write_atomic(&directory.join("f"), b"x", 0o600).unwrap();
        let mut names: Vec<_> = std::fs::read_dir(&*directory).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, [".f.new-1", ".f.new-x", ".g.new-4194999", "f"]);
    }

    #[test]
    fn a_name_beside_stays_in_the_directory() {
        assert_eq!(beside(Path::new("/a/b"), "x").parent(), Some(Path::new("/a")));
    }
}
