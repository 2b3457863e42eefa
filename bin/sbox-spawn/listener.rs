//! What the filter refused, heard by the monitor: each call is answered with the very error that the filter says, and
//! counted.
//!
//! Nothing is decided here. A call comes here only if the filter forbids it; its answer is looked up in the same filter, by
//! the arguments that the kernel has copied, and is an error whatever comes of that. Once nobody listens any more, because
//! the monitor was killed, the kernel answers with `ENOSYS` itself: it lets nothing through, and nobody waits.
//!
//! The agent decides how many calls there are. Past the first thousands the monitor answers so many in a moment and no more:
//! whoever asks in a loop waits.

use crate::bpf;
use crate::denied::Denied;
use crate::filter::{self, Scope};
use libc::c_long;
use libsbox::error::Result;
use libsbox::record::Call;
use libsbox::sys::{self, Instruction, Notification};
use rustix::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// Calls that are answered at once, whoever makes them.
const FREE: u64 = 2000;

/// After that: calls in a row, and the pause that follows.
const BATCH: u32 = 16;
const PAUSE: Duration = Duration::from_millis(2);

/// The place at which refused calls arrive.
pub struct Listener {
    fd: OwnedFd,
    filter: Vec<Instruction>,
    answered: u64,
    /// When it listens again.
    rests_until: Option<Instant>,
}

impl Listener {
    pub fn new(fd: OwnedFd, scope: &Scope) -> Listener {
        Listener { fd, filter: filter::program(scope), answered: 0, rests_until: None }
    }

    /// What to wait for, while it listens.
    pub fn fd(&self) -> Option<&OwnedFd> {
        self.rest().is_none().then_some(&self.fd)
    }

    /// How long it does not listen.
    pub fn rest(&self) -> Option<Duration> {
        self.rests_until.map(|until| until.saturating_duration_since(Instant::now())).filter(|rest| !rest.is_zero())
    }

    /// Answers what has arrived. `false` once nobody is left who could call.
    pub fn attend(&mut self, count: &mut dyn FnMut(Call)) -> bool {
        for _ in 0..BATCH {
            match self.is_ready() {
                Some(true) => {}
                Some(false) => return true,
                None => return false,
            }
            // Gone by now: killed while it waited.
            let Ok(call) = sys::receive_notification(self.fd.as_fd()) else { continue };
            let _ = sys::refuse_notification(self.fd.as_fd(), call.id, self.error(&call));
            self.answered = self.answered.saturating_add(1);
            count(describe(&call));
        }
        if self.answered > FREE {
            self.rests_until = Some(Instant::now() + PAUSE);
        }
        true
    }

    /// Whether a call waits; nothing at the end.
    fn is_ready(&self) -> Option<bool> {
        use rustix::event::{PollFd, PollFlags};
        let mut polled = [PollFd::new(&self.fd, PollFlags::IN)];
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        match rustix::event::poll(&mut polled, Some(&now)) {
            Ok(0) | Err(_) => Some(false),
            Ok(_) if polled[0].revents().contains(PollFlags::IN) => Some(true),
            // An error that is not the end: a signal came while the kernel looked.
            Ok(_) if !polled[0].revents().contains(PollFlags::HUP) => Some(false),
            Ok(_) => None,
        }
    }

    fn error(&self, call: &Notification) -> i32 {
        let answer = bpf::answer(&self.filter, call.arch, call.number.into(), call.arguments);
        match answer {
            Some(answer) if answer & 0xFFFF_0000 == libc::SECCOMP_RET_ERRNO && answer & 0xFFFF != 0 => {
                (answer & 0xFFFF) as i32
            }
            // It was refused; with which word is of no matter.
            _ => libc::EPERM,
        }
    }
}

/// Sends the listening descriptor to the monitor. Until it is there, this process makes no call that is reported.
pub fn hand_over(socket: &OwnedFd, listener: &OwnedFd) -> Result<()> {
    use libsbox::error::Context;
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
    let fds = [listener.as_fd()];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&fds));
    let data = [rustix::io::IoSlice::new(b"l")];
    rustix::net::sendmsg(socket, &data, &mut ancillary, SendFlags::NOSIGNAL)
        .context(|| "hand the filter's reports over".into())
        .map(drop)
}

/// The kinds of namespaces, by the flags of unshare(2) and clone(2).
const NAMESPACES: [(libc::c_int, &str); 7] = [
    (libc::CLONE_NEWUSER, "user namespaces"),
    (libc::CLONE_NEWNS, "mount namespaces"),
    (libc::CLONE_NEWPID, "pid namespaces"),
    (libc::CLONE_NEWNET, "network namespaces"),
    (libc::CLONE_NEWIPC, "IPC namespaces"),
    (libc::CLONE_NEWUTS, "UTS namespaces"),
    (libc::CLONE_NEWCGROUP, "cgroup namespaces"),
];

/// Families of sockets (linux/socket.h) that somebody may ask for.
const FAMILIES: [(i32, &str); 9] = [
    (libc::AF_UNIX, "Unix"),
    (libc::AF_INET, "internet"),
    (libc::AF_INET6, "internet"),
    (libc::AF_NETLINK, "netlink"),
    (libc::AF_PACKET, "packet"),
    (libc::AF_VSOCK, "vsock"),
    (libc::AF_ALG, "crypto (AF_ALG)"),
    (libc::AF_BLUETOOTH, "Bluetooth"),
    (libc::AF_CAN, "CAN"),
];

/// What was asked for, in words of which there is a list: nothing of the agent's is in them.
fn describe(call: &Notification) -> Call {
    let number = c_long::from(call.number);
    let first = call.arguments[0] as i32;
    let (name, what, key) = match number {
        libc::SYS_unshare | libc::SYS_clone => {
            let name = if number == libc::SYS_clone { "clone" } else { "unshare" };
            let found = NAMESPACES.iter().find(|(flag, _)| first & flag != 0);
            (name, found.map_or("time namespaces", |(_, what)| *what).to_owned(), Some("nested: true"))
        }
        libc::SYS_socket | libc::SYS_socketpair => {
            let name = if number == libc::SYS_socket { "socket" } else { "socketpair" };
            let family = FAMILIES.iter().find(|(family, _)| *family == first).map_or("other", |(_, name)| name);
            (name, format!("sockets: {family}"), None)
        }
        libc::SYS_ioctl => ("ioctl", "terminal: input or line discipline".into(), None),
        libc::SYS_personality => ("personality", "another personality".into(), None),
        libc::SYS_sched_setaffinity => ("sched_setaffinity", "other processors".into(), None),
        _ => match (Denied::of(number), filter::name_of_set_id_call(number), filter::is_system_v(number)) {
            (Some(denied), _, _) => (denied.name(), denied.why.into(), (!denied.always).then_some("nested: true")),
            (_, Some(name), _) => (name, "set-uid bits".into(), None),
            (_, _, true) => ("shmget, msgget, semget", "the host's System V objects".into(), None),
            _ => ("other", String::new(), None),
        },
    };
    Call { call: name.into(), what, key: key.map(str::to_owned), count: 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(number: c_long, first: u64) -> (String, String, Option<String>) {
        let call = Notification { id: 1, pid: 1, number: number as i32, arch: 0, arguments: [first, 0, 0, 0, 0, 0] };
        let Call { call, what, key, .. } = describe(&call);
        (call, what, key)
    }

    #[test]
    fn refused_calls_have_names_that_are_not_the_agents() {
        let nested = Some("nested: true".to_owned());
        let user = libc::CLONE_NEWUSER as u64;
        assert_eq!(said(libc::SYS_unshare, user), ("unshare".into(), "user namespaces".into(), nested.clone()));
        assert_eq!(said(libc::SYS_clone, user | 17).1, "user namespaces");
        let mount = said(libc::SYS_mount, 0);
        assert_eq!((mount.0.as_str(), mount.2), ("mount", nested));
        assert_eq!(said(libc::SYS_bpf, 0).2, None);
        assert_eq!(said(libc::SYS_fchmodat, 0).1, "set-uid bits");
        // However many families are asked for, there are a few words for them.
        let mut all: Vec<String> = (0..100_000).map(|family| said(libc::SYS_socket, family).1).collect();
        all.sort();
        all.dedup();
        assert!(all.len() <= FAMILIES.len(), "{all:?}");
    }
}
