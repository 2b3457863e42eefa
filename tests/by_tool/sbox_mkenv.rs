use crate::common::{Scratch, stderr, stdout};
use predicates::str::contains;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

/// A provider that writes a script and a read-only file, both with the prefix in them, and counts how often it is asked.
const PROVIDER: &str = r#"#!/bin/sh
set -e
count="$HOME/made"
if [ "$1" = --resolve ]; then
    echo '{"version": "22.1.0", "fingerprint": "'"$(cat "$HOME/fingerprint" 2>/dev/null || echo one)"'"}'; exit 0
fi
echo x >> "$count"
mkdir -p "$2/bin" "$2/lib"
printf '#!%s/bin/sh\necho %s\n' "$2" "$2" > "$2/bin/tool"; chmod 555 "$2/bin/tool"
echo same > "$2/lib/plain"
[ ! -e "$HOME/slow" ] || sleep 1
[ ! -e "$HOME/die" ] || kill -9 $PPID
echo '{"version": "22.1.0", "fingerprint": "one", "source": "a test", "packages": [{"name": "x", "version": "1"}], "future": 1}'
"#;

fn provider(scratch: &Scratch, text: &str) {
    let path = scratch.write("bin/sbox-mkenv-test", text);
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn mkenv(scratch: &Scratch, prefix: &str) -> assert_cmd::Command {
    let mut command = scratch.program("sbox-mkenv");
    let path = format!("{}:/usr/bin:/bin", scratch.path("bin").display());
    command.env("PATH", path).args(["--provider", "test", "node:22"]).arg(scratch.path(prefix));
    command
}

fn made(scratch: &Scratch) -> usize {
    std::fs::read_to_string(scratch.home().join("made")).map_or(0, |text| text.lines().count())
}

#[test]
fn a_second_prefix_comes_from_the_cache_relocated_and_private() {
    let scratch = Scratch::new("mkenv");
    provider(&scratch, PROVIDER);
    let output = mkenv(&scratch, "a").output().unwrap();
    let json: serde_json::Value =
        serde_json::from_str(&stdout(&output)).unwrap_or_else(|_| panic!("{}", stderr(&output)));
    assert_eq!(
        (json["runtimes"][0]["version"].as_str(), json["runtimes"][0]["cached"].as_bool()),
        (Some("22.1.0"), Some(false))
    );
    let output = mkenv(&scratch, "b").output().unwrap();
    let json: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(json["runtimes"][0]["cached"], true);
    assert_eq!(made(&scratch), 1);
    let at = scratch.path("b");
    assert_eq!(scratch.read("b/bin/tool"), format!("#!{0}/bin/sh\necho {0}\n", at.display()));
    std::fs::remove_dir_all(scratch.path("a")).unwrap();
    let links = |path: &str| std::fs::metadata(scratch.path(path)).unwrap().nlink();
    assert_eq!((links("b/lib/plain"), links("b/bin/tool")), (1, 1));
    let cached = std::process::Command::new("find")
        .arg(scratch.home().join(".sbox/cache"))
        .args(["-type", "f", "-links", "+1"])
        .output()
        .unwrap();
    assert_eq!(stdout(&cached), "");
}

#[test]
fn a_poisoned_environment_cannot_change_the_cache() {
    let scratch = Scratch::new("mkenv-poison");
    provider(&scratch, PROVIDER);
    mkenv(&scratch, "a").assert().success();
    scratch.write("a/lib/plain", "poisoned");
    mkenv(&scratch, "b").assert().success();
    assert_eq!(scratch.read("b/lib/plain"), "same\n");
}

#[test]
fn another_fingerprint_is_another_entry() {
    let scratch = Scratch::new("mkenv-finger");
    provider(
        &scratch,
        &PROVIDER.replace(
            "\"fingerprint\": \"one\", \"source\"",
            "\"fingerprint\": \"'\"$(cat \"$HOME/fingerprint\" 2>/dev/null || echo one)\"'\", \"source\"",
        ),
    );
    mkenv(&scratch, "a").assert().success();
    scratch.write("home/fingerprint", "two");
    mkenv(&scratch, "b").assert().success();
    assert_eq!(made(&scratch), 2);
}

#[test]
fn two_at_once_make_it_once() {
    let scratch = Scratch::new("mkenv-two");
    provider(&scratch, PROVIDER);
    scratch.write("home/slow", "");
    std::thread::scope(|scope| {
        let both = ["a", "b"].map(|prefix| scope.spawn(|| mkenv(&scratch, prefix).output().unwrap().status.success()));
        assert!(both.into_iter().all(|one| one.join().unwrap()));
    });
    assert_eq!(made(&scratch), 1);
}

#[test]
fn a_killed_making_poisons_nothing() {
    let scratch = Scratch::new("mkenv-kill");
    provider(&scratch, PROVIDER);
    scratch.write("home/die", "");
    assert!(!mkenv(&scratch, "a").output().unwrap().status.success());
    assert!(!scratch.path("a").exists());
    std::fs::remove_file(scratch.home().join("die")).unwrap();
    mkenv(&scratch, "a").assert().success();
    assert_eq!(scratch.read("a/lib/plain"), "same\n");
    let group = scratch.home().join(".sbox/cache/runtimes/node-22");
    assert_eq!(std::fs::read_dir(group).unwrap().count(), 1, "no draft is left");
}

#[test]
fn a_prefix_that_exists_is_not_touched() {
    let scratch = Scratch::new("mkenv-exists");
    provider(&scratch, PROVIDER);
    scratch.write("a/mine", "x");
    mkenv(&scratch, "a").assert().code(1).stderr(contains("already exists"));
    assert_eq!(scratch.read("a/mine"), "x");
}

#[test]
fn when_nobody_serves_each_ones_reason_is_printed() {
    let Some(scratch) = Scratch::sandbox("mkenv-nobody") else { return };
    scratch
        .program("sbox-mkenv")
        .args(["python:3.99"])
        .arg(scratch.path("a"))
        .assert()
        .code(1)
        .stderr(contains("host: "))
        .stderr(contains("nothing on this host can provide python:3.99"))
        .stderr(contains("→ install Python 3.99"));
    scratch
        .program("sbox-mkenv")
        .args(["--provider", "nobody", "node:22"])
        .arg(scratch.path("a"))
        .assert()
        .code(1)
        .stderr(contains("no provider 'nobody'"));
}

#[test]
fn a_provider_of_another_version_is_caught() {
    let scratch = Scratch::new("mkenv-wrong");
    provider(&scratch, &PROVIDER.replace("22.1.0", "21.0.0"));
    mkenv(&scratch, "a").assert().code(1).stderr(contains("made version 21.0.0 for node:22"));
}

#[test]
fn wrong_usage_is_told() {
    let scratch = Scratch::new("mkenv-usage");
    scratch.program("sbox-mkenv").assert().code(2);
    scratch.program("sbox-mkenv").args(["node:22", "relative"]).assert().code(2);
    scratch.program("sbox-mkenv").args(["ruby:3", "/x"]).assert().code(2);
}
