//! `--join`: one more command in a running sandbox, confined as its own command is.
//!
//! Two processes: the *monitor* enters the namespaces of a process that is inside; a pid namespace takes effect for
//! children only, so that it starts the *command* as one and stays out of sight. Until the command gives up what it
//! holds, it is not dumpable: nothing inside can look into it.

use crate::args::{Level, TOOL};
use crate::sandbox::Sandbox;
use crate::terminal::Terminal;
use crate::witness::Witness;
use crate::{command, identity, line, mountinfo, overlay, recorder, report, signals};
use libsbox::error::{Context, Error, Result};
use libsbox::sys::{self, Fork};
use rustix::fd::{AsFd, OwnedFd};
use rustix::process::{Pid, Signal};
use rustix::thread::LinkNameSpaceType;
use std::path::PathBuf;

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
    line::block()?;
    let pid = sandbox.args.join.ok_or_else(|| Error::usage("missing process"))?;
    let beside = if sandbox.args.refresh { None } else { recorder::Beside::start(&sandbox.args)? };
    let overlays = overlays_of(pid)?;
    let witness = if sandbox.args.refresh { None } else { Some(Witness::start()?) };
    enter(&namespaces_of(pid)?)?;
    // Twice: a name that a program inside uses at that very moment is not forgotten.
    for pause in [0, 2].into_iter().filter(|_| !overlays.is_empty()) {
        std::thread::sleep(std::time::Duration::from_millis(pause));
        for place in &overlays {
            // Refused where another sandbox made the overlay; the watcher of that one sees to it.
            let _ = overlay::refresh(place);
        }
    }
    if sandbox.args.refresh {
        return Ok(0);
    }
    let (sync_pipe, alive) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).context(|| "make a pipe".into())?;
    let child = match sys::fork().context(|| "start a process".into())? {
        Fork::Child => {
            drop(alive);
            let error =
                become_it(&sandbox, &sync_pipe).err().unwrap_or_else(|| Error::new("the command did not start"));
            report::end(TOOL.fail(&error));
        }
        Fork::Parent(child) => child,
    };
    let code = signals::Monitor { child, line: None, witness: witness.as_ref(), terminal: &terminal }
        .wait(&mut recorder::Recorder::none(), || None)
        .map(|end| end.code);
    drop(witness);
    terminal.restore();
    if let (Some(beside), Ok(code)) = (beside, &code) {
        beside.end(*code);
    }
    terminal.die_as_the_command_did();
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
        _ => Err(Error::new(format!("process {} is not in a sandbox", pid.as_raw_pid()))
            .hint("sbox ps lists what is running")),
    }
}

/// Where the process has overlays.
fn overlays_of(pid: Pid) -> Result<Vec<PathBuf>> {
    let path = format!("/proc/{}/mountinfo", pid.as_raw_pid());
    let mounts = std::fs::read_to_string(&path).context(|| format!("read '{path}'"))?;
    Ok(mountinfo::places(&mounts, Some("overlay")).collect())
}

fn enter(all: &[(OwnedFd, LinkNameSpaceType)]) -> Result<()> {
    if identity::is_real_root() {
        sys::leave_all_groups().context(|| "leave root's groups".into())?;
    }
    for (namespace, kind) in all {
        rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(*kind))
            .context(|| "enter the sandbox".into())?;
        if *kind == LinkNameSpaceType::User {
            identity::set_mapped_ids()?;
        }
    }
    // The kernel forgets it with the change of the user namespace.
    if !libsbox::plumbing::obey_death_of_parent() {
        return Err(Error::new("the process that asked for this is gone"));
    }
    identity::set_nondumpable()
}

/// Enters the user and mount namespaces of the sandbox whose first process is `pid`, and no other.
pub fn enter_mounts(pid: Pid) -> Result<()> {
    let mut all = namespaces_of(pid)?;
    all.retain(|(_, kind)| matches!(*kind, LinkNameSpaceType::User | LinkNameSpaceType::Mount));
    enter(&all)
}

fn become_it(sandbox: &Sandbox, sync_pipe: &OwnedFd) -> Result<()> {
    crate::privileges::drop_privileges()?;
    identity::set_nondumpable()?;
    sandbox.hide_argv_and_environ();
    signals::die_with_the_monitor(sync_pipe, Signal::KILL)?;
    Err(command::become_it(sandbox, Level::Namespace, None))
}
