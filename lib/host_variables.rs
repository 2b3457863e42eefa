//! The variables of the host, and values of the configuration that name them.

use crate::config::{Piece, pieces};
use crate::escape::visible;
use crate::output;
use std::ffi::OsString;

/// Names and values, in an order in which no name occurs twice.
pub type Variables = Vec<(String, OsString)>;

/// A variable of the host that `env:` names and that is not set there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unset {
    /// The variable of the sandbox in whose value it stands.
    pub name: String,
    /// The variable of the host.
    pub wanted: String,
    /// Whether nothing else is in that value: then the variable of the sandbox is not set either.
    pub is_whole: bool,
}

impl Unset {
    /// Says so, on stderr.
    pub fn warn(&self) {
        let (name, wanted) = (visible(&self.name), &self.wanted);
        match self.is_whole {
            true => output::warn(format_args!("'{wanted}' is not set on the host; env.{name} is left out")),
            false => output::warn(format_args!("'{wanted}' is not set on the host; it is empty in env.{name}")),
        }
        output::hint(format_args!("export {wanted}=..., or write ${{{wanted}:-default}}"));
    }
}

/// The environment that variables come from: this process's, or one that was kept for a daemon.
#[derive(Debug)]
pub struct Host(Variables);

impl Host {
    /// This process's own.
    pub fn own() -> Host {
        Host::of(std::env::vars_os())
    }

    /// One that was kept. Names that are not UTF-8 are left out: nothing here asks for them.
    pub fn of(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Host {
        Host(variables.into_iter().filter_map(|(name, value)| Some((name.into_string().ok()?, value))).collect())
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &(String, OsString)> {
        self.0.iter()
    }

    pub(crate) fn only(&self, names: &[&str]) -> Variables {
        names.iter().filter_map(|name| Some(((*name).to_owned(), self.get(name)?.clone()))).collect()
    }

    /// A variable that is set, not empty, and UTF-8.
    pub fn text(&self, name: &str) -> Option<String> {
        self.get(name).and_then(|value| value.to_str()).filter(|value| !value.is_empty()).map(str::to_owned)
    }

    fn get(&self, name: &str) -> Option<&OsString> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| value)
    }
}

/// A value of `env:` with the host's variables in it. One that is not set is empty; a value that is nothing but such a
/// variable is none: to many programs an empty key is a wrong one.
pub(crate) fn expand(name: &str, value: &str, host: &Host, unset: &mut Vec<Unset>) -> Option<OsString> {
    let mut out = OsString::new();
    let pieces = pieces(value);
    let is_whole = pieces.len() == 1;
    for piece in pieces {
        match piece {
            Piece::Text(text) => out.push(text),
            Piece::Variable { name: wanted, default } => {
                let found = host.get(&wanted).filter(|value| default.is_none() || !value.is_empty());
                match (found, default) {
                    (Some(value), _) => out.push(value),
                    // Said to be optional.
                    (None, Some(default)) if is_whole && default.is_empty() => return None,
                    (None, Some(default)) => out.push(default),
                    (None, None) => {
                        unset.push(Unset { name: name.to_owned(), wanted, is_whole });
                        if is_whole {
                            return None;
                        }
                    }
                }
            }
        }
    }
    Some(out)
}

/// A value with the host's variables in it.
pub fn expanded(name: &str, value: &str, host: &Host) -> OsString {
    expand(name, value, host, &mut Vec::new()).unwrap_or_default()
}
