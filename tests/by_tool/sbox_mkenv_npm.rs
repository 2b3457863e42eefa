use crate::common::{Scratch, need_registries, stderr, stdout};
use predicates::str::contains;
use std::os::unix::fs::PermissionsExt;

/// An npm that "fetches" a Node.js made of shell scripts: what the provider asks of it and makes of it is seen offline.
const NPM: &str = r#"#!/bin/sh
[ "$1" != --version ] || { echo 10.0.0; exit 0; }
echo "$*" >> "$HOME/npm-calls"
[ ! -e "$HOME/fails" ] || { cat "$HOME/fails" >&2; exit 1; }
m=node_modules
platform=$(echo "$*" | tr ' ' '\n' | sed -n 's/^\(node-[a-z]*-[a-z0-9]*\)@.*/\1/p')
mkdir -p $m/$platform/bin $m/npm/bin $m/pnpm/bin
printf '#!/bin/sh\necho v22.5.0\n' > $m/$platform/bin/node
for f in npm/bin/npm-cli.js npm/bin/npx-cli.js pnpm/bin/pnpm.cjs pnpm/bin/pnpx.cjs; do printf '#!/bin/sh\necho 1\n' > $m/$f; done
cat > $m/.package-lock.json <<J
{"packages": {"node_modules/$platform": {"version": "22.5.0", "integrity": "sha512-x"},
 "node_modules/npm": {"version": "10.1.0"}, "node_modules/npm/node_modules/inner": {"version": "1"}, "node_modules/pnpm": {"version": "10.0.0"}}}
J
"#;

fn npm(scratch: &Scratch) -> assert_cmd::Command {
    let path = scratch.write("bin/npm", NPM);
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = scratch.program("sbox-mkenv-npm");
    command.env("PATH", format!("{}:/usr/bin:/bin", scratch.path("bin").display()));
    command
}

#[test]
fn the_parts_come_to_their_places_with_their_hashes() {
    let Some(scratch) = Scratch::sandbox("npm") else { return };
    let output = npm(&scratch).arg("node:22").arg(scratch.path("env")).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let json: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(json["version"], "22.5.0");
    assert_eq!(json["packages"][0]["hash"], "sha512-x");
    for file in ["bin/node", "bin/npm", "bin/npx", "bin/pnpm", "lib/node_modules/npm/bin/npm-cli.js"] {
        assert!(scratch.path("env").join(file).exists(), "{file}");
    }
    let calls = scratch.read("home/npm-calls");
    assert!(calls.contains("--ignore-scripts") && calls.contains("npm@10") && calls.contains("pnpm@10"), "{calls}");
    assert!(!scratch.home().join(".npm").exists());
    assert_eq!(std::fs::read_dir(&scratch.root).unwrap().count(), 3, "nothing is left beside the environment");
}

#[test]
fn a_version_that_does_not_exist_is_told_from_a_registry_out_of_reach() {
    let Some(scratch) = Scratch::sandbox("npm-fails") else { return };
    let run = |words: &str| {
        scratch.write("home/fails", words);
        npm(&scratch).arg("node:22").arg(scratch.path("env")).assert().code(3)
    };
    run("npm error code ETARGET\nnpm error notarget No matching version found\n").stdout(contains("has no node-"));
    run("npm error code ENOTFOUND\nnpm error getaddrinfo\n").stdout(contains("ENOTFOUND"));
    assert!(!scratch.path("env").exists());
}

#[test]
fn python_and_a_missing_npm_are_refused_as_a_provider_refuses() {
    let scratch = Scratch::new("npm-none");
    npm(&scratch).args(["--resolve", "python:3.11"]).assert().code(3);
    npm(&scratch)
        .env("PATH", "/nonexistent")
        .args(["--resolve", "node:22"])
        .assert()
        .code(3)
        .stdout(contains("no npm"));
}

#[test]
fn the_real_thing_builds_and_runs() {
    if !need_registries() {
        return;
    }
    let scratch = Scratch::new("npm-real");
    let prefix = scratch.path("env");
    let output = scratch
        .program("sbox-mkenv-npm")
        .env("SBOX_CACHE", scratch.path("cache"))
        .arg("node:22")
        .arg(&prefix)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let node = std::process::Command::new(prefix.join("bin/node")).arg("--version").output().unwrap();
    assert!(stdout(&node).starts_with("v22."));
}
