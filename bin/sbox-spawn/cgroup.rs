//! A control group for one sandbox, where this user may make one: cgroup v2, below the monitor's own group, delegated
//! (as `systemd-run --user --scope -p Delegate=yes` and container engines do).

use libsbox::model::{DEFAULT_PIDS, Limits};
use libsbox::process::Stat;
use rustix::process::Pid;
use std::path::{Path, PathBuf};

/// A group that holds a sandbox; removed when this is dropped.
pub struct Group(PathBuf);

/// The controllers that the limits need.
const CONTROLLERS: [&str; 3] = ["memory", "pids", "cpu"];

impl Group {
    /// Makes a group and sets the limits in it. Nothing, where that cannot be done in full: half of the limits in one
    /// place and half in another would go unreported.
    pub fn make(limits: &Limits) -> Option<Group> {
        let parent = divisible()?;
        sweep(&parent);
        let group = Group(parent.join(format!("sbox-{}", std::process::id())));
        std::fs::create_dir(&group.0).ok()?;
        group.limit(limits).ok()?;
        Some(group)
    }

    fn limit(&self, limits: &Limits) -> std::io::Result<()> {
        self.write("pids.max", &limits.pids.unwrap_or(DEFAULT_PIDS).to_string())?;
        if let Some(memory) = limits.memory {
            self.write("memory.max", &memory.to_string())?;
            // What is over the limit ends the sandbox, all of it, and is not swapped out.
            self.write("memory.oom.group", "1")?;
            let _ = self.write("memory.swap.max", "0");
        }
        if let Some(cpus) = limits.cpus {
            // Microseconds of each period.
            self.write("cpu.max", &format!("{} 100000", (cpus * 100_000.0) as u64))?;
        }
        Ok(())
    }

    fn write(&self, file: &str, text: &str) -> std::io::Result<()> {
        std::fs::write(self.0.join(file), text)
    }

    /// Puts the sandbox in, by its pid 1, before it has done anything.
    pub fn take(&self, init: Pid) -> std::io::Result<()> {
        self.write("cgroup.procs", &init.as_raw_pid().to_string())
    }

    /// Whether the kernel ended the sandbox because it used too much memory.
    pub fn ran_out_of_memory(&self) -> bool {
        let events = std::fs::read_to_string(self.0.join("memory.events")).unwrap_or_default();
        events.lines().any(|line| line.strip_prefix("oom_kill ").is_some_and(|count| count != "0"))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// Whether a sandbox that starts now would get a group of its own.
pub fn is_delegated() -> bool {
    division().is_some()
}

/// The group of the monitor, if it has the controllers and this user may divide it.
fn own() -> Option<PathBuf> {
    let text = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    // A path outside of the own namespace begins with `/..`.
    let place = path.strip_prefix('/').filter(|path| !path.starts_with(".."))?;
    let mounted = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].into_iter().map(Path::new);
    let group = mounted.map(|root| root.join(place)).find(|group| group.join("cgroup.subtree_control").is_file())?;
    is_ours(&group).then_some(group)
}

/// Whether a group has the controllers, and this user may move processes into it and divide it.
fn is_ours(group: &Path) -> bool {
    let writable = |file: &str| rustix::fs::access(group.join(file), rustix::fs::Access::WRITE_OK).is_ok();
    has(&group.join("cgroup.controllers")) && writable("cgroup.procs") && writable("cgroup.subtree_control")
}

/// Whether a list in a file has all the controllers.
fn has(file: &Path) -> bool {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    CONTROLLERS.iter().all(|name| text.split_whitespace().any(|given| given == *name))
}

/// Where those go who have to leave a group that is divided.
const LEAF: &str = "launcher";

/// The group below which one for the sandbox can be made, and who has to leave it first. A group with controllers for those
/// below it may hold no process itself (cgroups(7), "no internal processes"). The launcher moves into one below, with those
/// who started it: a shell, `sbox run -d`. Where there is anybody else, nothing is divided.
fn division() -> Option<(PathBuf, Vec<i32>)> {
    let group = own()?;
    let parent = group.parent().filter(|_| group.ends_with(LEAF));
    // It was divided by an earlier start.
    if let Some(parent) = parent.filter(|parent| has(&parent.join(SUBTREE)) && is_ours(parent)) {
        return Some((parent.to_owned(), Vec::new()));
    }
    if has(&group.join(SUBTREE)) {
        return Some((group, Vec::new()));
    }
    let members = std::fs::read_to_string(group.join("cgroup.procs")).ok()?;
    let members: Vec<i32> = members.lines().map(str::parse).collect::<Result<_, _>>().ok()?;
    let callers = callers();
    members.iter().all(|member| callers.contains(member)).then_some((group, members))
}

const SUBTREE: &str = "cgroup.subtree_control";

/// This process and those above it.
fn callers() -> Vec<i32> {
    let parent = |pid: &i32| Stat::of(*pid).map(|stat| stat.parent).filter(|parent| *parent > 0);
    std::iter::successors(Some(std::process::id() as i32), parent).collect()
}

/// Divides it.
fn divisible() -> Option<PathBuf> {
    let (group, leave) = division()?;
    if !leave.is_empty() {
        let leaf = group.join(LEAF);
        match std::fs::create_dir(&leaf) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return None,
            _ => {}
        }
        for member in leave {
            // It may have ended meanwhile; whoever did not move is in the way of the next line.
            let _ = std::fs::write(leaf.join("cgroup.procs"), member.to_string());
        }
        let wanted = CONTROLLERS.map(|name| format!("+{name}")).join(" ");
        std::fs::write(group.join(SUBTREE), &wanted).ok()?;
    }
    has(&group.join(SUBTREE)).then_some(group)
}

/// Removes the groups of monitors that were killed.
fn sweep(parent: &Path) {
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let launcher = name.strip_prefix("sbox-").and_then(|pid| pid.parse::<u32>().ok());
        if launcher.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = std::fs::remove_dir(entry.path());
        }
    }
}
