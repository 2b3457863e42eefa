//! Which addresses a sandbox's proxy may dial: public ones of others.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

/// What a network of a company or of a home has: the one kind that `=private` opens.
pub const PRIVATE: &str = "a private address";

/// Why an address may not be dialled.
pub fn forbidden(address: IpAddr) -> Option<&'static str> {
    let reserved = match address {
        IpAddr::V4(address) => reserved_v4(address),
        IpAddr::V6(address) => reserved_v6(address),
    };
    reserved.or_else(|| is_own(address).then_some("an address of this host"))
}

/// RFC 6890 and the IANA registry of special-purpose addresses, less the blocks for documentation, which lead nowhere.
fn reserved_v4(address: Ipv4Addr) -> Option<&'static str> {
    let [a, b, c, _] = address.octets();
    match (a, b, c) {
        (127, ..) => Some("a loopback address"),
        (10, ..) | (192, 168, _) => Some(PRIVATE),
        (172, 16..=31, _) => Some(PRIVATE),
        (100, 64..=127, _) => Some("an address of the provider's own network"),
        (169, 254, _) => Some("a link-local address (cloud metadata is there)"),
        (0, ..) | (192, 0, 0) | (198, 18..=19, _) | (240..=255, ..) => Some("a reserved address"),
        (224..=239, ..) => Some("a multicast address"),
        // Metadata of Alibaba's and Oracle's clouds is in 100.64/10 and 192.0.0/24; this is Azure's wire server.
        _ if address == Ipv4Addr::new(168, 63, 129, 16) => Some("an address of the cloud's own services"),
        _ => None,
    }
}

fn reserved_v6(address: Ipv6Addr) -> Option<&'static str> {
    let parts = address.segments();
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        reserved_v4(Ipv4Addr::new(a, b, c, d))
            .or_else(|| is_own(IpAddr::V4(Ipv4Addr::new(a, b, c, d))).then_some("an address of this host"))
    };
    match parts {
        [0, 0, 0, 0, 0, 0, 0, 1] => Some("a loopback address"),
        // Mapped (::ffff:a.b.c.d) and compatible (::a.b.c.d), NAT64 (64:ff9b::), 6to4 (2002::): an address in an address.
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] if (high, low) != (0, 0) => embedded(high, low),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        [0x64, 0xff9b, 1, ..] => Some(PRIVATE),
        [0x2002, high, low, ..] => embedded(high, low),
        [0x2001, 0, ..] => Some("a tunnel's address"),
        [0xfc00..=0xfdff, ..] => Some(PRIVATE),
        [0xfe80..=0xfebf, ..] => Some("a link-local address"),
        [0xfec0..=0xfeff, ..] => Some("a site-local address"),
        [0xff00..=0xffff, ..] => Some("a multicast address"),
        [0x100, 0, 0, 0, ..] | [0, ..] => Some("a reserved address"),
        _ => None,
    }
}

/// Whether an address is this host's: only then a socket can be bound to it.
fn is_own(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_are_not_public_are_forbidden_however_written() {
        for text in [
            "127.0.0.1",
            "127.255.0.9",
            "0.0.0.0",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "100.64.0.1",
            "100.100.100.200",
            "169.254.169.254",
            "192.0.0.192",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "168.63.129.16",
            "::1",
            "::",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
            "2001:0:1::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "100::1",
        ] {
            assert!(forbidden(text.parse().unwrap()).is_some(), "{text}");
        }
        for text in [
            "1.1.1.1",
            "93.184.216.34",
            "172.32.0.1",
            "100.128.0.1",
            "2606:4700::1111",
            "::ffff:1.1.1.1",
            "64:ff9b::101:101",
        ] {
            assert!(forbidden(text.parse().unwrap()).is_none(), "{text}");
        }
    }

    #[test]
    fn the_hosts_own_addresses_are_known_by_trying() {
        assert!(is_own("127.0.0.1".parse().unwrap()));
        assert!(!is_own("1.1.1.1".parse().unwrap()));
    }
}
