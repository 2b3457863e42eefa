use crate::common::daemons::{GATE, Standing, kill, long_nap};
use crate::common::{becomes, need_sandbox, stdout};
use predicates::str::contains;

#[test]
fn it_ends_as_the_daemon_did() {
    let Some(project) = Standing::sandbox("wait", "") else { return };
    project.start("job", &format!("{GATE}; exit 7"));
    project.start("other", &format!("{GATE}; exit 3"));
    let mut waiting = std::process::Command::new(crate::common::bin().join("sbox-wait"));
    let mut waiting = waiting.args(["job", "other"]).current_dir(project.scratch.path("p")).spawn().unwrap();
    project.sbox(&["wait", "-t", "1s", "job"]).assert().code(124).stderr(contains("'job' is still running"));
    assert_eq!(waiting.try_wait().unwrap(), None);
    project.open_gate();
    assert_eq!(waiting.wait().unwrap().code(), Some(3));
    // One that has ended is not waited for.
    project.sbox(&["wait", "other", "job"]).assert().code(7);
    let output = project.sbox(&["wait", "--json", "job"]).output().unwrap();
    let said: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!((&said["name"], &said["exit_code"]), (&"job".into(), &7.into()));
}

#[test]
fn a_restart_is_not_an_end() {
    let Some(project) = Standing::sandbox("wait-restart", "restart: on-failure\n") else { return };
    project.start("job", &format!("[ -e /tmp/second ] && {{ {GATE}; exit 0; }}; touch /tmp/second; exit 9"));
    assert!(becomes(|| project.ps("job")["restarts"] == 1));
    project.open_gate();
    project.sbox(&["wait", "job"]).assert().code(0);
    assert_eq!(project.status("job"), "exited");
}

#[test]
fn what_is_not_known_is_an_error_of_its_own() {
    if !need_sandbox() {
        return;
    }
    let nap = long_nap();
    let project = Standing::new("wait-unknown", "");
    project.sbox(&["wait", "web"]).assert().code(125).stderr(contains("there is no daemon 'web'"));
    project.sbox(&["wait", "-t", "soon"]).assert().code(125).stderr(contains("not a span of time"));
    project.start("web", &format!("exec sleep {nap}"));
    kill(project.ps("web")["supervisor"].as_i64().unwrap(), "KILL");
    project.sbox(&["wait", "web"]).assert().code(125).stderr(contains("its supervisor was killed"));
}
