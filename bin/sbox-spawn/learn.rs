//! Which paths the command looks up, for `sbox run --learn`: a filter that makes those calls wait for a moment, and a program
//! on the host's side that writes the paths down and lets them go on.

use crate::args::Args;
use libsbox::error::{Context, Result};
use libsbox::plumbing::{self, inherit};
use libsbox::sys;
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::net::{AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType};
use std::cell::RefCell;
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};

/// The other side.
pub struct Learner {
    to: OwnedFd,
    child: RefCell<Child>,
}

impl Learner {
    /// Starts it, if it is asked for.
    pub fn start(args: &Args) -> Result<Option<Learner>> {
        let Some(file) = &args.learn else { return Ok(None) };
        let (to, theirs) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .context(|| "make a socket".into())?;
        inherit(theirs.as_fd())?;
        let mut command = plumbing::program("sbox-learn")?;
        command.arg("--receive").arg(theirs.as_raw_fd().to_string()).arg(file);
        plumbing::trace(&command);
        plumbing::die_with_parent(&mut command).stdin(Stdio::null()).stdout(Stdio::null()).process_group(0);
        let child = command.spawn().context(|| "start 'sbox-learn'".into())?;
        Ok(Some(Learner { to, child: RefCell::new(child) }))
    }

    /// In the process that becomes the command: from here on its calls wait for the other side.
    pub fn watch_this_process(&self) -> Result<()> {
        let shown = || String::from("learn which paths are looked up");
        let listener = sys::filter_with_listener(&filter()).context(shown)?;
        let fds = [listener.as_fd()];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        ancillary.push(SendAncillaryMessage::ScmRights(&fds));
        let data = [rustix::io::IoSlice::new(b"!")];
        rustix::net::sendmsg(&self.to, &data, &mut ancillary, SendFlags::NOSIGNAL).context(shown).map(drop)
    }

    /// Why the sandbox cannot go on: without the other side every such call would fail.
    pub fn lost(&self) -> Option<String> {
        // It ends by itself once nobody is left inside, which can be known here a moment before the end of the sandbox is.
        let status = self.child.borrow_mut().try_wait().ok()?.filter(|status| !status.success())?;
        Some(format!("what writes down the paths {}", libsbox::status::told_of(status)))
    }

    /// At the end: until all that it saw is written. It ends by itself with the last process inside.
    pub fn finish(&self) {
        let _ = self.child.borrow_mut().wait();
    }
}

impl Drop for Learner {
    fn drop(&mut self) {
        let child = self.child.get_mut();
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Every call that takes a path waits, every other one is none of its business. Calls of another architecture are refused by
/// the sandbox's own filter, whatever this one says.
fn filter() -> Vec<sys::Instruction> {
    let instruction = |code: u16, jt: u8, jf: u8, k: u32| libc::sock_filter { code, jt, jf, k };
    let mut program = vec![instruction((libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16, 0, 0, 0)];
    for number in sys::calls_with_a_path() {
        program.push(instruction((libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16, 0, 1, number as u32));
        program.push(instruction((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, libc::SECCOMP_RET_USER_NOTIF));
    }
    program.push(instruction((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, libc::SECCOMP_RET_ALLOW));
    program
}
