use crate::common::daemons::{GATE, Standing, kill, long_nap};
use crate::common::{becomes, need_sandbox, running, stderr};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

#[test]
fn a_daemon_runs_until_it_ends_and_its_end_is_kept() {
    if !need_sandbox() {
        return;
    }
    let project = Standing::new("supervise", "");
    project.start("job", &format!("echo working; {GATE}; exit 3"));
    let now = project.ps("job");
    assert_eq!((now["status"].as_str(), now["exit_code"].is_null()), (Some("running"), true), "{now}");
    assert!(now["memory"].as_u64().unwrap() > 0 && now["processes"].as_u64().unwrap() >= 2, "{now}");
    project.open_gate();
    assert!(becomes(|| project.status("job") == "exited"));
    let end = project.ps("job");
    assert_eq!((end["exit_code"].as_i64(), end["pid"].as_i64()), (Some(3), Some(0)), "{end}");
    let log = project.log("job");
    assert!(log.starts_with("=== sbox daemon started at 20") && log.contains("\nworking\n"), "{log}");
    assert!(log.contains("ended with exit code 3"), "{log}");
}

#[test]
fn what_cannot_be_executed_is_an_error_and_no_daemon() {
    if !need_sandbox() {
        return;
    }
    let project = Standing::new("supervise-typo", "");
    let words = ["run", "-d", "-n", "typo", "no-such-program", "x"];
    project.sbox(&words).assert().code(127).stderr(contains("'no-such-program' was not found in the sandbox"));
    assert!(project.ps("typo").is_null());
    let line = ["run", "-d", "-n", "typo", "no-such-program --flag"];
    project.sbox(&line).assert().code(127).stderr(contains("not found").and(contains("ended at once")));
    let directory = ["run", "-d", "-n", "typo", "/usr", "x"];
    project.sbox(&directory).assert().code(126);
}

#[test]
fn its_death_is_the_sandboxs() {
    if !need_sandbox() {
        return;
    }
    let nap = long_nap();
    let project = Standing::new("supervise-killed", "restart: always\n");
    project.start("web", &format!("sleep {nap} & setsid sleep {nap} & wait"));
    assert!(becomes(|| running("sleep", &nap) == 2));
    kill(project.ps("web")["supervisor"].as_i64().unwrap(), "KILL");
    assert!(becomes(|| running("sleep", &nap) == 0));
    let now = project.ps("web");
    assert_eq!((now["status"].as_str(), now["pid"].as_i64()), (Some("failed"), Some(0)), "{now}");
    assert_eq!(now["reason"], "its supervisor was killed");
    project.start("web", &format!("sleep {nap}"));
    assert_eq!(project.status("web"), "running");
}

#[test]
fn a_sandbox_that_is_killed_is_started_again_where_that_is_wanted() {
    if !need_sandbox() {
        return;
    }
    let nap = long_nap();
    let project = Standing::new("supervise-restart", "restart: on-failure\n");
    project.start("web", &format!("exec sleep {nap}"));
    let first = project.ps("web");
    kill(first["pid"].as_i64().unwrap(), "KILL");
    assert!(becomes(|| project.ps("web")["restarts"] == 1 && project.status("web") == "running"));
    let second = project.ps("web");
    assert_ne!(second["pid"], first["pid"]);
    assert_eq!(second["exit_code"], 137);
    // The launcher is what stands between: killed, it takes the sandbox with it.
    let init = second["pid"].as_i64().unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{init}/stat")).unwrap();
    let launcher: i64 = stat.rsplit(')').next().unwrap().split_whitespace().nth(1).unwrap().parse().unwrap();
    kill(launcher, "KILL");
    assert!(becomes(|| project.ps("web")["restarts"] == 2 && project.status("web") == "running"));
    assert_eq!(running("sleep", &nap), 1);
    project.sbox(&["stop", "web"]).assert().success();
    assert_eq!((project.status("web").as_str(), running("sleep", &nap)), ("stopped", 0));
}

#[test]
fn what_fails_again_and_again_is_given_up() {
    if !need_sandbox() {
        return;
    }
    let project = Standing::new("supervise-loop", "restart: on-failure\nmax_restarts: 2\n");
    project.start("loop", "sleep 0.4; echo again; exit 4");
    assert!(becomes(|| project.status("loop") == "failed"));
    let end = project.ps("loop");
    assert_eq!((end["restarts"].as_i64(), end["exit_code"].as_i64()), (Some(2), Some(4)), "{end}");
    assert!(end["reason"].as_str().unwrap().contains("3 times in a row"), "{end}");
    assert_eq!(project.log("loop").matches("\nagain\n").count(), 3);
}

#[test]
fn success_is_no_failure_and_always_is_always() {
    if !need_sandbox() {
        return;
    }
    let project = Standing::new("supervise-success", "restart: on-failure\n");
    project.start("once", "sleep 0.4");
    assert!(becomes(|| project.status("once") == "exited"));
    assert_eq!(project.ps("once")["restarts"], 0);
    let project = Standing::new("supervise-always", "restart: always\nmax_restarts: 1\n");
    project.start("often", "sleep 0.4");
    assert!(becomes(|| project.status("often") == "failed"));
    assert_eq!(project.ps("often")["restarts"], 1);
}

#[test]
fn a_hang_up_or_a_closed_terminal_is_not_its_end() {
    if !need_sandbox() {
        return;
    }
    let nap = long_nap();
    let project = Standing::new("supervise-hangup", "");
    // A session of its own, whose leader ends: what script(1) and sshd do.
    let line = format!("{} run -d -n web 'exec sleep {nap}'; kill -HUP 0", crate::common::bin().join("sbox").display());
    let mut session = std::process::Command::new("setsid");
    session.args(["-w", "sh", "-c", &line]).current_dir(project.scratch.path("p")).env("HOME", project.scratch.home());
    let _ = session.output().unwrap();
    let now = project.ps("web");
    kill(now["supervisor"].as_i64().unwrap(), "HUP");
    assert_eq!((project.status("web").as_str(), running("sleep", &nap)), ("running", 1));
    // It answers after the signal, and its end is the one that was asked for.
    project.sbox(&["stop", "web"]).assert().success();
    assert_eq!((project.status("web").as_str(), running("sleep", &nap)), ("stopped", 0));
}

#[test]
fn nothing_of_its_caller_is_held() {
    if !need_sandbox() {
        return;
    }
    let nap = long_nap();
    let project = Standing::new("supervise-held", "");
    project.scratch.write("lock", "");
    // A script that holds a lock through descriptor 9, and one that waits for the end of the output.
    let bin = crate::common::bin();
    let script =
        format!("exec 9<lock; flock -x 9; cd p; out=$({}/sbox run -d -n web 'exec sleep {nap}' 2>&1)", bin.display());
    let mut shell = std::process::Command::new("timeout");
    shell.args(["20", "sh", "-c", &script]).current_dir(&project.scratch.root).env("HOME", project.scratch.home());
    assert!(shell.status().unwrap().success());
    assert_eq!(project.status("web"), "running");
    let flock =
        std::process::Command::new("flock").args(["-n", "lock", "true"]).current_dir(&project.scratch.root).status();
    assert!(flock.unwrap().success());
    let supervisor = project.ps("web")["supervisor"].as_i64().unwrap();
    let streams = (0..3).map(|fd| std::fs::read_link(format!("/proc/{supervisor}/fd/{fd}")).unwrap());
    assert!(streams.into_iter().all(|stream| stream.as_os_str() == "/dev/null"));
}

#[test]
fn twenty_at_once_lose_nothing_and_one_name_is_one_daemon() {
    if !need_sandbox() {
        return;
    }
    let nap = long_nap();
    let project = Standing::new("supervise-many", "");
    let start = |name: String| project.sbox(&["run", "-d", "-n", &name, "sleep", &nap]).output().unwrap();
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..20).map(|n| scope.spawn(move || start(format!("d{n}")))).collect();
        assert!(all.into_iter().all(|one| one.join().unwrap().status.success()));
    });
    assert_eq!(project.stdout(&["ps", "-q"]).lines().count(), 20);
    let successes = std::thread::scope(|scope| {
        let all: Vec<_> = (0..8).map(|_| scope.spawn(|| start("same".into()))).collect();
        let ended = all.into_iter().map(|one| one.join().unwrap());
        ended.filter(|output| output.status.success() || !stderr(output).contains("already")).count()
    });
    assert_eq!((successes, running("sleep", &nap)), (1, 21));
    project.sbox(&["stop", "--all"]).assert().success();
    assert_eq!((running("sleep", &nap), project.stdout(&["ps", "-q"]).as_str()), (0, ""));
    // What they left to the one who stopped them is in the list.
    let list = std::fs::read_to_string(project.state("processes.json")).unwrap();
    assert_eq!((list.matches(r#""status": "stopped""#).count(), project.state("ends").exists()), (21, false), "{list}");
}

#[test]
fn many_that_end_at_once_do_not_wait_for_the_list_and_are_all_known() {
    if !need_sandbox() {
        return;
    }
    let nap = long_nap();
    let project = Standing::new("supervise-ends", "");
    let names = ["a", "b", "c", "d"];
    names.iter().for_each(|name| project.start(name, &format!("trap 'exit 3' TERM; sleep {nap} & wait")));
    let supervisors = names.map(|name| project.ps(name)["supervisor"].as_i64().unwrap());
    // Somebody changes the list, for as long as it takes.
    let list = libsbox::fs::Lock::exclusive(&project.state("processes.lock"), || {}).unwrap();
    supervisors.iter().for_each(|pid| assert!(kill(*pid, "TERM")));
    assert!(becomes(|| supervisors.iter().all(|pid| !kill(*pid, "0"))));
    let text = || std::fs::read_to_string(project.state("processes.json")).unwrap();
    assert!(!text().contains("stopped"), "{}", text());
    drop(list);
    for name in names {
        let end = project.ps(name);
        assert_eq!((end["status"].as_str(), end["exit_code"].as_i64()), (Some("stopped"), Some(3)), "{end}");
    }
    assert_eq!((text().matches(r#""status": "stopped""#).count(), project.state("ends").exists()), (4, false));
}

#[test]
fn a_log_is_continued_in_new_files_and_no_line_is_lost_or_cut() {
    if !need_sandbox() {
        return;
    }
    let project = Standing::new("supervise-rotate", "logs: {max_size: 4K, keep: 500}\n");
    project.start("count", "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo \"line $i of 3000\"; done; sleep 0.1");
    assert!(becomes(|| project.status("count") == "exited"));
    let parts = |n: u32| if n == 0 { "count.log".into() } else { format!("count.log.{n}") };
    let text = |n: u32| std::fs::read_to_string(project.state("logs").join(parts(n))).ok();
    let all: Vec<String> = (0..).map_while(text).collect();
    assert!(all.len() > 5 && all.iter().all(|part| part.len() < 4096 + 200 && part.ends_with('\n')));
    let whole: String = all.iter().rev().map(String::as_str).collect();
    let lines: Vec<&str> = whole.lines().filter(|line| line.starts_with("line ")).collect();
    let expected: Vec<String> = (1..=3000).map(|n| format!("line {n} of 3000")).collect();
    assert_eq!(lines, expected);
}

#[test]
fn old_logs_beyond_those_kept_are_removed() {
    if !need_sandbox() {
        return;
    }
    let project = Standing::new("supervise-keep", "logs: {max_size: 4K, keep: 1}\n");
    project.start("count", "i=0; while [ $i -lt 1000 ]; do i=$((i+1)); echo \"line $i of 1000\"; done; sleep 0.4");
    assert!(becomes(|| project.status("count") == "exited"));
    let mut names: Vec<String> = std::fs::read_dir(project.state("logs"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with("count."))
        .collect();
    names.sort();
    assert_eq!(names, ["count.log", "count.log.1"]);
}

#[test]
fn a_log_that_is_removed_goes_on_in_a_new_one() {
    if !need_sandbox() {
        return;
    }
    let project = Standing::new("supervise-removed", "");
    project.start("tick", "while :; do echo tick; sleep 0.2; done");
    assert!(becomes(|| project.log("tick").contains("\ntick\n")));
    project.sbox(&["clean", "--logs"]).assert().success();
    assert!(becomes(|| project.log("tick").contains("tick\n")));
}

/// In the place of sbox-spawn: it says that the command was executed and ends, while the supervisor is stopped and sees
/// both at once.
const ENDS_AT_ONCE: &str = r#"#!/bin/bash
[ "$1" = --status-fd ] || exit 9
kill -STOP $PPID
printf '{"event":"started","pid":%s,"command":%s}\n' $$ $$ > "/proc/self/fd/$2"
(
    eval "exec $2>&-"
    until grep -q '^State:.*Z' /proc/$$/status; do sleep 0.01; done
    kill -CONT $PPID
) < /dev/null > /dev/null 2>&1 &
exit 5
"#;

#[test]
fn a_daemon_that_ends_at_once_was_started_and_is_known() {
    let project = Standing::new("supervise-at-once", "");
    let spawn = project.scratch.write("stand-in/sbox-spawn", ENDS_AT_ONCE);
    std::fs::set_permissions(&spawn, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut supervise = project.scratch.program("sbox-supervise");
    supervise
        .args(["--project"])
        .arg(project.scratch.path("p"))
        .args(["--name", "web", "--"])
        .arg(&spawn)
        .args(["--", "true"]);
    supervise.timeout(std::time::Duration::from_secs(60)).assert().success().stdout(contains("\"started\""));
    assert!(becomes(|| project.status("web") == "exited"));
    assert_eq!(project.ps("web")["exit_code"], 5);
}
