//! Kills a process of a tree at a chosen system call, and sees whether the others end by themselves.
#![allow(unsafe_code, reason = "ptrace(2) has no safe form")]

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long what is left may take to end. Far more than it needs: on a busy host everything comes late.
const PATIENCE: Duration = Duration::from_secs(20);

/// The name of what is started again when it dies, while the sandbox goes on.
const STARTED_AGAIN: &str = "sbox-refresh";

/// Nobody has made a system call for so long: the command is where it stays, and the call that is waited for does not come.
fn quiet() -> Duration {
    let is_thorough = std::env::var_os("SBOX_TEST_EVERY_CALL").is_some();
    Duration::from_millis(if is_thorough { 2500 } else { 700 })
}

/// A moment in the life of a tree of processes: when one of them makes a system call.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// Which process: 0 is the first.
    pub number: usize,
    /// Which of the programs that it executes one after the other: 0 is the first, or what it was forked from.
    pub program: usize,
    /// Which call, counted from the execution of that program or from its fork.
    pub call: usize,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The name of the process that was killed; nothing if it made fewer calls, or there was none of this number.
    pub killed: Option<String>,
    /// How many processes there were until then, the first included.
    pub processes: usize,
    /// Pids and names of what did not end. They were killed.
    pub left: Vec<(i32, String)>,
}

impl Outcome {
    /// Whether nothing is left; or all of the sandbox, beside a new process in the place of the one that was killed.
    pub fn is_as_it_should(&self) -> bool {
        let has = |name: &str| self.left.iter().any(|(_, left)| left == name);
        // Killed before it had its name, or after.
        let may_go_on = ["sbox-spawn", STARTED_AGAIN].map(Some).contains(&self.killed.as_deref());
        self.left.is_empty() || (may_go_on && [STARTED_AGAIN, "sbox-spawn", "init"].into_iter().all(has))
    }
}

struct Tracee {
    /// In which order it was made, counted without threads. None of a thread.
    number: Option<usize>,
    program: usize,
    calls: usize,
    is_in_call: bool,
}

const OPTIONS: i32 = libc::PTRACE_O_TRACESYSGOOD
    | libc::PTRACE_O_TRACEFORK
    | libc::PTRACE_O_TRACEVFORK
    | libc::PTRACE_O_TRACECLONE
    | libc::PTRACE_O_TRACEEXEC;

fn ptrace(request: libc::c_uint, pid: i32, data: usize) -> i64 {
    // SAFETY: the requests used here take numbers, and a process that is gone is an error.
    unsafe { libc::ptrace(request, pid, 0usize, data) }
}

fn name(pid: i32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}

fn is_thread(pid: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let leader = status.lines().find_map(|line| line.strip_prefix("Tgid:")).map(str::trim).map(str::to_owned);
    leader.is_some_and(|leader| leader != pid.to_string())
}

/// Runs a command, and kills process `victim` of it (0 is the first) at this moment. All of the others must end then.
#[expect(clippy::zombie_processes, reason = "waitpid below takes every process that is traced")]
pub fn kill_at(command: &mut Command, victim: usize, moment: Moment) -> Outcome {
    command.stdin(Stdio::null());
    // SAFETY: ptrace may be called between fork and exec.
    unsafe {
        command.pre_exec(|| match libc::ptrace(libc::PTRACE_TRACEME, 0, 0usize, 0usize) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    let child = command.spawn().unwrap();
    let first = child.id() as i32;
    let mut tracees: BTreeMap<i32, Tracee> = BTreeMap::new();
    tracees.insert(first, Tracee { number: Some(0), program: 0, calls: 0, is_in_call: false });
    let mut outcome = Outcome { processes: 1, ..Outcome::default() };
    let mut end = None;
    let (mut is_first_stop, mut due) = (true, false);
    let mut last_event = Instant::now();
    while !tracees.is_empty() {
        let mut status = 0;
        // Only what this thread traces: other tests have children, too.
        let flags = libc::__WALL | libc::__WNOTHREAD | libc::WNOHANG;
        // SAFETY: the status is a whole integer.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, flags) };
        if pid < 0 {
            break;
        }
        if pid == 0 {
            let is_late = end.is_some_and(|end| Instant::now() > end);
            if is_late {
                outcome.left = tracees.keys().map(|pid| (*pid, name(*pid))).collect();
                end = None;
            }
            if is_late || (outcome.killed.is_none() && last_event.elapsed() > quiet()) {
                for pid in tracees.keys() {
                    // SAFETY: takes numbers only; each is a process that this thread traces.
                    unsafe { libc::kill(*pid, libc::SIGKILL) };
                }
            }
            std::thread::sleep(Duration::from_micros(200));
            continue;
        }
        last_event = Instant::now();
        if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
            tracees.remove(&pid);
            continue;
        }
        let signal = libc::WSTOPSIG(status);
        let event = status >> 16;
        if is_first_stop {
            ptrace(libc::PTRACE_SETOPTIONS, pid, OPTIONS as usize);
            is_first_stop = false;
        }
        let is_new = !tracees.contains_key(&pid);
        let tracee = tracees.entry(pid).or_insert_with(|| {
            let number = (!is_thread(pid)).then(|| {
                outcome.processes += 1;
                outcome.processes - 1
            });
            Tracee { number, program: 0, calls: 0, is_in_call: false }
        });
        let mut passed = 0;
        match signal {
            _ if event == libc::PTRACE_EVENT_EXEC => {
                tracee.program += 1;
                tracee.calls = 0;
            }
            _ if event != 0 => {}
            libc::SIGTRAP => {}
            libc::SIGSTOP if is_new => {}
            signal if signal == libc::SIGTRAP | 0x80 => {
                tracee.is_in_call = !tracee.is_in_call;
                tracee.calls += usize::from(tracee.is_in_call);
                let is_now = tracee.number == Some(moment.number)
                    && (tracee.program, tracee.calls) == (moment.program, moment.call);
                due = is_now && outcome.killed.is_none();
            }
            signal => passed = signal as usize,
        }
        if std::mem::take(&mut due) {
            let found = tracees.iter().find(|(_, tracee)| tracee.number == Some(victim)).map(|(pid, _)| *pid);
            outcome.killed = Some(found.map(name).unwrap_or_default());
            if let Some(victim) = found {
                // SAFETY: takes numbers only; this thread traces the process.
                unsafe { libc::kill(victim, libc::SIGKILL) };
            }
            let goes_on = outcome.killed.as_deref() == Some(STARTED_AGAIN);
            end = Some(Instant::now() + if goes_on { quiet() } else { PATIENCE });
        }
        let going_on = if outcome.killed.is_some() { libc::PTRACE_CONT } else { libc::PTRACE_SYSCALL };
        ptrace(going_on, pid, passed);
    }
    outcome
}
