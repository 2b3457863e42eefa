use crate::common::{Scratch, need_python, stderr, stdout};
use predicates::str::contains;
use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};
use std::path::PathBuf;

/// A cache with a made-up entry in it.
fn entry(scratch: &Scratch, group: &str, version: &str, used: &str) -> PathBuf {
    let path = scratch.path(&format!("cache/runtimes/{group}/host-{version}-00000000"));
    std::fs::create_dir_all(path.join("env/bin")).unwrap();
    std::fs::write(path.join("env/bin/x"), "12345").unwrap();
    let entry = json!({"provider": "host", "version": version, "made_at": used, "size": 5});
    std::fs::write(path.join("entry.json"), entry.to_string()).unwrap();
    std::fs::write(path.join("last_used"), used).unwrap();
    path
}

fn cache(scratch: &Scratch, words: &[&str]) -> assert_cmd::Command {
    let mut command = scratch.program("sbox");
    command.env("SBOX_CACHE", scratch.path("cache")).arg("cache").args(words);
    command
}

#[test]
fn it_is_listed_and_measured() {
    let scratch = Scratch::new("cache");
    cache(&scratch, &["list"]).assert().success().stderr(contains("No cached runtimes"));
    cache(&scratch, &["list", "--json"]).assert().success().stdout("[]\n");
    entry(&scratch, "python-3.11", "3.11.7", "2026-01-30T12:00:00Z");
    entry(&scratch, "node-22", "22.1.0", "2026-01-30T12:00:00Z");
    let table = stdout(&cache(&scratch, &["list"]).output().unwrap());
    assert!(table.contains("python-3.11") && table.contains("22.1.0") && table.contains("5 B"), "{table}");
    let all: Vec<Value> = serde_json::from_slice(&cache(&scratch, &["list", "-j"]).output().unwrap().stdout).unwrap();
    assert_eq!(
        (&all[1]["language"], &all[1]["size"], &all[1]["last_used"]),
        (&json!("python"), &json!(5), &json!("2026-01-30T12:00:00Z"))
    );
    scratch.write("cache/pkgs/x", "123");
    let info: Value = serde_json::from_slice(&cache(&scratch, &["info", "--json"]).output().unwrap().stdout).unwrap();
    assert_eq!((&info["total_size"], &info["runtime_count"]), (&json!(13), &json!(2)));
    let path = stdout(&cache(&scratch, &["path"]).output().unwrap());
    assert_eq!(path.trim_end(), scratch.path("cache").to_str().unwrap());
}

#[test]
fn what_was_not_used_goes_and_the_rest_stays() {
    let scratch = Scratch::new("cache-prune");
    let old = entry(&scratch, "python-3.11", "3.11.7", "2020-01-30T12:00:00Z");
    let new = entry(&scratch, "node-22", "22.1.0", "2090-01-30T12:00:00Z");
    cache(&scratch, &["prune", "--dry-run"]).assert().success().stderr(contains("Would remove python-3.11"));
    assert!(old.exists());
    cache(&scratch, &["prune", "--older-than", "30d"]).assert().success().stderr(contains("5 B freed"));
    assert_eq!((old.exists(), new.exists()), (false, true));
    cache(&scratch, &["prune", "--older-than", "soon"]).assert().code(2);
}

#[test]
fn clean_takes_names_and_refuses_what_is_not_there() {
    let scratch = Scratch::new("cache-clean");
    let (python, node) = (
        entry(&scratch, "python-3.11", "3.11.7", "2026-01-30T12:00:00Z"),
        entry(&scratch, "node-22", "22.1.0", "2026-01-30T12:00:00Z"),
    );
    scratch.write("cache/pkgs/x", "123");
    cache(&scratch, &["clean", "python-9"]).assert().code(1).stderr(contains("there are: node-22, python-3.11"));
    cache(&scratch, &["clean", "python-3.11"]).assert().success();
    assert_eq!((python.exists(), node.exists()), (false, true));
    cache(&scratch, &["clean"]).assert().success();
    assert!(!node.exists() && scratch.path("cache/pkgs/x").exists());
    cache(&scratch, &["clean", "--all"]).assert().success();
    assert!(!scratch.path("cache/pkgs").exists());
    cache(&scratch, &["claen"]).assert().code(2).stderr(contains("Did you mean 'clean'?"));
}

#[test]
fn what_a_build_copies_at_the_moment_stays() {
    let scratch = Scratch::new("cache-busy");
    let path = entry(&scratch, "python-3.11", "3.11.7", "2020-01-30T12:00:00Z");
    let in_use = std::fs::File::create(path.join("in_use")).unwrap();
    flock(&in_use, FlockOperation::LockShared).unwrap();
    cache(&scratch, &["prune"]).assert().code(1).stderr(contains("a build or a run is using it"));
    assert!(path.join("env/bin/x").exists());
    drop(in_use);
    cache(&scratch, &["prune"]).assert().success();
}

#[test]
fn a_flipped_bit_is_found() {
    let Some(spec) = need_python() else { return };
    let scratch = Scratch::new("cache-verify");
    scratch
        .program("sbox-mkenv")
        .env("SBOX_CACHE", scratch.path("cache"))
        .args([spec])
        .arg(scratch.path("env"))
        .assert()
        .success();
    cache(&scratch, &["verify"]).assert().success();
    let all: Vec<Value> = serde_json::from_slice(&cache(&scratch, &["list", "-j"]).output().unwrap().stdout).unwrap();
    assert!(all[0]["size"].as_u64().unwrap() > 1_000_000);
    let victim = PathBuf::from(all[0]["path"].as_str().unwrap()).join("env/bin/python3");
    let victim = std::fs::canonicalize(victim).unwrap();
    let mut bytes = std::fs::read(&victim).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&victim, bytes).unwrap();
    let output = cache(&scratch, &["verify"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("was changed") && stderr(&output).contains("sbox cache clean"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_path_that_json_cannot_hold_is_refused_before_work_starts() {
    use std::os::unix::ffi::OsStrExt;
    let scratch = Scratch::new("cache-bytes");
    let path = scratch.path("cache").join(std::ffi::OsStr::from_bytes(b"b\xff"));
    for words in [&["cache", "list"][..], &["mkenv", "--cache-only", "--provider", "host", "python:3.11"]] {
        let output = scratch.program("sbox").env("SBOX_CACHE", &path).args(words).output().unwrap();
        let said = stderr(&output);
        assert!(!output.status.success() && said.contains("its path is not valid UTF-8"), "{words:?}: {said}");
    }
    assert!(!path.exists());
}
