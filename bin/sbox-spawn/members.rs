//! The processes of a sandbox and what they use, from /proc.

use libsbox::process::{self, Stat, pids};
use std::path::{Path, PathBuf};

/// Which processes belong to a sandbox.
#[derive(Debug, Clone, Copy)]
pub enum Members {
    /// All that this process sees, but itself: it is pid 1.
    Everybody,
    /// Its descendants.
    Descendants,
}

impl Members {
    pub fn all(self) -> Vec<i32> {
        let own = rustix::process::getpid().as_raw_pid();
        let pids = pids();
        match self {
            Members::Everybody => pids.into_iter().filter(|pid| *pid != own).collect(),
            Members::Descendants => descendants(own, &pids),
        }
    }
}

/// Those directly or indirectly below `top`.
fn descendants(top: i32, pids: &[i32]) -> Vec<i32> {
    let parents: Vec<(i32, i32)> = pids.iter().filter_map(|pid| Some((*pid, Stat::of(*pid)?.parent))).collect();
    let mut found = vec![top];
    let mut at = 0;
    while at < found.len() {
        let above = found[at];
        found.extend(parents.iter().filter(|(_, parent)| *parent == above).map(|(pid, _)| *pid));
        at += 1;
    }
    found.remove(0);
    found
}

/// Processes and threads of a user, all over the host.
pub fn tasks_of_user(uid: u32) -> u64 {
    let is_theirs = |pid: &i32| {
        std::fs::metadata(format!("/proc/{pid}"))
            .is_ok_and(|metadata| std::os::unix::fs::MetadataExt::uid(&metadata) == uid)
    };
    tasks(&pids().into_iter().filter(is_theirs).collect::<Vec<_>>())
}

/// Processes and threads.
pub fn tasks(pids: &[i32]) -> u64 {
    pids.iter().map(|pid| Stat::of(*pid).map_or(1, |stat| stat.threads)).sum()
}

/// Bytes of memory: of the processes, of System V segments, and of files in memory. Asked whether it is more than `most`:
/// what processes share is only counted apart where it matters, since that takes the kernel long.
/// `files` are the places of file systems in memory that are the sandbox's own.
pub fn memory(pids: &[i32], files: &[PathBuf], most: u64) -> u64 {
    let parts: Vec<(i32, u64, u64)> =
        pids.iter().filter_map(|pid| process::resident(*pid).map(|(own, shared)| (*pid, own, shared))).collect();
    let files: u64 = files.iter().map(|place| in_memory(place)).sum();
    let rest = parts.iter().map(|(_, own, _)| own).sum::<u64>() + files + segments();
    let counted_often = rest + parts.iter().map(|(_, _, shared)| shared).sum::<u64>();
    if counted_often <= most {
        return counted_often;
    }
    let share = |(pid, _, shared): &(i32, u64, u64)| if *shared == 0 { 0 } else { fair_share(*pid).unwrap_or(*shared) };
    rest + parts.iter().map(share).sum::<u64>()
}

/// Of shared memory the part that falls to this process (proc_pid_smaps_rollup).
fn fair_share(pid: i32) -> Option<u64> {
    process::field(&std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?, "Pss_Shmem:")
}

/// System V segments that no process has attached; the others are counted with those that have (sysvipc(7): the seventh
/// field of a line is the number of attachments, the fifteenth the resident size).
fn segments() -> u64 {
    if !rustix::process::getpid().is_init() {
        return 0;
    }
    let text = std::fs::read_to_string("/proc/sysvipc/shm").unwrap_or_default();
    let size = |line: &str| {
        let fields: Vec<u64> = line.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
        (fields.get(6) == Some(&0)).then(|| fields.get(14).copied()).flatten()
    };
    text.lines().skip(1).filter_map(size).sum()
}

/// What an inode of a tmpfs takes beside its content, about: shmem_inode_info and a dentry of Linux 6.x are 0.7 and 0.2 kB.
const INODE: u64 = 1024;

/// Bytes in a file system that is in memory, and of its inodes; nothing if something else is mounted at its place.
fn in_memory(place: &Path) -> u64 {
    const TMPFS: u64 = 0x0102_1994; // linux/magic.h
    match rustix::fs::statfs(place) {
        Ok(stat) if stat.f_type as u64 == TMPFS => {
            let blocks = stat.f_blocks.saturating_sub(stat.f_bfree) * stat.f_bsize as u64;
            blocks + stat.f_files.saturating_sub(stat.f_ffree) * INODE
        }
        _ => 0,
    }
}
