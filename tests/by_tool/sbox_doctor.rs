use crate::common::{Scratch, need_sandbox, stdout};
use predicates::str::contains;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

#[test]
fn each_thing_is_told_with_what_was_found() {
    let Some(scratch) = Scratch::sandbox("doctor") else { return };
    let output = scratch.program("sbox").args(["doctor", "--json"]).output().unwrap();
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(output.status.success() && value["confined"] == true, "{value}");
    let names: Vec<&str> =
        value["checks"].as_array().unwrap().iter().map(|check| check["name"].as_str().unwrap()).collect();
    for name in [
        "sandbox",
        "system calls",
        "Landlock",
        "network of names",
        "limits",
        "nested",
        "host",
        "Python",
        "Node.js",
        "conda",
    ] {
        assert!(names.contains(&name), "{name}");
    }
    let doctor = || {
        let mut command = scratch.program("sbox");
        command.arg("doctor").current_dir(scratch.path("p")).env("SBOX_CACHE", scratch.path("cache"));
        command.assert().success()
    };
    scratch.project("p", "runtime: python:3.12\n");
    doctor().stdout(contains("✓ sandbox").and(contains("micromamba is not there yet")));
    let placed = scratch.write("p/.sbox/bin/micromamba", "#!/bin/sh\n");
    std::fs::set_permissions(&placed, std::fs::Permissions::from_mode(0o755)).unwrap();
    doctor().stdout(contains(format!("micromamba is there: {}", placed.display())));
}

#[test]
fn a_host_without_user_namespaces_is_told_with_the_narrow_fix() {
    if !need_sandbox() {
        return;
    }
    let script =
        format!("echo 0 > /proc/sys/user/max_user_namespaces; exec {}/sbox-doctor", crate::common::bin().display());
    let output = Command::new("unshare").args(["-r", "sh", "-c", &script]).output().unwrap();
    let said = stdout(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("level 'landlock' only") && said.contains("sysctl user.max_user_namespaces=15000"), "{said}");
}

#[test]
fn the_profile_is_for_the_program_that_makes_namespaces() {
    let scratch = Scratch::new("doctor-profile");
    let path = format!("\"{}/sbox-spawn\"", crate::common::bin().display());
    scratch
        .program("sbox")
        .args(["doctor", "--apparmor-profile"])
        .assert()
        .success()
        .stdout(contains("userns,").and(contains(path)));
}

#[test]
fn the_self_test_says_a_line_for_each_class() {
    let Some(scratch) = Scratch::sandbox("doctor-self-test") else { return };
    let mut command = scratch.program("sbox");
    let output = command.args(["doctor", "--self-test"]).env("TMPDIR", "/tmp").output().unwrap();
    let said = stdout(&output);
    assert!(output.status.success(), "{said}");
    for class in ["files", "writes", "processes", "privilege", "ipc", "environment", "network", "kernel"] {
        assert!(said.contains(&format!("✓ {class} ")), "{class}: {said}");
    }
}

use predicates::prelude::PredicateBooleanExt;
