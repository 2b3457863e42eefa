//! System calls that rustix has no safe form of. The only unsafe code of the project; used by plumbing alone.
//!
//! Every function wraps one call and adds nothing to it.
#![allow(unsafe_code)]

pub mod attempt;
mod seccomp;
mod signals;
mod startup;

pub use seccomp::{
    Instruction, Notification, calls_with_a_path, filter_system_calls, filter_with_listener, let_go_on, path_argument,
    receive_notification, refuse_notification,
};
pub use signals::{Arrived, Signals, block, clear_line_when_interrupted, signal_file, taken_signals};
pub use startup::was_closed;

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::ffi::OsStrExt;

/// Which side of a fork this is.
#[derive(Debug, Clone, Copy)]
pub enum Fork {
    /// The new process.
    Child,
    /// The old one, with the pid of the child as this process sees it.
    Parent(rustix::process::Pid),
}

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// fork(2). The caller must have one thread only.
pub fn fork() -> io::Result<Fork> {
    // SAFETY: the programs that call this start no thread before, so the child's copy of the heap and of every
    // lock is whole.
    let pid = check(unsafe { libc::fork() }.into())?;
    Ok(rustix::process::Pid::from_raw(pid as libc::pid_t).map_or(Fork::Child, Fork::Parent))
}

/// clone(2) as fork(2), the child in new namespaces (`CLONE_NEW*`). The caller must have one thread only.
pub fn fork_into(namespaces: libc::c_int) -> io::Result<Fork> {
    let flags = libc::c_long::from(namespaces | libc::SIGCHLD);
    // SAFETY: as fork; without CLONE_VM the child has a copy of everything, its stack included. All other arguments are
    // zero, so that their order, which differs between architectures, does not matter.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) })?;
    Ok(rustix::process::Pid::from_raw(pid as libc::pid_t).map_or(Fork::Child, Fork::Parent))
}

/// Takes a variable out of this process's environment. The caller must have one thread only.
pub fn forget_variable(name: &str) {
    // SAFETY: every program calls this before it starts a thread.
    unsafe { std::env::remove_var(name) };
}

/// signal(2): this signal does nothing, or what it does by default. Both are inherited.
pub fn ignore_signal(signal: libc::c_int, ignored: bool) {
    // SAFETY: neither action is a handler of ours; an unknown number is refused and changes nothing.
    unsafe { libc::signal(signal, if ignored { libc::SIG_IGN } else { libc::SIG_DFL }) };
}

/// getpgid(2): the process group of a process, of this one for 0. Zero is a group outside of this pid namespace, which
/// rustix takes to be impossible.
pub fn process_group(pid: libc::pid_t) -> io::Result<libc::pid_t> {
    // SAFETY: takes a number only.
    check(unsafe { libc::getpgid(pid) }.into()).map(|group| group as libc::pid_t)
}

/// setgroups(2) to no group at all: what real root carries along must not follow the agent.
pub fn leave_all_groups() -> io::Result<()> {
    // SAFETY: an empty list needs no memory.
    check(unsafe { libc::setgroups(0, std::ptr::null()) }.into()).map(drop)
}

/// mount_setattr(2) on the mount that `mount` refers to: adds `set` (`MOUNT_ATTR_*`), takes nothing away.
pub fn mount_attributes(mount: BorrowedFd<'_>, set: u64, recursive: bool) -> io::Result<()> {
    let attributes = libc::mount_attr { attr_set: set, attr_clr: 0, propagation: 0, userns_fd: 0 };
    set_mount(mount, &attributes, recursive)
}

/// mount_setattr(2) on a detached mount tree that was cloned in the host's own namespace: from now on it neither gives
/// mounts to the host nor gets any. With an `owner`, ids on it are those that this user namespace has for them.
pub fn mount_apart(tree: BorrowedFd<'_>, owner: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: if owner.is_some() { libc::MOUNT_ATTR_IDMAP } else { 0 },
        attr_clr: 0,
        propagation: libc::MS_PRIVATE,
        userns_fd: owner.map_or(0, |owner| owner.as_raw_fd() as u64),
    };
    set_mount(tree, &attributes, true)
}

fn set_mount(mount: BorrowedFd<'_>, attributes: &libc::mount_attr, recursive: bool) -> io::Result<()> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    let (size, fd) = (size_of::<libc::mount_attr>(), mount.as_raw_fd());
    let attributes = std::ptr::from_ref(attributes);
    // SAFETY: the path is an empty C string, the structure lives through the call and its size is given.
    check(unsafe { libc::syscall(libc::SYS_mount_setattr, fd, c"".as_ptr(), flags, attributes, size) }).map(drop)
}

/// close_range(2) with `CLOSE_RANGE_CLOEXEC`: every descriptor from `first` on ends with the next exec.
pub fn close_on_exec_from(first: RawFd) -> io::Result<()> {
    let flags = libc::CLOSE_RANGE_CLOEXEC;
    // SAFETY: marks descriptors only; none is closed under an owner.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, flags) }).map(drop)
}

/// close_range(2): closes every descriptor from `first` to `last`, both included.
pub fn close_range(first: RawFd, last: u32) -> io::Result<()> {
    // SAFETY: called by a process that has given up all owners of such descriptors and never drops them.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }).map(drop)
}

/// prctl(2) `PR_CAPBSET_DROP` for one capability. Past the last that the kernel knows: `EINVAL`.
pub fn drop_bounding(capability: u32) -> io::Result<()> {
    // SAFETY: takes numbers only.
    check(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(capability), 0, 0, 0) }.into()).map(drop)
}

/// prctl(2) `PR_SET_SECUREBITS`.
pub fn secure_bits(bits: libc::c_ulong) -> io::Result<()> {
    // SAFETY: takes numbers only.
    check(unsafe { libc::prctl(libc::PR_SET_SECUREBITS, bits, 0, 0, 0) }.into()).map(drop)
}

/// capset(2) with three empty sets: effective, permitted, inheritable.
pub fn no_capabilities() -> io::Result<()> {
    const VERSION_3: u32 = 0x2008_0522; // linux/capability.h
    let header: [u32; 2] = [VERSION_3, 0];
    let none = [0u32; 6];
    // SAFETY: both arrays have the layout of the structures of version 3 and outlive the call.
    check(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) }).map(drop)
}

/// Overwrites this process's own arguments and environment, which `/proc/PID/cmdline` and `environ` would show.
/// `ranges` are the addresses that `/proc/self/stat` gave to this very process (or to the one it was forked from).
pub fn wipe(ranges: &[(usize, usize)]) {
    for &(start, end) in ranges {
        // SAFETY: the kernel laid these ranges out on this process's stack for the strings of execve; they are
        // writable, and nothing reads the arguments or the environment of this process any more.
        unsafe { std::ptr::write_bytes(start as *mut u8, 0, end.saturating_sub(start)) };
    }
}

/// Sets the flags of a network interface to up, with the `SIOCSIFFLAGS` ioctl on `socket`.
pub fn interface_up(socket: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    // SAFETY: all-zero is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.to_bytes().iter().take(libc::IFNAMSIZ - 1)) {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the request is a whole ifreq that outlives the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) }.into()).map(drop)
}

/// socket(2) for the ioctls of network interfaces: a datagram socket, closed on exec.
pub fn interface_socket() -> io::Result<std::os::fd::OwnedFd> {
    use std::os::fd::FromRawFd;
    // SAFETY: takes numbers only.
    let fd = check(unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) }.into())?;
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { std::os::fd::OwnedFd::from_raw_fd(fd as RawFd) })
}

/// landlock_create_ruleset(2) `LANDLOCK_CREATE_RULESET_VERSION`: the version of Landlock that this kernel has.
pub fn landlock_version() -> io::Result<i32> {
    const VERSION: libc::c_int = 1;
    let none = std::ptr::null::<libc::c_void>();
    // SAFETY: with this flag the call takes a null pointer and a size of zero, and makes nothing.
    Ok(check(unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, 0usize, VERSION) })? as i32)
}

/// Takes ownership of a descriptor that the caller of the program passed by number.
pub fn adopt(fd: RawFd) -> io::Result<std::os::fd::OwnedFd> {
    use std::os::fd::FromRawFd;
    // SAFETY: takes a number only; tells whether it is open.
    check(unsafe { libc::fcntl(fd, libc::F_GETFD) }.into())?;
    // SAFETY: it is open, and this program opened nothing under a number given by its caller.
    Ok(unsafe { std::os::fd::OwnedFd::from_raw_fd(fd) })
}

/// sethostname(2) and setdomainname(2).
pub fn host_name(name: &OsStr) -> io::Result<()> {
    let name = CString::new(name.as_bytes())?;
    let length = name.as_bytes().len();
    // SAFETY: pointer and length describe the same bytes.
    check(unsafe { libc::sethostname(name.as_ptr(), length) }.into())?;
    // SAFETY: an empty name has no bytes to read.
    check(unsafe { libc::setdomainname(c"".as_ptr(), 0) }.into()).map(drop)
}

/// getsockopt(2) `TCP_INFO`: the bytes that a connection has sent and the other side has acknowledged, and those that have
/// come (Linux 4.1). Zero, where it cannot be said.
pub fn tcp_bytes(socket: BorrowedFd<'_>) -> (u64, u64) {
    // `struct tcp_info` (linux/tcp.h): tcpi_bytes_acked and tcpi_bytes_received.
    const ACKNOWLEDGED: usize = 120;
    let mut info = [0u8; 136];
    let mut length = info.len() as libc::socklen_t;
    let (fd, to) = (socket.as_raw_fd(), info.as_mut_ptr().cast());
    // SAFETY: the length is that of the array, and the kernel writes no more.
    let result = unsafe { libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, to, &raw mut length) };
    let number = |at: usize| Some(u64::from_ne_bytes(info.get(at..at + 8)?.try_into().ok()?));
    if result != 0 {
        return (0, 0);
    }
    (number(ACKNOWLEDGED).unwrap_or(0), number(ACKNOWLEDGED + 8).unwrap_or(0))
}
