//! `sbox run --runtime`: a sandbox without a project; and options for one run of a project.

use crate::common::cow::need_overlay;
use crate::common::daemons::Standing;
use crate::common::{Scratch, need_python, need_sandbox, on_a_terminal, stderr, stdout};
use assert_cmd::Command;
use predicates::str::contains;
use std::path::PathBuf;

/// A directory with a file, and `sbox` in it; no project far and wide.
struct Place(Scratch, &'static str);

impl Place {
    fn new(name: &str) -> Option<Place> {
        let spec = need_python()?;
        let scratch = Scratch::new(name);
        scratch.write("work/a", "old\n");
        Some(Place(scratch, spec))
    }

    fn run(&self, words: &[&str]) -> Command {
        let mut command = self.0.sbox("work");
        command.args(["run", "--runtime", self.1]).args(words);
        command
    }

    /// What is there of one-off runs.
    fn left(&self) -> Vec<PathBuf> {
        let runs = std::fs::read_dir(self.0.path("home/.sbox/runs"));
        runs.into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
    }
}

#[test]
fn a_run_without_a_project_is_gone_afterwards() {
    let Some(place) = Place::new("oneoff") else { return };
    let script = "import os, sys; print(os.getcwd(), open('a').read().strip(), os.environ['X'], os.listdir(os.environ['HOME'])); sys.exit(7)";
    let words = ["--mount", ".:/work:ro", "--network", "none", "--env", "X=$y", "python", "-c", script];
    let output = place.run(&words).output().unwrap();
    assert_eq!(output.status.code(), Some(7), "{}", stderr(&output));
    assert_eq!(stdout(&output), "/work old $y []\n");
    // Nothing of ours on stderr either, and nothing left.
    assert_eq!((stderr(&output).as_str(), place.left().len()), ("", 0));
    // A single word is a line, and what the agent closed is removed all the same.
    place.run(&["echo a b | wc -w; mkdir -p ~/x/y; chmod 0 ~/x"]).assert().success().stdout("2\n");
    assert_eq!(place.left().len(), 0);
    // The value was written nowhere, and the tree is as it was.
    assert_eq!(place.0.read("work/a"), "old\n");
}

#[test]
fn changes_in_a_copy_on_write_mount_wait_until_they_are_applied_or_discarded() {
    let Some(place) = Place::new("oneoff-cow").filter(|_| need_overlay()) else { return };
    let run = |script: &str| place.run(&["--mount", ".:/work:cow", script]).output().unwrap();
    // Nothing changed: nothing is kept.
    assert_eq!((run("cat a").status.code(), place.left().len()), (Some(0), 0));
    let output = run("echo new > a; echo b > b");
    let said = stderr(&output);
    let kept = place.left();
    assert_eq!((place.0.read("work/a").as_str(), kept.len()), ("old\n", 1), "{said}");
    let at = kept[0].to_str().unwrap();
    assert!(said.contains("2 changes wait in '/work'") && said.contains(&format!("sbox -C {at} apply")), "{said}");
    // Another run does not take it for garbage.
    assert_eq!((run("true").status.code(), place.left()), (Some(0), kept.clone()));
    place.0.sbox("").args(["-C", at, "diff", "--name-only"]).assert().success().stdout("a\nb\n");
    place.0.sbox("").args(["-C", at, "apply"]).assert().success();
    assert_eq!(place.0.read("work/a") + &place.0.read("work/b"), "new\nb\n");
    // Now nobody can want it: the next run removes it.
    run("true");
    assert_eq!(place.left().len(), 0);
}

#[test]
fn on_a_terminal_the_changes_are_shown() {
    let Some(place) = Place::new("oneoff-terminal").filter(|_| need_overlay()) else { return };
    let seen = on_a_terminal(&place.run(&["--mount", ".:/work:cow", "echo new > a"]));
    assert!(seen.contains("1 change waits in '/work'") && seen.contains("1 lines added"), "{seen}");
    assert!(seen.contains(" discard"), "{seen}");
}

#[test]
fn a_kept_sandbox_is_a_project() {
    let Some(place) = Place::new("oneoff-keep") else { return };
    let output =
        place.run(&["--keep", "--env", "TOKEN=canary", "--network", "none", "echo $TOKEN > ~/f"]).output().unwrap();
    let kept = place.left();
    let at = kept[0].to_str().unwrap();
    assert!(stderr(&output).contains(&format!("the sandbox is kept: sbox -C {at} run")), "{}", stderr(&output));
    place.0.sbox("").args(["-C", at, "run", "cat ~/f"]).assert().success().stdout("canary\n");
    let config = std::fs::read_to_string(kept[0].join(".sbox/config.yaml")).unwrap();
    assert!(!config.contains("canary") && config.contains("network: \"none\""), "{config}");
    // The next run without --keep leaves it alone.
    place.run(&["true"]).assert().success();
    assert_eq!(place.left(), kept);
}

#[test]
fn what_is_wrong_is_said_before_anything_is_made() {
    let Some(place) = Place::new("oneoff-wrong") else { return };
    for (words, why) in [
        (&["--mount", "./nothing:/work", "true"][..], "Source does not exist"),
        (&["--mount", ".:/etc", "true"], "Destination is"),
        (&["--network", "@antropic", "true"], "Unknown set of names '@antropic'"),
        (&["--limit", "memory", "true"], "'memory' is not a limit"),
        (&["--env", "1=x", "true"], "is not the name of a variable"),
        (&["--env", "NOT_SET_HERE", "true"], "'NOT_SET_HERE' is not set here"),
        (&[][..], "missing command"),
        (&["-d", "true"], "a daemon needs a project"),
    ] {
        let output = place.run(words).output().unwrap();
        assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(125), ""), "{words:?}");
        assert!(stderr(&output).contains(why), "{words:?}: {}", stderr(&output));
        assert_eq!(place.left().len(), 0, "{words:?}");
    }
    place.0.sbox("work").args(["run", "--runtime", "ruby:3", "true"]).assert().code(125).stderr(contains("ruby"));
    place.0.sbox("work").args(["run", "--keep", "true"]).assert().code(125).stderr(contains("belongs to '--runtime'"));
}

#[test]
fn nothing_but_a_marked_project_is_ever_removed() {
    if !need_sandbox() {
        return;
    }
    let scratch = Scratch::new("oneoff-mark");
    scratch.write("precious/file", "x");
    let precious = scratch.path("precious");
    let output = scratch.program("sbox-spawn").arg("--ephemeral").arg(&precious).args(["--", "true"]).output().unwrap();
    assert!(stderr(&output).contains("is not of a one-off run"), "{}", stderr(&output));
    assert_eq!(scratch.read("precious/file"), "x");
}

#[test]
fn options_hold_for_one_run_of_a_project() {
    if !need_sandbox() {
        return;
    }
    let project = Standing::new("override", "env: {A: configured, B: kept}\nnetwork: host\n");
    project.scratch.write("data/file", "data\n");
    project.scratch.write("vars", "C=from-file\n");
    let script =
        "echo $A $B $C; pwd; cat file; ls /sys/class/net 2>/dev/null; ulimit -n; cat /proc/net/dev | grep -c :";
    let words = [
        "exec",
        "--env",
        "A=now",
        "--env-file",
        "../vars",
        "--mount",
        "../data:/data:ro",
        "--network",
        "none",
        "--limit",
        "open_files=77",
        "--workdir",
        "/data",
        "sh",
        "-c",
        script,
    ];
    let output = project.sbox(&words).output().unwrap();
    assert_eq!(stdout(&output), "now kept from-file\n/data\ndata\n77\n1\n", "{}", stderr(&output));
    // The next one is as configured.
    assert_eq!(project.stdout(&["exec", "sh", "-c", "echo $A $C; pwd; ls /data 2>&1 | wc -l"]), "configured\n/\n1\n");
    let line = project.stdout(&["run", "--env", "A=run", "echo $A"]);
    assert_eq!(line, "run\n");
    for (words, why) in [
        (&["run", "-d", "--env", "A=b", "true"][..], "a daemon runs as its configuration says"),
        (&["exec", "--mount", ".:/w:cow", "true"], "cannot be copy-on-write"),
        (&["exec", "--in", "x", "--env", "A=b", "true"], "cannot be changed"),
        (&["exec", "--mount", "/usr:/proc", "true"], "Destination is in the system's"),
    ] {
        project.sbox(words).assert().code(125).stderr(contains(why));
    }
}

#[test]
fn a_configuration_from_elsewhere_gets_nothing_through_options_before_it_is_accepted() {
    if !need_sandbox() {
        return;
    }
    let project = Standing::new("override-trust", "cmd: cat /data/file\n");
    // Nobody knows it.
    std::fs::remove_dir_all(project.scratch.path("home/.sbox/trust")).unwrap();
    project.scratch.write("data/file", "secret\n");
    let given: [&[&str]; 4] = [
        &["--mount", "../data:/data:ro"],
        &["--env", "TOKEN"],
        &["--network", "none", "--reach", "5432"],
        &["--nested"],
    ];
    let run = |options: &[&str]| {
        let mut command = project.sbox(&["run"]);
        command.env("TOKEN", "secret").args(options).output().unwrap()
    };
    for options in given {
        let output = run(options);
        assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(125), ""), "{options:?}");
        assert!(stderr(&output).contains("is not known as yours, and would get"), "{}", stderr(&output));
    }
    // What takes away, and what is written out, is nobody's but the user's.
    let output = run(&["--network", "none", "--limit", "pids=50", "--env", "A=b", "true"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    project.sbox(&["trust"]).assert().success();
    assert_eq!(stdout(&run(given[0])), "secret\n");
}
