//! The attempts of `sbox-attempt`, each inside and outside: what `sbox doctor --self-test` does on a user's machine.

use crate::common::{Scratch, need_sandbox, stdout};
use serde_json::Value;

fn attacked(level: &str) -> (bool, Vec<Value>) {
    let scratch = Scratch::new("escape-attempts");
    let output = scratch
        .program("sbox-doctor")
        .args(["--self-test", "--json", "--isolation", level])
        .env("TMPDIR", "/tmp")
        .output()
        .unwrap();
    let value: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    assert_eq!(output.status.success(), value["held"] == true, "{}", stdout(&output));
    (value["held"] == true, value["attempts"].as_array().unwrap().clone())
}

fn names<'a>(attempts: &'a [Value], outcome: &str) -> Vec<&'a str> {
    let with = attempts.iter().filter(|attempt| attempt["outcome"] == outcome);
    with.map(|attempt| attempt["name"].as_str().unwrap()).collect()
}

#[test]
fn nothing_gets_through_at_level_namespace() {
    if !need_sandbox() {
        return;
    }
    let (held, attempts) = attacked("namespace");
    assert_eq!(names(&attempts, "reached"), [""; 0]);
    assert!(held && attempts.len() >= 100, "{}", attempts.len());
    // Each of these is possible outside of a sandbox, on this very host: the boundary stops it and nothing else.
    let proved: Vec<&str> = attempts
        .iter()
        .filter(|attempt| attempt["proved"] == true)
        .map(|attempt| attempt["name"].as_str().unwrap())
        .collect();
    for name in [
        "read-secret",
        "stat-secret",
        "list-secret",
        "link-to-secret",
        "dots-to-secret",
        "inherited-descriptors",
        "host-accounts",
        "write-read-only",
        "chmod-read-only",
        "touch-read-only",
        "xattr-read-only",
        "mkdir-read-only",
        "rename-read-only",
        "set-uid",
        "set-uid-at-birth",
        "cow-write",
        "cow-replace",
        "cow-delete",
        "cow-mode",
        "cow-descriptor",
        "cow-hook",
        "cow-layer",
        "git-hook",
        "git-config",
        "nested-git-hook",
        "swap-git",
        "direnv",
        "editor-settings",
        "agent-settings",
        "own-configuration",
        "see-process",
        "process-environment",
        "signal-process",
        "pidfd",
        "capabilities",
        "new-privileges",
        "unshare-user",
        "clone-user",
        "clone3",
        "set-uid-unseen",
        "abstract-socket",
        "socket-file",
        "posix-memory",
        "inject-input",
        "inject-input-wide",
        "add-key",
        "request-key",
        "keyctl",
        "token",
        "agent-pointer",
        "io-uring-setup",
        "io-uring-enter",
        "personality",
        "host-loopback",
        "host-loopback-6",
        "any-address",
        "udp-route",
        "interfaces",
    ] {
        assert!(proved.contains(&name), "'{name}' is not possible outside, so that its refusal proves nothing");
    }
}

#[test]
fn level_landlock_keeps_what_the_readme_promises() {
    if !need_sandbox() {
        return;
    }
    let (held, attempts) = attacked("landlock");
    assert!(held, "{:?}", names(&attempts, "reached"));
    let refused = names(&attempts, "refused");
    for name in [
        "read-secret",
        "list-secret",
        "link-to-secret",
        "hard-link-secret",
        "secret-in-other-root",
        "inherited-descriptors",
        "write-read-only",
        "mkdir-read-only",
        "rename-read-only",
        "change-program",
        "core-pattern",
        "set-uid",
        "process-environment",
        "signal-process",
        "trace-process",
        "new-privileges",
        "unshare-user",
        "mount",
        "abstract-socket",
        "socket-file",
        "posix-memory",
        "inject-input",
        "keyctl",
        "token",
        "io-uring-setup",
        "bpf",
        "vsock",
    ] {
        assert!(refused.contains(&name), "{name}");
    }
    // The other half of the table: what this level does not give. Should it become stronger, the table must say so.
    let reached = names(&attempts, "reached");
    for name in ["stat-secret", "host-accounts", "see-process", "chmod-read-only", "git-hook", "host-loopback"] {
        assert!(reached.contains(&name), "{name}");
    }
}

#[test]
fn level_env_enforces_nothing_and_says_so() {
    if !need_sandbox() {
        return;
    }
    let (held, attempts) = attacked("env");
    assert!(held);
    let (refused, reached) = (names(&attempts, "refused"), names(&attempts, "reached"));
    assert!(refused.contains(&"token") && refused.contains(&"agent-pointer"));
    assert!(reached.contains(&"read-secret") && reached.contains(&"see-process"));
}
