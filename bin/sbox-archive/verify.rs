//! Comparing an archive, or what was made of one, with the checksums that came in it.

use crate::read::{self, Kind, Limits};
use libsbox::dir::Dir;
use libsbox::error::{Context, Error, Result};
use libsbox::escape::visible_path;
use libsbox::fs::sha256_of;
use libsbox::output;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Where the checksums are, below the folder at the top.
const SUMS: &str = ".sbox/SHA256SUMS";

/// What is compared: place and SHA-256.
type Sums = BTreeMap<PathBuf, String>;

/// Says what differs; fails if anything does.
pub fn verify(what: &Path, limits: Limits) -> Result<u8> {
    let (listed, found) = if what.is_dir() { directory(what)? } else { archive(what, limits)? };
    let mut wrong = Vec::new();
    for (place, sum) in &listed {
        match found.get(place) {
            None => wrong.push((place, "is missing")),
            Some(other) if other != sum => wrong.push((place, "was changed")),
            _ => {}
        }
    }
    // The list cannot list itself, and the metadata, which come after it, list it.
    let own = |place: &Path| place == Path::new(SUMS) || place == Path::new("metadata.json");
    wrong.extend(
        found.keys().filter(|place| !listed.contains_key(*place) && !own(place)).map(|place| (place, "was added")),
    );
    for (place, how) in wrong.iter().take(20) {
        output::line(format_args!("{}: {how}", visible_path(place)));
    }
    if wrong.is_empty() {
        return Ok(0);
    }
    Err(Error::new(format!("{} of {} files differ from the checksums", wrong.len(), listed.len())))
}

fn archive(path: &Path, limits: Limits) -> Result<(Sums, Sums)> {
    let (mut found, mut listed) = (Sums::new(), None);
    read::each(path, limits, &mut |item, content| {
        let place: PathBuf = item.path.components().skip(1).collect();
        if item.kind == Kind::File {
            if place == Path::new(SUMS) {
                let mut text = String::new();
                content.take(1 << 30).read_to_string(&mut text).context(|| format!("read '{SUMS}'"))?;
                listed = Some(parse(&text)?);
                return Ok(());
            }
            found.insert(place, sha256_of(content).context(|| format!("read '{}'", visible_path(&item.path)))?);
        }
        Ok(())
    })?;
    Ok((listed.ok_or_else(no_sums)?, found))
}

fn directory(path: &Path) -> Result<(Sums, Sums)> {
    let dir = Dir::open(path)?;
    let mut text = String::new();
    dir.file(SUMS)?.take(1 << 30).read_to_string(&mut text).context(|| format!("read '{SUMS}'"))?;
    let listed = parse(&text)?;
    let mut found = Sums::new();
    // What is listed, and what else is in the two trees: the rest of the project is its owner's.
    for place in listed.keys() {
        if let Ok(mut file) = dir.file(place) {
            found.insert(place.clone(), sha256_of(&mut file).context(|| format!("read '{}'", visible_path(place)))?);
        }
    }
    for tree in [".sbox/env", ".sbox/rootfs"] {
        let Ok(sub) = dir.sub(tree) else { continue };
        sub.walk(&mut |_, entry, below| {
            let place = Path::new(tree).join(below);
            if entry.kind == rustix::fs::FileType::RegularFile && !listed.contains_key(&place) {
                found.insert(place, String::new());
            }
            Ok(())
        })?;
    }
    Ok((listed, found))
}

fn no_sums() -> Error {
    Error::new(format!("there are no checksums: '{SUMS}' is missing"))
}

/// The format of sha256sum(1).
fn parse(text: &str) -> Result<Sums> {
    let line = |line: &str| -> Option<(PathBuf, String)> {
        let (escaped, line) = line.strip_prefix('\\').map_or((false, line), |line| (true, line));
        let (sum, name) = line.split_once("  ")?;
        let name = if escaped { unescape(name) } else { name.to_owned() };
        let fits = sum.len() == 64 && sum.bytes().all(|byte| byte.is_ascii_hexdigit());
        fits.then(|| (PathBuf::from(name), sum.to_ascii_lowercase()))
    };
    text.lines()
        .map(line)
        .collect::<Option<Sums>>()
        .ok_or_else(|| Error::new(format!("'{SUMS}' is no list of checksums")))
}

fn unescape(name: &str) -> String {
    let mut out = String::new();
    let mut letters = name.chars();
    while let Some(letter) = letters.next() {
        match (letter, letter == '\\') {
            (_, true) => out.push(match letters.next() {
                Some('n') => '\n',
                Some('r') => '\r',
                Some(other) => other,
                None => '\\',
            }),
            (letter, false) => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_any_kind_are_read_back() {
        let sum = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let sums = parse(&format!("{sum}  a  b\n\\{sum}  x\\ny\\\\z\n")).unwrap();
        assert!(sums.contains_key(Path::new("a  b")) && sums.contains_key(Path::new("x\ny\\z")));
        assert!(parse("nonsense\n").is_err() && parse(&format!("{}  x\n", "z".repeat(64))).is_err());
    }
}
