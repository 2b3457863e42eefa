//! Files of variables: `.env`, as dotenv and docker have them.
//!
//! `NAME=VALUE`, one a line, `export ` before it allowed; `#` begins a comment at the start of a line or after a blank. In
//! single quotes nothing is special; in double quotes `\n`, `\r`, `\t`, `\"`, `\\` and `\$` are, and a quoted value may go on in
//! the next lines. Nothing is expanded: a `$` is a dollar.

use crate::error::{Context, Error, Result};
use crate::escape::{visible, visible_path};
use std::path::Path;

/// No such file is longer.
const LONGEST: u64 = 1 << 20;

/// Reads the file at `path`.
///
/// # Errors
/// One that cannot be read, is longer than a megabyte or is not UTF-8, and a line that is not an assignment, with its number.
pub fn read(path: &Path) -> Result<Vec<(String, String)>> {
    use std::io::Read;
    let shown = visible_path(path);
    let hint = "each line is NAME=VALUE; a value with blanks or '#' needs quotes";
    let context = || format!("read variables from '{shown}'");
    let file = std::fs::File::open(path).context(context)?;
    if !file.metadata().context(context)?.is_file() {
        return Err(Error::new(format!("cannot read variables from '{shown}': it is not a plain file")));
    }
    let mut text = String::new();
    file.take(LONGEST + 1).read_to_string(&mut text).context(context)?;
    if text.len() as u64 > LONGEST {
        return Err(Error::new(format!("cannot read variables from '{shown}': it is longer than 1 MB")));
    }
    parse(&text).map_err(|(line, what)| Error::new(format!("'{shown}' line {line}: {what}")).hint(hint))
}

/// The assignments of a text, in order; of one that is not, the number of its line, from 1, and what is wrong.
pub fn parse(text: &str) -> std::result::Result<Vec<(String, String)>, (usize, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    let (mut rest, mut line) = (text.strip_prefix('\u{feff}').unwrap_or(text), 1);
    while !rest.is_empty() {
        let (first, after) = rest.split_once('\n').unwrap_or((rest, ""));
        let content = first.trim();
        if content.is_empty() || content.starts_with('#') {
            (rest, line) = (after, line + 1);
            continue;
        }
        let wrong = |what: String| (line, what);
        let begin = rest.trim_start_matches([' ', '\t']);
        let begin = begin.strip_prefix("export ").unwrap_or(begin);
        let (name, value) = match begin.split_once('=') {
            Some((name, value)) if !name.contains('\n') => (name.trim(), value),
            _ => return Err(wrong(format!("'{}' is not NAME=VALUE", visible(content)))),
        };
        if !is_name(name) {
            return Err(wrong(format!("'{}' is not a name of a variable", visible(name))));
        }
        let value = value.trim_start_matches([' ', '\t']);
        let (value, after) = match value.chars().next() {
            Some(quote @ ('"' | '\'')) => quoted(&value[1..], quote).map_err(wrong)?,
            _ => plain(value),
        };
        if value.contains('\0') {
            return Err(wrong(format!("the value of '{name}' has a NUL byte")));
        }
        all.retain(|(other, _)| other != name);
        all.push((name.to_owned(), value));
        line += rest[..rest.len() - after.len()].matches('\n').count();
        rest = after;
    }
    Ok(all)
}

fn is_name(name: &str) -> bool {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    !name.is_empty() && name.chars().all(plain) && !name.starts_with(|letter: char| letter.is_ascii_digit())
}

/// A value without quotes, to the end of the line or to a comment; and what comes after the line.
fn plain(value: &str) -> (String, &str) {
    let (line, after) = value.split_once('\n').unwrap_or((value, ""));
    let comment = line.match_indices('#').find(|(at, _)| *at == 0 || line[..*at].ends_with([' ', '\t']));
    let end = comment.map_or(line.len(), |(at, _)| at);
    (line[..end].trim().to_owned(), after)
}

/// A value up to its closing quote, and what comes after that line.
fn quoted(value: &str, quote: char) -> std::result::Result<(String, &str), String> {
    let mut out = String::new();
    let mut letters = value.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            letter if letter == quote => {
                let (line, after) = value[at + 1..].split_once('\n').unwrap_or((&value[at + 1..], ""));
                let rest = line.trim();
                let is_over = rest.is_empty() || rest.starts_with('#');
                return is_over.then_some((out, after)).ok_or_else(|| "something follows the closing quote".to_owned());
            }
            '\\' if quote == '"' => match letters.next() {
                Some((_, 'n')) => out.push('\n'),
                Some((_, 'r')) => out.push('\r'),
                Some((_, 't')) => out.push('\t'),
                Some((_, letter @ ('"' | '\\' | '$'))) => out.push(letter),
                Some((_, letter)) => out.extend(['\\', letter]),
                None => break,
            },
            letter => out.push(letter),
        }
    }
    Err("a quote is not closed".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_value_is_read() {
        let text = "\u{feff}# keys\nA=1\n export B = two words  # comment\nC='a # b $X \\n'\nD=\"x\\n\\\"y\\\" $Z\"\nE=\n\
                    F=a#b\nG=\"two\nlines\" # yes\nH=#none\r\nA=again\n";
        let all = parse(text).unwrap();
        let all: Vec<(&str, &str)> = all.iter().map(|(name, value)| (&**name, &**value)).collect();
        let wanted = [
            ("B", "two words"),
            ("C", "a # b $X \\n"),
            ("D", "x\n\"y\" $Z"),
            ("E", ""),
            ("F", "a#b"),
            ("G", "two\nlines"),
            ("H", ""),
            ("A", "again"),
        ];
        assert_eq!(all, wanted);
    }

    #[test]
    fn what_is_not_an_assignment_is_named_with_its_line() {
        let wrong = |text: &str| parse(text).unwrap_err();
        assert_eq!(wrong("A=1\n\nnot one\n"), (3, "'not one' is not NAME=VALUE".into()));
        assert_eq!(wrong("A=\"1\n2\"\n1B=x\n").0, 3);
        assert_eq!(wrong("A=1\nB='open\n\n"), (2, "a quote is not closed".into()));
        assert_eq!(wrong("B='x' y\n"), (1, "something follows the closing quote".into()));
        assert_eq!(wrong("A-B=x").0, 1);
        assert_eq!(parse("").unwrap(), []);
    }
}
