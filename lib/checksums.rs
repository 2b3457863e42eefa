//! `SHA256SUMS`: one writer and one reader, for archives and for the cache.
//!
//! The format is that of sha256sum(1), which checks such a file. Names are bytes. What sha256sum knows nothing of stands in
//! comments, which it skips: where a link leads, and the content of a file that is mostly holes.

use crate::fs::is_sha256;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The name of such a file.
pub const NAME: &str = "SHA256SUMS";

/// What is compared at a place. Each is a SHA-256, in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sum {
    /// Of a file's content.
    File(String),
    /// Of what a file with large holes has: see `sbox-archive`.
    Sparse(String),
    /// Of the path to which a symbolic link leads.
    Link(String),
}

/// Place and checksum.
pub type Sums = BTreeMap<PathBuf, Sum>;

/// Adds the line of one place to a text.
pub fn add(text: &mut Vec<u8>, place: &Path, sum: &Sum) {
    let name = escaped(place.as_os_str().as_bytes());
    let (before, sum) = match sum {
        Sum::Sparse(sum) => ("#sparse:", sum),
        Sum::Link(sum) => ("#link:", sum),
        // A backslash before the line says that the name is escaped.
        Sum::File(sum) if name.len() > place.as_os_str().len() => ("\\", sum),
        Sum::File(sum) => ("", sum),
    };
    text.extend_from_slice(before.as_bytes());
    text.extend_from_slice(sum.as_bytes());
    text.extend_from_slice(b"  ");
    text.extend_from_slice(&name);
    text.push(b'\n');
}

/// Reads a whole file; nothing if a line in it is not one of ours or of sha256sum's.
pub fn parse(text: &[u8]) -> Option<Sums> {
    text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(parse_line).collect()
}

fn parse_line(line: &[u8]) -> Option<(PathBuf, Sum)> {
    let at = line.windows(2).position(|two| two == b"  ")?;
    let (head, name) = (std::str::from_utf8(&line[..at]).ok()?, &line[at + 2..]);
    let (kind, sum, is_escaped) = match head.split_once(':') {
        // Version 0.1.0 wrote links without the mark of a comment.
        Some(("#link" | "link", sum)) => (Sum::Link as fn(String) -> Sum, sum, true),
        Some(("#sparse", sum)) => (Sum::Sparse as fn(String) -> Sum, sum, true),
        Some(_) => return None,
        None => match head.strip_prefix('\\') {
            Some(sum) => (Sum::File as fn(String) -> Sum, sum, true),
            None => (Sum::File as fn(String) -> Sum, head, false),
        },
    };
    let name = if is_escaped { unescaped(name) } else { name.to_vec() };
    is_sha256(sum).then(|| (PathBuf::from(OsString::from_vec(name)), kind(sum.to_ascii_lowercase())))
}

fn escaped(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    for byte in name {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            other => out.push(*other),
        }
    }
    out
}

fn unescaped(name: &[u8]) -> Vec<u8> {
    let (mut out, mut bytes) = (Vec::with_capacity(name.len()), name.iter());
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'\\' => match bytes.next() {
                Some(b'n') => b'\n',
                Some(b'r') => b'\r',
                Some(other) => *other,
                None => b'\\',
            },
            other => *other,
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::sha256;
    use std::ffi::OsStr;

    #[test]
    fn any_name_and_any_kind_are_read_back() {
        let mut text = Vec::new();
        let mut all = Sums::new();
        for (number, name) in
            [&b"a  b"[..], b"x\ny\\z", b"\xff\xfe", b"\r", "größe".as_bytes(), b"#c"].iter().enumerate()
        {
            let sum = sha256(name);
            let sum = [Sum::File(sum.clone()), Sum::Sparse(sum.clone()), Sum::Link(sum)][number % 3].clone();
            add(&mut text, Path::new(OsStr::from_bytes(name)), &sum);
            all.insert(PathBuf::from(OsStr::from_bytes(name)), sum);
        }
        assert_eq!(parse(&text), Some(all));
    }

    #[test]
    fn what_is_not_a_list_of_checksums_is_not_read_as_one() {
        for bad in
            ["nonsense\n", &format!("{}  x\n", "z".repeat(64)), &format!("other:{}  x\n", sha256(b"")), "abc  x\n"]
        {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
