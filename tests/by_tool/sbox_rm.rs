use crate::common::daemons::{Standing, long_nap};
use crate::common::{becomes, need_sandbox, running};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use serde_json::json;

fn ended(project: &Standing, names: &[&str]) {
    let record = |name: &&str| {
        json!({"pid": 0, "name": name, "command": "x", "start_time": "2026-01-30T12:00:00Z", "status": "exited",
            "log_file": "/l", "project": "/p", "exit_code": 0})
    };
    let all: Vec<_> = names.iter().map(record).collect();
    project.scratch.write("p/.sbox/processes.json", &json!(all).to_string());
    for name in names {
        for file in [format!("{name}.log"), format!("{name}.log.1"), format!(".{name}.log.times")] {
            project.scratch.write(&format!("p/.sbox/logs/{file}"), "x\n");
        }
    }
}

fn logs(project: &Standing) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(project.state("logs"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn what_has_ended_goes_with_all_files_of_its_log() {
    let project = Standing::new("rm", "");
    ended(&project, &["web", "web.log", "job"]);
    project.sbox(&["rm", "web"]).assert().success().stderr(contains("Removed 'web'"));
    assert_eq!(project.stdout(&["ps", "-a", "--names"]), "job\nweb.log\n");
    // Another daemon's log whose name begins in the same way stays.
    let kept = [".job.log.times", ".web.log.log.times", "job.log", "job.log.1", "web.log.log", "web.log.log.1"];
    assert_eq!(logs(&project), kept);
    project.sbox(&["rm", "--all"]).assert().success();
    assert_eq!((project.stdout(&["ps", "-a", "--names"]).as_str(), logs(&project).len()), ("", 0));
    project.sbox(&["rm", "--all"]).assert().success().stderr(contains("no daemon has ended"));
    project.sbox(&["rm"]).assert().code(2).stderr(contains("missing NAME"));
    project.sbox(&["rm", "web"]).assert().code(1).stderr(contains("there is no daemon 'web'"));
}

#[test]
fn a_log_whose_daemon_is_not_known_any_more_is_removed() {
    let project = Standing::new("rm-log", "");
    project.scratch.write("p/.sbox/logs/web.log", "x\n");
    project.scratch.write("p/.sbox/logs/build.log", "x\n");
    project.sbox(&["rm", "web"]).assert().success();
    project.sbox(&["rm", "build"]).assert().code(1);
    assert_eq!(logs(&project), ["build.log"]);
}

#[test]
fn a_link_in_place_of_the_logs_leads_nowhere() {
    let project = Standing::new("rm-link", "");
    ended(&project, &["web"]);
    let outside = project.scratch.write("outside/web.log", "x\n");
    std::fs::remove_dir_all(project.state("logs")).unwrap();
    std::os::unix::fs::symlink(outside.parent().unwrap(), project.state("logs")).unwrap();
    project.sbox(&["rm", "web"]).assert().success();
    assert!(outside.is_file());
}

#[test]
fn one_that_is_running_is_stopped_only_by_force() {
    if !need_sandbox() {
        return;
    }
    let nap = long_nap();
    let project = Standing::new("rm-force", "");
    project.start("web", &format!("exec sleep {nap}"));
    project.sbox(&["rm", "web"]).assert().code(1).stderr(contains("'web' is running").and(contains("--force")));
    assert!(becomes(|| running("sleep", &nap) == 1) && project.status("web") == "running");
    project.sbox(&["rm", "-f", "web"]).assert().success();
    assert_eq!((running("sleep", &nap), project.stdout(&["ps", "-a", "-q"]).as_str()), (0, ""));
    assert!(logs(&project).iter().all(|name| !name.contains("web")), "{:?}", logs(&project));
}
