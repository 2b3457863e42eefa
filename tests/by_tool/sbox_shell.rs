use crate::common::{Scratch, need_python};
use predicates::str::contains;

#[test]
fn a_shell_runs_inside_and_its_code_is_passed_on() {
    let Some(spec) = need_python() else { return };
    let scratch = Scratch::new("shell");
    scratch.project("p", &format!("runtime: {spec}\n"));
    scratch.sbox("p").arg("build").assert().success();
    let mut shell = scratch.sbox("p");
    shell
        .env("SHELL", scratch.path("not-a-system-shell"))
        .arg("shell")
        .write_stdin("pwd\necho $SBOX_ACTIVE $SHELL\nexit 5\n");
    shell.assert().code(5).stdout(contains("/app\n1 /bin/"));
}

#[test]
fn extra_arguments_are_wrong_usage() {
    Scratch::new("shell-usage").program("sbox-shell").arg("x").assert().code(125);
}
