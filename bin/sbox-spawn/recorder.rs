//! What is written down of this run, and told at its end: requests to the network, refused calls, limits, what is left.
//!
//! The monitor gathers it while it waits. With `--record` it goes to the project's record, each thing when it happens first,
//! so that a run that is killed has left word of all but the numbers.

use crate::args::{Args, Mount};
use crate::filter::Scope;
use crate::listener::Listener;
use crate::{reaper, refresh, report};
use libsbox::cow;
use libsbox::error::{Context, Result};
use libsbox::escape::shell_word;
use libsbox::model::Level;
use libsbox::process::Identity;
use libsbox::record::{self, Asked, End, Event, MOST_LISTED, MountShown, Start, Tally, Writer};
use libsbox::sys::{self, Fork};
use rustix::fd::OwnedFd;
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// How long the proxy may take to say how many bytes have gone.
const LAST_WORD: Duration = Duration::from_millis(300);

/// A run that lasted as long as this can wait for the disk.
const LONG: Duration = Duration::from_secs(1);

/// Guard lines that a record has.
const MOST_GUARD: usize = 40;

pub struct Recorder {
    writer: Option<Writer>,
    pub tally: Tally,
    listener: Option<Listener>,
    are_calls_counted: bool,
    requests: Option<OwnedFd>,
    /// The beginning of a line of theirs.
    rest: Vec<u8>,
    began: Instant,
    level: Option<Level>,
    /// Whether there is more to read than start and end.
    has_news: bool,
}

/// What pid 1 says beside signals.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Word {
    /// Programs that were still running.
    pub left: Vec<String>,
    pub left_in_all: u64,
}

impl Recorder {
    pub fn new(args: &Args) -> Recorder {
        let writer = args.record.as_ref().map(|place| Writer::begin(place, start(args)));
        Recorder { writer, ..Recorder::none() }
    }

    /// One that writes nothing down.
    pub fn none() -> Recorder {
        Recorder {
            writer: None,
            tally: Tally::default(),
            listener: None,
            are_calls_counted: false,
            requests: None,
            rest: Vec::new(),
            began: Instant::now(),
            level: None,
            has_news: false,
        }
    }

    /// Whether refused calls are to be counted.
    pub fn wants_calls(&self) -> bool {
        self.writer.is_some()
    }

    /// The number of the run in the record.
    pub fn run(&self) -> Option<u64> {
        self.writer.as_ref()?.run()
    }

    /// The sandbox runs, at this level; where its calls and requests are reported.
    pub fn begin(&mut self, args: &Args, level: Level, calls: Option<OwnedFd>, requests: Option<OwnedFd>) {
        self.level = Some(level);
        self.are_calls_counted = calls.is_some();
        self.listener = calls.map(|fd| Listener::new(fd, &Scope::of(args, level)));
        self.requests = requests;
    }

    /// What to wait for.
    pub fn fds(&self) -> impl Iterator<Item = &OwnedFd> {
        self.listener.as_ref().and_then(Listener::fd).into_iter().chain(&self.requests)
    }

    /// How long at most.
    pub fn pause(&self) -> Option<Duration> {
        self.listener.as_ref()?.rest()
    }

    /// Takes what has arrived.
    pub fn attend(&mut self) {
        let mut events = Vec::new();
        if let Some(listener) = &mut self.listener
            && listener.rest().is_none()
        {
            let tally = &mut self.tally;
            let goes_on = listener.attend(&mut |call| events.extend(tally.refuse(call)));
            if !goes_on {
                self.listener = None;
            }
        }
        self.read_requests(&mut events);
        self.write(events);
    }

    /// At most some of them: signals are not to wait for an agent that asks as fast as it can.
    fn read_requests(&mut self, events: &mut Vec<Event>) {
        let mut space = [0u8; 8192];
        for _ in 0..16 {
            let Some(from) = &self.requests else { return };
            match rustix::io::read(from, &mut space) {
                Ok(0) => self.requests = None,
                Ok(length) => self.rest.extend_from_slice(&space[..length]),
                Err(_) => break,
            }
        }
        while let Some(end) = memchr::memchr(b'\n', &self.rest) {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            if let Ok(asked) = serde_json::from_slice::<Asked>(&line) {
                events.extend(self.tally.ask(asked));
            }
        }
    }

    /// After the end of the sandbox: `ask` tells the proxy to say how many bytes have gone.
    pub fn finish_requests(&mut self, ask: impl FnOnce()) {
        self.attend();
        if !self.tally.asked().iter().any(|asked| asked.allowed) {
            return;
        }
        ask();
        let end = Instant::now() + LAST_WORD;
        while let (Some(from), Some(left)) = (&self.requests, end.checked_duration_since(Instant::now())) {
            if crate::line::wait_for(&[from], Some(left)).is_err() {
                return;
            }
            self.attend();
        }
    }

    /// What pid 1 said.
    pub fn hear(&mut self, word: &str) {
        let Ok(word) = serde_json::from_str::<Word>(word) else { return };
        if word.left_in_all > 0 {
            let programs = word.left.iter().map(|name| record::shown(name)).collect();
            self.write(vec![Event::Left { count: word.left_in_all, programs }]);
        }
    }

    /// A limit was met.
    pub fn limit(&mut self, what: &str) {
        self.write(vec![Event::Limit { what: record::shown(what) }]);
    }

    /// What the guard of read-write mounts did.
    pub fn guard(&mut self, lines: &[(String, Option<String>)]) {
        let event = |(what, hint): &(String, Option<String>)| Event::Guard {
            what: record::shown(what),
            hint: hint.as_deref().map(record::shown),
        };
        self.write(lines.iter().take(MOST_GUARD).map(event).collect());
    }

    /// What was changed in copy-on-write mounts since `since`, nanoseconds after 1970.
    pub fn changes(&mut self, args: &Args, since: i64) {
        if self.writer.is_none() {
            return;
        }
        let touched = args.overlays().filter_map(|(_, dst, layer)| {
            let touched = cow::touched(layer, since, MOST_LISTED)?;
            (touched.count + touched.in_git > 0).then(|| {
                Event::Changes(record::Changes {
                    dst: record::shown(&dst.to_string_lossy()),
                    count: touched.count,
                    files: touched.files.iter().map(|path| record::shown(&path.to_string_lossy())).collect(),
                    in_git: touched.in_git,
                    is_cut: touched.is_cut,
                })
            })
        });
        self.write(touched.collect());
    }

    fn write(&mut self, events: Vec<Event>) {
        if let Some(writer) = &mut self.writer
            && !events.is_empty()
        {
            self.has_news = true;
            writer.write(events);
        }
    }

    /// The end; gives why the record is not whole, if it is not.
    pub fn end(&mut self, code: u8, reason: Option<String>) -> Option<String> {
        let mut writer = self.writer.take()?;
        let lasted = self.began.elapsed();
        writer.write(vec![Event::End(Box::new(End {
            code,
            reason: reason.as_deref().map(record::shown),
            seconds: (lasted.as_secs_f64() * 1000.0).round() / 1000.0,
            isolation: self.level.map(|level| level.name().to_owned()),
            asked: self.tally.asked().to_vec(),
            more_asked: self.tally.more_asked(),
            calls: self.tally.calls().to_vec(),
            are_calls_counted: self.are_calls_counted,
        }))]);
        // To wait for the disk would make each `sbox exec true` several times as long.
        writer.finish(self.has_news || lasted >= LONG)
    }
}

/// The record of a command that joins a sandbox. Its monitor enters the mounts of that one and has no path of the host's any
/// more: a process that stays outside keeps the record, and ends with the monitor.
pub struct Beside {
    line: OwnedFd,
    pid: Pid,
}

impl Beside {
    /// Starts it, if there is a record.
    pub fn start(args: &Args) -> Result<Option<Beside>> {
        if args.record.is_none() {
            return Ok(None);
        }
        let (end, line) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).context(|| "make a pipe".into())?;
        match sys::fork().context(|| "start a process".into())? {
            Fork::Child => {
                drop(line);
                let _ = refresh::detach(c"sbox-recorder", [&end].into_iter());
                let mut recorder = Recorder::new(args);
                recorder.level = Some(Level::Namespace);
                let mut code = [0u8];
                // Without a word the monitor was killed, and there is no end.
                if let Ok(1) = rustix::io::read(&end, &mut code[..]) {
                    let _ = recorder.end(code[0], None);
                }
                report::end(0)
            }
            Fork::Parent(pid) => Ok(Some(Beside { line, pid })),
        }
    }

    /// The command has ended.
    pub fn end(self, code: u8) {
        let _ = rustix::io::write(&self.line, &[code]);
        // Stopped with the group, it may not have been continued with it.
        let _ = rustix::process::kill_process(self.pid, Signal::CONT);
        reaper::wait_a_moment(self.pid);
    }
}

fn start(args: &Args) -> Start {
    let words: Vec<String> = args.command.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let command = match &words[..] {
        // As a person wrote it.
        [shell, option, line] if shell == "/bin/sh" && option == "-c" => line.clone(),
        words => words.iter().map(|word| shell_word(word)).collect::<Vec<_>>().join(" "),
    };
    let (kind, name) =
        args.record_as.split_once(':').map_or((&*args.record_as, None), |(kind, name)| (kind, Some(name)));
    let shown = |mount: &Mount| {
        let (src, dst, mode) = match mount {
            Mount::Bind { src, dst, read_only: true } => (src, dst, "ro"),
            Mount::Bind { src, dst, .. } => (src, dst, "rw"),
            Mount::Cow { src, dst, .. } => (src, dst, "cow"),
            Mount::Tmpfs { .. } => return None,
        };
        let [src, dst] = [src, dst].map(|path| record::shown(&path.to_string_lossy()));
        Some(MountShown { src, dst, mode: mode.into() })
    };
    Start {
        kind: if kind.is_empty() { "spawn".into() } else { record::shown(kind) },
        name: name.map(record::shown),
        command: record::cut(&command, record::LONGEST_COMMAND),
        isolation: args.isolation.map_or("auto", Level::name).into(),
        network: args.network.mode.name().into(),
        nested: args.nested,
        mounts: args.mounts.iter().filter_map(shown).take(MOST_LISTED).collect(),
        monitor: Identity::own(),
    }
}
