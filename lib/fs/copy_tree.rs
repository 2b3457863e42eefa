//! Copying a whole tree. The cost is per file, mostly in the kernel: everything is looked up in an open directory and not by
//! its whole path, no call is made twice, and two workers share the directories.

use super::copy::{fill_sized, keep_times};
use super::make_dirs;
use crate::error::{Context, Error, Result};
use crate::escape::visible_path;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// More workers gain nothing (measured).
const WORKERS: usize = 2;

/// Copies a whole tree; `keep` says which entries, by their path in the tree. What is not there yet is made. Symbolic links
/// stay links, other special files are left out.
pub fn copy_tree(from: &Path, to: &Path, keep: &(dyn Fn(&Path) -> bool + Sync)) -> Result<()> {
    make_dirs(to)?;
    let open = |path: &Path| {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::empty()).context(|| format!("open '{}'", visible_path(path)))
    };
    let copier = Copier { from, to, keep, mask: mask() };
    let top = Job { dirs: Arc::new((open(from)?, open(to)?)), name: None, place: PathBuf::new() };
    let queue = Queue { state: Mutex::new(State { jobs: vec![top], busy: 0 }), changed: Condvar::new() };
    let work = || {
        while let Some(job) = queue.take() {
            let copied = copier.directory(&job, &queue);
            queue.done(copied.is_err());
            copied?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let helpers: Vec<_> = (1..WORKERS).filter_map(|_| crate::thread::spawn_scoped(scope, work).ok()).collect();
        let own = work();
        let join = |helper: std::thread::ScopedJoinHandle<'_, Result<()>>| {
            helper.join().unwrap_or_else(|_| Err(Error::new("a copy failed")))
        };
        helpers.into_iter().map(join).fold(own, Result::and)
    })
}

/// A directory that is to be copied: its parents, source and target, and its name in them.
struct Job {
    dirs: Arc<(OwnedFd, OwnedFd)>,
    /// Nothing for the tree itself.
    name: Option<std::ffi::OsString>,
    place: PathBuf,
}

/// Directories that wait, the last found first: so that few are open at a time.
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    jobs: Vec<Job>,
    /// How many workers have a directory, in which they may find others.
    busy: usize,
}

impl Queue {
    fn take(&self) -> Option<Job> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(job) = state.jobs.pop() {
                state.busy += 1;
                return Some(job);
            }
            if state.busy == 0 {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn add(&self, job: Job) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).jobs.push(job);
        self.changed.notify_one();
    }

    /// A worker has finished its directory; after a failure nobody begins another.
    fn done(&self, has_failed: bool) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.busy -= 1;
        if has_failed {
            state.jobs.clear();
        }
        if state.busy == 0 {
            self.changed.notify_all();
        }
    }
}

struct Copier<'a> {
    from: &'a Path,
    to: &'a Path,
    keep: &'a (dyn Fn(&Path) -> bool + Sync),
    /// Bits that no new file gets.
    mask: u32,
}

impl Copier<'_> {
    fn directory(&self, job: &Job, queue: &Queue) -> Result<()> {
        let dirs = match &job.name {
            None => job.dirs.clone(),
            Some(name) => Arc::new(self.open(job, name)?),
        };
        let shown = || format!("read directory '{}'", visible_path(self.from.join(&job.place)));
        for entry in rustix::fs::Dir::read_from(&dirs.0).context(shown)? {
            let entry = entry.context(shown)?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            let place = job.place.join(name);
            if !(self.keep)(&place) {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::Unknown => {
                    let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
                    FileType::from_raw_mode(rustix::fs::statat(&dirs.0, name, flags).context(shown)?.st_mode)
                }
                kind => kind,
            };
            match kind {
                FileType::Directory => {
                    queue.add(Job { dirs: dirs.clone(), name: Some(name.to_owned()), place });
                }
                FileType::Symlink => {
                    let link = rustix::fs::readlinkat(&dirs.0, name, Vec::new());
                    link.and_then(|link| rustix::fs::symlinkat(link, &dirs.1, name)).context(|| self.shown(&place))?;
                }
                FileType::RegularFile => self.file(&dirs, name).context(|| self.shown(&place))?,
                _ => {}
            }
        }
        Ok(())
    }

    fn shown(&self, place: &Path) -> String {
        format!("copy '{}' to '{}'", visible_path(self.from.join(place)), visible_path(self.to.join(place)))
    }

    /// Opens a directory, and makes and opens its copy.
    fn open(&self, job: &Job, name: &OsStr) -> Result<(OwnedFd, OwnedFd)> {
        let open = || -> rustix::io::Result<(OwnedFd, OwnedFd)> {
            let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let source = rustix::fs::openat(&job.dirs.0, name, flags, Mode::empty())?;
            match rustix::fs::mkdirat(&job.dirs.1, name, Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error),
            }
            Ok((source, rustix::fs::openat(&job.dirs.1, name, flags, Mode::empty())?))
        };
        open().context(|| self.shown(&job.place))
    }

    /// As [`super::copy_file`], in open directories.
    fn file(&self, dirs: &(OwnedFd, OwnedFd), name: &OsStr) -> std::io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let source = File::from(rustix::fs::openat(&dirs.0, name, flags, Mode::empty())?);
        let metadata = source.metadata()?;
        let mode = metadata.permissions().mode() & 0o777;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mut target = File::from(rustix::fs::openat(&dirs.1, name, flags, Mode::from_raw_mode(mode))?);
        fill_sized(&source, &mut target, &metadata)?;
        keep_times(&target, &metadata)?;
        if mode & self.mask != 0 {
            rustix::fs::fchmod(&target, Mode::from_raw_mode(mode))?;
        }
        Ok(())
    }
}

/// The bits that this process gives to no new file. To ask for them is to change them for a moment, for all threads: /proc
/// says them, and without it every mode is set again.
fn mask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok()).unwrap_or(0o777)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_copy_has_the_same_files_modes_times_and_links_and_shares_nothing() {
        let directory = crate::testing::Scratch::new("copy-tree");
        let (from, to) = (directory.join("from"), directory.join("to"));
        for name in ["a/b/c", "d", "left"] {
            std::fs::create_dir_all(from.join(name)).unwrap();
        }
        let files =
            [("plain", 0o644, 10), ("a/read-only", 0o444, 10), ("a/b/open", 0o777, 0), ("d/set", 0o755, 200_000)];
        for (name, mode, size) in files {
            std::fs::write(from.join(name), vec![b'x'; size]).unwrap();
            std::fs::set_permissions(from.join(name), std::fs::Permissions::from_mode(mode)).unwrap();
        }
        std::fs::set_permissions(from.join("d/set"), std::fs::Permissions::from_mode(0o6755)).unwrap();
        std::fs::write(from.join("left/file"), "").unwrap();
        std::os::unix::fs::symlink("../nowhere", from.join("a/link")).unwrap();
        copy_tree(&from, &to, &|place| place != Path::new("left")).unwrap();
        for (name, mode, size) in files {
            let (old, new) = (std::fs::metadata(from.join(name)).unwrap(), std::fs::metadata(to.join(name)).unwrap());
            assert_eq!((new.mode() & 0o7777, new.len()), (mode, size as u64), "{name}");
            assert_eq!((new.mtime(), new.mtime_nsec(), new.nlink()), (old.mtime(), old.mtime_nsec(), 1), "{name}");
            assert_eq!(std::fs::read(from.join(name)).unwrap(), std::fs::read(to.join(name)).unwrap());
            assert_ne!(old.ino(), new.ino());
        }
        assert_eq!(std::fs::read_link(to.join("a/link")).unwrap(), Path::new("../nowhere"));
        assert!(to.join("a/b/c").is_dir() && !to.join("left").exists());
        // What is there is not written over, and the copy fails.
        assert!(copy_tree(&from, &to, &|_| true).is_err());
    }
}
