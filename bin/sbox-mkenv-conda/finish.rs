//! What micromamba leaves undone: the hashes of what it fetched, the room in binary files, times and byte code.

use crate::micromamba::{Micromamba, Said};
use libsbox::dir::Dir;
use libsbox::error::{Context, Error, Result};
use libsbox::escape;
use libsbox::fs;
use libsbox::lockfile::Package;
use libsbox::plumbing;
use serde_json::Value;
use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// The name of a package's file without its ending, under which it is unpacked in the cache.
pub fn stem(package: &Package) -> Option<&str> {
    let name = package.url.rsplit('/').next()?;
    name.strip_suffix(".conda").or_else(|| name.strip_suffix(".tar.bz2"))
}

fn archive(package: &Package, pkgs: &Path) -> PathBuf {
    pkgs.join(package.url.rsplit('/').next().unwrap_or_default())
}

/// What micromamba noted when it unpacked a package.
fn noted(package: &Package, pkgs: &Path) -> Option<Value> {
    let path = pkgs.join(stem(package)?).join("info/repodata_record.json");
    serde_json::from_slice(&fs::read_plain(&path)?).ok()
}

fn wanted(package: &Package) -> Option<&str> {
    package.hash.strip_prefix("sha256:").filter(|hash| !hash.is_empty())
}

/// Whether a package need not be fetched.
pub fn is_cached(package: &Package, pkgs: &Path) -> bool {
    let unpacked = noted(package, pkgs).is_some_and(|record| match wanted(package) {
        Some(hash) => record["sha256"] == hash,
        None => record["md5"] == *package.md5,
    });
    unpacked || archive(package, pkgs).is_file()
}

/// Compares what was fetched with the SHA-256 that was solved for, or locked: MD5, by which micromamba checks its lists,
/// stops nobody who means it.
pub fn verify(packages: &[Package], pkgs: &Path) -> Result<(), Said> {
    for package in packages {
        let Some(wanted) = wanted(package) else { continue };
        let path = archive(package, pkgs);
        let found = match File::open(&path) {
            Ok(mut file) => fs::sha256_of(&mut file).context(|| format!("read '{}'", escape::visible_path(&path)))?,
            Err(_) => {
                noted(package, pkgs).and_then(|record| Some(record["sha256"].as_str()?.to_owned())).unwrap_or_default()
            }
        };
        if found != wanted {
            return Err(Said(format!(
                "{}: SHA256 sum doesn't match expectation\nExpected: {wanted}\nActual: {found}",
                package.name
            )));
        }
    }
    Ok(())
}

/// Removes packages from the cache.
pub fn forget(packages: &[Package], pkgs: &Path) -> Result<()> {
    for package in packages {
        let trash = pkgs.join(".trash");
        fs::set_aside(&archive(package, pkgs), &trash)?;
        if let Some(stem) = stem(package) {
            fs::set_aside(&pkgs.join(stem), &trash)?;
        }
        fs::empty_trash(&trash);
    }
    Ok(())
}

pub fn finish(mamba: &Micromamba, packages: &[Package], pkgs: &Path) -> Result<()> {
    let env = Dir::open(&mamba.env())?;
    for package in packages {
        let Some(stem) = stem(package) else { continue };
        complete(&env, &pkgs.join(stem), stem)?;
    }
    compile(mamba)
}

/// Completes the record of a package in `conda-meta`: micromamba leaves out the placeholder that binary files were built
/// with, without which nobody knows how far a path in them may grow. And gives its files the times that they have in the
/// package: copies get the time of copying, by which Python would take all byte code that came with them for stale.
fn complete(env: &Dir, unpacked: &Path, stem: &str) -> Result<()> {
    let name = OsString::from(format!("{stem}.json"));
    let text = env.sub("conda-meta").and_then(|meta| meta.file(&name)).ok().and_then(|mut file| {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut file, &mut bytes).ok().map(|_| bytes)
    });
    let record: Option<Value> = text.and_then(|text| serde_json::from_slice(&text).ok());
    let mut record =
        record.ok_or_else(|| Error::new(format!("there is no 'conda-meta/{stem}.json' in what micromamba made")))?;
    let listed = fs::read_plain(&unpacked.join("info/paths.json"));
    let listed: Value = listed.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
    let known: std::collections::BTreeMap<&str, &Value> = listed["paths"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|path| Some((path["_path"].as_str()?, path)))
        .collect();
    for path in record["paths_data"]["paths"].as_array_mut().into_iter().flatten() {
        let Some(place) = path["_path"].as_str().map(ToOwned::to_owned) else { continue };
        let Some(entry) = known.get(&*place) else { continue };
        for key in ["prefix_placeholder", "file_mode"] {
            if let Some(value) = entry.get(key) {
                path[key] = value.clone();
            }
        }
    }
    let text = serde_json::to_string_pretty(&record).map_err(|error| Error::new(error.to_string()))?;
    let fill = |file: &mut File| std::io::Write::write_all(file, text.as_bytes());
    env.sub("conda-meta")?.put_file(&name, 0o644, fill)?;
    let source = Dir::open(unpacked)?;
    let files = record["files"].as_array().into_iter().flatten().filter_map(Value::as_str);
    for place in files {
        // A noarch package has its Python files elsewhere in the archive.
        let there = place.find("/site-packages/").map_or(place, |at| &place[at + 1..]);
        let original = source.file(Path::new(place)).or_else(|_| source.file(Path::new(there)));
        if let (Ok(original), Ok(copy)) = (original, env.file(Path::new(place)))
            && let Ok(metadata) = original.metadata()
        {
            let _ = fs::keep_times(&copy, &metadata);
        }
    }
    Ok(())
}

/// Compiles what has no byte code, or stale: agents never write any, so that it would be compiled anew at every start.
fn compile(mamba: &Micromamba) -> Result<()> {
    if !mamba.env().join("bin/python3").exists() {
        return Ok(());
    }
    let python = mamba.prefix().join("bin/python3");
    let lib = mamba.prefix().join("lib");
    let words = [
        python.as_os_str(),
        "-I".as_ref(),
        "-m".as_ref(),
        "compileall".as_ref(),
        "-q".as_ref(),
        "-j0".as_ref(),
        lib.as_os_str(),
    ];
    let mut command = mamba.in_environment(&words.map(OsString::from))?;
    plumbing::trace(&command);
    // Files that are no Python of this version (templates, tests of old syntax) make it fail, and are of no matter.
    let status = plumbing::tie(&mut command).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.map(drop).context(|| "start 'sbox-spawn'".into())
}
