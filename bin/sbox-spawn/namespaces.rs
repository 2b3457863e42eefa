//! The namespaces of a sandbox, and who owns what in them.
//!
//! Ordinarily the command keeps its caller's uid and gid. Real root is another matter: many files of the kernel's ask only
//! whether somebody *is* root. Started by root, the command gets a uid that nobody on the host has, and the trees it works
//! on are mounted so that what is root's on disk is its own (mount_setattr(2), `MOUNT_ATTR_IDMAP`): inside it is uid 0, to
//! the kernel it is a stranger.

use crate::args::Level;
use crate::assemble::{self, Trees};
use crate::cgroup::Group;
use crate::network::Outside;
use crate::{Exit, Sandbox, init, limits, probe};
use libsbox::error::{Context, Error, Kind, Result};
use libsbox::escape;
use libsbox::limits::Limits;
use libsbox::output;
use libsbox::sys::{self, Fork};
use rustix::fd::{AsFd, OwnedFd};
use rustix::process::{Pid, WaitOptions};

/// The first of the ids for sandboxes that root starts; the launcher's pid is added. systemd's list of uid ranges
/// (<https://systemd.io/UIDS-GIDS/>) has this one as unused, and no pid is larger than 2^22.
const FIRST_STRANGER: u32 = 1_900_000_000;

/// Who the command is to the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// The caller.
    Caller,
    /// An id that nobody on the host has.
    Stranger(u32),
}

/// A sandbox that is being made or runs. Its end of the pipe must live as long as the launcher.
pub struct Launched {
    /// Pid 1 of the sandbox, as the launcher sees it.
    pub init: Pid,
    _alive: OwnedFd,
    /// The control group that it is in, and its memory limit.
    group: Option<(Group, Option<u64>)>,
    /// What leads out of its network and into it.
    outside: Option<Outside>,
    /// Its user and network namespaces, where ports lead in.
    ways_in: Option<(OwnedFd, OwnedFd)>,
}

impl Launched {
    pub fn new(init: Pid, alive: OwnedFd) -> Launched {
        Launched { init, _alive: alive, group: None, outside: None, ways_in: None }
    }

    /// Once it stands: opens what leads in.
    pub fn lead_in(&mut self) -> Result<()> {
        match (&mut self.outside, self.ways_in.take()) {
            (Some(outside), Some(ways)) => outside.lead_in(ways),
            _ => Ok(()),
        }
    }

    /// After its end with `code`: says so if the kernel ended it for using too much.
    pub fn verdict(&self, code: u8) -> u8 {
        if let Some((group, Some(memory))) = &self.group
            && group.ran_out_of_memory()
        {
            limits::say(&limits::over_memory(*memory));
        }
        code
    }
}

/// Makes the namespaces and starts init in them.
pub fn launch(sandbox: &Sandbox, exit: &Exit) -> Result<Launched> {
    let outside = Outside::prepare(&sandbox.args.network)?;
    let mut launched = launch_beside(sandbox, exit, &outside)?;
    launched.outside = Some(outside);
    Ok(launched)
}

fn launch_beside(sandbox: &Sandbox, exit: &Exit, outside: &Outside) -> Result<Launched> {
    if !is_real_root() {
        return launch_as(sandbox, exit, outside, Owner::Caller);
    }
    // Root's supplementary groups (disk, docker) would open the host's files to the agent.
    sys::leave_all_groups().context(|| "leave root's groups".into())?;
    let stranger = FIRST_STRANGER + std::process::id();
    give_pipes(stranger);
    match launch_as(sandbox, exit, outside, Owner::Stranger(stranger)) {
        Err(error) if error.kind() == Kind::Unavailable && error.hint_text() == Some(NO_IDMAP) => {
            output::warn(format_args!("{error}"));
            output::hint(NO_IDMAP);
            launch_as(sandbox, exit, outside, Owner::Caller)
        }
        launched => launched,
    }
}

const NO_IDMAP: &str =
    "the agent keeps root's uid without any capability: start it as an ordinary user, or use another file system";

/// The file system that pipes without a name are on (linux/magic.h).
const PIPEFS: u32 = 0x5049_5045;

/// Standard streams that are pipes become the stranger's, so that `/dev/stdout` can be opened in a script. Not files and
/// terminals: those outlive the sandbox.
fn give_pipes(stranger: u32) {
    for stream in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
        if rustix::fs::fstatfs(stream).is_ok_and(|system| system.f_type as u32 == PIPEFS) {
            // A pipe that is already another sandbox's stays that one's.
            let _ = rustix::fs::fchown(stream, Some(rustix::fs::Uid::from_raw(stranger)), None);
        }
    }
}

/// Whether uid 0 of this process is the machine's, and not that of a container.
pub fn is_real_root() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    rustix::process::geteuid().is_root() && map.split_whitespace().eq(["0", "0", "4294967295"])
}

fn launch_as(sandbox: &Sandbox, exit: &Exit, outside: &Outside, owner: Owner) -> Result<Launched> {
    let trees = match owner {
        Owner::Caller => None,
        Owner::Stranger(_) => Some(assemble::take(&sandbox.ops)?),
    };
    let (gate, other_end) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).context(|| "make a pipe".into())?;
    let wanted = &sandbox.args.limits;
    // Without any limit asked for the default of pids is the kernel's to keep without one.
    let group = if *wanted == Limits::default() { None } else { Group::make(wanted) };
    match sys::fork_into(flags(sandbox)).map_err(|error| probe::no_namespaces(&error))? {
        Fork::Child => {
            drop(other_end);
            // Never dropped: pid 1 closes every descriptor by number.
            let mut start = init::Start { gate, outside, owner, trees, in_group: group.is_some() };
            let code = init::main(sandbox, &mut start, exit);
            crate::end(code)
        }
        Fork::Parent(init) => {
            let opened = map_ids(init, owner)
                .and_then(|()| trees.map_or(Ok(()), |trees| give(sandbox, &trees, init)))
                .and_then(|()| match &group {
                    Some(group) => group.take(init).context(|| "put the sandbox into its control group".into()),
                    None => Ok(()),
                })
                .and_then(|()| outside.ways_in(init))
                .and_then(|ways| match rustix::io::write(&other_end, b"!") {
                    Ok(_) => Ok(ways),
                    Err(error) => Err(error).context(|| "start the sandbox".into()),
                });
            match opened {
                Ok(ways_in) => {
                    let group = group.map(|group| (group, wanted.memory));
                    Ok(Launched { group, ways_in, ..Launched::new(init, other_end) })
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

/// One id inside: the caller's, which outside is the caller's or a stranger's.
fn map_ids(init: Pid, owner: Owner) -> Result<()> {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let outside = |own: u32| if let Owner::Stranger(id) = owner { id } else { own };
    let write = |file: &str, text: String| {
        let path = format!("/proc/{}/{file}", init.as_raw_pid());
        std::fs::write(path, text).map_err(|error| probe::no_namespaces(&error))
    };
    write("setgroups", "deny".into())?;
    write("uid_map", format!("{uid} {} 1", outside(uid)))?;
    write("gid_map", format!("{gid} {} 1", outside(gid)))
}

/// Gives the trees to the stranger; those of the system stay as they are, for everybody to read.
fn give(sandbox: &Sandbox, trees: &Trees, init: Pid) -> Result<()> {
    let path = format!("/proc/{}/ns/user", init.as_raw_pid());
    let owner = std::fs::File::open(&path).context(|| format!("open '{path}'"))?;
    for (op, tree) in sandbox.ops.iter().zip(trees) {
        let Some(tree) = tree else { continue };
        let shown = escape::visible_path(op.dst());
        if matches!(op, crate::op::Op::Copy { .. }) {
            continue;
        }
        if op.is_the_callers() {
            sys::mount_apart(tree.as_fd(), Some(owner.as_fd())).map_err(|error| {
                let why = libsbox::error::reason(&error);
                Error::of(
                    Kind::Unavailable,
                    format!("the file system of '{shown}' cannot give it to another uid: {why}"),
                )
                .hint(NO_IDMAP)
            })?;
        } else {
            sys::mount_apart(tree.as_fd(), None).context(|| format!("keep '{shown}' to the sandbox"))?;
        }
    }
    Ok(())
}

/// In the child: becomes the owner. Its ids are mapped now, and it may take them since it has every capability here.
pub fn take_ids(owner: Owner) -> Result<()> {
    if owner == Owner::Caller {
        return Ok(());
    }
    let shown = || String::from("take the sandbox's uid");
    let (uid, gid) = (rustix::process::Uid::ROOT, rustix::process::Gid::ROOT);
    rustix::thread::set_thread_res_gid(gid, gid, gid).context(shown)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).context(shown)
}

/// The words for a level that is weaker than a namespace, once, where `auto` had to take it.
pub fn warn_of(level: Level, why: &Error) {
    let lost = match level {
        Level::Namespace => return,
        Level::Landlock => "files of the host that were not given are denied, not absent; other processes are visible",
        Level::Env => "NOTHING is enforced: the command has all of your rights",
    };
    output::warn(format_args!("isolation level '{}' only: {lost} ({why})", level.name()));
    output::hint(why.hint_text().unwrap_or("sbox doctor says what this host lacks"));
}
