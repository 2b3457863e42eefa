use crate::common::daemons::{Standing, kill, long_nap};
use crate::common::{Ends, becomes, need_sandbox, running};
use predicates::str::contains;

#[test]
fn nothing_in_the_sandbox_survives() {
    if !need_sandbox() {
        return;
    }
    let nap = long_nap();
    let project = Standing::new("stop", "stop_timeout: 1s\n");
    // One that ignores the signal, one in a session of its own, one whose parent is gone.
    project.start(
        "web",
        &format!("trap '' TERM; (setsid sleep {nap} &); (trap '' TERM; sleep {nap} & sleep {nap}) & sleep {nap}"),
    );
    assert!(becomes(|| running("sleep", &nap) >= 3));
    project.sbox(&["stop", "web"]).assert().success().stderr(contains("Stopped 'web'"));
    assert_eq!((running("sleep", &nap), project.status("web").as_str()), (0, "stopped"));
    assert_eq!(project.ps("web")["exit_code"], 137);
}

#[test]
fn every_process_is_asked_and_has_time_to_end() {
    let Some(project) = Standing::sandbox("stop-asked", "stop_timeout: 20s\n") else { return };
    // The command ends at once; what it started has more to put away.
    project.start("web", "(trap 'sleep 0.3; echo put away; exit' TERM; echo armed; while :; do sleep 0.05; done) & trap 'exit 5' TERM; echo armed; while :; do sleep 0.05; done");
    assert!(becomes(|| project.log("web").matches("armed\n").count() == 2));
    project.sbox(&["stop"]).assert().success();
    assert!(project.log("web").contains("\nput away\n"), "{}", project.log("web"));
    assert_eq!(project.ps("web")["exit_code"], 5);
}

#[test]
fn a_daemon_between_two_starts_is_stopped_too() {
    let Some(project) = Standing::sandbox("stop-backoff", "restart: always\nmax_restarts: 100\n") else { return };
    project.start("loop", "sleep 0.35; exit 1");
    assert!(becomes(|| project.ps("loop")["restarts"].as_i64() > Some(0) && project.status("loop") == "backing-off"));
    project.sbox(&["stop", "loop"]).assert().success();
    assert_eq!(project.status("loop"), "stopped");
}

#[test]
fn nobody_else_gets_a_signal_whatever_the_file_says() {
    if !need_sandbox() {
        return;
    }
    let nap = long_nap();
    let other_nap = long_nap();
    let project = Standing::new("stop-hostile", "");
    project.start("web", &format!("exec sleep {nap}"));
    let path = project.state("processes.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let innocent = Ends(std::process::Command::new("sleep").arg(&other_nap).spawn().unwrap());
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", innocent.0.id())).unwrap();
    let start: u64 = stat.rsplit(')').next().unwrap().split_whitespace().nth(19).unwrap().parse().unwrap();
    // The pid, the start and the boot of a process that is there, and is not a supervisor.
    let mut records: serde_json::Value = serde_json::from_str(&text).unwrap();
    let real = records[0]["supervisor"]["pid"].as_i64().unwrap();
    records[0]["supervisor"]["pid"] = innocent.0.id().into();
    records[0]["supervisor"]["start"] = start.into();
    records[0]["pid"] = innocent.0.id().into();
    std::fs::write(&path, records.to_string()).unwrap();
    // The supervisor knows better than the file.
    assert_eq!(project.ps("web")["supervisor"], real);
    std::fs::write(&path, records.to_string()).unwrap();
    project.sbox(&["stop", "web"]).assert().success();
    assert!(kill(innocent.0.id().into(), "0") && !kill(real, "0"));
    // And without one there is nobody to stop.
    std::fs::write(&path, records.to_string()).unwrap();
    assert_eq!(project.status("web"), "failed");
    project.sbox(&["stop", "web"]).assert().code(1).stderr(contains("is not running"));
    project.sbox(&["stop", "--all"]).assert().success();
    assert!(kill(innocent.0.id().into(), "0"));
}

#[test]
fn what_is_not_there_is_said() {
    let project = Standing::new("stop-missing", "");
    project.sbox(&["stop", "web"]).assert().code(1).stderr(contains("there is no daemon 'web'"));
    project.sbox(&["stop", "--all"]).assert().success().stderr(contains("No daemons are running"));
    project.sbox(&["stop", "--all", "web"]).assert().code(2);
}

#[test]
fn a_supervisor_that_hangs_is_ended_with_its_sandbox() {
    if !need_sandbox() {
        return;
    }
    let nap = long_nap();
    let project = Standing::new("stop-hangs", "stop_timeout: 1s\n");
    project.start("web", &format!("exec sleep {nap}"));
    let path = project.state("processes.json");
    kill(project.ps("web")["supervisor"].as_i64().unwrap(), "STOP");
    // What the file says of the timeout is how long the command waits; shortened, so that this test is.
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("\"stop_timeout\": 1"));
    project.sbox(&["stop", "web"]).assert().success().stderr(contains("does not answer"));
    assert_eq!((running("sleep", &nap), project.status("web").as_str()), (0, "stopped"));
}

/// A daemon that ignores SIGTERM, with this stop_timeout in its configuration.
fn stubborn(name: &str, configured: &str, nap: &str) -> Standing {
    let project = Standing::new(name, &format!("stop_timeout: {configured}\n"));
    project.start("web", &format!("trap '' TERM; echo armed; sleep {nap}"));
    assert!(becomes(|| project.log("web").contains("armed\n")));
    project
}

#[test]
fn less_time_than_configured_is_enough() {
    if !need_sandbox() {
        return;
    }
    let nap = long_nap();
    let project = stubborn("stop-less", "1h", &nap);
    project.sbox(&["stop", "--timeout", "0", "web"]).assert().success();
    assert_eq!((running("sleep", &nap), project.ps("web")["exit_code"].as_i64()), (0, Some(137)));
    project.sbox(&["stop", "-t", "never"]).assert().code(2).stderr(contains("not a span of time"));
}

#[test]
fn more_time_than_configured_is_given() {
    let Some(project) = Standing::sandbox("stop-more", "stop_timeout: 1s\n") else { return };
    // It needs longer than the second that it is configured to have.
    project.start("web", "trap 'sleep 2; echo put away; exit 4' TERM; echo armed; while :; do sleep 0.05; done");
    assert!(becomes(|| project.log("web").contains("armed\n")));
    project.sbox(&["stop", "-t", "1m", "web"]).assert().success();
    assert!(project.log("web").contains("\nput away\n"), "{}", project.log("web"));
    assert_eq!(project.ps("web")["exit_code"], 4);
}

#[test]
fn whoever_asks_again_can_have_less_patience() {
    if !need_sandbox() {
        return;
    }
    let nap = long_nap();
    let project = stubborn("stop-again", "1h", &nap);
    let mut first = std::process::Command::new(crate::common::bin().join("sbox-stop"));
    let mut first = first.arg("web").current_dir(project.scratch.path("p")).spawn().unwrap();
    assert!(becomes(|| project.status("web") == "stopping"));
    project.sbox(&["stop", "-t", "0s", "web"]).assert().success();
    assert!(first.wait().unwrap().success());
    assert_eq!((running("sleep", &nap), project.status("web").as_str()), (0, "stopped"));
}

#[test]
fn a_daemon_whose_project_was_moved_is_found_and_stopped_there() {
    if !need_sandbox() {
        return;
    }
    let nap = long_nap();
    let project = Standing::new("stop-moved", "");
    project.start("web", &format!("exec sleep {nap}"));
    let before = project.ps("web");
    std::fs::rename(project.scratch.path("p"), project.scratch.path("q")).unwrap();
    let sbox = |words: &[&str]| {
        let mut command = project.scratch.sbox("q");
        command.args(words);
        command
    };
    let ps = |words: &[&str]| -> serde_json::Value {
        let all: Vec<serde_json::Value> = serde_json::from_slice(&sbox(words).output().unwrap().stdout).unwrap();
        all.into_iter().find(|one| one["pid"] == before["pid"]).unwrap_or_default()
    };
    let place = project.scratch.path("q").to_string_lossy().into_owned();
    for words in [["ps", "-j"].as_slice(), &["ps", "-g", "-j"]] {
        assert_eq!((&ps(words)["status"], &ps(words)["project"]), (&"running".into(), &place.as_str().into()));
    }
    // Somebody else's project at the old place is not its own.
    std::fs::create_dir_all(project.scratch.path("p/.sbox")).unwrap();
    std::fs::copy(project.scratch.path("q/.sbox/config.yaml"), project.state("config.yaml")).unwrap();
    assert_eq!(project.stdout(&["ps", "-q"]), "");
    sbox(&["stop", "web"]).assert().success();
    assert_eq!(running("sleep", &nap), 0);
    let list = project.scratch.read("q/.sbox/processes.json");
    assert!(list.contains("\"stopped\""), "{list}");
    let there = std::fs::read_dir(project.state("")).unwrap().map(|entry| entry.unwrap().file_name());
    let mut there: Vec<_> = there.map(|name| name.to_string_lossy().into_owned()).collect();
    there.sort();
    assert_eq!(there, ["config.yaml"]);
}

#[test]
fn a_daemon_whose_project_was_removed_is_listed_and_can_be_stopped() {
    if !need_sandbox() {
        return;
    }
    let nap = long_nap();
    let project = Standing::new("stop-removed", "");
    // Other tests have the same user, and their daemons other names.
    let name = format!("removed-{}", std::process::id());
    project.start(&name, &format!("exec sleep {nap}"));
    // Mounted in it is what the sandbox sees; the host's own tree goes.
    let _ = std::process::Command::new("rm").arg("-rf").arg(project.scratch.path("p")).status();
    assert!(!project.state("config.yaml").exists());
    std::fs::create_dir_all(project.scratch.path("elsewhere")).unwrap();
    let sbox = |words: &[&str]| {
        let mut command = project.scratch.sbox("elsewhere");
        command.args(words);
        command
    };
    let listed = crate::common::stdout(&sbox(&["ps", "-g"]).output().unwrap());
    assert!(listed.contains(&name) && running("sleep", &nap) == 1, "{listed}");
    sbox(&["stop", "-g", "nobody"]).assert().code(1).stderr(contains("no daemon 'nobody'"));
    sbox(&["stop", "-g"]).assert().code(2);
    sbox(&["stop", "-g", &name]).assert().success();
    assert_eq!(running("sleep", &nap), 0);
}
