//! A private copy of cache entries at a prefix: copied, relocated, byte code brought up to date.

use libsbox::bytecode;
use libsbox::cache::Entry;
use libsbox::error::{Error, Result};
use libsbox::escape;
use libsbox::fs;
use libsbox::model::{Isolation, NetworkMode};
use libsbox::plumbing;
use libsbox::plumbing::relocate::Relocate;
use libsbox::plumbing::spawn::{self, Spawn};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

/// Copies `entries` into `dir`, made to work at `prefix`.
pub fn clone(entries: &[&Entry], dir: &Path, prefix: &Path) -> Result<()> {
    if dir.symlink_metadata().is_ok() {
        return Err(Error::new(format!("'{}' already exists", escape::visible_path(dir))));
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
        // What has to be changed comes first, so that its byte code is compiled while the rest is copied.
        let env = entry.path.join("env");
        let first = copy_sites(&env, dir, &entry.sites)?;
        let changed = relocate(entry, dir, prefix)?;
        let sources = without_byte_code(&changed);
        let early = compile_early(entry, dir, prefix, &sources)?;
        let copied = fs::copy_tree(&env, dir, &|place| !first.contains(place));
        let is_compiled = early.is_some_and(|mut child| child.wait().is_ok_and(|status| status.success()));
        copied?;
        if !is_compiled {
            compile(dir, prefix, &sources)?;
        }
    }
    Ok(())
}

/// Copies the files that have to be changed, with the byte code that they lose by it; gives their paths.
fn copy_sites(env: &Path, dir: &Path, sites: &[PathBuf]) -> Result<BTreeSet<PathBuf>> {
    let mut copied = BTreeSet::new();
    for site in sites {
        let folder = site.parent().unwrap_or(Path::new(""));
        let module = site.file_stem().filter(|_| site.extension().is_some_and(|extension| extension == "py"));
        let byte_code = module.into_iter().flat_map(|module| {
            let cache = folder.join("__pycache__");
            let entries = std::fs::read_dir(env.join(&cache)).into_iter().flatten().flatten();
            let names = entries.map(|entry| entry.file_name());
            let start = [module.as_bytes(), b"."].concat();
            names.filter(move |name| name.as_bytes().starts_with(&start)).map(move |name| cache.join(name))
        });
        for place in std::iter::once(site.clone()).chain(byte_code) {
            let is_file = std::fs::symlink_metadata(env.join(&place)).is_ok_and(|metadata| metadata.is_file());
            if is_file && !copied.contains(&place) {
                fs::make_dirs(dir.join(&place).parent().unwrap_or(dir))?;
                fs::copy_file(&env.join(&place), &dir.join(&place))?;
                copied.insert(place);
            }
        }
    }
    Ok(copied)
}

/// The files below `env` in which its prefix is written: what a clone has to change, found once.
pub fn sites(env: &Path, prefix: &Path) -> Result<Vec<PathBuf>> {
    let mut sites = Relocate::new([(prefix, prefix)])?.dry_run().run(env, None)?;
    sites.retain(|path| bytecode::source_of(path).is_none());
    Ok(sites)
}

fn relocate(entry: &Entry, dir: &Path, prefix: &Path) -> Result<Vec<PathBuf>> {
    let sites = entry.sites.iter().map(|site| &**site);
    let changed = Relocate::new([(&*entry.prefix, prefix)])?.only(sites).run(dir, None);
    if changed.is_err() && prefix.as_os_str().len() > entry.prefix.as_os_str().len() {
        let length = prefix.as_os_str().len();
        return Err(Error::new(format!(
            "the environment cannot work at a path of {length} bytes: see the words above"
        ))
        .hint("compiled programs have room for a path of so many bytes only (conda's for 255): use a shorter one"));
    }
    changed
}

/// The sources that lost their byte code because they were changed.
fn without_byte_code(changed: &[PathBuf]) -> BTreeSet<PathBuf> {
    changed.iter().filter_map(|path| bytecode::source_of(path)).collect()
}

/// What compiles sources, confined, with the Python at `home`: agents never write byte code, so that it would be compiled
/// again at every start.
fn words(home: &Path, prefix: &Path, sources: &BTreeSet<PathBuf>) -> Vec<OsString> {
    const COMPILE: &str = "import py_compile, sys\nfor name in sys.argv[1:]: py_compile.compile(name, quiet=2)";
    let python = home.join("bin/python3");
    let mut words: Vec<OsString> = vec![python.into(), "-I".into(), "-S".into(), "-c".into(), COMPILE.into()];
    words.extend(sources.iter().map(|source| prefix.join(source).into_os_string()));
    words
}

/// Starts to compile with the Python of the cache: that of the copy is not whole yet. Where it cannot be shown at the place
/// that is written in it (no namespaces), it fails, and the copy's own does it afterwards.
fn compile_early(entry: &Entry, dir: &Path, prefix: &Path, sources: &BTreeSet<PathBuf>) -> Result<Option<Child>> {
    let env = entry.path.join("env");
    if sources.is_empty() || entry.prefix == prefix || !env.join("bin/python3").exists() {
        return Ok(None);
    }
    let spawn = Spawn::new()?.bind(&env, &entry.prefix, true).bind_nofollow(dir, prefix);
    let spawn = spawn.network_mode(NetworkMode::None).isolation(Isolation::Namespace);
    let mut command = spawn.command(&words(&entry.prefix, prefix, sources));
    plumbing::trace(&command);
    let command =
        plumbing::die_with_parent(&mut command).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Ok(command.spawn().ok())
}

fn compile(dir: &Path, prefix: &Path, sources: &BTreeSet<PathBuf>) -> Result<()> {
    if sources.is_empty() || !dir.join("bin/python3").exists() {
        return Ok(());
    }
    let mut command = spawn::in_prefix(dir, prefix, &words(prefix, prefix, sources))?;
    plumbing::output(&mut command).map(drop)
}
