//! What was put into the root, from what: the memory between two stagings.

use crate::place::Place;
use crate::sources::{Item, Kind};
use libsbox::error::{Error, Result};
use libsbox::escape::{percent_encoded, visible_path};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// What tells a change of one item: kind, size, mode, time, target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp(String);

impl Stamp {
    /// Of a place that is being worked on: what is there is not known until the next record is written.
    pub fn unknown() -> Stamp {
        Stamp("?".into())
    }

    pub fn is_unknown(&self) -> bool {
        self.0 == "?"
    }

    pub fn is_mount(&self) -> bool {
        self.0.starts_with('m')
    }

    /// Whether nothing but the content can have changed since this was noted.
    pub fn is_like(&self, other: &Stamp) -> bool {
        self.0.strip_prefix(&other.0).is_some_and(|rest| rest.is_empty() || rest.starts_with(" +"))
    }

    /// The same size and time with other content: what depends on the stamp has to see that it changed.
    pub fn with_other_content(self, ctime: i64) -> Stamp {
        Stamp(format!("{} +{ctime}", self.0))
    }
}

impl Item {
    pub fn stamp(&self) -> Stamp {
        Stamp(match &self.kind {
            Kind::Directory => "d".into(),
            Kind::MountDirectory | Kind::MountFile => "m".into(),
            Kind::Link(target) => format!("l {}", percent_encoded(target)),
            Kind::File => format!("f {} {:o} {}", self.size, self.mode, self.mtime),
        })
    }
}

/// How a source was when it was copied, beyond its stamp. A program can give a file its old size and time back; the kernel
/// alone sets the time of the change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Seen {
    /// When it was changed last: nanoseconds since 1970.
    Change(i64),
    /// SHA-256 of what was copied: the change was so recent that the next one may get the same time.
    Content(String),
}

#[derive(Debug, Default, Clone, PartialEq)]
pub struct Record {
    pub items: BTreeMap<Place, Stamp>,
    pub seen: BTreeMap<Place, Seen>,
}

/// The file: the items, and one hash over all of them that tells whether anything changed.
#[derive(Serialize, Deserialize)]
struct Stored {
    fingerprint: String,
    items: BTreeMap<String, Stamp>,
    #[serde(default)]
    seen: BTreeMap<String, Seen>,
}

impl Record {
    /// One that was never written is an empty one. One that cannot be read is an error: without it nobody knows what is to be
    /// removed.
    pub fn read(path: &Path) -> Result<Record> {
        let shown = || format!("'{}'", visible_path(path));
        // A link, a pipe or a directory is not a record of ours: an archive brought it, and it says nothing.
        if std::fs::symlink_metadata(path).is_ok_and(|found| !found.is_file()) {
            return Ok(Record::default());
        }
        let Some(text) = libsbox::fs::read_plain_or_error(path)? else { return Ok(Record::default()) };
        let stored: Stored = serde_json::from_slice(&text).map_err(|error| {
            Error::new(format!("{} is not a record of what was copied: {error}", shown()))
                .hint("sbox build --force copies everything again")
        })?;
        let items = stored.items.into_iter().map(|(place, stamp)| (Place::decoded(&place), stamp)).collect();
        let seen = stored.seen.into_iter().map(|(place, seen)| (Place::decoded(&place), seen)).collect();
        Ok(Record { items, seen })
    }

    pub fn write(&self, path: &Path) -> Result<()> {
        let (fingerprint, items) = self.listed();
        let seen = self.seen.iter().map(|(place, seen)| (place.encoded(), seen.clone())).collect();
        let stored = Stored { fingerprint, items, seen };
        let text = serde_json::to_vec(&stored)?;
        libsbox::fs::write_atomic(path, &text, 0o644)
    }

    /// The hash over all items, and the items by their names in the file.
    pub fn listed(&self) -> (String, BTreeMap<String, Stamp>) {
        let items: BTreeMap<String, Stamp> =
            self.items.iter().map(|(place, stamp)| (place.encoded(), stamp.clone())).collect();
        let lines: String = items.iter().map(|(place, stamp)| format!("{place}\0{}\0", stamp.0)).collect();
        (libsbox::fs::sha256(lines.as_bytes()), items)
    }
}
