//! Runtimes: a language and a version.

use crate::error::{Error, Result};
use crate::escape::visible;
use std::fmt;
use std::str::FromStr;

/// The languages there are runtimes for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// CPython.
    Python,
    /// Node.js.
    Node,
}

impl Language {
    /// Its name in a spec.
    pub fn name(self) -> &'static str {
        match self {
            Language::Python => "python",
            Language::Node => "node",
        }
    }

    /// The series that are tested; others are tried, with a warning.
    pub fn tested(self) -> &'static [&'static str] {
        match self {
            Language::Python => &["3.8", "3.9", "3.10", "3.11", "3.12", "3.13"],
            Language::Node => &["18", "20", "22", "23", "24"],
        }
    }

    /// How many parts of a version name a series: Python breaks things in its minor releases, Node.js in its major ones.
    fn series_parts(self) -> usize {
        match self {
            Language::Python => 2,
            Language::Node => 1,
        }
    }

    /// The series that a version belongs to: `3.11` for 3.11.7, `22` for 22.1.0.
    pub fn series(self, version: &str) -> String {
        version.split('.').take(self.series_parts()).collect::<Vec<_>>().join(".")
    }

    /// Our providers that can make a runtime of it without being asked for by name, best first after `conda`.
    pub fn providers(self) -> &'static [&'static str] {
        match self {
            Language::Python => &["host"],
            Language::Node => &["npm", "host"],
        }
    }
}

/// A runtime asked for: a language and a version or the start of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runtime {
    /// The language.
    pub language: Language,
    /// `3.11`, `3.11.7`, `22`.
    pub version: String,
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.language.name(), self.version)
    }
}

impl FromStr for Runtime {
    type Err = Error;

    fn from_str(spec: &str) -> Result<Runtime> {
        Runtime::parse(spec)
    }
}

impl Runtime {
    /// Reads `python:3.11` or `node:22.1.0`.
    pub fn parse(spec: &str) -> Result<Runtime> {
        let format_hint = "Use format 'language:version', e.g., 'python:3.11' or 'node:22'";
        let wrong = || Error::new(format!("Invalid runtime format: '{}'", visible(spec))).hint(format_hint);
        let (language, version) = spec.split_once(':').ok_or_else(wrong)?;
        let language = match language {
            "python" => Language::Python,
            "node" | "nodejs" => Language::Node,
            _ => return Err(wrong()),
        };
        let parts: Vec<&str> = version.split('.').collect();
        let number =
            |part: &&str| !part.is_empty() && part.len() <= 6 && part.bytes().all(|byte| byte.is_ascii_digit());
        // `python:3` would be whichever 3 the host has today: the series has to be there.
        if parts.len() < language.series_parts() || parts.len() > 3 || !parts.iter().all(number) {
            return Err(wrong());
        }
        Ok(Runtime { language, version: version.to_owned() })
    }

    /// The series that was asked for: `3.11` of `python:3.11.7`.
    pub fn series(&self) -> String {
        self.language.series(&self.version)
    }

    /// Whether a full version is one that was asked for: 3.11.7 is a `3.11`, 3.1.1 is not.
    pub fn accepts(&self, version: &str) -> bool {
        version == self.version || version.strip_prefix(&self.version).is_some_and(|rest| rest.starts_with('.'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_served_by_its_patch_releases_only() {
        let runtime = Runtime::parse("python:3.1").unwrap();
        assert!(runtime.accepts("3.1") && runtime.accepts("3.1.5") && !runtime.accepts("3.11.7"));
    }

    #[test]
    fn runtimes_are_a_language_and_a_version() {
        for good in ["python:3.11", "python:3.11.7", "node:22", "node:22.1", "nodejs:20"] {
            assert!(Runtime::parse(good).is_ok(), "{good}");
        }
        for bad in
            ["ruby:3.0", "python", "python:", "python:3", "python:3.x", "node:", "node:22.1.2.3", "node:-1", "node:lts"]
        {
            assert!(Runtime::parse(bad).is_err(), "{bad}");
        }
    }
}
