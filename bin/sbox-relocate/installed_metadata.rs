//! What is recorded of installed packages: pip's `RECORD`, conda's `conda-meta`. They tell the hashes of files, which change
//! with these; and conda's tell how long the path was that a binary file was built with.

use libsbox::dir::Dir;
use libsbox::error::Result;
use rustix::fs::FileType;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::path::{Component, Path, PathBuf};

/// No record is longer.
const LONGEST: u64 = 64 << 20;

/// The SHA-256 and the size that a file has after the move.
pub type Sum = ([u8; 32], u64);

/// The length of the path that each binary file of a conda package was built with, by its place.
pub fn placeholders(root: &Dir) -> BTreeMap<PathBuf, usize> {
    let mut found = BTreeMap::new();
    for (_, record) in conda_records(root) {
        for path in paths_of(&record) {
            let text = |key: &str| path.get(key).and_then(Value::as_str);
            if let (Some("binary"), Some(place), Some(built)) =
                (text("file_mode"), text("_path"), text("prefix_placeholder"))
            {
                found.insert(PathBuf::from(place), built.len());
            }
        }
    }
    found
}

/// A record may be anything: whoever sends an archive writes it.
fn paths_of(record: &Value) -> impl Iterator<Item = &Value> {
    let paths = record.get("paths_data").and_then(|data| data.get("paths"));
    paths.and_then(Value::as_array).into_iter().flatten()
}

fn conda_records(root: &Dir) -> Vec<(OsString, Value)> {
    let Ok(dir) = root.sub("conda-meta") else { return Vec::new() };
    let entries = dir.entries().unwrap_or_default();
    let names = entries.into_iter().filter(|entry| Path::new(&entry.name).extension().is_some_and(|end| end == "json"));
    names
        .filter_map(|entry| Some((entry.name.clone(), serde_json::from_slice(&read(&dir, &entry.name)?).ok()?)))
        .collect()
}

fn read(dir: &Dir, name: &OsStr) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    dir.file(name).ok()?.take(LONGEST).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// The records that list one of the files that change.
pub fn affected(root: &Dir, changed: &BTreeSet<PathBuf>) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    if changed.is_empty() {
        return Ok(found);
    }
    let none = |_: &Path| Some(([0; 32], 0));
    for place in pip_records(root)? {
        let text = place.parent().and_then(|parent| read(&root.sub(parent).ok()?, "RECORD".as_ref()));
        if text.and_then(|text| updated(&place, &text, changed, &none)).is_some() {
            found.push(place);
        }
    }
    for (name, mut record) in conda_records(root) {
        if conda(&mut record, changed, &none) {
            found.push(Path::new("conda-meta").join(name));
        }
    }
    Ok(found)
}

fn pip_records(root: &Dir) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for lib in ["lib", "lib64", "base/lib", "base/lib64"] {
        let Ok(dir) = root.sub(lib) else { continue };
        for python in dir.entries()?.iter().filter(|entry| entry.name.to_string_lossy().starts_with("python")) {
            let packages = Path::new(lib).join(&python.name).join("site-packages");
            let Ok(dir) = root.sub(&packages) else { continue };
            let is_one = |entry: &libsbox::dir::DirEntry| {
                entry.kind == FileType::Directory && entry.name.to_string_lossy().ends_with(".dist-info")
            };
            found.extend(
                dir.entries()?.into_iter().filter(is_one).map(|entry| packages.join(entry.name).join("RECORD")),
            );
        }
    }
    Ok(found)
}

/// A record, at its place, with the new sums of the files in it that changed; nothing if it lists none of them.
pub fn updated(
    place: &Path,
    text: &[u8],
    changed: &BTreeSet<PathBuf>,
    sum: &dyn Fn(&Path) -> Option<Sum>,
) -> Option<Vec<u8>> {
    if place.file_name().is_some_and(|name| name == "RECORD") {
        let packages = place.parent()?.parent()?;
        return record(&String::from_utf8_lossy(text), packages, changed, sum).map(String::into_bytes);
    }
    let mut record: Value = serde_json::from_slice(text).ok()?;
    conda(&mut record, changed, sum).then(|| serde_json::to_vec_pretty(&record).ok())?
}

/// A RECORD (<https://packaging.python.org/en/latest/specifications/recording-installed-packages/>) with new hashes; nothing
/// if it lists nothing that changed.
fn record(
    text: &str,
    packages: &Path,
    changed: &BTreeSet<PathBuf>,
    sum: &dyn Fn(&Path) -> Option<Sum>,
) -> Option<String> {
    let mut any = false;
    let line = |line: &str| -> Option<String> {
        let (rest, _size) = line.rsplit_once(',')?;
        let (path, old) = rest.rsplit_once(',')?;
        let place = normal(&packages.join(path.trim_matches('"').replace("\"\"", "\"")))?;
        (old.starts_with("sha256=") && changed.contains(&place))
            .then(|| Some(format!("{path},{}", written(&sum(&place)?))))?
    };
    let lines: Vec<String> = text
        .split_inclusive('\n')
        .map(|whole| {
            let bare = whole.trim_end_matches(['\n', '\r']);
            match line(bare) {
                Some(new) => {
                    any = true;
                    format!("{new}{}", &whole[bare.len()..])
                }
                None => whole.to_owned(),
            }
        })
        .collect();
    any.then(|| lines.concat())
}

/// A path without `..`; nothing if it leads out.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => out.push(name),
            Component::ParentDir if out.pop() => {}
            Component::CurDir => {}
            _ => return None,
        }
    }
    Some(out)
}

/// `sha256=...,SIZE` as RECORD has it: the URL-safe alphabet, no padding.
fn written((hash, size): &Sum) -> String {
    format!("sha256={},{size}", base64(hash))
}

/// RFC 4648, section 5, without padding.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::new();
    for group in bytes.chunks(3) {
        let number = group.iter().fold(0u32, |number, byte| number << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        out.extend((0..=group.len()).map(|at| char::from(LETTERS[(number >> (18 - 6 * at) & 63) as usize])));
    }
    out
}

/// Writes new hashes into a record of conda's; tells whether there was anything to write.
fn conda(record: &mut Value, changed: &BTreeSet<PathBuf>, sum: &dyn Fn(&Path) -> Option<Sum>) -> bool {
    let paths = record.get_mut("paths_data").and_then(|data| data.get_mut("paths")).and_then(Value::as_array_mut);
    let mut any = false;
    for path in paths.into_iter().flatten().filter_map(Value::as_object_mut) {
        let place =
            path.get("_path").and_then(Value::as_str).map(PathBuf::from).filter(|place| changed.contains(place));
        if let (Some(place), Some(old)) = (place, path.get_mut("sha256_in_prefix"))
            && let Some((hash, _)) = sum(&place)
        {
            *old = libsbox::fs::hex(&hash).into();
            any = true;
        }
    }
    any
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_gets_the_hashes_of_what_changed() {
        let text = "pip/x.py,sha256=AA,1\r\n../../../bin/pip,sha256=BB,220\n\"a,b.py\",sha256=CC,3\npip/RECORD,,\n";
        let changed = BTreeSet::from(["bin/pip".into(), "lib/python3.11/site-packages/a,b.py".into()]);
        let new = record(text, Path::new("lib/python3.11/site-packages"), &changed, &|_| Some(([0; 32], 9)));
        assert_eq!(
            new.unwrap(),
            "pip/x.py,sha256=AA,1\r\n../../../bin/pip,sha256=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA,9\n\"a,b.py\",sha256=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA,9\npip/RECORD,,\n"
        );
        assert_eq!(
            record("x.py,sha256=A,1\n../../../../../etc/x,sha256=B,2\n", "lib".as_ref(), &changed, &|_| None),
            None
        );
    }

    #[test]
    fn hashes_are_written_as_pip_does() {
        let empty = sha2::Digest::finalize(<sha2::Sha256 as sha2::Digest>::new()).into();
        assert_eq!(written(&(empty, 0)), "sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0");
        assert_eq!([base64(b"f"), base64(b"fo"), base64(b"foo")], ["Zg", "Zm8", "Zm9v"]);
    }

    #[test]
    fn noise_is_not_a_record() {
        for text in ["", "\n", ",", ",,", "\"", "\"\"\"\",sha256=,", "a\0,sha256=x,1", "../..,sha256=x,-1"] {
            let changed = BTreeSet::from([PathBuf::from("a")]);
            assert_eq!(record(text, "lib".as_ref(), &changed, &|_| Some(([0; 32], 0))), None, "{text:?}");
        }
    }

    #[test]
    fn any_json_is_survived() {
        let changed = BTreeSet::from([PathBuf::from("a")]);
        for text in [
            "7",
            "[]",
            "{\"paths_data\": 7}",
            "{\"paths_data\": {\"paths\": [7, [], {\"_path\": 7}, {\"_path\": \"a\"}]}}",
        ] {
            assert_eq!(
                updated(Path::new("conda-meta/x.json"), text.as_bytes(), &changed, &|_| Some(([0; 32], 0))),
                None
            );
        }
        let text = b"{\"paths_data\": {\"paths\": [7, {\"_path\": \"a\", \"sha256_in_prefix\": 7}]}}";
        assert!(updated(Path::new("conda-meta/x.json"), text, &changed, &|_| Some(([0; 32], 0))).is_some());
    }
}
