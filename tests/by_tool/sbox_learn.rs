//! What a run missed.

use crate::common::daemons::Standing;
use crate::common::pty::Pty;
use crate::common::{Scratch, bin, need_program, need_sandbox, stderr, stdout};
use std::process::Command;

/// A sandbox, and a directory of the host that it has no other one in the place of: each has its own /tmp.
fn need_own_place() -> bool {
    if Scratch::new("learn-place").path(".").starts_with("/tmp") {
        crate::common::skip::skip("the tests are below /tmp, which each sandbox has of its own");
        return false;
    }
    need_sandbox()
}

#[test]
fn paths_that_the_host_has_and_the_sandbox_has_not_are_named_and_stay_away() {
    if !need_own_place() {
        return;
    }
    let standing = Standing::new("learn", "");
    for name in ["far/one", "far/many/a", "far/many/b", "far/many/c", "far/many/deep/d", "home/.ssh/id"] {
        standing.scratch.write(name, "secret\n");
    }
    let at = |below: &str| standing.scratch.path(below).display().to_string();
    let script = format!(
        "cat {one} 2>/dev/null && echo leaked; for name in a b c deep/d; do test -e {many}/$name && echo leaked; done; \
         ls {ssh}/id {nothing} / /etc /root {home} 2>/dev/null >/dev/null; cat /usr/nothing /etc/passwd >/dev/null; exit 7",
        one = at("far/one"),
        many = at("far/many"),
        ssh = at("home/.ssh"),
        nothing = at("nothing"),
        home = at("home"),
    );
    let output = standing.sbox(&["run", "--learn", &script]).output().unwrap();
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(7), "{said}");
    assert_eq!(stdout(&output), "");
    let lines: Vec<&str> = said.lines().filter_map(|line| line.trim().strip_prefix("- ")).collect();
    let line = |below: &str| format!("{0}:{0}:ro", at(below));
    for wanted in [line("far/one"), line("far/many"), line("home/.ssh/id")] {
        assert!(lines.iter().any(|line| line.starts_with(&wanted)), "{wanted}: {said}");
    }
    assert!(said.contains("careful: it holds your SSH keys"), "{said}");
    for never in [line("nothing"), line("home"), line("far/many/a"), "/:/".into(), "/etc:".into(), "/root:".into()] {
        assert!(!lines.iter().any(|line| line.starts_with(&format!("{never} ")) || *line == never), "{never}: {said}");
    }
    assert!(
        !standing
            .state("logs")
            .parent()
            .unwrap()
            .read_dir()
            .unwrap()
            .any(|entry| { entry.unwrap().file_name().to_string_lossy().starts_with("learned-") })
    );
    let plain = standing.sbox(&["run", "--learn", "true"]).output().unwrap();
    assert!(stderr(&plain).contains("nothing that is not there"), "{}", stderr(&plain));
}

#[test]
fn names_are_learned_and_the_lines_are_written_after_a_question() {
    if !need_own_place() || !need_program("curl") {
        return;
    }
    let config = "# mine\nmount:\n  - /usr/include:/inc:ro  # why\nnetwork:\n  allow: [x.invalid]\n";
    let standing = Standing::new("learn-write", config);
    let one = standing.scratch.write("far/one", "content\n").display().to_string();
    let script = format!("cat {one}; curl -sS http://a.invalid/ http://b.invalid:8080/; echo d''one");
    let start = |words: &[&str]| {
        let mut command = Command::new(bin().join("sbox"));
        command.args(["run", "--learn", "--write"]).args(words).env_clear().env("TERM", "xterm");
        command.env("HOME", standing.scratch.home()).env("PATH", "/usr/bin:/bin");
        Pty::start({
            command.current_dir(standing.scratch.path("p"));
            command
        })
    };
    let read = || std::fs::read_to_string(standing.state("config.yaml")).unwrap();
    let before = read();
    let mut terminal = start(&[&script]);
    terminal.expect("done");
    terminal.expect(&format!("- {one}:{one}:ro"));
    terminal.expect("- \"a.invalid\"");
    terminal.expect("- \"b.invalid:8080\"");
    terminal.expect("[y/N]");
    terminal.send("n\r");
    terminal.expect("nothing was added");
    terminal.wait();
    assert_eq!(read(), before);
    let mut terminal = start(&[&script]);
    terminal.expect("[y/N]");
    terminal.send("y\r");
    terminal.expect("Added to");
    terminal.wait();
    let text = read();
    assert!(text.contains(&format!("  - /usr/include:/inc:ro  # why\n  - \"{one}:{one}:ro\"\n")), "{text}");
    assert!(text.contains("allow: [x.invalid, a.invalid, \"b.invalid:8080\"]\n"), "{text}");
    let there = standing.sbox(&["run", &format!("cat {one}")]).output().unwrap();
    assert_eq!(stdout(&there), "content\n", "{}", stderr(&there));
}

/// An agent chooses what it asks for, and how much.
#[test]
fn what_is_added_was_shown_gives_no_key_away_and_cannot_paint() {
    if !need_own_place() {
        return;
    }
    let standing = Standing::new("learn-flood", "network: none\n");
    let key = standing.scratch.write("home/.ssh/id_rsa", "key\n").display().to_string();
    let painter = standing.scratch.write("way/0\u{1b}]0;owned\u{7}", "").display().to_string();
    for number in 10..60 {
        standing.scratch.write(&format!("way/d{number}/f"), "");
    }
    let far = standing.scratch.path("way").display().to_string();
    let start = |script: &str| {
        let mut command = Command::new(bin().join("sbox"));
        command.args(["run", "--learn", "--write", script]).env_clear().env("TERM", "xterm");
        command.env("HOME", standing.scratch.home()).env("PATH", "/usr/bin:/bin");
        command.current_dir(standing.scratch.path("p"));
        Pty::start(command)
    };
    let flood = "n=10; while [ $n -lt 60 ]; do cat $far/d$n/f; n=$((n+1)); done";
    let mut terminal = start(&format!("exec 2>/dev/null; far={far}; cat {key}; {flood}"));
    terminal.expect("careful: ");
    terminal.expect("# and 11 more");
    terminal.expect("[y/N]");
    terminal.send("y\r");
    terminal.expect("Added to");
    terminal.wait();
    let text = std::fs::read_to_string(standing.state("config.yaml")).unwrap();
    assert!(!text.contains("id_rsa") && !text.contains(".ssh"), "{text}");
    let added: Vec<&str> = text.lines().filter(|line| line.contains("/way/d")).collect();
    let all = terminal.all();
    assert!(
        !added.is_empty()
            && added.iter().all(|line| { all.contains(line.trim().trim_start_matches("- ").trim_matches('"')) }),
        "{added:?}\n{all}"
    );

    let mut terminal = start(&format!("cat '{painter}' 2>/dev/null; echo d''one"));
    terminal.expect("done");
    terminal.expect("]0;owned");
    terminal.expect("[y/N]");
    terminal.send("n\r");
    terminal.wait();
    assert!(!terminal.all().contains("\u{1b}]0;"), "{}", terminal.all());
}

#[test]
fn learning_of_the_network_lets_names_through_and_no_others_ways() {
    if !need_sandbox() || !need_program("curl") {
        return;
    }
    let standing = Standing::new("learn-network", "network: {allow: [], deny: [bad.invalid]}\n");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let script = format!("curl -sS http://a.invalid/ http://bad.invalid/ http://localhost:{port}/");
    let output = standing.sbox(&["run", "--learn=network", &script]).env("NO_PROXY", "").output().unwrap();
    let (out, said) = (stdout(&output), stderr(&output));
    assert!(out.contains("'a.invalid' was not found") && out.contains("'bad.invalid' is denied"), "{out}");
    assert!(said.contains("- \"a.invalid\"") && !said.contains("bad.invalid"), "{said}");
    let plain = standing.sbox(&["run", "--learn", "curl -sS http://a.invalid/"]).output().unwrap();
    assert!(stdout(&plain).contains("'a.invalid' is not allowed"), "{}", stdout(&plain));
    for wrong in [&["run", "--write", "true"][..], &["run", "--learn=x", "true"], &["run", "--learn", "-d", "true"]] {
        assert_eq!(standing.sbox(wrong).output().unwrap().status.code(), Some(125), "{wrong:?}");
    }
}
