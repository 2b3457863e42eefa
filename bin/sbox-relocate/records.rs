//! Records of what is in an environment that tell the hash of a file which has just changed: pip's `RECORD`, conda's
//! `conda-meta`; and what conda's tell of the room in binary files.

use libsbox::dir::Dir;
use libsbox::error::Result;
use libsbox::fs;
use rustix::fs::FileType;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::{Read, Write};
use std::path::{Component, Path, PathBuf};

/// No record is longer.
const LONGEST: u64 = 64 << 20;

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

fn paths_of(record: &Value) -> impl Iterator<Item = &Value> {
    record["paths_data"]["paths"].as_array().into_iter().flatten()
}

fn conda_records(root: &Dir) -> Vec<(std::ffi::OsString, Value)> {
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

/// Writes the hashes of the files that changed into the records that list them. Gives the records' places.
pub fn update(root: &Dir, changed: &BTreeSet<PathBuf>) -> Result<Vec<PathBuf>> {
    let mut updated = Vec::new();
    if changed.is_empty() {
        return Ok(updated);
    }
    for lib in ["lib", "lib64"] {
        let Ok(dir) = root.sub(lib) else { continue };
        for python in dir.entries()?.iter().filter(|entry| entry.name.to_string_lossy().starts_with("python")) {
            let packages = Path::new(lib).join(&python.name).join("site-packages");
            pip(root, &packages, changed, &mut updated)?;
        }
    }
    conda(root, changed, &mut updated)?;
    Ok(updated)
}

fn pip(root: &Dir, packages: &Path, changed: &BTreeSet<PathBuf>, updated: &mut Vec<PathBuf>) -> Result<()> {
    let Ok(dir) = root.sub(packages) else { return Ok(()) };
    for entry in dir.entries()? {
        let is_one = entry.kind == FileType::Directory && entry.name.to_string_lossy().ends_with(".dist-info");
        let Some(info) = is_one.then(|| dir.sub(&entry.name)).transpose()? else { continue };
        let Some(old) = read(&info, "RECORD".as_ref()) else { continue };
        let hash = |place: &Path| read_at(root, place).map(|content| record_hash(&content));
        if let Some(new) = record(&String::from_utf8_lossy(&old), packages, changed, &hash) {
            replace(&info, "RECORD".as_ref(), new.as_bytes())?;
            updated.push(packages.join(&entry.name).join("RECORD"));
        }
    }
    Ok(())
}

/// A RECORD (<https://packaging.python.org/en/latest/specifications/recording-installed-packages/>) with new hashes; nothing
/// if it lists nothing that changed.
fn record(
    text: &str,
    packages: &Path,
    changed: &BTreeSet<PathBuf>,
    hash: &dyn Fn(&Path) -> Option<String>,
) -> Option<String> {
    let mut any = false;
    let line = |line: &str| -> Option<String> {
        let (rest, _size) = line.rsplit_once(',')?;
        let (path, old) = rest.rsplit_once(',')?;
        let place = normal(&packages.join(path.trim_matches('"').replace("\"\"", "\"")))?;
        (old.starts_with("sha256=") && changed.contains(&place)).then(|| Some(format!("{path},{}", hash(&place)?)))?
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

fn read_at(root: &Dir, place: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    root.file(place).ok()?.read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// `sha256=...,SIZE` as RECORD has it: the URL-safe alphabet, no padding.
fn record_hash(content: &[u8]) -> String {
    format!("sha256={},{}", base64(&Sha256::digest(content)), content.len())
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

fn conda(root: &Dir, changed: &BTreeSet<PathBuf>, updated: &mut Vec<PathBuf>) -> Result<()> {
    for (name, mut record) in conda_records(root) {
        let mut any = false;
        for path in record["paths_data"]["paths"].as_array_mut().into_iter().flatten() {
            let place = path["_path"].as_str().map(PathBuf::from).filter(|place| changed.contains(place));
            if let (Some(place), true) = (place, path.get("sha256_in_prefix").is_some())
                && let Some(content) = read_at(root, &place)
            {
                path["sha256_in_prefix"] = fs::sha256(&content).into();
                any = true;
            }
        }
        if any {
            let text = serde_json::to_string_pretty(&record).unwrap_or_default();
            replace(&root.sub("conda-meta")?, &name, text.as_bytes())?;
            updated.push(Path::new("conda-meta").join(name));
        }
    }
    Ok(())
}

fn replace(dir: &Dir, name: &OsStr, content: &[u8]) -> Result<()> {
    let metadata = dir.file(name)?.metadata().ok();
    let mode =
        metadata.as_ref().map_or(0o644, |metadata| std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()));
    dir.put_file(name, mode, |file| {
        file.write_all(content)?;
        metadata.map_or(Ok(()), |metadata| fs::keep_times(file, &metadata))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_gets_the_hashes_of_what_changed() {
        let text = "pip/x.py,sha256=AA,1\r\n../../../bin/pip,sha256=BB,220\n\"a,b.py\",sha256=CC,3\npip/RECORD,,\n";
        let changed = BTreeSet::from(["bin/pip".into(), "lib/python3.11/site-packages/a,b.py".into()]);
        let new = record(text, Path::new("lib/python3.11/site-packages"), &changed, &|_| Some("sha256=NEW,9".into()));
        assert_eq!(
            new.unwrap(),
            "pip/x.py,sha256=AA,1\r\n../../../bin/pip,sha256=NEW,9\n\"a,b.py\",sha256=NEW,9\npip/RECORD,,\n"
        );
        assert_eq!(
            record("x.py,sha256=A,1\n../../../../../etc/x,sha256=B,2\n", "lib".as_ref(), &changed, &|_| None),
            None
        );
    }

    #[test]
    fn hashes_are_written_as_pip_does() {
        assert_eq!(record_hash(b""), "sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0");
        assert_eq!([base64(b"f"), base64(b"fo"), base64(b"foo")], ["Zg", "Zm8", "Zm9v"]);
    }

    #[test]
    fn noise_is_no_record() {
        for text in ["", "\n", ",", ",,", "\"", "\"\"\"\",sha256=,", "a\0,sha256=x,1", "../..,sha256=x,-1"] {
            let changed = BTreeSet::from([PathBuf::from("a")]);
            assert_eq!(record(text, "lib".as_ref(), &changed, &|_| Some(String::new())), None, "{text:?}");
        }
    }
}
