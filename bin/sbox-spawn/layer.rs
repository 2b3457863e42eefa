//! The directory that takes the changes of a copy-on-write mount, and who has it mounted.
//!
//! The kernel leaves two overlays on one layer undefined. So the first sandbox mounts it, and whoever is started while that
//! one is running gets the same mount: a copy of it is taken in the namespaces of the first, and outlives them.

use crate::args::Args;
use crate::refresh::Namespaces;
use crate::{identity, report};
use libsbox::error::{Context, Error, Result};
use libsbox::escape::visible_path;
use libsbox::operation::Op;
use libsbox::process::Identity;
use libsbox::sys::{self, Fork};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, FlockOperation, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType,
};
use rustix::process::{Pid, WaitOptions};
use rustix::time::{ClockId, Timespec};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// In a layer: the commands that have it mounted, one JSON object a line; locked while there are any.
const MOUNTED: &str = "mount.json";

/// The file system type of an overlay (linux/magic.h).
const OVERLAYFS: u32 = 0x794C_7630;

/// How long another sandbox may take to start.
const START: Duration = Duration::from_secs(5);

/// The mount of another sandbox.
pub struct Shared {
    pub mount: OwnedFd,
    /// Where it was made.
    pub namespaces: Namespaces,
    /// The uid that the other sandbox has to the kernel: the files are that one's.
    pub uid: u32,
}

/// A layer that this sandbox uses, locked as long as this lives.
pub struct Layer {
    pub dst: PathBuf,
    file: File,
    path: PathBuf,
    pub shared: Option<Shared>,
}

impl Layer {
    /// The layers of all mounts, each free or taken over from the sandbox that has it mounted.
    pub fn lock_all(args: &Args) -> Result<Vec<Layer>> {
        args.overlays().map(|(_, dst, layer)| Layer::lock(dst, layer)).collect()
    }

    fn lock(dst: &Path, layer: &Path) -> Result<Layer> {
        let path = layer.join(MOUNTED);
        let shown = || format!("lock '{}'", visible_path(&path));
        let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(&path, flags, Mode::from_raw_mode(0o600)).context(shown)?);
        let mut layer = Layer { dst: dst.to_owned(), file, path: path.clone(), shared: None };
        match rustix::fs::flock(&layer.file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => layer.forget_many(),
            Err(Errno::WOULDBLOCK) => layer.share()?,
            Err(error) => return Err(error).context(shown),
        }
        Ok(layer)
    }

    /// The commands in the file have ended. Many of them only: ext4 writes a file that was truncated to the disk when it is
    /// closed, and a start would wait for that.
    fn forget_many(&self) {
        const MANY: u64 = 64 << 10;
        if self.file.metadata().is_ok_and(|file| file.len() > MANY) {
            let _ = self.file.set_len(0);
        }
    }

    /// Takes over the mount of a sandbox that is running.
    fn share(&mut self) -> Result<()> {
        let in_use = |why: &str| {
            let message = format!("the layer of '{}' is in use by another sandbox{why}", visible_path(&self.dst));
            Error::new(message).hint("run the command there: sbox exec --in NAME; or end that sandbox first")
        };
        // As long as the other one is still being made the lock is exclusive, and it has not written its name.
        let end = Instant::now() + START;
        loop {
            match rustix::fs::flock(&self.file, FlockOperation::NonBlockingLockShared) {
                Err(Errno::WOULDBLOCK) if Instant::now() < end => std::thread::sleep(Duration::from_millis(2)),
                Err(Errno::WOULDBLOCK) => return Err(in_use(", which is just being started")),
                locked => break locked.context(|| format!("lock '{}'", visible_path(&self.path)))?,
            }
        }
        let text = std::fs::read_to_string(&self.path).context(|| format!("read '{}'", visible_path(&self.path)))?;
        let commands = text.lines().filter_map(|line| serde_json::from_str::<Identity>(line).ok());
        let taken = commands.filter(Identity::is_alive).find_map(|command| {
            let namespaces = Namespaces::of(Pid::from_raw(command.pid)?).ok()?;
            let uid = identity::uid_of_sandbox(command.pid)?;
            Some(Shared { mount: copy_of_mount(&namespaces, &self.dst)?, namespaces, uid })
        });
        self.shared = Some(taken.ok_or_else(|| in_use(""))?);
        Ok(())
    }

    /// After the end of the sandbox: takes out what only had to be there for other mounts, unless another sandbox goes on.
    pub fn tidy(&self, ops: &[Op]) {
        let is_mine = |op: &&Op| *op.dst() == self.dst;
        if let Some(Op::Overlay { src, dst, layer }) = ops.iter().find(is_mine)
            && rustix::fs::flock(&self.file, FlockOperation::NonBlockingLockExclusive).is_ok()
        {
            crate::protect::remove_from_layer(ops, dst, src, &layer.join("upper"));
        }
    }

    /// Writes down that `command` has it mounted. The command, since pid 1 lets nobody in. From now on others may share.
    pub fn record(&self, command: Pid) -> Result<()> {
        let Some(identity) = Identity::of(command.as_raw_pid()) else { return Ok(()) };
        let shown = || format!("write '{}'", visible_path(&self.path));
        let text = serde_json::to_string(&identity)?;
        // In one write at the end of the file. Whoever reads it asks which of the processes are alive.
        (&self.file).write_all(format!("{text}\n").as_bytes()).context(shown)?;
        rustix::fs::flock(&self.file, FlockOperation::LockShared).context(shown)
    }
}

/// A detached copy of the overlay at `place` in other namespaces. A child enters them and sends it back.
fn copy_of_mount(namespaces: &Namespaces, place: &Path) -> Option<OwnedFd> {
    let flags = SocketFlags::CLOEXEC;
    let (ours, theirs) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None).ok()?;
    match sys::fork().ok()? {
        Fork::Child => report::end(u8::from(send_copy(namespaces, place, &theirs).is_err())),
        Fork::Parent(child) => {
            drop(theirs);
            let copy = receive(&ours);
            while let Err(Errno::INTR) = rustix::process::waitpid(Some(child), WaitOptions::empty()) {}
            copy
        }
    }
}

fn send_copy(namespaces: &Namespaces, place: &Path, to: &OwnedFd) -> rustix::io::Result<()> {
    namespaces.enter()?;
    // The agent may have put a link in the way.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let top = rustix::fs::openat2(CWD, place, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)?;
    if rustix::fs::fstatfs(&top)?.f_type as u32 != OVERLAYFS {
        return Err(Errno::INVAL);
    }
    // Without what is mounted on it: this sandbox has its own covers.
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let copy = rustix::mount::open_tree(&top, "", flags)?;
    let fds = [copy.as_fd()];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&fds));
    let data = [rustix::io::IoSlice::new(b"!")];
    rustix::net::sendmsg(to, &data, &mut ancillary, SendFlags::NOSIGNAL).map(drop)
}

fn receive(from: &OwnedFd) -> Option<OwnedFd> {
    let mut byte = [0u8; 1];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut data = [std::io::IoSliceMut::new(&mut byte)];
    rustix::net::recvmsg(from, &mut data, &mut ancillary, RecvFlags::CMSG_CLOEXEC).ok()?;
    ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    })
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
