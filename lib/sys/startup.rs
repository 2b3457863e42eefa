//! What a program has to know of how it was started.

use std::sync::atomic::{AtomicU8, Ordering};

/// Standard descriptors that were closed, one bit each.
static CLOSED: AtomicU8 = AtomicU8::new(0);

/// The runtime opens /dev/null in place of a standard descriptor that is closed, before `main`. What is written there is
/// lost and nobody hears of it. So this looks earlier.
extern "C" fn look() {
    for fd in 0..3 {
        // SAFETY: takes a number only.
        if unsafe { libc::fcntl(fd, libc::F_GETFD) } < 0 {
            CLOSED.fetch_or(1 << fd, Ordering::Relaxed);
        }
    }
}

#[used]
// SAFETY: the loader calls each function in this section once, before anything else of this program runs; this one uses
// nothing that would have to be initialized.
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;

/// Whether standard descriptor `fd` was closed when the program was started.
pub fn was_closed(fd: u8) -> bool {
    CLOSED.load(Ordering::Relaxed) & (1 << fd) != 0
}
