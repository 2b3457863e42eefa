//! sbox-secrets: hold the values of secrets for the proxies of one sandbox, and get new ones in time.
//!
//! The launcher starts it, and is gone or has become another program a moment later; a supervisor starts sandboxes again and
//! again, and is a process into which the user's other programs can look. So the values are here: in a process that nobody looks
//! into and that writes no core file. Who starts a sandbox sends it one end of a socket, and the proxy has the other.
#![forbid(unsafe_code)]

mod placeholder;
mod source;

use lexopt::prelude::*;
use libsbox::cli::{self, Tool};
use libsbox::error::{Context, Error, Result};
use libsbox::model::secret::{Delivered, Kept, Wanted};
use libsbox::plumbing;
use libsbox::sys::{self, Fork};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::OwnedFd;
use source::Source;
use std::io::{Read, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const TOOL: Tool = Tool { name: "sbox-secrets", usage: USAGE, runs_a_command: false };
const USAGE: &str = "\
usage: sbox-secrets --control N <SECRETS
Read secrets from stdin, one JSON object a line, and get their values. Print for
each its placeholder, or why there is no value. Then serve them, in the
background, to each socket that comes through descriptor N, a Unix socket, until
that one and all of them are closed.

      --control N          where sockets of proxies come from
  -h, --help               print this text
  -V, --version            print the version
";

/// How often a file is looked at, and a command that failed is tried again.
const PAUSE: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    TOOL.main(run)
}

fn run(args: &mut lexopt::Parser) -> Result<u8> {
    let mut control = None;
    while let Some(arg) = args.next()? {
        match arg {
            Long("control") => control = Some(args.value()?.parse::<i32>()?),
            other => return Err(cli::common(other)),
        }
    }
    let control = control.ok_or_else(|| Error::usage("missing option '--control'"))?;
    plumbing::keep_others_out()?;
    let control = sys::adopt(control).context(|| format!("take descriptor {control}"))?;
    rustix::io::fcntl_setfd(&control, rustix::io::FdFlags::CLOEXEC).context(|| "keep the socket".into())?;
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).context(|| "read the secrets".into())?;
    let wanted = |line: &str| serde_json::from_str::<Wanted>(line).map_err(|_| Error::new("cannot read the secrets"));
    let mut secrets = Vec::new();
    for line in text.lines() {
        let mut secret = Secret::new(wanted(line)?);
        secret.first();
        let kept =
            Kept { name: secret.name().into(), placeholder: secret.placeholder.clone(), why: secret.why.clone() };
        cli::out_line(serde_json::to_string(&kept).map_err(|error| Error::new(error.to_string()))?)?;
        secrets.push(secret);
    }
    secrets.retain(|secret| secret.placeholder.is_some());
    if secrets.is_empty() {
        return Ok(0);
    }
    // No child of the launcher, which becomes a program that does not know of one; and away from the terminal's keys.
    match sys::fork().context(|| "start a process".into())? {
        Fork::Parent(_) => Ok(0),
        Fork::Child => {
            let _ = rustix::process::setsid();
            let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null");
            let null = null.context(|| "open '/dev/null'".into())?;
            for dup in [rustix::stdio::dup2_stdin, rustix::stdio::dup2_stdout, rustix::stdio::dup2_stderr] {
                dup(&null).context(|| "let go of the streams".into())?;
            }
            rustix::process::chdir("/").context(|| "enter '/'".into())?;
            serve(&control, &mut secrets)
        }
    }
}

struct Secret {
    wanted: Wanted,
    source: Source,
    placeholder: Option<String>,
    value: Option<String>,
    why: Option<String>,
    /// When to look again.
    next: Option<Instant>,
    /// When the value is good no more.
    end: Option<Instant>,
}

impl Secret {
    fn new(wanted: Wanted) -> Secret {
        let source = Source::of(&wanted);
        Secret { wanted, source, placeholder: None, value: None, why: None, next: None, end: None }
    }

    fn name(&self) -> &str {
        &self.wanted.name
    }

    fn first(&mut self) {
        self.get();
        if let Some(value) = &self.value {
            self.placeholder = Some(placeholder::like(value, self.wanted.placeholder.as_deref()));
        }
    }

    /// Gets the value, and tells whether anything is different now.
    fn get(&mut self) -> bool {
        let now = Instant::now();
        match self.source.get() {
            Ok(value) => {
                let is_new = self.value.as_ref() != Some(&value) || self.why.is_some();
                let lasts = self.wanted.expires.map(Duration::from_secs);
                self.end = lasts.and_then(|lasts| now.checked_add(lasts));
                // A tenth before its end, so that no request meets one that has ended.
                self.next = match (lasts, &self.source) {
                    (Some(lasts), _) => now.checked_add(lasts - lasts / 10),
                    (None, Source::File(..)) => now.checked_add(PAUSE),
                    (None, _) => None,
                };
                (self.value, self.why) = (Some(value), None);
                is_new
            }
            Err(why) => {
                self.next = now.checked_add(PAUSE);
                let is_over = self.value.is_none() || self.end.is_some_and(|end| end <= now);
                let is_new = is_over && self.why.is_none();
                if is_over {
                    self.why = Some(why);
                }
                is_new
            }
        }
    }

    fn line(&self, more: bool) -> Vec<u8> {
        let value = self.value.clone().filter(|_| self.why.is_none());
        let delivered = Delivered {
            name: self.wanted.name.clone(),
            hosts: self.wanted.hosts.clone(),
            places: self.wanted.places,
            placeholder: self.placeholder.clone().unwrap_or_default(),
            value,
            why: self.why.clone(),
            more,
        };
        let mut line = serde_json::to_vec(&delivered).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

/// Until nobody is left who could ask.
fn serve(control: &OwnedFd, secrets: &mut [Secret]) -> Result<u8> {
    let mut proxies: Vec<std::fs::File> = Vec::new();
    let mut is_open = true;
    while is_open || !proxies.is_empty() {
        let mut fds: Vec<PollFd<'_>> = Vec::new();
        if is_open {
            fds.push(PollFd::new(control, PollFlags::IN));
        }
        fds.extend(proxies.iter().map(|proxy| PollFd::new(proxy, PollFlags::IN)));
        let pause = secrets.iter().filter_map(|secret| secret.next).min();
        let pause = pause.map(|next| next.saturating_duration_since(Instant::now()));
        let pause = pause.and_then(|pause| Timespec::try_from(pause).ok());
        match rustix::event::poll(&mut fds, pause.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context(|| "wait".into()),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        let (own, theirs) = ready.split_at(usize::from(is_open));
        // A proxy says nothing: what can be read is its end.
        let mut at = 0;
        proxies.retain(|_| {
            at += 1;
            !theirs[at - 1]
        });
        if own == [true] {
            match plumbing::sockets_from(control) {
                Ok(sockets) if !sockets.is_empty() => {
                    for socket in sockets {
                        proxies.extend(welcome(socket, secrets));
                    }
                }
                _ => is_open = false,
            }
        }
        let now = Instant::now();
        for secret in secrets.iter_mut().filter(|secret| secret.next.is_some_and(|next| next <= now)) {
            if secret.get() {
                let line = secret.line(false);
                proxies.retain_mut(|proxy| proxy.write_all(&line).is_ok());
            }
        }
    }
    Ok(0)
}

/// Tells a proxy all there is. One that goes away at once is none.
fn welcome(socket: OwnedFd, secrets: &[Secret]) -> Option<std::fs::File> {
    let mut proxy = std::fs::File::from(socket);
    for (at, secret) in secrets.iter().enumerate() {
        proxy.write_all(&secret.line(at + 1 < secrets.len())).ok()?;
    }
    Some(proxy)
}
