//! Requests and answers on one connection, in turn: bytes in, bytes out, and no socket. The next request is not looked at
//! before the answer to the one before has ended, so that an answer is never taken for that of another request.

use super::body::Body;
use super::head::{self, Framing, Head};
use super::replace::{Pair, Replacer, replaced};
use super::store::View;
use std::sync::Arc;

/// Why a connection cannot go on.
#[derive(Debug, PartialEq, Eq)]
pub enum Stop {
    /// The client gets this answer.
    Refuse(u16, String),
    /// It has a part of an answer: there is nothing left to say.
    Abort(String),
}

enum Up {
    Head,
    Body(Body),
    /// For the answer.
    Waiting,
    /// Something else than HTTP, after an upgrade.
    Raw,
}

enum Down {
    Head,
    Body(Body),
    Raw(Replacer),
}

/// How many passwords with a key in them one connection may send: each is looked for in all that comes back.
const MOST_SENT: usize = 64;

/// One connection.
pub struct Exchange<V: Fn() -> View> {
    view: V,
    host: String,
    port: u16,
    up: Up,
    down: Down,
    /// What must not come back in the answer.
    answer: Arc<[Pair]>,
    /// Which pairs of the request's body hide what belongs to others: the first so many.
    masked: Vec<String>,
    /// What was sent in the place of `Basic` pairs so far.
    sent: Vec<Pair>,
    /// Whether the server was sent a value, or can have been.
    knows_value: bool,
    client_chunks: bool,
    to_head: bool,
    wants_upgrade: bool,
    closes: bool,
    is_over: bool,
    /// What a person should know, and what was let through all the same.
    pub notes: Vec<String>,
    /// Why the server cannot be asked.
    pub unusable: Option<String>,
    /// Requests so far.
    pub count: u64,
}

impl<V: Fn() -> View> Exchange<V> {
    pub fn new(host: &str, port: u16, view: V) -> Exchange<V> {
        Exchange {
            view,
            host: host.to_owned(),
            port,
            up: Up::Head,
            down: Down::Head,
            answer: Vec::new().into(),
            masked: Vec::new(),
            sent: Vec::new(),
            knows_value: false,
            client_chunks: true,
            to_head: false,
            wants_upgrade: false,
            closes: false,
            is_over: false,
            notes: Vec::new(),
            unusable: None,
            count: 0,
        }
    }

    /// Whether no more comes after what was put out.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// Whether nothing is under way.
    pub fn is_idle(&self) -> bool {
        matches!(self.up, Up::Head)
    }

    /// Whether the head of an answer is to come.
    pub fn awaits_head(&self) -> bool {
        matches!(self.down, Down::Head)
    }

    /// Whether the client can still be given an answer of the proxy's.
    fn can_answer(&self) -> bool {
        matches!(self.down, Down::Head)
    }

    fn stop(&self, code: u16, why: impl Into<String>) -> Stop {
        if self.can_answer() { Stop::Refuse(code, why.into()) } else { Stop::Abort(why.into()) }
    }

    /// Takes what it can from the client.
    pub fn request(&mut self, input: &mut Vec<u8>, out: &mut Vec<u8>) -> Result<(), Stop> {
        while !input.is_empty() {
            match &mut self.up {
                Up::Head => {
                    let Some(end) = head::end(input, 0) else {
                        let is_too_long = input.len() > head::LARGEST;
                        return if is_too_long {
                            Err(self.stop(431, "the head of the request is too long"))
                        } else {
                            Ok(())
                        };
                    };
                    if end > head::LARGEST {
                        return Err(self.stop(431, "the head of the request is too long"));
                    }
                    let head: Vec<u8> = input.drain(..end).collect();
                    self.begin(&head, out)?;
                }
                Up::Body(body) => {
                    let taken = body.push(input, out);
                    let (found, is_whole) = (body.found().to_vec(), body.is_whole());
                    input.drain(..taken.map_err(|why| self.stop(400, why))?);
                    self.note_masked(&found);
                    if is_whole {
                        self.up = Up::Waiting;
                    }
                }
                Up::Raw => out.append(input),
                Up::Waiting => return Ok(()),
            }
        }
        Ok(())
    }

    fn note_masked(&mut self, found: &[bool]) {
        for at in (0..self.masked.len()).filter(|at| found.get(*at) == Some(&true)) {
            let name = std::mem::take(&mut self.masked[at]);
            if !name.is_empty() {
                self.notes.push(format!("the placeholder of '{name}' was made unreadable in the body of a request"));
            }
        }
    }

    fn begin(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Stop> {
        self.count += 1;
        if let Some(why) = &self.unusable {
            return Err(self.stop(502, why.clone()));
        }
        let wrong = |why: &str| Stop::Refuse(400, why.to_owned());
        let mut head = Head::parse(bytes).map_err(wrong)?;
        let framing = head.request_framing().map_err(wrong)?;
        let (method, target, is_11) = head.request_line().map_err(wrong)?;
        let (method, is_head) = (method.to_owned(), method == "HEAD");
        if !(target.starts_with('/') || target == "*" && method == "OPTIONS") || target.contains('#') {
            return Err(wrong("the address of the request is not a path"));
        }
        if matches!(method.as_str(), "CONNECT" | "TRACE") {
            return Err(wrong("this method is not passed on"));
        }
        self.require_host(&mut head, is_11)?;
        self.closes = head.lists("connection", "close") || !is_11;
        self.wants_upgrade = head.lists("connection", "upgrade") && head.lists("upgrade", "websocket");
        self.leave_out_what_ends_here(&mut head);
        let view = (self.view)();
        let swapped = view.swap(&mut head, &self.host).map_err(|why| Stop::Refuse(403, why))?;
        let has_value = |secret: &Arc<super::store::Secret>| secret.values().any(|value| head.has(value.as_bytes()));
        // Of the connection, and not of the request: a server may remember.
        self.knows_value |= !swapped.sent.is_empty()
            || view.own.iter().any(|own| own.places.body || own.places.address || has_value(own));
        for pair in swapped.sent {
            if self.sent.contains(&pair) {
                continue;
            }
            // Each is looked for in what comes back: one more than can be is not sent.
            if self.sent.len() >= MOST_SENT {
                return Err(Stop::Refuse(
                    403,
                    "this connection had too many different passwords with a key in them".into(),
                ));
            }
            self.sent.push(pair);
        }
        self.answer = view.answer(&self.sent).into();
        let mut pairs = view.body().map_err(|why| Stop::Refuse(502, why))?;
        self.masked = view.others.iter().map(|secret| secret.name.clone()).collect();
        if is_encoded(&head) && !pairs.is_empty() && framing != Framing::Length(0) {
            self.notes.push("the body of a request is compressed, and was not looked into".into());
            pairs.clear();
        }
        let body = Body::new(framing, pairs.into(), true);
        if body.framing() != framing {
            head.remove("content-length");
            head.set("Transfer-Encoding", "chunked");
        }
        let mut line = head.first.strip_suffix(b"HTTP/1.0").unwrap_or(&head.first).to_vec();
        if line.ends_with(b" ") {
            line.extend(b"HTTP/1.1");
        }
        head.first = line;
        out.extend(head.bytes());
        (self.client_chunks, self.to_head) = (is_11, is_head);
        self.up = if body.is_whole() { Up::Waiting } else { Up::Body(body) };
        Ok(())
    }

    fn require_host(&self, head: &mut Head, is_11: bool) -> Result<(), Stop> {
        let shown = if self.port == 443 { self.host.clone() } else { format!("{}:{}", self.host, self.port) };
        let is_this = |value: &[u8]| {
            let value = String::from_utf8_lossy(value).to_ascii_lowercase();
            value == shown || value == self.host || value == format!("{}:{}", self.host, self.port)
        };
        match head.all("host").as_slice() {
            [value] if is_this(value) => {}
            [] if !is_11 => {}
            [_] => return Err(Stop::Refuse(403, "the Host header names another host than the connection".into())),
            _ => return Err(Stop::Refuse(400, "the request needs one Host header".into())),
        }
        head.set("Host", &shown);
        Ok(())
    }

    /// What is between the client and this proxy (RFC 9110, section 7.6.1), and what would hide an answer from it.
    fn leave_out_what_ends_here(&self, head: &mut Head) {
        let named: Vec<String> = head
            .all("connection")
            .into_iter()
            .flat_map(|value| {
                value.split(|byte| *byte == b',').map(|word| String::from_utf8_lossy(word.trim_ascii()).into_owned())
            })
            .filter(|name| {
                !["content-length", "transfer-encoding", "host", "upgrade"]
                    .iter()
                    .any(|own| name.eq_ignore_ascii_case(own))
            })
            .collect();
        let ends_here = |name: &str| {
            // A part of an answer could begin or end within a value, which then is not recognised.
            ["connection", "keep-alive", "te", "http2-settings", "range", "if-range"]
                .iter()
                .any(|own| name.eq_ignore_ascii_case(own))
                || name.get(..6).is_some_and(|begin| begin.eq_ignore_ascii_case("proxy-"))
                || named.iter().any(|own| name.eq_ignore_ascii_case(own))
        };
        head.headers.retain(|(name, _)| !ends_here(name));
        if self.wants_upgrade {
            head.set("Connection", "Upgrade");
            // Compressed messages could not be looked into.
            head.remove("sec-websocket-extensions");
        } else {
            head.remove("upgrade");
            if self.closes {
                head.set("Connection", "close");
            }
        }
        head.set("Accept-Encoding", "identity");
    }

    /// Takes what comes from the server.
    pub fn answer(&mut self, input: &mut Vec<u8>, out: &mut Vec<u8>) -> Result<(), Stop> {
        while !input.is_empty() && !self.is_over {
            match &mut self.down {
                Down::Head if matches!(self.up, Up::Head) => {
                    return Err(Stop::Abort("the server answers what nobody asked".into()));
                }
                Down::Head => {
                    let Some(end) = head::end(input, 0).filter(|end| *end <= head::LARGEST_ANSWER) else {
                        let is_too_long = input.len() > head::LARGEST_ANSWER;
                        return if is_too_long {
                            Err(self.stop(502, "the head of the answer is too long"))
                        } else {
                            Ok(())
                        };
                    };
                    let head: Vec<u8> = input.drain(..end).collect();
                    self.begin_answer(&head, out)?;
                }
                Down::Body(body) => {
                    let taken = body.push(input, out);
                    let is_whole = body.is_whole();
                    input.drain(..taken.map_err(|why| Stop::Abort(why.into()))?);
                    if is_whole {
                        self.end_answer();
                    }
                }
                Down::Raw(replacer) => {
                    replacer.push(input, out);
                    input.clear();
                }
            }
        }
        Ok(())
    }

    fn begin_answer(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Stop> {
        let wrong = |why: &str| Stop::Refuse(502, format!("the answer of '{}' cannot be understood: {why}", self.host));
        let mut head = Head::parse(bytes).map_err(wrong)?;
        let (code, is_11) = head.status().map_err(wrong)?;
        let framing = head.answer_framing(code, self.to_head).map_err(wrong)?;
        head.first = [b"HTTP/1.1 ", &replaced(&self.answer, &head.first[9..]).0[..]].concat();
        for (name, value) in &mut head.headers {
            *value = replaced(&self.answer, value).0;
            if let (known, true) = replaced(&self.answer, name.as_bytes()) {
                *name = String::from_utf8_lossy(&known).into_owned();
            }
        }
        match code {
            101 if self.wants_upgrade => {
                head.remove("sec-websocket-extensions");
                out.extend(head.bytes());
                (self.up, self.down) = (Up::Raw, Down::Raw(Replacer::new(same_length(&self.answer).into())));
                return Ok(());
            }
            101 => return Err(wrong("it changes to a protocol that nobody asked for")),
            100..=199 => {
                if self.client_chunks {
                    out.extend(head.bytes());
                }
                return Ok(());
            }
            _ => {}
        }
        self.closes |= head.lists("connection", "close") || !is_11 && !head.lists("connection", "keep-alive");
        for name in ["connection", "keep-alive", "alt-svc", "upgrade"] {
            head.remove(name);
        }
        let mut pairs = Arc::clone(&self.answer);
        if is_encoded(&head) && framing != Framing::Length(0) && !pairs.is_empty() {
            if self.knows_value {
                let why = "it is compressed, although that was not asked for, and could have the key in it";
                return Err(wrong(why));
            }
            self.notes
                .push("the answer is compressed, although that was not asked for, and was not looked into".into());
            pairs = Vec::new().into();
        }
        let body = Body::new(framing, pairs, self.client_chunks);
        if framing != Framing::Length(0) {
            match body.framing() {
                Framing::Length(_) => {}
                Framing::Chunked => {
                    head.remove("content-length");
                    head.set("Transfer-Encoding", "chunked");
                }
                Framing::UntilClose => {
                    head.remove("content-length");
                    head.remove("transfer-encoding");
                    self.closes = true;
                }
            }
        }
        // An answer that comes before the request is whole leaves nobody who knows where the next one begins.
        self.closes |= matches!(self.up, Up::Body(_));
        if self.closes {
            head.set("Connection", "close");
        }
        out.extend(head.bytes());
        let is_whole = body.is_whole();
        self.down = Down::Body(body);
        if is_whole {
            self.end_answer();
        }
        Ok(())
    }

    fn end_answer(&mut self) {
        self.is_over = self.closes || !matches!(self.up, Up::Waiting);
        (self.up, self.down) = (Up::Head, Down::Head);
    }

    /// The server has closed the connection.
    pub fn server_closed(&mut self, out: &mut Vec<u8>) -> Result<(), Stop> {
        match &mut self.down {
            Down::Head if matches!(self.up, Up::Head) => self.is_over = true,
            Down::Head => {
                return Err(Stop::Refuse(502, format!("'{}' closed the connection without an answer", self.host)));
            }
            Down::Body(body) => {
                body.close(out).map_err(|why| Stop::Abort(why.into()))?;
                self.is_over = true;
            }
            Down::Raw(replacer) => {
                replacer.finish(out);
                self.is_over = true;
            }
        }
        Ok(())
    }
}

/// Whether a body is in a form that is not looked into.
fn is_encoded(head: &Head) -> bool {
    head.all("content-encoding").iter().any(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity"))
}

/// In frames of a WebSocket a text keeps its length, which stands before it.
fn same_length(pairs: &[Pair]) -> Vec<Pair> {
    let same = |pair: &Pair| {
        let mut put = pair.put.clone();
        put.resize(pair.find.len(), b'*');
        Pair::new(pair.find.clone(), put)
    };
    pairs.iter().map(same).collect()
}

#[cfg(test)]
mod tests;
