use crate::common::daemons::{Standing, long_nap};
use crate::common::{becomes, need_sandbox};
use predicates::str::contains;

#[test]
fn command_and_environment_are_kept() {
    if !need_sandbox() {
        return;
    }
    let nap = long_nap();
    let project = Standing::new("restart", "env:\n  TOKEN: \"${RESTART_TEST_TOKEN}\"\n");
    project.sbox(&["trust"]).env("RESTART_TEST_TOKEN", "x").assert().success();
    let words =
        ["run", "-d", "-n", "web", "sh", "-c", &format!("echo \"token=$TOKEN arg=$1\"; exec sleep {nap}"), "-", "a b"];
    project.sbox(&words).env("RESTART_TEST_TOKEN", "first").assert().success();
    assert!(becomes(|| project.log("web").contains("token=first arg=a b\n")));
    let before = project.ps("web");
    // Another shell, which does not know the token.
    project.sbox(&["restart", "web"]).assert().success().stderr(contains("Restarted 'web'"));
    assert!(becomes(|| project.log("web").matches("token=first arg=a b\n").count() == 2), "{}", project.log("web"));
    let after = project.ps("web");
    assert_eq!((&before["words"], after["status"].as_str()), (&after["words"], Some("running")));
    assert_ne!(before["pid"], after["pid"]);
    assert!(!std::fs::read_to_string(project.state("processes.json")).unwrap().contains("first"));
}

#[test]
fn one_that_ended_is_started() {
    if !need_sandbox() {
        return;
    }
    let nap = long_nap();
    let project = Standing::new("restart-ended", "");
    project.start("job", &format!("exec sleep {nap}"));
    project.sbox(&["stop"]).assert().success();
    project.sbox(&["restart", "job"]).assert().success();
    assert_eq!(project.status("job"), "running");
}

#[test]
fn the_configuration_is_todays_and_a_broken_one_ends_nothing() {
    if !need_sandbox() {
        return;
    }
    let nap = long_nap();
    let project = Standing::new("restart-config", "env: {V: old}\n");
    project.start("web", &format!("echo v=$V; exec sleep {nap}"));
    let config = "runtime: node:22\nworkdir: /\nenv: {V: new}\n";
    project.scratch.write("p/.sbox/config.yaml", &format!("{config}nonsense: 1\n"));
    project.sbox(&["restart", "web"]).assert().code(1).stderr(contains("nonsense"));
    assert_eq!(project.status("web"), "running");
    project.scratch.write("p/.sbox/config.yaml", config);
    project.sbox(&["restart", "web"]).assert().success();
    assert!(becomes(|| project.log("web").contains("v=new")));
}

#[test]
fn a_stranger_is_not_started() {
    let project = Standing::new("restart-missing", "");
    project.sbox(&["restart", "web"]).assert().code(1).stderr(contains("there is no daemon 'web'"));
}
