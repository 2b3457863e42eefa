use crate::common::daemons::{Standing, long_nap};
use crate::common::{Scratch, need_python, stdout};
use predicates::str::contains;

/// A built project whose command prints its arguments.
fn built(scratch: &Scratch, more: &str) -> bool {
    let Some(spec) = need_python() else { return false };
    scratch.write("p/app/main.py", "import sys\nprint('main', sys.argv[1:])\n");
    scratch.project("p", &format!("runtime: {spec}\ncopy:\n  - ./app:/app\n{more}"));
    scratch.sbox("p").arg("build").assert().success();
    true
}

#[test]
fn the_command_may_be_a_line_words_or_the_configurations() {
    let scratch = Scratch::new("run");
    if !built(&scratch, "cmd: python main.py a b\n") {
        return;
    }
    let run = |words: &[&str]| stdout(&scratch.sbox("p").arg("run").args(words).output().unwrap());
    assert_eq!(run(&[]), "main ['a', 'b']\n");
    assert_eq!(run(&["echo 'one line' | tr a-z A-Z"]), "ONE LINE\n");
    assert_eq!(run(&["python", "-c", "print(1)"]), "1\n");
    assert_eq!(run(&["--", "python", "main.py", "-x", "--isolation"]), "main ['-x', '--isolation']\n");
}

#[test]
fn a_list_of_words_is_executed_without_a_shell() {
    let scratch = Scratch::new("run-list");
    if built(&scratch, "cmd: [python, main.py, \"$HOME; id\"]\n") {
        scratch.sbox("p").arg("run").assert().success().stdout("main ['$HOME; id']\n");
    }
}

#[test]
fn exit_codes_are_the_commands_own() {
    let scratch = Scratch::new("run-codes");
    if !built(&scratch, "") {
        return;
    }
    for (line, code) in [("exit 42", 42), ("kill -9 $$", 137), ("no-such-program", 127)] {
        scratch.sbox("p").args(["run", line]).assert().code(code);
    }
    scratch
        .sbox("p")
        .args(["run", "no-such-program", "x"])
        .assert()
        .code(127)
        .stderr(contains("was not found in the sandbox"));
    scratch.sbox("p").arg("run").assert().code(125).stderr(contains("has no 'cmd'"));
    scratch.sbox("p").args(["run", "-d"]).assert().code(125).stderr(contains("no 'cmd'"));
    scratch.sbox("p").args(["run", "--isolation", "none", "true", "x"]).assert().code(125);
}

#[test]
fn it_works_from_any_directory_of_the_project_and_only_there() {
    let scratch = Scratch::new("run-where");
    if !built(&scratch, "cmd: pwd\nworkdir: /app/deep\n") {
        return;
    }
    scratch.sbox("p/app").arg("run").assert().success().stdout("/app/deep\n");
    scratch.sbox("").arg("run").assert().code(125).stderr(contains("no project in"));
}

#[test]
fn a_mount_is_real_and_read_only_means_it() {
    let scratch = Scratch::new("run-mounts");
    scratch.write("data/file", "data\n");
    std::fs::create_dir_all(scratch.path("p/output")).unwrap();
    let mounts = format!("mount:\n  - {}:/data:ro\n  - ./output:/app/output\n", scratch.path("data").display());
    if !built(&scratch, &mounts) {
        return;
    }
    scratch
        .sbox("p")
        .args(["run", "cat /data/file; touch /data/new /data/file; echo result > /app/output/r"])
        .assert()
        .success()
        .stdout("data\n")
        .stderr(contains("Read-only file system"));
    assert_eq!(scratch.read("p/output/r"), "result\n");
    assert!(!scratch.path("data/new").exists());
}

#[test]
fn variables_come_from_the_host_by_name_only() {
    let scratch = Scratch::new("run-env");
    if !built(&scratch, "env:\n  KEY: \"${HOSTKEY}\"\n") {
        return;
    }
    let mut command = scratch.sbox("p");
    command.envs([("HOSTKEY", "k"), ("OTHER", "o"), ("LD_PRELOAD", "")]).args(["run", "echo $KEY-$OTHER"]);
    command.assert().success().stdout("k-\n");
}

#[test]
fn a_loader_variable_of_the_configuration_never_reaches_a_program_of_the_host() {
    let scratch = Scratch::new("run-loader");
    let preload = scratch.path("evil.so");
    if !built(&scratch, &format!("env:\n  LD_PRELOAD: {}\n", preload.display())) {
        return;
    }
    // The loader complains once for each program that is started with it: for the one inside, and for none of ours.
    let output = scratch.sbox("p").env("SBOX_TRACE", "1").args(["exec", "true"]).output().unwrap();
    let said = crate::common::stderr(&output);
    assert_eq!(said.matches("from LD_PRELOAD").count(), 1, "{said}");
    let trace = said.lines().find(|line| line.contains("sbox-spawn")).unwrap();
    assert!(!trace.contains("evil.so"), "{trace}");
}

#[test]
fn a_project_that_is_not_built_says_so() {
    let scratch = Scratch::new("run-unbuilt");
    scratch.project("p", "runtime: node:22\ncmd: node x\n");
    scratch
        .sbox("p")
        .arg("run")
        .assert()
        .code(125)
        .stdout("")
        .stderr(contains("is not built"))
        .stderr(contains("sbox build"));
}

#[test]
fn a_daemon_is_waited_for_until_it_is_ready() {
    let Some(spec) = need_python() else { return };
    let nap = long_nap();
    let project = Standing::new("run-wait", "ready: {log: \"all set\", timeout: 20s}\n");
    let wait = |words: &[&str]| project.sbox(&[&["run", "-d", "--wait"], words].concat()).assert();
    wait(&["-n", "log", &format!("sleep 0.5; echo all set; exec sleep {nap}")]).success().stderr(contains("is ready"));
    assert!(project.log("log").contains("\nall set\n"));
    wait(&["-n", "ends", "sleep 0.5; exit 3"]).code(125).stderr(contains("ended before it was ready"));
    // A network of its own: what listens there is asked there.
    let scratch = Scratch::new("run-wait-http");
    scratch.write(
        "p/app/s.py",
        "import http.server as h, time\ntime.sleep(0.5)\nh.test(h.SimpleHTTPRequestHandler, port=8123)\n",
    );
    let config = "copy: [./app:/app]\nnetwork: none\ncmd: python s.py\n";
    for ready in ["{http: \"http://127.0.0.1:8123/\"}", "{tcp: 8123}"] {
        scratch.project("p", &format!("runtime: {spec}\n{config}ready: {ready}\n"));
        scratch.sbox("p").arg("build").assert().success();
        scratch.sbox("p").args(["run", "-d", "--wait"]).assert().success().stderr(contains("is ready"));
        scratch.sbox("p").arg("stop").assert().success();
    }
    scratch.project("p", &format!("runtime: {spec}\n{config}ready: {{tcp: 8124, timeout: 1s}}\n"));
    scratch.sbox("p").args(["run", "-d", "--wait"]).assert().code(125).stderr(contains("not ready after 1s"));
    scratch.sbox("p").args(["build", "--force"]).assert().code(1).stderr(contains("sbox stop --all"));
    scratch.sbox("p").args(["stop"]).assert().success();
    scratch.sbox("p").args(["build", "--force"]).assert().success();
}
