//! Locks that end with their holder.

use crate::error::{Context, Result};
use crate::escape::visible_path;
use rustix::fs::FlockOperation;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

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

    /// Takes it alone if nobody has it at this moment.
    pub fn at_once(path: &Path) -> Result<Option<Lock>> {
        let lock = Lock::open(path)?;
        Ok(rustix::fs::flock(&lock.0, FlockOperation::NonBlockingLockExclusive).is_ok().then_some(lock))
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
