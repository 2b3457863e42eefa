use crate::common::daemons::{GATE, Standing, long_nap};
use crate::common::{Ends, becomes, bin, need_sandbox, stdout};
use predicates::str::contains;
use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

#[test]
fn the_last_lines_come_across_files_and_long_lines() {
    let project = Standing::new("logs", "");
    let long = "x".repeat(200_000);
    project.scratch.write("p/.sbox/logs/web.log.2", "oldest\nold 1\n");
    project.scratch.write("p/.sbox/logs/web.log.1", &format!("old 2\n{long}\n"));
    project.scratch.write("p/.sbox/logs/web.log", "new 1\nnew 2");
    assert_eq!(project.stdout(&["logs", "web", "-n", "1"]), "new 2");
    assert_eq!(project.stdout(&["logs", "-n", "2", "web"]), "new 1\nnew 2");
    assert_eq!(project.stdout(&["logs", "-n", "3", "web"]), format!("{long}\nnew 1\nnew 2"));
    assert_eq!(project.stdout(&["logs", "-n", "5", "web"]), format!("old 1\nold 2\n{long}\nnew 1\nnew 2"));
    assert_eq!(project.stdout(&["logs", "web"]).len(), 7 + 6 + 6 + 200_001 + 6 + 5);
    assert_eq!(project.stdout(&["logs", "-n", "0", "web"]), "");
}

#[test]
fn there_are_logs_to_list_and_others_not_to_be_read() {
    let project = Standing::new("logs-list", "");
    project.scratch.write("p/.sbox/logs/web.log", "12345");
    project.scratch.write("p/.sbox/logs/web.log.1", "12345");
    project.scratch.write("p/outside.log", "precious");
    std::os::unix::fs::symlink(project.scratch.path("p/outside.log"), project.state("logs/evil.log")).unwrap();
    assert_eq!(project.stdout(&["logs", "--list"]), "web  10 B\n");
    for name in ["evil", "../../outside", "none"] {
        let output = project.sbox(&["logs", name]).output().unwrap();
        assert!(!output.status.success() && stdout(&output).is_empty(), "{name}");
    }
}

#[test]
fn what_was_asked_of_the_network_is_a_log_of_its_own() {
    let project = Standing::new("logs-network", "");
    let line = |time: u32, host: &str, allowed: bool, reason: &str| {
        format!(
            "{{\"time\":\"2026-01-01T00:00:0{time}Z\",\"host\":\"{host}\",\"port\":443,\"allowed\":{allowed},\"reason\":{reason},\"rule\":{}}}\n",
            if allowed { "null".into() } else { format!("\"{host}\"") }
        )
    };
    let refused = "\"'x.invalid' is not allowed; network: ...\"";
    let log = [
        line(1, "x.invalid", false, refused),
        line(2, "ok.invalid", true, "null"),
        line(3, "x.invalid", false, refused),
        line(4, "\\u001b[2Jevil", false, "\"'evil' was not found\""),
    ]
    .concat();
    assert_eq!(project.stdout(&["logs", "--network", "--json"]), "");
    project.scratch.write("p/.sbox/logs/network.log", &log);
    let table = project.stdout(&["logs", "--network"]);
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[1], ["2026-01-01T00:00:02Z", "ok.invalid", "443", "allowed", "1", "-", "-"]);
    let refused = ["2026-01-01T00:00:03Z", "x.invalid", "443", "refused", "2", "-", "-", "allow:", "[\"x.invalid\"]"];
    assert_eq!(rows[2], refused);
    assert!(!table.contains('\x1b') && rows.len() == 4, "{table}");
    assert_eq!(project.stdout(&["logs", "--network", "-n", "1"]).lines().count(), 2);
    assert_eq!(project.stdout(&["logs", "--network", "--since", "2026-01-01T00:00:04Z"]).lines().count(), 2);
    assert_eq!(project.stdout(&["logs", "--network", "--json"]), log);
    project.sbox(&["run", "-d", "-n", "network", "true"]).assert().code(125).stderr(contains("another log"));
}

#[test]
fn lines_have_times() {
    if !need_sandbox() {
        return;
    }
    let project = Standing::new("logs-times", "");
    project.start("web", "echo first; sleep 2.1; echo second; sleep 0.1");
    assert!(becomes(|| project.status("web") == "exited"));
    let text = project.stdout(&["logs", "web", "--json"]);
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let time = |line: &str| lines.iter().find(|one| one["line"] == line).unwrap()["time"].as_str().unwrap().to_owned();
    let (first, second) = (time("first"), time("second"));
    assert!(first < second && first.ends_with('Z'), "{text}");
    let since = project.stdout(&["logs", "web", "--since", &second]);
    assert!(since.starts_with("second\n"), "{since}");
    assert!(project.stdout(&["logs", "web", "--since", "1h"]).contains("first\n"));
    assert_eq!(project.stdout(&["logs", "web", "--since", "2090-01-01T00:00:00Z"]), "");
    // Together: the last lines of what is not older.
    let all = project.stdout(&["logs", "web", "--since", "1h"]);
    let last = all.lines().last().unwrap();
    assert_eq!(project.stdout(&["logs", "web", "--since", "1h", "-n", "1"]), format!("{last}\n"));
    assert_eq!(project.stdout(&["logs", "web", "--since", &second, "-n", "100"]), since);
    assert_eq!(project.stdout(&["logs", "web", "--since", "2090-01-01T00:00:00Z", "-n", "5"]), "");
    project.sbox(&["logs", "web", "--since", "yesterday"]).assert().code(2);
}

/// Whether somebody reads this project's logs.
fn following(project: &Standing) -> bool {
    let root = project.scratch.path("p");
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes.map(|process| process.path()).any(|process| {
        let line = std::fs::read(process.join("cmdline")).unwrap_or_default();
        let name = line.split(|byte| *byte == 0).next().unwrap_or_default();
        name.ends_with(b"/sbox-logs") && std::fs::read_link(process.join("cwd")).is_ok_and(|at| at == root)
    })
}

#[test]
fn following_ends_with_the_daemon_and_misses_no_line() {
    if !need_sandbox() {
        return;
    }
    let project = Standing::new("logs-follow", "logs: {max_size: 4K, keep: 100}\n");
    let line = "i=0; while [ $i -lt 2000 ]; do i=$((i+1)); echo \"line $i\"; [ $((i % 100)) = 0 ] && sleep 0.02; done";
    project.start("web", &format!("echo begun; {GATE}; {line}"));
    // All that there is to begin with, too: what is printed between the watch and the first look is history by then.
    let mut follow = project.sbox(&["logs", "-f", "-n", "3000", "web"]);
    let text = std::thread::scope(|scope| {
        let output = scope.spawn(|| follow.output().unwrap());
        assert!(becomes(|| following(&project)));
        project.open_gate();
        let output = output.join().unwrap();
        assert!(output.status.success());
        stdout(&output)
    });
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("line ")).collect();
    let expected: Vec<String> = (1..=2000).map(|n| format!("line {n}")).collect();
    assert_eq!(lines, expected);
    assert!(text.trim_end().ends_with("==="), "{text}");
}

#[test]
fn following_goes_on_across_a_restart() {
    if !need_sandbox() {
        return;
    }
    let nap = long_nap();
    let project = Standing::new("logs-follow-restart", "");
    project.start("web", &format!("echo begun; exec sleep {nap}"));
    let mut follow = std::process::Command::new(bin().join("sbox"));
    follow.args(["logs", "-f", "web"]).current_dir(project.scratch.path("p")).env_clear();
    follow.env("HOME", project.scratch.home()).env("PATH", "/usr/bin:/bin").stdout(Stdio::piped());
    let mut follow = Ends(follow.spawn().unwrap());
    let mut followed = BufReader::new(follow.0.stdout.take().unwrap());
    let mut text = String::new();
    let mut until_begun =
        |text: &mut String| while followed.read_line(text).unwrap() > 0 && !text.ends_with("begun\n") {};
    until_begun(&mut text);
    project.sbox(&["restart", "web"]).assert().success();
    until_begun(&mut text);
    project.sbox(&["stop", "web"]).assert().success();
    followed.read_to_string(&mut text).unwrap();
    assert!(follow.0.wait().unwrap().success());
    assert_eq!(text.matches("begun\n").count(), 2, "{text}");
    assert_eq!(text.matches("stopped (exit code").count(), 2, "{text}");
}

#[test]
fn several_logs_have_names_before_their_lines() {
    let project = Standing::new("logs-several", "");
    project.scratch.write("p/.sbox/logs/web.log", "one\ntwo");
    project.scratch.write("p/.sbox/logs/worker.log", "three\n");
    let text = project.stdout(&["logs", "web", "worker", "web"]);
    assert_eq!(text, "web    | one\nweb    | two\nworker | three\n");
    let json = project.stdout(&["logs", "--json", "web", "worker"]);
    let names: Vec<serde_json::Value> =
        json.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["name"].clone()).collect();
    assert_eq!(names, ["web", "web", "worker"]);
    project.sbox(&["logs", "web", "none"]).assert().code(1).stdout("").stderr(contains("there is no log 'none'"));
}

#[test]
fn lines_of_several_logs_come_in_the_order_in_which_they_were_written() {
    let project = Standing::new("logs-merged", "");
    // Longer than what is read at once, in two files, and one without times.
    let long = format!("{}\n", "x".repeat(300)).repeat(500);
    project.scratch.write("p/.sbox/logs/a.log.1", &format!("a1\n{long}a2\n"));
    project.scratch.write("p/.sbox/logs/.a.log.1.times", &format!("0 1000\n3 1002\n{} 1005\n", 3 + long.len()));
    project.scratch.write("p/.sbox/logs/a.log", "a3\n");
    project.scratch.write("p/.sbox/logs/.a.log.times", "0 1008\n");
    project.scratch.write("p/.sbox/logs/b.log", "b1\nb2\nb3\nb4");
    project.scratch.write("p/.sbox/logs/.b.log.times", "0 1001\n3 1003\n6 1006\n9 1009\n");
    project.scratch.write("p/.sbox/logs/c.log", "c1\n");
    let text = project.stdout(&["logs", "-n", "1000", "a", "b", "c"]);
    let short: Vec<&str> = text.lines().filter(|line| !line.contains('x')).collect();
    assert_eq!(short, ["c | c1", "a | a1", "b | b1", "b | b2", "a | a2", "b | b3", "a | a3", "b | b4"]);
    let first_x = text.find("a | x").unwrap();
    assert!(text.find("b1").unwrap() < first_x && first_x < text.find("b2").unwrap());
    let json = project.stdout(&["logs", "-j", "-n", "2", "a", "b"]);
    let lines = json.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let lines: Vec<String> = lines.map(|line| line["line"].as_str().unwrap().to_owned()).collect();
    assert_eq!(lines, ["a2", "b3", "a3", "b4"]);
}

#[test]
fn times_stand_before_lines_where_they_are_known() {
    let project = Standing::new("logs-stamped", "");
    project.scratch.write("p/.sbox/logs/web.log", "one\ntwo\n");
    project.scratch.write("p/.sbox/logs/.web.log.times", "0 1769774400\n4 1769774402\n");
    project.scratch.write("p/.sbox/logs/old.log", "three\n");
    assert_eq!(project.stdout(&["logs", "-t", "web"]), "2026-01-30T12:00:00Z one\n2026-01-30T12:00:02Z two\n");
    assert_eq!(project.stdout(&["logs", "-t", "-n", "1", "web"]), "2026-01-30T12:00:02Z two\n");
    assert_eq!(project.stdout(&["logs", "-t", "old"]), format!("{:<20} three\n", "-"));
    project.sbox(&["logs", "-t", "-j", "web"]).assert().code(2);
}

#[test]
fn several_logs_are_followed_until_all_have_ended() {
    if !need_sandbox() {
        return;
    }
    let project = Standing::new("logs-follow-several", "");
    for name in ["a", "b"] {
        project.start(name, &format!("{GATE}; echo last of {name}"));
    }
    let mut reading = std::process::Command::new(bin().join("sbox-logs"));
    reading.args(["-f", "a", "b"]).current_dir(project.scratch.path("p")).stdout(Stdio::piped());
    let mut reading = Ends(reading.spawn().unwrap());
    assert!(becomes(|| following(&project)));
    project.open_gate();
    let mut text = String::new();
    reading.0.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(text.contains("a | last of a\n") && text.contains("b | last of b\n"), "{text}");
}
