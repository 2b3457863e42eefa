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
    // The first one may make the runtime, and says so.
    place.run(&["true"]).assert().success();
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
    // What it did is known all the same, outside of a project.
    let report = |words: &[&str]| place.0.sbox("").args(["-C", "/", "report"]).args(words).output().unwrap();
    let second = stdout(&report(&["2"]));
    assert!(second.contains("exec") || second.contains("run, ended with code 7"), "{second}");
    assert!(report(&["--verify"]).status.success() && stdout(&report(&[])).starts_with("3 runs since "));
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
        (&["exec", "--in", "x", "--network", "none", "true"][..], "cannot be changed"),
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

/// A copy of a cache entry in a cache of the test's own, and what of its files tells a change.
fn own_cache(place: &Place) -> PathBuf {
    let mut fill = place.0.program("sbox-mkenv");
    fill.env("SBOX_CACHE", crate::common::cache()).args(["--cache-only", place.1]);
    let made: serde_json::Value = serde_json::from_slice(&fill.output().unwrap().stdout).unwrap();
    let entry = PathBuf::from(made["entries"][0].as_str().unwrap());
    let group = place.0.path("cache/runtimes").join(entry.parent().unwrap().file_name().unwrap());
    std::fs::create_dir_all(&group).unwrap();
    let copied = std::process::Command::new("cp").arg("-a").arg(&entry).arg(&group).status().unwrap();
    assert!(copied.success());
    group.join(entry.file_name().unwrap()).join("env")
}

fn stamps(root: &std::path::Path) -> Vec<String> {
    use std::os::unix::fs::MetadataExt;
    let entries = walkdir::WalkDir::new(root).sort_by_file_name().into_iter().map(Result::unwrap);
    let line = |entry: walkdir::DirEntry| {
        let m = entry.path().symlink_metadata().unwrap();
        let (mode, size, links) = (m.mode(), m.size(), m.nlink());
        format!("{} {} {mode:o} {size} {links} {}.{}", entry.path().display(), m.ino(), m.mtime(), m.mtime_nsec())
    };
    entries.map(line).collect()
}

#[test]
fn an_agent_changes_nothing_of_the_cache_through_its_environment() {
    let Some(place) = Place::new("oneoff-attack").filter(|_| need_overlay()) else { return };
    let env = own_cache(&place);
    let before = stamps(&env);
    let run = |script: &str| place.run(&[script]).env("SBOX_CACHE", place.0.path("cache")).output().unwrap();
    // Every way to change a file, and each is seen to have worked where it was tried.
    // Which files an environment has depends on the host's Python: the first of any kind will do.
    let attack = run("set -e; cd $CONDA_PREFIX; before=$(ls -A)
        set -- $(find lib -name '*.py' -type f -size +0 | sort | head -n 8); test $# = 8
        echo evil >> $1; grep -q evil $1
        python3 -S -c 'import mmap, sys
f = open(sys.argv[1], \"r+b\"); m = mmap.mmap(f.fileno(), 0); m[0:4] = b\"evil\"; m.flush()' $2
        grep -q ^evil $2
        ln $3 hard; echo evil >> hard; grep -q evil $3
        chmod 777 $4; touch -d 2001-01-01 $4; : > $5; test ! -s $5
        rm $6; mkdir $6; mv $7 $8; rm -rf include; ln -s /etc include
        rm -f bin/python3; printf '#!/bin/sh\necho evil\n' > bin/python3; chmod +x bin/python3
        test \"$(python3)\" = evil; chmod 0 $(dirname $8); echo all");
    assert_eq!((stdout(&attack).as_str(), attack.status.code()), ("all\n", Some(0)), "{}", stderr(&attack));
    let after = stamps(&env);
    let changed: Vec<_> = after.iter().zip(&before).filter(|(new, old)| new != old).collect();
    assert!(changed.is_empty() && after.len() == before.len(), "{changed:?}");
    let mut verify = place.0.program("sbox");
    verify.env("SBOX_CACHE", place.0.path("cache")).args(["cache", "verify"]).assert().success();
    // The next one sees nothing of it, and nothing is left.
    let next = run("cd $CONDA_PREFIX; ! grep -rl ^evil . && ! test -e hard && python3 -c 'import pip; print(1)'");
    assert_eq!((stdout(&next).as_str(), place.left().len()), ("1\n", 0), "{}", stderr(&next));
}

#[test]
fn runs_at_the_same_time_share_an_environment_which_stays_while_one_uses_it() {
    let Some(place) = Place::new("oneoff-share").filter(|_| need_overlay()) else { return };
    own_cache(&place);
    let cache = |mut command: Command| {
        command.env("SBOX_CACHE", place.0.path("cache"));
        command
    };
    let first = cache(place.run(&[
        "--mount",
        ".:/work",
        "touch $CONDA_PREFIX/mine here; until [ -e go ]; do sleep 0.02; done; ls $CONDA_PREFIX; python3 -c 'import json'",
    ]));
    let mut started = std::process::Command::new(first.get_program());
    started.args(first.get_args()).env_clear().stdout(std::process::Stdio::piped());
    started.envs(first.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let started = started.current_dir(first.get_current_dir().unwrap()).spawn().unwrap();
    assert!(crate::common::becomes(|| place.0.path("work/here").exists()));
    let second = cache(place.run(&["ls $CONDA_PREFIX; touch $CONDA_PREFIX/yours"])).output().unwrap();
    assert!(stdout(&second).contains("lib\n") && !stdout(&second).contains("mine"), "{}", stderr(&second));
    let clean = || {
        let mut clean = cache(place.0.program("sbox"));
        clean.args(["cache", "clean"]).output().unwrap()
    };
    let refused = clean();
    assert!(refused.status.code() == Some(1) && stderr(&refused).contains("is using it"), "{}", stderr(&refused));
    place.0.write("work/go", "");
    let output = started.wait_with_output().unwrap();
    assert!(output.status.success() && stdout(&output).contains("mine\n"), "{output:?}");
    assert!(!stdout(&output).contains("yours"));
    assert_eq!(clean().status.code(), Some(0));
}

#[test]
fn what_cannot_be_shown_where_it_is_is_copied() {
    let Some(place) = Place::new("oneoff-copied").filter(|_| need_overlay()) else { return };
    let env = own_cache(&place);
    let traced = |words: &[&str]| {
        let mut command = place.run(words);
        let output = command.env("SBOX_TRACE", "1").env("SBOX_CACHE", place.0.path("cache")).output().unwrap();
        assert_eq!(stdout(&output), "1\n", "{}", stderr(&output));
        stderr(&output)
    };
    let words = ["python", "-c", "print(1)"];
    let shown = traced(&words);
    assert!(shown.contains(" --overlay ") && !shown.contains("sbox-build"), "{shown}");
    // The way to the environment would have to be made in a directory of the user's.
    let prefix: serde_json::Value =
        serde_json::from_slice(&std::fs::read(env.with_file_name("entry.json")).unwrap()).unwrap();
    let above = std::path::Path::new(prefix["prefix"].as_str().unwrap()).ancestors().nth(3).unwrap().to_owned();
    let mount = format!("{}:{}", place.0.path("work").display(), above.display());
    let copied = traced(&[&["--mount", &mount][..], &words].concat());
    assert!(copied.contains("sbox-build") && !copied.contains(" --overlay "), "{copied}");
    // Nobody has to know which project such a run was: it left no mark.
    assert_eq!(std::fs::read_dir(place.0.path("home/.sbox/trust")).map_or(0, Iterator::count), 0);
}

#[test]
fn a_copy_on_write_mount_for_one_run_is_known_to_diff_apply_and_discard() {
    if !(need_sandbox() && need_overlay()) {
        return;
    }
    // The configuration has the same place; what is given for one run does not touch what waits there.
    let project = Standing::new("override-cow", "mount: ['../own:/work:cow']\n");
    for tree in ["own", "other"] {
        project.scratch.write(&format!("{tree}/a"), "old\n");
    }
    let run = |options: &[&str], script: &str| {
        let output = project.sbox(&["exec"]).args(options).args(["sh", "-c", script]).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        stdout(&output)
    };
    let given = ["--mount", "../other:/work:cow"];
    assert_eq!(run(&given, "echo new > /work/a; rm -f /work/b; echo b > /work/c; cat /work/a"), "new\n");
    run(&[], "echo own > /work/a");
    // It goes on with what it had, and the host's trees are as they were.
    assert_eq!(run(&given, "cat /work/a /work/c"), "new\nb\n");
    assert_eq!(project.scratch.read("other/a") + &project.scratch.read("own/a"), "old\nold\n");
    assert_eq!(project.stdout(&["diff", "--name-only", "../other"]), "a\nc\n");
    assert!(project.stdout(&["status"]).contains("/work"));
    project.sbox(&["discard", "../other/c"]).assert().success();
    project.sbox(&["apply", "../other"]).assert().success();
    assert_eq!(project.scratch.read("other/a") + &project.scratch.read("own/a"), "new\nold\n");
    assert!(!project.scratch.path("other/c").exists());
    // Nothing waits in it: it is as if it had not been.
    assert_eq!(project.stdout(&["diff", "--name-only"]), "a\n");
    project.sbox(&["apply"]).assert().success();
    assert_eq!(project.scratch.read("own/a"), "own\n");
}

#[test]
fn a_layer_that_came_with_an_archive_is_not_taken_for_one_of_the_users() {
    if !(need_sandbox() && need_overlay()) {
        return;
    }
    let project = Standing::new("override-forged", "");
    project.scratch.write("home/a", "mine\n");
    project.scratch.write("other/a", "old\n");
    project.sbox(&["exec", "--mount", "../other:/work:cow", "sh", "-c", "echo evil > /work/a"]).assert().success();
    // What the user gave is applied; a copy of it, with another source, is not: its directory is another one.
    let cow = project.state("cow");
    let layer = std::fs::read_dir(&cow).unwrap().next().unwrap().unwrap().path();
    let forged = cow.join("forged");
    std::fs::create_dir(&forged).unwrap();
    let parts = ["layer.json", "upper", "runs.jsonl"].map(|name| layer.join(name));
    assert!(std::process::Command::new("cp").arg("-a").args(parts).arg(&forged).status().unwrap().success());
    std::fs::rename(&layer, project.scratch.path("away")).unwrap();
    std::fs::rename(&forged, &layer).unwrap();
    let output = project.sbox(&["apply", "../other"]).output().unwrap();
    assert!(!output.status.success() && stderr(&output).contains("no longer a mount"), "{}", stderr(&output));
    assert_eq!(project.scratch.read("other/a"), "old\n");
}

#[test]
fn a_daemon_keeps_its_options_and_their_values_are_on_no_disk() {
    if !need_sandbox() {
        return;
    }
    let project = Standing::new("override-daemon", "env: {A: configured}\n");
    project.scratch.write("data/file", "data\n");
    let script = "echo $A $B; pwd; cat file; ulimit -n; grep -c : /proc/net/dev; sleep 1000";
    let options = ["--env", "A=canary-7", "--env", "B", "--mount", "../data:/data:ro", "--workdir", "/data"];
    let limits = ["--limit", "open_files=77", "--network", "none"];
    let mut start = project.sbox(&["run", "-d", "-n", "web"]);
    start.env("B", "from-here").args(options).args(limits).arg(script).assert().success();
    let wanted = "canary-7 from-here\n/data\ndata\n77\n1\n";
    assert!(crate::common::becomes(|| project.log("web").contains(wanted)), "{}", project.log("web"));
    // Beside it the same holds, and more can be said.
    let mut beside =
        project.sbox(&["exec", "--in", "web", "--env", "C=c", "--workdir", "/", "sh", "-c", "echo $A $C; pwd"]);
    assert_eq!(stdout(&beside.output().unwrap()), "canary-7 c\n/\n");
    project.sbox(&["restart", "web"]).env("B", "other").assert().success();
    assert!(crate::common::becomes(|| project.log("web").matches(wanted).count() == 2), "{}", project.log("web"));
    let state = std::fs::read_to_string(project.state("processes.json")).unwrap();
    assert!(!state.contains("canary") && state.contains("open_files"), "{state}");
    project.sbox(&["stop", "web"]).assert().success();
    // The value went with it: another one is not invented.
    project.sbox(&["restart", "web"]).assert().failure().stderr(contains("'--env' gave for 'A'"));
    // A configuration from elsewhere gets nothing through them.
    std::fs::remove_dir_all(project.scratch.path("home/.sbox/trust")).unwrap();
    let mut strange = project.sbox(&["run", "-d", "--mount", "../data:/data:ro", "cat /data/file"]);
    strange.assert().failure().stderr(contains("not known as yours"));
}
