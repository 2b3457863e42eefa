//! Ports that lead from one loopback to another.

/// How many ports of the host can be reached inside: so many sockets can be handed over at once.
pub const MOST_REACHED: usize = 64;

/// `8080`, or `9000:8080`: on the host, inside. Nothing for what is not that.
pub fn ports(text: &str) -> Option<(u16, u16)> {
    let number = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port > 0);
    let (host, inside) = text.split_once(':').unwrap_or((text, text));
    Some((number(host)?, number(inside)?))
}
