//! Line and column of a place in a YAML document.
//!
//! serde_yaml tells positions only in errors, so the document is read once more by something that follows the path to
//! the place and fails on arrival.

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// One step of a path into a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Into the value of a key.
    Key(String),
    /// Into an item of a list, from 0.
    Index(usize),
}

/// Line and column, from 1, of the value at `path`, or of the last key in it when `at_key`.
pub fn locate(text: &str, path: &[Step], at_key: bool) -> Option<(usize, usize)> {
    let seek = Seek { path, at_key };
    let error = seek.deserialize(serde_yaml::Deserializer::from_str(text)).err()?;
    error.location().map(|place| (place.line(), place.column()))
}

struct Seek<'a> {
    path: &'a [Step],
    at_key: bool,
}

const ARRIVED: &str = "arrived";

impl<'de> DeserializeSeed<'de> for Seek<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

macro_rules! scalars {
    ($($visit:ident: $type:ty),*) => {
        $(fn $visit<E: de::Error>(self, _: $type) -> Result<(), E> { self.scalar() })*
    };
}

impl Seek<'_> {
    fn scalar<E: de::Error>(&self) -> Result<(), E> {
        if self.path.is_empty() { Err(E::custom(ARRIVED)) } else { Ok(()) }
    }
}

impl<'de> Visitor<'de> for Seek<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    scalars!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        self.scalar()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Some((step, rest)) = self.path.split_first() else { return Err(de::Error::custom(ARRIVED)) };
        let Step::Index(index) = step else { return Ok(()) };
        for _ in 0..*index {
            seq.next_element::<IgnoredAny>()?;
        }
        seq.next_element_seed(Seek { path: rest, at_key: self.at_key })?;
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((step, rest)) = self.path.split_first() else { return Err(de::Error::custom(ARRIVED)) };
        let Step::Key(wanted) = step else { return Ok(()) };
        let stop = self.at_key && rest.is_empty();
        while let Some(found) = map.next_key_seed(KeySeek { wanted, stop })? {
            if found {
                map.next_value_seed(Seek { path: rest, at_key: self.at_key })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// Reads one key: tells whether it is the wanted one, or fails there.
struct KeySeek<'a> {
    wanted: &'a str,
    stop: bool,
}

impl<'de> DeserializeSeed<'de> for KeySeek<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeek<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<bool, E> {
        match key == self.wanted {
            true if self.stop => Err(E::custom(ARRIVED)),
            found => Ok(found),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "runtime: python:3.11\nenv:\n  A: 1\n  B: two\ninstall:\n  - one\n  - sudo x\n";

    fn key(name: &str) -> Step {
        Step::Key(name.into())
    }

    #[test]
    fn values_and_keys_are_found() {
        assert_eq!(locate(TEXT, &[key("runtime")], false), Some((1, 10)));
        assert_eq!(locate(TEXT, &[key("env"), key("B")], false), Some((4, 6)));
        assert_eq!(locate(TEXT, &[key("env"), key("B")], true), Some((4, 3)));
        assert_eq!(locate(TEXT, &[key("install"), Step::Index(1)], false), Some((7, 5)));
    }

    #[test]
    fn what_is_not_there_is_nowhere() {
        assert_eq!(locate(TEXT, &[key("cmd")], false), None);
    }
}
