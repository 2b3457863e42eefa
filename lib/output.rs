//! What the programs say to people, on stderr: `[STEP]`, `[INFO]`, `[OK]`, `[WARN]`, `[ERROR]`, and a hint after an arrow.

use crate::width;
use std::fmt::Display;
use std::io::{IsTerminal, Write};

/// What a line is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    /// A step begins.
    Step,
    /// A fact.
    Info,
    /// It worked.
    Ok,
    /// Something to look at that stops nothing.
    Warn,
    /// It failed.
    Error,
}

impl Label {
    const ALL: [Label; 5] = [Label::Step, Label::Info, Label::Ok, Label::Warn, Label::Error];

    fn text(self) -> (&'static str, &'static str) {
        match self {
            Label::Step => ("[STEP]", "36"),
            Label::Info => ("[INFO]", "34"),
            Label::Ok => ("[OK]", "32"),
            Label::Warn => ("[WARN]", "33"),
            Label::Error => ("[ERROR]", "31"),
        }
    }
}

/// Whether a stream that is (or is not) a terminal gets colour: <https://no-color.org> and `TERM=dumb` are respected.
pub fn colour(is_terminal: bool) -> bool {
    is_terminal
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_some_and(|term| term != "dumb")
}

/// `text` in an SGR colour when `on`.
pub fn paint(on: bool, sgr: &str, text: &str) -> String {
    if on { format!("\x1b[{sgr}m{text}\x1b[0m") } else { text.to_owned() }
}

/// A line that another program of ours wrote without colour, with the colour of its label.
pub fn repaint(line: &str) -> String {
    let label = Label::ALL.into_iter().map(Label::text).find(|(name, _)| line.starts_with(name));
    match label {
        Some((name, sgr)) => paint(colour(true), sgr, name) + &line[name.len()..],
        None => line.to_owned(),
    }
}

/// Prints a labelled line on stderr.
pub fn say(label: Label, text: impl Display) {
    let (name, sgr) = label.text();
    let painted = paint(colour(std::io::stderr().is_terminal()), sgr, name);
    wrapped(&painted, name.len() + 1, text);
}

/// Prints text on stderr after `lead`, which has `used` columns with the space after it. On a terminal it is broken at spaces;
/// a hint is not, since people copy the command in it.
pub fn wrapped(lead: &str, used: usize, text: impl Display) {
    match width::of_stderr() {
        Some(columns) => line(format_args!("{lead} {}", width::wrapped(&text.to_string(), used, columns))),
        None => line(format_args!("{lead} {text}")),
    }
}

/// Prints a bare line on stderr, at once: another process may write there, and must not come between its words. A stderr
/// that nobody reads does not make a program fail.
pub fn line(text: impl Display) {
    let _ = std::io::stderr().lock().write_all(format!("{text}\n").as_bytes());
}

/// Prints a question on stderr; the answer is typed behind it.
pub fn ask(text: impl Display) {
    let _ = std::io::stderr().lock().write_all(format!("{text} ").as_bytes());
}

/// A step begins.
pub fn step(text: impl Display) {
    say(Label::Step, text);
}

/// A fact.
pub fn info(text: impl Display) {
    say(Label::Info, text);
}

/// It worked.
pub fn ok(text: impl Display) {
    say(Label::Ok, text);
}

/// Something to look at.
pub fn warn(text: impl Display) {
    say(Label::Warn, text);
}

/// What to do next, under the line before it.
pub fn hint(text: impl Display) {
    line(format_args!("  → {text}"));
}

/// Rows in columns, each as wide as its widest cell, two spaces between them; the last one is as wide as it is. Whatever
/// comes from outside was made [visible](crate::escape::visible) before.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widest = |column: usize| rows.iter().filter_map(|row| Some(width::of(row.get(column)?))).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(widest).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| width::padded(cell, *width)).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_by_what_is_seen() {
        let rows = [["日本語", "1"], ["🦀", "2"], ["plain", "3"]].map(|row| row.map(String::from).to_vec());
        assert_eq!(table(&rows), "日本語  1\n🦀      2\nplain   3\n");
    }
}
