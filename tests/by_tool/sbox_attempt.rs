use crate::common::{Scratch, stdout};
use predicates::str::contains;

#[test]
fn an_attempt_tells_what_came_of_it() {
    let scratch = Scratch::new("attempt");
    let secret = scratch.write("secret", "x");
    let fixture = format!("secret={}", secret.display());
    let output =
        scratch.program("sbox-attempt").args(["--fixture", &fixture, "read-secret", "git-hook"]).output().unwrap();
    let lines: Vec<serde_json::Value> =
        stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["name"], &lines[0]["outcome"]), (&"read-secret".into(), &"reached".into()));
    // Without its fixture it is not made.
    assert_eq!((&lines[1]["name"], &lines[1]["outcome"]), (&"git-hook".into(), &"impossible".into()));
}

#[test]
fn names_are_unique_and_unknown_ones_are_errors() {
    let scratch = Scratch::new("attempt-list");
    let output = scratch.program("sbox-attempt").arg("--list").output().unwrap();
    let mut names: Vec<String> = stdout(&output)
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["name"].as_str().unwrap().to_owned())
        .collect();
    let count = names.len();
    names.sort();
    names.dedup();
    assert!(count >= 100 && names.len() == count, "{count}");
    scratch.program("sbox-attempt").arg("no-such-attempt").assert().code(2).stderr(contains("unknown attempt"));
}
