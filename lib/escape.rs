//! Text from outside, made safe for a terminal, and paths, made fit for JSON.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Text from outside made safe for a terminal: control and invisible formatting characters are shown, never sent.
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() => out.push_str(&format!("\\x{:02x}", c as u32)),
            // Characters that reorder or hide what follows them (Unicode TR36): a name must read as it is.
            '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' => {
                out.push_str(&format!("\\u{{{:x}}}", c as u32));
            }
            c => out.push(c),
        }
    }
    out
}

/// A path made safe for a terminal.
pub fn visible_path(path: impl AsRef<std::path::Path>) -> String {
    visible(&path.as_ref().to_string_lossy())
}

/// A path as JSON can hold it: bytes that are not UTF-8, and `%`, as `%XX`.
pub fn percent_encoded(path: &Path) -> String {
    let mut out = String::new();
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        out.push_str(&chunk.valid().replace('%', "%25"));
        out.extend(chunk.invalid().iter().map(|byte| format!("%{byte:02X}")));
    }
    out
}

/// What [`percent_encoded`] was given.
pub fn percent_decoded(text: &str) -> PathBuf {
    OsString::from_vec(percent_decoded_bytes(text)).into()
}

/// `%41` is `A` (RFC 3986, section 2.1). What only begins like that is left as it is.
pub fn percent_decoded_bytes(text: &str) -> Vec<u8> {
    let (bytes, mut out, mut at) = (text.as_bytes(), Vec::new(), 0);
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match (bytes[at], hex) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 3;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

/// A word as sh(1) reads it back: plain if nothing in it is special, in single quotes otherwise.
pub fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// A path as a command of a shell takes it: never for an option.
pub fn shell_path(path: &str) -> String {
    shell_word(&if path.starts_with('-') { format!("./{path}") } else { path.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_never_reach_the_terminal() {
        assert_eq!(visible("a\x1b[31mb\u{9b}c\n"), "a\\x1b[31mb\\x9bc\\n");
        assert_eq!(visible("x\u{202e}y"), "x\\u{202e}y");
        assert_eq!(visible("größe"), "größe");
    }

    #[test]
    fn any_name_survives_the_record() {
        for name in [&b"plain"[..], b"100%", b"\xff\xfe", "größe".as_bytes(), b"a\nb", b"%41"] {
            let path = PathBuf::from(OsString::from_vec(name.to_vec()));
            assert_eq!(percent_decoded(&percent_encoded(&path)), path);
        }
    }

    #[test]
    fn quoting_survives_quotes() {
        assert_eq!(shell_word("a b"), "'a b'");
        assert_eq!(shell_word("it's"), r"'it'\''s'");
        assert_eq!(shell_word(""), "''");
        assert_eq!(shell_word("--env-fd=3"), "--env-fd=3");
    }
}
