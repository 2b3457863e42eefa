//! Signals taken one at a time with sigwaitinfo(2): no handler, nothing that runs between two instructions.

use std::io;

/// A set of signals.
#[derive(Clone, Copy)]
pub struct Signals(libc::sigset_t);

impl Signals {
    /// The set of `signals`.
    pub fn of(signals: &[libc::c_int]) -> Signals {
        // SAFETY: all-zero is a valid sigset_t, and sigemptyset makes it an empty one.
        let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
        // SAFETY: the set is a whole sigset_t.
        unsafe { libc::sigemptyset(&raw mut set) };
        for &signal in signals {
            // SAFETY: as above; an unknown number is refused and changes nothing.
            unsafe { libc::sigaddset(&raw mut set, signal) };
        }
        Signals(set)
    }
}

/// sigprocmask(2): makes `signals` the set that is held back, whatever was held back before.
pub fn block(signals: &Signals) -> io::Result<()> {
    // SAFETY: the set is a whole sigset_t; the old one is not asked for.
    let result = unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const signals.0, std::ptr::null_mut()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// sigwaitinfo(2): sleeps until one of `signals` arrives. Gives its number and whether the kernel sent it (a key on the
/// terminal, a death) and not a process.
pub fn arrived_signal(signals: &Signals) -> io::Result<(libc::c_int, bool)> {
    // SAFETY: all-zero is a valid siginfo_t.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: both structures are whole and outlive the call.
    let signal = unsafe { libc::sigwaitinfo(&raw const signals.0, &raw mut info) };
    if signal > 0 { Ok((signal, info.si_code > 0)) } else { Err(io::Error::last_os_error()) }
}
