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

    let window = Window::open(&standing, "run\n");
    let mut terminal = Pty::start(command(&standing, &["run", "--ask", &script("a.invalid")]));
    let seen = terminal.expect("done");
    assert!(seen.contains("'a.invalid' was not found") && !seen.contains("[sbox]"), "{seen}");
    terminal.wait();
    assert!(window.close().contains("the sandbox asks for 'a.invalid'"));
}

/// Answers in a window of its own; gives what it asked.
struct Window(std::process::Child);

impl Window {
    fn open(standing: &Standing, answers: &str) -> Window {
        let mut window = command(standing, &["ask"]);
        let window = window.stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut window = Window(window.spawn().unwrap());
        window.0.stdin.as_mut().unwrap().write_all(answers.as_bytes()).unwrap();
        // It is there once it holds the lock.
        let watched = standing.state("ask/watched");
        let is_there = || watched.exists() && libsbox::fs::Lock::at_once(&watched).is_ok_and(|lock| lock.is_none());
        assert!(crate::common::becomes(is_there));
        window
    }

    fn close(mut self) -> String {
        drop(self.0.stdin.take());
        let _ = self.0.kill();
        String::from_utf8_lossy(&self.0.wait_with_output().unwrap().stderr).into_owned()
    }
}

#[test]
fn a_daemon_is_asked_for_in_a_window_that_names_it_and_refused_without_one() {
    if !need() {
        return;
    }
    let standing = Standing::new("ask-daemon", CONFIG);
    let script = "curl -sS http://a.invalid/; echo d''one; sleep 1000";
    let log = || std::fs::read_to_string(standing.state("logs/web.log")).unwrap_or_default();
    let start = standing.sbox(&["run", "-d", "-n", "web", "--ask", script]).output().unwrap();
    assert!(start.status.success() && crate::common::stderr(&start).contains("sbox ask"), "{start:?}");
    assert!(crate::common::becomes(|| log().contains("done")));
    assert!(log().contains("'a.invalid' is not allowed"), "{}", log());
    // Started again it asks as it did.
    let window = Window::open(&standing, "r\n");
    standing.sbox(&["restart", "web"]).assert().success();
    assert!(crate::common::becomes(|| log().matches("done").count() == 2));
    assert!(log().contains("'a.invalid' was not found"), "{}", log());
    standing.sbox(&["stop", "web"]).assert().success();
    let asked = window.close();
    assert!(asked.contains("the daemon 'web' asks for 'a.invalid'"), "{asked}");
}

#[test]
fn what_was_typed_before_the_question_is_no_answer_to_it() {
    if !need() {
        return;
    }
    let standing = Standing::new("ask-ahead", CONFIG);
    let script = "echo re''ady; until [ -e /tmp/gate ]; do sleep 0.02; done; curl -sS http://a.invalid/; echo d''one";
    let mut terminal = Pty::start(command(&standing, &["run", "--ask", script]));
    terminal.expect("ready");
    terminal.send("run\r");
    terminal.expect("run\r\n");
    standing.open_gate();
    terminal.expect("[no]: ");
    terminal.send("n\r");
    terminal.expect("'a.invalid' is not allowed");
    terminal.expect("done");
    terminal.wait();
}

/// Two other sandboxes have the terminal: a run in the background, and a daemon that was given it by a command which joined
/// it.
#[test]
fn no_other_sandbox_with_the_terminal_writes_over_the_question_or_reads_the_answer() {
    if !need() || !need_program("bash") || !need_program("python3") {
        return;
    }
    let standing = Standing::new("ask-others", CONFIG);
    let take = "import array, os, socket, time\ns = socket.socket(socket.AF_UNIX)\ns.bind('/tmp/new')\ns.listen()\n\
                os.rename('/tmp/new', '/tmp/take')\nc = s.accept()[0]\nfd = socket.recv_fds(c, 1, 1)[1][0]\n\
                while True:\n    os.write(fd, b'stolen\\n')\n    time.sleep(0.01)\n";
    let give = "import os, socket, time\ns = socket.socket(socket.AF_UNIX)\ns.connect('/tmp/take')\n\
                socket.send_fds(s, [b'x'], [1])\n\
                while True:\n    os.write(1, b'joined\\n')\n    time.sleep(0.01)\n";
    for (name, text) in [("take.py", take), ("give.py", give)] {
        std::fs::write(standing.state("rootfs/app").join(name), text).unwrap();
    }
    standing.start("thief", "exec python3 /app/take.py");
    assert!(crate::common::becomes(|| standing.state("rootfs/tmp/take").exists()));
    let sbox = bin().join("sbox").display().to_string();
    // What is in the background may write to a terminal, and gets SIGTTIN where it reads.
    let script = format!(
        "set -m; {sbox} run 'trap \"\" TTIN; while :; do echo painted; sleep 0.01; read x && echo got $x; done' &\n\
         {sbox} exec --in thief python3 /app/give.py &\n\
         read go; {sbox} run --ask 'curl -sS http://a.invalid/; echo d''one'; read go; kill %1 %2; wait; echo a''ll"
    );
    let mut shell = command(&standing, &[]);
    let program = std::mem::replace(&mut shell, Command::new("bash"));
    shell.args(["-c", &script]).env_clear().env("HOME", standing.scratch.home()).env("TERM", "xterm");
    shell.env("PATH", "/usr/bin:/bin").current_dir(program.get_current_dir().unwrap());
    let mut terminal = Pty::start(shell);
    for who in ["painted", "joined", "stolen"] {
        terminal.expect(who);
    }
    terminal.line("go");
    terminal.expect("the sandbox asks for 'a.invalid'");
    terminal.expect("[no]: ");
    // Time for a mistake to show: what comes until the echo of the answer was written while it waited.
    std::thread::sleep(std::time::Duration::from_millis(300));
    terminal.send("r\r");
    let rest = terminal.expect("r\r\n");
    for who in ["painted", "joined", "stolen", "got"] {
        assert!(!rest.contains(who), "{rest}");
    }
    terminal.expect("'a.invalid' was not found");
    // They go on.
    terminal.expect("done");
    for who in ["painted", "joined", "stolen"] {
        terminal.expect(who);
    }
    terminal.line("go");
    terminal.expect("all");
    standing.sbox(&["stop", "thief"]).assert().success();
    terminal.wait();
}
