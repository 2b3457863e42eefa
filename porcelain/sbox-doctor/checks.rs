//! One thing after the other that sbox needs, each by trying it where it can be tried.

use libsbox::error::Result;
use libsbox::escape;
use libsbox::model::{Isolation, Level};
use libsbox::plumbing;
use libsbox::plumbing::spawn::{self, Probe, Spawn};
use libsbox::promises::{self, Host};
use libsbox::provider;
use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// What became of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Good,
    /// It works, with less.
    Weaker,
    Missing,
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            State::Good => "good",
            State::Weaker => "weaker",
            State::Missing => "missing",
        }
    }
}

#[derive(Debug)]
pub struct Check {
    pub name: &'static str,
    pub state: State,
    pub found: String,
    pub fix: Option<String>,
}

fn check(name: &'static str, state: State, found: impl Into<String>, fix: Option<&str>) -> Check {
    Check { name, state, found: found.into(), fix: fix.map(str::to_owned) }
}

/// All of them, in the order in which one depends on another.
pub fn all() -> Result<Vec<Check>> {
    let probe = spawn::probe(Isolation::Auto);
    let mut checks = vec![sandbox(&probe)];
    checks.extend(settings());
    checks.push(system_calls(&probe));
    checks.push(landlock(&probe));
    if probe.namespace {
        checks.push(copy_on_write());
        checks.push(network());
        checks.push(nested());
        checks.extend(root());
    } else {
        // Without a sandbox of that level there is none of it, for the reason above.
        checks.push(check("copy-on-write", State::Weaker, no_overlay(probe.level.parse().ok()), None));
        checks.push(check("network of names", State::Missing, "not there without level 'namespace'", None));
        checks.push(check("nested", State::Weaker, "not there without level 'namespace'", None));
    }
    checks.push(limits(&probe));
    checks.extend(noexec());
    checks.push(host());
    checks.extend(runtimes());
    Ok(checks)
}

fn sandbox(probe: &Probe) -> Check {
    if probe.namespace {
        return check(
            "sandbox",
            State::Good,
            "level 'namespace': user namespaces, mounts and a separate /proc work",
            None,
        );
    }
    let reason = probe.reason.as_deref().unwrap_or("the reason is not known");
    let level = probe.level.as_str();
    let (state, found) = match level {
        "none" => (State::Missing, format!("none: {reason}")),
        "landlock" => (State::Weaker, format!("level '{level}' only: {reason}")),
        _ => (State::Missing, format!("level '{level}' only: {reason}")),
    };
    check("sandbox", state, found, probe.hint.as_deref())
}

fn setting(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// What an administrator or a distribution can have set against user namespaces. Each is only named where it is there.
fn settings() -> Vec<Check> {
    let mut checks = Vec::new();
    if let Some(most) = setting("/proc/sys/user/max_user_namespaces") {
        checks.push(match most.as_str() {
            "0" => check(
                "user namespaces",
                State::Missing,
                "user.max_user_namespaces is 0",
                Some("an administrator: sysctl user.max_user_namespaces=15000, and a file in /etc/sysctl.d to keep it"),
            ),
            most => check("user namespaces", State::Good, format!("up to {most} for each user"), None),
        });
    }
    if setting("/proc/sys/kernel/unprivileged_userns_clone").as_deref() == Some("0") {
        checks.push(check(
            "user namespaces",
            State::Missing,
            "kernel.unprivileged_userns_clone is 0",
            Some("an administrator: sysctl kernel.unprivileged_userns_clone=1, and a file in /etc/sysctl.d to keep it"),
        ));
    }
    match setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").as_deref() {
        Some("1") => {
            let works = spawn::probe(Isolation::Namespace).namespace;
            checks.push(match works {
                true => check("AppArmor", State::Good, "restricts user namespaces, and lets sbox make them", None),
                false => check("AppArmor", State::Missing, "lets only programs with a profile make user namespaces",
                    Some("an administrator: sbox doctor --apparmor-profile > /etc/apparmor.d/sbox-spawn && apparmor_parser -r /etc/apparmor.d/sbox-spawn")),
            });
        }
        Some(_) => checks.push(check("AppArmor", State::Good, "does not restrict user namespaces", None)),
        None => {}
    }
    checks
}

/// Runs a command in a bare sandbox.
fn run(options: impl FnOnce(Spawn) -> Spawn, words: &[&str]) -> Option<Output> {
    let spawn = options(Spawn::new().ok()?.isolation(Isolation::Namespace));
    spawn.command(&words.iter().map(OsString::from).collect::<Vec<_>>()).stdin(Stdio::null()).output().ok()
}

fn succeeded(output: &Option<Output>) -> bool {
    output.as_ref().is_some_and(|output| output.status.success())
}

/// The last line of what a program said was wrong, without our label.
fn said(output: &Option<Output>) -> String {
    let text = output.as_ref().map(|output| String::from_utf8_lossy(&output.stderr).into_owned()).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("[ERROR]")).unwrap_or("it does not start");
    line.trim_start_matches("[ERROR] sbox-spawn: ").to_owned()
}

fn system_calls(probe: &Probe) -> Check {
    if !probe.namespace {
        // What a sandbox needs first is missing, and said above.
        return check("system calls", State::Missing, "not tried: there is no sandbox of level 'namespace'", None);
    }
    let output = run(|spawn| spawn, &["grep", "-q", "^Seccomp:[[:space:]]*2", "/proc/self/status"]);
    match succeeded(&output) {
        true => check("system calls", State::Good, "filtered (seccomp)", None),
        false => check("system calls", State::Missing, said(&output), Some("the kernel needs CONFIG_SECCOMP_FILTER")),
    }
}

fn landlock(probe: &Probe) -> Check {
    const BOOT: &str = "Linux 5.13 and later have it; 'landlock' must be in the list of the boot parameter 'lsm='";
    let found = match probe.landlock {
        0 => "none".to_owned(),
        version => format!("version {version}"),
    };
    let host = Host { landlock: probe.landlock, keeps_root: false };
    let lost = promises::lost_here(probe.level.parse().unwrap_or(Level::Namespace), &host);
    match (probe.landlock, lost.is_empty()) {
        (0, true) => check("Landlock", State::Weaker, found, Some(BOOT)),
        (_, true) => check("Landlock", State::Good, found, None),
        (0, false) => check("Landlock", State::Weaker, format!("{found}: {}", lost.join("; ")), Some(BOOT)),
        _ => check(
            "Landlock",
            State::Weaker,
            format!("{found}: {}", lost.join("; ")),
            Some("version 6 comes with Linux 6.12; 'network: none' or a list of names closes the sockets too"),
        ),
    }
}

/// Named only where it is: an environment in this directory, or the self-test, would start nothing.
fn noexec() -> Option<Check> {
    let here = std::env::current_dir().ok().filter(|here| !libsbox::fs::runs_programs(here))?;
    Some(check(
        "this directory",
        State::Missing,
        format!(
            "'{}' is on a file system that is mounted noexec: no program of a sandbox here can start",
            escape::visible_path(&here)
        ),
        Some("keep the project on another file system"),
    ))
}

/// What a `cow` mount is where there is no overlay.
fn no_overlay(level: Option<Level>) -> String {
    match level {
        Some(Level::Namespace | Level::Landlock) => "by a private copy, made at the first run".into(),
        _ => "not there".into(),
    }
}

/// Whether the directory that this is started in can be shown copy-on-write by an overlay: the file system decides.
fn copy_on_write() -> Check {
    const NAME: &str = "copy-on-write";
    let tried = || -> Option<Probe> {
        let here = std::env::current_dir().ok()?.canonicalize().ok()?;
        // A project has its layers below `.sbox`.
        let place = Some(here.join(".sbox")).filter(|place| place.is_dir()).unwrap_or_else(|| here.clone());
        let layer = place.join(format!(".doctor-{}", std::process::id()));
        let made = ["upper", "work"].iter().try_for_each(|part| std::fs::create_dir_all(layer.join(part)));
        let probe = made.ok().map(|()| spawn::probe_overlay(&here, &layer));
        let _ = libsbox::fs::remove_tree(&layer);
        probe
    };
    match tried() {
        None => check(NAME, State::Weaker, "not tried: this directory cannot be written", None),
        Some(probe) if probe.cow.as_deref() == Some("overlay") => {
            check(NAME, State::Good, "an overlay works in this directory", None)
        }
        Some(probe) => {
            let why = probe.cow_reason.unwrap_or_else(|| "an overlay cannot be had".into());
            check(
                NAME,
                State::Weaker,
                format!("{}: {why}", no_overlay(Some(Level::Namespace))),
                Some(
                    "an overlay needs Linux 5.11 or later, and a directory on a local file system such as ext4, xfs, btrfs or tmpfs",
                ),
            )
        }
    }
}

fn network() -> Check {
    let output = run(|spawn| spawn.names(&["example.org"]), &["true"]);
    match succeeded(&output) {
        true => check("network of names", State::Good, "a network namespace and a proxy work", None),
        false => {
            check("network of names", State::Missing, said(&output), Some("'network: host' and 'none' may work still"))
        }
    }
}

fn limits(probe: &Probe) -> Check {
    match probe.limits.as_str() {
        "cgroup" => check("limits", State::Good, "its own control group", None),
        _ => check(
            "limits",
            State::Weaker,
            "per-process limits, and the total is checked 20 times a second; buffers of sockets and pipes are not counted",
            // sd_booted(3): whether there is a systemd that could delegate.
            Some(if Path::new("/run/systemd/system").is_dir() {
                "for enforcement by the kernel, start sbox where cgroups are delegated: systemd-run --user --scope -p Delegate=yes sbox run"
            } else {
                "for enforcement by the kernel, start sbox in a control group of its own that it may write (cgroup v2, with the controllers memory, pids and cpu)"
            }),
        ),
    }
}

/// An agent's own sandbox in ours, and what engines in it need.
fn nested() -> Check {
    if !Path::new("/usr/bin/unshare").exists() {
        return check("nested", State::Weaker, "not tried: unshare(1) is not here", None);
    }
    let overlay = "mkdir -p /tmp/l /tmp/u /tmp/w /tmp/m && mount -t tmpfs none /tmp/u && mkdir /tmp/u/u /tmp/u/w && mount -t overlay overlay -o lowerdir=/tmp/l,upperdir=/tmp/u/u,workdir=/tmp/u/w /tmp/m";
    if succeeded(&run(|spawn| spawn.nested(true), &["unshare", "-rm", "sh", "-c", overlay])) {
        return check("nested", State::Good, "'nested: true' works, with overlays", None);
    }
    match succeeded(&run(|spawn| spawn.nested(true), &["unshare", "-r", "true"])) {
        true => check("nested", State::Weaker, "'nested: true' works, without overlays", None),
        // user_namespaces(7): the uid 0 may be mapped again by those alone who have CAP_SETFCAP, Linux 5.12.
        false if rustix::process::geteuid().is_root() => check(
            "nested",
            State::Weaker,
            "an agent that root starts cannot use its own sandbox: the kernel lets uid 0 make no user namespaces without capabilities",
            Some("start sbox as an ordinary user"),
        ),
        false => check("nested", State::Weaker, "an agent cannot use its own sandbox", None),
    }
}

/// Root's sandboxes get a uid that nobody has, if the file system can.
fn root() -> Option<Check> {
    let outside = roots_uid()?;
    Some(match outside.as_deref() {
        Some("0") | None => check(
            "started by root",
            State::Weaker,
            promises::lost_here(Level::Namespace, &Host { landlock: i64::MAX, keeps_root: true }).join("; "),
            Some(
                "start it as an ordinary user, or keep the project on a file system with idmapped mounts (ext4, xfs, btrfs, tmpfs)",
            ),
        ),
        Some(id) => check(
            "started by root",
            State::Good,
            format!("the agent is uid {id} to the kernel (idmapped mounts)"),
            None,
        ),
    })
}

/// Whether sandboxes of this user, who is root, have root's uid.
pub fn keeps_root() -> bool {
    roots_uid().is_some_and(|outside| outside.as_deref() == Some("0"))
}

/// The uid that root's sandboxes have outside; `None` for others than root.
fn roots_uid() -> Option<Option<String>> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let here = std::env::current_dir().ok()?;
    let spawn = Spawn::new().ok()?.bind(&here, Path::new("/here"), true);
    let mut command = spawn.command(&["cat", "/proc/self/uid_map"].map(OsString::from));
    let output = command.stdin(Stdio::null()).output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).split_whitespace().nth(1).map(str::to_owned))
}

fn host() -> Check {
    let version = setting("/proc/version").unwrap_or_default();
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let container = ["/.dockerenv", "/run/.containerenv"].iter().any(|mark| Path::new(mark).exists());
    let kind = match (version.to_lowercase().contains("microsoft"), container) {
        (true, _) => ", WSL",
        (_, true) => ", in a container",
        _ => "",
    };
    check("host", State::Good, format!("Linux {release}{kind}"), None)
}

fn runtimes() -> Vec<Check> {
    let python = match provider::python_of_this_host() {
        Ok(Some(runtime)) => {
            check("Python", State::Good, format!("{runtime} and perhaps others (provider 'host')"), None)
        }
        _ => check(
            "Python",
            State::Weaker,
            "no interpreter that can be copied was found",
            Some("install python3 with its venv module, or pyenv or uv"),
        ),
    };
    let npm = Command::new("npm")
        .arg("--version")
        .stderr(Stdio::null())
        .output()
        .ok()
        .filter(|output| output.status.success());
    let node = match npm {
        Some(output) => check(
            "Node.js",
            State::Good,
            format!("any version (provider 'npm', npm {})", String::from_utf8_lossy(&output.stdout).trim()),
            None,
        ),
        None => {
            check("Node.js", State::Weaker, "npm was not found", Some("install npm: Node.js itself is a package there"))
        }
    };
    vec![python, node, conda()]
}

/// Whether the provider of most runtimes has its program, without fetching anything.
fn conda() -> Check {
    match plumbing::porcelain::micromamba() {
        Some(path) => {
            let path = escape::visible(String::from_utf8_lossy(&path).trim_end_matches('\n'));
            check("conda", State::Good, format!("micromamba is there: {path} (provider 'conda')"), None)
        }
        None => check(
            "conda",
            State::Weaker,
            "micromamba is not there yet: a build tries to download it (provider 'conda')",
            Some("sbox fetch-mamba does it now, or says how to do it by hand"),
        ),
    }
}
