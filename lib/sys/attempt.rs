//! Calls that are made to see them refused.

use std::io;

/// The calls that [`try_call`] makes. Each does nothing with the arguments it is given there: null pointers, descriptors
/// that are none, flags that are wrong.
const HARMLESS: [libc::c_long; 32] = [
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_setns,
    libc::SYS_fsopen,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_mount_setattr,
    libc::SYS_clone3,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_kexec_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_open_by_handle_at,
    libc::SYS_acct,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_quotactl,
    libc::SYS_settimeofday,
    libc::SYS_fanotify_init,
    libc::SYS_move_pages,
    libc::SYS_lookup_dcookie,
];

/// Makes a call of the list with `first`, then zeros: enough for the kernel to refuse it, or to say what is wrong with the
/// arguments.
pub fn try_call(number: libc::c_long, first: libc::c_long) -> io::Result<()> {
    if !HARMLESS.contains(&number) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: with null pointers and zero lengths none of these reads or writes memory or changes anything.
    super::check(unsafe { libc::syscall(number, first, 0, 0, 0, 0, 0) }).map(drop)
}

/// truncate(2), by a path.
pub fn truncate(path: &std::path::Path, size: u64) -> io::Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the path is a C string that outlives the call.
    super::check(unsafe { libc::truncate(path.as_ptr(), size as libc::off_t) }.into()).map(drop)
}

/// ioctl(2) with a request on a terminal, of all 64 bits, and no argument.
pub fn try_terminal_request(fd: std::os::fd::BorrowedFd<'_>, request: u64) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    const REQUESTS: [u32; 2] = [libc::TIOCSTI as u32, 0x541C];
    if !REQUESTS.contains(&(request as u32)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let none = std::ptr::null::<libc::c_char>();
    // SAFETY: the kernel reads one byte through the pointer, and finds that it is null.
    super::check(unsafe { libc::syscall(libc::SYS_ioctl, fd.as_raw_fd(), request, none) }).map(drop)
}

/// personality(2) with the flag that turns address randomization off, for this process alone.
pub fn try_personality() -> io::Result<()> {
    // SAFETY: a number; what it changes takes effect at the next exec only.
    super::check(unsafe { libc::personality(libc::ADDR_NO_RANDOMIZE as libc::c_ulong) }.into()).map(drop)
}

/// ptrace(2) `PTRACE_SEIZE`: attaches to a process without stopping it.
pub fn seize(pid: i32) -> io::Result<()> {
    let none = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: neither the address nor the data are used by this request.
    super::check(unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, none, none) }).map(drop)
}

/// unshare(2) of a user namespace, for this process alone.
pub fn try_unshare_user() -> io::Result<()> {
    // SAFETY: takes a number only; the caller has one thread.
    super::check(unsafe { libc::unshare(libc::CLONE_NEWUSER) }.into()).map(drop)
}

/// sched_setscheduler(2): a real-time class for this process. By its number: musl's function never asks the kernel.
pub fn try_real_time() -> io::Result<()> {
    // The kernel's sched_param, which is one number; the C library's may be longer.
    let priority: libc::c_int = 1;
    // SAFETY: the number outlives the call, which reads nothing else.
    let result = unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, libc::SCHED_RR, &raw const priority) };
    super::check(result).map(drop)
}
