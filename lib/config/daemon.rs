//! What a configuration says of daemons.

use super::keys;
use crate::model::{RestartPolicy, bytes, seconds};
use std::time::Duration;

/// How `sbox run -d` runs the project's commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DaemonConfig {
    /// When it is started again.
    pub restart: RestartPolicy,
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

impl Default for DaemonConfig {
    fn default() -> DaemonConfig {
        let default = "the defaults in the table of keys are valid; a test reads them";
        let parsed = || -> Option<DaemonConfig> {
            Some(DaemonConfig {
                restart: keys::default("restart").parse().ok()?,
                max_restarts: keys::default("max_restarts").parse().ok()?,
                stop_timeout: seconds(keys::default("stop_timeout"))?,
                log_size: bytes(keys::default("logs.max_size"))?,
                log_keep: keys::default("logs.keep").parse().ok()?,
                ready: None,
            })
        };
        parsed().expect(default)
    }
}

/// What tells that a daemon is ready, and how long to wait for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// What to look for.
    pub probe: ReadinessProbe,
    /// How long.
    pub timeout: Duration,
}

/// How readiness is detected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadinessProbe {
    /// A server on this port of the sandbox's loopback answers this path with a status from 200 to 399, as Kubernetes'
    /// probes have it.
    Http(u16, String),
    /// A server on this port of the sandbox's loopback takes connections.
    Tcp(u16),
    /// This text is in the log.
    Log(String),
}

impl ReadinessProbe {
    /// Reads `http://127.0.0.1:18789/path`.
    pub fn http(url: &str) -> Option<ReadinessProbe> {
        let (address, path) = match url.strip_prefix("http://")? {
            rest if rest.contains('/') => rest.split_once('/')?,
            rest => (rest, ""),
        };
        let (host, port) = address.rsplit_once(':').unwrap_or((address, "80"));
        let plain = path.chars().all(|c| c.is_ascii_graphic());
        let port = port.parse().ok().filter(|port| *port > 0)?;
        (plain && matches!(host, "127.0.0.1" | "localhost")).then(|| ReadinessProbe::Http(port, format!("/{path}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_of_the_table_are_valid() {
        let daemon = DaemonConfig::default();
        assert_eq!((daemon.restart, daemon.max_restarts, daemon.log_size), (RestartPolicy::No, 10, 10 << 20));
    }

    #[test]
    fn only_the_sandboxes_own_loopback_is_asked() {
        assert_eq!(
            ReadinessProbe::http("http://127.0.0.1:18789/a?b"),
            Some(ReadinessProbe::Http(18789, "/a?b".into()))
        );
        assert_eq!(ReadinessProbe::http("http://localhost:80"), Some(ReadinessProbe::Http(80, "/".into())));
        assert_eq!(ReadinessProbe::http("http://localhost/"), Some(ReadinessProbe::Http(80, "/".into())));
        for bad in [
            "https://127.0.0.1:1/",
            "http://example.org/",
            "http://127.0.0.1:0/",
            "127.0.0.1:80",
            "http://localhost:1/a b\r\n",
        ] {
            assert_eq!(ReadinessProbe::http(bad), None, "{bad}");
        }
    }
}
