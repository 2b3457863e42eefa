//! What becomes of a sandbox when something on the host's side of it dies, or when something is used up.

mod control_group;
mod killed;
mod mount_points;

use crate::common::daemons::{Standing, kill};
use crate::common::{Scratch, becomes, bin, need_program, need_sandbox, stderr};
use predicates::str::contains;
use std::process::{Command, Stdio};

#[test]
fn a_daemon_is_not_ready_because_somebody_else_has_its_port() {
    if !need_sandbox() || !need_program("perl") {
        return;
    }
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port();
    let answers = "HTTP/1.0 200 OK\r\n\r\n";
    std::thread::spawn(move || {
        for mut stream in other.incoming().flatten() {
            let _ = std::io::Write::write_all(&mut stream, answers.as_bytes());
        }
    });
    for (name, probe) in [
        ("tcp", format!("{{tcp: {port}, timeout: 2s}}")),
        ("http", format!("{{http: \"http://127.0.0.1:{port}/\", timeout: 2s}}")),
    ] {
        let project = Standing::new(&format!("faults-ready-{name}"), &format!("ready: {probe}\n"));
        project.sbox(&["run", "-d", "--wait", "sleep 1000"]).assert().code(125).stderr(contains("not ready after 2s"));
    }
    // Its own, in the network of the host and in one of its own.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for network in ["host", "none"] {
        let config = format!("network: {network}\nready: {{tcp: {free}, timeout: 40s}}\n");
        let project = Standing::new(&format!("faults-ready-{network}"), &config);
        let listen = format!(
            "perl -MIO::Socket::INET -e '$l = IO::Socket::INET->new(Listen => 1, LocalAddr => \"127.0.0.1:{free}\") or die; sleep 1000'"
        );
        project.sbox(&["run", "-d", "--wait", &listen]).assert().success().stderr(contains("is ready"));
    }
}

/// Of the processes named `name` whose parent is `parent`.
fn children(parent: i64, name: &str) -> Vec<i64> {
    let table = libsbox::process::Table::read();
    let is_it = |pid: &i32| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name);
    table.children(parent as i32).into_iter().filter(is_it).map(i64::from).collect()
}

#[test]
fn the_death_of_a_helper_ends_the_sandbox_with_a_reason_that_is_kept() {
    if !need_sandbox() {
        return;
    }
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let scratch = Scratch::new("faults-helper-tree");
    std::fs::create_dir_all(scratch.path("tree")).unwrap();
    let config = format!(
        "network: {{allow: [example.com]}}\nports: ['{free}:80']\nmount: ['{}:/tree']\n",
        scratch.path("tree").display()
    );
    let project = Standing::new("faults-helper", &config);
    for (helper, said) in [("sbox-proxy", "proxy"), ("sbox-forward", "ports"), ("sbox-watcher", "watcher")] {
        project.start("web", "sleep 1000");
        let record = project.ps("web");
        let init = record["pid"].as_i64().unwrap();
        let monitor = i64::from(libsbox::process::Stat::of(init as i32).unwrap().parent);
        let found = children(monitor, helper);
        assert_eq!(found.len(), 1, "{helper}");
        kill(found[0], "KILL");
        assert!(becomes(|| project.status("web") == "exited"), "{helper}");
        let record = project.ps("web");
        let reason = record["reason"].as_str().unwrap_or_default().to_owned();
        assert!(reason.contains(said) && reason.contains("killed by signal 9"), "{helper}: {record}");
        assert_eq!(record["exit_code"], 137, "{helper}");
        assert!(project.log("web").contains("the sandbox was ended: "), "{}", project.log("web"));
    }
}

#[test]
fn a_daemon_that_was_over_a_limit_says_so_when_it_has_ended() {
    if !need_sandbox() {
        return;
    }
    let levels: &[&str] = if crate::common::is_root() { &["namespace"] } else { &["namespace", "landlock"] };
    for level in levels {
        let config = format!("isolation: {level}\nlimits: {{memory: 60M, pids: 40, time: 2s}}\n");
        let project = Standing::new(&format!("faults-over-{level}"), &config);
        let hog = "perl -e '$x = \"x\" x 90_000_000; sleep 1000'";
        for (name, line, why) in [
            ("memory", hog, "it used more than its memory limit of 60M"),
            ("time", "sleep 1000", "it ran for longer than its time limit of 2s"),
        ] {
            project.start(name, line);
            assert!(becomes(|| project.status(name) == "exited"), "{level}: {name}");
            let end = project.ps(name);
            assert_eq!((end["reason"].as_str(), end["exit_code"].as_i64()), (Some(why), Some(137)), "{level}: {end}");
        }
    }
}

#[test]
fn the_helpers_end_at_a_term() {
    if !need_sandbox() {
        return;
    }
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for helper in ["sbox-proxy", "sbox-forward"] {
        let mut spawn = Command::new(bin().join("sbox-spawn"));
        spawn.args(["--network", "proxy", "--allow", "example.com", "--port", &format!("{free}:80")]);
        spawn.args(["sh", "-c", "echo ready; exec sleep 1000"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let spawn = spawn.spawn().unwrap();
        let monitor = i64::from(spawn.id());
        assert!(becomes(|| children(monitor, helper).len() == 1), "{helper}");
        // In its main loop, and not on its way there.
        assert!(becomes(|| !children(monitor, "init").is_empty()));
        kill(children(monitor, helper)[0], "TERM");
        assert!(becomes(|| children(monitor, helper).is_empty()), "{helper}");
        assert!(stderr(&spawn.wait_with_output().unwrap()).contains("was killed by signal 15"), "{helper}");
    }
}

#[test]
fn a_sandbox_starts_at_once_after_the_monitor_of_the_last_was_killed() {
    if !need_sandbox() || !crate::common::cow::need_overlay() {
        return;
    }
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = format!(
        "network: {{allow: [example.com]}}\nports: ['{free}:80']\nmount: ['./tree:/tree', './copy:/copy:cow']\n"
    );
    let project = Standing::new("faults-again", &config);
    for tree in ["tree", "copy"] {
        project.scratch.write(&format!("p/{tree}/file"), "");
    }
    for number in 0..8 {
        let ready = project.scratch.path(&format!("p/tree/ready-{number}"));
        let mut first = Command::new(bin().join("sbox"));
        first.env_clear().env("HOME", project.scratch.home()).env("PATH", "/usr/bin:/bin");
        first.current_dir(project.scratch.path("p")).args(["run", &format!("touch /tree/ready-{number}; sleep 1000")]);
        let mut first = crate::common::Ends(first.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        assert!(becomes(|| ready.exists()));
        first.0.kill().unwrap();
        project.sbox(&["run", "echo whole"]).assert().success().stdout("whole\n");
    }
}

#[test]
fn the_status_of_a_project_that_was_moved_is_known_where_nothing_can_be_written() {
    if !crate::common::need_ordinary_user() || !crate::common::cow::need_overlay() {
        return;
    }
    let tree = crate::common::cow::Tree::new("faults-moved");
    tree.write("file", "old\n");
    assert!(tree.inside("echo new >file"));
    let moved = tree.scratch.path("moved");
    std::fs::rename(tree.root(), &moved).unwrap();
    let close = |mode: u32| {
        let layer = std::fs::read_dir(moved.join(".sbox/cow")).unwrap().next().unwrap().unwrap().path();
        std::fs::set_permissions(layer, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    };
    close(0o500);
    let status = tree.scratch.sbox("moved").args(["status", "-j"]).output().unwrap();
    close(0o700);
    assert!(status.status.success(), "{}", stderr(&status));
}

#[test]
fn no_zombie_is_left_where_pid_1_waits_for_nobody() {
    if !need_sandbox() || !need_program("unshare") || !need_program("perl") {
        return;
    }
    let scratch = Scratch::new("faults-zombie");
    scratch.write("tree/file", "");
    let own = if crate::common::is_root() { "-pmf" } else { "-Urpmf" };
    // As the first process of a container may be any program.
    let look = "system(@ARGV) and die; print join ' ', map { open F, $_; <F> } glob '/proc/[0-9]*/comm'";
    let mut unshare = Command::new("unshare");
    unshare.args([own, "--mount-proc", "perl", "-e", look]).arg(bin().join("sbox-spawn"));
    unshare.arg("--bind").args([scratch.path("tree"), "/work".into()]).arg("true");
    let output = unshare.env_clear().env("PATH", "/usr/bin:/bin").stdin(Stdio::null()).output().unwrap();
    assert_eq!(crate::common::stdout(&output), "perl\n", "{}", stderr(&output));
}

#[test]
fn what_leads_ports_in_has_no_capability() {
    if !need_sandbox() {
        return;
    }
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut spawn = Command::new(bin().join("sbox-spawn"));
    spawn.args(["--network", "none", "--port", &format!("{free}:80"), "sleep", "1000"]);
    let mut spawn = crate::common::Ends(spawn.spawn().unwrap());
    let monitor = i64::from(spawn.0.id());
    assert!(becomes(|| children(monitor, "sbox-forward").len() == 1));
    let forward = children(monitor, "sbox-forward")[0];
    let has_none = || {
        let status = std::fs::read_to_string(format!("/proc/{forward}/status")).unwrap();
        ["CapInh", "CapPrm", "CapEff"].iter().all(|set| status.contains(&format!("{set}:\t0000000000000000\n")))
            && status.contains("NoNewPrivs:\t1")
    };
    assert!(becomes(has_none));
    let _ = spawn.0.kill();
}

/// A shell line in a user namespace of its own, whose limits it may set.
fn in_a_namespace(scratch: &Scratch, line: &str) -> std::process::Output {
    let mut unshare = Command::new("unshare");
    let path = format!("{}:/usr/bin:/bin", bin().display());
    unshare.args(["-Ur", "sh", "-c", line]).env_clear().env("PATH", path).env("HOME", scratch.home());
    unshare.current_dir(&scratch.root).stdin(Stdio::null()).output().unwrap()
}

#[test]
fn namespaces_that_are_used_up_are_an_error_and_those_that_are_forbidden_are_stepped_down_from() {
    if !need_sandbox() || !need_program("unshare") {
        return;
    }
    let scratch = Scratch::new("faults-namespaces");
    let set = |most: u32, words: &str| {
        let line = format!(
            "echo {most} > /proc/sys/user/max_user_namespaces ; {words} sbox-spawn sh -c 'echo ran at $SBOX_ISOLATION'; code=$?; [ -z \"$first\" ] || kill -9 $first; exit $code"
        );
        in_a_namespace(&scratch, &line)
    };
    // One is in use by the other sandbox.
    let used_up = set(
        1,
        "sbox-spawn sleep 1000 > /dev/null 2>&1 & first=$!; until [ \"$(pgrep -P $first -c)\" -gt 0 ]; do :; done;",
    );
    let said = stderr(&used_up);
    assert_eq!(used_up.status.code(), Some(125), "{said}");
    assert!(said.contains("all that this user may have are in use") && said.contains("user 1"), "{said}");
    let forbidden = set(0, "");
    let said = stderr(&forbidden);
    assert!(said.contains("user.max_user_namespaces=15000"), "{said}");
    assert!(crate::common::stdout(&forbidden).starts_with("ran at "), "{said}");
}

#[test]
fn a_daemon_that_can_have_no_namespace_is_an_error_at_once() {
    if !need_sandbox() || !need_program("unshare") {
        return;
    }
    let project = Standing::new("faults-namespaces-daemon", "isolation: namespace\n");
    let line = "cd p && echo 0 > /proc/sys/user/max_user_namespaces && timeout 30 sbox run -d sleep 1000; echo code $?";
    let output = in_a_namespace(&project.scratch, line);
    let (out, said) = (crate::common::stdout(&output), stderr(&output));
    assert!(out.contains("code 125"), "{out}{said}");
    assert!(said.contains("cannot make namespaces") && !out.contains("started"), "{out}{said}");
}

#[test]
fn too_few_descriptors_are_an_error_that_says_so() {
    if !need_sandbox() {
        return;
    }
    let scratch = Scratch::new("faults-descriptors");
    let mut saw_the_hint = false;
    for most in [4, 5, 6, 7, 8, 10, 12, 16, 24, 64] {
        let line = format!("ulimit -n {most}; exec {}/sbox-spawn sh -c 'echo ran at $SBOX_ISOLATION'", bin().display());
        let output = Command::new("sh").args(["-c", &line]).current_dir(&scratch.root).output().unwrap();
        let (out, said) = (crate::common::stdout(&output), stderr(&output));
        match output.status.code() {
            Some(0) => assert_eq!(out, "ran at namespace\n", "{most}: {said}"),
            Some(125) => saw_the_hint |= said.contains("open files"),
            // The loader of the system has none for a library.
            Some(127) if most < 8 => {}
            code => panic!("{most}: {code:?} {out}{said}"),
        }
    }
    assert!(saw_the_hint);
}

#[test]
fn a_file_that_may_not_grow_and_a_strange_umask_are_survived() {
    if !need_sandbox() {
        return;
    }
    let project = Standing::new("faults-limits", "");
    let sbox = bin().join("sbox").display().to_string();
    let shell = |line: &str| {
        let mut sh = Command::new("sh");
        sh.args(["-c", line]).env_clear().env("HOME", project.scratch.home()).env("PATH", "/usr/bin:/bin");
        sh.current_dir(project.scratch.path("p")).stdin(Stdio::null()).output().unwrap()
    };
    let output = shell(&format!("ulimit -f 0; {sbox} run -d -n small sleep 1000"));
    assert_eq!(output.status.code(), Some(125), "{}", stderr(&output));
    assert!(stderr(&output).contains("file too large"), "{}", stderr(&output));
    // The command itself has what everybody has.
    let inside = shell(&format!("{sbox} run 'ulimit -f 0; echo x > /tmp/file'"));
    assert_eq!(inside.status.code(), Some(153), "{}", stderr(&inside));
    let output = shell(&format!("umask 777; {sbox} run -d -n web sleep 1000"));
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(project.status("web"), "running");
    project.sbox(&["stop", "web"]).assert().success();
    assert_eq!(project.status("web"), "stopped");
}

#[test]
fn wrong_options_of_the_launcher_are_refused() {
    let scratch = Scratch::new("faults-options");
    let refused = |words: &[&str], why: &str| {
        scratch.program("sbox-spawn").args(words).arg("true").assert().code(125).stderr(contains(why.to_owned()));
    };
    refused(&["--setenv", "A=B", "c"], "is not the name of a variable");
    refused(&["--setenv", "", "c"], "is not the name of a variable");
    refused(&["--chdir", "/", "--chdir", "/tmp"], "--chdir was given twice");
    for place in ["/proc", "/usr/share/x", "/dev/shm", "/sys", "/"] {
        refused(&["--bind", ".", place], "nothing can be mounted at");
        refused(&["--tmpfs", place], "nothing can be mounted at");
    }
}

#[test]
fn the_process_table_executes_nothing() {
    if !need_sandbox() {
        return;
    }
    let scratch = Scratch::new("faults-proc");
    let output = scratch.program("sbox-spawn").args(["grep", " /proc proc ", "/proc/mounts"]).output().unwrap();
    let line = crate::common::stdout(&output);
    let options: Vec<&str> = line.split(' ').nth(3).unwrap_or_default().split(',').collect();
    assert!(["nosuid", "nodev", "noexec"].iter().all(|option| options.contains(option)), "{line}");
}

#[test]
fn a_sandbox_takes_no_key_of_the_user() {
    if !need_sandbox() {
        return;
    }
    let scratch = Scratch::new("faults-keys");
    // The session keyring is the caller's, and nobody inside can ask for it.
    let inside = scratch.program("sbox-spawn").args(["sh", "-c", "ulimit -c"]).output().unwrap();
    assert!(inside.status.success());
    let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap());
    let count = || -> Option<u64> {
        let users = std::fs::read_to_string("/proc/key-users").ok()?;
        let line = users.lines().find(|line| line.trim_start().starts_with(&format!("{owner}:")))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    let many: Vec<_> = (0..12)
        .map(|_| {
            let mut spawn = Command::new(bin().join("sbox-spawn"));
            crate::common::Ends(spawn.args(["sleep", "1000"]).stdout(Stdio::null()).spawn().unwrap())
        })
        .collect();
    let before = count();
    let all_run = || many.iter().all(|one| !children(i64::from(one.0.id()), "init").is_empty());
    assert!(becomes(all_run));
    if let (Some(before), Some(after)) = (before, count()) {
        assert!(after < before + 6, "{before} keys, then {after}");
    }
}

#[test]
fn files_in_memory_are_bounded_in_number_and_count_as_memory() {
    if !need_sandbox() {
        return;
    }
    let scratch = Scratch::new("faults-inodes");
    for place in ["/tmp", "/dev/shm", "/x"] {
        let line = format!("stat -f -c %c {place}");
        let output = scratch.program("sbox-spawn").args(["--tmpfs", "/x", "sh", "-c", &line]).output().unwrap();
        let inodes: u64 = crate::common::stdout(&output).trim().parse().unwrap();
        assert!((1..=1 << 19).contains(&inodes), "{place}: {inodes}");
    }
    if std::fs::read_to_string("/proc/self/cgroup").is_err() {
        return;
    }
    let fill = "head -c 60M /dev/zero > /x/file; sleep 1000";
    let mut spawn = scratch.program("sbox-spawn");
    spawn.args(["--limit", "memory=40M", "--tmpfs", "/x", "sh", "-c", fill]);
    spawn.assert().code(137).stderr(contains("memory limit of 40M"));
}
