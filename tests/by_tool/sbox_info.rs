use crate::common::{Scratch, stdout};
use predicates::str::contains;

#[test]
fn secrets_are_masked_and_references_shown() {
    let scratch = Scratch::new("info");
    scratch.project("p", "runtime: node:22\nenv:\n  AUTH_TOKEN: abcdef\n  DATABASE_URL: postgresql://u:pw@h/d\n  KEY: \"${HOSTKEY}\"\n  PLAIN: shown\n");
    let output = scratch.sbox("p").env("HOSTKEY", "canary").arg("info").output().unwrap();
    let text = stdout(&output);
    assert!(!text.contains("abcdef") && !text.contains("pw@h") && !text.contains("canary"), "{text}");
    assert!(text.contains("${HOSTKEY}") && text.contains("shown"));
    assert_eq!(text, stdout(&scratch.sbox("p").arg("info").output().unwrap()), "the order is fixed");
}

#[test]
fn json_has_the_paths() {
    let scratch = Scratch::new("info-json");
    let root = scratch.project("p", "runtime: node:22\n");
    let json: serde_json::Value =
        serde_json::from_str(&stdout(&scratch.sbox("p").args(["info", "-j"]).output().unwrap())).unwrap();
    assert_eq!(json["project"]["root"], root.to_str().unwrap());
    assert_eq!(json["disk"]["env"]["exists"], false);
    scratch.sbox("").arg("info").assert().code(1).stderr(contains("no project in"));
}
