//! Host-side commands over a project that somebody hostile has written, as an archive brings it.

use crate::common::{Scratch, need_python, stderr};
use std::os::unix::fs::symlink;
use std::process::Command;

#[test]
fn links_and_pipes_in_the_state_lead_no_command_outside_and_hold_none_up() {
    let Some(spec) = need_python() else { return };
    let scratch = Scratch::new("hygiene");
    scratch.write("outside/build.log", "precious");
    scratch.write("outside/env.sh", "precious");
    let root = scratch.project("p", &format!("runtime: {spec}\ninstall: echo evil\ncmd: echo ran\n"));
    let outside = scratch.path("outside");
    let state = root.join(".sbox");
    symlink(&outside, state.join("logs")).unwrap();
    symlink(&outside, state.join("trash")).unwrap();
    symlink(outside.join("env.sh"), state.join("env.sh")).unwrap();
    for pipe in [root.join("sbox.lock"), state.join("stage.json")] {
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    }
    for verb in ["status", "info", "validate", "build", "run", "status", "clean"] {
        // A build empties the trash, and the link with it.
        let _ = symlink(&outside, state.join("trash"));
        let output = scratch.sbox("p").arg(verb).timeout(std::time::Duration::from_secs(120)).output().unwrap();
        assert!(output.status.success(), "{verb}: {}", stderr(&output));
    }
    assert_eq!(
        (scratch.read("outside/build.log"), scratch.read("outside/env.sh")),
        ("precious".into(), "precious".into())
    );
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 2);
    // A lock that is a link makes nothing where it points.
    let _ = std::fs::remove_file(state.join("build.lock"));
    symlink(outside.join("made"), state.join("build.lock")).unwrap();
    assert!(!scratch.sbox("p").arg("build").output().unwrap().status.success());
    assert!(!outside.join("made").exists());
}

#[test]
fn a_runtime_that_came_with_an_archive_is_not_copied_from_outside() {
    let scratch = Scratch::new("hygiene-cache");
    scratch.write("outside/id_rsa", "precious");
    let make = |name: &str| {
        let entry = scratch.path(&format!("{name}/runtimes/python-3.99/host-3.99.1-0"));
        std::fs::create_dir_all(&entry).unwrap();
        let json = "{\"provider\": \"host\", \"version\": \"3.99.1\", \"prefix\": \"/old/place\"}";
        std::fs::write(entry.join("entry.json"), json).unwrap();
        entry
    };
    let mkenv = |cache: &str, target: &str| {
        let mut command = scratch.program("sbox-mkenv");
        command.env("SBOX_CACHE", scratch.path("own")).env("SBOX_CACHE_BESIDE", scratch.path(cache));
        command.args(["--provider", "host", "python:3.99"]).arg(scratch.path(target)).output().unwrap()
    };
    // An honest one is taken.
    std::fs::create_dir_all(make("good").join("env/bin")).unwrap();
    assert!(mkenv("good", "a").status.success());
    // The environment is a link; the group is one; a file that is written is one.
    symlink(scratch.path("outside"), make("bad").join("env")).unwrap();
    assert!(!mkenv("bad", "b").status.success());
    std::fs::create_dir_all(make("far").join("env")).unwrap();
    std::fs::write(scratch.path("far/runtimes/python-3.99/host-3.99.1-0/env/key"), "precious").unwrap();
    std::fs::create_dir_all(scratch.path("near/runtimes")).unwrap();
    symlink(scratch.path("far/runtimes/python-3.99"), scratch.path("near/runtimes/python-3.99")).unwrap();
    assert!(!mkenv("near", "c").status.success());
    let entry = make("used");
    std::fs::create_dir_all(entry.join("env")).unwrap();
    symlink(scratch.path("outside/id_rsa"), entry.join("last_used")).unwrap();
    assert!(mkenv("used", "d").status.success());
    assert_eq!(scratch.read("outside/id_rsa"), "precious");
    assert!(["b", "c"].iter().all(|target| !scratch.path(target).exists()));
}
