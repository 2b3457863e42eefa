//! `.sbox/sites.json`: the files of an archive in which a path into the sandbox stands, so that a move need not look through
//! all of them. `sbox-archive` writes it while it reads every file anyway; `sbox unpack` reads it.
//!
//! The list may have more files than name the path, and never fewer: a file is in it if it has `.sbox` in any encoding,
//! for no way to write such a path (in a URL, escaped in JSON, in UTF-16) changes these letters.

use memchr::memmem::Finder;
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The index.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteIndex {
    /// The path that was looked for.
    #[serde(default)]
    pub prefix: String,
    /// How many files the archive has: an index that does not fit what is there is not used.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
    sites: Vec<String>,
    /// Names that are not UTF-8, as bytes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    other_sites: Vec<Vec<u8>>,
}

impl SiteIndex {
    /// Adds a file.
    pub fn add(&mut self, place: &Path) {
        match place.to_str() {
            Some(text) => self.sites.push(text.into()),
            None => self.other_sites.push(place.as_os_str().as_bytes().into()),
        }
    }

    /// All files in it.
    pub fn places(&self) -> impl Iterator<Item = PathBuf> {
        let others = self.other_sites.iter().map(|name| PathBuf::from(OsStr::from_bytes(name)));
        self.sites.iter().map(PathBuf::from).chain(others)
    }
}

/// What stands in every path into a sandbox: `.sbox` in ASCII and what has it, in UTF-16 and in UTF-32.
const MARKS: [&[u8]; 3] = [b".sbox", b".\0s\0b\0o\0x", b".\0\0\0s\0\0\0b\0\0\0o\0\0\0x"];

/// Looks for a path into the sandbox in a stream.
#[derive(Debug)]
pub struct Search<'a> {
    wanted: Vec<Finder<'a>>,
    longest: usize,
    /// The end of what was looked through: what is wanted may begin in it.
    seam: Vec<u8>,
    found: bool,
}

impl<'a> Search<'a> {
    /// For a path; nothing is ever found without one.
    pub fn new(prefix: Option<&'a str>) -> Search<'a> {
        let marks = MARKS.iter().map(|mark| Finder::new(*mark));
        let wanted: Vec<Finder<'a>> =
            prefix.into_iter().flat_map(|prefix| marks.clone().chain([Finder::new(prefix)])).collect();
        let longest = wanted.iter().map(|finder| finder.needle().len()).max().unwrap_or(0);
        Search { wanted, longest, seam: Vec::new(), found: false }
    }

    /// For the path itself, and not for other ways to write it.
    pub fn exact(prefix: Option<&'a str>) -> Search<'a> {
        let wanted: Vec<Finder<'a>> = prefix.into_iter().map(Finder::new).collect();
        Search { longest: prefix.map_or(0, str::len), wanted, seam: Vec::new(), found: false }
    }

    /// Looks through the next bytes.
    pub fn look(&mut self, bytes: &[u8]) {
        if self.found || self.longest == 0 {
            return;
        }
        let has = |text: &[u8]| self.wanted.iter().any(|finder| finder.find(text).is_some());
        self.seam.extend_from_slice(&bytes[..bytes.len().min(self.longest)]);
        self.found = has(&self.seam) || has(bytes);
        let end = if bytes.len() >= self.longest { bytes } else { &self.seam };
        self.seam = end[end.len().saturating_sub(self.longest - 1)..].to_vec();
    }

    /// The next bytes do not follow on those before: between them is a hole.
    pub fn skip(&mut self) {
        self.seam.clear();
    }

    /// Whether anything was found.
    pub fn found(&self) -> bool {
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(pieces: &[&[u8]]) -> bool {
        let mut search = Search::new(Some("/home/a b/p"));
        pieces.iter().for_each(|piece| search.look(piece));
        search.found()
    }

    #[test]
    fn a_path_is_found_however_it_is_written_and_read() {
        let path = "/home/a b/p/.sbox/env/bin";
        let wide = |order: fn(u16) -> [u8; 2]| path.encode_utf16().flat_map(order).collect::<Vec<u8>>();
        let forms: [Vec<u8>; 7] = [
            path.into(),
            b"file:///home/a%20b/p/.sbox/env".to_vec(),
            br"\/home\/a b\/p\/.sbox\/env".to_vec(),
            br"/home/a\u0020b/p/.sbox".to_vec(),
            wide(u16::to_le_bytes),
            wide(u16::to_be_bytes),
            b"/home/a b/p/app".to_vec(),
        ];
        for form in &forms {
            assert!(found(&[form]), "{form:?}");
            for at in 0..form.len() {
                assert!(found(&[&form[..at], &form[at..]]), "{form:?} {at}");
            }
            assert!(found(&form.chunks(1).collect::<Vec<_>>()), "{form:?}");
        }
        assert!(!found(&[b"/home/a b/q", b"/.config", b"sbox"]) && !found(&[]));
    }

    #[test]
    fn a_hole_parts_what_is_before_it_from_what_is_after() {
        let mut search = Search::new(Some("/home/a"));
        search.look(b"/ho");
        search.skip();
        search.look(b"me/a");
        assert!(!search.found());
    }

    #[test]
    fn names_that_are_not_utf_8_are_in_the_index() {
        let mut index = SiteIndex::default();
        index.add(Path::new("a"));
        index.add(Path::new(OsStr::from_bytes(b"\xff")));
        let back: SiteIndex = serde_json::from_str(&serde_json::to_string(&index).unwrap()).unwrap();
        assert_eq!(back.places().collect::<Vec<_>>(), [PathBuf::from("a"), PathBuf::from(OsStr::from_bytes(b"\xff"))]);
    }
}
