//! `--join`: one more command in a sandbox that stands, confined as its own command is.
//!
//! Two processes: the *launcher* enters the namespaces of a process that is inside; a pid namespace takes effect for
//! children only, so that it starts the *command* as one and stays out of sight. Until the command gives up what it
//! holds, it is not dumpable: nothing inside can look into it.

use crate::args::Level;
use crate::{Sandbox, Terminal, command, init, namespaces};
use libsbox::error::{Context, Error, Result};
use libsbox::sys::{self, Fork};
use rustix::fd::{AsFd, OwnedFd};
use rustix::process::{DumpableBehavior, Pid, Signal, WaitOptions};
use rustix::thread::LinkNameSpaceType;

/// The user namespace first: it gives the right to enter those that belong to it. The network's and the others' order is
/// of no matter; a mount namespace comes late, since afterwards this process's paths are the sandbox's.
const KINDS: [(&str, LinkNameSpaceType); 7] = [
    ("user", LinkNameSpaceType::User),
    ("ipc", LinkNameSpaceType::InterProcessCommunication),
    ("uts", LinkNameSpaceType::HostNameAndNISDomainName),
    ("net", LinkNameSpaceType::Network),
    ("cgroup", LinkNameSpaceType::ControlGroup),
    ("pid", LinkNameSpaceType::ProcessID),
    ("mnt", LinkNameSpaceType::Mount),
];

/// Runs the command in the sandbox of the process that was named; gives its exit code.
pub fn run(sandbox: Sandbox) -> Result<u8> {
    let terminal = Terminal::remember();
    sys::block(&init::awaited()).context(|| "hold signals back".into())?;
    let pid = sandbox.args.join.ok_or_else(|| Error::usage("missing process"))?;
    enter(&namespaces_of(pid)?)?;
    let (gate, alive) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).context(|| "make a pipe".into())?;
    let child = match sys::fork().context(|| "start a process".into())? {
        Fork::Child => {
            drop(alive);
            let error = become_it(&sandbox, &gate).err().unwrap_or_else(|| Error::new("the command did not start"));
            crate::end(crate::TOOL.fail(&error));
        }
        Fork::Parent(child) => child,
    };
    let code = wait(child);
    terminal.restore();
    code
}

/// Those of the namespaces that are not this process's own.
fn namespaces_of(pid: Pid) -> Result<Vec<(OwnedFd, LinkNameSpaceType)>> {
    let mut found = Vec::new();
    for (name, kind) in KINDS {
        let path = format!("/proc/{}/ns/{name}", pid.as_raw_pid());
        let file = std::fs::File::open(&path).context(|| format!("open '{path}'"))?;
        let own = std::fs::File::open(format!("/proc/self/ns/{name}")).context(|| format!("open own '{name}'"))?;
        let (theirs, ours) = (rustix::fs::fstat(&file), rustix::fs::fstat(&own));
        let (theirs, ours) = (theirs.context(|| format!("look at '{path}'"))?, ours.context(|| "look at it".into())?);
        if theirs.st_ino != ours.st_ino {
            found.push((OwnedFd::from(file), kind));
        }
    }
    match found.first() {
        Some((_, LinkNameSpaceType::User)) => Ok(found),
        _ => Err(Error::new(format!("process {} is in no sandbox of its own", pid.as_raw_pid()))
            .hint("sbox ps says what runs")),
    }
}

fn enter(all: &[(OwnedFd, LinkNameSpaceType)]) -> Result<()> {
    if namespaces::is_real_root() {
        sys::leave_all_groups().context(|| "leave root's groups".into())?;
    }
    for (namespace, kind) in all {
        rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(*kind))
            .context(|| "enter the sandbox".into())?;
        if *kind == LinkNameSpaceType::User {
            take_ids()?;
        }
    }
    withdraw()
}

/// A sandbox maps one id, and gives it to whoever enters; root's is another one inside.
fn take_ids() -> Result<()> {
    let shown = || String::from("take the sandbox's uid");
    let map = std::fs::read_to_string("/proc/self/uid_map").context(shown)?;
    let inside: u32 = map.split_whitespace().next().and_then(|id| id.parse().ok()).unwrap_or(0);
    let map = std::fs::read_to_string("/proc/self/gid_map").context(shown)?;
    let group: u32 = map.split_whitespace().next().and_then(|id| id.parse().ok()).unwrap_or(0);
    let (uid, gid) = (rustix::process::Uid::from_raw(inside), rustix::process::Gid::from_raw(group));
    rustix::thread::set_thread_res_gid(gid, gid, gid).context(shown)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).context(shown)
}

/// Whoever is inside has the same uid: nobody looks into a process that still holds what the host gave it.
fn withdraw() -> Result<()> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).context(|| "withdraw".into())
}

fn become_it(sandbox: &Sandbox, gate: &OwnedFd) -> Result<()> {
    init::drop_privileges()?;
    withdraw()?;
    sys::wipe(&sandbox.own_text);
    init::die_with_the_launcher(gate, Signal::KILL)?;
    Err(command::become_it(sandbox, Level::Namespace))
}

fn wait(child: Pid) -> Result<u8> {
    loop {
        match sys::arrived_signal(&init::awaited(), None).context(|| "wait for a signal".into())? {
            Some((libc::SIGCHLD, _)) => {
                let ended = rustix::process::waitpid(Some(child), WaitOptions::NOHANG);
                if let Some((_, status)) = ended.context(|| "wait for the command".into())? {
                    return Ok(init::code(status));
                }
            }
            Some((signal, from_kernel)) => init::pass_on(child, signal, from_kernel),
            None => {}
        }
    }
}
