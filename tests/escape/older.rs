//! Kernels and containers that give less than this one: simulated by a filter that answers as they would
//! (`tests/common/older_kernel.py`). Each thing that is missing is named, and what is promised still holds.

use super::{confined, started, text};
use crate::common::{Scratch, bin, is_root, need_program, need_sandbox, package, stderr, stdout};
use libsbox::model::Level;
use libsbox::promises::{self, EXCEPTIONS, Host, When};
use serde_json::Value;
use std::process::{Command, Output};

fn can_try() -> bool {
    need_sandbox() && need_program("python3")
}

/// Runs one of our programs on an older kernel.
fn older(scratch: &Scratch, kernel: &[&str], words: &[&str]) -> Output {
    let mut command = Command::new("python3");
    command.arg(package().join("tests/common/older_kernel.py")).args(kernel).arg("--");
    command.arg(bin().join(words[0])).args(&words[1..]).current_dir(&scratch.root).env("HOME", scratch.home());
    command.env("SBOX_CACHE", scratch.path("cache")).env("TMPDIR", "/tmp").env("LANG", "C.UTF-8").output().unwrap()
}

fn attempts(scratch: &Scratch, kernel: &[&str], level: Level) -> Value {
    let output = older(scratch, kernel, &["sbox-doctor", "--self-test", "--json", "--isolation", level.name()]);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{kernel:?}: {}", stderr(&output)))
}

/// At each version exactly that is lost which the table says, and `doctor` says it.
#[test]
fn each_version_of_landlock_loses_what_the_table_says() {
    if !can_try() {
        return;
    }
    let scratch = Scratch::new("older-landlock");
    let newest = libsbox_landlock(&scratch);
    for version in [0, 2, 5, 6].into_iter().filter(|version| *version <= newest) {
        let kernel = ["--landlock", &version.to_string()];
        let host = Host { landlock: version, keeps_root: false };
        for level in [Level::Namespace, Level::Landlock] {
            if level == Level::Landlock && version == 0 {
                let output = older(&scratch, &kernel, &["sbox-spawn", "--isolation", "landlock", "--", "true"]);
                assert_eq!(output.status.code(), Some(125));
                assert!(stderr(&output).contains("no Landlock"), "{}", stderr(&output));
                continue;
            }
            let said = attempts(&scratch, &kernel, level);
            assert_eq!(said["held"], true, "Landlock {version}, {}: {said}", level.name());
            let all = said["attempts"].as_array().unwrap();
            let depends = EXCEPTIONS.iter().filter(|line| line.level == level);
            for line in depends.filter(|line| matches!(line.when, When::LandlockBelow(_))) {
                for name in line.attempts {
                    let attempt = all.iter().find(|attempt| attempt["name"] == *name).unwrap();
                    // The root of a sandbox of level 'landlock' has no capability to signal others with.
                    let is_tried = !(is_root() && *name == "signal-process");
                    let wanted = if line.when.applies(&host) && is_tried { "reached" } else { "refused" };
                    assert_eq!(attempt["outcome"], wanted, "Landlock {version}, {}: {attempt}", level.name());
                }
            }
            // What Landlock does not see before its third version is left to the filter.
            for name in ["truncate-read-only", "truncate-by-reading", "truncate-unmounted"] {
                let attempt = all.iter().find(|attempt| attempt["name"] == name).unwrap();
                assert_eq!((&attempt["outcome"], &attempt["proved"]), (&"refused".into(), &true.into()), "{attempt}");
            }
        }
        let doctor = stdout(&older(&scratch, &kernel, &["sbox-doctor"]));
        let line = doctor.lines().find(|line| line.contains(" Landlock ")).unwrap();
        let lost = promises::lost_here(Level::Namespace, &host);
        assert_eq!(line.contains('✓'), lost.is_empty(), "{line}");
        assert!(lost.iter().all(|lost| line.contains(lost)), "{line}");
    }
}

/// The version that this kernel has.
fn libsbox_landlock(scratch: &Scratch) -> i64 {
    let output = scratch.program("sbox-spawn").arg("--probe").output().unwrap();
    serde_json::from_slice::<Value>(&output.stdout).unwrap()["landlock"].as_i64().unwrap()
}

#[test]
fn a_call_that_the_kernel_does_not_have_is_named_with_the_kernel_that_has_it() {
    if !can_try() {
        return;
    }
    let scratch = Scratch::new("older-calls");
    for call in ["open_tree", "fsopen", "openat2", "mount_setattr"] {
        let kernel = ["--missing", call];
        let output = older(&scratch, &kernel, &["sbox-spawn", "--isolation", "namespace", "--", "true"]);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(125), "{call}: {said}");
        assert!(said.contains("function not implemented") && said.contains("Linux 5.12"), "{call}: {said}");
        let doctor = stdout(&older(&scratch, &kernel, &["sbox-doctor"]));
        assert!(doctor.contains("function not implemented") && doctor.contains("Linux 5.12"), "{call}: {doctor}");
        // Nothing weaker in silence, and for root nothing weaker at all.
        let output = older(&scratch, &kernel, &["sbox-spawn", "--", "sh", "-c", "echo level $SBOX_ISOLATION"]);
        let said = stderr(&output);
        match is_root() {
            true => assert!(output.status.code() == Some(125) && said.contains("no weaker level"), "{call}: {said}"),
            false => {
                assert_eq!(stdout(&output).trim(), "level landlock", "{call}: {said}");
                assert!(said.contains("[WARN]") && said.contains("function not implemented"), "{call}: {said}");
            }
        }
    }
}

/// Linux 5.10 has no flag of close_range(2) for it.
#[test]
fn no_descriptor_of_the_callers_is_inherited_on_a_kernel_without_close_range() {
    if !can_try() {
        return;
    }
    let scratch = Scratch::new("older-descriptors");
    scratch.write("secret", "canary\n");
    let spawn = bin().join("sbox-spawn");
    let python = package().join("tests/common/older_kernel.py");
    let script = "exec 9<secret; exec \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh", "python3"]).arg(python).args(["--missing", "close_range", "--"]).arg(spawn);
    command.args(["--isolation", "env", "--", "sh", "-c", "cat <&9"]).current_dir(&scratch.root);
    let output = command.env("HOME", scratch.home()).output().unwrap();
    assert!(!stdout(&output).contains("canary"), "{}", stderr(&output));
    assert!(!stderr(&output).contains("sbox-spawn"), "{}", stderr(&output));
    // The control: the descriptor is there until sbox-spawn.
    let mut command = Command::new("sh");
    let control =
        command.args(["-c", "exec 9<secret; exec sh -c 'cat <&9'"]).current_dir(&scratch.root).output().unwrap();
    assert_eq!(stdout(&control), "canary\n");
}

#[test]
fn a_container_that_filters_calls_is_named_with_what_lifts_the_filter() {
    if !can_try() {
        return;
    }
    let scratch = Scratch::new("older-container");
    let kernel = ["--refused", "sethostname"];
    let doctor = stdout(&older(&scratch, &kernel, &["sbox-doctor"]));
    assert!(doctor.contains("cannot set the host name") && doctor.contains("seccomp=unconfined"), "{doctor}");
    assert!(!doctor.contains("the reason is above"), "{doctor}");
    let output = older(&scratch, &kernel, &["sbox-spawn", "--", "sh", "-c", "echo level $SBOX_ISOLATION"]);
    match is_root() {
        true => assert_eq!(output.status.code(), Some(125)),
        false => assert_eq!(stdout(&output).trim(), "level landlock", "{}", stderr(&output)),
    }
}

#[test]
fn roots_agent_keeps_its_uid_where_mounts_have_no_id_map_and_that_is_said() {
    if !can_try() || !is_root() {
        return;
    }
    let scratch = Scratch::new("older-idmap");
    let kernel = ["--no-idmap"];
    let place = text(&scratch.root);
    let output =
        older(&scratch, &kernel, &["sbox-spawn", "--ro-bind", place, "/here", "--", "cat", "/proc/self/uid_map"]);
    started(&output, "cat");
    assert_eq!(stdout(&output).split_whitespace().collect::<Vec<_>>(), ["0", "0", "1"]);
    assert!(stderr(&output).contains("keeps root's uid"), "{}", stderr(&output));
    let doctor = stdout(&older(&scratch, &kernel, &["sbox-doctor"]));
    assert!(doctor.contains("• started by root    the agent keeps root's uid"), "{doctor}");
    let said = attempts(&scratch, &kernel, Level::Namespace);
    assert_eq!(said["held"], true, "{said}");
    let all = said["attempts"].as_array().unwrap();
    let through: Vec<_> = all.iter().filter(|attempt| attempt["outcome"] == "reached").map(|a| &a["name"]).collect();
    assert_eq!(through, ["kernel-root"]);
}

#[test]
fn without_overlays_a_working_tree_is_a_private_copy_in_which_nothing_is_protected() {
    if !can_try() {
        return;
    }
    let scratch = Scratch::new("older-overlay");
    let doctor = stdout(&older(&scratch, &["--no-userxattr"], &["sbox-doctor"]));
    assert!(doctor.contains("• copy-on-write      by a private copy"), "{doctor}");
    // An overlay on a tmpfs of before Linux 6.6 can be mounted, and loses directories.
    let doctor = stdout(&older(&scratch, &["--no-attributes"], &["sbox-doctor"]));
    assert!(doctor.contains("by a private copy") && doctor.contains("no attributes of users"), "{doctor}");
    let doctor = scratch.program("sbox-doctor").output().unwrap();
    assert!(stdout(&doctor).contains("✓ copy-on-write      an overlay works in this directory"), "{}", stdout(&doctor));
    // Git hooks of a copy are nobody's on the host.
    scratch.write("tree/.git/hooks/pre-commit", "#!/bin/sh\n");
    scratch.write("tree/.git/config", "[core]\n");
    let tree = scratch.path("tree");
    let options = ["--bind", text(&tree), "/w"];
    let script = "echo changed >/w/.git/hooks/pre-commit";
    assert!(!confined(&scratch, &options, script).status.success());
    assert!(confined(&scratch, &[&options[..], &["--unguarded", "/w"]].concat(), script).status.success());
}

/// The rows of a table of SECURITY.md whose first line begins with `first`.
fn table(first: &str) -> Vec<Vec<String>> {
    let page = std::fs::read_to_string(package().join("SECURITY.md")).unwrap();
    let lines = page.lines().skip_while(|line| !line.starts_with(first)).skip(2);
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    lines.take_while(|line| line.starts_with('|')).map(cells).collect()
}

#[test]
fn the_security_page_says_of_each_kernel_what_the_table_of_promises_says() {
    let rows = table("| kernel |");
    assert!(rows.len() >= 4, "{rows:?}");
    for row in rows {
        let [kernel, landlock, namespace, weaker, ..] = &row[..] else { panic!("{row:?}") };
        let landlock: i64 = landlock.parse().unwrap_or_else(|_| panic!("{kernel}: {landlock}"));
        let host = Host { landlock, keeps_root: false };
        let said = |lost: Vec<&str>| if lost.is_empty() { "nothing".to_owned() } else { lost.join("; ") };
        if namespace != "not there" {
            assert_eq!(*namespace, said(promises::lost_here(Level::Namespace, &host)), "{kernel}");
        }
        let wanted = if landlock == 0 { "not there".into() } else { said(promises::lost_here(Level::Landlock, &host)) };
        assert_eq!(*weaker, wanted, "{kernel}");
    }
    let rows = table("| situation |");
    assert!(rows.len() >= 15, "{rows:?}");
    for row in rows {
        let [situation, level, lost, tried] = &row[..] else { panic!("{row:?}") };
        assert!(!situation.is_empty() && !tried.is_empty(), "{row:?}");
        assert!(!lost.is_empty() || tried == "not tried", "{row:?}");
        let known = ["`namespace`", "`landlock`", "`env`", "none", "not tried"];
        assert!(known.iter().any(|name| level.starts_with(name)), "{row:?}");
    }
}
