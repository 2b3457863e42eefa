//! A private copy of cache entries at a prefix: copied, relocated, byte code brought up to date.

use libsbox::bytecode;
use libsbox::cache::Entry;
use libsbox::error::{Error, Result};
use libsbox::escape;
use libsbox::fs;
use libsbox::plumbing::{self, spawn};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Copies `entries` into `dir`, made to work at `prefix`.
pub fn clone(entries: &[&Entry], dir: &Path, prefix: &Path) -> Result<()> {
    if dir.symlink_metadata().is_ok() {
        return Err(Error::new(format!("'{}' exists already", escape::visible_path(dir))));
    }
    let made = fill(entries, dir, prefix);
    if made.is_err() {
        // Half an environment is worse than none.
        let _ = fs::remove_tree(dir);
    }
    made
}

fn fill(entries: &[&Entry], dir: &Path, prefix: &Path) -> Result<()> {
    fs::make_dirs(dir)?;
    for entry in entries {
        fs::copy_tree(&entry.path.join("env"), dir, &|_| true)?;
        let changed = relocate(entry, dir, prefix)?;
        refresh_byte_code(dir, prefix, &changed)?;
    }
    Ok(())
}

/// The files below `env` in which its prefix is written: what a clone has to change, found once.
pub fn sites(env: &Path, prefix: &Path) -> Result<Vec<PathBuf>> {
    let mut command = plumbing::program("sbox-relocate")?;
    command.args(["--dry-run", "--null", "--from"]).arg(prefix).arg("--to").arg(prefix).arg(env);
    let mut sites = paths(&plumbing::output(&mut command)?);
    sites.retain(|path| bytecode::source_of(path).is_none());
    Ok(sites)
}

fn relocate(entry: &Entry, dir: &Path, prefix: &Path) -> Result<Vec<PathBuf>> {
    let list: Vec<u8> = entry.sites.iter().flat_map(|site| [site.as_os_str().as_bytes(), b"\0"].concat()).collect();
    let mut command = plumbing::program("sbox-relocate")?;
    command.args(["--null", "--only", "-", "--from"]).arg(&entry.prefix).arg("--to").arg(prefix).arg(dir);
    let changed = plumbing::output_of(&mut command, &list);
    if changed.is_err() && prefix.as_os_str().len() > entry.prefix.as_os_str().len() {
        let length = prefix.as_os_str().len();
        return Err(Error::new(format!(
            "the environment cannot work at a path of {length} bytes: see the words above"
        ))
        .hint("compiled programs have room for a path of so many bytes only (conda's for 255): use a shorter one"));
    }
    Ok(paths(&changed?))
}

fn paths(list: &[u8]) -> Vec<PathBuf> {
    list.split(|byte| *byte == 0)
        .filter(|path| !path.is_empty())
        .map(|path| PathBuf::from(OsStr::from_bytes(path)))
        .collect()
}

/// The environment's own Python compiles what lost its byte code because its source changed, confined: agents never write
/// any, so that it would be compiled again at every start.
fn refresh_byte_code(dir: &Path, prefix: &Path, changed: &[PathBuf]) -> Result<()> {
    let lost: BTreeSet<PathBuf> = changed.iter().filter_map(|path| bytecode::source_of(path)).collect();
    let sources: Vec<OsString> = lost.iter().map(|source| prefix.join(source).into_os_string()).collect();
    let python = prefix.join("bin/python3");
    if sources.is_empty() || !dir.join("bin/python3").exists() {
        return Ok(());
    }
    const COMPILE: &str = "import py_compile, sys\nfor name in sys.argv[1:]: py_compile.compile(name, quiet=2)";
    let mut command: Vec<OsString> = vec![python.into(), "-I".into(), "-S".into(), "-c".into(), COMPILE.into()];
    command.extend(sources);
    let mut command = spawn::in_prefix(dir, prefix, &command)?;
    plumbing::output(&mut command).map(drop)
}
