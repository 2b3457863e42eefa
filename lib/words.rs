//! Words for people, on stderr: `[STEP]`, `[INFO]`, `[OK]`, `[WARN]`, `[ERROR]` and the hint after an arrow.

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

/// Prints a labelled line on stderr.
pub fn say(label: Label, text: impl Display) {
    let (name, sgr) = label.text();
    let name = paint(colour(std::io::stderr().is_terminal()), sgr, name);
    line(format_args!("{name} {text}"));
}

/// Prints a bare line on stderr, at once: another process may write there, and must not come between its words. A stderr
/// that nobody reads is no reason to fail.
pub fn line(text: impl Display) {
    let _ = std::io::stderr().lock().write_all(format!("{text}\n").as_bytes());
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

/// A size in the units of the seed's examples: `512 B`, `1.2 MB` (powers of 1000).
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// A span of time: `5s`, `3m20s`, `2h5m`, `1d3h`.
pub fn span(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{}s", seconds % 60),
        (0, _, _) => format!("{hours}h{minutes}m"),
        _ => format!("{days}d{hours}h"),
    }
}

/// Rows in columns, each as wide as its widest cell, two spaces between them; the last one is as wide as it is. Whatever
/// comes from outside was made [`visible`] before.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| Some(row.get(column)?.chars().count())).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

/// The closest of `known` to `word`, if it is close enough to have been meant (Damerau-Levenshtein distance of at
/// most a third of its length).
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1.max(candidate.chars().count().max(word.chars().count()) / 3))
        .min()
        .map(|(_, candidate)| candidate)
}

fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    rows[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let cost = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + cost);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
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
    fn sizes_and_spans_read_as_in_the_examples() {
        assert_eq!(size(512), "512 B");
        assert_eq!(size(1_200_000), "1.2 MB");
        assert_eq!(size(999_999), "1.0 MB");
        assert_eq!([5, 200, 7500, 97_200].map(span), ["5s", "3m20s", "2h5m", "1d3h"]);
    }

    #[test]
    fn a_slip_of_the_finger_is_recognised_and_a_stranger_is_not() {
        let verbs = ["build", "run", "exec", "status"];
        assert_eq!(did_you_mean("biuld", verbs), Some("build"));
        assert_eq!(did_you_mean("statsu", verbs), Some("status"));
        assert_eq!(did_you_mean("deploy", verbs), None);
    }
}
