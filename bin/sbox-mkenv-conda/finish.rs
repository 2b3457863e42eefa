//! What micromamba leaves undone: the room in binary files, times and byte code.

use crate::micromamba::Micromamba;
use crate::pkgs::stem;
use libsbox::bytecode;
use libsbox::dir::Dir;
use libsbox::error::{Context, Error, Result};
use libsbox::fs;
use libsbox::lockfile::Package;
use libsbox::plumbing;
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;

pub fn finish(mamba: &Micromamba, packages: &[Package]) -> Result<()> {
    let env = Dir::open(&mamba.env())?;
    for package in packages {
        let Some(stem) = stem(package) else { continue };
        complete(&env, &mamba.cache.place(package).folder, stem)?;
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
    let known: BTreeMap<&str, &Value> = listed["paths"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|path| Some((path["_path"].as_str()?, path)))
        .collect();
    // Scripts of packages ran: this may be anything, and an index panics on what is neither an object nor null.
    let paths = record.pointer_mut("/paths_data/paths").and_then(Value::as_array_mut);
    for path in paths.into_iter().flatten() {
        let Some(place) = path["_path"].as_str().map(ToOwned::to_owned) else { continue };
        let Some(entry) = known.get(&*place) else { continue };
        for key in ["prefix_placeholder", "file_mode"] {
            if let (Some(value), Some(path)) = (entry.get(key), path.as_object_mut()) {
                path.insert(key.into(), value.clone());
            }
        }
    }
    let text = serde_json::to_string_pretty(&record)?;
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

/// Compiles what has no byte code, or stale: agents never write any, so that it would be compiled again at every start.
fn compile(mamba: &Micromamba) -> Result<()> {
    if !mamba.env().join("bin/python3").exists() {
        return Ok(());
    }
    let sources = without_byte_code(&mamba.env());
    if sources.is_empty() {
        return Ok(());
    }
    let list: Vec<u8> = sources
        .iter()
        .flat_map(|source| [mamba.prefix().join(source).as_os_str().as_encoded_bytes(), b"\n"].concat())
        .collect();
    fs::write_atomic(&mamba.place().join("sources"), &list, 0o600)?;
    let python = mamba.prefix().join("bin/python3");
    let list = mamba.prefix().with_file_name("sources");
    let words = [
        python.as_os_str(),
        "-I".as_ref(),
        "-m".as_ref(),
        "compileall".as_ref(),
        "-q".as_ref(),
        "-j0".as_ref(),
        "-i".as_ref(),
        list.as_os_str(),
    ];
    let mut command = mamba.in_environment(&words.map(OsString::from))?;
    plumbing::trace(&command);
    // Files that are not Python of this version (templates, tests of old syntax) make it fail, and are of no matter.
    let status = plumbing::die_with_parent(&mut command)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.map(drop).context(|| "start 'sbox-spawn'".into())
}

/// The Python files of an environment that have no byte code that fits, by their paths in it. compileall would look at all
/// of them, in Python. Scripts of packages ran there: nothing is followed.
fn without_byte_code(env: &Path) -> Vec<PathBuf> {
    let (mut sources, mut compiled) = (BTreeMap::new(), BTreeMap::new());
    let mut look = |dir: &Dir, entry: &libsbox::dir::DirEntry, place: &Path| -> Result<()> {
        let name = entry.name.to_string_lossy();
        let folder = place.parent().unwrap_or(place);
        if entry.kind != rustix::fs::FileType::RegularFile {
            return Ok(());
        }
        if let Some(module) = name.strip_suffix(".py") {
            if let Some(stat) = dir.stat(&entry.name)? {
                sources.insert(folder.join(module), (place.to_owned(), stat));
            }
        } else if name.ends_with(".pyc") && folder.ends_with("__pycache__") {
            let mut head = [0; 16];
            if std::io::Read::read_exact(&mut dir.file(&entry.name)?, &mut head).is_ok() {
                let module = name.split('.').next().unwrap_or_default();
                compiled.insert(folder.with_file_name(module), head);
            }
        }
        Ok(())
    };
    let _ = Dir::open(env).and_then(|env| env.sub("lib")).and_then(|lib| lib.walk(&mut look));
    let is_fresh = |module: &Path, stat: &rustix::fs::Stat| {
        compiled.get(module).is_some_and(|head| bytecode::is_fresh(head, stat.st_mtime, stat.st_size.cast_unsigned()))
    };
    let missing = sources.iter().filter(|(module, (_, stat))| !is_fresh(module, stat));
    // A name with a line break in it would be two in the list.
    let is_one = |place: &&PathBuf| !place.as_os_str().as_encoded_bytes().contains(&b'\n');
    missing.map(|(_, (place, _))| place).filter(is_one).map(|place| Path::new("lib").join(place)).collect()
}
