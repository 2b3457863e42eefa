//! The keys of the configuration: the one table of their names, shapes and defaults.
//!
//! A new key is a line here, a field of [`super::raw::Raw`] and of [`super::Config`], what [`crate::check`] makes of it,
//! its paragraph in sbox-config(5), and an answer to the compiler's question in [`crate::trust::requests`].

/// The shape that the value of a key has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One text.
    Text,
    /// `true` or `false`.
    Truth,
    /// A text, or a list of texts.
    TextOrList,
    /// A list of `copy` or `mount` entries: texts, or mappings with these keys.
    Entries(&'static [&'static str]),
    /// A mapping of names to texts: any names, or only these.
    Map(&'static [&'static str]),
    /// A text, or a mapping with lists of texts for all of these keys but `log`, which is true or false.
    Network(&'static [&'static str]),
    /// A mapping of names to mappings with these keys.
    Secrets(&'static [&'static str]),
}

/// A key of the file.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// As it is written.
    pub name: &'static str,
    /// The shape of its value.
    pub shape: Shape,
    /// What holds without it, as it would be written; empty if nothing does.
    pub default: &'static str,
}

const fn key(name: &'static str, shape: Shape, default: &'static str) -> Key {
    Key { name, shape, default }
}

/// Every key, in the order of the manual.
pub const KEYS: &[Key] = &[
    key("runtime", Shape::TextOrList, ""),
    key("provider", Shape::Text, "auto"),
    key("channels", Shape::TextOrList, ""),
    key("packages", Shape::TextOrList, ""),
    key("mamba", Shape::Map(&["url", "sha256"]), ""),
    key("workdir", Shape::Text, "/app"),
    key("copy", Shape::Entries(&["src", "dst", "mode", "ro"]), ""),
    key("mount", Shape::Entries(&["src", "dst", "mode", "ro"]), ""),
    key("install", Shape::TextOrList, ""),
    key("build", Shape::TextOrList, ""),
    key("cmd", Shape::TextOrList, ""),
    key("env", Shape::Map(&[]), ""),
    key("env_file", Shape::TextOrList, ""),
    key("git_identity", Shape::Truth, "true"),
    key("isolation", Shape::Text, "auto"),
    key("network", Shape::Network(&["allow", "deny", "log"]), "host"),
    key("secrets", Shape::Secrets(&["hosts", "from", "in", "optional"]), ""),
    key("ports", Shape::TextOrList, ""),
    key("reach", Shape::TextOrList, ""),
    key("limits", Shape::Map(crate::model::LIMITS), ""),
    key("nested", Shape::Truth, "false"),
    key("devices", Shape::TextOrList, ""),
    key("restart", Shape::Text, "no"),
    key("max_restarts", Shape::Text, "10"),
    key("stop_timeout", Shape::Text, "10s"),
    key("logs", Shape::Map(&["max_size", "keep"]), ""),
    key("ready", Shape::Map(&["http", "tcp", "log", "timeout"]), ""),
];

/// The defaults of keys inside a mapping.
const INNER_DEFAULTS: &[(&str, &str)] = &[("logs.max_size", "10M"), ("logs.keep", "3"), ("ready.timeout", "30s")];

/// What holds when a key (`restart`) or an inner one (`logs.keep`) is not in the file, as it would be written.
pub fn default(name: &str) -> &'static str {
    let outer = KEYS.iter().map(|key| (key.name, key.default));
    let mut all = outer.chain(INNER_DEFAULTS.iter().copied());
    all.find(|(known, _)| *known == name).map_or("", |(_, default)| default)
}

/// The keys' names.
pub fn names() -> Vec<&'static str> {
    KEYS.iter().map(|key| key.name).collect()
}

/// The key of this name.
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::{Deserialize, Deserializer, Visitor, value::Error};

    /// Hears which fields a type asks for.
    struct Fields<'a>(&'a mut Vec<&'static str>);

    impl<'de> Deserializer<'de> for Fields<'_> {
        type Error = Error;

        fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            visitor.visit_unit()
        }

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            visitor: V,
        ) -> Result<V::Value, Error> {
            self.0.extend(fields);
            visitor.visit_unit()
        }

        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct
            newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }

    #[test]
    fn every_key_is_read_and_nothing_else() {
        let mut fields = Vec::new();
        let _ = super::super::raw::Raw::deserialize(Fields(&mut fields));
        fields.sort_unstable();
        let mut names = names();
        names.sort_unstable();
        assert_eq!(fields, names);
    }

    #[test]
    fn the_manual_names_every_key_and_its_default() {
        let page = include_str!("../../man/sbox-config.5");
        let mut paragraphs = page.split("\n.It Cm ").skip(1);
        let mut paragraph = |name: &str| {
            paragraphs
                .by_ref()
                .find(|text| text.lines().next().is_some_and(|line| line.split(" , ").any(|key| key == name)))
                .unwrap_or_else(|| panic!("sbox-config(5) has no '{name}', or in another order"))
        };
        for key in KEYS.iter().filter(|key| key.name != "build") {
            let text = paragraph(key.name);
            assert!(text.contains(key.default), "sbox-config(5) does not say that '{}' is '{}'", key.name, key.default);
        }
    }
}
