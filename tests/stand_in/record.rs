//! Records of a real micromamba, `fixtures/conda/records`, and what in them is the same in every run.

use crate::common::package;
use std::collections::BTreeMap;

/// One run.
#[derive(Debug, Clone)]
pub struct Record {
    pub title: String,
    /// Its arguments, placeholders as they stand.
    pub words: Vec<String>,
    pub exit: i32,
    sections: Vec<(String, String)>,
}

impl Record {
    /// What stands below `--- START`.
    pub fn section(&self, start: &str) -> Option<&str> {
        self.sections.iter().find(|(name, _)| name.starts_with(start)).map(|(_, text)| text.as_str())
    }

    /// The files of a tree as they are drawn, by their paths; directories end with a slash.
    pub fn tree(&self, start: &str) -> Option<Vec<String>> {
        let mut path: Vec<&str> = Vec::new();
        let mut paths = Vec::new();
        for line in self.section(start)?.lines().filter(|line| !line.trim().is_empty()) {
            let name = line.trim_start();
            path.truncate((line.len() - name.len()) / 2);
            let name = name.split("  [").next().unwrap_or(name);
            path.push(name.trim_end_matches('/'));
            paths.push(path.join("/") + if name.ends_with('/') { "/" } else { "" });
        }
        paths.sort();
        Some(paths)
    }
}

/// The runs of a file.
pub fn read(name: &str) -> Vec<Record> {
    let path = package().join(format!("tests/fixtures/conda/records/{name}.txt"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.split(&format!("{}\n", "=".repeat(72))).skip(1).map(parse).collect()
}

fn parse(text: &str) -> Record {
    let line = |start: &str| text.lines().find_map(|line| line.strip_prefix(start)).unwrap_or_default();
    let mut sections: Vec<(String, String)> = Vec::new();
    for line in text.lines() {
        match (line.strip_prefix("--- "), sections.last_mut()) {
            (Some(name), _) => sections.push((name.to_owned(), String::new())),
            (None, Some((_, text))) if line != "(nothing)" => *text += &format!("{line}\n"),
            _ => {}
        }
    }
    Record {
        title: line("## ").to_owned(),
        words: words(line("argv: micromamba ")),
        exit: line("exit: ").split(' ').next().and_then(|code| code.parse().ok()).unwrap_or(-1),
        sections,
    }
}

/// A command line, with single quotes.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (at, part) in line.split('\'').enumerate() {
        match at % 2 {
            0 => words.extend(part.split_whitespace().map(ToOwned::to_owned)),
            _ => words.push(part.to_owned()),
        }
    }
    words
}

/// What is said, without what differs from run to run: hashes, sizes, progress, tables, the number of repeated lines.
pub fn said(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut in_table = false;
    for line in text.lines() {
        in_table = (in_table || line == "Transaction") && line != "Transaction starting";
        let is_note = line.starts_with('(') || line.starts_with("To activate") || line.starts_with("Or to execute");
        if in_table || is_note || line.starts_with("    micromamba ") || line.trim().is_empty() {
            continue;
        }
        let line = line.split("   (").next().unwrap_or(line);
        let line = match line.split_once("parse_error.101]") {
            Some((start, _)) => format!("{start}parse_error.101]"),
            None => line.to_owned(),
        };
        let words = line.split(' ').map(same).collect::<Vec<_>>().join(" ");
        if !lines.contains(&words) {
            lines.push(words);
        }
    }
    lines
}

fn same(word: &str) -> String {
    let is_hex = |text: &str| matches!(text.len(), 32 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hex(word) { "HASH".into() } else { word.to_owned() }
}

/// A JSON value, without sizes and hashes, and with lists in an order of their own.
pub fn value(text: &str) -> serde_json::Value {
    let mut value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    strip(&mut value);
    value
}

fn strip(value: &mut serde_json::Value) {
    use serde_json::Value;
    match value {
        Value::String(text) => *text = same(text),
        Value::Array(items) => {
            items.iter_mut().for_each(strip);
            items.sort_by_key(ToString::to_string);
        }
        Value::Object(map) => {
            let sorted: BTreeMap<_, _> = map.iter_mut().collect();
            for (key, value) in sorted {
                match key.as_str() {
                    "size" | "size_in_bytes" => *value = 0.into(),
                    _ => strip(value),
                }
            }
        }
        _ => {}
    }
}
