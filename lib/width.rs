//! How wide text is on a terminal: a Chinese character and most emoji take two columns, a combining mark none.

use std::fmt::Display;
use std::io::IsTerminal;
use unicode_width::UnicodeWidthStr;

/// The columns that text takes.
pub fn of(text: &str) -> usize {
    text.width()
}

/// Text with spaces after it, as wide as `columns`.
pub fn padded(text: impl Display, columns: usize) -> String {
    let text = text.to_string();
    let missing = columns.saturating_sub(of(&text));
    text + &" ".repeat(missing)
}

/// Text that takes at most so many columns; an ellipsis stands for what is left out.
pub fn shortened(text: &str, columns: usize) -> String {
    if of(text) <= columns {
        return text.to_owned();
    }
    let fits = |(at, _): &(usize, char)| of(&text[..*at]) < columns;
    let end = text.char_indices().take_while(fits).last().map_or(0, |(at, _)| at);
    format!("{}…", &text[..end])
}

/// Text in lines of at most so many columns, broken at spaces; the first begins after `used` columns, and so do the others. A
/// word that is longer stays whole.
pub fn wrapped(text: &str, used: usize, columns: usize) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut at = used;
    for (number, word) in text.split(' ').enumerate() {
        let width = of(word);
        if number > 0 && at + 1 + width > columns && at > used {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', used));
            at = used;
        } else if number > 0 {
            out.push(' ');
            at += 1;
        }
        out += word;
        at += width;
    }
    out
}

/// The columns of the terminal that stderr is; nothing if it is not one, or does not know.
pub fn of_stderr() -> Option<usize> {
    let stderr = std::io::stderr();
    let known = stderr.is_terminal().then(|| rustix::termios::tcgetwinsize(&stderr).map_or(0, |size| size.ws_col));
    known.map(usize::from).filter(|columns| *columns > 0)
}

/// The columns of the terminal that stdout is; nothing if it is not one. One that does not know has 80.
pub fn of_stdout() -> Option<usize> {
    let stdout = std::io::stdout();
    stdout.is_terminal().then(|| {
        let known = rustix::termios::tcgetwinsize(&stdout).map_or(0, |size| usize::from(size.ws_col));
        if known == 0 { 80 } else { known }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_characters_count_twice() {
        assert_eq!(["abc", "größe", "日本語", "🦀", "e\u{301}"].map(of), [3, 5, 6, 2, 1]);
        assert_eq!(padded("日本", 6), "日本  ");
        assert_eq!(padded("too long", 3), "too long");
    }

    #[test]
    fn long_text_is_broken_at_spaces() {
        assert_eq!(wrapped("one two three four", 2, 10), "one two\n  three\n  four");
        assert_eq!(wrapped("a /a/very/long/path b", 2, 10), "a\n  /a/very/long/path\n  b");
        assert_eq!(wrapped("日本 語語 x", 0, 7), "日本\n語語 x");
        assert_eq!(wrapped("as it is", 0, 80), "as it is");
    }

    #[test]
    fn what_is_shortened_fits() {
        assert_eq!(shortened("abcdef", 6), "abcdef");
        assert_eq!(shortened("abcdefg", 6), "abcde…");
        assert_eq!(shortened("日本語です", 6), "日本…");
        assert_eq!(shortened("日本語です", 5), "日本…");
        assert_eq!(shortened("abc", 1), "…");
        for columns in 1..12 {
            assert!(of(&shortened("a日本e\u{301}語🦀です", columns)) <= columns);
        }
    }
}
