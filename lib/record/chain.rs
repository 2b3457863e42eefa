//! Lines and what ties them together.

use super::Event;
use crate::fs;
use serde::{Deserialize, Serialize};

/// The hash before the first line.
pub const NONE: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// One line of the record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Its number, from 1. It goes on over all files.
    pub seq: u64,
    /// When it was written.
    pub time: String,
    /// The run that it is of.
    pub run: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
    /// The SHA-256 of the line before, without its newline, in hexadecimal.
    pub prev: String,
}

impl Line {
    /// As it is written, without a newline, and the hash of that.
    pub fn written(&self) -> (String, String) {
        let text = serde_json::to_string(self).unwrap_or_default();
        let hash = fs::sha256(text.as_bytes());
        (text, hash)
    }

    /// What was written; nothing if it is not a whole line.
    pub fn read(text: &[u8]) -> Option<Line> {
        serde_json::from_slice(text).ok()
    }
}

/// What `record.head` says of the last line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// Its number.
    pub seq: u64,
    /// The number of the newest run.
    pub run: u64,
    /// The size of the current file with it.
    pub size: u64,
    /// Its hash.
    pub hash: String,
}

impl Head {
    /// Before the first line.
    pub fn none() -> Head {
        Head { seq: 0, run: 0, size: 0, hash: NONE.into() }
    }

    /// Always of one length, so that it is overwritten where it is: a full disk has room for that.
    pub fn written(&self) -> String {
        format!("{:<199}\n", serde_json::to_string(self).unwrap_or_default())
    }

    /// What was written; nothing if it is damaged.
    pub fn read(text: &[u8]) -> Option<Head> {
        serde_json::from_slice(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Asked, Event};
    use super::*;

    #[test]
    fn a_line_is_read_as_it_was_written_and_unknown_kinds_are_passed_over() {
        let event = Event::Network(Asked { host: "a.example".into(), port: 443, count: 1, ..Asked::default() });
        let line = Line { seq: 7, time: "2026-01-30T12:00:00Z".into(), run: 2, event, prev: NONE.into() };
        let (text, hash) = line.written();
        assert!(
            text.starts_with(r#"{"seq":7,"time":"2026-01-30T12:00:00Z","run":2,"event":"network","host":"#),
            "{text}"
        );
        assert_eq!((Line::read(text.as_bytes()), hash.len()), (Some(line), 64));
        let newer = format!(r#"{{"seq":8,"time":"x","run":2,"event":"dream","of":"sheep","prev":"{NONE}"}}"#);
        assert_eq!(Line::read(newer.as_bytes()).map(|line| line.event), Some(Event::Other));
        assert_eq!(Line::read(&text.as_bytes()[..60]), None);
    }

    #[test]
    fn a_head_has_always_the_same_length() {
        let large = Head { seq: u64::MAX, run: u64::MAX, size: u64::MAX, hash: NONE.into() };
        assert_eq!(large.written().len(), Head::none().written().len());
        assert_eq!(Head::read(large.written().as_bytes()), Some(large));
    }
}
