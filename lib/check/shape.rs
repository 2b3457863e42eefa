//! Keys and the shapes of their values: what must be right before the values can be looked at.

use super::secrets::EXAMPLE as SECRET_EXAMPLE;
use super::{Checker, Severity};
use crate::config::keys::{self, Shape};
use crate::escape::visible;
use crate::locate::{Step, locate};
use crate::suggest;
use serde_yaml::Value;

/// What a `network` with names looks like.
const NETWORK_EXAMPLE: &str = "Use 'network: {allow: [example.org], deny: [], log: true}'";

/// What can be said where a value comes from.
const SOURCES: &[&str] = &["env", "file", "command", "expires"];

impl Checker<'_> {
    /// Looks at a key of the file and the shape of its value. Tells whether the file can be read on.
    pub(super) fn key(&mut self, key: &Value, value: &Value) -> bool {
        let Some(name) = key.as_str() else {
            self.error("", "Keys must be strings", "Keys are words like 'runtime'", &[]);
            return false;
        };
        match keys::find(name).map(|key| key.shape) {
            None => self.strange_key(name),
            Some(Shape::Network(inner)) => self.network_shape(value, inner),
            Some(Shape::Secrets(inner)) => self.secrets_shape(value, inner),
            Some(Shape::Truth) => self.truth(name, value),
            Some(shape) => self.shape(name, value, shape),
        }
    }

    fn strange_key(&mut self, name: &str) -> bool {
        let place = locate(self.text, &[Step::Key(name.into())], true);
        let hint = suggest::hint(name, &keys::names());
        let message = format!("Unknown key: '{}'", visible(name));
        self.find(Severity::Error, &visible(name), message, hint, place);
        true
    }

    /// `network` is a mode, or a mapping with lists of names.
    fn network_shape(&mut self, value: &Value, inner: &[&str]) -> bool {
        let Value::Mapping(map) = value else { return self.shape("network", value, Shape::Text) };
        let mut whole = true;
        for (key, value) in map {
            let name = key.as_str().unwrap_or_default();
            let fits = match (name, value) {
                ("allow" | "deny", Value::Null | Value::String(_)) | ("log", Value::Bool(_)) => true,
                ("allow" | "deny", Value::Sequence(items)) => items.iter().all(Value::is_string),
                _ => false,
            };
            if !fits {
                let path = [Step::Key("network".into()), Step::Key(name.into())];
                let (message, hint) = match inner.contains(&name) {
                    true => (format!("Invalid value of '{name}'"), NETWORK_EXAMPLE.to_owned()),
                    false => (format!("Unknown key '{}' in 'network'", visible(name)), suggest::hint(name, inner)),
                };
                self.error("network", message, hint, &path);
            }
            whole &= fits;
        }
        whole
    }

    /// A mapping of names to mappings.
    fn secrets_shape(&mut self, value: &Value, inner: &[&str]) -> bool {
        let map = match value {
            Value::Null => return true,
            Value::Mapping(map) => map,
            _ => {
                self.error(
                    "secrets",
                    "Must be a mapping of names to secrets",
                    SECRET_EXAMPLE,
                    &[Step::Key("secrets".into())],
                );
                return false;
            }
        };
        let mut whole = true;
        for (name, value) in map {
            let name = name.as_str().unwrap_or_default();
            let Value::Mapping(map) = value else {
                self.wrong_secret(name, "Must be a mapping with 'hosts'", SECRET_EXAMPLE);
                whole = false;
                continue;
            };
            for (key, value) in map {
                let key = key.as_str().unwrap_or_default();
                let is_text = |value: &Value| matches!(value, Value::String(_) | Value::Number(_));
                let fits = match (key, value) {
                    ("hosts" | "in", Value::Sequence(items)) => items.iter().all(is_text),
                    ("hosts" | "in", value) => is_text(value),
                    ("optional", value) => value.is_bool(),
                    ("from", Value::Mapping(map)) => map
                        .iter()
                        .all(|(key, value)| key.as_str().is_some_and(|key| SOURCES.contains(&key)) && is_text(value)),
                    _ => false,
                };
                if !fits && inner.contains(&key) {
                    let hint = match key {
                        "from" => "Use 'from: {env: NAME}', '{file: PATH}' or '{command: \"...\", expires: 30m}'",
                        "optional" => "Use true or false",
                        _ => SECRET_EXAMPLE,
                    };
                    self.wrong_secret(name, &format!("Invalid value of '{key}'"), hint);
                } else if !fits {
                    self.wrong_secret(name, &format!("Unknown key: '{}'", visible(key)), &suggest::hint(key, inner));
                }
                whole &= fits;
            }
        }
        whole
    }

    fn truth(&mut self, name: &str, value: &Value) -> bool {
        if !matches!(value, Value::Bool(_) | Value::Null) {
            self.error(name, "Must be true or false", "Use 'true' or leave it out", &[Step::Key(name.into())]);
            return false;
        }
        true
    }

    fn shape(&mut self, name: &str, value: &Value, shape: Shape) -> bool {
        let scalar = |value: &Value| matches!(value, Value::String(_) | Value::Number(_) | Value::Bool(_));
        let path = [Step::Key(name.into())];
        match (shape, value) {
            (_, Value::Null) => true,
            (Shape::Text, value) if scalar(value) => true,
            (Shape::TextOrList, Value::String(_)) => true,
            (Shape::TextOrList | Shape::Entries(_), Value::Sequence(items)) => {
                let mut whole = true;
                for (index, item) in items.iter().enumerate() {
                    let fits = match shape {
                        Shape::Entries(inner) => self.entry_shape(name, index, item, inner),
                        _ => scalar(item),
                    };
                    if !fits && !matches!((shape, item), (Shape::Entries(_), Value::Mapping(_))) {
                        let path = [Step::Key(name.into()), Step::Index(index)];
                        let hint = "Put the whole line in quotes if it has ': ' in it";
                        self.error(&format!("{name}[{index}]"), "Must be a text", hint, &path);
                    }
                    whole &= fits;
                }
                whole
            }
            (Shape::Map(_), Value::Mapping(map)) => {
                let mut whole = true;
                for (key, value) in map {
                    if !(scalar(key) && (scalar(value) || value.is_null())) {
                        let shown = key.as_str().map(visible).unwrap_or_else(|| "a key".into());
                        self.error(
                            name,
                            format!("'{shown}' must be a name with one value"),
                            "Use 'NAME: \"value\"'",
                            &path,
                        );
                        whole = false;
                    }
                }
                whole
            }
            _ => {
                let wanted = match shape {
                    Shape::Text => "a text",
                    Shape::TextOrList => "a text or a list of texts",
                    Shape::Entries(_) => "a list",
                    Shape::Map(_) => "a mapping of names to values",
                    Shape::Truth | Shape::Network(_) | Shape::Secrets(_) => "something else",
                };
                self.error(name, format!("Must be {wanted}"), format!("See sbox-config(5) on '{name}'"), &path);
                false
            }
        }
    }

    /// An entry of `copy` or `mount`: a text, or a mapping of `src`, `dst`, `mode` and `ro`.
    fn entry_shape(&mut self, name: &str, index: usize, item: &Value, inner: &[&str]) -> bool {
        let field = format!("{name}[{index}]");
        let path = [Step::Key(name.into()), Step::Index(index)];
        let map = match item {
            Value::String(_) => return true,
            Value::Mapping(map) => map,
            _ => return false,
        };
        let before = self.findings.len();
        for (key, value) in map {
            match (key.as_str(), value) {
                (Some("src" | "dst" | "mode"), Value::String(_)) | (Some("ro"), Value::Bool(_)) => {}
                (Some(known @ ("src" | "dst" | "mode" | "ro")), _) => {
                    let kind = if known == "ro" { "true or false" } else { "a text" };
                    self.error(&field, format!("'{known}' must be {kind}"), "Use '{src: ./app, dst: /app}'", &path);
                }
                (key, _) => {
                    let shown = visible(key.unwrap_or("?"));
                    let hint = suggest::hint(key.unwrap_or_default(), inner);
                    self.error(&field, format!("Unknown key: '{shown}'"), hint, &path);
                }
            }
        }
        if !map.contains_key("src") {
            self.error(&field, "'src' is missing", "Use '{src: ./app, dst: /app}'", &path);
        }
        before == self.findings.len()
    }
}
