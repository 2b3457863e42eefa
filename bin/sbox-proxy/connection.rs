//! One connection from the sandbox: what it asks for, the answer, and the bytes both ways.

use crate::address::{self, DialError};
use crate::client_hello::{self, Hello};
use crate::log::{Line, Log};
#[cfg(feature = "secrets")]
use crate::refusal::Refusal;
use crate::request::{self, Body, Request, What};
use crate::secrets::clear::{Unreadable, secret_in_the_clear};
use crate::unlisted::Unlisted;
use crate::upstream::{self, Proxy, Upstream};
use libsbox::model::{Grant, HostRules, Place};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

/// What every connection is measured by.
pub struct Policy {
    pub rules: HostRules,
    pub unlisted: Unlisted,
    pub log: Log,
    pub upstream: Upstream,
    #[cfg(feature = "secrets")]
    pub secrets: Option<crate::secrets::Interception>,
}

/// How long a client may take for the head of its request and for its hello.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a connection may be silent. Longer than servers keep one, shorter than for ever.
pub const SILENCE: Duration = Duration::from_secs(15 * 60);

/// Serves a connection to its end.
pub fn serve(policy: &Policy, mut client: TcpStream) {
    let _ = client.set_read_timeout(Some(PATIENCE));
    let _ = client.set_write_timeout(Some(SILENCE));
    let _ = client.set_nodelay(true);
    let (head, rest) = match read_head(&mut client) {
        Head::Whole(head, rest) => (head, rest),
        Head::TooLong => {
            let why = "the head of the request is too long";
            policy.log.write(&Line { host: "", port: 0, refused: Some(why), rule: None });
            return refuse(&mut client, &Refusal::new(431, why));
        }
        Head::Nothing => return,
    };
    let request = match request::parse(&head) {
        Ok(request) => request,
        Err(why) => {
            policy.log.write(&Line { host: "", port: 0, refused: Some(why), rule: None });
            return refuse(&mut client, &Refusal::new(400, why));
        }
    };
    let Request { host, port, what } = request;
    #[cfg(feature = "secrets")]
    if let (Some(secrets), What::Plain { head, .. }) = (&policy.secrets, &what)
        && let Some(refusal) = secret_in_the_clear(secrets, head, &host)
    {
        policy.log.write(&Line { host: &host, port, refused: Some(&refusal.why), rule: None });
        return refuse(&mut client, &refusal);
    }
    match policy.dial(&host, port, what == What::Connect) {
        Err(refusal) => {
            policy.log.write(&Line { host: &host, port, refused: Some(&refusal.why), rule: refusal.rule.as_deref() });
            refuse(&mut client, &refusal);
        }
        Ok((grant, server, through)) => match (what, policy.log.open_connection(&host, port, &server)) {
            (What::Connect, _open) => tunnel(policy, client, server, &host, port, grant, rest),
            (What::Plain { head, body }, _open) => {
                let head = through.map_or_else(|| head.clone(), |proxy| proxy.head(&head, &host, port));
                let rest = io::Cursor::new(rest);
                policy.log.write(&Line { host: &host, port, refused: None, rule: None });
                #[cfg(feature = "secrets")]
                if let Some(secrets) = &policy.secrets {
                    let Ok(more) = client.try_clone() else { return };
                    let mut body_of = Unreadable::new(rest.chain(more), secrets);
                    let _ = forward(client, server, &head, body, &mut body_of);
                    if let Some(why) = body_of.found() {
                        policy.log.write(&Line { host: &host, port, refused: Some(&why), rule: None });
                    }
                    return;
                }
                let Ok(more) = client.try_clone() else { return };
                let _ = forward(client, server, &head, body, rest.chain(more));
            }
        },
    }
}

impl Policy {
    /// A connection to a name that is allowed, and the host's proxy if it leads through that.
    fn dial(&self, host: &str, port: u16, is_tunnel: bool) -> Result<(Grant, TcpStream, Option<&Proxy>), Refusal> {
        let unlisted = || (!self.rules.is_denied(host, port)).then(|| self.unlisted.grant(host, port)).flatten();
        let Some(grant) = self.rules.grant(host, port).or_else(unlisted) else {
            let entry =
                if libsbox::model::DEFAULT_PORTS.contains(&port) { host.to_owned() } else { format!("{host}:{port}") };
            let why = match self.rules.is_denied(host, port) {
                true => format!("'{entry}' is denied by network.deny"),
                false => format!("'{entry}' is not allowed; network: {{allow: [\"{entry}\"]}} would allow it"),
            };
            let rule = (!self.rules.is_denied(host, port)).then_some(entry);
            return Err(Refusal { code: 403, why, rule });
        };
        if let Some(proxy) = self.upstream.proxy(host, port, is_tunnel).filter(|_| grant.place == Place::Public) {
            if let Some((address, why)) = upstream::known_to_be_forbidden(host, port) {
                return Err(Refusal::forbidden(host, address, why));
            }
            let server = if is_tunnel { proxy.tunnel(host, port) } else { proxy.connect() };
            let server = server.map_err(|why| Refusal::new(502, why))?;
            let _ = server.set_nodelay(true);
            return Ok((grant, server, Some(proxy)));
        }
        match address::dial(host, port, grant.place) {
            Ok(server) => {
                let _ = server.set_nodelay(true);
                Ok((grant, server, None))
            }
            Err(DialError::Unknown(why)) => Err(Refusal::new(502, format!("'{host}' was not found: {why}"))),
            Err(DialError::Unreachable(why)) => {
                Err(Refusal::new(502, format!("'{host}:{port}' cannot be reached: {why}")))
            }
            Err(DialError::Forbidden(address, why)) => Err(Refusal::forbidden(host, address, why)),
        }
    }
}

/// What a request begins with.
enum Head {
    /// All of it, and what came after it already.
    Whole(Vec<u8>, Vec<u8>),
    TooLong,
    /// The client went away, or took too long.
    Nothing,
}

fn read_head(client: &mut TcpStream) -> Head {
    let mut bytes = Vec::new();
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(at) = memchr::memmem::find(&bytes, b"\r\n\r\n") {
            let rest = bytes.split_off(at + 4);
            return Head::Whole(bytes, rest);
        }
        if bytes.len() > request::LARGEST {
            return Head::TooLong;
        }
        if read_more(client, &mut bytes, end) != Some(true) {
            return Head::Nothing;
        }
    }
}

/// Reads once, before `end`. `false` at the end of the stream.
fn read_more(from: &mut TcpStream, bytes: &mut Vec<u8>, end: Instant) -> Option<bool> {
    let left = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
    from.set_read_timeout(Some(left)).ok()?;
    let mut space = [0; 8192];
    let count = from.read(&mut space).ok()?;
    bytes.extend_from_slice(&space[..count]);
    Some(count > 0)
}

/// The reason is in the first line too: that is what most clients show.
pub fn refusal(code: u16, why: &str) -> Vec<u8> {
    let name = match code {
        400 => "Bad Request",
        403 => "Forbidden",
        431 => "Request Header Fields Too Large",
        _ => "Bad Gateway",
    };
    let why = libsbox::escape::visible(why);
    let line: String = why.chars().filter(char::is_ascii).collect();
    let body = format!("sbox: {why}\n");
    let text = format!(
        "HTTP/1.1 {code} {name}: sbox: {line}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nX-Sbox-Refused: {line}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    text.into_bytes()
}

fn refuse(client: &mut TcpStream, Refusal { code, why, .. }: &Refusal) {
    let _ = client.write_all(&refusal(*code, why));
    let _ = client.shutdown(Shutdown::Write);
    // Read what is still coming, or the answer is lost with a reset: for a moment, and not for ever.
    let _ = client.set_read_timeout(Some(Duration::from_millis(200)));
    let (end, mut space) = (Instant::now() + Duration::from_secs(2), [0; 8192]);
    while Instant::now() < end && client.read(&mut space).is_ok_and(|count| count > 0) {}
}

/// A tunnel: the client gets the answer that it stands, and then has to say in the clear whom it wants to talk to. Until it has,
/// the server gets nothing. Where a rule names the port the server may speak first, as some protocols do.
fn tunnel(
    policy: &Policy,
    mut client: TcpStream,
    mut server: TcpStream,
    host: &str,
    port: u16,
    grant: Grant,
    rest: Vec<u8>,
) {
    let established = client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n");
    #[cfg(feature = "secrets")]
    if let (Some(secrets), Ok(())) = (policy.secrets.as_ref().filter(|all| all.store.is_of(host, port)), &established) {
        let (first, verdict) = check_server_name(&mut client, rest, host, Instant::now() + PATIENCE, false);
        let Some(why) = verdict else {
            return crate::secrets::serve(policy, secrets, client, server, &first, host, port);
        };
        policy.log.write(&Line { host, port, refused: Some(&why), rule: None });
        return unrecognized_name(client, server);
    }
    let (Ok(()), Ok(answers)) = (established, Answers::open(&client, &server)) else { return };
    let answers = if grant.any_protocol { Ok(answers.start()) } else { Err(answers) };
    let patience = if grant.any_protocol { SILENCE } else { PATIENCE };
    let (first, verdict) = check_server_name(&mut client, rest, host, Instant::now() + patience, grant.any_protocol);
    policy.log.write(&Line { host, port, refused: verdict.as_deref(), rule: None });
    if verdict.is_some() {
        return unrecognized_name(client, server);
    }
    if server.write_all(&first).is_err() {
        return;
    }
    let answers = answers.unwrap_or_else(Answers::start);
    let _ = client.set_read_timeout(Some(SILENCE));
    let _ = io::copy(&mut client, &mut server);
    let _ = server.shutdown(Shutdown::Write);
    let _ = answers.map(std::thread::JoinHandle::join);
}

/// A TLS alert: fatal, unrecognized_name (RFC 6066, section 3).
fn unrecognized_name(mut client: TcpStream, server: TcpStream) {
    let _ = client.write_all(&[0x15, 3, 3, 0, 2, 2, 112]);
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
}

/// The way from the server to the client.
struct Answers {
    from: TcpStream,
    to: TcpStream,
}

impl Answers {
    fn open(client: &TcpStream, server: &TcpStream) -> io::Result<Answers> {
        server.set_read_timeout(Some(SILENCE))?;
        server.set_write_timeout(Some(SILENCE))?;
        Ok(Answers { from: server.try_clone()?, to: client.try_clone()? })
    }

    /// Nothing if there is no thread to be had: then both sides are closed.
    fn start(mut self) -> Option<std::thread::JoinHandle<()>> {
        let ends = (self.from.try_clone(), self.to.try_clone());
        let started = libsbox::thread::spawn(move || {
            let copied = io::copy(&mut self.from, &mut self.to);
            let _ = self.to.shutdown(if copied.is_ok() { Shutdown::Write } else { Shutdown::Both });
        });
        if let (Err(_), (Ok(from), Ok(to))) = (&started, ends) {
            let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
        }
        started.ok()
    }
}

/// Reads until it is clear whom the client wants; gives what was read, and why it is refused if it is.
fn check_server_name(
    client: &mut TcpStream,
    mut bytes: Vec<u8>,
    host: &str,
    end: Instant,
    any: bool,
) -> (Vec<u8>, Option<String>) {
    loop {
        let seen = if bytes.is_empty() { Hello::Partial } else { client_hello::read(&bytes) };
        let why = match seen {
            Hello::Names(name) if name == host => None,
            Hello::Names(name) => Some(format!("the TLS server name '{name}' is not '{host}'")),
            Hello::NotTls if any => None,
            Hello::NotTls => Some("what was sent through the tunnel is not TLS".into()),
            Hello::Unclear(why) => Some(why.into()),
            Hello::Partial => match read_more(client, &mut bytes, end) {
                Some(true) => continue,
                // It never says anything, on a port where that may be.
                _ if any && bytes.is_empty() => None,
                _ => Some("the TLS hello did not come".into()),
            },
        };
        return (bytes, why);
    }
}

/// A plain request: its head, exactly its body, and the answer.
fn forward(client: TcpStream, mut server: TcpStream, head: &[u8], body: Body, from: impl Read) -> io::Result<()> {
    client.set_read_timeout(Some(SILENCE))?;
    server.set_read_timeout(Some(SILENCE))?;
    server.write_all(head)?;
    let mut answers = (server.try_clone()?, client.try_clone()?);
    let answer = libsbox::thread::spawn(move || {
        let result = io::copy(&mut answers.0, &mut answers.1);
        let _ = answers.1.shutdown(Shutdown::Both);
        result
    })
    .map_err(|error| io::Error::other(error.to_string()))?;
    let mut from = io::BufReader::new(from);
    let sent = match body {
        Body::Length(length) => exactly(&mut from, &mut server, length),
        Body::Chunked => chunks(&mut from, &mut server),
    };
    if sent.is_err() {
        let _ = server.shutdown(Shutdown::Both);
    }
    answer.join().map_err(|_| io::Error::other("the answer's thread ended"))?.map(drop)
}

fn exactly(from: &mut impl Read, to: &mut impl Write, length: u64) -> io::Result<()> {
    let copied = io::copy(&mut from.by_ref().take(length), to)?;
    if copied == length { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// Chunk after chunk, to the last one, which is empty. Trailers are left out.
fn chunks(from: &mut impl io::BufRead, to: &mut impl Write) -> io::Result<()> {
    loop {
        let line = line(from)?;
        let length = request::chunk_length(&line).ok_or(io::ErrorKind::InvalidData)?;
        write!(to, "{length:x}\r\n")?;
        if length == 0 {
            while !self::line(from)?.is_empty() {}
            return to.write_all(b"\r\n");
        }
        exactly(from, to, length)?;
        if !self::line(from)?.is_empty() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        to.write_all(b"\r\n")?;
    }
}

/// A short line without its end, which must be a whole one.
fn line(from: &mut impl io::BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    io::BufRead::read_until(&mut from.take(4096), b'\n', &mut line)?;
    match line.strip_suffix(b"\r\n") {
        Some(line) => Ok(line.to_vec()),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}
