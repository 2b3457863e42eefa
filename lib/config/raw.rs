//! The configuration as it is written, and what an entry of `copy` or `mount` means.

use super::MountEntry;
use crate::model::MountMode;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use std::fmt;
use std::path::{Component, Path, PathBuf};

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
    pub env_file: Lines,
    pub git_identity: Option<bool>,
    pub isolation: Option<Text>,
    pub network: RawNetwork,
    pub secrets: RawSecrets,
    pub ports: Lines,
    pub reach: Lines,
    pub limits: Pairs,
    pub nested: Option<bool>,
    pub devices: Lines,
    pub restart: Option<Text>,
    pub max_restarts: Option<Text>,
    pub stop_timeout: Option<Text>,
    pub logs: Pairs,
    pub ready: Pairs,
    pub channels: Lines,
    pub packages: Lines,
    pub mamba: Pairs,
}

impl Raw {
    /// Reads a file, but for the values of some of its keys.
    pub(crate) fn without<'de, D: Deserializer<'de>>(left_out: &[&str], file: D) -> std::result::Result<Raw, D::Error> {
        file.deserialize_map(Without(left_out))
    }
}

struct Without<'a>(&'a [&'a str]);

impl<'de> Visitor<'de> for Without<'_> {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping of keys to values")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> std::result::Result<Raw, A::Error> {
        Raw::deserialize(MapAccessDeserializer::new(Keys { map, left_out: self.0 }))
    }
}

/// The keys of a mapping, but for some.
struct Keys<'a, A> {
    map: A,
    left_out: &'a [&'a str],
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Keys<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> std::result::Result<Option<K::Value>, A::Error> {
        while let Some(Text(key)) = self.map.next_key()? {
            if !self.left_out.contains(&key.as_str()) {
                return seed.deserialize(key.into_deserializer()).map(Some);
            }
            self.map.next_value::<de::IgnoredAny>()?;
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> std::result::Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}

/// `network` as it is written: a mode, or names.
#[derive(Debug, Clone)]
pub(crate) enum RawNetwork {
    Mode(String),
    Names { allow: Lines, deny: Lines, log: bool },
}

impl Default for RawNetwork {
    fn default() -> RawNetwork {
        RawNetwork::Mode(String::new())
    }
}

struct RawNetworkVisitor;

impl<'de> Visitor<'de> for RawNetworkVisitor {
    type Value = RawNetwork;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("host, none, or a mapping with allow")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> std::result::Result<RawNetwork, E> {
        Ok(RawNetwork::Mode(text.to_owned()))
    }

    fn visit_unit<E: de::Error>(self) -> std::result::Result<RawNetwork, E> {
        Ok(RawNetwork::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<RawNetwork, A::Error> {
        let (mut allow, mut deny, mut log) = (Lines::default(), Lines::default(), false);
        while let Some(Text(key)) = map.next_key()? {
            match key.as_str() {
                "allow" => allow = map.next_value()?,
                "deny" => deny = map.next_value()?,
                "log" => log = map.next_value()?,
                _ => drop(map.next_value::<de::IgnoredAny>()?),
            }
        }
        Ok(RawNetwork::Names { allow, deny, log })
    }
}

impl<'de> Deserialize<'de> for RawNetwork {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<RawNetwork, D::Error> {
        deserializer.deserialize_any(RawNetworkVisitor)
    }
}

/// A secret as it is written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RawSecret {
    pub hosts: Lines,
    pub from: RawSource,
    #[serde(rename = "in")]
    pub places: Lines,
    pub optional: bool,
}

/// Where its value comes from.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RawSource {
    pub env: Option<Text>,
    pub file: Option<Text>,
    pub command: Option<Text>,
    pub expires: Option<Text>,
}

/// All of them, in the order of the file.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawSecrets(pub Vec<(String, RawSecret)>);

struct RawSecretsVisitor;

impl<'de> Visitor<'de> for RawSecretsVisitor {
    type Value = RawSecrets;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping of names to secrets")
    }

    fn visit_unit<E: de::Error>(self) -> std::result::Result<RawSecrets, E> {
        Ok(RawSecrets::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<RawSecrets, A::Error> {
        let mut all = Vec::new();
        while let Some((Text(name), secret)) = map.next_entry::<_, Option<RawSecret>>()? {
            all.push((name, secret.unwrap_or_default()));
        }
        Ok(RawSecrets(all))
    }
}

impl<'de> Deserialize<'de> for RawSecrets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<RawSecrets, D::Error> {
        deserializer.deserialize_any(RawSecretsVisitor)
    }
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

/// A `copy` or `mount` entry as it is written: `src:dst[:ro|rw|cow]`, a path, or a map.
#[derive(Debug, Clone)]
pub(crate) enum RawEntry {
    Line(String),
    Map {
        src: String,
        dst: Option<String>,
        mode: Option<String>,
        ro: bool,
    },
    /// Of the command line.
    Given {
        src: String,
        dst: Option<String>,
        mode: MountMode,
    },
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
        let (mut src, mut dst, mut mode, mut ro) = (String::new(), None, None, false);
        while let Some(Text(key)) = map.next_key()? {
            match key.as_str() {
                "src" => src = map.next_value::<Text>()?.0,
                "dst" => dst = Some(map.next_value::<Text>()?.0),
                "mode" => mode = Some(map.next_value::<Text>()?.0),
                "ro" => ro = map.next_value()?,
                _ => drop(map.next_value::<de::IgnoredAny>()?),
            }
        }
        Ok(RawEntry::Map { src, dst, mode, ro })
    }
}

impl<'de> Deserialize<'de> for RawEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<RawEntry, D::Error> {
        deserializer.deserialize_any(RawEntryVisitor)
    }
}

impl RawEntry {
    /// Where it goes, if that is written.
    pub(crate) fn written_dst(&self) -> Option<String> {
        match self {
            RawEntry::Map { dst, .. } | RawEntry::Given { dst, .. } => dst.clone(),
            RawEntry::Line(line) => split(line).ok()?.1,
        }
    }

    /// Resolves the entry: `~` and relative sources against the home directory and the project.
    /// A bare path keeps its place when it is absolute, goes to `/NAME` when it is relative, and to `workdir` when it is `.`.
    pub(crate) fn resolve(&self, root: &Path, workdir: &str) -> std::result::Result<MountEntry, String> {
        let (src, dst, mode, written) = match self {
            RawEntry::Map { src, dst, mode, ro } => {
                (src.clone(), dst.clone(), map_mode(mode.as_deref(), *ro)?, src.clone())
            }
            RawEntry::Given { src, dst, mode } => (src.clone(), dst.clone(), *mode, src.clone()),
            RawEntry::Line(line) => {
                let (src, dst, mode) = split(line)?;
                (src, dst, mode, line.clone())
            }
        };
        let is_given = matches!(self, RawEntry::Given { .. });
        if src.is_empty() {
            return Err(format!("No source in '{}'", crate::escape::visible(&written)));
        }
        let src = resolve_source(&src, root);
        if src.to_str().is_none() {
            // HOME, or a link, leads there: what stands in the file is UTF-8, and so is everything that a source goes through.
            return Err(format!("'{}' leads to a path that is not valid UTF-8", crate::escape::visible(&written)));
        }
        let dst = match dst {
            // As for cp(1): a file goes into a directory that is written with a slash.
            Some(dst) if dst.ends_with('/') && src.is_file() => {
                dst + &src.file_name().unwrap_or_default().to_string_lossy()
            }
            Some(dst) => dst,
            None => bare_destination(&written, &src, workdir)?,
        };
        Ok(MountEntry { src, dst: destination(&dst)?, mode, written, is_given })
    }
}

/// `mode: cow`; `ro: true` is the seed's spelling of `mode: ro`.
fn map_mode(mode: Option<&str>, ro: bool) -> std::result::Result<MountMode, String> {
    match mode.map(str::parse::<MountMode>) {
        None if ro => Ok(MountMode::ReadOnly),
        None => Ok(MountMode::ReadWrite),
        Some(Ok(mode)) if ro && mode != MountMode::ReadOnly => {
            Err(format!("'ro: true' and 'mode: {mode}' cannot be used together"))
        }
        Some(mode) => mode.map_err(|error| error.to_string()),
    }
}

/// `src:dst`, `src:dst:MODE` or `src`.
pub(crate) fn split(line: &str) -> std::result::Result<(String, Option<String>, MountMode), String> {
    let wrong = || format!("Invalid specification: '{}'", crate::escape::visible(line));
    let mut parts = line.split(':');
    let src = parts.next().unwrap_or_default().to_owned();
    let Some(dst) = parts.next() else { return Ok((src, None, MountMode::ReadWrite)) };
    let mode = match (parts.next(), parts.next()) {
        (None, _) => MountMode::ReadWrite,
        (Some(mode), None) => mode.parse().map_err(|_| wrong())?,
        _ => return Err(wrong()),
    };
    if dst.is_empty() { Err(wrong()) } else { Ok((src, Some(dst.to_owned()), mode)) }
}

pub(crate) fn resolve_source(src: &str, root: &Path) -> PathBuf {
    let home = crate::fs::user_home();
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
            None => Err(format!("'{}' has no name to appear under", crate::escape::visible(written))),
        },
    }
}

/// An absolute path in the sandbox that cannot leave it.
fn destination(dst: &str) -> std::result::Result<PathBuf, String> {
    let path = Path::new(dst);
    if !path.is_absolute() {
        return Err(format!("Destination must be an absolute path: '{}'", crate::escape::visible(dst)));
    }
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(format!("Destination must not contain '..': '{}'", crate::escape::visible(dst)));
    }
    if dst.chars().any(char::is_control) {
        return Err(format!("Destination has a control character: '{}'", crate::escape::visible(dst)));
    }
    Ok(path.components().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_have_every_spelling() {
        let line = |text: &str| RawEntry::Line(text.into()).resolve(Path::new("/p"), "/app");
        let entry = line("./app:/app/x/").unwrap();
        assert_eq!((entry.src, entry.dst), ("/p/app".into(), "/app/x".into()));
        let mode = |text: &str| line(text).unwrap().mode;
        assert_eq!(mode("/data:/data:ro"), MountMode::ReadOnly);
        assert_eq!(mode("/data:/data:rw"), MountMode::ReadWrite);
        assert_eq!(mode("/data:/data"), MountMode::ReadWrite);
        assert_eq!(mode("/data:/data:cow"), MountMode::CopyOnWrite);
        assert_eq!(line("./config").unwrap().dst, Path::new("/config"));
        assert_eq!(line(".").unwrap().dst, Path::new("/app"));
        assert_eq!(line("/srv/x").unwrap().dst, Path::new("/srv/x"));
        for bad in ["a:b", "a:/x/../../y", "a:/x:rx", "a:", ":/x", "a:/x:ro:y"] {
            assert!(line(bad).is_err(), "{bad}");
        }
    }
}
