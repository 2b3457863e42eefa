//! Which names and ports are allowed: what the proxy asks, and `sbox why`.

use super::{DEFAULT_PORTS, HostRule, Place};

/// All rules; one that denies wins.
#[derive(Debug, Clone, Default)]
pub struct HostRules {
    /// What is allowed.
    pub allow: Vec<HostRule>,
    /// What is denied.
    pub deny: Vec<HostRule>,
}

/// What was allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// Which entry of `allow` says so, from 0.
    pub index: usize,
    /// The rule names this port: then what is spoken on it is not known to be TLS.
    pub any_protocol: bool,
    /// Where the name may be.
    pub place: Place,
}

impl HostRules {
    /// What a name, as [`super::host_name`] gives it, may be reached by on a port; nothing if it may not.
    pub fn grant(&self, name: &str, port: u16) -> Option<Grant> {
        if self.denial(name, port).is_some() {
            return None;
        }
        let (index, rule) = self.allow.iter().enumerate().find(|(_, rule)| rule.matches(name, port))?;
        let known = DEFAULT_PORTS.contains(&port);
        Some(Grant { index, any_protocol: rule.names_port() && !known, place: rule.place() })
    }

    /// Whether it is denied. A denied name is denied on every port.
    pub fn is_denied(&self, name: &str, port: u16) -> bool {
        self.denial(name, port).is_some()
    }

    /// Which entry of `deny` denies it, from 0.
    pub fn denial(&self, name: &str, port: u16) -> Option<usize> {
        self.deny.iter().position(|rule| rule.matches(name, port) || (!rule.names_port() && rule.matches(name, 443)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_denied_is_denied_although_allowed() {
        let rules = |allow: &[&str], deny: &[&str]| HostRules {
            allow: allow.iter().map(|text| HostRule::parse(text).unwrap()).collect(),
            deny: deny.iter().map(|text| HostRule::parse(text).unwrap()).collect(),
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
