//! Copying, beneath open directories on both sides: nothing is read or written through a link.

use libsbox::cow;
use libsbox::dir::Dir;
use libsbox::error::{Context, Error, Result};
use libsbox::escape::visible_path;
use libsbox::fs;
use libsbox::git;
use libsbox::project::Project;
use rustix::fs::{FileType, Mode, Stat};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::place::Place;

/// What was copied, and what was not.
pub struct Copier {
    /// Whether the copies are for this machine, whose programs act on some of them.
    out: bool,
    /// The project's own state: a copy of its directory would swallow itself.
    state: Option<(u64, u64)>,
    pub files: usize,
    pub bytes: u64,
    /// Paths below the source, each with why it is not copied.
    pub left: Vec<(PathBuf, String)>,
}

impl Copier {
    pub fn new(project: &Project, out: bool) -> Result<Copier> {
        let state = std::os::unix::fs::MetadataExt::dev;
        let inode = std::os::unix::fs::MetadataExt::ino;
        let state = std::fs::symlink_metadata(project.state()).ok().map(|found| (state(&found), inode(&found)));
        Ok(Copier { out, state, files: 0, bytes: 0, left: Vec::new() })
    }

    /// Copies a file, or a directory with what is in it, to `name` in `to`.
    pub fn copy(&mut self, from: &Place, to: &Dir, name: &OsStr) -> Result<()> {
        let Some(stat) = from.parent.stat(&from.name)? else {
            return Err(Error::new(format!("'{}' is gone", visible_path(&from.name))));
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => self.file(&from.parent, &from.name, &stat, to, name),
            FileType::Directory => self.directory(&from.parent, &from.name, &stat, to, name, Path::new("")),
            _ => Err(Error::new(format!("'{}' is neither a file nor a directory", visible_path(&from.name)))),
        }
    }

    fn file(&mut self, from: &Dir, name: &OsStr, stat: &Stat, to: &Dir, target: &OsStr) -> Result<()> {
        refuse_directory(to, target)?;
        let source = from.file_lent(name)?;
        let metadata = source.metadata().context(|| format!("read '{}'", visible_path(name)))?;
        // Never set-uid or set-gid: what the agent marked so would run as you.
        to.put_file(target, stat.st_mode & 0o777, |file| {
            fs::fill(&source, file)?;
            fs::keep_times(file, &metadata)
        })?;
        self.files += 1;
        self.bytes += metadata.len();
        Ok(())
    }

    fn directory(
        &mut self,
        from: &Dir,
        name: &OsStr,
        stat: &Stat,
        to: &Dir,
        target: &OsStr,
        place: &Path,
    ) -> Result<()> {
        let source = from.sub_lent(name)?;
        if self.out && !place.as_os_str().is_empty() && git::is_repository(&source) {
            self.leave(place, REPOSITORY);
            return Ok(());
        }
        if place.components().count() > DEPTH {
            self.leave(place, "it is too deep");
            return Ok(());
        }
        let is_new = match to.stat(target)?.map(|stat| FileType::from_raw_mode(stat.st_mode)) {
            None => true,
            Some(FileType::Directory) => false,
            Some(_) => {
                let shown = visible_path(to.path().join(target));
                return Err(Error::new(format!("cannot write '{shown}': it is not a directory")));
            }
        };
        let made = if is_new { to.sub_or_make(Path::new(target))? } else { to.sub(target)? };
        for entry in source.entries()? {
            let below = place.join(&entry.name);
            let Some(stat) = source.stat(&entry.name)? else { continue };
            if Some((stat.st_dev, stat.st_ino)) == self.state {
                continue;
            }
            if self.out
                && let Some(reason) = acted_on(&entry.name, &below)
            {
                self.leave(&below, reason);
                continue;
            }
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => self.file(&source, &entry.name, &stat, &made, &entry.name)?,
                FileType::Directory => {
                    self.directory(&source, &entry.name, &stat, &made, &entry.name, &below)?;
                }
                FileType::Symlink => self.link(&source, &entry.name, &made, &below)?,
                _ => self.leave(&below, "it is a pipe, a socket or a device"),
            }
        }
        if is_new {
            let mode = Mode::from_raw_mode(stat.st_mode & 0o777 | 0o700);
            rustix::fs::fchmod(&made, mode).context(|| format!("change '{}'", visible_path(made.path())))?;
        }
        Ok(())
    }

    fn link(&mut self, from: &Dir, name: &OsStr, to: &Dir, below: &Path) -> Result<()> {
        let link = from.link(name)?;
        if self.out && cow::leads_out(below, &link) {
            self.leave(below, &format!("it is a link that may lead out of the copy, to '{}'", visible_path(&link)));
            return Ok(());
        }
        refuse_directory(to, name)?;
        to.put_link(name, &link)
    }

    fn leave(&mut self, below: &Path, why: &str) {
        self.left.push((below.to_owned(), why.to_owned()));
    }
}

/// How deep a tree may be: deeper ones are made to exhaust who walks them.
const DEPTH: usize = 200;

const REPOSITORY: &str = "git takes it for a repository, and runs what its settings say";

/// Why programs of this machine act on an entry, if they do; also where a file system does not tell cases apart.
fn acted_on(name: &OsStr, below: &Path) -> Option<&'static str> {
    let is_git = name.eq_ignore_ascii_case(".git");
    is_git.then_some(REPOSITORY).or_else(|| cow::held(below).map(|held| held.reason))
}

/// What is renamed over a directory would take everything in it away.
fn refuse_directory(to: &Dir, name: &OsStr) -> Result<()> {
    match to.stat(name)?.map(|stat| FileType::from_raw_mode(stat.st_mode)) {
        Some(FileType::Directory) => {
            let shown = visible_path(to.path().join(name));
            Err(Error::new(format!("cannot write '{shown}': it is a directory")))
        }
        _ => Ok(()),
    }
}
