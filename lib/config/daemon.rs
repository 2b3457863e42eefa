//! What a configuration says of daemons.

use std::time::Duration;

/// How `sbox run -d` runs the project's commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Daemon {
    /// `no`, `on-failure` or `always`.
    pub restart: String,
    /// Restarts in a row, none after a steady run, before it is given up.
    pub max_restarts: u32,
    /// Seconds that it has to end.
    pub stop_timeout: u64,
    /// Bytes at which a new log file is begun.
    pub log_size: u64,
    /// Old log files that are kept.
    pub log_keep: u32,
    /// What tells that it is ready.
    pub ready: Option<Ready>,
}

impl Default for Daemon {
    fn default() -> Daemon {
        let restart = String::from("no");
        Daemon { restart, max_restarts: 10, stop_timeout: 10, log_size: 10 << 20, log_keep: 3, ready: None }
    }
}

/// What tells that a daemon is ready, and how long to wait for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// What to look for.
    pub sign: Sign,
    /// How long.
    pub timeout: Duration,
}

/// A sign of readiness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sign {
    /// A server on this port of the sandbox's loopback answers this path with a status from 200 to 399, as Kubernetes'
    /// probes have it.
    Http(u16, String),
    /// A server on this port of the sandbox's loopback takes connections.
    Tcp(u16),
    /// This text stands in the log.
    Log(String),
}

impl Sign {
    /// Reads `http://127.0.0.1:18789/path`.
    pub fn http(url: &str) -> Option<Sign> {
        let (address, path) = match url.strip_prefix("http://")? {
            rest if rest.contains('/') => rest.split_once('/')?,
            rest => (rest, ""),
        };
        let (host, port) = address.rsplit_once(':').unwrap_or((address, "80"));
        let plain = path.chars().all(|c| c.is_ascii_graphic());
        let port = port.parse().ok().filter(|port| *port > 0)?;
        (plain && matches!(host, "127.0.0.1" | "localhost")).then(|| Sign::Http(port, format!("/{path}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_sandboxes_own_loopback_is_asked() {
        assert_eq!(Sign::http("http://127.0.0.1:18789/a?b"), Some(Sign::Http(18789, "/a?b".into())));
        assert_eq!(Sign::http("http://localhost:80"), Some(Sign::Http(80, "/".into())));
        assert_eq!(Sign::http("http://localhost/"), Some(Sign::Http(80, "/".into())));
        for bad in [
            "https://127.0.0.1:1/",
            "http://example.org/",
            "http://127.0.0.1:0/",
            "127.0.0.1:80",
            "http://localhost:1/a b\r\n",
        ] {
            assert_eq!(Sign::http(bad), None, "{bad}");
        }
    }
}
