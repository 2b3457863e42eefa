//! A control group for one sandbox, where this user may make one: cgroup v2, below the launcher's own group, delegated
//! (as `systemd-run --user --scope -p Delegate=yes` and container engines do).

use rustix::process::Pid;
use sbox::limits::{DEFAULT_PIDS, Limits};
use std::path::{Path, PathBuf};

/// A group that holds a sandbox; removed when this is dropped.
pub struct Group(PathBuf);

/// The controllers that the limits need.
const CONTROLLERS: [&str; 3] = ["memory", "pids", "cpu"];

impl Group {
    /// Makes a group and sets the limits in it. Nothing, where that cannot be done in full: half of the limits in one
    /// place and half in another would be told by nobody.
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

/// The launcher's own group, if groups with the controllers can be made in it.
pub fn divisible() -> Option<PathBuf> {
    let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    // A path outside of the own namespace begins with `/..`.
    let place = path.strip_prefix('/').filter(|path| !path.starts_with(".."))?;
    let mounted = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].into_iter().map(Path::new);
    let parent = mounted.map(|root| root.join(place)).find(|parent| parent.join("cgroup.subtree_control").is_file())?;
    let file = parent.join("cgroup.subtree_control");
    let given = |file: &Path| {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        CONTROLLERS.iter().all(|name| text.split_whitespace().any(|given| given == *name))
    };
    if !given(&file) {
        // Fails where the group has processes of its own, which is the usual case, and where it is not this user's.
        std::fs::write(&file, CONTROLLERS.map(|name| format!("+{name}")).join(" ")).ok()?;
    }
    given(&file).then_some(parent)
}

/// Removes the groups of launchers that were killed.
fn sweep(parent: &Path) {
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let launcher = name.strip_prefix("sbox-").and_then(|pid| pid.parse::<u32>().ok());
        if launcher.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = std::fs::remove_dir(entry.path());
        }
    }
}
