//! Names that a sandbox may reach: read from a configuration or a command line, and matched.

use crate::error::Error;
use crate::escape::visible;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// Ports that a rule without one means: HTTP and HTTPS.
pub const DEFAULT_PORTS: [u16; 2] = [80, 443];

/// Where a name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Where the host's resolver says, if that is a public address.
    Public,
    /// The same, or a private address: written `=private`.
    Private,
    /// At this address, whatever the resolver says: written `=ADDRESS`. With `=private` the only way to an address that is
    /// not public: somebody wrote it down.
    At(IpAddr),
}

/// `NAME`, `*.NAME`, with `:PORT` or not, with `=ADDRESS` or `=private` or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostRule {
    /// As it was written.
    written: String,
    /// Lower case, without a dot at the end.
    name: String,
    /// Any name below it, and not itself.
    below: bool,
    port: Option<u16>,
    at: Place,
}

impl HostRule {
    /// Reads a rule; the error is a sentence.
    pub fn parse(text: &str) -> Result<HostRule, String> {
        let wrong = |why: &str| format!("'{}' is not a valid host rule: {why}", visible(text));
        let (place, at) = match text.split_once('=') {
            Some((place, "private")) => (place, Place::Private),
            Some((place, address)) => {
                let address = address.trim_matches(['[', ']']).parse();
                (place, Place::At(address.map_err(|_| wrong("expected an address or 'private' after '='"))?))
            }
            None => (text, Place::Public),
        };
        if place.contains("://") || place.contains('/') {
            return Err(wrong("write the name of the host only"));
        }
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) => {
                let port = port.parse().ok().filter(|port| *port > 0);
                (host, Some(port.ok_or_else(|| wrong("expected a port after ':'"))?))
            }
            None => (place, None),
        };
        let (host, below) = host.strip_prefix("*.").map_or((host, false), |host| (host, true));
        let name = host_name(host).ok_or_else(|| wrong("use a name like example.org or *.example.org"))?;
        if below && !name.contains('.') {
            return Err(wrong("it would allow a whole top-level domain"));
        }
        Ok(HostRule { written: text.to_owned(), name, below, port, at })
    }

    /// Whether it holds for a name, as [`host_name`] gives it, and a port.
    pub fn matches(&self, name: &str, port: u16) -> bool {
        let named = match self.below {
            false => name == self.name,
            true => name.strip_suffix(&self.name).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
        };
        named && self.port.map_or(DEFAULT_PORTS.contains(&port), |own| own == port)
    }

    /// Whether the rule names the port itself.
    pub fn names_port(&self) -> bool {
        self.port.is_some()
    }

    /// Where the name may be.
    pub fn place(&self) -> Place {
        self.at
    }
}

impl FromStr for HostRule {
    type Err = Error;

    fn from_str(text: &str) -> Result<HostRule, Error> {
        HostRule::parse(text).map_err(Error::usage)
    }
}

impl fmt::Display for HostRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

/// A host name in the one form that is compared: lower case, no dot at the end. Nothing for what is not a name: an address in
/// any notation (`127.1`, `0x7f000001`, `2130706433`, `[::1]`), or characters that no host name has.
pub fn host_name(text: &str) -> Option<String> {
    let text = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let label = |label: &str| {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        (1..=63).contains(&label.len()) && label.chars().all(plain) && !label.starts_with('-') && !label.ends_with('-')
    };
    // The last label of a name is never a number (RFC 3696, section 2; WHATWG URL, "ends in a number"): what inet_aton(3)
    // reads as an address is none.
    let last = text.rsplit('.').next()?;
    let number = last.chars().all(|c| c.is_ascii_digit())
        || last.strip_prefix("0x").is_some_and(|hex| hex.chars().all(|c| c.is_ascii_hexdigit()));
    (text.len() <= 253 && text.split('.').all(label) && !number).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_exactly_or_below() {
        let rule = |text: &str| HostRule::parse(text).unwrap();
        assert!(rule("Example.org.").matches("example.org", 443) && rule("example.org").matches("example.org", 80));
        for (text, name, port) in [
            ("example.org", "www.example.org", 443),
            ("example.org", "example.org", 22),
            ("example.org", "evilexample.org", 443),
            ("example.org", "example.org.evil.com", 443),
            ("*.example.org", "example.org", 443),
            ("*.example.org", "evilexample.org", 443),
            ("*.example.org", ".example.org", 443),
            ("example.org:8443", "example.org", 443),
        ] {
            assert!(!rule(text).matches(name, port), "{text} {name}:{port}");
        }
        assert!(rule("*.example.org").matches("a.b.example.org", 443));
        assert!(rule("example.org:8443").matches("example.org", 8443));
    }

    #[test]
    fn addresses_are_no_names() {
        for text in [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0177.0.0.1",
            "[::1]",
            "::1",
            "localhost.",
            "1.2.3.4.",
            "0x7f.1",
            "",
            ".",
            "a..b",
            "-a.b",
            "a b",
            "a\nb",
            "exämple.org",
            "a@b",
            "a%2eb",
        ] {
            let is_name = text == "localhost.";
            assert_eq!(host_name(text).is_some(), is_name, "{text}");
        }
    }

    #[test]
    fn rules_that_say_too_much_are_refused() {
        for text in [
            "*",
            "*.com",
            "https://example.org",
            "example.org/path",
            "example.org:0",
            "example.org:x",
            "10.0.0.1",
            "a.b=nowhere",
        ] {
            assert!(HostRule::parse(text).is_err(), "{text}");
        }
        assert_eq!(HostRule::parse("mirror.corp:8080=10.1.2.3").unwrap().place(), Place::At([10, 1, 2, 3].into()));
        assert_eq!(HostRule::parse("mirror.corp=private").unwrap().place(), Place::Private);
    }
}
