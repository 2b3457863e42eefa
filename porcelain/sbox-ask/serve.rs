//! Asking for one run: a question from its proxy comes in a line, and its answer goes back in one.

use crate::freeze::Frozen;
use crate::queue::{Question, Queue};
use crate::terminal::Terminal;
use crate::{Word, can_keep, entry, question};
use libsbox::config_lines;
use libsbox::daemon::processes;
use libsbox::error::{Context, Error, Result};
use libsbox::model::host_name;
use libsbox::output;
use libsbox::plumbing;
use libsbox::process::Stat;
use libsbox::project::Project;
use std::io::{BufRead, BufReader, Write};
use std::time::{Duration, Instant};

/// How long a person may take. Most clients give up a little later.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often another window is looked at.
const LOOK: Duration = Duration::from_millis(100);

pub fn run(project: &Project, fd: i32) -> Result<u8> {
    // It ends with the run, and not by a key.
    plumbing::stay_in_front()?;
    let mut line = BufReader::new(plumbing::inherited_socket(fd)?);
    let queue = Queue::open(project)?;
    let monitor = rustix::process::getppid().map_or(0, |pid| pid.as_raw_pid());
    for number in 0u64.. {
        let mut text = String::new();
        if line.read_line(&mut text).context(|| "read a question".into())? == 0 {
            break;
        }
        let word = match asked(&text) {
            Some((host, port)) => {
                let id = format!("{}-{number}", std::process::id());
                let asked = Question { host, port, pid: monitor, daemon: daemon(project, monitor) };
                let word = ask(&queue, &id, &asked, can_keep(project));
                queue.remove(&id);
                settle(project, &asked, word)
            }
            None => "no",
        };
        writeln!(line.get_mut(), "{word}").context(|| "answer".into())?;
    }
    Ok(0)
}

fn asked(text: &str) -> Option<(String, u16)> {
    let value: serde_json::Value = serde_json::from_str(text).ok()?;
    let port = u16::try_from(value.get("port")?.as_u64()?).ok()?;
    Some((host_name(value.get("host")?.as_str()?)?, port))
}

/// The daemon whose sandbox a monitor waits for.
fn daemon(project: &Project, monitor: i32) -> Option<String> {
    let supervisor = Stat::of(monitor)?.parent;
    let all = processes::list(project).ok()?;
    all.into_iter().find(|record| record.supervisor.pid == supervisor).map(|record| record.name)
}

/// What a person says within the time, here or in another window; nobody there is a no at once.
fn ask(queue: &Queue, id: &str, asked: &Question, can_keep: bool) -> Word {
    let start = Instant::now();
    let mut terminal = Terminal::own();
    let mut frozen = None;
    let mut is_queued = false;
    while start.elapsed() < PATIENCE {
        if let (Some(terminal), None) = (terminal.as_mut().filter(|terminal| terminal.is_free()), &frozen) {
            // Stopped first: what it wrote already is above the question.
            frozen = Some(Frozen::all(asked.pid));
            terminal.ask(&question(&asked.host, asked.port, asked.daemon.as_deref(), can_keep));
        }
        let is_watched = queue.is_watched();
        if is_watched && !is_queued {
            is_queued = queue.add(id, asked).is_ok();
        }
        if frozen.is_none() && !is_watched {
            return Word::No;
        }
        if let Some(word) = queue.answer_to(id) {
            if let (Some(terminal), Some(_)) = (&mut terminal, &frozen) {
                terminal.say(word.name());
            }
            return word;
        }
        match (&mut terminal, &frozen) {
            (Some(terminal), Some(_)) => {
                if let Some(line) = terminal.line(LOOK) {
                    return Word::read(&line);
                }
            }
            _ => std::thread::sleep(LOOK),
        }
    }
    if let (Some(terminal), Some(_)) = (&mut terminal, &frozen) {
        terminal.say("no: nobody answered");
    }
    Word::No
}

/// What the proxy hears. "Always" is written down first; if that fails it holds for this run.
fn settle(project: &Project, asked: &Question, word: Word) -> &'static str {
    if word == Word::Always
        && can_keep(project)
        && let Err(error) = allow(project, &entry(&asked.host, asked.port))
    {
        output::warn(format_args!("{error}; it is allowed for this run"));
        if let Some(hint) = error.hint_text() {
            output::hint(hint);
        }
    }
    match word {
        Word::Once => "once",
        Word::Run | Word::Always => "run",
        Word::No => "no",
    }
}

/// Writes a name into `network.allow`; nothing else in the file means anything different then.
pub fn allow(project: &Project, name: &str) -> Result<()> {
    let _alone = libsbox::fs::Lock::exclusive(&project.state().join("ask").join("config.lock"), || ())?;
    let old = libsbox::config::read(project)?;
    let by_hand = || {
        Error::new("cannot add to network.allow as it is written in .sbox/config.yaml")
            .hint(format!("sbox edit, and add: - \"{name}\""))
    };
    let new = config_lines::append_at(&old, &["network", "allow"], name).ok_or_else(by_hand)?;
    let report = libsbox::check::check(&new, project.root());
    let is_right = report.errors().next().is_none()
        && report.config.is_some_and(|config| {
            matches!(&config.network, libsbox::model::Network::Allow { allow, .. } if allow.iter().any(|rule| rule.to_string() == name))
        });
    match is_right {
        true => libsbox::fs::write_atomic(&project.config(), new.as_bytes(), 0o644),
        false => Err(by_hand()),
    }
}
