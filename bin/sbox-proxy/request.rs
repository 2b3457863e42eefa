//! A request to the proxy (RFC 9110, 9112). Read strictly: what two readers could understand differently is refused.

/// The largest head of a request: its first line and headers.
pub const LARGEST: usize = 64 * 1024;

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    pub host: String,
    pub port: u16,
    pub what: What,
}

#[derive(Debug, PartialEq, Eq)]
pub enum What {
    /// A tunnel for a protocol that the proxy does not speak.
    Connect,
    /// A request in plain text: its head as the server gets it, and what follows.
    Plain { head: Vec<u8>, body: Body },
}

/// The body of a plain request. Nothing after it goes to the server: it could be another request, for another host.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum Body {
    /// So many bytes.
    Length(u64),
    /// In chunks, each with its length before it.
    Chunked,
}

/// Reads a whole head, its empty line included. The error is the reason of a 400.
pub fn parse(head: &[u8]) -> Result<Request, &'static str> {
    let text = std::str::from_utf8(head).map_err(|_| "the request is not text")?;
    let text = text.strip_suffix("\r\n\r\n").ok_or("the request has no end")?;
    if text.bytes().any(|byte| byte == 0) || text.replace("\r\n", "").contains(['\r', '\n']) {
        return Err("a line does not end in CR LF");
    }
    let mut lines = text.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err("the first line is not a request");
    };
    if !matches!(version, "HTTP/1.1" | "HTTP/1.0") || method.is_empty() || !method.bytes().all(is_token) {
        return Err("the first line is not a request");
    }
    let headers = headers(lines)?;
    match method {
        // Whoever answers it sends the request back, with what the host's proxy needed to let it through.
        "TRACE" => Err("TRACE is not passed on"),
        "CONNECT" => connect(target, &headers),
        _ => plain(method, target, version, &headers),
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

type Headers<'a> = Vec<(&'a str, &'a str)>;

fn headers<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Headers<'a>, &'static str> {
    let header = |line: &'a str| {
        // A line that begins with a space was once the continuation of the one before; now it is nobody's.
        let (name, value) = line.split_once(':').ok_or("a header has no colon")?;
        if name.is_empty() || !name.bytes().all(is_token) || value.bytes().any(|byte| byte < b' ' && byte != b'\t') {
            return Err("a header is not well-formed");
        }
        Ok((name, value.trim_matches([' ', '\t'])))
    };
    lines.map(header).collect()
}

fn all<'a>(headers: &Headers<'a>, name: &str) -> Vec<&'a str> {
    headers.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| *value).collect()
}

/// `NAME:PORT`, or `NAME` where there is a port that goes without saying.
fn authority(text: &str, default: Option<u16>) -> Result<(String, u16), &'static str> {
    let (host, port) = match (text.rsplit_once(':'), default) {
        (Some((host, port)), _) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => {
            (host, port.parse().ok().filter(|port| *port > 0).ok_or("the port is none")?)
        }
        (None, Some(port)) => (text, port),
        _ => return Err("the host is not well-formed"),
    };
    let host = libsbox::model::host_name(host).ok_or("only names can be asked for, no addresses")?;
    Ok((host, port))
}

fn connect(target: &str, headers: &Headers<'_>) -> Result<Request, &'static str> {
    let (host, port) = authority(target, None)?;
    for value in all(headers, "host") {
        // Some clients leave the port out here.
        if authority(value, Some(port))? != (host.clone(), port) {
            return Err("the Host header names another host than the request");
        }
    }
    if !all(headers, "content-length").iter().all(|length| *length == "0")
        || !all(headers, "transfer-encoding").is_empty()
    {
        return Err("a CONNECT has no body");
    }
    Ok(Request { host, port, what: What::Connect })
}

fn plain(method: &str, target: &str, version: &str, headers: &Headers<'_>) -> Result<Request, &'static str> {
    let rest = target.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("http://")).map(|_| &target[7..]);
    let rest = rest.ok_or("the request is not one to a proxy: it needs http://NAME/... or CONNECT")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (host, port) = authority(&rest[..end], Some(80))?;
    let path = match &rest[end..] {
        "" => "/".to_owned(),
        query if query.starts_with('?') => format!("/{query}"),
        path if path.starts_with('/') => path.to_owned(),
        _ => return Err("the address has a fragment"),
    };
    if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("the address has invalid characters");
    }
    match all(headers, "host").as_slice() {
        [value] if authority(value, Some(80))? == (host.clone(), port) => {}
        [] if version == "HTTP/1.0" => {}
        [_] => return Err("the Host header names another host than the request"),
        _ => return Err("the request needs one Host header"),
    }
    let body = body(headers)?;
    let shown = if port == 80 { host.clone() } else { format!("{host}:{port}") };
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {shown}\r\n");
    let named = all(headers, "connection").join(",").to_ascii_lowercase();
    let named: Vec<&str> = named.split(',').map(str::trim).collect();
    for (name, value) in headers {
        let lower = name.to_ascii_lowercase();
        // What is between the client and the proxy ends here (RFC 9110, section 7.6.1), and so does what would let a
        // connection become something that is not looked at.
        let ends_here = ["host", "connection", "keep-alive", "upgrade", "te", "trailer"].contains(&lower.as_str())
            || lower.starts_with("proxy-")
            || named.contains(&lower.as_str()) && lower != "content-length" && lower != "transfer-encoding";
        if !ends_here {
            head += &format!("{name}: {value}\r\n");
        }
    }
    // One request, one connection: the next one is looked at again.
    head += "Connection: close\r\n\r\n";
    Ok(Request { host, port, what: What::Plain { head: head.into_bytes(), body } })
}

fn body(headers: &Headers<'_>) -> Result<Body, &'static str> {
    let (lengths, codings) = (all(headers, "content-length"), all(headers, "transfer-encoding"));
    match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => Ok(Body::Length(0)),
        ([length], []) if length.bytes().all(|byte| byte.is_ascii_digit()) => {
            length.parse().map(Body::Length).map_err(|_| "the length of the body is none")
        }
        ([], [coding]) if coding.eq_ignore_ascii_case("chunked") => Ok(Body::Chunked),
        _ => Err("the length of the body is not clear"),
    }
}

/// The length in the line before a chunk, without its end.
pub fn chunk_length(line: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(line).ok()?;
    let digits = text.split(';').next()?.trim_end();
    let hex = !digits.is_empty() && digits.len() <= 15 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    hex.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(text: &str) -> Result<Request, &'static str> {
        parse(text.replace('\n', "\r\n").as_bytes())
    }

    #[test]
    fn a_tunnel_is_to_a_name_and_a_port() {
        let request = asked("CONNECT Example.org:443 HTTP/1.1\nHost: example.org:443\n\n").unwrap();
        assert_eq!((request.host.as_str(), request.port, request.what), ("example.org", 443, What::Connect));
        assert!(asked("CONNECT example.org:443 HTTP/1.1\nHost: example.org\n\n").is_ok());
        for target in [
            "127.0.0.1:443",
            "127.1:443",
            "2130706433:443",
            "0x7f000001:443",
            "[::1]:443",
            "example.org",
            "example.org:",
            "example.org:0",
            "example.org:99999",
            "a@example.org:443",
            "http://example.org:443",
        ] {
            assert!(asked(&format!("CONNECT {target} HTTP/1.1\n\n")).is_err(), "{target}");
        }
        assert!(asked("CONNECT example.org:443 HTTP/1.1\nHost: evil.com:443\n\n").is_err());
    }

    #[test]
    fn a_plain_request_goes_on_with_one_host_and_without_what_ends_here() {
        let text = "POST http://example.org:8080/a?b HTTP/1.1\nHost: example.org:8080\nProxy-Authorization: x\nConnection: keep-alive, X-Own\nX-Own: 1\nUpgrade: h2c\nContent-Length: 5\nAccept: */*\n\n";
        let Request { what: What::Plain { head, body }, .. } = asked(text).unwrap() else { panic!() };
        let wanted = "POST /a?b HTTP/1.1\r\nHost: example.org:8080\r\nContent-Length: 5\r\nAccept: */*\r\nConnection: close\r\n\r\n";
        assert_eq!((String::from_utf8(head).unwrap().as_str(), body), (wanted, Body::Length(5)));
    }

    #[test]
    fn what_two_readers_could_understand_differently_is_refused() {
        for text in [
            "GET http://example.org/ HTTP/1.1\nHost: evil.com\n\n",
            "GET http://example.org/ HTTP/1.1\n\n",
            "GET http://example.org/ HTTP/1.1\nHost: example.org\nHost: evil.com\n\n",
            "GET http://example.org/ HTTP/1.1\nHost: example.org\n folded: x\n\n",
            "GET http://example.org/ HTTP/1.1\nHost : example.org\n\n",
            "GET http://user@example.org/ HTTP/1.1\nHost: example.org\n\n",
            "GET http://example.org\\@evil.com/ HTTP/1.1\nHost: example.org\n\n",
            "GET https://example.org/ HTTP/1.1\nHost: example.org\n\n",
            "GET / HTTP/1.1\nHost: example.org\n\n",
            "GET http://example.org/#x HTTP/1.1 \nHost: example.org\n\n",
            "POST http://example.org/ HTTP/1.1\nHost: example.org\nContent-Length: 5\nContent-Length: 6\n\n",
            "POST http://example.org/ HTTP/1.1\nHost: example.org\nContent-Length: 5\nTransfer-Encoding: chunked\n\n",
            "POST http://example.org/ HTTP/1.1\nHost: example.org\nTransfer-Encoding: gzip, chunked\n\n",
            "POST http://example.org/ HTTP/1.1\nHost: example.org\nContent-Length: +5\n\n",
            "TRACE http://example.org/ HTTP/1.1\nHost: example.org\n\n",
            "GET  http://example.org/ HTTP/1.1\nHost: example.org\n\n",
            "GET http://example.org/ HTTP/2.0\nHost: example.org\n\n",
        ] {
            assert!(asked(text).is_err(), "{text}");
        }
        assert!(parse(b"GET http://example.org/ HTTP/1.1\nHost: example.org\r\n\r\n").is_err());
        assert!(parse(b"GET http://example.org/ HTTP/1.1\r\nHost: example.org\rX: y\r\n\r\n").is_err());
    }

    #[test]
    fn chunks_have_a_length_of_digits() {
        assert_eq!([&b"a"[..], b"1F;x=y", b"0"].map(chunk_length), [Some(10), Some(31), Some(0)]);
        assert_eq!([&b""[..], b"-1", b"0x10", b" 5", b"fffffffffffffffff", b"\xff"].map(chunk_length), [None; 6]);
    }

    #[test]
    fn no_bytes_are_too_wild() {
        let good = b"POST http://example.org:8080/a HTTP/1.1\r\nHost: example.org:8080\r\nContent-Length: 5\r\n\r\n";
        let mut noise = libsbox::testing::Noise::default();
        for _ in 0..20_000 {
            let mut bad = good.to_vec();
            for _ in 0..3 {
                bad[noise.below(good.len())] = noise.below(256) as u8;
            }
            if let Ok(request) = parse(&bad) {
                assert!(libsbox::model::host_name(&request.host).as_deref() == Some(request.host.as_str()));
            }
        }
    }
}
