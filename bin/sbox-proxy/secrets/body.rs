//! A body on its way: its end is found, what has to be exchanged in it is exchanged, and it goes on piece by piece.

use super::head::Framing;
use super::replace::{Pair, Replacer, replaced};
use std::sync::Arc;

/// The longest line before a chunk, and of a trailer.
const LONGEST_LINE: usize = 16 * 1024;

/// Where in the body the next byte is.
enum At {
    /// So many bytes are to come: of the body, or of this chunk.
    Data(u64),
    ChunkLine,
    ChunkEnd,
    Trailers(usize),
    Open,
    End,
}

/// A body on its way.
pub struct Body {
    at: At,
    is_chunked: bool,
    /// How it goes on.
    out: Framing,
    replacer: Replacer,
    pairs: Arc<[Pair]>,
    line: Vec<u8>,
}

impl Body {
    /// `can_chunk`: whether the reader understands chunks, where the length changes.
    pub fn new(framing: Framing, pairs: Arc<[Pair]>, can_chunk: bool) -> Body {
        let replacer = Replacer::new(Arc::clone(&pairs));
        let at = match framing {
            Framing::Length(length) => At::Data(length),
            Framing::Chunked => At::ChunkLine,
            Framing::UntilClose => At::Open,
        };
        let at = if let At::Data(0) = at { At::End } else { at };
        let out = match framing {
            Framing::Length(0) => framing,
            Framing::Length(_) if !replacer.changes_length() => framing,
            _ if can_chunk => Framing::Chunked,
            _ => Framing::UntilClose,
        };
        Body { at, is_chunked: framing == Framing::Chunked, out, replacer, pairs, line: Vec::new() }
    }

    /// How it goes on, which its head has to say.
    pub fn framing(&self) -> Framing {
        self.out
    }

    /// Which of the pairs were found so far.
    pub fn found(&self) -> &[bool] {
        &self.replacer.found
    }

    pub fn is_whole(&self) -> bool {
        matches!(self.at, At::End)
    }

    /// Takes what it can of `input`, and appends to `out` what goes on. Gives how much was taken.
    pub fn push(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<usize, &'static str> {
        let mut taken = 0;
        while taken < input.len() && !self.is_whole() {
            let rest = &input[taken..];
            match self.at {
                At::Data(left) => {
                    let count = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                    taken += count;
                    let left = left - count as u64;
                    self.at = At::Data(left);
                    let is_last = left == 0 && !self.is_chunked;
                    self.send(&rest[..count], is_last, out);
                    if left == 0 {
                        self.at = if self.is_chunked { At::ChunkEnd } else { At::End };
                    }
                }
                At::Open => {
                    taken += rest.len();
                    self.send(rest, false, out);
                }
                At::ChunkLine | At::ChunkEnd | At::Trailers(_) => {
                    let Some(end) = memchr::memchr(b'\n', rest) else {
                        taken += rest.len();
                        self.line.extend_from_slice(rest);
                        return if self.line.len() > LONGEST_LINE {
                            Err("a line of a chunk is too long")
                        } else {
                            Ok(taken)
                        };
                    };
                    self.line.extend_from_slice(&rest[..end]);
                    taken += end + 1;
                    let line = std::mem::take(&mut self.line);
                    let line = line.strip_suffix(b"\r").ok_or("a line of a chunk does not end in CR LF")?;
                    self.line_of_chunk(line, out)?;
                }
                At::End => {}
            }
        }
        Ok(taken)
    }

    fn line_of_chunk(&mut self, line: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
        match self.at {
            At::ChunkLine => match crate::request::chunk_length(line).ok_or("the length of a chunk is not a number")? {
                0 => {
                    self.send(&[], true, out);
                    if self.out == Framing::Chunked {
                        // `send` has written the last chunk's line; the empty line comes after the trailers.
                        out.truncate(out.len() - 2);
                    }
                    self.at = At::Trailers(0);
                }
                length => self.at = At::Data(length),
            },
            At::ChunkEnd if line.is_empty() => self.at = At::ChunkLine,
            At::ChunkEnd => return Err("a chunk is longer than it says"),
            At::Trailers(_) if line.is_empty() => {
                if self.out == Framing::Chunked {
                    out.extend(b"\r\n");
                }
                self.at = At::End;
            }
            At::Trailers(length) if length + line.len() > LONGEST_LINE => return Err("the trailers are too long"),
            At::Trailers(length) => {
                if line.iter().any(|byte| *byte < b' ' && *byte != b'\t') || memchr::memchr(b':', line).is_none() {
                    return Err("a trailer is not well-formed");
                }
                if self.out == Framing::Chunked {
                    out.extend(replaced(&self.pairs, line).0);
                    out.extend(b"\r\n");
                }
                self.at = At::Trailers(length + line.len());
            }
            _ => {}
        }
        Ok(())
    }

    /// The connection has ended; an error if the body has not.
    pub fn close(&mut self, out: &mut Vec<u8>) -> Result<(), &'static str> {
        match self.at {
            At::End => Ok(()),
            At::Open => {
                self.at = At::End;
                self.send(&[], true, out);
                Ok(())
            }
            _ => Err("the body was cut off"),
        }
    }

    fn send(&mut self, bytes: &[u8], is_last: bool, out: &mut Vec<u8>) {
        if self.out != Framing::Chunked {
            self.replacer.push(bytes, out);
            return if is_last {
                self.replacer.finish(out)
            };
        }
        let mut piece = Vec::with_capacity(bytes.len());
        self.replacer.push(bytes, &mut piece);
        if is_last {
            self.replacer.finish(&mut piece);
        }
        if !piece.is_empty() {
            out.extend(format!("{:x}\r\n", piece.len()).bytes());
            out.append(&mut piece);
            out.extend(b"\r\n");
        }
        if is_last {
            out.extend(b"0\r\n\r\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(framing: Framing, can_chunk: bool, pieces: &[&str]) -> (String, bool) {
        let pairs = [Pair::new("real-value", "place")].to_vec();
        let (mut body, mut out) = (Body::new(framing, pairs.into(), can_chunk), Vec::new());
        for piece in pieces {
            assert_eq!(body.push(piece.as_bytes(), &mut out), Ok(piece.len()));
        }
        let whole = body.is_whole();
        let _ = body.close(&mut out);
        (String::from_utf8(out).unwrap(), whole)
    }

    #[test]
    fn a_body_is_exchanged_over_the_borders_of_its_chunks() {
        let chunked = ["5\r\nAreal\r", "\n6;x=y\r\n-value\r\n0\r\nT: real-value\r\n\r\n"];
        let (out, whole) = through(Framing::Chunked, true, &chunked);
        assert_eq!((out.as_str(), whole), ("1\r\nA\r\n5\r\nplace\r\n0\r\nT: place\r\n\r\n", true));
        assert_eq!(through(Framing::Chunked, false, &chunked), ("Aplace".into(), true));
        let (out, whole) = through(Framing::Length(12), true, &["Areal-", "value", "B"]);
        assert_eq!((out.as_str(), whole), ("1\r\nA\r\n5\r\nplace\r\n1\r\nB\r\n0\r\n\r\n", true));
        assert_eq!(through(Framing::UntilClose, false, &["real", "-value!"]), ("place!".into(), false));
    }

    #[test]
    fn a_body_ends_where_it_says_and_nowhere_else() {
        let none: Arc<[Pair]> = Vec::new().into();
        let mut out = Vec::new();
        let mut body = Body::new(Framing::Length(3), Arc::clone(&none), true);
        assert_eq!(body.push(b"abcGET / HTTP/1.1", &mut out), Ok(3));
        assert!(body.is_whole() && out == b"abc");
        let mut body = Body::new(Framing::Chunked, Arc::clone(&none), true);
        assert_eq!(body.push(b"1\r\na\r\n0\r\n\r\nGET", &mut Vec::new()), Ok(11));
        for wrong in ["x\r\n", "1\r\nab\r\n", "1\na\r\n", "-1\r\n", "1\r\na\r\n0\r\nno colon\r\n"] {
            let mut body = Body::new(Framing::Chunked, Arc::clone(&none), true);
            assert!(body.push(wrong.as_bytes(), &mut Vec::new()).is_err(), "{wrong:?}");
        }
        let mut cut = Body::new(Framing::Length(3), none, true);
        assert!(cut.close(&mut Vec::new()).is_err());
    }
}
