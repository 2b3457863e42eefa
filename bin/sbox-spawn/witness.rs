//! Whether a signal that came to the monitor came to its whole process group, and so to the command.
//!
//! Pid 1 of a sandbox sees that by itself. A command that joins one has only the monitor beside it, whose place is taken
//! by a process that does nothing else. The kernel sends to the youngest of a group first: what the monitor has got was
//! sent to the witness before.

use crate::{line, reaper, refresh, report};
use libsbox::error::{Context, Result};
use libsbox::sys::{self, Fork};
use rustix::fd::OwnedFd;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::process::{Pid, Signal};

/// The monitor's side. The process ends with it.
pub struct Witness {
    line: Option<OwnedFd>,
    pid: Pid,
}

impl Witness {
    /// Starts it: on the host's side, where nothing inside can signal it.
    pub fn start() -> Result<Witness> {
        let flags = SocketFlags::CLOEXEC;
        let (line, theirs) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .context(|| "make a socket".into())?;
        match sys::fork().context(|| "start a process".into())? {
            Fork::Child => {
                drop(line);
                let _ = refresh::detach(c"sbox-witness", [&theirs].into_iter());
                let _ = watch(&theirs);
                report::end(0)
            }
            Fork::Parent(pid) => Ok(Witness { line: Some(line), pid }),
        }
    }

    /// Which signals some process has sent to the group since this was asked last.
    pub fn seen(&self) -> Vec<libc::c_int> {
        let Some(line) = &self.line else { return Vec::new() };
        let mut space = [0u8; 64];
        // Stopped with the group, it may not have been continued with it. Within a session everybody may do that.
        let _ = rustix::process::kill_process(self.pid, Signal::CONT);
        if rustix::net::send(line, b"?", SendFlags::NOSIGNAL).is_err() {
            return Vec::new();
        }
        let answer = rustix::io::retry_on_intr(|| rustix::net::recv(line, &mut space, RecvFlags::empty()));
        let length = answer.map_or(0, |(length, _)| length);
        space[..length].iter().filter(|byte| **byte != 0).map(|byte| libc::c_int::from(*byte)).collect()
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        // It reads the end of the line. Root's could not be killed: this process has the uid of the sandbox by now.
        drop(self.line.take());
        let _ = rustix::process::kill_process(self.pid, Signal::CONT);
        reaper::wait_a_moment(self.pid);
    }
}

/// Answers each question with the numbers of what has come, and a zero.
fn watch(line: &OwnedFd) -> Result<()> {
    let signals = line::file()?;
    let mut space = [0u8; 1];
    while matches!(rustix::io::retry_on_intr(|| rustix::io::read(line, &mut space)), Ok(1)) {
        let arrived = sys::taken_signals(&signals).into_iter().filter(|arrived| !arrived.from_kernel);
        let mut answer: Vec<u8> = arrived.map(|arrived| arrived.signal as u8).collect();
        answer.push(0);
        rustix::net::send(line, &answer, SendFlags::NOSIGNAL).context(|| "answer".into())?;
    }
    Ok(())
}
