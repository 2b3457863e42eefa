//! The sandboxes that have the terminal, stopped while a person is asked.
//!
//! Its first process is stopped before the others and goes on after them: it would report the command as stopped, and the
//! shell that started the run would take the terminal back.

use libsbox::process::{Stat, Table};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long stopping may take. What waits for a disk stops later, and reads no terminal meanwhile.
const PATIENCE: Duration = Duration::from_secs(2);

/// What was stopped. It goes on when this is dropped.
pub struct Frozen(Vec<Pid>);

impl Frozen {
    /// Stops everything that runs inside of the sandbox of a monitor, and of every other that has the same terminal, and waits
    /// until it has stopped: a program that was reading the terminal takes what is typed until it gets the signal. What was
    /// started meanwhile is stopped in turn.
    pub fn all(monitor: i32) -> Frozen {
        let (mut frozen, start) = (Frozen(Vec::new()), Instant::now());
        loop {
            let inside = running_inside(monitor);
            if inside.is_empty() || start.elapsed() > PATIENCE {
                return frozen;
            }
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

/// What runs in these sandboxes, each with its number in the namespace below ours: the first one of each is 1, and what waits
/// for a command that joined one is 0. What was stopped before is not among it, and is to stay so.
fn running_inside(monitor: i32) -> Vec<(u64, i32)> {
    let (table, depth) = (Table::read(), own_depth());
    let number = |pid: i32| numbers(&std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?)?.get(depth).copied();
    let nested: HashMap<i32, u64> = table.pids().filter_map(|pid| Some((pid, number(pid)?))).collect();
    let terminal = Stat::of(std::process::id() as i32).map(|stat| stat.terminal).filter(|terminal| *terminal != (0, 0));
    let has_it = |pid: &i32| terminal.is_some_and(|terminal| has_terminal(*pid, terminal));
    let begin: BTreeSet<i32> = table.tree(monitor).into_iter().chain(nested.keys().copied().filter(has_it)).collect();
    // A descriptor goes from one to the other within a sandbox, whoever has it at this moment.
    let namespace = |pid: i32| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let namespaces: HashSet<PathBuf> =
        begin.iter().filter(|pid| nested.contains_key(pid)).filter_map(|pid| namespace(*pid)).collect();
    let tops = nested.keys().filter(|pid| namespace(**pid).is_some_and(|own| namespaces.contains(&own)));
    let mut all: BTreeSet<i32> =
        tops.chain(&begin).flat_map(|pid| table.tree(*pid)).filter(|pid| nested.contains_key(pid)).collect();
    // An ordinary user cannot read the namespace of a first process. It is above all others, whoever started them.
    let above = |pid: &i32| Stat::of(*pid).map(|stat| stat.parent).filter(|parent| nested.contains_key(parent));
    let firsts: Vec<i32> = all.iter().flat_map(|pid| std::iter::successors(above(pid), above)).collect();
    all.extend(firsts);
    // It would say that its command was stopped.
    let waits_for = |pid: &i32| {
        let parent = Stat::of(*pid)?.parent;
        let is_ours = std::fs::read_to_string(format!("/proc/{parent}/comm")).ok()?.trim_end() == "sbox-spawn";
        (nested.get(pid) != Some(&1) && !nested.contains_key(&parent) && parent != monitor && is_ours)
            .then_some((0, parent))
    };
    let joined: BTreeSet<(u64, i32)> = all.iter().filter_map(waits_for).collect();
    let mut inside: Vec<(u64, i32)> = joined.into_iter().chain(all.iter().map(|pid| (nested[pid], *pid))).collect();
    inside.retain(|(_, pid)| !is_still(*pid));
    inside.sort_unstable();
    inside
}

/// Whether a process has this terminal, as its own or as an open file.
fn has_terminal(pid: i32, terminal: (u32, u32)) -> bool {
    let is_it = |entry: std::fs::DirEntry| {
        let device = std::fs::metadata(entry.path()).map_or(0, |file| file.rdev());
        (rustix::fs::major(device), rustix::fs::minor(device)) == terminal
    };
    Stat::of(pid).is_some_and(|stat| stat.terminal == terminal)
        || std::fs::read_dir(format!("/proc/{pid}/fd")).is_ok_and(|fds| fds.flatten().any(is_it))
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
