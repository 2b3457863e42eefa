//! What a sandbox can reach.

use super::{HostRule, NetworkMode};
use std::fmt;

/// What a sandbox can reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Network {
    /// All that the host can.
    Host,
    /// Its own loopback.
    None,
    /// Some names, through a proxy.
    Allow {
        /// The rules that allow.
        allow: Vec<HostRule>,
        /// Those that deny; they win.
        deny: Vec<HostRule>,
        /// Whether there is an access log.
        log: bool,
    },
}

impl Network {
    /// The mode of `sbox-spawn` that gives it.
    pub fn mode(&self) -> NetworkMode {
        match self {
            Network::Host => NetworkMode::Host,
            Network::None => NetworkMode::None,
            Network::Allow { .. } => NetworkMode::Proxy,
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Network::Allow { allow, .. } if allow.is_empty() => f.write_str("nothing is allowed"),
            Network::Allow { allow, .. } => {
                let rules: Vec<String> = allow.iter().map(ToString::to_string).collect();
                write!(f, "only {}", rules.join(", "))
            }
            other => write!(f, "{}", other.mode()),
        }
    }
}
