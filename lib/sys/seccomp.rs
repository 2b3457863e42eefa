//! Loading a seccomp filter. What is in one is the caller's to say.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// One instruction of a filter (`struct sock_filter`).
pub type Instruction = libc::sock_filter;

/// seccomp(2) `SECCOMP_SET_MODE_FILTER`. `no_new_privs` must be set. The filter can never be taken off again.
pub fn filter_system_calls(filter: &[Instruction]) -> io::Result<()> {
    let length = u16::try_from(filter.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let program = libc::sock_fprog { len: length, filter: filter.as_ptr().cast_mut() };
    // SAFETY: the structure gives the address and the length of the slice, which the kernel copies and does not write.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
    super::check(result).map(drop)
}

/// The same; gives the descriptor that calls are reported to which the filter answers with `SECCOMP_RET_USER_NOTIF`
/// (Linux 5.0). It is closed on exec. A caller that waits for the answer is killed by a fatal signal only, where the kernel
/// has that (5.19): before, each signal would make it ask again.
pub fn filter_with_listener(filter: &[Instruction]) -> io::Result<OwnedFd> {
    const WAIT_KILLABLE_RECV: libc::c_ulong = 1 << 5;
    let length = u16::try_from(filter.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let program = libc::sock_fprog { len: length, filter: filter.as_ptr().cast_mut() };
    let load = |flags: libc::c_ulong| {
        // SAFETY: as above.
        super::check(unsafe {
            libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program)
        })
    };
    let fd = match load(libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | WAIT_KILLABLE_RECV) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => load(libc::SECCOMP_FILTER_FLAG_NEW_LISTENER)?,
        loaded => loaded?,
    };
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// A call that waits for an answer.
#[derive(Debug, Clone, Copy)]
pub struct Notification {
    /// What the answer is addressed to.
    pub id: u64,
    /// The thread that made it, as this process sees it.
    pub pid: u32,
    /// The number of the call.
    pub number: i32,
    /// `AUDIT_ARCH_*`.
    pub arch: u32,
    /// Its arguments. The kernel has copied them: nothing inside can change them any more.
    pub arguments: [u64; 6],
}

/// ioctl(2) `SECCOMP_IOCTL_NOTIF_RECV`: the next call that waits. Blocks while there is none: poll before. `ENOENT`, if
/// it is gone by now.
pub fn receive_notification(listener: BorrowedFd<'_>) -> io::Result<Notification> {
    const RECV: libc::c_ulong = 0xC050_2100; // _IOWR('!', 0, struct seccomp_notif), 80 bytes
    // SAFETY: all-zero is a valid seccomp_notif, and the kernel wants it to be that.
    let mut got: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: the structure is whole and outlives the call.
    super::check(unsafe { libc::ioctl(listener.as_raw_fd(), RECV as _, &raw mut got) }.into())?;
    Ok(Notification { id: got.id, pid: got.pid, number: got.data.nr, arch: got.data.arch, arguments: got.data.args })
}

/// ioctl(2) `SECCOMP_IOCTL_NOTIF_SEND`: the call fails with this error. There is no other answer to a filter that forbids: to let one through
/// (`SECCOMP_USER_NOTIF_FLAG_CONTINUE`) would be to decide about arguments in memory that others can change.
pub fn refuse_notification(listener: BorrowedFd<'_>, id: u64, errno: libc::c_int) -> io::Result<()> {
    const SEND: libc::c_ulong = 0xC018_2101; // _IOWR('!', 1, struct seccomp_notif_resp), 24 bytes
    let answer = libc::seccomp_notif_resp { id, val: 0, error: -errno, flags: 0 };
    // SAFETY: the structure is whole and outlives the call.
    super::check(unsafe { libc::ioctl(listener.as_raw_fd(), SEND as _, &raw const answer) }.into()).map(drop)
}

/// The same answer for a filter that forbids nothing and only looks: the call goes on as if nobody had. Never for one that
/// decides, see above.
pub fn let_go_on(listener: BorrowedFd<'_>, id: u64) -> io::Result<()> {
    const SEND: libc::c_ulong = 0xC018_2101;
    const CONTINUE: u32 = 1;
    let answer = libc::seccomp_notif_resp { id, val: 0, error: 0, flags: CONTINUE };
    // SAFETY: the structure is whole and outlives the call.
    super::check(unsafe { libc::ioctl(listener.as_raw_fd(), SEND as _, &raw const answer) }.into()).map(drop)
}

/// Calls that take a path, and which argument it is.
const WITH_A_PATH: &[(libc::c_long, usize)] = &[
    (libc::SYS_openat, 1),
    (libc::SYS_openat2, 1),
    (libc::SYS_newfstatat, 1),
    (libc::SYS_statx, 1),
    (libc::SYS_faccessat, 1),
    (libc::SYS_faccessat2, 1),
    (libc::SYS_readlinkat, 1),
    (libc::SYS_execve, 0),
    (libc::SYS_execveat, 1),
    (libc::SYS_chdir, 0),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_open, 0),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_stat, 0),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_lstat, 0),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_access, 0),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_readlink, 0),
];

/// The numbers of calls that take a path.
pub fn calls_with_a_path() -> impl Iterator<Item = libc::c_long> {
    WITH_A_PATH.iter().map(|(number, _)| *number)
}

/// Which argument of a call is a path.
pub fn path_argument(number: i64) -> Option<usize> {
    WITH_A_PATH.iter().find(|(own, _)| *own == number).map(|(_, argument)| *argument)
}
