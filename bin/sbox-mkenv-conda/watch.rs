//! Running a program under a time limit of ours: micromamba's own settings for that change nothing (2.8.1), and a server that
//! falls silent would be waited for until the kernel gives up.

use libsbox::error::{Context, Result};
use libsbox::plumbing;
use libsbox::process::Table;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::io::Read;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// When a program is ended.
pub enum Limit<'a> {
    /// When what this gives has not changed for so long, and the program has not computed either.
    Silence(Duration, &'a dyn Fn() -> (u64, u64)),
    /// After so long in any case.
    Total(Duration),
}

/// How it ended.
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    /// Whether the limit ended it.
    pub is_over: bool,
}

/// How often a program is looked at.
const GLANCE: Duration = Duration::from_secs(1);

/// Processor time between two glances that is work: waiting for a server, and looking at the clock meanwhile, takes less.
const WORK: f64 = 0.05;

pub fn output(command: &mut Command, limit: &Limit<'_>) -> Result<Ended> {
    plumbing::trace(command);
    let name = || "start 'sbox-spawn'".into();
    let command = plumbing::die_with_parent(command).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context(name)?;
    let read = |mut pipe: Box<dyn Read + Send>| {
        libsbox::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = pipe.read_to_end(&mut bytes);
            bytes
        })
    };
    let stdout = child.stdout.take().map(|pipe| read(Box::new(pipe))).transpose();
    let stderr = child.stderr.take().map(|pipe| read(Box::new(pipe))).transpose();
    let (stdout, stderr) = match (stdout, stderr) {
        (Ok(stdout), Ok(stderr)) => (stdout, stderr),
        (Err(error), _) | (_, Err(error)) => {
            let _ = child.kill();
            let _ = child.wait();
            return Err(error);
        }
    };
    let is_over = !wait(child.id().cast_signed(), limit).context(name)?;
    if is_over {
        // The launcher takes the sandbox and everything in it with it.
        let _ = child.kill();
    }
    let status = child.wait().context(name)?;
    let all = |thread: Option<std::thread::JoinHandle<Vec<u8>>>| {
        thread.and_then(|thread| thread.join().ok()).unwrap_or_default()
    };
    Ok(Ended { status, stdout: all(stdout), stderr: all(stderr), is_over })
}

/// Waits for a process; `false` if its time is over before it ends.
fn wait(process: i32, limit: &Limit<'_>) -> std::io::Result<bool> {
    let pid = Pid::from_raw(process).ok_or(std::io::ErrorKind::NotFound)?;
    let file = pidfd_open(pid, PidfdFlags::empty())?;
    let (start, mut last_change) = (Instant::now(), Instant::now());
    let mut before = ((0, 0), 0.0);
    loop {
        let mut files = [PollFd::new(&file, PollFlags::IN)];
        match poll(&mut files, Some(&GLANCE.try_into().map_err(std::io::Error::other)?)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
        match limit {
            Limit::Total(time) if start.elapsed() >= *time => return Ok(false),
            Limit::Total(_) => {}
            Limit::Silence(time, progress) => {
                let now = (progress(), Table::read().usage(process).cpu);
                if now.0 != before.0 || now.1 - before.1 > WORK || now.1 < before.1 {
                    last_change = Instant::now();
                }
                before = now;
                if last_change.elapsed() >= *time {
                    return Ok(false);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(line: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", line]);
        command
    }

    #[test]
    fn what_ends_by_itself_is_read_to_its_end() {
        let ended =
            output(&mut shell("echo out; echo err >&2; exit 3"), &Limit::Total(Duration::from_secs(60))).unwrap();
        assert_eq!((&*ended.stdout, &*ended.stderr), (&b"out\n"[..], &b"err\n"[..]));
        assert_eq!((ended.status.code(), ended.is_over), (Some(3), false));
    }

    #[test]
    fn what_is_silent_is_ended_and_what_moves_or_computes_is_not() {
        let silent = |line: &str, progress: &dyn Fn() -> (u64, u64)| {
            output(&mut shell(line), &Limit::Silence(Duration::from_secs(2), progress)).unwrap().is_over
        };
        assert!(silent("exec sleep 60", &|| (0, 0)));
        let count = std::cell::Cell::new(0);
        let moves = || {
            count.set(count.get() + 1);
            (count.get(), 0)
        };
        assert!(!silent("exec sleep 4", &moves));
        assert!(!silent("i=0; while [ $i -lt 1500000 ]; do i=$((i+1)); done", &|| (0, 0)));
    }

    #[test]
    fn what_takes_too_long_is_ended() {
        assert!(output(&mut shell("exec sleep 60"), &Limit::Total(Duration::from_secs(1))).unwrap().is_over);
    }
}
