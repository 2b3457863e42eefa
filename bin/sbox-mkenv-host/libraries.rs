//! Shared libraries: which ones the sandbox would not see, and how a program finds its own copies.

use crate::elf;
use libsbox::error::{Context, Error, Result};
use libsbox::escape::visible_path;
use libsbox::fs;
use libsbox::model::is_system;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The libraries that `programs` load from outside the system: name to file. A library that is missing is an error.
pub fn foreign(programs: &[PathBuf]) -> Result<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::new();
    // The loader itself says what it would load. These are the host's own programs, which the user runs every day.
    for group in programs.chunks(200) {
        let output = Command::new("ldd").args(group).stdin(Stdio::null()).stderr(Stdio::null()).output();
        let output = output.context(|| "start 'ldd'".into())?;
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let Some((name, rest)) = line.trim().split_once(" => ") else { continue };
            let path = rest.split(" (0x").next().unwrap_or(rest).trim();
            if path.starts_with('/') && !is_system(Path::new(path)) {
                found.insert(name.rsplit('/').next().unwrap_or(name).to_owned(), PathBuf::from(path));
            }
        }
    }
    Ok(found)
}

/// Copies foreign libraries into `lib`, unless they are there already.
pub fn copy(libraries: &BTreeMap<String, PathBuf>, lib: &Path) -> Result<()> {
    fs::make_dirs(lib)?;
    for (name, path) in libraries {
        let target = lib.join(name);
        if target.symlink_metadata().is_err() {
            let real = path.canonicalize().context(|| format!("read library '{}'", visible_path(path)))?;
            fs::copy_file(&real, &target)?;
        }
    }
    Ok(())
}

/// Makes every program and library of the environment look for libraries in `lib`, by a path relative to itself.
pub fn lead_to(lib: &Path, files: &[PathBuf], foreign: &BTreeMap<String, PathBuf>) -> Result<()> {
    for path in files {
        let mut content = std::fs::read(path).context(|| format!("read '{}'", visible_path(path)))?;
        let Some(range) = elf::run_path(&content) else { continue };
        let old = String::from_utf8_lossy(&content[range]).into_owned();
        if old.split(':').all(|place| place.is_empty() || place.starts_with("$ORIGIN") || is_system(Path::new(place))) {
            continue;
        }
        let new = relative(path, lib);
        if !elf::set_run_path(&mut content, &new) {
            if foreign.is_empty() {
                continue;
            }
            return Err(Error::new(format!(
                "cannot make '{}' find its libraries: no room for '{new}' in '{old}'",
                visible_path(path)
            )));
        }
        rewrite(path, &content)?;
    }
    Ok(())
}

/// `$ORIGIN/../lib`, or `$ORIGIN` for what is in `lib` itself (ld.so(8)).
fn relative(path: &Path, lib: &Path) -> String {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let common = directory.ancestors().find(|place| lib.starts_with(place)).unwrap_or(Path::new("/"));
    let up = directory.strip_prefix(common).map_or(0, |rest| rest.components().count());
    let mut out = String::from("$ORIGIN") + &"/..".repeat(up);
    if let Ok(rest) = lib.strip_prefix(common)
        && !rest.as_os_str().is_empty()
    {
        out = format!("{out}/{}", rest.display());
    }
    out
}

/// New content for a file of ours, with its mode and times.
pub fn rewrite(path: &Path, content: &[u8]) -> Result<()> {
    let shown = || format!("write '{}'", visible_path(path));
    let metadata = std::fs::metadata(path).context(shown)?;
    let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions());
    fs::write_atomic(path, content, mode & 0o777)?;
    let file = std::fs::File::open(path).context(shown)?;
    fs::keep_times(&file, &metadata).context(shown)
}

/// The ELF files among `files`.
pub fn elf_files(files: impl Iterator<Item = PathBuf>) -> Vec<PathBuf> {
    files.filter(|path| is_elf(path)).collect()
}

/// Whether a file begins as ELF files do.
pub fn is_elf(path: &Path) -> bool {
    let mut magic = [0; 4];
    std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && elf::is_elf(&magic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_found_from_the_program_itself() {
        let lib = Path::new("/e/lib");
        assert_eq!(relative(Path::new("/e/bin/python3"), lib), "$ORIGIN/../lib");
        assert_eq!(relative(Path::new("/e/lib/libpython.so"), lib), "$ORIGIN");
        assert_eq!(relative(Path::new("/e/lib/python3.11/lib-dynload/x.so"), lib), "$ORIGIN/../..");
    }
}
