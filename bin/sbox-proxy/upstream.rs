//! The host's own proxy, where its environment names one: a company's only way out.
//!
//! It resolves the name, not this host. So the check of addresses can say less there: a name that this host's resolver
//! knows at an address which is not public is refused all the same; where it knows nothing, the proxy decides where the
//! connection ends. What a rule places itself (`=ADDRESS`, `=private`) and what `no_proxy` names is dialled directly.

use crate::address;
use crate::request;
use libsbox::escape::percent_decoded_bytes;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// How long this host's resolver is asked: where there is a proxy, it often leads nowhere.
const RESOLVER: Duration = Duration::from_secs(2);

/// How long the proxy may take to answer: it resolves and connects first.
const ANSWER: Duration = Duration::from_secs(60);

/// The proxies of the environment, and what goes past them.
#[derive(Debug, Default)]
pub struct Upstream {
    tunnels: Option<Proxy>,
    plain: Option<Proxy>,
    past: Vec<Past>,
}

/// One proxy. The password is for nobody's eyes: no `Debug` shows it.
#[derive(Clone)]
pub struct Proxy {
    host: String,
    port: u16,
    /// The value of `Proxy-Authorization`.
    authorization: Option<String>,
    /// Why it cannot be used.
    unusable: Option<&'static str>,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.shown())
    }
}

/// An entry of `no_proxy`: a name and all below it.
#[derive(Debug, PartialEq, Eq)]
struct Past {
    name: String,
    port: Option<u16>,
}

impl Upstream {
    /// What the environment says, in the order of curl(1): a small name before a capital one, `all_proxy` last.
    pub fn of(variable: impl Fn(&str) -> Option<String>) -> Upstream {
        let first = |names: &[&str]| names.iter().find_map(|name| variable(name).filter(|value| !value.is_empty()));
        let proxy = |names: &[&str]| first(names).map(|url| Proxy::parse(&url));
        let past = first(&["no_proxy", "NO_PROXY"]).unwrap_or_default();
        Upstream {
            tunnels: proxy(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]),
            plain: proxy(&["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]),
            past: past.split([',', ' ']).filter(|entry| !entry.is_empty()).map(Past::parse).collect(),
        }
    }

    /// The proxy through which a name is reached, if one is.
    pub fn proxy(&self, host: &str, port: u16, is_tunnel: bool) -> Option<&Proxy> {
        let proxy = if is_tunnel { &self.tunnels } else { &self.plain };
        proxy.as_ref().filter(|_| !self.past.iter().any(|past| past.matches(host, port)))
    }
}

impl Past {
    fn parse(entry: &str) -> Past {
        let (name, port) = match entry.rsplit_once(':').map(|(name, port)| (name, port.parse())) {
            Some((name, Ok(port))) => (name, Some(port)),
            _ => (entry, None),
        };
        let name = name.trim_start_matches('*').trim_start_matches('.').to_ascii_lowercase();
        Past { name, port }
    }

    fn matches(&self, host: &str, port: u16) -> bool {
        // `*`: everything.
        let below = self.name.is_empty() || host.strip_suffix(&self.name).is_some_and(|rest| rest.ends_with('.'));
        (below || host == self.name) && self.port.is_none_or(|own| own == port)
    }
}

impl Proxy {
    fn parse(url: &str) -> Proxy {
        let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
        let place = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (user, place) = match place.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, place),
        };
        let (host, port) = match place.rsplit_once(':').map(|(host, port)| (host, port.parse())) {
            Some((host, Ok(port))) => (host, port),
            _ => (place, 80),
        };
        let unusable = match scheme.to_ascii_lowercase().as_str() {
            "http" if host.is_empty() => Some("the address of the host's proxy has no host"),
            "http" => None,
            "https" => Some("the host's proxy is spoken to in TLS, which sbox-proxy cannot do"),
            _ => Some("the host's proxy is not one for HTTP"),
        };
        let authorization = user.map(|user| {
            let (name, password) = user.split_once(':').unwrap_or((user, ""));
            format!(
                "Basic {}",
                crate::base64::encode(
                    &[&*percent_decoded_bytes(name), b":", &*percent_decoded_bytes(password)].concat()
                )
            )
        });
        Proxy { host: host.trim_matches(['[', ']']).to_owned(), port, authorization, unusable }
    }

    /// For a message.
    pub fn shown(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// A connection to it. The user's environment names it, wherever it is.
    pub fn connect(&self) -> Result<TcpStream, String> {
        if let Some(why) = self.unusable {
            return Err(why.into());
        }
        let failed = |why: String| format!("the host's proxy '{}' cannot be reached: {why}", self.shown());
        let addresses = (&*self.host, self.port).to_socket_addrs();
        let addresses = addresses.map_err(|error| failed(libsbox::error::reason(&error)))?;
        let mut why = String::from("it has no address");
        for address in addresses {
            match TcpStream::connect_timeout(&address, address::PATIENCE) {
                Ok(stream) => return Ok(stream),
                Err(error) => why = libsbox::error::reason(&error),
            }
        }
        Err(failed(why))
    }

    /// A tunnel through it.
    pub fn tunnel(&self, host: &str, port: u16) -> Result<TcpStream, String> {
        let mut stream = self.connect()?;
        let lost = |error: std::io::Error| {
            format!("the host's proxy '{}' does not answer: {}", self.shown(), libsbox::error::reason(&error))
        };
        let head = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n{}\r\n", self.header());
        stream.set_read_timeout(Some(ANSWER)).map_err(lost)?;
        stream.write_all(head.as_bytes()).map_err(lost)?;
        let line = status_line(&mut stream).map_err(lost)?;
        match line.split(' ').nth(1) {
            Some("200") => Ok(stream),
            Some("407") => Err(format!("the host's proxy '{}' wants another user or password", self.shown())),
            _ => Err(format!("the host's proxy '{}' refused it: {line}", self.shown())),
        }
    }

    /// The head of a plain request, as a proxy gets it.
    pub fn head(&self, head: &[u8], host: &str, port: u16) -> Vec<u8> {
        let text = String::from_utf8_lossy(head);
        let (method, rest) = text.split_once(' ').unwrap_or((&text, ""));
        let (line, headers) = rest.split_once("\r\n").unwrap_or((rest, "\r\n"));
        let port = if port == 80 { String::new() } else { format!(":{port}") };
        format!("{method} http://{host}{port}{line}\r\n{}{headers}", self.header()).into_bytes()
    }

    fn header(&self) -> String {
        self.authorization.as_ref().map(|value| format!("Proxy-Authorization: {value}\r\n")).unwrap_or_default()
    }
}

/// The first line of an answer; what follows its head is left to be read, since a server may speak first.
fn status_line(stream: &mut TcpStream) -> std::io::Result<String> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() > request::LARGEST || stream.read(&mut byte)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        head.extend(byte);
    }
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    Ok(String::from_utf8_lossy(line).into_owned())
}

/// Whether this host's resolver knows the name at an address that must not be dialled; nothing where it does not know it.
pub fn known_to_be_forbidden(host: &str, port: u16) -> Option<(std::net::IpAddr, &'static str)> {
    let (send, receive) = std::sync::mpsc::channel();
    let name = host.to_owned();
    let asked = libsbox::thread::spawn(move || {
        let addresses = (name, port).to_socket_addrs().map(Iterator::collect::<Vec<_>>);
        let _ = send.send(addresses.unwrap_or_default());
    });
    if asked.is_err() {
        // Not to be dialled unseen: whoever takes all threads away must gain nothing by it.
        return Some((std::net::Ipv4Addr::UNSPECIFIED.into(), "not known, for want of a thread to look it up"));
    }
    let addresses = receive.recv_timeout(RESOLVER).unwrap_or_default();
    addresses.into_iter().find_map(|address| Some((address.ip(), address::forbidden(address.ip())?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Upstream {
        Upstream::of(|name| variables.iter().find(|(own, _)| *own == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn the_environment_says_what_goes_through_and_what_past() {
        let some = of(&[
            ("HTTPS_PROXY", "http://proxy.corp:3128/"),
            ("NO_PROXY", ".own.corp,*.x.corp bare.org:81,10.0.0.0/8"),
        ]);
        let through = |host: &str, port| some.proxy(host, port, true).map(Proxy::shown);
        assert_eq!(through("example.org", 443).as_deref(), Some("proxy.corp:3128"));
        assert!(some.proxy("example.org", 80, false).is_none());
        for host in ["own.corp", "a.own.corp", "a.x.corp"] {
            assert!(through(host, 443).is_none(), "{host}");
        }
        assert!(
            through("bare.org", 443).is_some()
                && through("bare.org", 81).is_none()
                && through("notown.corp", 443).is_some()
        );
        assert!(of(&[("all_proxy", "p:1"), ("no_proxy", "*")]).proxy("a.org", 80, false).is_none());
        assert!(of(&[("all_proxy", "p:1"), ("https_proxy", "")]).proxy("a.org", 80, true).is_some());
    }

    #[test]
    fn user_and_password_are_sent_and_never_shown() {
        let proxy = Proxy::parse("http://us%65r:p%40ss:w@[::1]:8080");
        assert_eq!(proxy.header(), "Proxy-Authorization: Basic dXNlcjpwQHNzOnc=\r\n");
        assert_eq!(format!("{proxy:?}"), "::1:8080");
        let head = proxy.head(b"GET /a HTTP/1.1\r\nHost: x.org\r\n\r\n", "x.org", 81);
        let wanted =
            "GET http://x.org:81/a HTTP/1.1\r\nProxy-Authorization: Basic dXNlcjpwQHNzOnc=\r\nHost: x.org\r\n\r\n";
        assert_eq!(String::from_utf8(head).unwrap(), wanted);
        for url in ["https://proxy:1", "socks5://proxy:1", "http://:1"] {
            assert!(Proxy::parse(url).connect().is_err(), "{url}");
        }
    }
}
