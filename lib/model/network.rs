//! What a sandbox can reach.

use super::{HostRule, NameSet, NetworkMode};
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
        /// What is allowed.
        allow: Vec<NameRule>,
        /// What is denied; this wins.
        deny: Vec<NameRule>,
        /// Whether requests that were let through are recorded, too; refused ones are in any case.
        log: bool,
    },
}

/// An entry of `allow` or `deny`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameRule {
    /// A name, or all below it.
    Host(HostRule),
    /// A named set.
    Set(NameSet),
}

impl NameRule {
    /// Reads an entry; the error is a sentence, and what to do.
    pub fn parse(text: &str) -> Result<NameRule, (String, String)> {
        match NameSet::parse(text) {
            Some(set) => set.map(NameRule::Set),
            None => HostRule::parse(text).map(NameRule::Host).map_err(|message| {
                (
                    message,
                    "use example.org, *.example.org, example.org:8443, example.org=ADDRESS, or a set such as @npm"
                        .into(),
                )
            }),
        }
    }
}

impl fmt::Display for NameRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NameRule::Host(rule) => rule.fmt(f),
            NameRule::Set(set) => set.fmt(f),
        }
    }
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

    /// Whether a set is among what is allowed.
    pub fn allows_set(&self, set: NameSet) -> bool {
        matches!(self, Network::Allow { allow, .. } if allow.contains(&NameRule::Set(set)))
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
