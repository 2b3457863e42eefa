//! Which names and ports are allowed.

use libsbox::error::{Error, Result};
use libsbox::model::{HostRule, Place};

/// A rule of the command line.
pub fn read(text: &str) -> Result<HostRule> {
    HostRule::parse(text).map_err(Error::usage)
}

/// All of them; one that denies wins.
pub struct Rules {
    pub allow: Vec<HostRule>,
    pub deny: Vec<HostRule>,
}

/// What was allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// The rule names this port: then what is spoken on it is not known to be TLS.
    pub any_protocol: bool,
    /// Where the name may be.
    pub place: Place,
}

impl Rules {
    pub fn grant(&self, name: &str, port: u16) -> Option<Grant> {
        if self.is_denied(name, port) {
            return None;
        }
        let rule = self.allow.iter().find(|rule| rule.matches(name, port))?;
        let known = libsbox::model::DEFAULT_PORTS.contains(&port);
        Some(Grant { any_protocol: rule.names_port() && !known, place: rule.place() })
    }

    /// A denied name is denied on every port.
    pub fn is_denied(&self, name: &str, port: u16) -> bool {
        self.deny.iter().any(|rule| rule.matches(name, port) || (!rule.names_port() && rule.matches(name, 443)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_denied_is_denied_although_allowed() {
        let rules = |allow: &[&str], deny: &[&str]| Rules {
            allow: allow.iter().map(|text| read(text).unwrap()).collect(),
            deny: deny.iter().map(|text| read(text).unwrap()).collect(),
        };
        let some = rules(&["*.example.org", "example.org:22", "evil.example.org:8080"], &["evil.example.org"]);
        assert!(some.grant("a.example.org", 443).is_some_and(|grant| !grant.any_protocol));
        assert!(some.grant("example.org", 22).is_some_and(|grant| grant.any_protocol));
        for (name, port) in [("evil.example.org", 443), ("evil.example.org", 8080), ("example.org", 443), ("x.org", 80)]
        {
            assert!(some.grant(name, port).is_none(), "{name}:{port}");
        }
    }
}
