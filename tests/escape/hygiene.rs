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
