//! Who the command is to the kernel.
//!
//! Ordinarily it keeps its caller's uid and gid. Real root is another matter: many files of the kernel's ask only whether
//! somebody *is* root. Started by root, the command gets a uid that nobody on the host has, and the trees it works on are
//! mounted so that what is root's on disk is its own (mount_setattr(2), `MOUNT_ATTR_IDMAP`): inside it is uid 0, to the
//! kernel its uid is an unused one.

use crate::unavailable;
use libsbox::error::{Context, Result};
use rustix::process::{DumpableBehavior, Gid, Pid, Uid};

/// The first of the ids for sandboxes that root starts; the monitor's pid is added. systemd's list of uid ranges
/// (<https://systemd.io/UIDS-GIDS/>) has this one as unused, and no pid is larger than 2^22.
const FIRST_UNUSED: u32 = 1_900_000_000;

/// How the one id of the sandbox is mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdMap {
    /// To the caller's.
    Caller,
    /// To an id that nobody on the host has.
    Unused(u32),
}

/// The one that this process's sandbox gets.
pub fn unused_id() -> u32 {
    FIRST_UNUSED + std::process::id()
}

/// The uid that the one id of another sandbox is to the kernel.
pub fn uid_of_sandbox(process: i32) -> Option<u32> {
    let map = std::fs::read_to_string(format!("/proc/{process}/uid_map")).ok()?;
    map.split_whitespace().nth(1)?.parse().ok()
}

/// The file system that pipes without a name are on (linux/magic.h).
const PIPEFS: u32 = 0x5049_5045;

/// Standard streams that are pipes become those of the unused id, so that `/dev/stdout` can be opened in a script. Not files and
/// terminals: those outlive the sandbox.
pub fn chown_pipes(id: u32) {
    for stream in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
        if rustix::fs::fstatfs(stream).is_ok_and(|system| system.f_type as u32 == PIPEFS) {
            // A pipe that is already another sandbox's stays that one's.
            let _ = rustix::fs::fchown(stream, Some(Uid::from_raw(id)), None);
        }
    }
}

/// Whether uid 0 of this process is the machine's, and not that of a container.
pub fn is_real_root() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    rustix::process::geteuid().is_root() && map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// One id inside: the caller's, which outside is the caller's or an unused one.
pub fn write_id_maps(init: Pid, ids: IdMap) -> Result<()> {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let outside = |own: u32| if let IdMap::Unused(id) = ids { id } else { own };
    let write = |file: &str, text: String| {
        let path = format!("/proc/{}/{file}", init.as_raw_pid());
        std::fs::write(path, text).map_err(|error| unavailable::no_namespaces(&error))
    };
    write("setgroups", "deny".into())?;
    write("uid_map", format!("{uid} {} 1", outside(uid)))?;
    write("gid_map", format!("{gid} {} 1", outside(gid)))
}

/// In the child: takes the mapped id. It is mapped by now, and it may take them since it has every capability here.
pub fn set_ids(ids: IdMap) -> Result<()> {
    if ids == IdMap::Caller {
        return Ok(());
    }
    let shown = || String::from("take the sandbox's uid");
    let (uid, gid) = (Uid::ROOT, Gid::ROOT);
    rustix::thread::set_thread_res_gid(gid, gid, gid).context(shown)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).context(shown)
}

/// A sandbox maps one id, and gives it to whoever enters; root's is another one inside.
pub fn set_mapped_ids() -> Result<()> {
    let shown = || String::from("take the sandbox's uid");
    let map = std::fs::read_to_string("/proc/self/uid_map").context(shown)?;
    let inside: u32 = map.split_whitespace().next().and_then(|id| id.parse().ok()).unwrap_or(0);
    let map = std::fs::read_to_string("/proc/self/gid_map").context(shown)?;
    let group: u32 = map.split_whitespace().next().and_then(|id| id.parse().ok()).unwrap_or(0);
    let (uid, gid) = (Uid::from_raw(inside), Gid::from_raw(group));
    rustix::thread::set_thread_res_gid(gid, gid, gid).context(shown)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).context(shown)
}

/// Whoever is inside has the same uid: nobody looks into a process that still holds what the host gave it.
pub fn set_nondumpable() -> Result<()> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .context(|| "keep others from looking into this process".into())
}
