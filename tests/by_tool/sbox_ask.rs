//! Asking about names that no rule has.

use crate::common::daemons::Standing;
use crate::common::pty::Pty;
use crate::common::{bin, need_program, need_sandbox, stdout};
use std::io::Write;
use std::process::{Command, Stdio};

const CONFIG: &str = "# ours\nnetwork:\n  allow:\n    - x.invalid  # why\n  deny: [bad.invalid]\n";

fn need() -> bool {
    need_sandbox() && need_program("curl")
}

fn command(standing: &Standing, words: &[&str]) -> Command {
    let mut command = Command::new(bin().join("sbox"));
    command.args(words).env_clear().env("HOME", standing.scratch.home()).env("TERM", "xterm");
    command.env("PATH", "/usr/bin:/bin").current_dir(standing.scratch.path("p"));
    command
}

#[test]
fn each_answer_holds_as_long_as_it_says_and_always_is_written_down() {
    if !need() {
        return;
    }
    let standing = Standing::new("ask", CONFIG);
    let script = "get() { curl -sS http://$1/; }; get a.invalid; get a.invalid; get a.invalid; get b.invalid; get b.invalid; \
                  get bad.invalid; get c.invalid; echo d''one";
    let mut terminal = Pty::start(command(&standing, &["run", "--ask", script]));
    let asked = |terminal: &mut Pty, name: &str, answer: &str| {
        terminal.expect(&format!("[sbox] the sandbox asks for '{name}', which no rule allows"));
        terminal.expect("[no]: ");
        terminal.send(answer);
    };
    asked(&mut terminal, "a.invalid", "o\r");
    terminal.expect("'a.invalid' was not found");
    asked(&mut terminal, "a.invalid", "no\r");
    terminal.expect("'a.invalid' is not allowed");
    // A no holds for the rest of the run.
    assert!(!terminal.expect("'a.invalid' is not allowed").contains("asks for"));
    asked(&mut terminal, "b.invalid", "r\r");
    terminal.expect("'b.invalid' was not found");
    assert!(!terminal.expect("'b.invalid' was not found").contains("asks for"));
    assert!(!terminal.expect("'bad.invalid' is denied").contains("asks for"));
    asked(&mut terminal, "c.invalid", "always\r");
    terminal.expect("'c.invalid' was not found");
    terminal.expect("done");
    assert!(terminal.wait().success());
    let text = std::fs::read_to_string(standing.state("config.yaml")).unwrap();
    let wanted = CONFIG.replace("    - x.invalid  # why\n", "    - x.invalid  # why\n    - c.invalid\n");
    assert!(text.ends_with(&wanted), "{text}");
}

#[test]
fn a_program_that_reads_the_terminal_gets_no_answer_of_the_users() {
    if !need() {
        return;
    }
    let standing = Standing::new("ask-thief", CONFIG);
    // It reads whatever is typed, from before the question on, and paints over the question.
    let script = "exec 3<&0; while read line <&3; do echo \"got $line\"; done & \
                  while :; do echo painted; sleep 0.01; done & painter=$!; \
                  curl -sS http://a.invalid/; kill $painter; echo d''one; wait";
    let mut terminal = Pty::start(command(&standing, &["run", "--ask", script]));
    terminal.expect("the sandbox asks for 'a.invalid'");
    let rest = terminal.expect("[no]: ");
    terminal.send("r\r");
    let after = terminal.expect("'a.invalid' was not found");
    assert!(!rest.contains("painted") && !after.contains("got r"), "{rest}{after}");
    terminal.expect("done");
    terminal.line("hello");
    terminal.expect("got hello");
    terminal.send("\u{4}");
    terminal.wait();
}

#[test]
fn without_a_terminal_it_is_a_refusal() {
    if !need() {
        return;
    }
    let standing = Standing::new("ask-blind", CONFIG);
    let mut alone = Command::new("setsid");
    alone.arg("-w").arg(bin().join("sbox")).args(["run", "--ask", "curl -sS http://a.invalid/"]).stdin(Stdio::null());
    alone.env_clear().env("HOME", standing.scratch.home()).env("PATH", "/usr/bin:/bin");
    let output = alone.current_dir(standing.scratch.path("p")).output().unwrap();
    assert!(stdout(&output).contains("'a.invalid' is not allowed"), "{output:?}");
    let wrong = standing.sbox(&["run", "--ask", "--network", "none", "true"]).output().unwrap();
    assert_eq!(wrong.status.code(), Some(125), "{wrong:?}");
}

#[test]
fn a_full_screen_program_is_left_alone_and_another_window_answers() {
    if !need() {
        return;
    }
    let standing = Standing::new("ask-screen", CONFIG);
    let script = |name: &str| format!("stty raw -echo; curl -sS http://{name}/; stty sane; echo d''one");
    let mut terminal = Pty::start(command(&standing, &["run", "--ask", &script("a.invalid")]));
    let seen = terminal.expect("done");
    assert!(seen.contains("'a.invalid' is not allowed") && !seen.contains("[sbox]"), "{seen}");
    terminal.wait();

    let mut window = command(&standing, &["ask"]);
    let mut window = window.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    // It is there once it holds the lock.
    let watched = standing.state("ask/watched");
    assert!(crate::common::becomes(
        || watched.exists() && libsbox::fs::Lock::at_once(&watched).is_ok_and(|lock| lock.is_none())
    ));
    let mut terminal = Pty::start(command(&standing, &["run", "--ask", &script("a.invalid")]));
    window.stdin.as_mut().unwrap().write_all(b"run\n").unwrap();
    let seen = terminal.expect("done");
    assert!(seen.contains("'a.invalid' was not found") && !seen.contains("[sbox]"), "{seen}");
    terminal.wait();
    drop(window.stdin.take());
    let _ = window.kill();
    let _ = window.wait();
}
