//! Copies that share blocks where the file system can, and keep times.

use crate::error::{Context, Result};
use crate::escape::visible_path;
use rustix::fs::{Timespec, Timestamps};
use std::fs::{File, Metadata, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Copies a regular file: shares its blocks where the file system can, keeps mode and times to the nanosecond.
/// Never a hard link: an agent that edits its copy must not edit the original.
pub fn copy_file(from: &Path, to: &Path) -> Result<()> {
    let shown = || format!("copy '{}' to '{}'", visible_path(from), visible_path(to));
    let source = File::open(from).context(shown)?;
    let metadata = source.metadata().context(shown)?;
    // Never set-uid or set-gid: nothing in a sandbox needs it, and on the host it would be a way in.
    let mode = metadata.permissions().mode() & 0o777;
    let mut target = OpenOptions::new().write(true).create_new(true).mode(mode | 0o200).open(to).context(shown)?;
    fill_sized(&source, &mut target, &metadata).context(shown)?;
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
    fill_sized(source, target, &source.metadata()?)
}

/// The same for a caller who knows the metadata of the source.
pub(super) fn fill_sized(source: &File, target: &mut File, metadata: &Metadata) -> std::io::Result<()> {
    use std::sync::atomic::{AtomicBool, Ordering};
    /// A file system that cannot share blocks is asked once, not for each file.
    static CANNOT_SHARE: AtomicBool = AtomicBool::new(false);
    if !CANNOT_SHARE.load(Ordering::Relaxed) && metadata.len() > 0 {
        match rustix::fs::ioctl_ficlone(&*target, source) {
            Ok(()) => return Ok(()),
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOTTY) => CANNOT_SHARE.store(true, Ordering::Relaxed),
            Err(_) => {}
        }
    }
    // Most files are small, and for those every call counts: what fits is read and written at once.
    let whole = SMALL.with_borrow_mut(|small| -> std::io::Result<bool> {
        if metadata.len() >= small.len() as u64 {
            return Ok(false);
        }
        let length = std::io::Read::read(&mut &*source, small)?;
        target.write_all(&small[..length])?;
        // Files that are made up as they are read have size 0, and are read to their end.
        Ok(length as u64 == metadata.len() || std::io::Read::read(&mut &*source, &mut small[..1])? == 0)
    })?;
    if whole {
        return Ok(());
    }
    if metadata.blocks().saturating_mul(512) < metadata.len() {
        return fill_sparse(source, target, metadata.len());
    }
    std::io::Seek::rewind(&mut &*source)?;
    std::io::Seek::rewind(target)?;
    std::io::copy(&mut &*source, target).map(drop)
}

/// The same for a file with holes: they stay holes, and take neither time nor space. A disk image of a terabyte may have
/// nothing in it.
fn fill_sparse(source: &File, target: &mut File, size: u64) -> std::io::Result<()> {
    use rustix::fs::{SeekFrom, seek};
    target.set_len(0)?;
    target.set_len(size)?;
    let mut at = 0;
    while at < size {
        let data = match seek(source, SeekFrom::Data(at)) {
            Ok(data) => data,
            // Nothing but a hole until the end.
            Err(rustix::io::Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let end = seek(source, SeekFrom::Hole(data))?.min(size);
        seek(source, SeekFrom::Start(data))?;
        seek(&*target, SeekFrom::Start(data))?;
        std::io::copy(&mut std::io::Read::take(source, end.saturating_sub(data)), target)?;
        at = end.max(data + 1);
    }
    Ok(())
}

/// Gives an open file the times of another, so that what compares times (Python's byte code, make) finds them unchanged.
pub fn keep_times(target: &File, metadata: &Metadata) -> std::io::Result<()> {
    let times = Timestamps {
        last_access: Timespec { tv_sec: metadata.atime(), tv_nsec: metadata.atime_nsec() as _ },
        last_modification: Timespec { tv_sec: metadata.mtime(), tv_nsec: metadata.mtime_nsec() as _ },
    };
    Ok(rustix::fs::futimens(target, &times)?)
}

/// The size of a tree: files, and bytes in them. Unreadable parts count nothing.
pub fn measure(path: &Path) -> (u64, u64) {
    let files = walkdir::WalkDir::new(path).into_iter().flatten().filter(|entry| entry.file_type().is_file());
    files.fold((0, 0), |(count, bytes), file| (count + 1, bytes + file.metadata().map_or(0, |m| m.len())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn holes_stay_holes() {
        let directory = crate::testing::Scratch::new("copy");
        let (from, to) = (directory.join("from"), directory.join("to"));
        let file = File::create(&from).unwrap();
        // Some file systems have no larger ones.
        let size = [1 << 40, 1 << 34].into_iter().find(|size| file.set_len(*size).is_ok()).unwrap();
        for (at, text) in [(0, "first"), (size / 2, "middle"), (size - 4, "last")] {
            file.write_all_at(text.as_bytes(), at).unwrap();
        }
        copy_file(&from, &to).unwrap();
        let copy = File::open(&to).unwrap();
        let metadata = copy.metadata().unwrap();
        assert!(metadata.len() == size && metadata.blocks() < 2048, "{} blocks", metadata.blocks());
        for (at, text) in [(0, "first"), (size / 2, "middle"), (size - 4, "last")] {
            let mut bytes = vec![0; text.len()];
            copy.read_exact_at(&mut bytes, at).unwrap();
            assert_eq!(bytes, text.as_bytes());
        }
    }
}
