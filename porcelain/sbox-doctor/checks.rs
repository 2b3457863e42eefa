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
    checks.push(network());
    checks.push(limits(&probe));
    checks.push(nested());
    checks.extend(root());
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
    let state = if level == "landlock" { State::Weaker } else { State::Missing };
    check("sandbox", state, format!("level '{level}' only: {reason}"), probe.hint.as_deref())
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
            Some(
                "for enforcement by the kernel, start sbox where cgroups are delegated: systemd-run --user --scope -p Delegate=yes sbox run",
            ),
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
