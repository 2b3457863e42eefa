//! The command line of `sbox-spawn`, option by option. The order of the calls is the order of the options, and order is
//! meaning there: see sbox-spawn(1).

use super::program;
use crate::cow;
use crate::error::{Error, Result};
use crate::model::{Isolation, Limits, Network, NetworkMode, SYSTEM_PATH};
use crate::name_rules::NameRules;
use crate::operation::Op;
use rustix::fd::{AsFd, AsRawFd};
use serde::{Deserialize, Serialize};
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::{Command, Stdio};

/// A command line of `sbox-spawn` in the making.
#[derive(Debug)]
pub struct Spawn(Command);

impl Spawn {
    /// One without options: a sandbox in which there is nothing but the system.
    pub fn new() -> Result<Spawn> {
        Ok(Spawn(program("sbox-spawn")?))
    }

    fn option(mut self, name: &str, values: &[&OsStr]) -> Spawn {
        self.0.arg(name).args(values);
        self
    }

    /// The directory whose entries are the top-level entries of the sandbox, read-write.
    pub fn root(self, directory: &Path) -> Spawn {
        self.option("--root", &[directory.as_os_str()])
    }

    /// A directory of which nothing may be seen, wherever it lies in what is mounted.
    pub fn hide(self, directory: &Path) -> Spawn {
        self.option("--hide", &[directory.as_os_str()])
    }

    /// A file or directory of the host, read-only or not.
    pub fn bind(self, src: &Path, dst: &Path, read_only: bool) -> Spawn {
        self.option(if read_only { "--ro-bind" } else { "--bind" }, &[src.as_os_str(), dst.as_os_str()])
    }

    /// A directory that nothing on the host acts on, read-write: no file in it is protected.
    pub fn bind_unguarded(self, src: &Path, dst: &Path) -> Spawn {
        self.bind(src, dst, false).option("--unguarded", &[dst.as_os_str()])
    }

    /// A directory of the host, copy-on-write: changes go to the upper directory in `layer`.
    pub fn cow(self, src: &Path, dst: &Path, layer: &Path) -> Spawn {
        self.option("--cow", &[src.as_os_str(), dst.as_os_str(), layer.as_os_str()])
    }

    /// The same with a layer, by its kind.
    pub fn layer(self, layer: &cow::Layer) -> Spawn {
        match layer.kind() {
            cow::Kind::Overlay => self.cow(layer.src(), layer.dst(), layer.path()),
            cow::Kind::Copy => self.bind_unguarded(&layer.changes(), layer.dst()),
        }
    }

    /// A symbolic link.
    pub fn symlink(self, target: &Path, place: &Path) -> Spawn {
        self.option("--symlink", &[target.as_os_str(), place.as_os_str()])
    }

    /// A device of the host, or a directory of them, at its own place.
    pub fn device(self, node: &Path) -> Spawn {
        self.option("--dev-bind", &[node.as_os_str(), node.as_os_str()])
    }

    /// A small file that the agent can only read.
    pub fn file(self, place: &Path, text: &str) -> Spawn {
        self.option("--file", &[place.as_os_str(), text.as_ref()])
    }

    /// A directory that an agent may have written: no link leads to it.
    pub fn bind_nofollow(self, src: &Path, dst: &Path) -> Spawn {
        self.option("--bind-nofollow", &[src.as_os_str(), dst.as_os_str()])
    }

    /// A directory that nobody changes: what the agent changes of it goes to the upper directory in `layer`, which no other
    /// sandbox has.
    pub fn overlay(self, src: &Path, dst: &Path, layer: &Path) -> Spawn {
        self.option("--overlay", &[src.as_os_str(), dst.as_os_str(), layer.as_os_str()])
    }

    /// The level that is asked for.
    pub fn isolation(self, isolation: Isolation) -> Spawn {
        self.option("--isolation", &[isolation.name().as_ref()])
    }

    /// The host name inside.
    pub fn hostname(self, name: &str) -> Spawn {
        self.option("--hostname", &[name.as_ref()])
    }

    /// Where the command starts.
    pub fn chdir(self, directory: &str) -> Spawn {
        self.option("--chdir", &[directory.as_ref()])
    }

    /// The network mode alone; what a proxy lets through comes with [`Spawn::network`].
    pub fn network_mode(self, mode: NetworkMode) -> Spawn {
        self.option("--network", &[mode.name().as_ref()])
    }

    /// The names that can be reached; nothing is recorded.
    pub fn names(self, allow: &[&str]) -> Spawn {
        let spawn = self.network_mode(NetworkMode::Proxy);
        allow.iter().fold(spawn, |spawn, name| spawn.option("--allow", &[name.as_ref()]))
    }

    /// What can be reached, and where requests are recorded: refused ones, and all where that was asked for.
    pub fn network(mut self, network: &Network, rules: &NameRules, access_log: &Path, records_all: bool) -> Spawn {
        self = self.network_mode(network.mode());
        if let Network::Allow { log, .. } = network {
            for (option, rules) in [("--allow", &rules.allow), ("--deny", &rules.deny)] {
                for rule in rules {
                    self = self.option(option, &[rule.rule.to_string().as_ref()]);
                }
            }
            let option = if *log || records_all { "--access-log" } else { "--refusal-log" };
            self = self.option(option, &[access_log.as_os_str()]);
        }
        self
    }

    /// Where the values of secrets can be asked for.
    pub fn secrets_fd(self, control: impl AsFd) -> Spawn {
        self.option("--secrets-fd", &[control.as_fd().as_raw_fd().to_string().as_ref()])
    }

    /// Ports of the host's loopback that lead to ports inside.
    pub fn ports(mut self, ports: &[(u16, u16)]) -> Spawn {
        for (host, inside) in ports {
            self = self.option("--port", &[format!("{host}:{inside}").as_ref()]);
        }
        self
    }

    /// Ports inside that lead to ports of the host's loopback.
    pub fn reach(mut self, reach: &[(u16, u16)]) -> Spawn {
        for (host, inside) in reach {
            self = self.option("--reach", &[format!("{host}:{inside}").as_ref()]);
        }
        self
    }

    /// What may be used.
    pub fn limits(mut self, limits: &Limits) -> Spawn {
        for limit in limits.written() {
            self = self.option("--limit", &[limit.as_ref()]);
        }
        self
    }

    /// Seconds that everything inside has to end at SIGTERM; without it the command alone gets the signal.
    pub fn stop_timeout(self, seconds: u64) -> Spawn {
        self.option("--stop-timeout", &[seconds.to_string().as_ref()])
    }

    /// The directory of the record, and which command this is.
    pub fn record(self, place: &Path, who: &str) -> Spawn {
        self.option("--record", &[place.as_os_str()]).option("--record-as", &[who.as_ref()])
    }

    /// A project that is removed at the end, unless changes wait in its copy-on-write mounts.
    pub fn ephemeral(self, root: &Path) -> Spawn {
        self.option("--ephemeral", &[root.as_os_str()])
    }

    /// Where each path goes that the command looks up.
    pub fn learn(self, file: &Path) -> Spawn {
        self.option("--learn", &[file.as_os_str()])
    }

    /// Lets names through that no rule has.
    pub fn any_name(mut self) -> Spawn {
        self.0.arg("--any-name");
        self
    }

    /// Asks about them, for the project at `root`.
    pub fn ask(self, root: &Path) -> Spawn {
        self.option("--ask", &[root.as_os_str()])
    }

    /// Whether namespaces of the command's own are allowed.
    pub fn nested(mut self, nested: bool) -> Spawn {
        if nested {
            self.0.arg("--nested");
        }
        self
    }

    /// Enters the sandbox that process `pid` is in, instead of making one.
    pub fn join(self, pid: i32) -> Spawn {
        self.option("--join", &[pid.to_string().as_ref()])
    }

    /// A variable of the command.
    pub fn setenv(self, name: &str, value: &OsStr) -> Spawn {
        self.option("--setenv", &[name.as_ref(), value])
    }

    /// A variable of the command with the value that it has here: a password in it is not in the arguments.
    pub fn env(self, name: &str) -> Spawn {
        self.option("--env", &[name.as_ref()])
    }

    /// The whole environment of the command, to be read from an inherited descriptor: it may hold secrets, and those never
    /// travel in arguments.
    pub fn env_fd(self, environment: impl AsFd) -> Spawn {
        self.option("--env-fd", &[environment.as_fd().as_raw_fd().to_string().as_ref()])
    }

    /// The command that runs `words` with nothing but the environment at `prefix`.
    fn in_it_alone(self, prefix: &Path, words: &[OsString]) -> Command {
        let mut path = prefix.join("bin").into_os_string();
        path.push(":");
        path.push(SYSTEM_PATH);
        self.network_mode(NetworkMode::None).setenv("PATH", &path).command(words)
    }

    /// The operations that would make the root, without making it.
    pub fn plan(mut self) -> Result<Vec<Op>> {
        self.0.arg("--dry-run");
        let text = super::output(&mut self.0)?;
        let op = |line: &[u8]| {
            serde_json::from_slice(line)
                .map_err(|error| Error::new(format!("cannot read the plan of a sandbox: {error}")))
        };
        text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(op).collect()
    }

    /// The command that runs `words`.
    pub fn command(mut self, words: &[OsString]) -> Command {
        self.0.arg("--").args(words);
        self.0
    }
}

/// A command that runs `words` of an environment with nothing but it: no project, no network, no variable of the user's.
/// `directory` appears as `prefix`, which is the path that is written in the environment's files.
pub fn in_prefix(directory: &Path, prefix: &Path, words: &[OsString]) -> Result<Command> {
    Ok(Spawn::new()?.bind_nofollow(directory, prefix).in_it_alone(prefix, words))
}

/// The same of an environment that must stay as it is.
pub fn in_read_only_prefix(directory: &Path, prefix: &Path, words: &[OsString]) -> Result<Command> {
    Ok(Spawn::new()?.bind(directory, prefix, true).in_it_alone(prefix, words))
}

/// Shows what changed on the host in the copy-on-write mounts of the running sandbox that process `pid` is in.
pub fn refresh(pid: i32) -> Result<()> {
    super::output(Spawn::new()?.join(pid).0.arg("--refresh").stdin(Stdio::null())).map(drop)
}

/// What the command line of a running `sbox-spawn` says of its sandbox.
#[derive(Debug)]
pub struct Described<'a> {
    /// The root of its project, if it has one.
    pub project: &'a str,
    /// How it reaches a network.
    pub network: &'a str,
    /// What it runs.
    pub command: &'a [String],
}

impl Described<'_> {
    /// Reads its words.
    pub fn of(words: &[String]) -> Described<'_> {
        let root = super::value(words, "--root").unwrap_or("/");
        let at = words.iter().position(|word| word == "--").map_or(words.len(), |at| at + 1);
        Described {
            project: root.strip_suffix("/.sbox/rootfs").unwrap_or(root),
            network: super::value(words, "--network").unwrap_or(NetworkMode::Host.name()),
            command: &words[at..],
        }
    }
}

/// What `sbox-spawn --probe` says of this host.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Probe {
    /// The level that is given when one is asked for; `none` if it cannot be had.
    pub level: String,
    /// Whether level `namespace` can be had.
    pub namespace: bool,
    /// The version of the kernel's Landlock, 0 without it.
    pub landlock: i64,
    /// What counts limits: `cgroup` or `rlimit`.
    pub limits: String,
    /// Why level `namespace` cannot be had.
    pub reason: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
    /// Of a copy-on-write mount that was asked for: `overlay` or `unavailable`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cow: Option<String>,
    /// Why it is unavailable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cow_reason: Option<String>,
}

impl Probe {
    /// Whether the copy-on-write mount that was asked for would be an overlay.
    fn has_overlay(&self) -> bool {
        self.level == "namespace" && self.cow.as_deref() != Some("unavailable")
    }
}

/// Whether a directory can be mounted copy-on-write here. Where that cannot be said, it is tried.
pub fn can_overlay(isolation: Isolation, src: &Path, dst: &Path, layer: &Path) -> bool {
    let reply = ask(|spawn| spawn.isolation(isolation).cow(src, dst, layer));
    reply.is_none_or(|reply| reply.has_overlay())
}

/// Whether [`Spawn::overlay`] can be had here. Where that cannot be said, it cannot.
pub fn can_overlay_own(src: &Path, dst: &Path, layer: &Path) -> bool {
    let reply = ask(|spawn| spawn.isolation(Isolation::Namespace).overlay(src, dst, layer));
    reply.is_some_and(|reply| reply.has_overlay())
}

/// What this host supports when a directory is to be mounted copy-on-write.
pub fn probe_overlay(src: &Path, layer: &Path) -> Probe {
    ask(|spawn| spawn.isolation(Isolation::Namespace).cow(src, Path::new("/work"), layer)).unwrap_or_else(cannot_ask)
}

/// What this host supports when a level is asked for, from the program that would use it.
pub fn probe(isolation: Isolation) -> Probe {
    ask(|spawn| spawn.isolation(isolation)).unwrap_or_else(cannot_ask)
}

fn ask(options: impl FnOnce(Spawn) -> Spawn) -> Option<Probe> {
    let mut command = options(Spawn::new().ok()?).0;
    let output = command.arg("--probe").stderr(Stdio::null()).output().ok()?;
    serde_json::from_slice(&output.stdout).ok()
}

fn cannot_ask() -> Probe {
    Probe { level: "none".into(), reason: Some("sbox-spawn cannot be started".into()), ..Probe::default() }
}
