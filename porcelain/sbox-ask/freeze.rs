//! The sandbox, stopped while a person is asked.
//!
//! Its first process is stopped before the others and goes on after them: it would report the command as stopped, and the
//! shell that started the run would take the terminal back.

use libsbox::process::Table;
use rustix::process::{Pid, Signal, kill_process};

/// What was stopped. It goes on when this is dropped.
pub struct Frozen(Vec<Pid>);

impl Frozen {
    /// Stops everything that runs inside of the sandbox of a monitor.
    pub fn all(monitor: i32) -> Frozen {
        let mut inside: Vec<(u64, i32)> =
            Table::read().tree(monitor).into_iter().filter_map(|pid| Some((number_inside(pid)?, pid))).collect();
        inside.sort_unstable();
        let pids = inside.into_iter().filter_map(|(_, pid)| Pid::from_raw(pid));
        Frozen(pids.filter(|pid| kill_process(*pid, Signal::STOP).is_ok()).collect())
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        for pid in self.0.iter().rev() {
            let _ = kill_process(*pid, Signal::CONT);
        }
    }
}

/// The number of a process in the namespace below ours, where the first one is 1; nothing for what is not in one, or is
/// stopped already and is to stay so.
fn number_inside(pid: i32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    if status.lines().any(|line| line.starts_with("State:") && line.contains("T (")) {
        return None;
    }
    numbers(&status)?.get(own_depth()).copied()
}

fn numbers(status: &str) -> Option<Vec<u64>> {
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    Some(line.split_whitespace().filter_map(|number| number.parse().ok()).collect())
}

fn own_depth() -> usize {
    let own = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    numbers(&own).map_or(1, |numbers| numbers.len())
}
