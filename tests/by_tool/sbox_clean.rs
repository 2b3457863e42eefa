use crate::common::daemons::{Standing, long_nap};
use crate::common::{Scratch, becomes, need_python, need_sandbox, running, stderr};
use predicates::str::contains;
use std::os::unix::fs::symlink;

fn filled(scratch: &Scratch) {
    scratch.project("p", "runtime: node:22\n");
    for file in [
        ".sbox/env/bin/node",
        ".sbox/rootfs/app/x",
        ".sbox/rootfs/home/login",
        ".sbox/built.json",
        ".sbox/logs/web.log",
        ".sbox/bin/micromamba",
        ".sbox/env.sh",
        "sbox.lock",
        "app/main.py",
    ] {
        scratch.write(&format!("p/{file}"), "x");
    }
}

fn left(scratch: &Scratch) -> Vec<&'static str> {
    [
        ".sbox/config.yaml",
        ".sbox/env",
        ".sbox/rootfs/app",
        ".sbox/rootfs/home/login",
        ".sbox/built.json",
        ".sbox/logs/web.log",
        ".sbox/bin/micromamba",
        "sbox.lock",
        "app/main.py",
        ".sbox",
    ]
    .into_iter()
    .filter(|file| scratch.path("p").join(file).exists())
    .collect()
}

#[test]
fn what_was_built_goes_and_the_rest_stays() {
    let scratch = Scratch::new("clean");
    filled(&scratch);
    scratch.sbox("p").arg("clean").assert().success();
    assert_eq!(
        left(&scratch),
        [
            ".sbox/config.yaml",
            ".sbox/rootfs/home/login",
            ".sbox/logs/web.log",
            ".sbox/bin/micromamba",
            "sbox.lock",
            "app/main.py",
            ".sbox"
        ]
    );
}

#[test]
fn all_removes_everything_but_the_sources() {
    let scratch = Scratch::new("clean-all");
    filled(&scratch);
    let said = stderr(&scratch.sbox("p").args(["clean", "--all"]).output().unwrap());
    for gone in ["rootfs': 2 files", "config.yaml'", "sbox.lock'", "logs': 1 files"] {
        assert!(said.lines().any(|line| line.starts_with("[INFO] deleting") && line.contains(gone)), "{gone}: {said}");
    }
    assert_eq!(left(&scratch), ["app/main.py"]);
    scratch.sbox("p").args(["init", ".", "-r", "node:22"]).assert().success();
}

#[test]
fn logs_removes_logs_alone() {
    let scratch = Scratch::new("clean-logs");
    filled(&scratch);
    scratch.sbox("p").args(["clean", "--logs"]).assert().success();
    assert_eq!(left(&scratch).len(), 9);
    assert!(!scratch.path("p/.sbox/logs/web.log").exists());
    scratch.sbox("p").args(["clean", "--logs", "--all"]).assert().code(2);
}

#[test]
fn home_removes_the_home_alone_and_says_so() {
    let scratch = Scratch::new("clean-home-only");
    filled(&scratch);
    let output = scratch.sbox("p").args(["clean", "--home"]).output().unwrap();
    assert!(output.status.success() && stderr(&output).contains(".sbox/rootfs/home': 1 files"), "{}", stderr(&output));
    assert_eq!(left(&scratch).len(), 9);
    assert!(scratch.path("p/.sbox/rootfs/home").is_dir() && !scratch.path("p/.sbox/rootfs/home/login").exists());
    scratch.sbox("p").args(["clean", "--home", "--all"]).assert().code(2);
}

#[test]
fn a_cache_in_the_home_directory_is_no_project_and_survives_one_there() {
    let scratch = Scratch::new("clean-home");
    scratch.write("home/.sbox/cache/runtimes/x", "x");
    std::fs::create_dir_all(scratch.path("home/documents")).unwrap();
    scratch.sbox("home/documents").args(["clean", "--all"]).assert().code(1);
    scratch.project("home", "runtime: node:22\n");
    scratch.sbox("home").args(["clean", "--all"]).assert().success();
    assert!(scratch.path("home/.sbox/cache/runtimes/x").exists());
    assert!(!scratch.path("home/.sbox/config.yaml").exists());
}

#[test]
fn links_that_an_agent_planted_are_removed_and_their_targets_are_not() {
    let scratch = Scratch::new("clean-links");
    filled(&scratch);
    scratch.write("outside/file", "precious");
    symlink(scratch.path("outside"), scratch.path("p/.sbox/rootfs/app/link")).unwrap();
    std::fs::remove_dir_all(scratch.path("p/.sbox/env")).unwrap();
    symlink(scratch.path("outside"), scratch.path("p/.sbox/env")).unwrap();
    scratch.sbox("p").arg("clean").assert().success();
    assert_eq!(scratch.read("outside/file"), "precious");
    assert!(scratch.path("p/.sbox/env").symlink_metadata().is_err());
}

#[test]
fn read_only_directories_of_an_agent_are_no_obstacle() {
    let Some(spec) = need_python() else { return };
    let scratch = Scratch::new("clean-readonly");
    scratch.project("p", &format!("runtime: {spec}\n"));
    scratch.sbox("p").arg("build").assert().success();
    scratch.sbox("p").args(["run", "mkdir -p a/b && touch a/b/c && chmod 0 a/b && chmod 0555 a"]).assert().success();
    scratch.sbox("p").arg("clean").assert().success();
    assert!(!scratch.path("p/.sbox/rootfs/app").exists() && !scratch.path("p/.sbox/trash").exists());
}

#[test]
fn what_runs_is_stopped_first_and_what_cannot_be_is_left_alone() {
    if !need_sandbox() {
        return;
    }
    let nap = long_nap();
    let other_nap = long_nap();
    let project = Standing::new("clean-runs", "stop_timeout: 1s\n");
    project.start("web", &format!("exec sleep {nap}"));
    project.sbox(&["clean"]).assert().success().stderr(contains("Stopped 'web'"));
    assert_eq!((running("sleep", &nap), project.state("env").exists()), (0, false));
    assert_eq!(project.status("web"), "stopped");
    // A command in front of somebody is that one's to end.
    let project = Standing::new("clean-front", "");
    let mut front = std::process::Command::new(crate::common::bin().join("sbox"));
    front.args(["run", &format!("exec sleep {other_nap}")]).current_dir(project.scratch.path("p"));
    let mut front = front.env("HOME", project.scratch.home()).spawn().unwrap();
    assert!(becomes(|| running("sleep", &other_nap) == 1));
    project.sbox(&["clean"]).assert().code(1).stderr(contains("sandbox is still running"));
    assert!(project.state("env").exists());
    let _ = front.kill();
    let _ = front.wait();
    project.sbox(&["clean"]).assert().success();
}
