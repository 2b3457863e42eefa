use crate::common::{Scratch, bin, stderr, stdout};
use predicates::str::contains;
use std::os::unix::fs::PermissionsExt;

fn extension(scratch: &Scratch, name: &str, text: &str) {
    let path = scratch.write(&format!("bin/{name}"), text);
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn an_unknown_command_is_answered_with_the_nearest() {
    let scratch = Scratch::new("unknown");
    scratch.program("sbox").arg("biuld").assert().code(1).stderr(contains("did you mean 'sbox build'?"));
    scratch.program("sbox").arg("../x").assert().code(1);
}

#[test]
fn a_program_on_path_is_a_command_and_can_call_back() {
    let scratch = Scratch::new("extension");
    extension(&scratch, "sbox-hello", "#!/bin/sh\necho \"$SBOX $SBOX_EXEC_PATH $*\"; exit 7\n");
    let path = format!("{}:/usr/bin:/bin", scratch.path("bin").display());
    let output = scratch.program("sbox").env("PATH", path).args(["hello", "--flag", "a b"]).output().unwrap();
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(stdout(&output), format!("{0}/sbox {0} --flag a b\n", bin().display()));
}

#[test]
fn an_extension_cannot_replace_a_command() {
    let scratch = Scratch::new("replace");
    extension(&scratch, "sbox-version", "#!/bin/sh\necho replaced\n");
    let path = format!("{}:/usr/bin:/bin", scratch.path("bin").display());
    scratch.program("sbox").env("PATH", path).arg("version").assert().success().stdout(contains("sbox version"));
}

#[test]
fn relative_entries_of_path_are_not_searched() {
    let scratch = Scratch::new("relative");
    extension(&scratch, "sbox-hello", "#!/bin/sh\necho run\n");
    for path in ["bin:/usr/bin", ":/usr/bin", "."] {
        let directory = if path.starts_with("bin") { scratch.root.clone() } else { scratch.path("bin") };
        scratch.program("sbox").current_dir(directory).env("PATH", path).arg("hello").assert().code(1);
    }
}

#[test]
fn a_missing_interpreter_is_named_as_such() {
    let scratch = Scratch::new("interpreter");
    extension(&scratch, "sbox-hello", "#!/no/such/interpreter\n");
    let path = format!("{}:/usr/bin:/bin", scratch.path("bin").display());
    scratch
        .program("sbox")
        .env("PATH", path)
        .arg("hello")
        .assert()
        .code(126)
        .stderr(contains("interpreter is missing"));
}

#[test]
fn directory_listing_and_version_options() {
    let scratch = Scratch::new("options");
    scratch.program("sbox").arg("--exec-path").assert().success().stdout(format!("{}\n", bin().display()));
    let names = stdout(&scratch.program("sbox").arg("--list-cmds").output().unwrap());
    let all = stdout(&scratch.program("sbox").arg("--list-cmds=all").output().unwrap());
    for name in ["build", "run", "spawn", "help"] {
        assert_eq!(names.lines().any(|line| line == name), name != "spawn", "{name}");
        assert!(all.lines().any(|line| line == name), "{name}");
    }
    scratch.program("sbox").arg("--list-cmds=x").assert().code(2);
    scratch.project("p", "runtime: ruby:3\n");
    scratch.program("sbox").args(["-C", "p", "validate"]).assert().code(1).stderr(contains("[runtime]"));
    scratch
        .program("sbox")
        .args(["-C", "nowhere", "validate"])
        .assert()
        .code(1)
        .stderr(contains("cannot enter 'nowhere'"));
}

#[test]
fn help_shows_pages_and_completions() {
    let scratch = Scratch::new("help-pages");
    scratch.program("sbox").args(["help", "run"]).assert().success().stdout(contains("sbox run [-"));
    scratch.program("sbox").args(["help", "config"]).assert().success().stdout(contains("workdir"));
    scratch
        .program("sbox")
        .args(["help", "buidl"])
        .assert()
        .code(1)
        .stderr(contains("did you mean 'sbox help build'?"));
    for shell in ["bash", "zsh", "fish"] {
        scratch.program("sbox").args(["completion", shell]).assert().success().stdout(contains("sbox"));
    }
    scratch.program("sbox").args(["completion", "tcsh"]).assert().code(2);
}

#[test]
fn a_closed_pipe_is_a_quiet_end() {
    let script = format!("{}/sbox --list-cmds | head -n 0", bin().display());
    let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
    assert_eq!(stderr(&output), "");
}

#[test]
fn a_trace_shows_the_plumbing() {
    let scratch = Scratch::new("trace");
    scratch.project("p", "runtime: node:22\n");
    let output = scratch.sbox("p").env("SBOX_TRACE", "1").args(["build", "--check"]).output().unwrap();
    assert!(stderr(&output).contains("trace: "), "{}", stderr(&output));
}
