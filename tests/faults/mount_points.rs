//! What has to be made in the user's tree so that something can be mounted there goes with the sandbox.

use crate::common::cow::need_overlay;
use crate::common::daemons::Standing;
use crate::common::{Ends, Scratch, becomes, bin, need_sandbox, stderr};
use std::process::{Command, Stdio};

/// `tree` at /work, and below it a directory, a file in a new directory, and one in a directory that is there.
fn spawn(scratch: &Scratch, line: &str) -> Command {
    let path = |name: &str| scratch.path(name);
    let mut command = Command::new(bin().join("sbox-spawn"));
    command.arg("--bind").args([path("tree"), "/work".into()]);
    command.arg("--bind").args([path("other"), "/work/a/b".into()]);
    command.arg("--ro-bind").args([path("other/file"), "/work/there/c".into()]);
    command.args(["--tmpfs", "/work/memory", "sh", "-c", line]).stdin(Stdio::null());
    command
}

fn made(name: &str) -> Scratch {
    let scratch = Scratch::new(name);
    scratch.write("tree/there/own", "");
    scratch.write("other/file", "other\n");
    scratch
}

fn names(scratch: &Scratch) -> Vec<String> {
    let tree = scratch.path("tree");
    let all = walkdir::WalkDir::new(&tree).min_depth(1).sort_by_file_name().into_iter().map(Result::unwrap);
    all.map(|entry| entry.path().strip_prefix(&tree).unwrap().display().to_string()).collect()
}

#[test]
fn they_go_when_the_sandbox_ends_and_when_it_is_killed() {
    if !need_sandbox() {
        return;
    }
    let scratch = made("faults-mount-points");
    let seen = "cat /work/a/b/file /work/there/c && touch /work/memory/x";
    let output = spawn(&scratch, seen).output().unwrap();
    assert_eq!(crate::common::stdout(&output), "other\nother\n", "{}", stderr(&output));
    assert_eq!(names(&scratch), ["there", "there/own"]);
    let mut killed = Ends(spawn(&scratch, "touch /work/ready; sleep 1000").spawn().unwrap());
    assert!(becomes(|| names(&scratch).contains(&"ready".into())));
    assert!(names(&scratch).contains(&"a/b".into()), "{:?}", names(&scratch));
    killed.0.kill().unwrap();
    assert!(becomes(|| names(&scratch) == ["ready", "there", "there/own"]), "{:?}", names(&scratch));
}

#[test]
fn what_was_there_or_has_something_in_it_stays() {
    if !need_sandbox() {
        return;
    }
    let scratch = made("faults-mount-points-kept");
    std::fs::create_dir_all(scratch.path("tree/memory")).unwrap();
    let run = spawn(&scratch, "touch /work/ready; until [ -e /work/go ]; do sleep 0.02; done").spawn().unwrap();
    let mut run = Ends(run);
    assert!(becomes(|| scratch.path("tree/ready").exists()));
    // The user works on meanwhile.
    scratch.write("tree/a/b/mine", "");
    scratch.write("tree/there/c", "mine\n");
    scratch.write("tree/go", "");
    assert!(run.0.wait().unwrap().success());
    assert_eq!(names(&scratch), ["a", "a/b", "a/b/mine", "go", "memory", "ready", "there", "there/c", "there/own"]);
}

#[test]
fn the_end_of_one_sandbox_takes_nothing_from_another() {
    if !need_sandbox() {
        return;
    }
    let scratch = made("faults-mount-points-two");
    let gate = |name: &str| format!("touch /work/{name}-ready; until [ -e /work/{name}-go ]; do sleep 0.02; done");
    let mut first = Ends(spawn(&scratch, &gate("first")).spawn().unwrap());
    assert!(becomes(|| scratch.path("tree/first-ready").exists()));
    let second = format!("{}; cat /work/a/b/file", gate("second"));
    let second = spawn(&scratch, &second).stdout(Stdio::piped()).spawn().unwrap();
    assert!(becomes(|| scratch.path("tree/second-ready").exists()));
    scratch.write("tree/first-go", "");
    assert!(first.0.wait().unwrap().success());
    scratch.write("tree/second-go", "");
    let output = second.wait_with_output().unwrap();
    assert_eq!(crate::common::stdout(&output), "other\n");
}

#[test]
fn in_a_copy_on_write_mount_they_are_not_the_agents_changes() {
    if !need_sandbox() || !need_overlay() {
        return;
    }
    let config = "mount: ['./src:/work:cow', '../other:/work/a/b', '../other/file:/work/c']\n";
    let project = Standing::new("faults-mount-points-cow", config);
    project.scratch.write("p/src/file", "");
    project.scratch.write("other/file", "other\n");
    project.sbox(&["trust"]).assert().success();
    project.sbox(&["run", "cat /work/a/b/file /work/c"]).assert().success().stdout("other\nother\n");
    assert_eq!(project.stdout(&["diff", "--stat"]), "");
    // What the agent makes beside them stays.
    project.sbox(&["run", "mkdir /work/a/own; echo x >/work/new"]).assert().success();
    let said = project.stdout(&["diff", "--stat"]);
    assert!(
        said.contains("a/own") && said.contains("new") && !said.contains("a/b") && !said.contains("A  c"),
        "{said}"
    );
}
