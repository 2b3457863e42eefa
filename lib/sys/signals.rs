//! Signals taken one at a time with sigtimedwait(2): no handler, nothing that runs between two instructions.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
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

/// signalfd(2): a descriptor from which signals that are blocked are read, so that they can be waited for among others.
pub fn signal_file(signals: &Signals) -> io::Result<OwnedFd> {
    let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
    // SAFETY: the set is a whole sigset_t; -1 asks for a new descriptor.
    let fd = super::check(unsafe { libc::signalfd(-1, &raw const signals.0, flags) }.into())?;
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// The signals that wait in a descriptor of [`signal_file`]: of each structure (signalfd_siginfo, 128 bytes) the first
/// four bytes are the number.
pub fn taken_signals(file: &OwnedFd) -> Vec<libc::c_int> {
    let mut buffer = [0u8; 128 * 8];
    let length = rustix::io::read(file, &mut buffer).unwrap_or(0);
    let number = |info: &[u8]| Some(u32::from_ne_bytes(info.get(..4)?.try_into().ok()?) as libc::c_int);
    buffer[..length].chunks_exact(128).filter_map(number).collect()
}

const INTERRUPTING: [libc::c_int; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];

/// sigaction(2): while `on`, a signal that ends this process first clears the line of the terminal that it draws on.
pub fn clear_line_when_interrupted(on: bool) {
    for signal in INTERRUPTING {
        // SAFETY: all-zero is a valid sigaction: the default action, no mask, no flags.
        let (mut action, mut old): (libc::sigaction, libc::sigaction) = unsafe { std::mem::zeroed() };
        if on {
            action.sa_sigaction = clear_line as extern "C" fn(libc::c_int) as libc::sighandler_t;
            action.sa_flags = libc::SA_RESETHAND | libc::SA_NODEFER;
        }
        // SAFETY: both structures are whole; the handler calls what may be called in one.
        unsafe { libc::sigaction(signal, &raw const action, &raw mut old) };
        if old.sa_sigaction == libc::SIG_IGN {
            // SAFETY: as above. Whoever started this process has it ignore the signal.
            unsafe { libc::sigaction(signal, &raw const old, std::ptr::null_mut()) };
        }
    }
}

/// The action is the default one again when this is called (SA_RESETHAND), so that the signal ends the process.
extern "C" fn clear_line(signal: libc::c_int) {
    const CLEAR: &[u8] = b"\r\x1b[2K";
    // SAFETY: write and raise may be called in a signal handler; the bytes are static.
    unsafe {
        libc::write(2, CLEAR.as_ptr().cast(), CLEAR.len());
        libc::raise(signal);
    }
}
