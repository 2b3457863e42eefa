use crate::common::daemons::{GATE, Standing, kill, long_nap};
use crate::common::{becomes, need_sandbox, stderr, stdout};
use predicates::str::contains;
use serde_json::{Value, json};

fn record(name: &str, status: &str) -> Value {
    json!({"pid": 0, "name": name, "command": "x", "start_time": "2026-01-30T12:00:00Z", "status": status,
        "log_file": "/l", "project": "/p"})
}

#[test]
fn what_runs_is_listed_and_what_ended_on_demand() {
    if !need_sandbox() {
        return;
    }
    let nap = long_nap();
    let project = Standing::new("ps", "");
    project.start("web", &format!("exec sleep {nap}"));
    project.start("job", &format!("{GATE}; exit 2"));
    project.open_gate();
    assert!(becomes(|| project.status("job") == "exited"));
    let table = project.stdout(&["ps"]);
    let words: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(words, ["PID", "NAME", "STATUS", "UPTIME", "RESTARTS", "MEMORY", "CPU", "COMMAND"]);
    assert!(table.contains("web") && table.contains(&format!("exec sleep {nap}")) && !table.contains("job"), "{table}");
    assert!(project.stdout(&["ps", "--all"]).contains("exited (2)"));
    assert_eq!(project.stdout(&["ps", "--names"]), "web\n");
    assert_eq!(project.stdout(&["ps", "--names", "-a"]).lines().count(), 2);
    let pid = project.stdout(&["ps", "-q"]);
    assert!(kill(pid.trim().parse().unwrap(), "0"));
    let status = project.stdout(&["status"]);
    assert!(status.contains("│ Running:   1") && status.contains("• web (PID "), "{status}");
}

#[test]
fn nothing_is_said_kindly() {
    let project = Standing::new("ps-none", "");
    project.sbox(&["ps"]).assert().success().stdout("").stderr(contains("No daemons are running"));
    project.sbox(&["ps", "--json"]).assert().success().stdout("[]\n");
}

#[test]
fn a_restart_of_the_machine_and_a_pid_used_again_are_seen() {
    let project = Standing::new("ps-boot", "");
    let own = std::process::id();
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let start: u64 = stat.rsplit(')').next().unwrap().split_whitespace().nth(19).unwrap().parse().unwrap();
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let (mut rebooted, mut recycled, mut other) =
        (record("a", "running"), record("b", "running"), record("c", "running"));
    rebooted["supervisor"] = json!({"pid": own, "start": start, "boot": "00000000-0000-0000-0000-000000000000"});
    recycled["supervisor"] = json!({"pid": own, "start": start - 1, "boot": boot.trim()});
    // This very process: there, and no supervisor.
    other["supervisor"] = json!({"pid": own, "start": start, "boot": boot.trim()});
    project.scratch.write("p/.sbox/processes.json", &json!([rebooted, recycled, other]).to_string());
    assert_eq!(["a", "b", "c"].map(|name| project.status(name)), ["stopped", "failed", "failed"]);
    assert_eq!(project.ps("a")["reason"], "the machine was restarted");
    assert_eq!(project.stdout(&["ps", "-q"]), "");
}

#[test]
fn a_broken_file_is_set_aside_and_what_runs_registers_again() {
    if !need_sandbox() {
        return;
    }
    let nap = long_nap();
    let project = Standing::new("ps-broken", "restart: always\n");
    project.start("one", &format!("exec sleep {nap}"));
    project.start("two", &format!("exec sleep {nap}"));
    let before = project.ps("one");
    for broken in ["", "[{", "{}", "[{\"pid\": \"x\"}]", "\0\0\0"] {
        project.scratch.write("p/.sbox/processes.json", broken);
        let output = project.sbox(&["ps", "-j"]).output().unwrap();
        assert!(stderr(&output).contains("cannot be read"), "{broken:?}: {}", stderr(&output));
        let all: Vec<Value> = serde_json::from_str(&stdout(&output)).unwrap();
        let names: Vec<&Value> = all.iter().map(|one| &one["name"]).collect();
        assert_eq!(names, ["one", "two"], "{broken:?}");
    }
    let after = project.ps("one");
    assert_eq!((&before["pid"], &before["start_time"]), (&after["pid"], &after["start_time"]));
    let aside = |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().contains("processes.json.broken");
    assert!(std::fs::read_dir(project.state("")).unwrap().flatten().any(|entry| aside(&entry)));
    // It was written by the next one to change something, too.
    project.scratch.write("p/.sbox/processes.json", "broken");
    project.start("three", &format!("exec sleep {nap}"));
    assert!(becomes(|| project.stdout(&["ps", "-q"]).lines().count() == 3));
}

#[test]
fn a_link_or_a_pipe_in_place_of_the_file_leads_nowhere() {
    let project = Standing::new("ps-link", "");
    let target = project.scratch.write("outside.json", "[]");
    std::os::unix::fs::symlink(&target, project.state("processes.json")).unwrap();
    project.sbox(&["ps"]).assert().success().stderr(contains("cannot be read"));
    assert_eq!(project.scratch.read("outside.json"), "[]");
    let pipe = project.state("processes.json");
    let _ = std::fs::remove_file(&pipe);
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    project.sbox(&["ps"]).assert().success();
}

#[test]
fn names_and_commands_are_harmless_on_a_terminal() {
    let project = Standing::new("ps-escape", "");
    let mut evil = record("a\u{1b}[2J", "stopped");
    evil["command"] = "\u{1b}]0;x\u{7}".into();
    project.scratch.write("p/.sbox/processes.json", &json!([evil]).to_string());
    let table = project.stdout(&["ps", "-a"]);
    let long = "n".repeat(70_000);
    project.scratch.write("p/.sbox/processes.json", &json!([record(&long, "stopped")]).to_string());
    assert!(project.stdout(&["ps", "-a"]).contains(&long), "a name of any length is listed");
    assert!(table.contains("a\\x1b[2J") && !table.contains(['\u{1b}', '\u{7}']), "{table:?}");
}

#[test]
fn global_shows_every_project_of_the_user() {
    if !need_sandbox() {
        return;
    }
    let nap = long_nap();
    let project = Standing::new("ps-global", "");
    project.start("here", &format!("exec sleep {nap}"));
    let mut elsewhere = project.scratch.program("sbox");
    let output = elsewhere.args(["ps", "--global"]).output().unwrap();
    let table = stdout(&output);
    assert!(table.contains("here") && table.contains(&*project.scratch.path("p").to_string_lossy()), "{table}");
    project.sbox(&["stop", "--all"]).assert().success();
    let all = stdout(&project.scratch.program("sbox").args(["ps", "-g", "-a"]).output().unwrap());
    assert!(all.lines().any(|line| line.contains("here") && line.contains("stopped")), "{all}");
}

/// Nobody can write the list from now on, not even root: its lock cannot be taken.
fn close_list(project: &Standing) {
    let _ = std::fs::remove_file(project.state("processes.lock"));
    std::fs::create_dir(project.state("processes.lock")).unwrap();
}

fn open_list(project: &Standing) {
    std::fs::remove_dir(project.state("processes.lock")).unwrap();
}

#[test]
fn nobody_who_reads_fails_because_the_list_cannot_be_written() {
    let Some(project) = Standing::sandbox("ps-unwritable", "") else { return };
    project.start("web", &format!("exec sleep {}", long_nap()));
    let supervisor = project.ps("web")["supervisor"].as_i64().unwrap();
    let list = std::fs::read_to_string(project.state("processes.json")).unwrap();
    close_list(&project);
    crate::common::daemons::kill(supervisor, "KILL");
    assert!(becomes(|| project.status("web") == "failed"));
    for words in [&["ps", "-a"][..], &["status"], &["logs", "web"]] {
        project.sbox(words).assert().success();
    }
    assert_eq!(std::fs::read_to_string(project.state("processes.json")).unwrap(), list);
    open_list(&project);
    assert_eq!(project.status("web"), "failed");
    assert!(std::fs::read_to_string(project.state("processes.json")).unwrap().contains("\"failed\""));
}

#[test]
fn an_end_that_could_not_be_written_is_known_all_the_same() {
    let Some(project) = Standing::sandbox("ps-end", "") else { return };
    project.start("web", &format!("{GATE}; exit 7"));
    assert!(project.state("ends/web").exists());
    let supervisor = project.ps("web")["supervisor"].as_i64().unwrap();
    close_list(&project);
    project.open_gate();
    assert!(becomes(|| !crate::common::daemons::kill(supervisor, "0")));
    let known = |project: &Standing| {
        let end = project.ps("web");
        (end["status"].clone(), end["exit_code"].clone(), end["reason"].clone())
    };
    assert_eq!(known(&project), (json!("exited"), json!(7), Value::Null));
    open_list(&project);
    assert_eq!(known(&project), (json!("exited"), json!(7), Value::Null));
    assert!(!project.state("ends").exists());
    assert!(std::fs::read_to_string(project.state("processes.json")).unwrap().contains("\"exited\""));
}

#[test]
fn a_missing_or_incomplete_list_is_completed_from_what_runs() {
    let Some(project) = Standing::sandbox("ps-lost", "") else { return };
    for name in ["one", "two"] {
        project.start(name, &format!("exec sleep {}", long_nap()));
    }
    let before = project.ps("one");
    for list in [None, Some("[]")] {
        match list {
            None => std::fs::remove_file(project.state("processes.json")).unwrap(),
            Some(text) => std::fs::write(project.state("processes.json"), text).unwrap(),
        }
        assert_eq!(project.stdout(&["ps", "-q"]).lines().count(), 2);
        let now = project.ps("one");
        for key in ["pid", "status", "start_time", "command", "supervisor", "project"] {
            assert_eq!(now[key], before[key], "{key}");
        }
    }
    std::fs::remove_file(project.state("processes.json")).unwrap();
    project.sbox(&["run", "-d", "-n", "one", "true"]).assert().code(125).stderr(contains("already running"));
    project.sbox(&["stop", "one"]).assert().success();
    assert_eq!((project.status("one"), project.status("two")), ("stopped".into(), "running".into()));
}

#[test]
fn a_list_that_cannot_be_read_is_not_set_aside() {
    if !crate::common::need_ordinary_user() || !need_sandbox() {
        return;
    }
    let project = Standing::new("ps-unreadable", "");
    project.start("web", &format!("exec sleep {}", long_nap()));
    let list = project.state("processes.json");
    std::fs::set_permissions(&list, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    assert_eq!(project.stdout(&["ps", "-q"]).lines().count(), 1);
    project.sbox(&["ps"]).assert().success().stderr(contains("permission denied"));
    let aside = |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().contains("processes.json.broken");
    assert!(!std::fs::read_dir(project.state("")).unwrap().flatten().any(|entry| aside(&entry)));
    std::fs::set_permissions(&list, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}
