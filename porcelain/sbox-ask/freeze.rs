//! The sandbox, stopped while a person is asked.
//!
//! Its first process is stopped before the others and goes on after them: it would report the command as stopped, and the
//! shell that started the run would take the terminal back.

use libsbox::process::Table;
use rustix::process::{Pid, Signal, kill_process};
use std::time::{Duration, Instant};

/// How long stopping may take. What waits for a disk stops later, and reads no terminal meanwhile.
const PATIENCE: Duration = Duration::from_secs(2);

/// What was stopped. It goes on when this is dropped.
pub struct Frozen(Vec<Pid>);

impl Frozen {
    /// Stops everything that runs inside of the sandbox of a monitor, and waits until it has stopped: a program that was
    /// reading the terminal takes what is typed until it gets the signal. What was started meanwhile is stopped in turn.
    pub fn all(monitor: i32) -> Frozen {
        let (mut frozen, start) = (Frozen(Vec::new()), Instant::now());
        loop {
            let mut inside: Vec<(u64, i32)> =
                Table::read().tree(monitor).into_iter().filter_map(|pid| Some((number_inside(pid)?, pid))).collect();
            if inside.is_empty() || start.elapsed() > PATIENCE {
                return frozen;
            }
            inside.sort_unstable();
            for pid in inside.into_iter().filter_map(|(_, pid)| Pid::from_raw(pid)) {
                if !frozen.0.contains(&pid) && kill_process(pid, Signal::STOP).is_ok() {
                    frozen.0.push(pid);
                }
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        for pid in self.0.iter().rev() {
            let _ = kill_process(*pid, Signal::CONT);
        }
    }
}

/// The number of a process in the namespace below ours, where the first one is 1; nothing for what is not in one, has ended,
/// or is stopped: what was stopped before is to stay so.
fn number_inside(pid: i32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    (!is_still(pid)).then(|| numbers(&status)?.get(own_depth()).copied())?
}

/// Whether no thread of a process runs.
fn is_still(pid: i32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return true };
    threads.flatten().all(|thread| {
        let status = std::fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        let state = status.lines().find_map(|line| line.strip_prefix("State:"));
        state.is_none_or(|state| state.trim_start().starts_with(['T', 't', 'Z', 'X']))
    })
}

fn numbers(status: &str) -> Option<Vec<u64>> {
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    Some(line.split_whitespace().filter_map(|number| number.parse().ok()).collect())
}

fn own_depth() -> usize {
    let own = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    numbers(&own).map_or(1, |numbers| numbers.len())
}
