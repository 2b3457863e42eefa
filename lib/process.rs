//! Processes of this host, as /proc shows them: who is who, although pids are used again, and what a tree of them uses.

use rustix::process::Pid;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::read_to_string;

/// A process, distinguished from every other one that had or will have its pid.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Identity {
    /// Its pid.
    pub pid: i32,
    /// When it was started, in clock ticks after the boot: the 22nd field in proc_pid_stat(5).
    pub start: u64,
    /// Which boot that was: `/proc/sys/kernel/random/boot_id`.
    pub boot: String,
}

impl Identity {
    /// The process that has this pid now.
    pub fn of(pid: i32) -> Option<Identity> {
        Some(Identity { pid, start: Stat::of(pid)?.start, boot: boot() })
    }

    /// This process.
    pub fn own() -> Identity {
        Identity::of(rustix::process::getpid().as_raw_pid()).unwrap_or_default()
    }

    /// Whether the process is there still. One that ended and was not waited for is not.
    pub fn is_alive(&self) -> bool {
        self.boot == boot() && Stat::of(self.pid).is_some_and(|stat| stat.start == self.start && stat.state != 'Z')
    }

    /// Whether it was started before the machine was.
    pub fn is_of_another_boot(&self) -> bool {
        self.boot != boot()
    }

    /// The process, held: a signal through the descriptor reaches it or nobody. Nothing if it is gone.
    pub fn open(&self) -> Option<std::os::fd::OwnedFd> {
        let pid = Pid::from_raw(self.pid)?;
        let held = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok()?;
        // Looked at while it is held: the pid cannot have gone to another one since.
        self.is_alive().then_some(held)
    }
}

/// This boot, by the kernel's own word.
pub fn boot() -> String {
    static BOOT: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    if let Some(boot) = BOOT.get() {
        return boot.clone();
    }
    match read_to_string("/proc/sys/kernel/random/boot_id") {
        Ok(id) => BOOT.get_or_init(|| id.trim().to_owned()).clone(),
        // Not for ever: it may have been a lack of descriptors.
        Err(_) => String::new(),
    }
}

/// What a line of /proc/PID/stat says.
#[derive(Debug, Clone, Copy)]
pub struct Stat {
    /// The pid of its parent.
    pub parent: i32,
    /// `R`, `S`, `Z` and others.
    pub state: char,
    /// The numbers of its controlling terminal, major and minor; zeros without one.
    pub terminal: (u32, u32),
    /// Clock ticks after the boot.
    pub start: u64,
    /// Clock ticks that it has computed, and those of its children that it has waited for.
    pub ticks: u64,
    /// Its threads.
    pub threads: u64,
}

impl Stat {
    /// Of a process, if it is there.
    pub fn of(pid: i32) -> Option<Stat> {
        Stat::parse(&text(pid, "stat")?)
    }

    /// The name in parentheses may hold anything, parentheses and newlines too: what counts comes after the last one.
    fn parse(text: &str) -> Option<Stat> {
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        // Twelve bits of major number between eight low and the other ones of the minor number (proc_pid_stat(5)).
        let terminal = number(7).unwrap_or(0) as u32;
        Some(Stat {
            terminal: (terminal >> 8 & 0xfff, terminal & 0xff | terminal >> 12 & 0xf_ff00),
            state: fields.first()?.chars().next()?,
            parent: fields.get(1)?.parse().ok()?,
            start: number(22)?,
            ticks: (14..=17).filter_map(number).sum(),
            threads: number(20)?,
        })
    }
}

/// All processes of this host at one moment.
#[derive(Debug, Default)]
pub struct Table {
    stats: HashMap<i32, Stat>,
    children: HashMap<i32, Vec<i32>>,
}

/// What a tree of processes uses.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// Bytes: pages of the processes' own, and of memory that they share with others.
    pub memory: u64,
    /// Seconds of processor time, with that of processes that have ended.
    pub cpu: f64,
    /// How many there are.
    pub processes: usize,
}

impl Table {
    /// Looks at all of them.
    pub fn read() -> Table {
        let mut table = Table::default();
        for pid in pids() {
            if let Some(stat) = Stat::of(pid) {
                table.stats.insert(pid, stat);
                table.children.entry(stat.parent).or_default().push(pid);
            }
        }
        table
    }

    /// The children of a process, oldest first.
    pub fn children(&self, pid: i32) -> Vec<i32> {
        let mut children = self.children.get(&pid).cloned().unwrap_or_default();
        children.sort_by_key(|pid| self.stats.get(pid).map_or(0, |stat| stat.start));
        children
    }

    /// A process and all below it that are there.
    pub fn tree(&self, top: i32) -> Vec<i32> {
        let (mut found, mut waiting) = (Vec::new(), vec![top]);
        while let Some(pid) = waiting.pop().filter(|_| found.len() <= self.stats.len()) {
            if self.stats.contains_key(&pid) {
                found.push(pid);
                waiting.extend(self.children.get(&pid).into_iter().flatten());
            }
        }
        found
    }

    /// What a process and all below it use.
    pub fn usage(&self, top: i32) -> Usage {
        self.usage_of(&self.tree(top))
    }

    /// What these processes use.
    pub fn usage_of(&self, pids: &[i32]) -> Usage {
        let per_second = rustix::param::clock_ticks_per_second().max(1) as f64;
        let mut usage = Usage::default();
        for (pid, stat) in pids.iter().filter_map(|pid| Some((*pid, self.stats.get(pid)?))) {
            usage.processes += 1;
            usage.cpu += stat.ticks as f64 / per_second;
            usage.memory += resident(pid).map_or(0, |(own, shared)| own + shared);
        }
        usage
    }

    /// Every process that was there.
    pub fn pids(&self) -> impl Iterator<Item = i32> {
        self.stats.keys().copied()
    }
}

/// Seconds since a process was started.
pub fn age(pid: i32) -> Option<u64> {
    let uptime: f64 = read_to_string("/proc/uptime").ok()?.split_whitespace().next()?.parse().ok()?;
    let started = Stat::of(pid)?.start / rustix::param::clock_ticks_per_second().max(1);
    Some((uptime as u64).saturating_sub(started))
}

/// Every process that this one sees.
pub fn pids() -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Bytes in pages that are a process's own, and in those of memory that it shares with others (proc_pid_status(5)); not
/// those of files, which the kernel can drop.
pub fn resident(pid: i32) -> Option<(u64, u64)> {
    let text = text(pid, "status")?;
    Some((field(&text, "RssAnon:")?, field(&text, "RssShmem:")?))
}

/// A line `NAME: 12 kB` of a file of /proc, in bytes.
pub fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

/// Processes of our program `name` that run outside of any sandbox, with their arguments.
pub fn running(name: &str) -> Vec<(i32, Vec<String>)> {
    running_among(name, pids())
}

/// The same of those that hold a lock on a file, or wait for one. A look at all processes of a busy host takes longer than
/// `sbox ps` may.
pub fn running_with_locks(name: &str) -> Vec<(i32, Vec<String>)> {
    // Some kernels, and a /proc that shows processes only, have no list of locks.
    running_among(name, lock_holders().unwrap_or_else(pids))
}

/// The lines of /proc/locks (proc_locks(5)): `1: FLOCK ADVISORY READ 1234 fe:00:56 0 EOF`, with `->` after the number for one
/// that waits. Pids are those of this namespace; what is outside of it is not shown.
fn lock_holders() -> Option<Vec<i32>> {
    let text = read_to_string("/proc/locks").ok()?;
    let holder = |line: &str| {
        let mut words = line.split_whitespace().skip(1).skip_while(|word| *word == "->");
        words.nth(3)?.parse().ok()
    };
    let mut pids: Vec<i32> = text.lines().filter_map(holder).filter(|pid| *pid > 0).collect();
    pids.sort_unstable();
    pids.dedup();
    Some(pids)
}

fn running_among(name: &str, pids: Vec<i32>) -> Vec<(i32, Vec<String>)> {
    let own_world = std::fs::read_link("/proc/self/ns/user").ok();
    let mut found = Vec::new();
    for pid in pids {
        let is_it = |words: &[String]| words.first().and_then(|first| first.rsplit('/').next()) == Some(name);
        // An agent can call itself whatever it likes; it cannot be in this user namespace.
        let Some(words) = arguments(pid).filter(|words| is_it(words)) else { continue };
        if own_world.is_some() && std::fs::read_link(format!("/proc/{pid}/ns/user")).ok() == own_world {
            found.push((pid, words));
        }
    }
    found
}

/// A file of a process, in as few calls as there can be: these files say nothing of their size, and whoever reads without
/// knowing it asks again and again.
fn file(pid: i32, name: &str) -> Option<Vec<u8>> {
    const ENOUGH: usize = 4096;
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
    let file = rustix::fs::open(format!("/proc/{pid}/{name}"), flags, rustix::fs::Mode::empty()).ok()?;
    let mut bytes = vec![0; ENOUGH];
    let mut length = 0;
    loop {
        let read = rustix::io::retry_on_intr(|| rustix::io::read(&file, &mut bytes[length..])).ok()?;
        length += read;
        if length < bytes.len() {
            bytes.truncate(length);
            return Some(bytes);
        }
        bytes.resize(length * 2, 0);
    }
}

fn text(pid: i32, name: &str) -> Option<String> {
    Some(String::from_utf8_lossy(&file(pid, name)?).into_owned())
}

/// The arguments of a process; nothing if it has none or they cannot be read.
pub fn arguments(pid: i32) -> Option<Vec<String>> {
    let bytes = file(pid, "cmdline")?;
    let words = bytes.strip_suffix(b"\0")?.split(|byte| *byte == 0);
    Some(words.map(|word| String::from_utf8_lossy(word).into_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_itself_and_no_other() {
        let own = Identity::own();
        assert!(own.is_alive() && own.open().is_some());
        let earlier = Identity { start: own.start + 1, ..own.clone() };
        assert!(!earlier.is_alive() && earlier.open().is_none());
        let rebooted = Identity { boot: "x".into(), ..own };
        assert!(!rebooted.is_alive() && rebooted.is_of_another_boot());
    }

    #[test]
    fn who_holds_a_lock_is_found_and_who_waits_for_it() {
        let path = std::env::temp_dir().join(format!("sbox-holders-{}", std::process::id()));
        let own = rustix::process::getpid().as_raw_pid();
        // Not one of ours: the program that waits would have that one, too.
        let held = std::fs::File::create(&path).unwrap();
        rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
        assert!(lock_holders().unwrap().contains(&own));
        let mut waits = std::process::Command::new("flock").arg(&path).arg("true").spawn().unwrap();
        let waiting = waits.id() as i32;
        let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while !lock_holders().unwrap().contains(&waiting) {
            assert!(std::time::Instant::now() < end, "who waits is not found");
        }
        drop(held);
        assert!(waits.wait().unwrap().success());
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn long_arguments_are_read_whole() {
        let long = "x".repeat(9000);
        let mut sleeps = std::process::Command::new("sh");
        sleeps.args(["-c", "echo; read x; exit 0", "sh", &long]);
        let piped = std::process::Stdio::piped;
        let mut child = sleeps.stdin(piped()).stdout(piped()).spawn().unwrap();
        // The kernel has its arguments a moment after it has started it.
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0]).unwrap();
        assert_eq!(arguments(child.id() as i32).unwrap().last(), Some(&long));
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success());
    }

    #[test]
    fn a_name_cannot_forge_the_fields_after_it() {
        let tail = "S 7 1 1 34819 -1 0 1 0 0 0 10 20 3 4 20 0 1 0 4242 1 1";
        let stat = Stat::parse(&format!("12 (a) R 1 (b\n) Z 9) {tail}")).unwrap();
        assert_eq!((stat.parent, stat.state, stat.start, stat.ticks), (7, 'S', 4242, 37));
        assert_eq!(stat.terminal, (136, 3));
        assert!(Stat::parse("12 (a").is_none());
    }
}
