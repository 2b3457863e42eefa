//! A sandbox in the foreground of a terminal behaves as the bare command would: keys, job control, hang-up, window size.

use crate::common::pty::Pty;
use crate::common::{Scratch, becomes, bin, need_program, need_sandbox};
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

/// A shell with job control in `scratch`, in which `sbox-spawn` is found.
fn shell(scratch: &Scratch) -> Pty {
    let mut bash = Command::new("/bin/bash");
    bash.env_clear().current_dir(&scratch.root).env("HOME", scratch.home());
    bash.env("PATH", format!("{}:/usr/bin:/bin", bin().display()));
    Pty::shell(bash)
}

/// `sbox-spawn` as the leader of the session.
fn leader(scratch: &Scratch, words: &[&str]) -> Pty {
    let mut command = Command::new(bin().join("sbox-spawn"));
    command.args(words).env_clear().env("TERM", "xterm").current_dir(&scratch.root);
    Pty::start(command)
}

fn until_jobs_say(shell: &mut Pty, text: &str) {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        shell.line("jobs; echo lis''ted");
        if shell.expect("listed").contains(text) {
            return;
        }
        assert!(std::time::Instant::now() < end, "{}", shell.all());
    }
}

const LEVELS: [&str; 3] = ["namespace", "landlock", "env"];

/// The shell has the terminal again, and its last command ended with this code.
fn ended_with(shell: &mut Pty, code: u8) {
    shell.expect("READY> ");
    shell.line("echo code $?");
    shell.expect(&format!("code {code}"));
}

#[test]
fn a_command_that_stops_itself_gives_the_shell_back_and_goes_on_in_the_foreground() {
    let Some(scratch) = Scratch::sandbox("terminal-stop") else { return };
    let mut shell = shell(&scratch);
    for level in LEVELS {
        // To itself alone, to its process group, and by the signal that cannot be caught.
        for stop in ["kill -TSTP $$", "kill -TSTP 0", "kill -STOP $$"] {
            shell.line(&format!("sbox-spawn --isolation {level} sh -c 'echo beg''un; {stop}; echo tw''o; exit 7'"));
            shell.expect("begun");
            shell.expect("READY> ");
            shell.line("jobs; echo o''k");
            assert!(shell.expect("ok").contains("Stopped"), "{level}, {stop}: {}", shell.all());
            shell.line("fg");
            shell.expect("two");
            ended_with(&mut shell, 7);
        }
    }
}

#[test]
fn a_key_stops_a_job_which_goes_on_in_the_background_and_can_be_killed() {
    if !need_sandbox() || !need_program("perl") {
        return;
    }
    let scratch = Scratch::new("terminal-jobs");
    let mut shell = shell(&scratch);
    // A shell that is just starting a program (vfork) cannot stop: this one starts none.
    shell.line("sbox-spawn perl -e '$| = 1; $SIG{TERM} = sub { print \"te\" . \"rm\"; exit 3 }; print \"beg\" . \"un\"; sleep 1000'");
    shell.expect("begun");
    shell.send("\x1a");
    shell.expect("Stopped");
    shell.expect("READY> ");
    shell.line("bg; jobs");
    shell.expect("Running");
    shell.line("kill %1; wait %1; echo code $?");
    let before = shell.expect("code 3");
    assert_eq!(before.matches("term").count(), 1, "{before}");
    // Stopped, it takes the signal all the same.
    shell.line("sbox-spawn sh -c 'echo beg''un; exec cat'");
    shell.expect("begun");
    shell.send("\x1a");
    shell.expect("Stopped");
    shell.line("kill %1");
    until_jobs_say(&mut shell, "Exit 143");
}

#[test]
fn reading_from_the_background_stops_the_job_until_it_is_in_front() {
    let Some(scratch) = Scratch::sandbox("terminal-background") else { return };
    let mut shell = shell(&scratch);
    shell.line("sbox-spawn sh -c 'read x; echo got $x' &");
    shell.expect("READY> ");
    until_jobs_say(&mut shell, "Stopped");
    shell.line("fg");
    shell.expect("sbox-spawn sh -c");
    assert!(becomes(|| shell.is_cooked()));
    shell.line("hello");
    shell.expect("got hello");
}

#[test]
fn a_signal_to_the_job_reaches_the_command_once_and_so_does_one_to_the_launcher() {
    let Some(scratch) = Scratch::sandbox("terminal-once") else { return };
    let mut shell = shell(&scratch);
    for level in LEVELS {
        let count =
            "trap \"echo u''sr\" USR1; trap \"echo d''one; exit\" USR2; echo beg''un; while :; do sleep 0.05; done";
        for target in ["%1", "$!"] {
            shell.line(&format!("sbox-spawn --isolation {level} sh -c '{count}' &"));
            shell.expect("begun");
            shell.line(&format!("kill -USR1 {target}"));
            shell.expect("usr");
            // Whatever else came of it has come before the next signal is sent.
            std::thread::sleep(std::time::Duration::from_millis(300));
            shell.line(&format!("kill -USR2 {target}"));
            let between = shell.expect("done");
            assert!(!between.contains("usr"), "{level}, {target}: {}", shell.all());
            shell.line("wait; echo g''one");
            shell.expect("gone");
        }
    }
}

#[test]
fn ctrl_c_ends_the_script_that_waits_for_the_sandbox() {
    let Some(scratch) = Scratch::sandbox("terminal-interrupt") else { return };
    let mut shell = shell(&scratch);
    for (key, signal) in [("\x03", 130), ("\x1c", 131)] {
        // The bare command and the sandbox, in a script without job control.
        for command in ["", "sbox-spawn "] {
            shell.line(&format!("bash -c '{command}sh -c \"echo beg''un; exec sleep 1000\"; echo af''ter'"));
            shell.expect("begun");
            shell.send(key);
            let before = shell.expect("READY> ");
            // Bash goes on after a program that died of SIGQUIT, and ends with one that died of SIGINT.
            assert_eq!(before.contains("after"), signal == 131, "{command}: {}", shell.all());
        }
    }
    // What catches the key and ends well is no reason to stop.
    shell
        .line("bash -c 'sbox-spawn sh -c \"trap exit INT; echo beg''un; while :; do sleep 0.05; done\"; echo af''ter'");
    shell.expect("begun");
    shell.send("\x03");
    shell.expect("after");
}

#[test]
fn the_end_of_the_terminal_reaches_a_sandbox_that_leads_its_session() {
    let Some(scratch) = Scratch::sandbox("terminal-hangup") else { return };
    let nap = crate::common::daemons::long_nap();
    let dir = scratch.path("out");
    std::fs::create_dir_all(&dir).unwrap();
    let out = dir.to_str().unwrap();
    let mut pty = leader(&scratch, &["sleep", &nap]);
    assert!(becomes(|| crate::common::running("sleep", &nap) == 1));
    pty.hang_up();
    assert_eq!(pty.wait().code(), Some(129));
    assert!(becomes(|| crate::common::running("sleep", &nap) == 0));
    // A program that puts its things away at a hang-up gets the time for it.
    let tidy = "trap 'echo tidy > /out/file; exit 4' HUP; echo ready; while :; do sleep 0.05; done";
    let mut pty = leader(&scratch, &["--bind", out, "/out", "sh", "-c", tidy]);
    pty.expect("ready");
    pty.hang_up();
    assert_eq!(pty.wait().code(), Some(4));
    assert_eq!(scratch.read("out/file"), "tidy\n");
}

#[test]
fn the_end_of_the_terminal_ends_the_job_of_a_shell_and_not_what_nohup_started() {
    let Some(scratch) = Scratch::sandbox("terminal-nohup") else { return };
    let (job, kept) = (crate::common::daemons::long_nap(), crate::common::daemons::long_nap());
    let mut shell = shell(&scratch);
    shell.line(&format!("nohup sbox-spawn sleep {kept} &"));
    shell.expect("READY> ");
    assert!(becomes(|| crate::common::running("sleep", &kept) == 1));
    shell.line(&format!("sbox-spawn sleep {job}"));
    assert!(becomes(|| crate::common::running("sleep", &job) == 1));
    shell.hang_up();
    shell.wait();
    assert!(becomes(|| crate::common::running("sleep", &job) == 0));
    assert_eq!(crate::common::running("sleep", &kept), 1);
    let kill = format!("kill -9 $(pgrep -f 'sbox-spawn sleep {kept}')");
    Command::new("sh").args(["-c", &kill]).status().unwrap();
    assert!(becomes(|| crate::common::running("sleep", &kept) == 0));
}

#[test]
fn nobody_stops_where_no_shell_could_continue_it() {
    let Some(scratch) = Scratch::sandbox("terminal-orphan") else { return };
    // The bare command goes on, since its process group is an orphaned one.
    let mut pty = leader(&scratch, &["sh", "-c", "kill -TSTP 0; echo beg''un; read x; echo got $x"]);
    pty.expect("begun");
    pty.send("\x1a");
    pty.line("hello");
    pty.expect("got ");
    assert_eq!(pty.wait().code(), Some(0));
}

#[test]
fn the_size_of_the_window_follows() {
    let Some(scratch) = Scratch::sandbox("terminal-size") else { return };
    let script = "trap 'stty size' WINCH; stty size; while :; do sleep 0.05; done";
    let mut pty = leader(&scratch, &["sh", "-c", script]);
    pty.expect("24 80");
    pty.resize(31, 97);
    pty.expect("31 97");
}

#[test]
fn a_shell_inside_has_job_control_and_hands_the_terminal_back() {
    let Some(scratch) = Scratch::sandbox("terminal-shell") else { return };
    let mut shell = shell(&scratch);
    let inside = "sbox-spawn --setenv PS1 INSIDE\\> /bin/bash --norc --noprofile -i";
    shell.line(&format!("sh -c '{inside}; read x; echo got $x'"));
    shell.expect("INSIDE>");
    shell.line("sh -c 'echo beg''un; exec sleep 1000'");
    shell.expect("begun");
    shell.send("\x1a");
    shell.expect("Stopped");
    shell.line("exit");
    shell.expect("stopped jobs");
    shell.line("exit");
    // The script reads from the terminal: it must be in the foreground again.
    shell.expect("exit");
    assert!(becomes(|| shell.is_cooked()));
    shell.line("hello");
    shell.expect("got hello");
    shell.expect("READY> ");
    // Suspended, it stops as a whole.
    shell.line(inside);
    shell.expect("INSIDE>");
    shell.line("suspend");
    shell.expect("READY> ");
    shell.line("fg");
    shell.expect("INSIDE>");
    shell.line("echo st''ill; exit 6");
    shell.expect("still");
    ended_with(&mut shell, 6);
}

#[test]
fn an_editor_that_stops_itself_puts_the_terminal_in_order_first() {
    if !need_sandbox() || !need_program("vi") {
        return;
    }
    let scratch = Scratch::new("terminal-vi");
    let mut shell = shell(&scratch);
    shell.line("sbox-spawn --setenv TERM xterm vi -u NONE");
    shell.expect("~");
    assert!(becomes(|| !shell.is_cooked()));
    shell.send("\x1a");
    shell.expect("Stopped");
    shell.expect("READY> ");
    shell.line("fg");
    shell.expect("~");
    shell.send("\x1b:q!\r");
    ended_with(&mut shell, 0);
}

#[test]
fn a_program_inside_that_dies_with_the_terminal_raw_leaves_it_in_order() {
    let Some(scratch) = Scratch::sandbox("terminal-raw") else { return };
    let mut shell = shell(&scratch);
    shell.line("sh -c 'sbox-spawn sh -c \"stty raw -echo; kill -9 \\$\\$\"; stty -a; echo finis''hed'");
    let modes = shell.expect("finished");
    assert!(modes.contains(" icanon") && modes.contains(" echo "), "{modes}");
}

#[test]
fn a_command_that_joined_a_sandbox_stops_and_goes_on() {
    if !need_sandbox() {
        return;
    }
    let project = crate::common::daemons::Standing::new("terminal-join", "");
    project.start("web", "sleep 1000");
    let mut bash = Command::new("/bin/bash");
    bash.env_clear().current_dir(project.scratch.path("p")).env("HOME", project.scratch.home());
    bash.env("PATH", format!("{}:/usr/bin:/bin", bin().display()));
    let mut shell = Pty::shell(bash);
    shell.line("sbox exec --in web sh -c 'echo beg''un; kill -STOP $$; echo tw''o; exit 7'");
    shell.expect("begun");
    shell.expect("READY> ");
    shell.line("fg");
    shell.expect("two");
    ended_with(&mut shell, 7);
}

#[test]
fn a_signal_to_the_job_reaches_a_command_that_joined_a_sandbox_once() {
    if !need_sandbox() || !need_program("perl") {
        return;
    }
    let project = crate::common::daemons::Standing::new("terminal-join-once", "");
    project.start("web", "sleep 1000");
    let mut bash = Command::new("/bin/bash");
    bash.env_clear().current_dir(project.scratch.path("p")).env("HOME", project.scratch.home());
    bash.env("PATH", format!("{}:/usr/bin:/bin", bin().display()));
    let mut shell = Pty::shell(bash);
    // A shell takes two that come in the same moment for one.
    let count = "$| = 1; $SIG{USR1} = sub { print \"us\", \"r\\n\" }; $SIG{USR2} = sub { print \"do\", \"ne\\n\"; exit }; \
                 print \"beg\", \"un\\n\"; sleep 1 while 1";
    for target in ["%1", "$!"] {
        shell.line(&format!("sbox exec --in web perl -e '{count}' &"));
        shell.expect("begun");
        shell.line(&format!("kill -USR1 {target}"));
        shell.expect("usr");
        // Whatever else came of it has come before the next signal is sent.
        std::thread::sleep(std::time::Duration::from_millis(300));
        // Stopped and continued, it gets the next one, too.
        for signal in ["STOP", "CONT", "USR2"] {
            shell.line(&format!("kill -{signal} {target}"));
        }
        let between = shell.expect("done");
        assert!(!between.contains("usr"), "{target}: {}", shell.all());
        shell.line("wait; echo g''one");
        shell.expect("gone");
    }
}

#[test]
fn a_process_killed_by_a_key_is_seen_as_that_by_its_parent() {
    let Some(scratch) = Scratch::sandbox("terminal-status") else { return };
    let mut pty = leader(&scratch, &["sh", "-c", "echo ready; exec sleep 1000"]);
    pty.expect("ready");
    pty.send("\x03");
    assert_eq!(pty.wait().signal(), Some(libc::SIGINT));
}
