//! The head of a request or an answer inside of TLS (RFC 9112). What two readers could understand differently is refused:
//! a message that ends elsewhere for the server than for this proxy would smuggle another one past it.

/// The largest head of a request: its first line and headers.
pub const LARGEST: usize = 64 * 1024;

/// The largest head of an answer, whose sender is not hostile.
pub const LARGEST_ANSWER: usize = 256 * 1024;

/// A head, taken apart. Bytes, since nobody says that a header is text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The first line.
    pub first: Vec<u8>,
    pub headers: Vec<(String, Vec<u8>)>,
}

/// How the end of a body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    Length(u64),
    Chunked,
    /// The connection ends with it: an answer's alone.
    UntilClose,
}

/// Where the head at the beginning of `bytes` ends, its empty line included. `from`: where to look first.
pub fn end(bytes: &[u8], from: usize) -> Option<usize> {
    let from = from.saturating_sub(3);
    memchr::memmem::find(&bytes[from..], b"\r\n\r\n").map(|at| from + at + 4)
}

impl Head {
    /// Takes a whole head, its empty line included. The error is a reason.
    pub fn parse(bytes: &[u8]) -> Result<Head, &'static str> {
        let text = bytes.strip_suffix(b"\r\n\r\n").ok_or("the head has no end")?;
        let mut lines = Vec::new();
        let mut rest = text;
        while let Some(at) = memchr::memmem::find(rest, b"\r\n") {
            lines.push(&rest[..at]);
            rest = &rest[at + 2..];
        }
        lines.push(rest);
        if lines.iter().any(|line| line.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0))) {
            return Err("a line does not end in CR LF");
        }
        let first = lines.remove(0).to_vec();
        let header = |line: &[u8]| {
            let at = memchr::memchr(b':', line).ok_or("a header has no colon")?;
            let (name, value) = (&line[..at], &line[at + 1..]);
            let printable = |byte: &u8| *byte >= b' ' && *byte != 0x7f || *byte == b'\t';
            // A line that begins with a space was once the continuation of the one before; now it is nobody's.
            if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) || !value.iter().all(printable) {
                return Err("a header is not well-formed");
            }
            Ok((String::from_utf8_lossy(name).into_owned(), value.trim_ascii().to_vec()))
        };
        let headers = lines.into_iter().map(header).collect::<Result<_, _>>()?;
        Ok(Head { first, headers })
    }

    /// All values of a header.
    pub fn all(&self, name: &str) -> Vec<&[u8]> {
        let own = self.headers.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name));
        own.map(|(_, value)| value.as_slice()).collect()
    }

    /// Whether a header that is a list of words has this one.
    pub fn lists(&self, name: &str, word: &str) -> bool {
        let words = self.all(name).into_iter().flat_map(|value| value.split(|byte| *byte == b','));
        words.into_iter().any(|own| own.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
    }

    /// Whether the first line or the value of a header has these bytes, percent-encoded ones aside.
    pub fn has(&self, bytes: &[u8]) -> bool {
        let has = |text: &[u8]| memchr::memmem::find(text, bytes).is_some();
        has(&self.first) || self.headers.iter().any(|(_, value)| has(value))
    }

    pub fn remove(&mut self, name: &str) {
        self.headers.retain(|(own, _)| !own.eq_ignore_ascii_case(name));
    }

    pub fn set(&mut self, name: &str, value: &str) {
        self.remove(name);
        self.headers.push((name.to_owned(), value.as_bytes().to_vec()));
    }

    /// As it is sent.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = self.first.clone();
        for (name, value) in &self.headers {
            out.extend([b"\r\n", name.as_bytes(), b": ", value.as_slice()].concat());
        }
        out.extend(b"\r\n\r\n");
        out
    }

    /// What the headers say of the body; nothing if they say nothing.
    fn framing(&self) -> Result<Option<Framing>, &'static str> {
        match (self.all("content-length").as_slice(), self.all("transfer-encoding").as_slice()) {
            ([], []) => Ok(None),
            ([length], []) if !length.is_empty() && length.iter().all(u8::is_ascii_digit) => {
                let number = std::str::from_utf8(length).ok().and_then(|text| text.parse().ok());
                number.map(|length| Some(Framing::Length(length))).ok_or("the length of the body is not a number")
            }
            ([], [coding]) if coding.eq_ignore_ascii_case(b"chunked") => Ok(Some(Framing::Chunked)),
            _ => Err("the length of the body is not clear"),
        }
    }

    /// How the body of this request ends.
    pub fn request_framing(&self) -> Result<Framing, &'static str> {
        Ok(self.framing()?.unwrap_or(Framing::Length(0)))
    }

    /// How the body of this answer ends (RFC 9112, section 6.3); `to_head`: the request was a HEAD.
    pub fn answer_framing(&self, code: u16, to_head: bool) -> Result<Framing, &'static str> {
        let framing = self.framing()?;
        if to_head || matches!(code, 100..=199 | 204 | 304) {
            return Ok(Framing::Length(0));
        }
        Ok(framing.unwrap_or(Framing::UntilClose))
    }

    /// Method, target, and whether it is HTTP/1.1.
    pub fn request_line(&self) -> Result<(&str, &str, bool), &'static str> {
        let wrong = "the first line is not a request";
        let text = std::str::from_utf8(&self.first).map_err(|_| wrong)?;
        let mut words = text.split(' ');
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(wrong);
        };
        let is_method = !method.is_empty() && method.bytes().all(is_token);
        if !is_method || !target.bytes().all(|byte| byte.is_ascii_graphic()) || target.is_empty() {
            return Err(wrong);
        }
        match version {
            "HTTP/1.1" => Ok((method, target, true)),
            "HTTP/1.0" => Ok((method, target, false)),
            _ => Err(wrong),
        }
    }

    /// The code of an answer, and whether it is of HTTP/1.1.
    pub fn status(&self) -> Result<(u16, bool), &'static str> {
        let wrong = "the server's first line is not an answer";
        let (version, rest) = self.first.split_at_checked(9).ok_or(wrong)?;
        let code = rest.get(..3).and_then(|digits| std::str::from_utf8(digits).ok()).ok_or(wrong)?;
        let code = code.parse().ok().filter(|code| (100..=999).contains(code)).ok_or(wrong)?;
        match version {
            b"HTTP/1.1 " => Ok((code, true)),
            b"HTTP/1.0 " => Ok((code, false)),
            _ => Err(wrong),
        }
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Result<Head, &'static str> {
        Head::parse(text.replace('\n', "\r\n").as_bytes())
    }

    #[test]
    fn lengths_that_contradict_each_other_are_refused() {
        for text in [
            "POST / HTTP/1.1\nContent-Length: 5\nContent-Length: 5\n\n",
            "POST / HTTP/1.1\nContent-Length: 5\nTransfer-Encoding: chunked\n\n",
            "POST / HTTP/1.1\nTransfer-Encoding: gzip, chunked\n\n",
            "POST / HTTP/1.1\nTransfer-Encoding: xchunked\n\n",
            "POST / HTTP/1.1\nContent-Length: +5\n\n",
            "POST / HTTP/1.1\nContent-Length:\n\n",
            "POST / HTTP/1.1\nContent-Length: 5, 5\n\n",
        ] {
            assert!(head(text).unwrap().request_framing().is_err(), "{text}");
        }
        for text in [
            "GET / HTTP/1.1\nA : b\n\n",
            "GET / HTTP/1.1\n A: b\n\n",
            "GET / HTTP/1.1\nA\n\n",
            "GET / HTTP/1.1\nA: \u{0}\n\n",
        ] {
            assert!(head(text).is_err(), "{text}");
        }
        assert!(Head::parse(b"GET / HTTP/1.1\r\nA: b\nTransfer-Encoding: chunked\r\n\r\n").is_err());
        for text in
            ["GET  / HTTP/1.1\n\n", "GET / HTTP/2\n\n", "GET /\n\n", "G(T / HTTP/1.1\n\n", "GET /\u{e9} HTTP/1.1\n\n"]
        {
            assert!(head(text).unwrap().request_line().is_err(), "{text}");
        }
    }

    #[test]
    fn an_answer_ends_where_its_request_and_code_say() {
        let answer = head("HTTP/1.1 200 OK\nContent-Length: 5\n\n").unwrap();
        assert_eq!(answer.status(), Ok((200, true)));
        assert_eq!(answer.answer_framing(200, false), Ok(Framing::Length(5)));
        assert_eq!(answer.answer_framing(200, true), Ok(Framing::Length(0)));
        assert_eq!(answer.answer_framing(304, false), Ok(Framing::Length(0)));
        assert_eq!(head("HTTP/1.0 200 OK\n\n").unwrap().answer_framing(200, false), Ok(Framing::UntilClose));
        assert!(head("HTTP/2 200\n\n").unwrap().status().is_err());
    }
}
