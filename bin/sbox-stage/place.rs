//! Where something is put: a path below the root, in one spelling.

use libsbox::escape::{percent_decoded, percent_encoded};
use std::borrow::Borrow;
use std::ffi::{OsStr, OsString};
use std::ops::Deref;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path};

/// Names with one `/` between them and nothing else, so that their bytes can be compared: with ten thousand files the
/// comparison of paths by their components was half of a staging in which nothing had changed. A parent sorts before what
/// is below it, and what is below it stays together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(OsString);

impl Place {
    /// Of a path with the root `/`, or of one relative to it. `.` and `..` are left out.
    pub fn new(path: &Path) -> Place {
        let names = path.components().filter_map(|part| match part {
            Component::Normal(name) => Some(name),
            _ => None,
        });
        Place(names.collect::<Vec<_>>().join(OsStr::new("/")))
    }

    /// As it is written in the record.
    pub fn decoded(text: &str) -> Place {
        Place::new(&percent_decoded(text))
    }

    /// As it goes into the record.
    pub fn encoded(&self) -> String {
        percent_encoded(self)
    }

    /// What is at `below`, in the directory at this place. `below` is a place, too.
    pub fn join(&self, below: &OsStr) -> Place {
        let mut bytes = Vec::with_capacity(self.0.len() + 1 + below.len());
        bytes.extend_from_slice(self.0.as_bytes());
        if !bytes.is_empty() {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(below.as_bytes());
        Place(OsString::from_vec(bytes))
    }

    /// The directory it is in, `.` for that of the root, and its name there.
    pub fn split(&self) -> (&Path, &OsStr) {
        let bytes = self.0.as_bytes();
        match memchr::memrchr(b'/', bytes) {
            Some(at) => (Path::new(OsStr::from_bytes(&bytes[..at])), OsStr::from_bytes(&bytes[at + 1..])),
            None => (Path::new("."), &self.0),
        }
    }
}

impl Deref for Place {
    type Target = Path;
    fn deref(&self) -> &Path {
        Path::new(&self.0)
    }
}

/// Looked up by its bytes, as it is compared.
impl Borrow<OsStr> for Place {
    fn borrow(&self) -> &OsStr {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_one_spelling_and_never_leads_up() {
        for path in ["/a/b", "a//b", "a/./b/", "/a/../b", "../a/b"] {
            assert_eq!(Place::new(Path::new(path)), Place("a/b".into()), "{path}");
        }
        assert_eq!(Place::decoded("a/%2e%2e/../b").encoded(), "a/b");
    }

    #[test]
    fn it_is_split_into_its_directory_and_its_name() {
        let split = |path: &str| {
            let place = Place::new(Path::new(path));
            let (parent, name) = place.split();
            (parent.to_owned(), name.to_owned())
        };
        assert_eq!(split("a"), (".".into(), "a".into()));
        assert_eq!(split("a/b/c"), ("a/b".into(), "c".into()));
        assert_eq!(Place::new(Path::new("/")).join(OsStr::new("a")), Place("a".into()));
    }

    #[test]
    fn parents_come_first_and_directories_stay_together() {
        let mut places = ["a/b", "a-b", "a/b/c", "a", "a.c"].map(|path| Place::new(Path::new(path)));
        places.sort();
        assert_eq!(places.map(|place| place.encoded()), ["a", "a-b", "a.c", "a/b", "a/b/c"]);
    }
}
