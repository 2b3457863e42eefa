//! How it looks: on terminals of 80 and 120 columns, with and without colour, and where there is no terminal.

use crate::common::daemons::Standing;
use crate::common::pty::Pty;
use crate::common::{bin, package};
use serde_json::json;
use std::process::Command;

/// A project with daemons whose names and commands are long, and a mount with a wide name.
fn project(name: &str) -> Standing {
    let project = Standing::new(name, "cmd: node server.js\nmount:\n  - ./数据:/数据\nenv: {A: b}\n");
    std::fs::create_dir_all(project.scratch.path("p/数据")).unwrap();
    let long = "node server.js --with --many --options ".repeat(5) + "日本語 🦀 the end";
    let record = |name: &str| {
        json!({"pid": 0, "name": name, "command": long, "start_time": "2026-01-30T12:00:00Z", "status": "exited",
            "exit_code": 3, "log_file": "/l", "project": "/p"})
    };
    let all = [record("web"), record(&"long-".repeat(12))];
    project.scratch.write("p/.sbox/processes.json", &json!(all).to_string());
    project.scratch.write("p/.sbox/logs/web.log", "one\n");
    project
}

/// What a command prints on a terminal so wide.
fn on_terminal(project: &Standing, words: &str, columns: u16, no_color: bool) -> String {
    let mut bash = Command::new("/bin/bash");
    bash.env_clear().current_dir(project.scratch.path("p")).env("HOME", project.scratch.home());
    bash.env("PATH", format!("{}:/usr/bin:/bin", bin().display())).env("LANG", "C.UTF-8");
    if no_color {
        bash.env("NO_COLOR", "1");
    }
    let mut shell = Pty::shell(bash);
    shell.line(&format!("stty cols {columns}; echo beg''un; {words} 2>&1; echo en''ded"));
    shell.expect("begun");
    let text = shell.expect("ended");
    text.trim_start_matches(['\r', '\n']).to_owned()
}

const COMMANDS: [&str; 8] = [
    "sbox ps --all",
    "sbox status",
    "sbox info",
    "sbox logs --list",
    "sbox validate",
    "sbox top -n 1",
    "sbox cache list",
    "sbox --help",
];

/// Text without colours.
fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("\x1b[") {
        out += &rest[..at];
        rest = rest[at..].split_once('m').map_or("", |(_, after)| after);
    }
    out + rest
}

#[test]
fn tables_fit_the_terminal_and_are_whole_without_one() {
    let project = project("looks-width");
    for columns in [80, 120] {
        for words in ["sbox ps --all", "sbox top -n 1", "sbox --help", "sbox ps --help", "sbox help ps | cat"] {
            let text = plain(&on_terminal(&project, words, columns, false));
            let widest = text.lines().map(|line| libsbox::width::of(line.trim_end())).max().unwrap_or(0);
            assert!(widest <= usize::from(columns), "{words} at {columns}: {widest}\n{text}");
        }
    }
    let narrow = plain(&on_terminal(&project, "sbox ps --all", 80, false));
    let wide = plain(&on_terminal(&project, "sbox ps --all", 160, false));
    assert!(narrow.contains('…') && wide.len() > narrow.len() + 100, "{narrow}{wide}");
    assert!(project.stdout(&["ps", "--all"]).contains("日本語 🦀 the end"));
}

#[test]
fn colour_is_for_terminals_whose_user_wants_it() {
    let project = project("looks-colour");
    let coloured = on_terminal(&project, "sbox status", 80, false);
    assert!(coloured.contains("\x1b[3"), "{coloured:?}");
    for words in COMMANDS {
        let text = on_terminal(&project, words, 80, true);
        assert!(!text.contains("\x1b[3"), "{words}: {text:?}");
        let words: Vec<&str> = words.split(' ').skip(1).collect();
        let output = project.sbox(&words).output().unwrap();
        let all = [output.stdout, output.stderr].concat();
        assert!(!all.contains(&0x1b), "{words:?}: {}", String::from_utf8_lossy(&all));
    }
}

/// Keys that are another program's, or of an older version of ours.
const OTHERS: [&str; 4] = ["buildInfo", "configHash", "builtAt", "upToDate"];

#[test]
fn keys_of_json_are_written_in_one_way() {
    let sources = walkdir::WalkDir::new(package().join("porcelain")).into_iter().map(Result::unwrap);
    let mut seen = 0;
    // What container engines, Kubernetes and clients of the Model Context Protocol read is written as they want it.
    let is_ours = |path: &str| !path.contains("/oci") && !path.contains("/sbox-mcp/");
    for entry in sources.filter(|entry| entry.file_type().is_file() && is_ours(&entry.path().to_string_lossy())) {
        let text = std::fs::read_to_string(entry.path()).unwrap();
        for part in text.split('"').skip(1).step_by(2) {
            let word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
            let is_key = !part.is_empty() && part.chars().all(word) && text.contains(&format!("\"{part}\":"));
            if is_key && !OTHERS.contains(&part) && !["oldMode", "newMode"].contains(&part) {
                assert!(!part.chars().any(|letter| letter.is_ascii_uppercase()), "{}: {part}", entry.path().display());
                seen += 1;
            }
        }
    }
    assert!(seen > 50, "{seen}");
}
