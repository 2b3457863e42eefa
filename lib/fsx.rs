//! Files that appear whole or not at all, locks that end with their holder, and copies that keep times.
//!
//! For trees that only the user writes. What an agent could have written is touched through [`crate::beneath`].

use crate::error::{Context, Error, Result};
use crate::words::visible_path;
use rustix::fs::{FlockOperation, Timespec, Timestamps};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
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
        // Made anew, never opened: what lies there under that name may be a link that came with an archive.
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
/// nobody writes to, or larger than memory.
pub fn read_plain(path: &Path) -> Option<Vec<u8>> {
    const LARGEST: u64 = 256 << 20;
    let (parent, name) = (path.parent()?, path.file_name()?);
    let mut file = crate::beneath::Dir::open(parent).ok()?.file(name).ok()?;
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

/// An exclusive lock on a file, held until it is dropped or its holder dies, and the programs that it started in the
/// meantime: one that was killed and has not heard of it yet must not go on beside the next holder.
#[derive(Debug)]
pub struct Lock(#[allow(dead_code, reason = "the open file is the lock")] File);

impl Lock {
    /// Takes the lock at `path`; calls `waiting` once if somebody else has it.
    pub fn exclusive(path: &Path, waiting: impl FnOnce()) -> Result<Lock> {
        let shown = || format!("lock '{}'", visible_path(path));
        let lock = Lock::open(path)?;
        if rustix::fs::flock(&lock.0, FlockOperation::NonBlockingLockExclusive).is_err() {
            waiting();
            rustix::fs::flock(&lock.0, FlockOperation::LockExclusive).context(shown)?;
        }
        Ok(lock)
    }

    /// Takes it together with others; waits while somebody has it alone.
    pub fn shared(path: &Path) -> Result<Lock> {
        let lock = Lock::open(path)?;
        rustix::fs::flock(&lock.0, FlockOperation::LockShared).context(|| format!("lock '{}'", visible_path(path)))?;
        Ok(lock)
    }

    /// Takes it alone; nothing if somebody has it and does not give it back within a moment: helpers of a program that has
    /// just ended may hold it still.
    pub fn alone(path: &Path) -> Result<Option<Lock>> {
        let lock = Lock::open(path)?;
        for _ in 0..100 {
            if rustix::fs::flock(&lock.0, FlockOperation::NonBlockingLockExclusive).is_ok() {
                return Ok(Some(lock));
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        Ok(None)
    }

    fn open(path: &Path) -> Result<Lock> {
        let shown = || format!("lock '{}'", visible_path(path));
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        let file = options.open(path).context(shown)?;
        rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty()).context(shown)?;
        Ok(Lock(file))
    }
}

/// Makes a directory and those above it.
pub fn make_dirs(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).context(|| format!("make directory '{}'", visible_path(path)))
}

/// Copies a regular file: shares its blocks where the file system can, keeps mode and times to the nanosecond.
/// Never a hard link: an agent that edits its copy must not edit the original.
pub fn copy_file(from: &Path, to: &Path) -> Result<()> {
    let shown = || format!("copy '{}' to '{}'", visible_path(from), visible_path(to));
    let source = File::open(from).context(shown)?;
    let metadata = source.metadata().context(shown)?;
    // Never set-uid or set-gid: nothing in a sandbox needs it, and on the host it would be a way in.
    let mode = metadata.permissions().mode() & 0o777;
    let mut target = OpenOptions::new().write(true).create_new(true).mode(mode | 0o200).open(to).context(shown)?;
    fill(&source, &mut target).context(shown)?;
    keep_times(&target, &metadata).context(shown)?;
    target.set_permissions(std::fs::Permissions::from_mode(mode)).context(shown)
}

thread_local! {
    /// Used for one file after the other.
    static SMALL: std::cell::RefCell<Vec<u8>> = std::cell::RefCell::new(vec![0; 64 * 1024]);
}

/// The content of one open file into another: reflink first, then the kernel's own copy (`std::io::copy` uses
/// copy_file_range and sendfile).
pub fn fill(source: &File, target: &mut File) -> std::io::Result<()> {
    use std::sync::atomic::{AtomicBool, Ordering};
    /// A file system that cannot share blocks is asked once, not for each file.
    static CANNOT_SHARE: AtomicBool = AtomicBool::new(false);
    if !CANNOT_SHARE.load(Ordering::Relaxed) {
        match rustix::fs::ioctl_ficlone(&*target, source) {
            Ok(()) => return Ok(()),
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOTTY) => CANNOT_SHARE.store(true, Ordering::Relaxed),
            Err(_) => {}
        }
    }
    // Most files are small, and for those every call counts: what fits is read and written at once.
    let whole = SMALL.with_borrow_mut(|small| -> std::io::Result<bool> {
        let length = std::io::Read::read(&mut &*source, small)?;
        if length == small.len() {
            return Ok(false);
        }
        target.write_all(&small[..length])?;
        Ok(std::io::Read::read(&mut &*source, &mut small[..1])? == 0)
    })?;
    if whole {
        return Ok(());
    }
    std::io::Seek::rewind(&mut &*source)?;
    std::io::Seek::rewind(target)?;
    std::io::copy(&mut &*source, target).map(drop)
}

/// Gives an open file the times of another, so that what compares times (Python's byte code, make) finds them unchanged.
pub fn keep_times(target: &File, metadata: &std::fs::Metadata) -> std::io::Result<()> {
    let times = Timestamps {
        last_access: Timespec { tv_sec: metadata.atime(), tv_nsec: metadata.atime_nsec() as _ },
        last_modification: Timespec { tv_sec: metadata.mtime(), tv_nsec: metadata.mtime_nsec() as _ },
    };
    Ok(rustix::fs::futimens(target, &times)?)
}

/// Copies a whole tree to a place that does not exist yet; `keep` says which entries, by their path in the tree.
/// Symbolic links stay links, other special files are left out.
pub fn copy_tree(from: &Path, to: &Path, keep: &(dyn Fn(&Path) -> bool + Sync)) -> Result<()> {
    let mut files = Vec::new();
    for entry in walkdir::WalkDir::new(from)
        .into_iter()
        .filter_entry(|entry| entry.depth() == 0 || entry.path().strip_prefix(from).is_ok_and(keep))
    {
        let entry = entry.map_err(|error| Error::new(format!("cannot walk '{}': {error}", visible_path(from))))?;
        let Ok(place) = entry.path().strip_prefix(from) else { continue };
        let target = to.join(place);
        let shown = || format!("copy '{}'", visible_path(entry.path()));
        let kind = entry.file_type();
        if kind.is_dir() {
            make_dirs(&target)?;
        } else if kind.is_symlink() {
            let link = std::fs::read_link(entry.path()).context(shown)?;
            std::os::unix::fs::symlink(link, &target).context(shown)?;
        } else if kind.is_file() {
            files.push((entry.path().to_owned(), target));
        }
    }
    copy_files(&files)
}

/// Copies files with two workers: the cost is per file, mostly in the kernel, and more than two gain nothing (measured).
fn copy_files(files: &[(PathBuf, PathBuf)]) -> Result<()> {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let work = || {
        while let Some((from, to)) = files.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
            copy_file(from, to)?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..2).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().unwrap_or_else(|_| Err(Error::new("a copy failed"))))
    })
}

/// Removes a tree, also one whose directories were made read-only. Missing is fine.
pub fn remove_tree(path: &Path) -> Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Error::new(format!("cannot remove '{}'", visible_path(path))));
    };
    match crate::beneath::Dir::open(parent) {
        Ok(parent) => parent.remove_tree(name),
        Err(_) if !parent.exists() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Gives the owner access to a directory of ours that an agent may have closed (`chmod 0`): it could not be read, moved or
/// removed otherwise. Anything but a real directory is left as it is. The caller's own directory holds it, so that no
/// agent can swap it for a link.
pub fn reopen(path: &Path) -> Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() && metadata.mode() & 0o700 != 0o700 => {
            let mode = std::fs::Permissions::from_mode(metadata.mode() & 0o777 | 0o700);
            std::fs::set_permissions(path, mode).context(|| format!("open '{}'", visible_path(path)))
        }
        _ => Ok(()),
    }
}

/// Moves a tree out of the way into `trash`, where [`empty_trash`] removes it later: at once out of sight, and cheap.
pub fn set_aside(path: &Path, trash: &Path) -> Result<()> {
    if std::fs::symlink_metadata(path).is_err() {
        return Ok(());
    }
    if trash.is_symlink() {
        // It came with an archive: what is thrown away stays in the project.
        std::fs::remove_file(trash).context(|| format!("remove '{}'", visible_path(trash)))?;
    }
    make_dirs(trash)?;
    // To move a directory to another parent, its own `..` is written.
    reopen(path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    for number in 0.. {
        let target = trash.join(format!("{name}-{}-{number}", std::process::id()));
        if std::fs::symlink_metadata(&target).is_err() {
            return std::fs::rename(path, &target).context(|| format!("move '{}' away", visible_path(path)));
        }
    }
    Ok(())
}

/// Removes what was set aside, by this process or by one that was killed. A failure is not worth one here: the next
/// command tries again.
pub fn empty_trash(trash: &Path) {
    if trash.exists() {
        let _ = remove_tree(trash);
    }
}

/// SHA-256 of bytes, in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    hex(&sha2::Sha256::digest(bytes))
}

/// SHA-256 of what is read, in hexadecimal.
pub fn sha256_of(content: &mut dyn std::io::Read) -> std::io::Result<String> {
    use sha2::Digest;
    let mut hash = sha2::Sha256::new();
    std::io::copy(content, &mut hash)?;
    Ok(hex(&hash.finalize()))
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The size of a tree: files, and bytes in them. Unreadable parts count nothing.
pub fn measure(path: &Path) -> (u64, u64) {
    let files = walkdir::WalkDir::new(path).into_iter().flatten().filter(|entry| entry.file_type().is_file());
    files.fold((0, 0), |(count, bytes), file| (count + 1, bytes + file.metadata().map_or(0, |m| m.len())))
}

/// Seconds since 1970, by the host's clock.
pub fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |age| age.as_secs())
}

/// A moment in UTC as RFC 3339 writes it: `2026-01-30T12:00:00Z`.
/// The calendar is Howard Hinnant's `civil_from_days` (<https://howardhinnant.github.io/date_algorithms.html>).
pub fn rfc3339(seconds: u64) -> String {
    let (days, rest) = ((seconds / 86_400) as i64 + 719_468, seconds % 86_400);
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let (day, month) =
        (day_of_year - (153 * shifted + 2) / 5 + 1, if shifted < 10 { shifted + 3 } else { shifted - 9 });
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

/// The inverse of [`rfc3339`]; `None` for anything that it does not write.
pub fn seconds_of(moment: &str) -> Option<u64> {
    let fields: Vec<u64> =
        moment.strip_suffix('Z')?.split(['-', 'T', ':']).map(|field| field.parse().ok()).collect::<Option<_>>()?;
    let [year, month, day, hour, minute, second] = fields[..] else { return None };
    if !(1970..10_000).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // days_from_civil of the same source.
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = (era * 146_097 + day_of_era).checked_sub(719_468)?;
    Some(days * 86_400 + hour.min(23) * 3600 + minute.min(59) * 60 + second.min(60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_in_utc() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(1_769_774_400), "2026-01-30T12:00:00Z");
        assert_eq!(rfc3339(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(rfc3339(951_782_400), "2000-02-29T00:00:00Z");
    }

    #[test]
    fn moments_are_read_back_and_nonsense_is_not() {
        for moment in [0, 951_782_400, 1_769_774_400, 4_102_444_800] {
            assert_eq!(seconds_of(&rfc3339(moment)), Some(moment));
        }
        for nonsense in ["", "Z", "1969-01-01T00:00:00Z", "2026-13-01T00:00:00Z", "99999999999999999999-1-1T0:0:0Z"] {
            assert_eq!(seconds_of(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn a_name_beside_stays_in_the_directory() {
        assert_eq!(beside(Path::new("/a/b"), "x").parent(), Some(Path::new("/a")));
    }
}
