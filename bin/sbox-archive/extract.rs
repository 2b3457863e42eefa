//! Taking an archive apart, safely: into a new directory, following nothing, links last.

use crate::links::Links;
use crate::read::{self, Item, Kind, Limits};
use libsbox::cli;
use libsbox::dir::Dir;
use libsbox::error::{Context, Error, Result};
use libsbox::escape::visible_path;
use rustix::fs::{Timespec, Timestamps};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Takes `archive` apart below `into`; prints the folder that it made.
pub fn extract(archive: &Path, into: &Path, limits: Limits) -> Result<u8> {
    let parent = Dir::open(into)?;
    let draft = format!(".sbox-extract-{}", std::process::id());
    parent.remove_tree(OsStr::new(&draft))?;
    let dir = parent.sub_or_make(Path::new(&draft))?;
    let home = std::fs::canonicalize(into).context(|| format!("find '{}'", visible_path(into)))?;
    let placed = fill(archive, &dir, &home, limits).and_then(|top| place(&parent, &dir, &top));
    let _ = parent.remove_tree(OsStr::new(&draft));
    cli::out_line(visible_path(into.join(placed?)))?;
    Ok(0)
}

fn fill(archive: &Path, dir: &Dir, home: &Path, limits: Limits) -> Result<PathBuf> {
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
    let links = Links::new(links, &top, prefix.as_deref(), &home.join(&top))?;
    for (path, target) in links.iter() {
        let (parent, name) = parts(path)?;
        dir.sub_or_make(parent)?.put_link(name, target)?;
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
fn put(dir: &Dir, item: &Item, content: &mut dyn Read, keep: bool) -> Result<Vec<u8>> {
    let (parent, name) = parts(&item.path)?;
    let parent = dir.sub_or_make(parent)?;
    let mut kept = Vec::new();
    parent.put_file(name, item.mode | 0o400, |file| {
        if keep {
            content.take(1 << 20).read_to_end(&mut kept)?;
            file.write_all(&kept)?;
        }
        match &item.map {
            Some(map) => put_pieces(file, content, map, item.size)?,
            None => put_all(file, content, item.size - kept.len() as u64)?,
        }
        Ok(rustix::fs::futimens(&*file, &moment(item.time))?)
    })?;
    Ok(kept)
}

/// How much is read and written at once.
const PIECE: u64 = 256 * 1024;

fn put_all(file: &mut File, content: &mut dyn Read, size: u64) -> std::io::Result<()> {
    let mut buffer = vec![0; size.clamp(1, PIECE) as usize];
    let mut left = size;
    while left > 0 {
        let most = left.min(PIECE) as usize;
        match content.read(&mut buffer[..most])? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            length => {
                file.write_all(&buffer[..length])?;
                left -= length as u64;
            }
        }
    }
    Ok(())
}

/// Holes stay holes.
fn put_pieces(file: &mut File, content: &mut dyn Read, map: &[(u64, u64)], size: u64) -> std::io::Result<()> {
    file.set_len(size)?;
    for (start, length) in map {
        file.seek(SeekFrom::Start(*start))?;
        put_all(file, content, *length)?;
    }
    Ok(())
}

fn moment(time: u64) -> Timestamps {
    let time = Timespec { tv_sec: time.try_into().unwrap_or(0), tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}

fn set_time(dir: &Dir, time: u64) -> Result<()> {
    rustix::fs::futimens(dir, &moment(time)).context(|| format!("set the time of '{}'", visible_path(dir.path())))
}

fn place(parent: &Dir, draft: &Dir, top: &Path) -> Result<PathBuf> {
    let shown = visible_path(top);
    let flags = rustix::fs::RenameFlags::NOREPLACE;
    match rustix::fs::renameat_with(draft, top, parent, top, flags) {
        Ok(()) => Ok(top.to_owned()),
        Err(rustix::io::Errno::EXIST) => {
            Err(Error::new(format!("'{shown}' already exists")).hint("choose another directory with -C"))
        }
        Err(error) => Err(error).context(|| format!("make '{shown}'")),
    }
}
