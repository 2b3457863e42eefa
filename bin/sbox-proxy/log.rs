//! The access log: one JSON object for each connection. The agent decides how many there are, so it has a largest size.

mod requests;

pub use requests::Ending;

use libsbox::error::{Context, Result};
use libsbox::time;
use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Mutex;

/// Bytes after which a new file is begun; the one before is kept as `FILE.1`.
const LARGEST: u64 = 8 << 20;

/// How many different refused names are told to whoever started the proxy. The agent decides how many there are.
const MOST_TOLD: usize = 64;

/// Which requests a file gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    All,
    Refused,
}

/// What is to be recorded, and where.
#[derive(Debug, Default)]
pub struct Wanted {
    pub file: Option<(PathBuf, Kind)>,
    /// A pipe that nobody may read before the end.
    pub refused_fd: Option<i32>,
    /// A pipe that takes no more when it is full.
    pub request_fd: Option<i32>,
}

pub struct Log {
    kind: Kind,
    file: Option<Mutex<Open>>,
    told: Option<Mutex<(File, HashSet<String>)>>,
    requests: Option<requests::Requests>,
}

struct Open {
    path: PathBuf,
    file: File,
    size: u64,
}

/// What became of a connection.
pub struct Line<'a> {
    pub host: &'a str,
    pub port: u16,
    /// Nothing if it was let through.
    pub refused: Option<&'a str>,
    /// The entry of `allow` that would have let it through, if one would.
    pub rule: Option<&'a str>,
}

impl Log {
    pub fn open(wanted: Wanted) -> Result<Log> {
        let (mut file, mut kind) = (None, Kind::All);
        if let Some((path, of)) = wanted.file {
            let (open, size) = append(&path).context(|| format!("open '{}'", libsbox::escape::visible_path(&path)))?;
            (file, kind) = (Some(Mutex::new(Open { path, file: open, size })), of);
        }
        let adopt = |fd| libsbox::sys::adopt(fd).context(|| format!("write to descriptor {fd}"));
        let told = wanted.refused_fd.map(adopt).transpose()?;
        let requests = wanted.request_fd.map(adopt).transpose()?.map(requests::Requests::new);
        Ok(Log { kind, file, told: told.map(|fd| Mutex::new((File::from(fd), HashSet::new()))), requests })
    }

    /// Writes a line. A full disk neither lets something through nor stops the proxy.
    pub fn write(&self, line: &Line<'_>) {
        if let Some(requests) = &self.requests {
            requests.asked(line);
        }
        if line.refused.is_some() {
            self.tell(line);
        } else if self.kind == Kind::Refused {
            return;
        }
        let value = serde_json::json!({
            "time": time::rfc3339(time::now()),
            "host": line.host,
            "port": line.port,
            "allowed": line.refused.is_none(),
            "reason": line.refused,
            "rule": line.rule,
        });
        self.append(&value);
    }

    fn append(&self, value: &serde_json::Value) {
        let Some(Ok(mut open)) = self.file.as_ref().map(Mutex::lock) else { return };
        let text = format!("{value}\n");
        if open.size + text.len() as u64 > LARGEST {
            open.begin_again();
        }
        if open.file.write_all(text.as_bytes()).is_ok() {
            open.size += text.len() as u64;
        }
    }

    /// Whether it is told what is asked.
    pub fn reports(&self) -> bool {
        self.requests.is_some()
    }

    /// A connection to a server, for as long as what this gives lives: then it is told how many bytes went.
    pub fn open_connection(&self, host: &str, port: u16, server: &TcpStream) -> Option<requests::Connection<'_>> {
        self.requests.as_ref()?.open(host, port, server)
    }

    /// Writes what a person should know of a request that was let through.
    #[cfg(feature = "secrets")]
    pub fn note(&self, host: &str, port: u16, note: &str) {
        let time = time::rfc3339(time::now());
        let value = serde_json::json!({"time": time, "host": host, "port": port, "allowed": true, "reason": note, "rule": null});
        self.append(&value);
    }

    /// Each name once, while it is not too many.
    fn tell(&self, line: &Line<'_>) {
        let (Some(Ok(mut told)), Some(rule)) = (self.told.as_ref().map(Mutex::lock), line.rule) else { return };
        let (to, names) = &mut *told;
        if names.len() < MOST_TOLD && names.insert(rule.to_owned()) {
            let _ = to.write_all(format!("{rule}\n").as_bytes());
        }
    }
}

impl Open {
    fn begin_again(&mut self) {
        let mut kept = self.path.clone().into_os_string();
        kept.push(".1");
        let renamed = std::fs::rename(&self.path, kept).and_then(|()| append(&self.path));
        match renamed {
            Ok((file, size)) => (self.file, self.size) = (file, size),
            // Started by root, this is nobody's process by now, and the directory does not belong to it.
            Err(_) if self.file.set_len(0).is_ok() => self.size = 0,
            Err(_) => {}
        }
    }
}

fn append(path: &std::path::Path) -> std::io::Result<(File, u64)> {
    let mut options = OpenOptions::new();
    // Never through a link: whoever planted it would choose what is written to.
    options.create(true).append(true).mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let file = options.open(path)?;
    let size = file.metadata()?.len();
    Ok((file, size))
}
