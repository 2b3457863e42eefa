use crate::common::daemons::{Standing, long_nap};
use crate::common::{Scratch, becomes, need_python, need_sandbox, running, stderr, stdout};
use predicates::str::contains;

#[test]
fn arguments_and_flags_are_the_programs_own() {
    let Some(spec) = need_python() else { return };
    let scratch = Scratch::new("exec");
    let root = scratch.project("p", &format!("runtime: {spec}\n"));
    scratch.sbox("p").arg("build").assert().success();
    scratch.sbox("p").args(["exec", "python", "-V"]).assert().success().stdout(contains("Python 3"));
    scratch
        .sbox("p")
        .args(["exec", "python", "-c", "import sys; print(sys.argv)", "a b", "-h"])
        .assert()
        .success()
        .stdout("['-c', 'a b', '-h']\n");
    // The sandbox's program, not the host's.
    let prefix = root.join(".sbox/env");
    scratch
        .sbox("p")
        .args(["exec", "python", "-c", "import sys; print(sys.prefix)"])
        .assert()
        .success()
        .stdout(format!("{}\n", prefix.display()));
    scratch.sbox("p").args(["exec", "pip", "--version"]).assert().success().stdout(contains(prefix.to_str().unwrap()));
}

#[test]
fn a_command_is_needed() {
    Scratch::new("exec-none").program("sbox-exec").assert().code(125).stderr(contains("missing command"));
}

#[test]
fn a_command_joins_a_daemon_and_is_as_confined_as_it() {
    if !need_sandbox() {
        return;
    }
    let nap = long_nap();
    let other_nap = long_nap();
    let project = Standing::new("exec-in", "network: none\nenv: {COLOUR: blue}\n");
    project.scratch.write("secret", "host");
    project.start("web", &format!("echo here > /tmp/mine; exec sleep {nap}"));
    let secret = project.scratch.path("secret");
    let line = format!(
        "cat /tmp/mine; echo $COLOUR; cat /proc/2/cmdline | tr '\\0' ' '; echo; grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' \
         /proc/self/status; test -e {} || echo absent; unshare -U true 2>/dev/null || echo refused; ls /proc/self/fd; \
         ls /proc/1/fd >/dev/null 2>&1 || echo hidden; exit 9",
        secret.display()
    );
    let output = project.sbox(&["exec", "--in", "web", "sh", "-c", &line]).output().unwrap();
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(9), "{text} {}", stderr(&output));
    let expected = ["here", "blue", &format!("sleep {nap}"), "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000"];
    for part in expected.into_iter().chain(["NoNewPrivs:\t1", "Seccomp:\t2", "absent", "refused", "hidden"]) {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(text.contains("\n0\n1\n2\n3\n") && !text.contains("\n4\n"), "{text}");
    // Its end is not the daemon's; the daemon's is its own.
    let sleeper = project.sbox(&["exec", "--in", "web", "sleep", &other_nap]);
    let mut sleeper = std::process::Command::new(sleeper.get_program());
    sleeper.args(["exec", "--in", "web", "sleep", &other_nap]).current_dir(project.scratch.path("p"));
    let mut sleeper = sleeper.env("HOME", project.scratch.home()).spawn().unwrap();
    assert!(becomes(|| running("sleep", &other_nap) == 1));
    project.sbox(&["stop", "web"]).assert().success();
    assert_eq!(running("sleep", &other_nap), 0);
    assert_eq!(sleeper.wait().unwrap().code(), Some(143));
}

#[test]
fn there_must_be_a_daemon_to_join() {
    let project = Standing::new("exec-in-none", "");
    project.sbox(&["exec", "--in", "web", "true"]).assert().code(125).stderr(contains("there is no daemon 'web'"));
    project.sbox(&["exec", "--in", "web", "--isolation", "env", "true"]).assert().code(125);
}
