//! What the curious agent tries, and what is really there.

use serde::Serialize;
use std::path::{Path, PathBuf};

/// One thing to try.
#[derive(Debug, Serialize)]
pub struct Attempt {
    pub id: usize,
    kind: &'static str,
    target: String,
    /// What it is, for the table.
    #[serde(skip)]
    pub what: String,
    /// What the host has there, for the table.
    #[serde(skip)]
    pub host: String,
    /// Whether it is meant to work.
    #[serde(skip)]
    pub allowed: bool,
}

/// Things made for the demonstration, so that there is something to find on every machine.
pub struct Baits {
    /// A file of another project.
    pub secret: PathBuf,
    /// A value that only the caller's environment holds.
    pub token: String,
    /// A process of the caller.
    pub process: u32,
    /// The project's own configuration.
    pub config: PathBuf,
}

/// All attempts: first what must fail, then what must work.
pub fn all(baits: &Baits) -> Vec<Attempt> {
    let mut list = List(Vec::new());
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_else(|| "/root".into());
    list.directory("list your home directory", &home);
    list.directory("list your SSH keys", &home.join(".ssh"));
    for (what, place) in [
        ("read your cloud credentials", ".aws/credentials"),
        ("read your npm token", ".npmrc"),
        ("read your shell history", ".bash_history"),
    ] {
        list.file(what, &home.join(place));
    }
    list.file("read another project's .env", &baits.secret);
    list.directory("look at the host's temporary files", Path::new(baits.secret.parent().unwrap_or(Path::new("/tmp"))));
    list.file("read the host's password file", Path::new("/etc/shadow"));
    list.forbid("token", &baits.token, "find a token in your environment", "exported here".into());
    list.forbid("signal", &baits.process.to_string(), "signal one of your processes", format!("pid {}", baits.process));
    list.forbid("open", "/usr/bin/env", "change a program in /usr", describe(Path::new("/usr/bin/env")));
    list.forbid("open", &baits.config.to_string_lossy(), "rewrite its own configuration", describe(&baits.config));
    list.forbid("open", "/proc/sys/kernel/core_pattern", "change a kernel setting", "writable by root".into());
    list.allow("make", "/app/notes.txt", "write in its workdir");
    list.allow("make", "~/.agentrc", "write in its own home");
    list.allow("make", "/tmp/scratch", "write temporary files");
    list.allow("processes", "", "see its own processes");
    list.0
}

struct List(Vec<Attempt>);

impl List {
    fn push(&mut self, kind: &'static str, target: &str, what: &str, host: String, allowed: bool) {
        let id = self.0.len();
        self.0.push(Attempt { id, kind, target: target.into(), what: what.into(), host, allowed });
    }

    fn forbid(&mut self, kind: &'static str, target: &str, what: &str, host: String) {
        self.push(kind, target, what, host, false);
    }

    fn allow(&mut self, kind: &'static str, target: &str, what: &str) {
        let host = if kind == "processes" { format!("{} processes", processes()) } else { "not touched".into() };
        self.push(kind, target, what, host, true);
    }

    fn directory(&mut self, what: &str, path: &Path) {
        let host = match std::fs::read_dir(path) {
            Ok(entries) => match entries.count() {
                1 => "1 entry".into(),
                count => format!("{count} entries"),
            },
            Err(_) => describe(path),
        };
        self.forbid("list", &path.to_string_lossy(), what, host);
    }

    fn file(&mut self, what: &str, path: &Path) {
        self.forbid("read", &path.to_string_lossy(), what, describe(path));
    }
}

fn describe(path: &Path) -> String {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => libsbox::format::size(metadata.len()),
        Ok(_) => "a directory".into(),
        Err(_) => "you have none".into(),
    }
}

fn processes() -> usize {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit())).count()
}
