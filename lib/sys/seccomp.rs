//! Loading a seccomp filter. What is in one is the caller's to say.

use std::io;

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
