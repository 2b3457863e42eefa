//! The words for what this host cannot give, and what an administrator can do about it.

use crate::args::Level;
use libsbox::error::{Error, Kind, exhausted, reason};
use libsbox::output;
use libsbox::promises::{self, Host};
use rustix::io::Errno;

/// Why the kernel refused namespaces, and the narrow way to allow them. What is merely used up is not the host's will:
/// nothing weaker is tried then.
pub fn no_namespaces(error: &std::io::Error) -> Error {
    let message = format!("cannot make namespaces: {}", reason(error));
    let code = error.raw_os_error().unwrap_or(0);
    let number = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let is = |path: &str, value: u64| number(path) == Some(value);
    let hint = if is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", 1) && code != libc::ENOSPC {
        "AppArmor restricts user namespaces on this host: an administrator can add a profile for sbox-spawn that has the line 'userns,'"
    } else if is("/proc/sys/kernel/unprivileged_userns_clone", 0) {
        "an administrator can allow user namespaces: sysctl kernel.unprivileged_userns_clone=1"
    } else if let Some(kind) = KINDS.into_iter().find(|kind| is(&format!("/proc/sys/user/max_{kind}_namespaces"), 0)) {
        let hint = format!("an administrator can allow them: sysctl user.max_{kind}_namespaces=15000");
        return Error::of(Kind::Unavailable, message).hint(hint);
    } else if code == libc::ENOSPC {
        let most = |kind: &str| Some(format!("{kind} {}", number(&format!("/proc/sys/user/max_{kind}_namespaces"))?));
        let all: Vec<String> = KINDS.into_iter().filter_map(most).collect();
        let hint = format!(
            "all that this user may have are in use, or they are nested too deep; end other sandboxes, or raise sysctl user.max_*_namespaces ({})",
            all.join(", ")
        );
        return Error::new(message).hint(hint);
    } else if let Some(hint) = exhausted(code) {
        return Error::new(message).hint(hint);
    } else if code == libc::EPERM && is_inside() {
        "this is a sandbox itself: 'nested: true' in its configuration lets it make others, if an ordinary user started it"
    } else {
        "this host, or the container it is, forbids unprivileged user namespaces; nothing was run"
    };
    Error::of(Kind::Unavailable, message).hint(hint)
}

/// Whether this process is in a sandbox, for a hint.
fn is_inside() -> bool {
    std::env::var_os("SBOX_ISOLATION").is_some_and(|level| level == "namespace")
}

/// As `/proc/sys/user` calls the namespaces that a sandbox has.
const KINDS: [&str; 7] = ["user", "mnt", "pid", "ipc", "uts", "net", "cgroup"];

/// The kernel gives a new process table only to those who see the whole of the old one (`mount_too_revealing`).
pub fn no_proc(error: Errno) -> Error {
    let why = reason(&error.into());
    Error::of(Kind::Unavailable, format!("cannot mount a process table of the sandbox's own: {why}"))
        .hint("this host hides parts of /proc, as container engines do: start the container with an unmasked /proc (podman: --security-opt unmask=ALL, docker: --security-opt systempaths=unconfined)")
}

/// A call that the kernel does not have, or that a filter hides from us: the host cannot give namespaces as they are used
/// here. The newest is mount_setattr(2), Linux 5.12.
pub fn where_calls_are_missing(error: Error) -> Error {
    if error.code() != Some(libc::ENOSYS) {
        return error;
    }
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    Error::of(Kind::Unavailable, error.to_string()).hint(format!(
        "level 'namespace' needs Linux 5.12 or later, and a container that forbids none of its calls; this is Linux {release}"
    ))
}

/// A call that needs no right of the host's and is refused all the same, in a namespace of our own.
pub fn where_a_filter_forbids(error: Error) -> Error {
    if error.code() != Some(libc::EPERM) {
        return error;
    }
    Error::of(Kind::Unavailable, error.to_string()).hint(
        "a filter of system calls forbids it, as container engines have one: start the container with --security-opt seccomp=unconfined and an unmasked /proc (podman: --security-opt unmask=ALL, docker: --security-opt systempaths=unconfined)",
    )
}

/// The words for a level that is weaker than a namespace, once, where `auto` had to take it.
pub fn warn_of_level(level: Level, why: &Error) {
    let host = Host { landlock: landlock_version().into(), keeps_root: false };
    let lost = match level {
        Level::Namespace => return,
        Level::Landlock => {
            let all: Vec<_> = promises::exceptions(level, &host).map(|line| line.lost).collect();
            all.join("; ")
        }
        Level::Env => "NOTHING is enforced: the command has all of your rights".into(),
    };
    output::warn(format_args!("isolation level '{}' only: {lost} ({why})", level.name()));
    output::hint(why.hint_text().unwrap_or("sbox doctor says what this host lacks"));
}

/// What this host takes from the promises of a level that was not fallen back to. On a terminal: a program's stderr may be
/// somebody's data.
pub fn warn_of_host(level: Level, has_hosts_network: bool) {
    // Without the host's network its abstract sockets are not there.
    let has_none = level == Level::Namespace && !has_hosts_network;
    if !has_none && std::io::IsTerminal::is_terminal(&std::io::stderr()) {
        let host = Host { landlock: landlock_version().into(), keeps_root: false };
        promises::lost_here(level, &host)
            .into_iter()
            .for_each(|lost| output::warn(format_args!("this kernel's Landlock is old: {lost}")));
    }
}

/// The kernel refuses to exchange the root where it is the first of all mounts (pivot_root(2), EINVAL).
pub fn no_pivot_root(error: Errno) -> Error {
    let why = reason(&error.into());
    Error::of(Kind::Unavailable, format!("cannot enter the new root: the kernel refuses pivot_root ({why})"))
        .hint("it does so where the root file system is an initramfs: boot from another, or go to a tmpfs with switch_root(8)")
}

/// The version of Landlock that the kernel has; 0 is none.
pub fn landlock_version() -> i32 {
    libsbox::sys::landlock_version().unwrap_or(0)
}
