//! A place of its own for each test, and our programs with a cleared environment.

pub mod conda;
pub mod cow;
pub mod daemons;
pub mod http;
pub mod ptrace;
pub mod pty;
pub mod skip;
pub mod specimens;
#[cfg(feature = "secrets")]
pub mod tls;

use assert_cmd::Command;
use skip::{skip, skip_unless};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Where our programs are: beside the one that cargo built for this suite, or where the runner put them.
pub fn bin() -> PathBuf {
    std::env::var_os("SBOX_TEST_BIN")
        .map(PathBuf::from)
        .unwrap_or_else(|| Path::new(env!("CARGO_BIN_EXE_sbox")).parent().unwrap().to_owned())
}

/// The root of the package.
pub fn package() -> PathBuf {
    std::env::var_os("SBOX_TEST_PACKAGE").map(PathBuf::from).unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into())
}

fn base() -> PathBuf {
    std::env::var_os("SBOX_TEST_DIR").map(PathBuf::from).unwrap_or_else(|| env!("CARGO_TARGET_TMPDIR").into())
}

/// A directory of one test, with a home in it. Removed at the end.
pub struct Scratch {
    pub root: PathBuf,
}

impl Scratch {
    pub fn new(name: &str) -> Scratch {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let root = base().join(format!("{name}-{}-{number}", std::process::id()));
        std::fs::create_dir_all(root.join("home")).unwrap();
        Scratch { root: root.canonicalize().unwrap() }
    }

    /// The same where a sandbox can be made; says that the test is skipped where none can.
    pub fn sandbox(name: &str) -> Option<Scratch> {
        need_sandbox().then(|| Scratch::new(name))
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.root.join(below)
    }

    pub fn home(&self) -> PathBuf {
        self.path("home")
    }

    pub fn write(&self, below: &str, text: &str) -> PathBuf {
        let path = self.path(below);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    pub fn read(&self, below: &str) -> String {
        std::fs::read_to_string(self.path(below)).unwrap()
    }

    /// One of our programs, started in this directory, with nothing of the caller's environment but what finds
    /// interpreters. The cache is this test's own.
    pub fn program(&self, name: &str) -> Command {
        let mut command = Command::new(bin().join(name));
        command.env_clear().current_dir(&self.root).env("HOME", self.home()).env("PATH", path());
        // Nothing is fetched from anywhere: a test that wants micromamba says where it is.
        command.env("SBOX_MAMBA_URL", "http://127.0.0.1:9/nothing-is-there");
        for name in ["PYENV_ROOT", "NODE_EXTRA_CA_CERTS", "PIP_CERT"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
    }

    /// `sbox` in the project at `below`, with the cache that the suite shares: entries are immutable, so that tests
    /// cannot disturb each other through it.
    pub fn sbox(&self, below: &str) -> Command {
        let mut command = self.program("sbox");
        command.current_dir(self.path(below)).env("SBOX_CACHE", cache());
        command
    }

    /// The same for a test of package registries: with what the caller's environment says of the way to them.
    pub fn sbox_online(&self, below: &str) -> Command {
        let mut command = self.sbox(below);
        command.envs(std::env::vars_os().filter(|(name, _)| {
            let name = name.to_string_lossy().to_lowercase();
            ["ssl_cert_", "curl_ca_", "requests_ca_", "pip_", "npm_config_"].iter().any(|start| name.starts_with(start))
                || name.ends_with("_proxy")
        }));
        command
    }

    /// A project with this configuration, as `sbox init` makes one: it is the user's own.
    pub fn project(&self, below: &str, config: &str) -> PathBuf {
        let root = self.strange_project(below, config);
        let project = libsbox::project::Project::at(&root).unwrap();
        self.write(&format!("home/.sbox/trust/{}", libsbox::trust::own_mark(&project).unwrap()), "");
        root
    }

    /// A project with this configuration, which nobody has accepted.
    pub fn strange_project(&self, below: &str, config: &str) -> PathBuf {
        self.write(&format!("{below}/.sbox/config.yaml"), config);
        self.path(below)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::thread::panicking() || std::fs::remove_dir_all(&self.root).is_ok() {
            return;
        }
        // The kernel's own directory in an overlay is closed to its owner, who is no longer root.
        let _ = std::process::Command::new("chmod").args(["-R", "u+rwx"]).arg(&self.root).output();
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

/// PATH of the caller without directories of our own programs: tests say where those are.
fn path() -> std::ffi::OsString {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    let places = std::env::split_paths(&path).filter(|place| !place.join("sbox-spawn").exists());
    std::env::join_paths(places).unwrap()
}

/// The cache that the suite shares.
pub fn cache() -> PathBuf {
    base().join("cache")
}

/// Set where every test of a sandbox must run: what is missing for it is then a failure.
const MUST_SANDBOX: &str = "SBOX_TEST_MUST_SANDBOX";

/// Whether this host can make a sandbox; `SBOX_TEST_MUST_SANDBOX=1` makes the lack of one a failure.
pub fn need_sandbox() -> bool {
    static WORKS: OnceLock<bool> = OnceLock::new();
    let works = WORKS.get_or_init(|| {
        std::process::Command::new(bin().join("sbox-spawn"))
            .arg("--probe")
            .output()
            .is_ok_and(|output| output.status.success())
    });
    *works || skip_unless(MUST_SANDBOX, "this host cannot make a sandbox")
}

/// Whether this host has a program that a test attacks with.
pub fn need_program(name: &str) -> bool {
    let places = std::env::var_os("PATH").unwrap_or_default();
    let is_there = std::env::split_paths(&places).any(|place| place.join(name).is_file());
    is_there || skip_unless(MUST_SANDBOX, &format!("this host has no '{name}'"))
}

pub fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|metadata| std::os::unix::fs::MetadataExt::uid(&metadata) == 0)
}

/// Half of what root's sandboxes do differently is for root to see, half for everybody else: `.ci/run` is both.
pub fn need_root() -> bool {
    is_root() || skip("only root can do this")
}

pub fn need_ordinary_user() -> bool {
    !is_root() || skip("only an ordinary user can do this")
}

/// Whether package registries may be used: only where `SBOX_TEST_ONLINE=1` says so.
pub fn need_registries() -> bool {
    let online = std::env::var_os("SBOX_TEST_ONLINE").is_some();
    (online || skip("it needs package registries; set SBOX_TEST_ONLINE=1")) && need_sandbox()
}

/// A Python that this host can give, as a spec; `SBOX_TEST_MUST_SANDBOX=1` makes the lack of one a failure.
pub fn need_python() -> Option<&'static str> {
    static SPEC: OnceLock<Option<&'static str>> = OnceLock::new();
    let spec = SPEC.get_or_init(|| {
        let scratch = Scratch::new("find-python");
        ["python:3.11", "python:3.12", "python:3.13", "python:3.10", "python:3.9"].into_iter().find(|spec| {
            scratch.program("sbox-mkenv-host").args(["--resolve", spec]).output().unwrap().status.success()
        })
    });
    if !need_sandbox() {
        return None;
    }
    if spec.is_none() {
        skip_unless(MUST_SANDBOX, "this host has no Python");
    }
    *spec
}

/// A process that ends with its test, also with one that fails: what it holds open (the terminal, a pipe) would keep the
/// reader of this suite's output waiting.
pub struct Ends(pub std::process::Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn stdout(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn stderr(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Every program of the package, from its manifest.
pub fn programs() -> Vec<String> {
    let manifest = std::fs::read_to_string(package().join("Cargo.toml")).unwrap();
    let bins = manifest.split("[[bin]]").skip(1);
    bins.map(|bin| bin.split("name = \"").nth(1).unwrap().split('"').next().unwrap().to_owned()).collect()
}

/// How many processes of this host run `program` with `marker` somewhere in their arguments.
pub fn running(program: &str, marker: &str) -> usize {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    let is_one = |line: &Vec<u8>| {
        let line = String::from_utf8_lossy(line).into_owned();
        let first = line.split('\0').next().unwrap_or_default();
        first.rsplit('/').next() == Some(program) && line.contains(marker)
    };
    lines.filter(is_one).count()
}

/// Waits for something to become true. A minute: on a host that does other things, too, everything comes late.
pub fn becomes(what: impl Fn() -> bool) -> bool {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        if what() {
            return true;
        }
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs a program on a terminal of its own; gives all that appeared there.
pub fn on_a_terminal(command: &Command) -> String {
    const PTY: &str = "import pty, sys\ncode = pty.spawn(sys.argv[1:])\nprint('code', code >> 8)";
    let mut terminal = std::process::Command::new("python3");
    terminal.args(["-c", PTY]).arg(command.get_program()).args(command.get_args());
    terminal.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(directory) = command.get_current_dir() {
        terminal.current_dir(directory);
    }
    let output = terminal.stdin(std::process::Stdio::null()).output().unwrap();
    stdout(&output).replace("\r\n", "\n") + &stderr(&output)
}
