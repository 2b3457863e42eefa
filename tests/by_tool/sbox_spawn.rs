use crate::common::{Ends, Scratch, bin, is_root, need_sandbox, stderr, stdout};
use predicates::str::contains;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

fn spawn(scratch: &Scratch, words: &[&str]) -> std::process::Output {
    scratch.program("sbox-spawn").args(words).output().unwrap()
}

#[test]
fn exit_codes_tell_who_failed() {
    if !need_sandbox() {
        return;
    }
    let scratch = Scratch::new("spawn-codes");
    let file = scratch.write("plain", "no program");
    let cases: [(&[&str], i32); 8] = [
        (&["true"], 0),
        (&["sh", "-c", "exit 42"], 42),
        (&["sh", "-c", "kill -9 $$"], 137),
        (&["sh", "-c", "kill -TERM $$"], 143),
        (&["no-such-program"], 127),
        (&["/usr"], 126),
        (&["--bind", file.to_str().unwrap(), "/plain", "/plain"], 126),
        (&["--chdir", "/nowhere", "true"], 125),
    ];
    for (words, code) in cases {
        assert_eq!(spawn(&scratch, words).status.code(), Some(code), "{words:?}");
    }
    scratch.program("sbox-spawn").arg("--no-such-option").assert().code(125);
    scratch
        .program("sbox-spawn")
        .args(["--bind", "/nowhere", "/x", "true"])
        .assert()
        .code(125)
        .stderr(contains("cannot read source '/nowhere'"));
    scratch.program("sbox-spawn").args(["--isolation", "none", "true"]).assert().code(125);
    scratch.program("sbox-spawn").assert().code(125).stderr(contains("missing command"));
}

#[test]
fn a_script_whose_interpreter_is_not_there_is_told_from_a_missing_one() {
    use std::os::unix::fs::PermissionsExt;
    if !need_sandbox() {
        return;
    }
    let scratch = Scratch::new("spawn-interpreter");
    let script = scratch.write("tool", "#!/opt/none/bin/x\n");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let output = spawn(&scratch, &["--bind", script.to_str().unwrap(), "/tool", "/tool"]);
    assert_eq!(output.status.code(), Some(126));
    assert!(stderr(&output).contains("its interpreter is not in the sandbox"));
}

#[test]
fn stdin_and_stdout_are_the_commands_own() {
    if !need_sandbox() {
        return;
    }
    let scratch = Scratch::new("spawn-pipe");
    scratch
        .program("sbox-spawn")
        .args(["tr", "a-z", "A-Z"])
        .write_stdin("hello")
        .assert()
        .success()
        .stdout("HELLO")
        .stderr("");
}

#[test]
fn the_environment_is_what_was_asked_for() {
    if !need_sandbox() {
        return;
    }
    let scratch = Scratch::new("spawn-env");
    let output = scratch
        .program("sbox-spawn")
        .envs([("SECRET", "x"), ("WANTED", "y"), ("LANG", "C.UTF-8")])
        .args(["--env", "WANTED", "--setenv", "SET", "z", "env"])
        .output()
        .unwrap();
    let mut names: Vec<String> =
        stdout(&output).lines().map(|line| line.split('=').next().unwrap().to_owned()).collect();
    names.sort();
    assert_eq!(names, ["HOME", "LANG", "PATH", "SBOX_ACTIVE", "SBOX_ISOLATION", "SET", "WANTED"]);
    let script = format!("printf 'A=1\\0B=x y\\0' > e; {}/sbox-spawn --env-fd 7 -- /usr/bin/env 7< e", bin().display());
    let output = Command::new("sh").args(["-c", &script]).current_dir(&scratch.root).output().unwrap();
    assert_eq!(stdout(&output), "A=1\nB=x y\n");
}

#[test]
fn signals_reach_the_command() {
    if !need_sandbox() {
        return;
    }
    let mut child = Command::new(bin().join("sbox-spawn"))
        .args(["sh", "-c", "trap 'echo got it; exit 9' TERM; echo ready; while :; do sleep 0.05; done"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    Command::new("kill").arg(child.id().to_string()).status().unwrap();
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    assert_eq!((rest.as_str(), child.wait().unwrap().code()), ("got it\n", Some(9)));
}

#[test]
fn nothing_outlives_the_command() {
    if !need_sandbox() {
        return;
    }
    // The orphan would hold the pipe open, and reading it to the end would not end.
    let scratch = Scratch::new("spawn-orphan");
    let output = spawn(&scratch, &["sh", "-c", "(setsid sleep 1000 &) ; (trap '' TERM HUP; sleep 1000) & echo done"]);
    assert_eq!(stdout(&output), "done\n");
}

#[test]
fn orphans_are_reaped_while_the_command_runs() {
    if !need_sandbox() {
        return;
    }
    let scratch = Scratch::new("spawn-reap");
    let script = "for i in 1 2 3 4 5; do (sh -c 'sleep 0.05 &' ); done; sleep 0.5; grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l";
    assert_eq!(stdout(&spawn(&scratch, &["sh", "-c", script])).trim(), "0");
}

#[test]
fn events_say_when_it_was_really_executed() {
    if !need_sandbox() {
        return;
    }
    let scratch = Scratch::new("spawn-status");
    let events = |command: &str| {
        let script =
            format!("{}/sbox-spawn --status-fd 5 -- {command} 5> events 2> /dev/null; cat events", bin().display());
        stdout(&Command::new("sh").args(["-c", &script]).current_dir(&scratch.root).output().unwrap())
    };
    let text = events("sh -c 'exit 3'");
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines[0]["event"].as_str(), lines[1]["code"].as_i64()), (Some("started"), Some(3)));
    assert!(!events("no-such-program").contains("started"));
}

#[test]
fn the_event_of_a_start_names_the_command_at_every_level_and_comes_at_once() {
    if !need_sandbox() {
        return;
    }
    let scratch = Scratch::new("spawn-command-pid");
    for level in ["namespace", "landlock", "env"] {
        let script = "exec 5>&1 >&2; exec \"$@\"";
        let mut command = Command::new("sh");
        let spawn = bin().join("sbox-spawn");
        command.args(["-c", script, "sh"]).arg(spawn).args(["--isolation", level, "--status-fd", "5"]);
        command.args(["--", "sleep", "1000"]).current_dir(&scratch.root).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut command = Ends(command.spawn().unwrap());
        let mut line = String::new();
        BufReader::new(command.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let event: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(event["event"], "started", "{level}");
        let arguments = std::fs::read(format!("/proc/{}/cmdline", event["command"])).unwrap();
        assert_eq!(arguments, b"sleep\x001000\0", "{level}");
    }
}

#[test]
fn a_probe_tells_whether_a_mount_can_be_copy_on_write() {
    if !need_sandbox() {
        return;
    }
    let scratch = Scratch::new("spawn-probe-cow");
    for name in ["src", "layer/upper", "layer/work"] {
        std::fs::create_dir_all(scratch.path(name)).unwrap();
    }
    let probe = |src: &str| {
        let output = spawn(&scratch, &["--cow", src, "/work", "layer", "--probe"]);
        serde_json::from_str::<serde_json::Value>(&stdout(&output)).unwrap()
    };
    let can = probe("src");
    assert_eq!((&can["cow"], &can["namespace"]), (&"overlay".into(), &true.into()));
    let cannot = probe("/");
    assert_eq!((&cannot["cow"], &cannot["namespace"]), (&"unavailable".into(), &true.into()));
    assert!(cannot["cow_reason"].as_str().unwrap().contains("mount point"));
    if is_root() {
        // Nobody else can give it away.
        std::os::unix::fs::chown(scratch.path("src"), None, Some(12345)).unwrap();
        let cannot = probe("src");
        assert_eq!(cannot["cow"], "unavailable");
        assert!(cannot["cow_reason"].as_str().unwrap().contains("group 12345 is not your own"));
    }
}

#[test]
fn a_plan_can_be_printed_and_a_host_probed() {
    if !need_sandbox() {
        return;
    }
    let scratch = Scratch::new("spawn-plan");
    let output = spawn(&scratch, &["--dry-run", "--ro-bind", "/usr/share", "/data", "--tmpfs", "/x"]);
    let ops: Vec<serde_json::Value> = stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(ops.iter().any(|op| op["op"] == "bind" && op["dst"] == "/data" && op["access"] == "read-only"));
    assert_eq!(ops.last().unwrap()["dst"], "/x");
    let output = spawn(&scratch, &["--probe"]);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&stdout(&output)).unwrap()["level"], "namespace");
}

#[test]
fn memory_that_is_reserved_and_not_used_is_no_reason_to_end() {
    if !need_sandbox() {
        return;
    }
    // The shell's unit is a kilobyte; V8 reserves gigabytes for each thread.
    let scratch = Scratch::new("spawn-reserved");
    let mut spawn = scratch.program("sbox-spawn");
    let output = spawn.args(["--limit", "memory=512M", "--", "sh", "-c", "ulimit -d"]).output().unwrap();
    let kilobytes: u64 = crate::common::stdout(&output).trim().parse().unwrap_or(u64::MAX);
    assert!(kilobytes >= 16 << 20, "{kilobytes}");
}
