//! The first message of a TLS client (RFC 8446, section 4.1.2; RFC 6066, section 3): which server it wants.

/// What the first bytes of a connection are.
#[derive(Debug, PartialEq, Eq)]
pub enum Hello {
    /// A whole ClientHello that names exactly this server.
    Names(String),
    /// The beginning of one: more is needed.
    Partial,
    /// A ClientHello that names no server, or more than one, or is not well-formed.
    Unclear(&'static str),
    /// Something else than TLS.
    NotTls,
}

/// The largest hello that is read; real ones have less than 2 kB, with post-quantum keys less than 8.
pub const LARGEST: usize = 32 * 1024;

/// Looks at the first bytes of a connection.
pub fn read(bytes: &[u8]) -> Hello {
    let is_tls = [0x16, 0x03].iter().zip(bytes).all(|(expected, byte)| expected == byte);
    if !is_tls {
        return Hello::NotTls;
    }
    match handshake(bytes) {
        Err(Stop::More) if bytes.len() < LARGEST => Hello::Partial,
        Err(Stop::More) => Hello::Unclear("the hello is too long"),
        Err(Stop::Wrong(why)) => Hello::Unclear(why),
        Ok(message) => match server_name(&message) {
            Ok(name) => Hello::Names(name),
            Err(why) => Hello::Unclear(why),
        },
    }
}

enum Stop {
    More,
    Wrong(&'static str),
}

/// The body of the ClientHello, put together from as many records as it takes.
fn handshake(mut bytes: &[u8]) -> Result<Vec<u8>, Stop> {
    let mut message = Vec::new();
    loop {
        let Some((head, rest)) = bytes.split_at_checked(5) else { return Err(Stop::More) };
        if head[0] != 0x16 || head[1] != 3 {
            return Err(Stop::Wrong("a record in the ClientHello is not a handshake"));
        }
        let length = usize::from(u16::from_be_bytes([head[3], head[4]]));
        if length == 0 || length > 1 << 14 {
            return Err(Stop::Wrong("a record has an impossible length"));
        }
        let Some((record, rest)) = rest.split_at_checked(length) else { return Err(Stop::More) };
        message.extend_from_slice(record);
        bytes = rest;
        let Some((head, body)) = message.split_at_checked(4) else { continue };
        if head[0] != 1 {
            return Err(Stop::Wrong("the first message is not a ClientHello"));
        }
        let length = usize::from(head[1]) << 16 | usize::from(head[2]) << 8 | usize::from(head[3]);
        if length > LARGEST {
            return Err(Stop::Wrong("the hello is too long"));
        }
        match body.len() {
            have if have < length => continue,
            have if have > length => return Err(Stop::Wrong("something follows the hello before its answer")),
            _ => return Ok(body.to_vec()),
        }
    }
}

/// A reader of length-prefixed vectors.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], &'static str> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or("the hello ends too early")?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self, size: usize) -> Result<usize, &'static str> {
        Ok(self.take(size)?.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }

    fn vector(&mut self, size: usize) -> Result<Reader<'a>, &'static str> {
        let length = self.number(size)?;
        self.take(length).map(Reader)
    }
}

/// The one name in the one server_name extension.
fn server_name(hello: &[u8]) -> Result<String, &'static str> {
    const SERVER_NAME: usize = 0;
    let mut reader = Reader(hello);
    reader.take(2 + 32)?;
    reader.vector(1)?;
    reader.vector(2)?;
    reader.vector(1)?;
    let mut extensions = reader.vector(2)?;
    if !reader.0.is_empty() {
        return Err("the hello has something after its end");
    }
    let mut found = None;
    while !extensions.0.is_empty() {
        let kind = extensions.number(2)?;
        let body = extensions.vector(2)?;
        if kind == SERVER_NAME && found.replace(one_name(body)?).is_some() {
            return Err("the hello names its server twice");
        }
    }
    found.ok_or("the hello names no server")
}

fn one_name(mut body: Reader<'_>) -> Result<String, &'static str> {
    let mut list = body.vector(2)?;
    let kind = list.number(1)?;
    let name = list.vector(2)?;
    if kind != 0 || !list.0.is_empty() || !body.0.is_empty() {
        return Err("the hello names more than one server");
    }
    std::str::from_utf8(name.0)
        .ok()
        .and_then(libsbox::model::host_name)
        .ok_or("the name in the ClientHello is not a host name")
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A hello with these extensions.
    fn hello(extensions: &[u8]) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([0, 0, 2, 0x13, 0x01, 1, 0]);
        body.extend((extensions.len() as u16).to_be_bytes());
        body.extend(extensions);
        let mut message = vec![1, 0];
        message.extend((body.len() as u16).to_be_bytes());
        message.extend(body);
        message
    }

    fn record(message: &[u8]) -> Vec<u8> {
        let mut out = vec![0x16, 3, 1];
        out.extend((message.len() as u16).to_be_bytes());
        out.extend(message);
        out
    }

    fn check_server_name(name: &str) -> Vec<u8> {
        let length = name.len() as u16;
        let mut out = vec![0, 0];
        out.extend((length + 5).to_be_bytes());
        out.extend((length + 3).to_be_bytes());
        out.push(0);
        out.extend(length.to_be_bytes());
        out.extend(name.as_bytes());
        out
    }

    #[test]
    fn the_server_is_named_once_and_clearly() {
        assert_eq!(read(&record(&hello(&check_server_name("Example.ORG")))), Hello::Names("example.org".into()));
        assert!(matches!(read(&record(&hello(&[]))), Hello::Unclear(_)));
        assert!(matches!(
            read(&record(&hello(&[check_server_name("a.org"), check_server_name("b.org")].concat()))),
            Hello::Unclear(_)
        ));
        assert!(matches!(read(&record(&hello(&check_server_name("127.0.0.1")))), Hello::Unclear(_)));
        assert_eq!(read(b"GET / HTTP/1.1\r\n"), Hello::NotTls);
        assert_eq!(read(b"SSH-2.0-x"), Hello::NotTls);
    }

    #[test]
    fn a_hello_in_pieces_is_put_together_and_every_beginning_is_partial() {
        let message = hello(&check_server_name("example.org"));
        let split: Vec<u8> = message.chunks(7).flat_map(record).collect();
        assert_eq!(read(&split), Hello::Names("example.org".into()));
        for end in 2..split.len() {
            assert_eq!(read(&split[..end]), Hello::Partial, "{end}");
        }
    }

    #[test]
    fn no_bytes_are_too_wild() {
        // Every single byte of a good hello changed to every value of a few, and every length cut: never a panic, and never
        // another name than one that stands there.
        let good = record(&hello(&[check_server_name("example.org"), vec![0, 16, 0, 3, 0, 1, 0x68]].concat()));
        for at in 0..good.len() {
            for value in [0, 1, 2, 0x16, 0x7f, 0x80, 0xff] {
                let mut bad = good.clone();
                bad[at] = value;
                if let Hello::Names(name) = read(&bad) {
                    assert!(String::from_utf8_lossy(&bad).to_lowercase().contains(&name));
                }
                read(&bad[..at]);
            }
        }
        let mut noise = libsbox::testing::Noise::default();
        for _ in 0..20_000 {
            let mut bad = good.clone();
            for _ in 0..4 {
                bad[noise.below(good.len())] = noise.below(256) as u8;
            }
            read(&bad);
        }
    }
}
