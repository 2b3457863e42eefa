//! What can be reached without leave.

use crate::{Attempt, Fixtures, Outcome, Tried, socket};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

pub const ATTEMPTS: &[Attempt] = &[
    Attempt {
        class: "network",
        name: "host-loopback",
        what: "connect to a server on the host's loopback",
        run: |f| connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port(f)?))),
    },
    Attempt {
        class: "network",
        name: "host-loopback-6",
        what: "the same by another notation",
        run: |f| connect(SocketAddr::new("::ffff:127.0.0.1".parse().map_err(|_| Outcome::Impossible)?, port(f)?)),
    },
    Attempt {
        class: "network",
        name: "any-address",
        what: "the same by 0.0.0.0",
        run: |f| connect(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port(f)?))),
    },
    Attempt {
        class: "network",
        name: "udp-route",
        what: "find a route for UDP",
        run: |_| {
            UdpSocket::bind("0.0.0.0:0")
                .and_then(|socket| socket.connect("192.0.2.1:53"))
                .map(|()| "there is one".into())
                .map_err(Outcome::from)
        },
    },
    Attempt { class: "network", name: "interfaces", what: "see the host's interfaces", run: interfaces },
    Attempt { class: "network", name: "vsock", what: "make a socket to the hypervisor", run: |_| socket(40, 1, 0) },
    Attempt {
        class: "network",
        name: "proxy-loopback",
        what: "have a proxy connect to the host's loopback",
        run: |f| ask_proxy(&format!("127.0.0.1:{}", port(f)?)),
    },
    Attempt {
        class: "network",
        name: "proxy-notation",
        what: "have it connect there by an unusual notation",
        run: |f| ask_proxy(&format!("2130706433:{}", port(f)?)),
    },
    Attempt {
        class: "network",
        name: "proxy-localhost",
        what: "have it connect to localhost",
        run: |f| ask_proxy(&format!("localhost:{}", port(f)?)),
    },
    Attempt {
        class: "network",
        name: "proxy-metadata",
        what: "have it connect to a cloud's metadata",
        run: |_| ask_proxy("169.254.169.254:80"),
    },
    Attempt {
        class: "network",
        name: "proxy-other-name",
        what: "have it connect to a name that is not allowed",
        run: |_| ask_proxy("not-allowed.invalid:443"),
    },
    Attempt {
        class: "network",
        name: "proxy-other-port",
        what: "have it connect to another port of an allowed name",
        run: |_| ask_proxy("allowed.invalid:22"),
    },
    Attempt {
        class: "network",
        name: "proxy-host-header",
        what: "name another host in the Host header",
        run: |f| plain(&format!("GET http://allowed.invalid/ HTTP/1.1\r\nHost: localhost:{}\r\n\r\n", port(f)?)),
    },
];

/// Where a sandbox's proxy listens.
const PROXY: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 3128);

fn port(fixtures: &Fixtures) -> Result<u16, Outcome> {
    fixtures.get("port")?.parse().map_err(|_| Outcome::Impossible)
}

fn connect(address: SocketAddr) -> Tried {
    TcpStream::connect_timeout(&address, Duration::from_secs(3)).map(|_| "connected".into()).map_err(Outcome::from)
}

fn interfaces(_: &Fixtures) -> Tried {
    let text = std::fs::read_to_string("/proc/net/dev")?;
    let names = text.lines().skip(2).filter_map(|line| line.split(':').next()).map(str::trim);
    match names.into_iter().find(|name| *name != "lo") {
        Some(name) => Ok(name.to_owned()),
        None => Err(Outcome::Refused("there is only loopback".into())),
    }
}

/// Asks for a tunnel. Without a proxy there is nothing to try.
fn ask_proxy(target: &str) -> Tried {
    plain(&format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n"))
}

fn plain(request: &str) -> Tried {
    let mut stream = TcpStream::connect(PROXY).map_err(|_| Outcome::Impossible)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = [0; 256];
    let count = stream.read(&mut answer)?;
    let line = String::from_utf8_lossy(&answer[..count]).lines().next().unwrap_or_default().to_owned();
    if line.contains(" 200 ") { Ok(line) } else { Err(Outcome::Refused(line)) }
}
