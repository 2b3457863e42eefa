//! The directory that takes the changes of a copy-on-write mount: one sandbox at a time, and who that is.

use crate::args::Args;
use crate::sandbox::Sandbox;
use libsbox::error::{Context, Error, Result};
use libsbox::escape::visible_path;
use libsbox::process::Identity;
use rustix::fd::OwnedFd;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Pid;
use rustix::time::{ClockId, Timespec};
use std::path::Path;

/// In a layer: the process that has it mounted, as JSON, for `sbox refresh`; locked while it is.
const MOUNTED: &str = "mount.json";

/// Locks the layers for as long as the result lives. The kernel leaves two overlays on one layer undefined.
pub fn lock(args: &Args) -> Result<Vec<OwnedFd>> {
    args.overlays().map(|(_, dst, layer)| lock_one(dst, layer)).collect()
}

fn lock_one(dst: &Path, layer: &Path) -> Result<OwnedFd> {
    let path = layer.join(MOUNTED);
    let shown = || format!("lock '{}'", visible_path(&path));
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::open(&path, flags, Mode::from_raw_mode(0o600)).context(shown)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => {
            Err(Error::new(format!("the layer of '{}' is in use by another sandbox", visible_path(dst)))
                .hint("run the command there: sbox exec --in NAME; or end that sandbox first"))
        }
        locked => locked.context(shown).map(|()| file),
    }
}

/// Writes down who has the layers mounted. The command, since pid 1 lets nobody in.
pub fn record(sandbox: &Sandbox, command: Pid) -> Result<()> {
    for (_, _, layer) in sandbox.args.overlays() {
        let Some(identity) = Identity::of(command.as_raw_pid()) else { continue };
        let text = serde_json::to_string(&identity).map_err(|error| Error::new(error.to_string()))?;
        let path = layer.join(MOUNTED);
        // In place: the lock is on this very file. Whoever reads it checks that the process lives.
        std::fs::write(&path, text).context(|| format!("write '{}'", visible_path(&path)))?;
    }
    Ok(())
}

/// The clock that files are stamped with; it ticks every few milliseconds.
pub fn clock() -> Timespec {
    rustix::time::clock_gettime(ClockId::RealtimeCoarse)
}

/// Waits until files get a later stamp than `start`: a change on the host that is not later was there before the command.
pub fn wait_for_a_tick_after(start: Timespec) {
    while clock() == start {
        std::thread::sleep(std::time::Duration::from_micros(200));
    }
}
