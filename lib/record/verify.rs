//! Whether the record is as it was written.

use super::chain::{Head, NONE};
use super::reader::content;
use super::{FILE, HEAD, KEPT, Line, file};
use crate::dir::Dir;
use crate::error::Result;
use crate::fs;
use std::io::Read;
use std::path::Path;

/// Something that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// The file.
    pub file: String,
    /// The line in it, from 1.
    pub line: u64,
    /// What is wrong, in words.
    pub what: String,
    /// Whether a program that was killed leaves the same.
    pub is_harmless: bool,
}

/// The result.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct Verified {
    /// Whole lines that were looked at.
    pub lines: u64,
    /// The number of the first one; above 1 if older ones were rotated away.
    pub first: u64,
    /// The number of the last one.
    pub last: u64,
    /// The hash of the last one.
    pub hash: String,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

impl Verified {
    /// Whether nothing was changed.
    pub fn is_whole(&self) -> bool {
        self.findings.iter().all(|finding| finding.is_harmless)
    }
}

/// Looks at each line of the record in `place`.
///
/// # Errors
/// If there is no record.
pub fn verify(place: &Path) -> Result<Verified> {
    let dir = Dir::open(place)?;
    let mut all = Verified { hash: NONE.into(), ..Verified::default() };
    let mut expected: Option<(u64, String)> = None;
    let oldest = (0..=KEPT).rev().find_map(|number| content(&dir, number).map(|_| number));
    for number in (0..=oldest.unwrap_or(0)).rev() {
        let name = file(number);
        let Some(bytes) = content(&dir, number) else {
            all.say(&name, 0, "the file is missing", false);
            continue;
        };
        let mut at = 0;
        for text in bytes.split_inclusive(|byte| *byte == b'\n') {
            at += 1;
            let whole = text.strip_suffix(b"\n");
            let Some((text, line)) = whole.and_then(|text| Some((text, Line::read(text)?))) else {
                all.say(&name, at, "the line is cut short: a program was killed while it wrote", true);
                continue;
            };
            match &expected {
                None if line.seq == 1 && line.prev == NONE => {}
                None if line.seq > 1 && oldest == Some(KEPT) => {}
                None => all.say(&name, at, "lines before this one were removed", false),
                Some((seq, _)) if line.seq > seq.saturating_add(1) => {
                    let what = format!("lines {} to {} were removed before this one", seq + 1, line.seq - 1);
                    all.say(&name, at, &what, false);
                }
                Some((seq, _)) if line.seq != seq.saturating_add(1) => {
                    all.say(&name, at, &format!("its number is {}, not {}", line.seq, seq.saturating_add(1)), false);
                }
                Some((_, hash)) if *hash != line.prev => {
                    all.say(&name, at - 1, "it is not as it was written: the line after it has another hash", false);
                }
                Some(_) => {}
            }
            let hash = fs::sha256(text);
            (all.first, all.lines) = (if all.lines == 0 { line.seq } else { all.first }, all.lines + 1);
            (all.last, all.hash) = (line.seq, hash.clone());
            expected = Some((line.seq, hash));
        }
    }
    all.compare_head(head(&dir));
    Ok(all)
}

fn head(dir: &Dir) -> Option<Head> {
    let mut text = Vec::new();
    dir.file(HEAD).ok()?.take(4096).read_to_end(&mut text).ok()?;
    Head::read(&text)
}

impl Verified {
    fn say(&mut self, file: &str, line: u64, what: &str, is_harmless: bool) {
        self.findings.push(Finding { file: file.to_owned(), line, what: what.to_owned(), is_harmless });
    }

    /// The end, of which no line after it knows.
    fn compare_head(&mut self, head: Option<Head>) {
        let Some(head) = head else {
            if self.lines > 0 {
                self.say(
                    HEAD,
                    0,
                    "it is missing or damaged: nobody can say whether lines at the end were removed",
                    false,
                );
            }
            return;
        };
        match head.seq.cmp(&self.last) {
            std::cmp::Ordering::Greater => {
                let what = format!("lines {} to {} are missing at the end", self.last + 1, head.seq);
                self.say(FILE, 0, &what, false);
            }
            std::cmp::Ordering::Equal if head.hash != self.hash => {
                self.say(FILE, 0, &format!("line {} is not as it was written", self.last), false);
            }
            _ => {}
        }
    }
}
