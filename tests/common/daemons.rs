//! A project that can run without having been built, and daemons that end with their test.

use super::{Scratch, bin, stdout};
use assert_cmd::Command;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A project whose environment is empty: its commands are the system's.
pub struct Standing {
    pub scratch: Scratch,
}

impl Standing {
    pub fn new(name: &str, config: &str) -> Standing {
        let scratch = Scratch::new(name);
        let root = scratch.project("p", &format!("runtime: node:22\nworkdir: /\n{config}"));
        for dir in ["env", "rootfs/app", "rootfs/home", "rootfs/tmp", "logs"] {
            std::fs::create_dir_all(root.join(".sbox").join(dir)).unwrap();
        }
        let built = json!({"version": "1", "built_at": "2026-01-30T12:00:00Z", "prefix": root.join(".sbox/env")});
        scratch.write("p/.sbox/built.json", &built.to_string());
        Standing { scratch }
    }

    /// The same where a sandbox can be made; says that the test is skipped where none can.
    pub fn sandbox(name: &str, config: &str) -> Option<Standing> {
        super::need_sandbox().then(|| Standing::new(name, config))
    }

    pub fn sbox(&self, words: &[&str]) -> Command {
        let mut command = self.scratch.sbox("p");
        command.args(words).timeout(std::time::Duration::from_secs(60));
        command
    }

    /// Runs a line as a daemon and waits until it runs.
    pub fn start(&self, name: &str, line: &str) {
        self.sbox(&["run", "-d", "-n", name, line]).assert().success();
    }

    /// Lets go what waits for [`GATE`].
    pub fn open_gate(&self) {
        std::fs::write(self.state("rootfs/tmp/gate"), "").unwrap();
    }

    /// What `ps` says of a daemon; null if it knows none.
    pub fn ps(&self, name: &str) -> Value {
        let all: Vec<Value> = serde_json::from_str(&stdout(&self.sbox(&["ps", "-a", "-j"]).output().unwrap())).unwrap();
        all.into_iter().find(|one| one["name"] == name).unwrap_or_default()
    }

    pub fn status(&self, name: &str) -> String {
        self.ps(name)["status"].as_str().unwrap_or_default().to_owned()
    }

    pub fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.state(&format!("logs/{name}.log"))).unwrap_or_default()
    }

    pub fn state(&self, below: &str) -> PathBuf {
        self.scratch.path("p/.sbox").join(below)
    }

    pub fn stdout(&self, words: &[&str]) -> String {
        stdout(&self.sbox(words).output().unwrap())
    }
}

/// A command that ends when the test says so, and not after a time in which a busy host gets nowhere.
pub const GATE: &str = "until [ -e /tmp/gate ]; do sleep 0.02; done";

/// For `sleep`: longer than any test, and found by [`super::running`], since no other has the same length, in this run of
/// the suite or in another at the same time.
pub fn long_nap() -> String {
    static NUMBER: AtomicUsize = AtomicUsize::new(2000);
    format!("{}.{:07}", NUMBER.fetch_add(1, Ordering::Relaxed), std::process::id())
}

impl Drop for Standing {
    fn drop(&mut self) {
        if !self.state("processes.lock").exists() {
            return;
        }
        // Whatever the test did to the state: what was started goes.
        let mut stop = std::process::Command::new(bin().join("sbox"));
        let _ = stop.args(["stop", "--all"]).current_dir(self.scratch.path("p")).output();
    }
}

/// Sends a signal; 0 asks whether the process is there. A process that ended and was not waited for is not.
pub fn kill(pid: i64, signal: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let is_dead = stat.is_empty() || stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'));
    let sent = std::process::Command::new("sh").args(["-c", &format!("kill -{signal} {pid}")]).output();
    sent.is_ok_and(|output| output.status.success()) && !is_dead
}
