//! Whether the network leads to a host: by the rules and the matcher of the proxy.

use crate::Facts;
use crate::answer::{Answer, By};
use libsbox::address;
use libsbox::environment::Host;
use libsbox::error::{Error, Result};
use libsbox::locate::Step;
use libsbox::model::{DEFAULT_PORTS, HostRules, Network, Place, host_name};
use libsbox::name_rules::{NameRules, SourcedRule};
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::mpsc;
use std::time::Duration;

/// How long the host's resolver may take. Its answer is a note, and no reason to wait.
const PATIENCE: Duration = Duration::from_secs(3);

/// A host and its port, from what a person writes: a URL, too.
pub fn split(asked: &str) -> Option<(String, Option<u16>)> {
    let (text, default) = match asked.split_once("://") {
        Some((scheme, rest)) => {
            let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
            (authority.rsplit('@').next().unwrap_or(authority), Some(if scheme == "http" { 80 } else { 443 }))
        }
        None => (asked, None),
    };
    if text.parse::<std::net::Ipv6Addr>().is_ok() {
        return Some((text.to_owned(), default));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, Some(port.parse().ok().filter(|port| *port > 0)?)),
        None => (text, default),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (!host.is_empty() && !host.contains(char::is_whitespace)).then(|| (host.to_owned(), port))
}

pub fn answer(facts: &Facts, asked: &str) -> Result<Answer> {
    let shown = libsbox::escape::visible(asked);
    let wrong = || Error::usage(format!("'{shown}' is not a host")).hint("sbox why api.example.org:8443");
    let (host, port) = split(asked).ok_or_else(wrong)?;
    let is_address = host.parse::<IpAddr>().is_ok();
    let name = host_name(&host);
    if name.is_none() && !is_address && !address_like(&host) {
        return Err(wrong());
    }
    let network = || facts.lines.by_key("network", libsbox::config::keys::default("network"));
    if is_own_loopback(&host) {
        return Ok(loopback(facts, asked, port));
    }
    Ok(match &facts.config.network {
        Network::Host => {
            let mut answer = Answer::new("host", asked, true, "reached: the sandbox has the host's network", network());
            let line = format!("network: {{allow: [\"{}\"]}}", entry(&host, port.unwrap_or(443)));
            answer.change("to let it reach this host and no other", line);
            answer
        }
        Network::None => {
            let mut answer = Answer::new("host", asked, false, "not reached: the sandbox has no network", network());
            let line = format!("network: {{allow: [\"{}\"]}}", entry(&host, port.unwrap_or(443)));
            answer.change("to allow it, and nothing else", line);
            answer
        }
        Network::Allow { .. } => match name {
            Some(name) => by_rules(facts, asked, &name, port),
            None => {
                let why = "the proxy takes names only, so that what is reached is what was allowed";
                let mut answer = Answer::new("host", asked, false, "not reached: it is an address", By::built_in(why));
                answer.change(
                    "to reach it by a name of your choice",
                    format!("network: {{allow: [\"name.example{}={host}\"]}}", with_port(port)),
                );
                answer
            }
        },
    })
}

/// `127.1`, `0x7f000001`: what is neither a name nor an address, and is read as one by some programs.
fn address_like(host: &str) -> bool {
    host.chars().all(|c| c.is_ascii_hexdigit() || "x.:".contains(c))
}

fn with_port(port: Option<u16>) -> String {
    port.filter(|port| !DEFAULT_PORTS.contains(port)).map_or_else(String::new, |port| format!(":{port}"))
}

fn entry(host: &str, port: u16) -> String {
    if DEFAULT_PORTS.contains(&port) { host.to_owned() } else { format!("{host}:{port}") }
}

fn is_own_loopback(host: &str) -> bool {
    let address = host.parse::<IpAddr>().ok().map(|address| address.to_canonical());
    host == "localhost" || address.is_some_and(|address| address.is_loopback() || address.is_unspecified())
}

/// The loopback inside is the sandbox's own, where it has a network of its own.
fn loopback(facts: &Facts, asked: &str, port: Option<u16>) -> Answer {
    if facts.config.network == Network::Host {
        let by = facts.lines.by_key("network", libsbox::config::keys::default("network"));
        let mut answer = Answer::new("host", asked, true, "reached: the host's loopback is the sandbox's", by);
        answer.change("to give it a loopback of its own, and no way out", "network: none");
        return answer;
    }
    let found = port.and_then(|port| facts.config.reach.iter().position(|(_, inside)| *inside == port));
    if let Some((index, (host, _))) = found.and_then(|index| Some((index, facts.config.reach.get(index)?))) {
        let by = facts.lines.by(&[Step::Key("reach".into()), Step::Index(index)]);
        return Answer::new(
            "host",
            asked,
            true,
            format!("reached: it leads to port {host} of the host's loopback"),
            by,
        );
    }
    let by = By::built_in("a network of the sandbox's own has a loopback of its own, with its own servers");
    let mut answer = Answer::new("host", asked, false, "not reached: the host's loopback is not the sandbox's", by);
    match port {
        Some(port) => answer.change("to make this port of the host reachable", format!("reach: [{port}]")),
        None => answer.change("to make a port of the host reachable", "reach: [PORT]"),
    }
    answer
}

fn by_rules(facts: &Facts, asked: &str, name: &str, port: Option<u16>) -> Answer {
    let sourced = NameRules::of(&facts.project, &facts.config, &Host::own());
    let plain = |rules: &[SourcedRule]| rules.iter().map(|rule| rule.rule.clone()).collect();
    let rules = HostRules { allow: plain(&sourced.allow), deny: plain(&sourced.deny) };
    let port = port.unwrap_or(443);
    let by = |list: &str, rule: &SourcedRule| {
        let mut by = facts.lines.by(&[Step::Key("network".into()), Step::Key(list.into()), Step::Index(rule.index)]);
        if let Some(set) = rule.set {
            by.text = format!("{} ({set} has {}: {})", by.text, rule.rule, rule.why);
        }
        by
    };
    if let Some(rule) = rules.denial(name, port).and_then(|index| sourced.deny.get(index)) {
        let mut answer = Answer::new("host", asked, false, "refused: it is denied", by("deny", rule));
        answer.note("what is denied is refused on every port, whatever allows it");
        answer.change(
            "to allow it",
            format!(
                "remove '{}' from network.deny",
                rule.set.map_or_else(|| rule.rule.to_string(), |set| set.to_string())
            ),
        );
        return answer;
    }
    let Some(grant) = rules.grant(name, port) else {
        let (verdict, key) = (
            format!("refused: port {port} of it is not allowed"),
            facts.lines.by(&[Step::Key("network".into()), Step::Key("allow".into())]),
        );
        let mut answer = Answer::new("host", asked, false, verdict, key);
        for other in [443, 80].into_iter().filter(|other| *other != port) {
            if rules.grant(name, other).is_some() {
                answer.note(format!("port {other} is allowed"));
            }
        }
        for rule in &sourced.allow {
            if rule.rule.names_port() && (1..=u16::MAX).any(|other| other != port && rule.rule.matches(name, other)) {
                answer.note(format!("'{}' allows another port", rule.rule));
            }
        }
        answer.change("to allow it, add to network.allow", format!("- \"{}\"", entry(name, port)));
        return answer;
    };
    let Some(rule) = sourced.allow.get(grant.index) else {
        return Answer::new("host", asked, false, "refused", By::nothing("no rule allows it"));
    };
    let mut answer = Answer::new("host", asked, true, format!("allowed on port {port}"), by("allow", rule));
    if grant.any_protocol {
        answer.note("the rule names the port: any protocol passes, not only TLS");
    }
    match grant.place {
        Place::At(address) => answer.note(format!("it is reached at {address}, whatever the resolver says")),
        place => resolve(&mut answer, name, port, place),
    }
    answer.change("to deny it, add to network.deny", format!("- {name}"));
    answer
}

/// What the proxy would find out when it dials: that the name has no address, or none that may be dialled.
fn resolve(answer: &mut Answer, name: &str, port: u16, place: Place) {
    let (to, from) = mpsc::channel();
    let asked = (name.to_owned(), port);
    let _ = libsbox::thread::spawn(move || to.send(asked.to_socket_addrs().map(Iterator::collect::<Vec<_>>)));
    match from.recv_timeout(PATIENCE) {
        Err(_) => answer.note("the host's resolver has not answered yet"),
        Ok(Err(error)) => {
            answer.note(format!("the host's resolver does not find it now: {}", libsbox::error::reason(&error)))
        }
        Ok(Ok(addresses)) => {
            let allowed = |address: IpAddr| match (address::forbidden(address), place) {
                (Some(address::PRIVATE), Place::Private) | (None, _) => None,
                (why, _) => why,
            };
            let first = addresses.first().map(std::net::SocketAddr::ip);
            if let (Some(address), true) = (first, addresses.iter().all(|address| allowed(address.ip()).is_some())) {
                let why = address::forbidden(address).unwrap_or_default();
                answer.yes = false;
                answer.verdict = format!("refused: it is at {address}, {why}");
                answer.changes.clear();
                answer.change(
                    "to allow that address, add to network.allow",
                    format!("- \"{}={address}\"", entry(name, port)),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn hosts_are_taken_as_people_write_them() {
        let of = |text: &str| split(text).unwrap();
        assert_eq!(of("a.org"), ("a.org".into(), None));
        assert_eq!(of("a.org:22"), ("a.org".into(), Some(22)));
        assert_eq!(of("https://u:p@a.org/x?y"), ("a.org".into(), Some(443)));
        assert_eq!(of("http://a.org:8080/"), ("a.org".into(), Some(8080)));
        assert_eq!(of("[::1]:80"), ("::1".into(), Some(80)));
        assert_eq!(of("::1"), ("::1".into(), None));
        assert!(split("a.org:x").is_none() && split("a b").is_none() && split("").is_none());
    }
}
