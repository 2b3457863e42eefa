//! Whether the channels' servers answer at all, before micromamba is started: it would try for 12 s where nothing does, and
//! for minutes where a firewall drops everything.

use crate::mamba_error::{Cause, MambaError, Unreached};
use crate::{channel, patience};
use libsbox::escape::visible;
use std::collections::BTreeSet;
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::mpsc;
use std::time::Duration;

/// Tries to connect to each server once. Where a proxy is set, that is the one to reach, and its business.
pub fn check(addresses: &[String]) -> Result<(), MambaError> {
    let servers: BTreeSet<(String, u16)> =
        addresses.iter().filter(|address| !has_proxy(address)).filter_map(|one| server(one)).collect();
    for (host, port) in servers {
        if let Err(why) = connect(&host, port, patience::connecting()) {
            let is_there = |address: &&String| server(address).is_some_and(|server| server == (host.clone(), port));
            let url = addresses
                .iter()
                .find(is_there)
                .map(|address| format!("{}/noarch/repodata.json", channel::shown(address)));
            let unreached = Unreached { url: url.unwrap_or_default(), why, ..Unreached::default() };
            return Err(MambaError::own(Cause::Network(unreached), ""));
        }
    }
    Ok(())
}

fn has_proxy(address: &str) -> bool {
    let scheme = address.split("://").next().unwrap_or_default();
    let names =
        [format!("{scheme}_proxy"), format!("{scheme}_proxy").to_uppercase(), "all_proxy".into(), "ALL_PROXY".into()];
    names.iter().any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}

/// The host and the port of an address.
fn server(address: &str) -> Option<(String, u16)> {
    let (scheme, rest) = address.split_once("://")?;
    let usual = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    let authority = rest.split('/').next()?;
    let authority = authority.rsplit('@').next()?;
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (authority, usual),
    };
    Some((host.trim_start_matches('[').trim_end_matches(']').to_owned(), port))
}

/// Resolving a name cannot be given a time: it is left behind when that is over.
fn connect(host: &str, port: u16, time: Duration) -> Result<(), String> {
    let (sender, receiver) = mpsc::channel();
    let name = host.to_owned();
    let resolver = libsbox::thread::spawn(move || {
        let answer =
            (&*name, port).to_socket_addrs().map_err(|_| format!("the name '{}' cannot be resolved", visible(&name)));
        let connected = answer.and_then(|addresses| {
            let mut why = format!("the name '{}' has no address", visible(&name));
            for address in addresses {
                match TcpStream::connect_timeout(&address, time) {
                    Ok(_) => return Ok(()),
                    Err(error) => why = format!("'{}:{port}': {}", visible(&name), libsbox::error::reason(&error)),
                }
            }
            Err(why)
        });
        let _ = sender.send(connected);
    });
    if let Err(error) = resolver {
        return Err(error.to_string());
    }
    receiver.recv_timeout(time * 2).unwrap_or_else(|_| Err(format!("'{}' did not answer in time", visible(host))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_of_addresses() {
        for (address, expected) in [
            ("https://h/c", Some(("h", 443))),
            ("http://me:secret@h:8080/c", Some(("h", 8080))),
            ("https://[::1]:81/c", Some(("::1", 81))),
            ("https://[::1]/c", Some(("::1", 443))),
            ("file:///c", None),
            ("conda-forge", None),
        ] {
            assert_eq!(server(address), expected.map(|(host, port)| (host.to_owned(), port)), "{address}");
        }
    }

    #[test]
    fn a_closed_port_is_known_at_once_and_named() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let why = connect("127.0.0.1", port, Duration::from_secs(5)).unwrap_err();
        assert_eq!(why, format!("'127.0.0.1:{port}': connection refused"));
    }
}
