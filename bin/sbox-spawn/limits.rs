//! What the sandbox may use. A control group enforces it where this user was given one to divide (cgroup v2, delegated);
//! otherwise the kernel's limits of a process do, and pid 1 looks at the whole now and then.

use crate::args::Level;
use crate::members::{self, Members};
use libsbox::error::{Context, Result};
use libsbox::model::{DEFAULT_PIDS, Limits};
use libsbox::output;
use rustix::process::{Resource, Rlimit};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Between two looks at the sandbox's processes. A process that takes memory as fast as it can takes some hundred
/// megabytes in that time.
const LOOK: Duration = Duration::from_millis(50);

/// Writable memory that one process can have, touched or not, beside four times the memory limit: what it could take
/// between two looks ends somewhere. Far from what is meant: Node.js reserves what it never touches, OpenClaw's gateway
/// 3.9 GB when it uses 0.7, and with 4 GB of room its next thread was the end of it.
const SLACK: u64 = 16 << 30;

/// Limits of each process, inherited by all: set in the last process before the command.
pub fn apply(limits: &Limits, level: Level) -> Result<()> {
    set(Resource::Core, 0)?;
    // A real-time process could keep every other one from running.
    set(Resource::Rtprio, 0)?;
    if let Some(files) = limits.open_files {
        set(Resource::Nofile, files)?;
    }
    if let Some(size) = limits.file_size {
        set(Resource::Fsize, size)?;
    }
    if let Some(memory) = limits.memory {
        set(Resource::Data, memory.saturating_mul(4).saturating_add(SLACK))?;
    }
    // In its own user namespace only the sandbox's processes count (Linux 5.14). Elsewhere all of the user's do.
    let others = match level {
        Level::Namespace => 0,
        _ => members::tasks_of_user(rustix::process::getuid().as_raw()),
    };
    set(Resource::Nproc, others + limits.pids.unwrap_or(DEFAULT_PIDS))?;
    match limits.cpus {
        Some(cpus) => pin_to_processors(cpus.ceil() as usize),
        None => Ok(()),
    }
}

/// Never raises what the caller has.
fn set(resource: Resource, to: u64) -> Result<()> {
    let now = rustix::process::getrlimit(resource);
    let least = |limit: Option<u64>| Some(limit.map_or(to, |limit| limit.min(to)));
    let new = Rlimit { current: least(now.current.or(now.maximum)), maximum: least(now.maximum) };
    rustix::process::setrlimit(resource, new).context(|| format!("limit {resource:?}"))
}

/// Keeps the process on as many processors, of those that it may use.
fn pin_to_processors(count: usize) -> Result<()> {
    let shown = || String::from("limit the processors");
    let mut set = rustix::thread::sched_getaffinity(None).context(shown)?;
    let usable: Vec<usize> = (0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect();
    // Sandboxes that start one after the other do not all get the first ones.
    let first = std::process::id() as usize % usable.len().max(1);
    let taken: Vec<usize> = usable.iter().cycle().skip(first).take(count.min(usable.len())).copied().collect();
    for cpu in usable.iter().filter(|cpu| !taken.contains(cpu)) {
        set.unset(*cpu);
    }
    rustix::thread::sched_setaffinity(None, &set).context(shown)
}

/// Looks at the whole sandbox now and then.
pub struct Watch {
    limits: Limits,
    members: Members,
    /// The sandbox's own file systems in memory.
    files: Vec<PathBuf>,
    end: Option<Instant>,
    /// Looks in a row at which there were as many processes as there may be.
    crowded: u32,
}

impl Watch {
    /// `by_cgroup`: the kernel counts memory and processes itself.
    pub fn new(limits: &Limits, members: Members, files: Vec<PathBuf>, by_cgroup: bool) -> Watch {
        let mut limits = limits.clone();
        if by_cgroup {
            (limits.memory, limits.pids) = (None, None);
        }
        let end = limits.time.map(|seconds| Instant::now() + Duration::from_secs(seconds));
        Watch { limits, members, files, end, crowded: 0 }
    }

    /// How long pid 1 may sleep; for ever where nothing is to be looked at.
    pub fn pause(&self) -> Option<Duration> {
        let look = (self.limits.memory.is_some() || self.limits.pids.is_some()).then_some(LOOK);
        let end = self.end.map(|end| end.saturating_duration_since(Instant::now()));
        look.into_iter().chain(end).min()
    }

    /// That it is over a limit, in words.
    pub fn words(&self, limit: Exceeded) -> String {
        limit.words(&self.limits)
    }

    /// Over which limit the sandbox is, if it must end for that.
    pub fn exceeded(&mut self) -> Option<Exceeded> {
        if self.end.is_some_and(|end| Instant::now() >= end) {
            return Some(Exceeded::Time);
        }
        if let Some(memory) = self.limits.memory
            && members::memory(&self.members.all(), &self.files, memory) > memory
        {
            return Some(Exceeded::Memory);
        }
        let most = self.limits.pids?;
        self.crowded = if members::tasks(&self.members.all()) + 1 >= most { self.crowded + 1 } else { 0 };
        (self.crowded >= 2).then_some(Exceeded::Pids)
    }
}

/// A limit of the whole sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exceeded {
    Memory,
    Pids,
    Time,
}

impl Exceeded {
    pub const ALL: [Exceeded; 3] = [Exceeded::Memory, Exceeded::Pids, Exceeded::Time];

    /// The reason in words.
    pub fn words(self, limits: &Limits) -> String {
        match self {
            Exceeded::Memory => {
                let limit = limits.memory.map(libsbox::model::size_written).unwrap_or_default();
                format!("it used more than its memory limit of {limit}")
            }
            Exceeded::Pids => {
                let limit = limits.pids.unwrap_or(DEFAULT_PIDS);
                format!("it reached its pids limit of {limit} processes and threads")
            }
            Exceeded::Time => {
                let limit = limits.time.map(libsbox::model::span_written).unwrap_or_default();
                format!("it ran for longer than its time limit of {limit}")
            }
        }
    }
}

/// Says that a sandbox was ended because something that it needs is gone.
pub fn say_lost(why: &str) {
    output::say(output::Label::Error, format_args!("sbox-spawn: the sandbox was ended: {why}"));
    output::hint("without it the sandbox would not be what was asked for; start it again");
}

/// Says why a sandbox was ended.
pub fn say(why: &str) {
    output::say(output::Label::Error, format_args!("sbox-spawn: the sandbox was ended: {why}"));
    output::hint("'limits' in the configuration, or --limit, sets another");
}
