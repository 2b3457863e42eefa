//! What the sandbox gives up before the command runs.

use libsbox::error::{Context, Result};
use libsbox::sys;

/// No capability in any set, none to be gained again by any exec.
pub fn drop_privileges() -> Result<()> {
    let shown = || String::from("give up all capabilities");
    // SECBIT_NOROOT, SECBIT_NO_SETUID_FIXUP and SECBIT_NO_CAP_AMBIENT_RAISE, each with its lock (linux/securebits.h).
    sys::secure_bits(0b1100_1111).context(shown)?;
    for capability in 0..64 {
        match sys::drop_bounding(capability) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => break,
            result => result.context(shown)?,
        }
    }
    sys::no_capabilities().context(shown)?;
    rustix::thread::set_no_new_privs(true).context(|| "set no_new_privs".into())
}

/// inotify instances and watches are counted by user: one sandbox must not take all of them from the user's editors and from
/// the next watcher. In the sandbox's own user namespace, where this process has every capability still. A host that
/// shows `/proc/sys` read-only keeps its own limit.
pub fn limit_inotify() {
    for (what, part) in [("instances", 4), ("watches", 2)] {
        let most = std::fs::read_to_string(format!("/proc/sys/fs/inotify/max_user_{what}"));
        if let Some(most) = most.ok().and_then(|most| most.trim().parse::<u64>().ok()) {
            let _ = std::fs::write(format!("/proc/sys/user/max_inotify_{what}"), format!("{}", (most / part).max(1)));
        }
    }
}
