//! A program of ours that works for a call: what goes in, what comes out, and its end when the call is cancelled or takes
//! too long.

use crate::cut::Kept;
use crate::jobs::Job;
use libsbox::error::{Context, Error, Result};
use libsbox::{plumbing, thread};
use rustix::process::Signal;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long a program has to end at SIGTERM.
const GRACE: Duration = Duration::from_secs(2);

/// How it ended.
pub struct Ended {
    /// Of the command: its own code, or 128 and a signal's number.
    pub code: u8,
    pub stdout: Kept,
    pub stderr: Kept,
    pub timed_out: bool,
    pub took: Duration,
}

impl Ended {
    /// Everything that it said.
    pub fn words(&self) -> String {
        let (mut text, errors) = (self.stdout.text(), self.stderr.text());
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text + &errors
    }
}

/// Runs `command` to its end; `beat` is called now and then. A call that was cancelled is an error, which nobody hears.
pub fn run(
    mut command: Command,
    input: Option<Vec<u8>>,
    job: &Job,
    timeout: Duration,
    beat: impl Fn(Duration),
) -> Result<Ended> {
    plumbing::trace(&command);
    // Away from the keys of a terminal that the client may have, and never longer there than this server.
    plumbing::die_with_parent(&mut command).process_group(0);
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let start = Instant::now();
    let mut child = command.spawn().context(|| "start a program of sbox's".into())?;
    job.has(Some(child.id()));
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let writer = input.zip(stdin).map(|(input, mut stdin)| {
        thread::spawn(move || {
            // Who reads no input does not have to.
            let _ = stdin.write_all(&input);
        })
    });
    let read = |stream: Option<Box<dyn std::io::Read + Send>>| thread::spawn(move || stream.map(Kept::read));
    let readers = (
        read(stdout.map(|stream| Box::new(stream) as Box<dyn std::io::Read + Send>)),
        read(stderr.map(|stream| Box::new(stream) as Box<dyn std::io::Read + Send>)),
    );
    let is_short = readers.0.is_err() || readers.1.is_err() || writer.as_ref().is_some_and(Result::is_err);
    let (mut asked, mut timed_out, mut beats) = (None::<Instant>, false, 0);
    let status = loop {
        if let Some(status) = child.try_wait().context(|| "wait for a program of sbox's".into())? {
            break status;
        }
        let took = start.elapsed();
        timed_out |= took > timeout;
        if (timed_out || is_short || job.is_cancelled()) && asked.is_none() {
            job.signal(Signal::TERM);
            asked = Some(Instant::now());
        }
        if asked.is_some_and(|asked| asked.elapsed() > GRACE) {
            job.signal(Signal::KILL);
        }
        if took.as_secs() / 5 > beats {
            beats = took.as_secs() / 5;
            beat(took);
        }
        std::thread::sleep(if took < Duration::from_millis(200) {
            Duration::from_millis(2)
        } else {
            Duration::from_millis(20)
        });
    };
    job.has(None);
    if job.is_cancelled() {
        return Err(Error::new("the call was cancelled"));
    }
    let (stdout, stderr) = (readers.0?, readers.1?);
    let kept = |reader: std::thread::JoinHandle<Option<Kept>>| reader.join().ok().flatten().unwrap_or_default();
    let (stdout, stderr) = (kept(stdout), kept(stderr));
    Ok(Ended { code: libsbox::status::of(status), stdout, stderr, timed_out, took: start.elapsed() })
}
