//! Signals taken one at a time with sigtimedwait(2): no handler, nothing that runs between two instructions.

use std::io;
use std::time::Duration;

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

/// sigtimedwait(2): sleeps until one of `signals` arrives, at most for `pause`. Gives its number and whether the kernel
/// sent it (a key on the terminal, a death) and not a process; nothing when the time is over.
pub fn arrived_signal(signals: &Signals, pause: Option<Duration>) -> io::Result<Option<(libc::c_int, bool)>> {
    let time = pause.map(|pause| libc::timespec {
        tv_sec: pause.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: pause.subsec_nanos().into(),
    });
    let time = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: all-zero is a valid siginfo_t.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: the structures are whole and outlive the call; a null time is none.
    let signal = unsafe { libc::sigtimedwait(&raw const signals.0, &raw mut info, time) };
    match signal {
        1.. => Ok(Some((signal, info.si_code > 0))),
        _ => match io::Error::last_os_error() {
            error if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR)) => Ok(None),
            error => Err(error),
        },
    }
}
