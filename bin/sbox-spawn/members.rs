//! The processes of a sandbox and what they use, from /proc.

use std::path::Path;

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

fn pids() -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The parent of a process: the fourth field in proc_pid_stat(5).
fn parent(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()
}

/// Those directly or indirectly below `top`.
fn descendants(top: i32, pids: &[i32]) -> Vec<i32> {
    let parents: Vec<(i32, i32)> = pids.iter().filter_map(|pid| Some((*pid, parent(*pid)?))).collect();
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

/// Processes and threads: the twentieth field in proc_pid_stat(5) counts the threads.
pub fn tasks(pids: &[i32]) -> u64 {
    let threads = |pid: &i32| -> Option<u64> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit(')').next()?.split_whitespace().nth(17)?.parse().ok()
    };
    pids.iter().map(|pid| threads(pid).unwrap_or(1)).sum()
}

/// Bytes of memory: of the processes, and of files in memory that are no process's.
pub fn memory(pids: &[i32]) -> u64 {
    let page = rustix::param::page_size() as u64;
    // Resident less shared with files (statm fields 2 and 3): what only this process holds.
    let own = |pid: &i32| -> Option<u64> {
        let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
        let mut fields = statm.split_whitespace().skip(1).map(|field| field.parse::<u64>().unwrap_or(0));
        Some((fields.next()?.saturating_sub(fields.next()?)) * page)
    };
    pids.iter().filter_map(own).sum::<u64>()
        + ["/dev/shm", "/tmp"].iter().map(|place| in_memory(Path::new(place))).sum::<u64>()
}

/// Bytes in a file system that is in memory; nothing if it is another kind, or the host's.
fn in_memory(place: &Path) -> u64 {
    const TMPFS: u64 = 0x0102_1994; // linux/magic.h
    match rustix::fs::statfs(place) {
        Ok(stat) if stat.f_type as u64 == TMPFS && rustix::process::getpid().is_init() => {
            (stat.f_blocks - stat.f_bfree) * stat.f_bsize as u64
        }
        _ => 0,
    }
}
