//! Whether a path that was found in a text stands there as a whole, and whether the text counts its bytes.

/// How the bytes around a path are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    Utf8,
    /// Some encoding of eight bits in which ASCII is ASCII.
    Legacy,
    /// Strings of which the record of a package says that a path is in them: whatever stands before it.
    Declared,
}

/// How many bytes around a path decide.
pub const CONTEXT: usize = 64;

/// Whether a character can stand in the middle of a name.
fn is_name(letter: char) -> bool {
    letter.is_alphanumeric() || "._-+~@".contains(letter) || ('\u{300}'..'\u{370}').contains(&letter)
}

/// Whether nothing before a path makes it the end of a longer one: `/x/p/env`, `../p/env`.
pub fn left_is_free(before: &[u8], encoding: Encoding) -> bool {
    let mut before = &before[before.len().saturating_sub(CONTEXT)..];
    // `//p` is `/p`, in `file:///p` as well; in JSON each slash may be escaped.
    while let Some(rest) = before.strip_suffix(b"/") {
        before = rest.strip_suffix(b"\\").unwrap_or(rest);
    }
    let Some(last) = before.last().filter(|_| encoding != Encoding::Declared) else { return true };
    match *last {
        b'+' | b'-' => {
            // The first character of a line of a difference, and not the last one of a name.
            let rest = before.trim_ascii_end();
            let signs = rest.iter().rev().take_while(|byte| b"+-".contains(byte)).count();
            rest[..rest.len() - signs]
                .last()
                .is_none_or(|byte| !byte.is_ascii_alphanumeric() && !b"._/~".contains(byte))
        }
        b'_' | b'.' | b'~' | b'%' => false,
        byte if byte.is_ascii_alphanumeric() => is_mark(before, encoding),
        byte if byte.is_ascii() => true,
        _ if encoding != Encoding::Utf8 => false,
        _ => before.utf8_chunks().last().is_some_and(|chunk| {
            chunk.invalid().is_empty() && chunk.valid().chars().next_back().is_none_or(|letter| !is_name(letter))
        }),
    }
}

/// Whether a text that ends in a letter or digit ends in something that is not part of a path: an option (`-I/p`), an escape
/// (`\n/p`, `%3A/p`), the colour of a terminal.
fn is_mark(before: &[u8], encoding: Encoding) -> bool {
    let letters = before.iter().rev().take_while(|byte| byte.is_ascii_alphabetic()).count();
    let rest = &before[..before.len() - letters];
    if letters > 0 && rest.ends_with(b"-") {
        let rest = rest.trim_ascii_end();
        let rest = &rest[..rest.len() - 1];
        if rest.last().is_none_or(|byte| !byte.is_ascii_alphanumeric() && !b"._-/~".contains(byte)) {
            return true;
        }
    }
    if let [rest @ .., b'%', high, low] = before
        && let Some(byte) = hex(*high, *low)
    {
        return byte.is_ascii() && left_is_free(&[rest, &[byte]].concat(), encoding);
    }
    if let [rest @ .., letter] = before
        && b"abefnrtv0".contains(letter)
    {
        let slashes = rest.iter().rev().take_while(|byte| **byte == b'\\').count();
        if slashes % 2 == 1 {
            return true;
        }
    }
    let colour = before.strip_suffix(b"m").map(|rest| {
        let digits = rest.iter().rev().take_while(|byte| byte.is_ascii_digit() || **byte == b';').count();
        rest[..rest.len() - digits].ends_with(b"[")
    });
    colour.unwrap_or(false)
}

/// Whether nothing after a path makes it the beginning of another: `/p/env-other`, `/p/env.d`, `/p/envé`.
pub fn right_is_free(after: &[u8], encoding: Encoding) -> bool {
    let after = &after[..after.len().min(CONTEXT)];
    match after {
        [] => true,
        [b'.', ..] => {
            // The end of a sentence, and not of half a name.
            let rest = &after[after.iter().take_while(|byte| **byte == b'.').count()..];
            !rest.starts_with(b"/") && right_is_free(rest, encoding)
        }
        [b'%', high, low, ..] => {
            hex(*high, *low).is_some_and(|byte| byte.is_ascii() && !is_name(char::from(byte)) && byte != b' ')
        }
        [b'%', ..] => false,
        [b'\\', b'u', digits @ ..] if digits.len() >= 4 => {
            let unit = std::str::from_utf8(&digits[..4]).ok().and_then(|digits| u32::from_str_radix(digits, 16).ok());
            unit.is_none_or(|unit| char::from_u32(unit).is_some_and(|letter| !is_name(letter)))
        }
        [byte, ..] if byte.is_ascii() => !is_name(char::from(*byte)),
        _ if encoding != Encoding::Utf8 => false,
        _ => after
            .utf8_chunks()
            .next()
            .is_some_and(|chunk| chunk.valid().chars().next().is_some_and(|letter| !is_name(letter))),
    }
}

fn hex(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    Some((digit(high)? * 16 + digit(low)?) as u8)
}

/// Whether the text says how long the string is that begins with the path at `start`: PHP's `s:12:"…"`, bencode, a netstring,
/// or a byte with the length before it. Another length would make all that follows nonsense. `text` is the whole text, or as
/// much of it as there is in memory.
pub fn is_counted(text: &[u8], start: usize, least: usize, first: &[u8]) -> bool {
    let before = &text[..start];
    let in_quotes = before.strip_suffix(b"\"");
    if let Some(rest) = in_quotes.unwrap_or(before).strip_suffix(b":") {
        let digits = rest.iter().rev().take(7).take_while(|byte| byte.is_ascii_digit()).count();
        let number = std::str::from_utf8(&rest[rest.len() - digits..]).ok().and_then(|digits| digits.parse().ok());
        if let Some(count) = number.filter(|count: &usize| *count >= least) {
            let after = text.get(start + count..).unwrap_or_default();
            let lead = &rest[..rest.len() - digits];
            let php = in_quotes.is_some() && lead.ends_with(b":") && after.starts_with(b"\"");
            let bencode =
                matches!(first, [b'd' | b'l', digit, ..] if digit.is_ascii_digit()) && start + count <= text.len();
            let net = after.starts_with(b",") && (lead.is_empty() || lead.ends_with(b","));
            return php || bencode || net;
        }
    }
    match before {
        [rest @ .., length] if (0x20..0x7f).contains(length) && usize::from(*length) >= least => {
            let end = start + usize::from(*length);
            let alone = rest.is_empty() || rest.ends_with(b"\n");
            alone && (end == text.len() || text.get(end) == Some(&b'\n'))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free(text: &str, path: &str) -> bool {
        let start = text.find(path).unwrap();
        let (before, after) = (&text.as_bytes()[..start], &text.as_bytes()[start + path.len()..]);
        left_is_free(before, Encoding::Utf8) && right_is_free(after, Encoding::Utf8)
    }

    #[test]
    fn a_path_stands_as_a_whole() {
        for text in [
            "/p/env",
            "x /p/env/bin",
            "-I/p/env/include",
            "-isystem/p/env",
            "-Wl,-rpath,/p/env/lib",
            "a=/p/env:/b",
            "'/p/env'",
            "file:///p/env",
            "//p/env",
            "in /p/env.",
            "in /p/env...",
            "@/p/env",
            "$(DESTDIR)/p/env",
            "\"a\\n/p/env\"",
            "\u{1b}[32m/p/env\u{1b}[0m",
            "+/p/env",
            "--- /p/env",
            "“/p/env”",
            "：/p/env",
            "a%3A/p/env%2Fb",
            "/p/env%3Ab",
            "(/p/env)",
            "x\t/p/env\r\n",
        ] {
            assert!(free(text, "/p/env"), "{text:?}");
        }
        for text in [
            "/p/env-other",
            "/p/env2",
            "/p/env.d",
            "/p/env_",
            "/p/envé",
            "/p/env日",
            "/p/env%20x",
            "/x/p/env",
            "../p/env",
            "./p/env",
            "~/p/env",
            "x/p/env",
            "é/p/env",
            "a-/p/env",
            "http://host/p/env",
            "http://host:80/p/env",
            "/p/env\\u00e9",
            "/p/env./x",
            "/a%20b/p/env",
            "x-I/p/env",
            "a@b~/p/env",
        ] {
            assert!(!free(text, "/p/env"), "{text:?}");
        }
    }

    #[test]
    fn in_an_unknown_encoding_any_high_byte_belongs_to_a_name() {
        assert!(!right_is_free(b"\xe9", Encoding::Legacy) && !left_is_free(b"caf\xe9", Encoding::Legacy));
        assert!(left_is_free(b"caf\xe9 ", Encoding::Legacy) && !right_is_free(b"\xe9", Encoding::Utf8));
    }

    #[test]
    fn a_string_that_is_counted_is_seen() {
        let counted = |text: &str| is_counted(text.as_bytes(), text.find("/p/env").unwrap(), 6, text.as_bytes());
        assert!(counted("a:1:{s:1:\"k\";s:10:\"/p/env/lib\";}"));
        assert!(counted("d4:path10:/p/env/libe"));
        assert!(counted("10:/p/env/lib,"));
        let path = format!("/p/env/{}", "x".repeat(60 - 7));
        assert!(counted(&format!("\n<{path}")) && counted(&format!("\n<{path}\n<{path}")));
        for text in [
            "LD=/usr/lib64:/p/env/lib:/opt/rather/long/to/have/many/bytes/in/it/and/more",
            "x:1000:/p/env:/bin/sh\n",
            "\"/p/env/lib\"\n",
        ] {
            assert!(!counted(text), "{text}");
        }
    }
}
