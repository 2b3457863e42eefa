//! Starting and ending daemons: what `sbox run -d`, `sbox restart` and `sbox stop` have in common.

pub mod last;
pub mod living;
pub mod name;
pub mod processes;
pub mod record;

use crate::built;
use crate::config::{Config, Overrides};
use crate::error::{Context, Error, Result};
use crate::escape;
use crate::fs;
use crate::output;
use crate::plumbing;
use crate::plumbing::sandbox::ProjectSandbox;
use crate::plumbing::supervise::Supervise;
use crate::project::Project;
use crate::suggest;
use living::Living;
use record::{Record, State};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Makes sure that no sandbox uses the project's environment and rootfs, and keeps it so until this is dropped.
pub fn require_unused(project: &Project) -> Result<fs::Lock> {
    if let Some(lock) = project.try_exclusive()? {
        return Ok(lock);
    }
    let running = processes::list(project).unwrap_or_default();
    let live: Vec<&str> =
        running.iter().filter(|record| record.status.is_live()).map(|record| record.name.as_str()).collect();
    let error = Error::new("this project's sandbox is still running");
    Err(match live.is_empty() {
        true => error.hint("end the 'sbox run', 'exec' or 'shell' that uses it, and try again"),
        false => error.hint(format!("daemons: {}; end them with: sbox stop --all", live.join(", "))),
    })
}

/// Seconds: more than anybody waits for a daemon to end.
const LONGEST_STOP: u64 = 30 * 86_400;

/// In the environment of a supervisor: the values of the variables that `sbox run -d --env` gave.
const VALUES: &str = "SBOX_RUN_VALUES";

/// The environment that a daemon was started from, which is its supervisor's own and nowhere on a disk. Nothing if it has ended.
pub fn started_from(record: &Record) -> Option<Vec<(OsString, OsString)>> {
    let _held = record.hold()?;
    let bytes = std::fs::read(format!("/proc/{}/environ", record.supervisor.pid)).ok()?;
    let pair = |entry: &[u8]| {
        let at = entry.iter().position(|byte| *byte == b'=').filter(|at| *at > 0)?;
        Some((OsString::from_vec(entry[..at].to_vec()), OsString::from_vec(entry[at + 1..].to_vec())))
    };
    Some(bytes.split(|byte| *byte == 0).filter_map(pair).collect())
}

/// What a daemon was started with in the place of the configuration, and what its environment was, without that.
///
/// # Errors
/// A value of `--env` is not known any more.
pub fn started_with(record: &Record, host: Option<&mut Vec<(OsString, OsString)>>) -> Result<Overrides> {
    let mut values = BTreeMap::new();
    if let Some(host) = host {
        let text = host.iter().find(|(name, _)| name == VALUES).and_then(|(_, text)| text.to_str());
        values = text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        host.retain(|(name, _)| name != VALUES);
    }
    let isolation = record.isolation.as_deref().map(str::parse).transpose()?;
    let known = record.options.with_values(&values).map(|options| options.at_level(isolation));
    known.map_err(|lost| {
        let (name, lost) = (escape::visible(&record.name), escape::visible(&lost.join("', '")));
        Error::new(format!("the value that '--env' gave for '{lost}' went with '{name}': it is written nowhere"))
            .hint(format!("sbox run -d --name {name} --env NAME=VALUE ..."))
    })
}

/// A daemon that is to be started.
#[derive(Debug)]
pub struct Daemon<'a> {
    /// Where.
    pub project: &'a Project,
    /// How.
    pub config: &'a Config,
    /// Its name.
    pub name: &'a str,
    /// What is executed.
    pub words: &'a [OsString],
    /// What was said in the place of the configuration, which has it in it already.
    pub overrides: &'a Overrides,
    /// The environment that it is started from, if not this process's.
    pub host: Option<Vec<(OsString, OsString)>>,
}

impl Daemon<'_> {
    /// Starts it under its own supervisor; gives its processes once its program was really executed. Why it could not
    /// be was printed.
    pub fn start(self) -> Result<Started> {
        crate::trust::require_with(self.project, self.config, self.overrides)?;
        built::require(self.project, self.config)?;
        let mut sandbox = ProjectSandbox::new(self.project, self.config);
        sandbox.isolation = self.overrides.isolation();
        sandbox.daemon = Some(self.name);
        sandbox.asks = self.overrides.asks_about(self.config)?;
        // The supervisor counts: `sbox stop --timeout` can give more time than the configuration, and less.
        sandbox.stop_timeout = Some(LONGEST_STOP);
        sandbox.host.clone_from(&self.host);
        let sandbox = sandbox.command(&self.config.workdir, self.words)?;
        let (options, values) = self.overrides.without_values();
        let mut command = Supervise {
            project: self.project,
            name: self.name,
            isolation: self.overrides.isolation(),
            options: &options,
            daemon: &self.config.daemon,
            workdir: &self.config.workdir,
            sandbox: &sandbox,
        }
        .command()?;
        if let Some(host) = &self.host {
            command.env_clear().envs(host.iter().map(|(name, value)| (name, value)));
        }
        command.env_remove(VALUES);
        if !values.is_empty() {
            // Where the rest of its environment is, and on no disk.
            let text = serde_json::to_string(&values).map_err(|error| Error::new(error.to_string()))?;
            command.env(VALUES, text);
        }
        // Its environment can be read: what it does not need is not in it.
        sandbox.withhold(&mut command);
        if let Err(error) = remember(self.project) {
            output::warn(error);
        }
        plumbing::trace(&command);
        started(plumbing::outlive_parent(&mut command))
    }
}

/// What sbox-spawn writes to `--status-fd`, and sbox-supervise to stdout, once a command was executed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Started {
    /// `started`.
    pub event: String,
    /// The first process of the sandbox.
    pub pid: i32,
    /// The command, which another program can join.
    pub command: i32,
}

/// Waits for the supervisor's word.
fn started(command: &mut Command) -> Result<Started> {
    let shown = || format!("start '{}'", plumbing::supervise::NAME);
    let mut supervisor = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context(shown)?;
    let mut line = String::new();
    if let Some(stdout) = supervisor.stdout.take() {
        BufReader::new(stdout).read_line(&mut line).context(shown)?;
    }
    if let Ok(started) = serde_json::from_str(&line) {
        return Ok(started);
    }
    let status = supervisor.wait().context(shown)?;
    Err(Error::reported(crate::status::of(status)))
}

/// How long a process that was killed may take to be gone.
const LAST_PATIENCE: Duration = Duration::from_secs(5);

/// Asks daemons to end, all at once, and waits until each is gone. Gives the names of those that did not go.
pub fn stop(project: &Project, records: &[Record], signal: Signal) -> Result<Vec<String>> {
    let mut asked = Vec::new();
    for record in records {
        // Each is held twice and never longer than needed: a thousand are more than a process may have open.
        let Some(supervisor) = record.hold() else { continue };
        match rustix::process::pidfd_send_signal(&supervisor, signal) {
            Ok(()) => asked.push((record, Instant::now())),
            Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(error).context(|| format!("stop '{}'", record.name)),
        }
    }
    let (mut left, mut killed) = (Vec::new(), HashSet::new());
    for (record, since) in &asked {
        let Some(supervisor) = record.hold() else { continue };
        // The supervisor ends what does not end by itself. One that hangs is ended itself, and its sandbox with it.
        let patience = Duration::from_secs(record.stop_timeout.min(86_400) + 15).saturating_sub(since.elapsed());
        if !is_gone(&supervisor, Some(patience)) {
            output::warn(format_args!("the supervisor of '{}' does not answer; it is killed", record.name));
            let init = record_init(record);
            let _ = rustix::process::pidfd_send_signal(&supervisor, Signal::KILL);
            let gone = is_gone(&supervisor, Some(LAST_PATIENCE));
            if !gone || init.is_some_and(|init| !is_gone(&init, Some(LAST_PATIENCE))) {
                left.push(record.name.clone());
                continue;
            }
            killed.insert(&record.supervisor);
        }
    }
    if !asked.is_empty() {
        // They are stopped, whether that can be written or not. This writes what none of them waited to write.
        let _ = processes::update(project, |records| {
            for own in records.iter_mut().filter(|own| killed.contains(&own.supervisor)) {
                (own.status, own.pid, own.command_pid, own.reason) = (State::Stopped, 0, 0, None);
            }
            Ok(())
        });
    }
    Ok(left)
}

fn record_init(record: &Record) -> Option<OwnedFd> {
    let pid = rustix::process::Pid::from_raw(record.pid)?;
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok()
}

/// Waits until the process is gone, at most for `patience` if there is one; tells whether it is.
pub fn is_gone(process: &OwnedFd, patience: Option<Duration>) -> bool {
    let end = patience.and_then(|patience| Instant::now().checked_add(patience));
    loop {
        let left = end.and_then(|end| Timespec::try_from(end.saturating_duration_since(Instant::now())).ok());
        match rustix::event::poll(&mut [PollFd::new(process, PollFlags::IN)], left.as_ref()) {
            Err(rustix::io::Errno::INTR) => {}
            result => return result.is_ok_and(|ready| ready > 0),
        }
    }
}

/// The daemon of this name; without one, the project's own, or the only one there is.
pub fn choose(project: &Project, records: &[Record], name: Option<&str>) -> Result<Record> {
    let own = name::default(project);
    let wanted = name.unwrap_or(&own);
    let live: Vec<&Record> = records.iter().filter(|record| record.status.is_live()).collect();
    let found = records.iter().find(|record| record.name == wanted);
    match (found, &live[..], records) {
        (Some(found), ..) => Ok(found.clone()),
        (None, [only], _) if name.is_none() => Ok((*only).clone()),
        (None, [], [only]) if name.is_none() => Ok(only.clone()),
        _ => {
            let names: Vec<&str> = records.iter().map(|record| record.name.as_str()).collect();
            let error = Error::new(format!("there is no daemon '{}'", escape::visible(wanted)));
            Err(match (suggest::did_you_mean(wanted, names.iter().copied()), names.is_empty()) {
                (_, true) => error.hint("sbox run -d starts one"),
                (Some(meant), _) => error.hint(format!("Did you mean '{meant}'?")),
                _ => error.hint(format!("there are: {}", escape::visible(&names.join(", ")))),
            })
        }
    }
}

/// Where the projects with daemons are remembered, one file for each.
fn remembered() -> Option<PathBuf> {
    let home = crate::fs::user_home()?;
    Some(home.join(".sbox/projects"))
}

fn remember(project: &Project) -> Result<()> {
    let Some(store) = remembered() else { return Ok(()) };
    let root = project.root().to_string_lossy().into_owned();
    let mark = store.join(&fs::sha256(root.as_bytes())[..32]);
    if mark.is_file() {
        return Ok(());
    }
    fs::make_dirs(&store)?;
    fs::write_atomic(&mark, format!("{root}\n").as_bytes(), 0o600)
}

/// All projects of this user in which daemons were started and that are still there. `all` are the supervisors that run.
pub fn projects(all: &[Living]) -> Vec<Project> {
    let marks = remembered().and_then(|store| std::fs::read_dir(store).ok()).into_iter().flatten().flatten();
    let mut roots: Vec<PathBuf> = all.iter().filter_map(|living| living.place.root()).map(Path::to_owned).collect();
    for mark in marks {
        let Some(text) = fs::read_plain(&mark.path()) else { continue };
        let root = PathBuf::from(String::from_utf8_lossy(&text).trim_end_matches('\n'));
        if root.join(".sbox").is_dir() {
            roots.push(root);
        } else {
            let _ = std::fs::remove_file(mark.path());
        }
    }
    roots.sort();
    roots.dedup();
    roots.iter().filter_map(|root| Project::at(root).ok()).collect()
}

/// Of all that run, the daemons whose project is gone: nothing but their supervisors knows of them.
pub fn orphans(all: &[Living]) -> Vec<Record> {
    let gone = all.iter().filter(|living| living.place.is_gone());
    let mut records: Vec<Record> = gone.map(|living| living.record.clone()).collect();
    for record in &mut records {
        record.reason = Some(format!("'{}' is gone; sbox stop --global {} ends it", record.project, record.name));
    }
    records
}
