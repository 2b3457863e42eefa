//! What was put into the root, from what: the memory between two stagings.

use crate::sources::{Item, Kind, Wanted};
use libsbox::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// What tells a change of one item: kind, size, mode, time, target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp(String);

impl Stamp {
    pub fn is_mount(&self) -> bool {
        self.0.starts_with('m')
    }
}

impl Item {
    pub fn stamp(&self) -> Stamp {
        Stamp(match &self.kind {
            Kind::Directory => "d".into(),
            Kind::MountDirectory | Kind::MountFile => "m".into(),
            Kind::Link(target) => format!("l {}", encode(target)),
            Kind::File => format!("f {} {:o} {}", self.size, self.mode, self.mtime),
        })
    }
}

#[derive(Debug, Default)]
pub struct Record {
    pub items: BTreeMap<PathBuf, Stamp>,
}

/// The file: the items, and one hash over all of them that tells whether anything changed.
#[derive(Serialize, Deserialize)]
struct Stored {
    fingerprint: String,
    items: BTreeMap<String, Stamp>,
}

impl Record {
    /// What is there now: `kept` from before, and what was wanted.
    pub fn of(wanted: &Wanted, kept: BTreeMap<PathBuf, Stamp>) -> Record {
        let mut items = kept;
        items.extend(wanted.iter().map(|(place, item)| (place.clone(), item.stamp())));
        Record { items }
    }

    /// A record that is missing or cannot be read is an empty one: everything is put again.
    pub fn read(path: &Path) -> Record {
        let stored = libsbox::fs::read_plain(path).and_then(|text| serde_json::from_slice::<Stored>(&text).ok());
        let items = stored.map(|stored| stored.items).unwrap_or_default();
        Record { items: items.into_iter().map(|(place, stamp)| (decode(&place), stamp)).collect() }
    }

    pub fn write(&self, path: &Path) -> Result<()> {
        let items: BTreeMap<String, Stamp> =
            self.items.iter().map(|(place, stamp)| (encode(place), stamp.clone())).collect();
        let lines: String = items.iter().map(|(place, stamp)| format!("{place}\0{}\0", stamp.0)).collect();
        let stored = Stored { fingerprint: libsbox::fs::sha256(lines.as_bytes()), items };
        let text = serde_json::to_vec(&stored).map_err(|error| Error::new(error.to_string()))?;
        libsbox::fs::write_atomic(path, &text, 0o644)
    }
}

/// A path as JSON can hold it: bytes that are no UTF-8, and `%`, as `%XX`.
fn encode(path: &Path) -> String {
    let mut out = String::new();
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        out.push_str(&chunk.valid().replace('%', "%25"));
        out.extend(chunk.invalid().iter().map(|byte| format!("%{byte:02X}")));
    }
    out
}

fn decode(text: &str) -> PathBuf {
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
    OsString::from_vec(out).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_survives_the_record() {
        for name in [&b"plain"[..], b"100%", b"\xff\xfe", "größe".as_bytes(), b"a\nb", b"%41"] {
            let path = PathBuf::from(OsString::from_vec(name.to_vec()));
            assert_eq!(decode(&encode(&path)), path);
        }
    }
}
