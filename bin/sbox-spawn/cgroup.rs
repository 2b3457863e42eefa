//! A control group for one sandbox, where this user may make one: cgroup v2, below the monitor's own group, delegated
//! (as `systemd-run --user --scope -p Delegate=yes` and container engines do).

use libsbox::model::{DEFAULT_PIDS, Limits};
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

/// The group of the monitor, and whether it could be divided: it has the controllers, and is this user's.
pub fn own() -> Option<(PathBuf, bool)> {
    let text = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    // A path outside of the own namespace begins with `/..`.
    let place = path.strip_prefix('/').filter(|path| !path.starts_with(".."))?;
    let mounted = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].into_iter().map(Path::new);
    let group = mounted.map(|root| root.join(place)).find(|group| group.join("cgroup.subtree_control").is_file())?;
    let writable = |file: &str| rustix::fs::access(group.join(file), rustix::fs::Access::WRITE_OK).is_ok();
    let could =
        has(&group.join("cgroup.controllers")) && writable("cgroup.procs") && writable("cgroup.subtree_control");
    Some((group, could))
}

/// Whether a list in a file has all the controllers.
fn has(file: &Path) -> bool {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    CONTROLLERS.iter().all(|name| text.split_whitespace().any(|given| given == *name))
}

/// The group below which one for the sandbox can be made. A group with controllers for those below it may hold no process
/// itself (cgroups(7), "no internal processes"): a launcher that is alone in its group moves into one below.
fn divisible() -> Option<PathBuf> {
    let (group, _) = own().filter(|(_, could)| *could)?;
    let file = group.join("cgroup.subtree_control");
    let wanted = CONTROLLERS.map(|name| format!("+{name}")).join(" ");
    if !has(&file) && std::fs::write(&file, &wanted).is_err() {
        let own = std::process::id().to_string();
        let members = std::fs::read_to_string(group.join("cgroup.procs")).ok()?;
        if members.split_whitespace().ne([own.as_str()]) {
            return None;
        }
        let leaf = group.join("launcher");
        match std::fs::create_dir(&leaf) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return None,
            _ => {}
        }
        std::fs::write(leaf.join("cgroup.procs"), own).ok()?;
        std::fs::write(&file, &wanted).ok()?;
    }
    has(&file).then_some(group)
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
