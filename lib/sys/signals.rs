//! Signals, read from a descriptor: no handler, nothing that runs between two instructions.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

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

/// signalfd(2): a descriptor from which signals that are blocked are read, so that they can be waited for among others.
pub fn signal_file(signals: &Signals) -> io::Result<OwnedFd> {
    let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
    // SAFETY: the set is a whole sigset_t; -1 asks for a new descriptor.
    let fd = super::check(unsafe { libc::signalfd(-1, &raw const signals.0, flags) }.into())?;
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// A signal that was read from a descriptor of [`signal_file`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrived {
    /// Its number.
    pub signal: libc::c_int,
    /// Whether the kernel sent it (a key on the terminal, a hang-up, a death) and not a process.
    pub from_kernel: bool,
}

/// The signals that wait in a descriptor of [`signal_file`]: of each structure (signalfd_siginfo, 128 bytes) the first
/// four bytes are the number, and the third four the code, which is above zero if the kernel sent it.
pub fn taken_signals(file: &OwnedFd) -> Vec<Arrived> {
    let mut buffer = [0u8; 128 * 8];
    let mut all = Vec::new();
    // Several structures are read at once; what is left when the buffer was full is read by the next call.
    let length = rustix::io::read(file, &mut buffer).unwrap_or(0);
    for info in buffer[..length].chunks_exact(128) {
        let word = |at: usize| Some(i32::from_ne_bytes(info.get(at..at + 4)?.try_into().ok()?));
        if let (Some(signal), Some(code)) = (word(0), word(8)) {
            all.push(Arrived { signal, from_kernel: code > 0 });
        }
    }
    all
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
