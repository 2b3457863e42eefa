//! The record of runs: what stands in it, that it cannot be filled, reached or changed unnoticed, and what is told of it.

use crate::common::cow::need_overlay;
use crate::common::daemons::Standing;
use crate::common::http::{self, Server};
use crate::common::{Ends, becomes, bin, need_program, need_sandbox, on_a_terminal, stderr, stdout};
use predicates::str::contains;
use serde_json::Value;
use std::process::{Command, Stdio};

/// The last run of a project.
fn last(project: &Standing) -> Value {
    let mut all: Vec<Value> = serde_json::from_str(&project.stdout(&["report", "--last", "-j"])).unwrap();
    all.pop().unwrap()
}

/// Events of one kind in it.
fn events<'a>(run: &'a Value, kind: &str) -> Vec<&'a Value> {
    let all = run["events"].as_array().unwrap().iter().map(|event| &event["what"]);
    all.filter(|event| event["event"] == kind).collect()
}

fn record(project: &Standing) -> String {
    std::fs::read_to_string(project.state("logs/record.jsonl")).unwrap()
}

#[test]
fn somebody_who_was_not_there_reads_what_a_run_asked_for_and_how_it_ended() {
    if !need_sandbox() || !need_program("curl") || !need_program("unshare") {
        return;
    }
    let project = Standing::new("report", "network: {allow: [ok.invalid]}\n");
    let script = "for n in 1 2 3; do unshare -U true; done; curl -s http://a.invalid/; curl -s https://b.invalid:8443/; \
                  curl -s http://a.invalid/; sleep 1000 & until grep -q sleep /proc/$!/comm; do :; done; exit 3";
    project.sbox(&["exec", "sh", "-c", script]).assert().code(3);
    let run = last(&project);
    assert_eq!((&run["run"], &run["end"]["code"], &run["is_running"]), (&1.into(), &3.into(), &false.into()));
    assert_eq!((&run["start"]["kind"], &run["start"]["network"]), (&"exec".into(), &"proxy".into()));
    assert_eq!(run["end"]["isolation"], "namespace");
    let asked = run["end"]["asked"].as_array().unwrap();
    let shown: Vec<_> =
        asked.iter().map(|asked| format!("{} {} {}", asked["host"], asked["count"], asked["rule"])).collect();
    assert_eq!(shown, [r#""a.invalid" 2 "a.invalid""#, r#""b.invalid" 1 "b.invalid:8443""#]);
    let call = &run["end"]["calls"][0];
    assert_eq!(
        (&call["what"], &call["count"], &call["key"]),
        (&"user namespaces".into(), &3.into(), &"nested: true".into())
    );
    assert_eq!(events(&run, "left")[0]["programs"], serde_json::json!(["sleep"]));
    // In words, of one and of all, at 80 columns.
    for words in [vec!["report", "--last"], vec!["report"], vec!["report", "1"]] {
        let text = project.stdout(&words);
        for said in
            ["a.invalid", "b.invalid", "\"b.invalid:8443\"", "user namespaces), 3 times; 'nested: true'", "sleep"]
        {
            assert!(text.contains(said), "{said}: {text}");
        }
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }
    assert!(project.stdout(&["report", "1"]).starts_with("Run 1: exec, ended with code 3 after "));
    project.sbox(&["report", "--verify"]).assert().success().stderr(contains("as it was written"));
    project.sbox(&["report", "7"]).assert().code(1).stderr(contains("no run of '7'"));
    // Nothing was asked: that is said, too.
    project.sbox(&["exec", "true"]).assert().success();
    let text = project.stdout(&["report", "--last"]);
    assert!(text.contains("No name was refused") && text.contains("no system call was refused"), "{text}");
    assert_eq!(project.stdout(&["report", "--list"]).lines().count(), 3);
    assert!(project.stdout(&["report"]).starts_with("2 runs since "));
}

#[test]
fn bytes_that_went_to_a_name_are_counted() {
    if !need_sandbox() || !need_program("curl") {
        return;
    }
    let server = Server::start(|_, stream| http::send(stream, "200 OK", "", &[b'x'; 50_000]));
    let port = server.url("/").rsplit_once(':').unwrap().1.trim_end_matches('/').to_owned();
    let project = Standing::new("report-bytes", &format!("network: {{allow: ['web.invalid:{port}=127.0.0.1']}}\n"));
    let get = format!("curl -sS http://web.invalid:{port}/ | wc -c");
    // Of a connection that is open when the sandbox ends, too.
    let hold = format!(
        "exec 3<>/dev/tcp/127.0.0.1/3128; printf 'CONNECT web.invalid:{port} HTTP/1.1\\r\\nHost: web.invalid:{port}\\r\\n\\r\\nGET / HTTP/1.1\\r\\n\\r\\n' >&3; \
         head -c 40000 <&3 | wc -c"
    );
    for script in [&get, &hold] {
        let before = server.requests().len();
        project.sbox(&["exec", "bash", "-c", script]).assert().success().stdout(contains("0000\n"));
        assert_eq!(server.requests().len(), before + 1);
        let run = last(&project);
        let asked = &run["end"]["asked"][0];
        assert_eq!(
            (&asked["host"], &asked["allowed"], &asked["count"]),
            (&"web.invalid".into(), &true.into(), &1.into())
        );
        let (sent, received) = (asked["sent"].as_u64().unwrap(), asked["received"].as_u64().unwrap());
        assert!((10..10_000).contains(&sent) && (40_000..60_000).contains(&received), "{script}: {run}");
    }
    let table = project.stdout(&["logs", "--network"]);
    let row: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row[1..5], ["web.invalid", &port, "allowed", "2"], "{table}");
    assert!(row[7].parse::<f64>().unwrap() > 80.0 && row[8] == "kB", "{table}");
    assert!(project.stdout(&["report"]).contains("Let through by the network"));
}

#[test]
fn an_agent_that_asks_for_thousands_of_names_fills_nothing_and_sends_nothing_to_a_terminal() {
    if !need_sandbox() || !need_program("python3") {
        return;
    }
    let project = Standing::new("report-flood", "network: {allow: [ok.invalid]}\n");
    let script = r#"
import socket
def ask(text):
    s = socket.create_connection(("127.0.0.1", 3128)); s.sendall(text); s.shutdown(socket.SHUT_WR)
    while s.recv(65536): pass
for n in range(1500):
    ask(b"CONNECT n%d.invalid:443 HTTP/1.1\r\nHost: n%d.invalid:443\r\n\r\n" % (n, n))
for name in (b"a\x1b[2Jb", b"x\ny", b"\xe2\x80\xae.invalid", b"%0a%1b.invalid", b"q" * 5000, b"\"},{\"event\":\"end"):
    ask(b"CONNECT " + name + b":443 HTTP/1.1\r\nHost: " + name + b":443\r\n\r\n")
    ask(b"GET http://" + name + b"/ HTTP/1.1\r\nHost: " + name + b"\r\n\r\n")
"#;
    project.sbox(&["exec", "python3", "-c", script]).assert().success();
    let text = record(&project);
    assert!(text.len() < 200_000 && text.lines().all(|line| line.len() < 100_000), "{}", text.len());
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()) && !text.contains('\u{202e}'));
    let run = last(&project);
    assert_eq!(events(&run, "network").len(), libsbox::record::MOST_NAMES);
    assert_eq!(events(&run, "network").iter().filter(|event| event["allowed"] == true).count(), 0);
    let more = run["end"]["more_asked"][1].as_u64().unwrap();
    assert!(more >= 1500 - libsbox::record::MOST_NAMES as u64, "{more}");
    let shown = project.stdout(&["report"]);
    assert!(shown.contains("requests for more names") && shown.lines().count() < 80, "{shown}");
    assert!(shown.chars().all(|c| c == '\n' || !c.is_control()));
    project.sbox(&["report", "--verify"]).assert().success();
}

#[test]
fn calls_in_a_loop_are_refused_each_time_and_counted() {
    if !need_sandbox() || !need_program("python3") {
        return;
    }
    let project = Standing::new("report-calls", "");
    // umount2 of nothing, which has a number on every architecture: refused by the filter, and by nobody else with EPERM.
    let script = format!(
        "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n\
         for n in range(5000):\n    assert libc.syscall({}, b'/nowhere', 0) == -1 and ctypes.get_errno() == 1\n",
        libc::SYS_umount2
    );
    for level in ["namespace", "landlock"] {
        let output = project.sbox(&["exec", "--isolation", level, "python3", "-c", &script]).output().unwrap();
        assert!(output.status.success(), "{level}: {}", stderr(&output));
        let run = last(&project);
        assert_eq!(
            (&run["end"]["calls"][0]["call"], &run["end"]["calls"][0]["count"]),
            (&"umount2".into(), &5000.into())
        );
        assert_eq!(events(&run, "call").len(), 1);
    }
}

/// The monitor is killed while a program asks for what is refused: nothing is let through, and nothing waits for ever.
#[test]
fn a_program_that_nobody_answers_any_more_is_refused_by_the_kernel() {
    if !need_sandbox() || !need_program("python3") {
        return;
    }
    let project = Standing::new("report-killed", "");
    let script = format!(
        "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\nout = open('/app/out', 'w')\nout.write('begun\\n'); out.flush()\n\
         while True:\n    r = libc.syscall({}, b'/nowhere', 0); e = ctypes.get_errno()\n    \
         if r != -1 or e not in (1, 38): out.write(f'{{r}} {{e}}\\n'); out.flush()\n",
        libc::SYS_umount2
    );
    let mut command = Command::new(bin().join("sbox-exec"));
    command
        .args(["python3", "-c", &script])
        .env_clear()
        .env("HOME", project.scratch.home())
        .env("PATH", "/usr/bin:/bin");
    command.current_dir(project.scratch.path("p")).stdin(Stdio::null()).stderr(Stdio::null());
    let mut sandbox = Ends(command.spawn().unwrap());
    let out = project.state("rootfs/app/out");
    assert!(becomes(|| std::fs::read_to_string(&out).is_ok_and(|text| text.starts_with("begun"))));
    assert!(becomes(|| record(&project).contains("umount2")));
    assert!(last(&project)["is_running"] == true && project.stdout(&["report"]).contains("is running"));
    sandbox.0.kill().unwrap();
    sandbox.0.wait().unwrap();
    assert!(becomes(|| crate::common::running("python3", "out.flush()") == 0), "it goes on");
    assert_eq!(std::fs::read_to_string(&out).unwrap(), "begun\n");
    let text = project.stdout(&["report", "--last"]);
    assert!(text.contains("was killed, or the machine went down") && text.contains("umount2"), "{text}");
    project.sbox(&["report", "--verify"]).assert().success();
}

#[test]
fn the_record_cannot_be_seen_where_the_projects_directory_is_mounted() {
    if !need_sandbox() {
        return;
    }
    let project = Standing::new("report-hidden", "mount: [ '.:/work:rw' ]\n");
    project.sbox(&["exec", "true"]).assert().success();
    let before = record(&project);
    let script = "cat /work/.sbox/logs/record.jsonl /work/.sbox/logs/record.head; ls /work/.sbox; \
                  mkdir -p /work/.sbox/logs; echo x >> /work/.sbox/logs/record.jsonl; rm -rf /work/.sbox/logs; \
                  mv /work/.sbox /work/aside; true";
    let output = project.sbox(&["exec", "sh", "-c", script]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(!stdout(&output).contains("prev") && !stdout(&output).contains("logs"), "{}", stdout(&output));
    assert!(record(&project).starts_with(&before));
    project.sbox(&["report", "--verify"]).assert().success();
}

#[test]
fn a_line_that_was_changed_or_removed_is_found() {
    if !need_sandbox() {
        return;
    }
    let project = Standing::new("report-verify", "");
    for code in ["0", "4"] {
        project.sbox(&["exec", "sh", "-c", &format!("exit {code}")]).assert().code(code.parse::<i32>().unwrap());
    }
    let whole = record(&project);
    let path = project.state("logs/record.jsonl");
    project.sbox(&["report", "--verify"]).assert().success();
    let lines: Vec<&str> = whole.lines().collect();
    let edited = whole.replace("\"code\":4", "\"code\":0");
    let without_last = format!("{}\n", lines[..lines.len() - 1].join("\n"));
    let without_first = format!("{}\n", lines[1..].join("\n"));
    for text in [&edited, &without_last, &without_first] {
        std::fs::write(&path, text).unwrap();
        project.sbox(&["report", "--verify"]).assert().code(1).stderr(contains("record.jsonl"));
        // What is written later does not hide it.
        project.sbox(&["exec", "true"]).assert().success();
        project.sbox(&["report", "--verify"]).assert().code(1);
        let found: Value =
            serde_json::from_slice(&project.sbox(&["report", "--verify", "-j"]).output().unwrap().stdout).unwrap();
        assert_eq!(found["is_whole"], false);
        for file in ["record.jsonl", "record.head"] {
            std::fs::remove_file(project.state(&format!("logs/{file}"))).unwrap();
        }
        project.sbox(&["exec", "true"]).assert().success();
        project.sbox(&["report", "--verify"]).assert().success();
        for code in ["0", "4"] {
            project.sbox(&["exec", "sh", "-c", &format!("exit {code}")]).assert().code(code.parse::<i32>().unwrap());
        }
    }
}

#[test]
fn a_record_that_cannot_be_written_is_said_and_stops_nothing() {
    if !need_sandbox() {
        return;
    }
    let project = Standing::new("report-unwritable", "");
    std::fs::create_dir(project.state("logs/record.jsonl")).unwrap();
    let output = project.sbox(&["exec", "sh", "-c", "echo out; exit 5"]).output().unwrap();
    assert_eq!((output.status.code(), stdout(&output), stderr(&output)), (Some(5), "out\n".into(), String::new()));
    let seen = on_a_terminal(&project.sbox(&["exec", "true"]));
    assert!(seen.contains("the record of this run is not whole"), "{seen}");
    // And a link leads nowhere.
    std::fs::remove_dir(project.state("logs/record.jsonl")).unwrap();
    let precious = project.scratch.write("precious", "whole\n");
    std::os::unix::fs::symlink(&precious, project.state("logs/record.jsonl")).unwrap();
    project.sbox(&["exec", "true"]).assert().success();
    assert_eq!(project.scratch.read("precious"), "whole\n");
}

#[test]
fn each_start_of_a_daemon_is_a_run_of_its_name() {
    if !need_sandbox() {
        return;
    }
    let project = Standing::new("report-daemon", "restart: on-failure\nmax_restarts: 2\n");
    project.start("web", "exit 7");
    assert!(becomes(|| project.status("web") == "failed"));
    project.sbox(&["exec", "true"]).assert().success();
    let runs: Vec<Value> = serde_json::from_str(&project.stdout(&["report", "web", "-j"])).unwrap();
    assert_eq!(runs.len(), 3);
    assert!(runs.iter().all(|run| run["end"]["code"] == 7 && run["start"]["kind"] == "daemon"), "{runs:?}");
    assert!(project.stdout(&["report", "web"]).starts_with("3 runs since "));
    // What joins one is among them.
    project.start("stays", "sleep 1000");
    project.sbox(&["exec", "--in", "stays", "sh", "-c", "exit 4"]).assert().code(4);
    project.sbox(&["stop", "stays"]).assert().success();
    let runs: Vec<Value> = serde_json::from_str(&project.stdout(&["report", "stays", "-j"])).unwrap();
    let shown: Vec<String> =
        runs.iter().map(|run| format!("{} {}", run["start"]["kind"], run["end"]["code"])).collect();
    assert_eq!(shown, ["\"daemon\" 143", "\"exec\" 4"]);
    project.sbox(&["report", "--verify"]).assert().success();
}

#[test]
fn a_limit_that_was_met_is_recorded() {
    if !need_sandbox() {
        return;
    }
    let project = Standing::new("report-limit", "limits: {time: 1}\n");
    project.sbox(&["exec", "sleep", "1000"]).assert().code(137);
    let run = last(&project);
    assert!(events(&run, "limit")[0]["what"].as_str().unwrap().contains("time limit of 1s"), "{run}");
    assert!(project.stdout(&["report"]).contains("Limits met"));
}

#[test]
fn files_changed_in_a_copy_on_write_mount_are_those_of_the_run() {
    if !need_sandbox() || !need_overlay() {
        return;
    }
    let project = Standing::new("report-changes", "mount: [ '.:/work:cow' ]\n");
    project.scratch.write("p/here.txt", "host\n");
    project.scratch.write("p/goes.txt", "host\n");
    project
        .sbox(&["exec", "sh", "-c", "echo x > /work/first; mkdir /work/.git; echo x > /work/.git/config"])
        .assert()
        .success();
    let run = last(&project);
    let changes = events(&run, "changes")[0].clone();
    assert_eq!((&changes["dst"], &changes["count"], &changes["in_git"]), (&"/work".into(), &1.into(), &1.into()));
    project
        .sbox(&[
            "exec",
            "sh",
            "-c",
            "echo y > /work/here.txt; rm /work/goes.txt; printf x > \"$(printf '/work/e\\033vil')\"",
        ])
        .assert()
        .success();
    let changes = events(&last(&project), "changes")[0].clone();
    assert_eq!(changes["files"], serde_json::json!(["e\\x1bvil", "goes.txt", "here.txt"]), "{changes}");
    let text = project.stdout(&["report"]);
    assert!(text.contains("first") && text.contains("goes.txt") && !text.contains('\x1b'), "{text}");
    project.sbox(&["exec", "cat", "/work/first"]).assert().success();
    assert!(events(&last(&project), "changes").is_empty());
}

#[test]
fn the_end_of_a_run_says_what_would_allow_it_but_not_into_a_screen_that_a_program_draws_on() {
    if !need_sandbox() || !need_program("python3") || !need_program("unshare") {
        return;
    }
    let project = Standing::new("report-end", "");
    let ask = "for n in 1 2 3; do unshare -U true 2>/dev/null; done";
    let seen = on_a_terminal(&project.sbox(&["exec", "sh", "-c", ask]));
    assert!(seen.contains("it asked for user namespaces 3 times; 'nested: true'"), "{seen}");
    // A program that has ended in the middle of drawing.
    let seen = on_a_terminal(&project.sbox(&["exec", "sh", "-c", &format!("{ask}; stty raw -echo")]));
    assert!(!seen.contains("it asked for"), "{seen}");
    let none = on_a_terminal(&project.sbox(&["exec", "true"]));
    assert!(!none.contains("[INFO]") && !none.contains("report"), "{none}");
    let elsewhere = project.sbox(&["exec", "sh", "-c", ask]).output().unwrap();
    assert_eq!(stderr(&elsewhere), "");
}
