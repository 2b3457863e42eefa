//! The namespaces of a sandbox: made with its pid 1 in them, and who owns the mount trees that are handed in.

use crate::assemble::{self, Taken};
use crate::cgroup::Group;
use crate::identity::{self, IdMap};
use crate::network::Outside;
use crate::refresh::{Namespaces, Refresher, Source};
use crate::report::{self, FailurePipes};
use crate::sandbox::Sandbox;
use crate::{init, line, unavailable};
use libsbox::error::{Context, Error, Kind, Result, exhausted, reason};
use libsbox::escape::visible_path;
use libsbox::model::Limits;
use libsbox::operation::Op;
use libsbox::output;
use libsbox::plumbing::forward::SandboxNetwork;
use libsbox::sys::{self, Fork};
use rustix::fd::{AsFd, OwnedFd};
use rustix::process::{Pid, WaitOptions};
use rustix::thread::CapabilitySet;
use std::path::Path;

/// A sandbox that is being made or runs. Its end of the pipe must live as long as the monitor.
pub struct Launched {
    /// Pid 1 of the sandbox, as the monitor sees it.
    pub init: Pid,
    _alive: OwnedFd,
    /// The line to pid 1, until the monitor takes it.
    pub line: Option<OwnedFd>,
    /// The control group that it is in, and its memory limit.
    group: Option<(Group, Option<u64>)>,
    /// What leads out of its network and into it.
    outside: Option<Outside>,
    /// Its user and network namespaces, where ports lead in.
    ways_in: Option<SandboxNetwork>,
    /// Its user and mount namespaces, where it has overlays.
    namespaces: Option<Namespaces>,
}

impl Launched {
    pub fn new(init: Pid, alive: OwnedFd, line: OwnedFd) -> Launched {
        Launched { init, _alive: alive, line: Some(line), group: None, outside: None, ways_in: None, namespaces: None }
    }

    /// Once it is ready: opens what leads in.
    pub fn lead_in(&mut self) -> Result<()> {
        match (&mut self.outside, self.ways_in.take()) {
            (Some(outside), Some(ways)) => outside.lead_in(&ways),
            _ => Ok(()),
        }
    }

    /// Why the sandbox cannot go on, if something on the host's side that it needs has ended.
    pub fn lost(&mut self) -> Option<String> {
        self.outside.as_mut()?.lost()
    }

    /// Starts what shows the host's changes inside, if there is an overlay.
    pub fn start_refresher(&mut self, sandbox: &Sandbox) -> Result<Option<Refresher>> {
        let Some(namespaces) = self.namespaces.take() else { return Ok(None) };
        let hidden = |src: &Path| {
            let below = sandbox.args.hide.iter().filter_map(|path| path.canonicalize().ok());
            below.filter(|path| path.starts_with(src)).collect()
        };
        let source = |op: &Op| match op {
            Op::Overlay { src, dst, .. } => {
                let shared = sandbox.layer(dst).and_then(|layer| layer.shared.as_ref());
                let namespaces = shared.map_or(&namespaces, |shared| &shared.namespaces).try_clone();
                let (src, dst, hidden) = (src.clone(), dst.clone(), hidden(src));
                Some(namespaces.map(|namespaces| Source { src, dst, hidden, namespaces }))
            }
            _ => None,
        };
        let sources = sandbox.ops.iter().filter_map(source).collect::<Result<_>>()?;
        Refresher::start(sources).map(Some)
    }

    /// Where its requests to the network are reported.
    pub fn take_requests(&mut self) -> Option<OwnedFd> {
        self.outside.as_mut()?.requests.take()
    }

    /// After its end: the proxy has nobody to serve.
    pub fn end_proxy(&self) {
        if let Some(outside) = &self.outside {
            outside.end_proxy();
        }
    }

    /// After its end: whether the kernel ended it for using too much.
    pub fn ran_out_of_memory(&self) -> bool {
        self.group.as_ref().is_some_and(|(group, memory)| memory.is_some() && group.ran_out_of_memory())
    }
}

/// Makes the namespaces and starts init in them.
pub fn launch(sandbox: &Sandbox, failure: FailurePipes) -> Result<Launched> {
    let outside = Outside::prepare(&sandbox.args.network, sandbox.args.record.is_some(), sandbox.proxy.take())?;
    let mut launched = launch_beside(sandbox, &failure, &outside)?;
    launched.outside = Some(outside);
    Ok(launched)
}

fn launch_beside(sandbox: &Sandbox, failure: &FailurePipes, outside: &Outside) -> Result<Launched> {
    if !identity::is_real_root() {
        return launch_as(sandbox, failure, outside, IdMap::Caller);
    }
    // Root's supplementary groups (disk, docker) would open the host's files to the agent.
    sys::leave_all_groups().context(|| "leave root's groups".into())?;
    if !rustix::thread::capabilities(None).is_ok_and(|all| all.effective.contains(CapabilitySet::SYS_ADMIN)) {
        // mount_setattr(2): who maps the ids of a mount administers its file system. The root of a container does not.
        output::warn("root has no CAP_SYS_ADMIN here, as in containers, and cannot map the ids of mounts");
        output::hint(KEEPS_ROOT);
        return launch_as(sandbox, failure, outside, IdMap::Caller);
    }
    let unused = sandbox.shared_uid()?.unwrap_or_else(identity::unused_id);
    identity::chown_pipes(unused);
    match launch_as(sandbox, failure, outside, IdMap::Unused(unused)) {
        Err(error) if error.kind() == Kind::Unavailable && error.hint_text() == Some(NO_IDMAP) => {
            output::warn(format_args!("{error}"));
            output::hint(NO_IDMAP);
            launch_as(sandbox, failure, outside, IdMap::Caller)
        }
        launched => launched,
    }
}

const KEEPS_ROOT: &str = "the agent keeps root's uid without any capability: start it as an ordinary user";

const NO_IDMAP: &str =
    "the agent keeps root's uid without any capability: start it as an ordinary user, or use another file system";

fn launch_as(sandbox: &Sandbox, failure: &FailurePipes, outside: &Outside, ids: IdMap) -> Result<Launched> {
    let taken = match ids {
        IdMap::Caller => None,
        IdMap::Unused(_) => Some(assemble::take(sandbox, true).map_err(unavailable::where_calls_are_missing)?),
    };
    let (sync_pipe, other_end) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).context(|| "make a pipe".into())?;
    let (line, other_line) = line::line()?;
    let wanted = &sandbox.args.limits;
    // Without any limit asked for the default of pids is the kernel's to keep without one.
    let group = if *wanted == Limits::default() { None } else { Group::make(wanted) };
    match sys::fork_into(flags(sandbox)).map_err(|error| unavailable::no_namespaces(&error))? {
        Fork::Child => {
            drop((other_end, line));
            // Never dropped: pid 1 closes every descriptor by number.
            let mut start = init::Start { sync_pipe, line: other_line, outside, ids, taken, in_group: group.is_some() };
            let code = init::main(sandbox, &mut start, failure);
            report::end(code)
        }
        Fork::Parent(init) => {
            let opened = identity::write_id_maps(init, ids)
                .and_then(|()| taken.map_or(Ok(()), |taken| idmap_mounts(sandbox, &taken, init)))
                .and_then(|()| match &group {
                    Some(group) => group.take(init).context(|| "put the sandbox into its control group".into()),
                    None => Ok(()),
                })
                .and_then(|()| sandbox.args.overlays().next().map(|_| Namespaces::of(init)).transpose())
                .and_then(|namespaces| Ok((outside.ways_in(init)?, namespaces)))
                .and_then(|ways| match rustix::io::write(&other_end, b"!") {
                    Ok(_) => Ok(ways),
                    Err(error) => Err(error).context(|| "start the sandbox".into()),
                });
            match opened {
                Ok((ways_in, namespaces)) => {
                    let group = group.map(|group| (group, wanted.memory));
                    Ok(Launched { group, ways_in, namespaces, ..Launched::new(init, other_end, line) })
                }
                Err(error) => {
                    // It reads the end of the pipe and goes.
                    drop(other_end);
                    let _ = rustix::process::waitpid(Some(init), WaitOptions::empty());
                    Err(error)
                }
            }
        }
    }
}

/// New user, mount, pid, IPC, UTS and cgroup namespaces; a network namespace when asked for.
fn flags(sandbox: &Sandbox) -> libc::c_int {
    let network = if sandbox.args.network.is_own() { libc::CLONE_NEWNET } else { 0 };
    network
        | libc::CLONE_NEWUSER
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWCGROUP
}

/// Maps the ids of the trees for the sandbox; those of the system stay as they are, for everybody to read.
fn idmap_mounts(sandbox: &Sandbox, taken: &[Taken], init: Pid) -> Result<()> {
    let path = format!("/proc/{}/ns/user", init.as_raw_pid());
    let owner = std::fs::File::open(&path).context(|| format!("open '{path}'"))?;
    let idmap = |tree: &OwnedFd, dst: &Path| {
        sys::mount_apart(tree.as_fd(), Some(owner.as_fd())).map_err(|error| {
            let (shown, why) = (visible_path(dst), reason(&error));
            if let Some(hint) = error.raw_os_error().and_then(exhausted) {
                return Error::new(format!("cannot give '{shown}' to another uid: {why}")).hint(hint);
            }
            let message = format!("the file system of '{shown}' cannot give it to another uid: {why}");
            Error::of(Kind::Unavailable, message).hint(NO_IDMAP)
        })
    };
    for (op, taken) in sandbox.ops.iter().zip(taken) {
        match (op, taken) {
            (Op::Copy { .. }, _) | (_, Taken::Nothing) => {}
            (op, Taken::Layers(layers)) => {
                idmap(&layers.lower, op.dst())?;
                idmap(&layers.layer, op.dst())?;
            }
            // Another sandbox's overlay has the ids of that one, and this one has the same.
            (Op::Overlay { .. }, Taken::Source(_)) => {}
            (op, Taken::Source(tree)) if op.is_the_callers() => idmap(tree, op.dst())?,
            (op, Taken::Source(tree)) => sys::mount_apart(tree.as_fd(), None)
                .context(|| format!("keep '{}' to the sandbox", visible_path(op.dst())))?,
        }
    }
    Ok(())
}
