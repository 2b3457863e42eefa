//! What programs need that serve a sandbox from the host's side.

use crate::error::{Context, Error, Result};
use crate::model::MOST_REACHED;
use crate::sys;
use rustix::fd::OwnedFd;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

/// Becomes the user nobody, if this is root: what comes from a sandbox is hostile, and root has no business with it. Before
/// the first thread, which is the only one that this reaches.
pub fn drop_root() -> Result<()> {
    let nobody = 65534;
    let shown = || String::from("give up root's rights");
    if rustix::process::geteuid().is_root() {
        let (uid, gid) = (rustix::process::Uid::from_raw(nobody), rustix::process::Gid::from_raw(nobody));
        rustix::thread::set_thread_groups(&[]).context(shown)?;
        rustix::thread::set_thread_res_gid(gid, gid, gid).context(shown)?;
        rustix::thread::set_thread_res_uid(uid, uid, uid).context(shown)?;
        // The kernel forgets it with the change of ids.
        if !super::obey_death_of_parent() {
            return Err(Error::new("the process that asked for this is gone"));
        }
    }
    rustix::thread::set_no_new_privs(true).context(shown)
}

/// Keeps the user's other programs out of this process: what it holds is in no core file, and its memory and environment are
/// nobody's to read. The kernel takes it back with a change of ids, after which this has to be called again.
pub fn keep_others_out() -> Result<()> {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none).context(|| "forbid core files".into())?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).context(|| "keep others from looking into this process".into())
}

/// Leaves the keys of a terminal, which come as signals, to another process of the same group.
pub fn leave_the_keys() {
    for signal in [libc::SIGINT, libc::SIGQUIT] {
        sys::ignore_signal(signal, true);
    }
}

/// For a helper in the process group of who started it: the keys are not for it, it reads from the terminal only when it
/// may, and signals that its parent holds back are not held back.
pub fn stay_in_front() -> Result<()> {
    leave_the_keys();
    for signal in [libc::SIGTSTP, libc::SIGTTOU, libc::SIGTTIN] {
        sys::ignore_signal(signal, true);
    }
    sys::block(&sys::Signals::of(&[])).context(|| "take signals".into())
}

/// The Unix socket that was inherited with this descriptor.
pub fn inherited_socket(fd: i32) -> Result<std::os::unix::net::UnixStream> {
    let socket = sys::adopt(fd).context(|| format!("use descriptor {fd}"))?;
    Ok(socket.into())
}

/// Sockets from a process in another network namespace, through the Unix socket with this descriptor: they stay sockets of
/// that one.
pub fn received_sockets(fd: i32) -> Result<Vec<OwnedFd>> {
    sockets_from(&sys::adopt(fd).context(|| format!("take sockets from descriptor {fd}"))?)
}

/// The same from one that stays open; none at its end.
pub fn sockets_from(from: &OwnedFd) -> Result<Vec<OwnedFd>> {
    let shown = || String::from("take sockets");
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_REACHED))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0u8; 1];
    let mut data = [rustix::io::IoSliceMut::new(&mut byte)];
    rustix::net::recvmsg(from, &mut data, &mut ancillary, RecvFlags::CMSG_CLOEXEC).context(shown)?;
    let sockets = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    Ok(sockets.flatten().collect())
}
