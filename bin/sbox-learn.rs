//! sbox-learn: write down which paths a sandbox looks up. It decides nothing: every call goes on as it would.
//!
//! The command has a filter that makes the calls which take a path wait (seccomp_unotify(2)), and this program, outside of
//! the sandbox, reads the path from the caller's memory and lets the call go on. What is read may be changed by the caller
//! afterwards: it is a hint for the user's configuration, and nothing is allowed or refused by it.
#![forbid(unsafe_code)]

use lexopt::prelude::*;
use libsbox::cli::{self, Tool};
use libsbox::error::{Context, Error, Result};
use libsbox::plumbing;
use libsbox::sys;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, OwnedFd};
use std::collections::HashSet;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::process::ExitCode;

const TOOL: Tool = Tool { name: "sbox-learn", usage: USAGE, runs_a_command: false };
const USAGE: &str = "\
usage: sbox-learn --receive N FILE
Append each path that a sandbox looks up to FILE, once, with a NUL after it.
Nothing that the sandbox does is changed by it.

      --receive N    get the descriptor of its filter from descriptor N, a
                     Unix socket
  -h, --help         print this text
  -V, --version      print the version
";

/// Different paths, and the bytes of all: the agent decides how many there are.
const MOST: usize = 50_000;
const MOST_BYTES: usize = 8 << 20;

/// The longest path of the kernel's, with its end.
const LONGEST: usize = 4096;

fn main() -> ExitCode {
    TOOL.main(run)
}

fn run(args: &mut lexopt::Parser) -> Result<u8> {
    // sbox-spawn, which starts this, holds signals back, and that is inherited.
    sys::block(&sys::Signals::of(&[])).context(|| "take signals".into())?;
    let (mut receive, mut file) = (None, None);
    while let Some(arg) = args.next()? {
        match arg {
            Long("receive") => receive = Some(args.value()?.parse::<i32>()?),
            Value(name) if file.is_none() => file = Some(PathBuf::from(name)),
            other => return Err(cli::common(other)),
        }
    }
    let receive = receive.ok_or_else(|| Error::usage("missing option '--receive'"))?;
    let path = file.ok_or_else(|| Error::usage("missing FILE"))?;
    let mut options = File::options();
    options.create(true).append(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    let file = options.open(&path).context(|| format!("open '{}'", libsbox::escape::visible_path(&path)))?;
    let listener = plumbing::received_sockets(receive)?.into_iter().next();
    let listener = listener.ok_or_else(|| Error::new(format!("nothing came from descriptor {receive}")))?;
    learn(&listener, file);
    Ok(0)
}

/// Until nobody is left who could call.
fn learn(listener: &OwnedFd, mut file: File) {
    let (mut seen, mut bytes) = (HashSet::new(), 0);
    loop {
        let mut polled = [PollFd::new(listener, PollFlags::IN)];
        if poll(&mut polled, None).is_err() {
            continue;
        }
        let events = polled[0].revents();
        if !events.contains(PollFlags::IN) {
            if events.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
                return;
            }
            continue;
        }
        let Ok(call) = sys::receive_notification(listener.as_fd()) else { continue };
        let path = sys::path_argument(call.number.into()).and_then(|at| path_at(call.pid, *call.arguments.get(at)?));
        // First: whatever happens here is not to hold it up.
        let _ = sys::let_go_on(listener.as_fd(), call.id);
        if let Some(mut path) = path.filter(|path| path.starts_with(b"/"))
            && seen.len() < MOST
            && bytes + path.len() < MOST_BYTES
            && seen.insert(path.clone())
        {
            bytes += path.len();
            path.push(0);
            let _ = file.write_all(&path);
        }
    }
}

/// The text at an address of a process, to its NUL. A path can end just before memory that is not there.
fn path_at(pid: u32, address: u64) -> Option<Vec<u8>> {
    const PAGE: usize = 4096;
    let memory = File::open(format!("/proc/{pid}/mem")).ok()?;
    let mut text = Vec::new();
    while text.len() < LONGEST {
        let at = address.checked_add(text.len() as u64)?;
        let room = PAGE - (at as usize % PAGE);
        let mut part = vec![0; room];
        let count = memory.read_at(&mut part, at).ok().filter(|count| *count > 0)?;
        part.truncate(count);
        if let Some(end) = memchr::memchr(0, &part) {
            text.extend_from_slice(part.get(..end)?);
            return Some(text);
        }
        text.extend(part);
    }
    None
}
