//! Taking an archive apart, safely: into a new directory, following nothing, links last.

use crate::read::{self, Kind, Limits};
use libsbox::cli;
use libsbox::dir::Dir;
use libsbox::error::{Context, Error, Result};
use libsbox::escape::visible_path;
use rustix::fs::{Timespec, Timestamps};
use std::ffi::OsStr;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

/// Directories of the system that a link may name: they are the same inside every sandbox, and nobody's own.
const SYSTEM: [&str; 9] =
    ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/nix/store", "/etc/alternatives", "/proc/self"];

/// Takes `archive` apart below `into`; prints the folder that it made.
pub fn extract(archive: &Path, into: &Path, limits: Limits) -> Result<u8> {
    let parent = Dir::open(into)?;
    let draft = format!(".sbox-extract-{}", std::process::id());
    parent.remove_tree(OsStr::new(&draft))?;
    let dir = parent.sub_or_make(Path::new(&draft))?;
    let placed = fill(archive, &dir, limits).and_then(|top| place(&parent, &dir, &top));
    let _ = parent.remove_tree(OsStr::new(&draft));
    cli::out_line(visible_path(into.join(placed?)))?;
    Ok(0)
}

fn fill(archive: &Path, dir: &Dir, limits: Limits) -> Result<PathBuf> {
    let (mut top, mut links, mut prefix) = (None::<PathBuf>, Vec::new(), None);
    let mut times = Vec::new();
    read::each(archive, limits, &mut |item, content| {
        let first = item.path.components().next().map(|part| PathBuf::from(part.as_os_str())).unwrap_or_default();
        if *top.get_or_insert_with(|| first.clone()) != first {
            return Err(Error::new("the archive has more than one folder at its top"));
        }
        match &item.kind {
            Kind::Directory => {
                dir.sub_or_make(&item.path)?;
                times.push((item.path.clone(), item.time));
            }
            Kind::File => {
                let is_metadata = item.path.parent() == Some(&first) && item.path.ends_with("metadata.json");
                let kept = put(dir, item, content, is_metadata)?;
                prefix = prefix.take().or_else(|| {
                    let metadata: serde_json::Value = serde_json::from_slice(&kept).ok()?;
                    Some(PathBuf::from(metadata["original_prefix"].as_str()?))
                });
            }
            Kind::Link(target) => links.push((item.path.clone(), target.clone())),
        }
        Ok(())
    })?;
    let top = top.ok_or_else(|| Error::new("the archive is empty"))?;
    for (path, target) in &links {
        allowed(path, target, prefix.as_deref())?;
        let (parent, name) = parts(path)?;
        let parent = dir.sub_or_make(parent)?;
        if parent.stat(name)?.is_some() {
            return Err(Error::new(format!("'{}' is in the archive twice", visible_path(path))));
        }
        parent.put_link(name, target)?;
    }
    for (path, time) in times.iter().rev() {
        set_time(&dir.sub(path)?, *time)?;
    }
    Ok(top)
}

fn parts(path: &Path) -> Result<(&Path, &OsStr)> {
    let name = path.file_name().ok_or_else(|| Error::new("an entry has no name"))?;
    Ok((path.parent().unwrap_or(Path::new("")), name))
}

/// Writes a file; gives its content if that is wanted.
fn put(dir: &Dir, item: &read::Item, content: &mut dyn Read, keep: bool) -> Result<Vec<u8>> {
    let (parent, name) = parts(&item.path)?;
    let parent = dir.sub_or_make(parent)?;
    let mut kept = Vec::new();
    parent.put_file(name, item.mode | 0o400, |file| {
        if keep {
            content.take(1 << 20).read_to_end(&mut kept)?;
            std::io::Write::write_all(file, &kept)?;
        }
        std::io::copy(content, file)?;
        Ok(rustix::fs::futimens(&*file, &moment(item.time))?)
    })?;
    Ok(kept)
}

fn moment(time: u64) -> Timestamps {
    let time = Timespec { tv_sec: time.try_into().unwrap_or(0), tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}

fn set_time(dir: &Dir, time: u64) -> Result<()> {
    rustix::fs::futimens(dir, &moment(time)).context(|| format!("set the time of '{}'", visible_path(dir.path())))
}

/// A link may lead to something in the archive's folder, to the place where the project was before, which `sbox unpack`
/// rewrites, or to the system.
fn allowed(path: &Path, target: &Path, prefix: Option<&Path>) -> Result<()> {
    let out = || {
        let (path, target) = (visible_path(path), visible_path(target));
        Error::new(format!("the link '{path}' leads out of the archive's folder, to '{target}'"))
    };
    if target.as_os_str().is_empty() {
        return Err(out());
    }
    if target.is_absolute() {
        let plain = !target.components().any(|part| part == Component::ParentDir);
        let project = prefix.filter(|prefix| prefix.components().count() > 2 && prefix.is_absolute());
        let known = SYSTEM.iter().any(|system| target.starts_with(system))
            || project.is_some_and(|prefix| target.starts_with(prefix));
        return if plain && known { Ok(()) } else { Err(out()) };
    }
    let mut depth = path.components().count() as i64 - 1;
    for part in target.components() {
        depth += match part {
            Component::Normal(_) => 1,
            Component::ParentDir => -1,
            _ => 0,
        };
        // Its own folder is the first.
        if depth < 1 {
            return Err(out());
        }
    }
    Ok(())
}

fn place(parent: &Dir, draft: &Dir, top: &Path) -> Result<PathBuf> {
    let shown = visible_path(top);
    let flags = rustix::fs::RenameFlags::NOREPLACE;
    match rustix::fs::renameat_with(draft, top, parent, top, flags) {
        Ok(()) => Ok(top.to_owned()),
        Err(rustix::io::Errno::EXIST) => {
            Err(Error::new(format!("'{shown}' exists already")).hint("choose another directory with -C"))
        }
        Err(error) => Err(error).context(|| format!("make '{shown}'")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_to_the_folder_the_old_project_or_the_system() {
        let prefix = Some(Path::new("/home/a/p"));
        let ok = |path: &str, target: &str| allowed(path.as_ref(), target.as_ref(), prefix).is_ok();
        assert!(ok("top/env/bin/python3", "python3.11") && ok("top/env/lib64", "lib") && ok("top/a/b", "../c"));
        assert!(ok("top/x", "/home/a/p/.sbox/env/bin/python") && ok("top/x", "/usr/bin/python3"));
        for target in ["../x", "../../x", "a/../../../x", "/etc/passwd", "/home/a", "/usr/../etc/x", "/home/a/p2", ""] {
            assert!(!ok("top/x", target), "{target}");
        }
        assert!(allowed("top/x".as_ref(), "/home/you/.ssh".as_ref(), Some(Path::new("/"))).is_err());
        assert!(allowed("top/x".as_ref(), "/home/you/.ssh".as_ref(), Some(Path::new("/home"))).is_err());
    }
}
