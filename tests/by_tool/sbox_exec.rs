use crate::common::{Scratch, need_python};
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
