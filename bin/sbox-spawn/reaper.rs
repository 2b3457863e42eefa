//! Processes that the monitor does not wait for, since the kernel takes milliseconds to close an inotify descriptor. Pid 1
//! waits for them, if it is one that does: in a container it may be any program, and what has ended would stay there for
//! ever.

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, WaitOptions};

/// Programs that wait for every orphan, by the names that they have as pid 1.
const REAPERS: [&str; 12] = [
    "systemd",
    "init",
    "tini",
    "dumb-init",
    "docker-init",
    "podman-init",
    "catatonit",
    "s6-svscan",
    "runit",
    "runsvdir",
    "supervisord",
    "openrc-init",
];

/// The longest that anybody waits here: what hangs is left.
const LONGEST: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// Waits for the end of a child that is about to end, unless pid 1 does that.
pub fn wait_if_nobody_else_does(child: Pid) {
    if !has_ended(child) && !is_reaped_by_pid_1() {
        wait_a_moment(child);
    }
}

/// Waits for the end of a child that is about to end.
pub fn wait_a_moment(child: Pid) {
    if !has_ended(child)
        && let Ok(held) = rustix::process::pidfd_open(child, PidfdFlags::empty())
    {
        let _ = rustix::event::poll(&mut [PollFd::new(&held, PollFlags::IN)], Some(&LONGEST));
        has_ended(child);
    }
}

fn has_ended(child: Pid) -> bool {
    !matches!(rustix::process::waitpid(Some(child), WaitOptions::NOHANG), Ok(None))
}

fn is_reaped_by_pid_1() -> bool {
    std::fs::read_to_string("/proc/1/comm").is_ok_and(|name| REAPERS.contains(&name.trim_end()))
}
