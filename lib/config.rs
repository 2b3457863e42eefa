//! The configuration, `.sbox/config.yaml`, as the programs use it. What is wrong with one is found by [`crate::check`].

use crate::error::{Context, Error, Result};
use crate::project::Project;
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use std::fmt;
use std::path::{Component, Path, PathBuf};

/// Every key of the file, in the order of the manual; the last ones belong to parts that this version does not have.
pub const KEYS: [&str; 19] = [
    "runtime", "provider", "workdir", "copy", "mount", "install", "build", "cmd", "env", "isolation", "network",
    "channels", "packages", "limits", "nested", "restart", "stop_timeout", "logs", "ready",
];

/// Keys that are known and refused: what they ask for would not be kept.
pub const LATER: [&str; 8] =
    ["channels", "packages", "limits", "nested", "restart", "stop_timeout", "logs", "ready"];

/// Where programs run unless `workdir` says otherwise.
pub const DEFAULT_WORKDIR: &str = "/app";

/// A runtime asked for: a language and a version or the start of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runtime {
    /// What it is.
    pub language: Language,
    /// `3.11`, `3.11.7`, `22`.
    pub version: String,
}

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
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.language.name(), self.version)
    }
}

impl Runtime {
    /// Reads `python:3.11` or `node:22.1.0`.
    pub fn parse(spec: &str) -> Result<Runtime> {
        let format_hint = "Use format 'language:version', e.g., 'python:3.11' or 'node:22'";
        let wrong = || Error::new(format!("Invalid runtime format: '{}'", crate::words::visible(spec))).hint(format_hint);
        let (language, version) = spec.split_once(':').ok_or_else(wrong)?;
        let language = match language {
            "python" => Language::Python,
            "node" | "nodejs" => Language::Node,
            _ => return Err(wrong()),
        };
        let parts: Vec<&str> = version.split('.').collect();
        let number = |part: &&str| !part.is_empty() && part.len() <= 6 && part.bytes().all(|byte| byte.is_ascii_digit());
        // `python:3` would be whichever 3 the host has today: a minor version is part of the name of a Python.
        let least = if language == Language::Python { 2 } else { 1 };
        if parts.len() < least || parts.len() > 3 || !parts.iter().all(number) {
            return Err(wrong());
        }
        Ok(Runtime { language, version: version.to_owned() })
    }

    /// Whether a full version is one that was asked for: `3.11` is served by `3.11.7` and not by `3.1.1`.
    pub fn accepts(&self, version: &str) -> bool {
        version == self.version || version.strip_prefix(&self.version).is_some_and(|rest| rest.starts_with('.'))
    }
}

/// A `copy` or `mount` entry, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// On the host: absolute.
    pub src: PathBuf,
    /// In the sandbox: absolute, without `.` and `..`.
    pub dst: PathBuf,
    /// Whether the agent may only read it.
    pub read_only: bool,
    /// As it stands in the file, for messages.
    pub written: String,
}

/// What is run by `sbox run`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// One line, for `sh -c`.
    Line(String),
    /// A program and its arguments.
    Words(Vec<String>),
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Command::Line(line) => f.write_str(line),
            Command::Words(words) => f.write_str(&words.join(" ")),
        }
    }
}

/// A whole valid configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// At least one.
    pub runtimes: Vec<Runtime>,
    /// `auto` or the name of a provider.
    pub provider: String,
    /// Absolute, in the sandbox.
    pub workdir: String,
    /// What is copied in when building.
    pub copy: Vec<Entry>,
    /// What of the host is there while running.
    pub mount: Vec<Entry>,
    /// The commands of `install`, then those of `build`.
    pub install: Vec<String>,
    /// The default command.
    pub cmd: Option<Command>,
    /// In the order of the file, not expanded.
    pub env: Vec<(String, String)>,
    /// `auto` or a level.
    pub isolation: String,
    /// `host` or `none`.
    pub network: String,
    /// SHA-256 of the file, the first 16 digits.
    pub hash: String,
}

impl Config {
    /// Reads the project's configuration; anything wrong in it is an error that counts the findings.
    pub fn load(project: &Project) -> Result<Config> {
        let text = read(project)?;
        let report = crate::check::check(&text, project.root());
        let errors = report.errors().count();
        match report.config {
            Some(config) if errors == 0 => Ok(config),
            _ => {
                let first = report.errors().next().map(ToString::to_string).unwrap_or_default();
                Err(Error::new(format!("the configuration has errors ({errors}): {first}")).hint("sbox validate lists them all"))
            }
        }
    }
}

/// The text of the project's configuration.
pub fn read(project: &Project) -> Result<String> {
    let path = project.config();
    std::fs::read_to_string(&path).context(|| format!("read '{}'", crate::words::visible_path(&path)))
}

/// The file as it is written, before anything in it is looked at. Keeps the spelling of scalars: `3.10` stays `3.10`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Raw {
    pub runtime: Lines,
    pub provider: Option<Text>,
    pub workdir: Option<Text>,
    pub copy: Many<RawEntry>,
    pub mount: Many<RawEntry>,
    pub install: Lines,
    pub build: Lines,
    pub cmd: Lines,
    pub env: Pairs,
    pub isolation: Option<Text>,
    pub network: Option<Text>,
}

/// A scalar by its spelling.
#[derive(Debug, Clone, Default)]
pub(crate) struct Text(pub String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Text, D::Error> {
        String::deserialize(deserializer).map(Text)
    }
}

/// One scalar or a list of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lines {
    pub items: Vec<String>,
    pub is_list: bool,
}

struct LinesVisitor;

impl<'de> Visitor<'de> for LinesVisitor {
    type Value = Lines;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a list of texts")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> std::result::Result<Lines, E> {
        Ok(Lines { items: vec![text.to_owned()], is_list: false })
    }

    fn visit_unit<E: de::Error>(self) -> std::result::Result<Lines, E> {
        Ok(Lines::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Lines, A::Error> {
        let mut items = Vec::new();
        while let Some(Text(item)) = seq.next_element()? {
            items.push(item);
        }
        Ok(Lines { items, is_list: true })
    }
}

impl<'de> Deserialize<'de> for Lines {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Lines, D::Error> {
        deserializer.deserialize_any(LinesVisitor)
    }
}

/// A list that may also be left empty.
#[derive(Debug)]
pub(crate) struct Many<T>(pub Vec<T>);

impl<T> Default for Many<T> {
    fn default() -> Many<T> {
        Many(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Many<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Many<T>, D::Error> {
        Ok(Many(Option::<Vec<T>>::deserialize(deserializer)?.unwrap_or_default()))
    }
}

/// A mapping in the order of the file.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pairs(pub Vec<(String, String)>);

struct PairsVisitor;

impl<'de> Visitor<'de> for PairsVisitor {
    type Value = Pairs;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping of names to texts")
    }

    fn visit_unit<E: de::Error>(self) -> std::result::Result<Pairs, E> {
        Ok(Pairs::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Pairs, A::Error> {
        let mut pairs = Vec::new();
        while let Some((Text(name), Text(value))) = map.next_entry()? {
            pairs.push((name, value));
        }
        Ok(Pairs(pairs))
    }
}

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Pairs, D::Error> {
        deserializer.deserialize_any(PairsVisitor)
    }
}

/// A `copy` or `mount` entry as it is written: `src:dst[:ro|rw]`, a path, or a map.
#[derive(Debug, Clone)]
pub(crate) enum RawEntry {
    Line(String),
    Map { src: String, dst: Option<String>, ro: bool },
}

struct RawEntryVisitor;

impl<'de> Visitor<'de> for RawEntryVisitor {
    type Value = RawEntry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("'src:dst', or a mapping with src and dst")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> std::result::Result<RawEntry, E> {
        Ok(RawEntry::Line(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<RawEntry, A::Error> {
        let (mut src, mut dst, mut ro) = (String::new(), None, false);
        while let Some(Text(key)) = map.next_key()? {
            match key.as_str() {
                "src" => src = map.next_value::<Text>()?.0,
                "dst" => dst = Some(map.next_value::<Text>()?.0),
                "ro" => ro = map.next_value()?,
                _ => drop(map.next_value::<de::IgnoredAny>()?),
            }
        }
        Ok(RawEntry::Map { src, dst, ro })
    }
}

impl<'de> Deserialize<'de> for RawEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<RawEntry, D::Error> {
        deserializer.deserialize_any(RawEntryVisitor)
    }
}

impl RawEntry {
    /// Resolves the entry: `~` and relative sources against the home directory and the project.
    /// A bare path keeps its place when it is absolute, goes to `/NAME` when it is relative, and to `workdir` when it is `.`.
    pub(crate) fn resolve(&self, root: &Path, workdir: &str) -> std::result::Result<Entry, String> {
        let (src, dst, read_only, written) = match self {
            RawEntry::Map { src, dst, ro } => (src.clone(), dst.clone(), *ro, src.clone()),
            RawEntry::Line(line) => {
                let (src, dst, read_only) = split(line)?;
                (src, dst, read_only, line.clone())
            }
        };
        if src.is_empty() {
            return Err(format!("No source in '{}'", crate::words::visible(&written)));
        }
        let src = resolve_source(&src, root);
        let dst = match dst {
            // As for cp(1): a file goes into a directory that is written with a slash.
            Some(dst) if dst.ends_with('/') && src.is_file() => {
                dst + &src.file_name().unwrap_or_default().to_string_lossy()
            }
            Some(dst) => dst,
            None => bare_destination(&written, &src, workdir)?,
        };
        Ok(Entry { src, dst: destination(&dst)?, read_only, written })
    }
}

/// `src:dst`, `src:dst:ro`, `src:dst:rw` or `src`.
fn split(line: &str) -> std::result::Result<(String, Option<String>, bool), String> {
    let wrong = || format!("Invalid specification: '{}'", crate::words::visible(line));
    let mut parts = line.split(':');
    let src = parts.next().unwrap_or_default().to_owned();
    let Some(dst) = parts.next() else { return Ok((src, None, false)) };
    let read_only = match (parts.next(), parts.next()) {
        (None, _) | (Some("rw"), None) => false,
        (Some("ro"), None) => true,
        _ => return Err(wrong()),
    };
    if dst.is_empty() { Err(wrong()) } else { Ok((src, Some(dst.to_owned()), read_only)) }
}

fn resolve_source(src: &str, root: &Path) -> PathBuf {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let path = match (src.strip_prefix('~'), home) {
        (Some(""), Some(home)) => home,
        (Some(rest), Some(home)) if rest.starts_with('/') => home.join(rest.trim_start_matches('/')),
        _ => root.join(src),
    };
    tidy(&path)
}

/// The path without `.` and, where that changes nothing for a path without links, without `..`.
fn tidy(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            part => out.push(part),
        }
    }
    // What is behind a symbolic link is the kernel's to say: `link/..` is not always where the link is.
    if path.components().any(|part| part == Component::ParentDir) && path.exists() {
        return path.canonicalize().unwrap_or(out);
    }
    out
}

fn bare_destination(written: &str, src: &Path, workdir: &str) -> std::result::Result<String, String> {
    let absolute = written.starts_with('/') || written.starts_with('~');
    match (absolute, written.trim_end_matches('/')) {
        (true, _) => Ok(src.to_string_lossy().into_owned()),
        (false, "." | "") => Ok(workdir.to_owned()),
        (false, _) => match src.file_name() {
            Some(name) => Ok(format!("/{}", name.to_string_lossy())),
            None => Err(format!("'{}' has no name to appear under", crate::words::visible(written))),
        },
    }
}

/// An absolute path in the sandbox that cannot leave it.
fn destination(dst: &str) -> std::result::Result<PathBuf, String> {
    let path = Path::new(dst);
    if !path.is_absolute() {
        return Err(format!("Destination must be an absolute path: '{}'", crate::words::visible(dst)));
    }
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(format!("Destination leads out with '..': '{}'", crate::words::visible(dst)));
    }
    if dst.chars().any(char::is_control) {
        return Err(format!("Destination has a control character: '{}'", crate::words::visible(dst)));
    }
    Ok(path.components().collect())
}

/// A value of `env:` taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Literal text.
    Text(String),
    /// `$NAME`, `${NAME}` or `${NAME:-default}`: a variable of the host.
    Variable {
        /// Its name.
        name: String,
        /// What stands for it when it is unset or empty.
        default: Option<String>,
    },
}

/// Takes a value of `env:` apart; `$$` is a dollar, and a dollar before anything else is itself.
pub fn pieces(value: &str) -> Vec<Piece> {
    let mut out = Vec::new();
    let mut text = String::new();
    let mut rest = value;
    while let Some(at) = rest.find('$') {
        text.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            text.push('$');
            rest = after;
        } else if let Some((variable, after)) = variable(rest) {
            if !text.is_empty() {
                out.push(Piece::Text(std::mem::take(&mut text)));
            }
            out.push(variable);
            rest = after;
        } else {
            text.push('$');
        }
    }
    text.push_str(rest);
    if !text.is_empty() || out.is_empty() {
        out.push(Piece::Text(text));
    }
    out
}

fn variable(rest: &str) -> Option<(Piece, &str)> {
    let name_end = |text: &str| {
        let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len());
        (end > 0 && !text.starts_with(|c: char| c.is_ascii_digit())).then_some(end)
    };
    match rest.strip_prefix('{') {
        None => {
            let end = name_end(rest)?;
            Some((Piece::Variable { name: rest[..end].to_owned(), default: None }, &rest[end..]))
        }
        Some(inner) => {
            let close = inner.find('}')?;
            let (body, after) = (&inner[..close], &inner[close + 1..]);
            let end = name_end(body)?;
            let default = match &body[end..] {
                "" => None,
                default => Some(default.strip_prefix(":-")?.to_owned()),
            };
            Some((Piece::Variable { name: body[..end].to_owned(), default }, after))
        }
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
        for bad in ["ruby:3.0", "python", "python:", "python:3", "python:3.x", "node:", "node:22.1.2.3", "node:-1", "node:lts"] {
            assert!(Runtime::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn dollars_expand_and_double_dollars_do_not() {
        let text = |text: &str| Piece::Text(text.into());
        let var = |name: &str, default: Option<&str>| Piece::Variable { name: name.into(), default: default.map(str::to_owned) };
        assert_eq!(pieces("cost $5 100%"), [text("cost $5 100%")]);
        assert_eq!(pieces("$$HOME"), [text("$HOME")]);
        assert_eq!(pieces("a${X}b$Y-c"), [text("a"), var("X", None), text("b"), var("Y", None), text("-c")]);
        assert_eq!(pieces("${X:-d}"), [var("X", Some("d"))]);
        assert_eq!(pieces("${bad name}"), [text("${bad name}")]);
        assert_eq!(pieces(""), [text("")]);
    }

    #[test]
    fn entries_have_every_spelling() {
        let line = |text: &str| RawEntry::Line(text.into()).resolve(Path::new("/p"), "/app");
        let entry = line("./app:/app/x/").unwrap();
        assert_eq!((entry.src, entry.dst), ("/p/app".into(), "/app/x".into()));
        assert!(line("/data:/data:ro").unwrap().read_only && !line("/data:/data:rw").unwrap().read_only);
        assert_eq!(line("./config").unwrap().dst, Path::new("/config"));
        assert_eq!(line(".").unwrap().dst, Path::new("/app"));
        assert_eq!(line("/srv/x").unwrap().dst, Path::new("/srv/x"));
        for bad in ["a:b", "a:/x/../../y", "a:/x:rx", "a:", ":/x", "a:/x:ro:y"] {
            assert!(line(bad).is_err(), "{bad}");
        }
    }
}
