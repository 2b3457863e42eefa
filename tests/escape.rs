//! Attacks that must fail.
//!
//! Each has a positive control: the same attempt succeeds without a sandbox, so that the test can tell a boundary from a
//! typo. Controls run as an unprivileged user, never as root. An attempt that succeeds does no harm: it touches fixtures
//! of its own, or opens something without writing.

mod attempts;
mod confinement;
mod copy_on_write;
mod guard;
mod host;
mod hygiene;
mod mounts;
mod network;
mod older;
mod overlay;
mod working_tree;

use crate::common::{
    Ends, Scratch, becomes, bin, is_root, need_program, need_python, need_sandbox, running, stderr, stdout,
};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Runs a shell script without a sandbox, as an unprivileged user.
fn control(scratch: &Scratch, script: &str) -> Output {
    let mut command = Command::new("sh");
    command.args(["-c", script]).current_dir(&scratch.root).stdin(Stdio::null());
    if is_root() {
        command.uid(65534).gid(65534);
    }
    command.output().unwrap()
}

/// Runs a shell script in a sandbox without a project. A sandbox that does not start fails the test, whatever it waits for:
/// nothing is reached where nothing ran, and that proves nothing.
fn confined(scratch: &Scratch, options: &[&str], script: &str) -> Output {
    let output = asked(scratch, options, script);
    started(&output, script);
    output
}

/// The same for a test that knows better: sbox itself may refuse (125).
fn asked(scratch: &Scratch, options: &[&str], script: &str) -> Output {
    scratch.program("sbox-spawn").args(options).args(["--", "sh", "-c", script]).output().unwrap()
}

/// Fails unless the command ran. The codes 125 and 126 are those of sbox; a shell has 127 for what it does not find.
fn started(output: &Output, what: &str) {
    let code = output.status.code();
    assert!(!matches!(code, Some(125..=127)), "'{what}' did not run ({code:?}): {}", stderr(output));
}

/// The words for no of the kernel, and of tools that ask it for what they want; in lower case.
const REFUSALS: [&str; 8] = [
    "read-only file system",
    "permission denied",
    "operation not permitted",
    "no such file",
    "must be superuser",
    "only root can",
    "busy",
    // What umount(8) says of a mount that is locked.
    "not mounted",
];

/// An attempt inside that the kernel refuses: it ran, failed, and failed for one of these reasons. For attempts that no
/// unprivileged control can make outside.
fn refused(scratch: &Scratch, options: &[&str], attempt: &str) -> Output {
    let output = confined(scratch, options, attempt);
    let said = stderr(&output).to_lowercase();
    assert!(!output.status.success(), "reached: {attempt}\n{}", stdout(&output));
    assert!(REFUSALS.iter().any(|reason| said.contains(reason)), "not refused but broken: {attempt}\n{said}");
    output
}

/// The control succeeds, and the same attempt fails inside.
fn must_fail(scratch: &Scratch, options: &[&str], script: &str) -> Output {
    let outside = control(scratch, script);
    assert!(outside.status.success(), "the control fails: {script}\n{}", stderr(&outside));
    let inside = confined(scratch, options, script);
    assert!(!inside.status.success(), "reached: {script}\n{}", stdout(&inside));
    inside
}

/// A directory that an unprivileged control can reach, with a file in it.
fn open_scratch(name: &str) -> Option<Scratch> {
    let scratch = Scratch::sandbox(name)?;
    for place in [&scratch.root, &scratch.home()] {
        std::fs::set_permissions(place, std::fs::Permissions::from_mode(0o777)).unwrap();
    }
    scratch.write("secret", "canary\n");
    Some(scratch)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

// Files.

#[test]
fn what_is_not_mounted_does_not_exist() {
    let Some(scratch) = open_scratch("escape-exist") else { return };
    let secret = scratch.path("secret");
    for verb in ["cat", "stat", "ls -l", "head -c1 <"] {
        let inside = must_fail(&scratch, &[], &format!("{verb} '{}'", secret.display()));
        let said = stderr(&inside).to_lowercase();
        assert!(said.contains("no such file") || said.contains("nonexistent directory"), "{verb}: {said}");
    }
    // A name in the working directory of the caller.
    must_fail(&scratch, &[], "cat secret");
    for place in ["/root", "/home/cloud", "/var", "/opt", "/srv", "/mnt", "/boot", "/sys", "/run", "/media"] {
        let inside = confined(&scratch, &[], &format!("ls -d {place}"));
        assert!(stderr(&inside).contains("No such file"), "{place}");
    }
}

#[test]
fn a_project_shows_nothing_of_itself_but_its_two_directories() {
    let Some(spec) = need_python() else { return };
    let scratch = Scratch::new("escape-project");
    scratch.write("home/.ssh/id_rsa", "canary");
    scratch.write("p/source.py", "x");
    scratch.write("p/.sbox/processes.json", "[]");
    let root = scratch.project("p", &format!("runtime: {spec}\n"));
    scratch.sbox("p").arg("build").assert().success();
    let run = |line: String| scratch.sbox("p").args(["run", &line]).output().unwrap();
    let at = root.display();
    assert_eq!(
        stdout(&run(format!("ls -A '{at}' '{at}/.sbox'"))),
        format!("{at}:\n.sbox\n\n{at}/.sbox:\nenv\nrootfs\n")
    );
    for file in [
        "source.py",
        "sbox.lock",
        ".sbox/config.yaml",
        ".sbox/processes.json",
        ".sbox/logs",
        ".sbox/env.sh",
        ".sbox/stage.json",
    ] {
        assert!(root.join(file).exists() || file == ".sbox/logs", "{file}");
        let output = run(format!("cat '{at}/{file}'"));
        assert!(stderr(&output).contains("No such file"), "{file}: {}", stderr(&output));
    }
    let output = run(format!(
        "echo 'cmd: evil' > '{at}/.sbox/config.yaml'; echo x > '{at}/sbox.lock'; mkdir '{at}/.sbox/logs'; cat {}/.ssh/id_rsa",
        scratch.home().display()
    ));
    started(&output, "a hostile line");
    assert!(!output.status.success());
    assert!(!scratch.read("p/.sbox/config.yaml").contains("evil"));
    assert!(!stdout(&output).contains("canary"));
}

#[test]
fn a_mount_of_the_project_itself_does_not_show_its_state() {
    let Some(spec) = need_python() else { return };
    let scratch = Scratch::new("escape-self");
    scratch.write("p/source.py", "x");
    let parent = scratch.root.display().to_string();
    let root = scratch
        .project("p", &format!("runtime: {spec}\nmount:\n  - .:/own\n  - {parent}:/all\n  - {parent}:{parent}\n"));
    scratch.sbox("p").arg("build").assert().success();
    for place in ["/own/.sbox".to_owned(), "/all/p/.sbox".into()] {
        let output = scratch
            .sbox("p")
            .args(["run", &format!("ls -A {place}; echo evil > {place}/config.yaml")])
            .output()
            .unwrap();
        started(&output, &place);
        assert_eq!(stdout(&output), "config.yaml\n", "{place}");
        assert!(!output.status.success());
    }
    // Where the mount is at its own path, the two directories are there all the same, and nothing else of the state.
    let output = scratch
        .sbox("p")
        .args(["run", &format!("ls -A '{}/.sbox'; ls '{}'", root.display(), root.display())])
        .output()
        .unwrap();
    assert_eq!(stdout(&output), "config.yaml\nenv\nrootfs\nsbox.lock\nsource.py\n");
    assert!(scratch.read("p/.sbox/config.yaml").contains("runtime"));
    // The warden of the mounts leaves alone what sbox itself made in there.
    assert!(!stderr(&output).contains("was left by the sandbox"), "{}", stderr(&output));
}

#[test]
fn inherited_descriptors_do_not_lead_out() {
    let Some(scratch) = open_scratch("escape-fds") else { return };
    let script = "exec 9<. 8<secret; {} sh -c 'cat <&8 || cat /proc/self/fd/9/secret || cat /proc/self/fd/8'";
    let outside = control(&scratch, &script.replace("{}", ""));
    assert!(stdout(&outside).contains("canary"));
    let inside = Command::new("sh")
        .args(["-c", &script.replace("{}", &format!("{}/sbox-spawn", bin().display()))])
        .current_dir(&scratch.root)
        .output()
        .unwrap();
    started(&inside, "a look at inherited descriptors");
    assert!(!stdout(&inside).contains("canary") && !inside.status.success(), "{}", stdout(&inside));
    // A directory as stdin would be one, too.
    let inside = Command::new("sh")
        .args(["-c", &format!("{}/sbox-spawn -- true < .", bin().display())])
        .current_dir(&scratch.root)
        .output()
        .unwrap();
    assert_eq!(inside.status.code(), Some(125));
    assert!(stderr(&inside).contains("a standard stream is a directory"), "{}", stderr(&inside));
}

#[test]
fn facts_about_the_host_are_synthetic() {
    let Some(scratch) = Scratch::sandbox("escape-facts") else { return };
    let output = confined(
        &scratch,
        &[],
        "hostname; cat /etc/hostname; wc -l < /etc/passwd; cat /etc/machine-id; cat /etc/shadow /etc/ssh/* /etc/fstab 2>/dev/null; ls /etc/ssl",
    );
    let said = stdout(&output);
    assert!(said.starts_with("sbox\nsbox\n"), "{said}");
    assert!(said.lines().nth(2).unwrap().trim().parse::<u32>().unwrap() <= 2, "{said}");
    assert!(!said.contains("private"), "{said}");
    if let Ok(id) = std::fs::read_to_string("/etc/machine-id") {
        assert!(id.trim().is_empty() || !said.contains(id.trim()));
    }
}

// Writes.

#[test]
fn read_only_means_every_operation_and_every_submount() {
    let Some(scratch) = open_scratch("escape-ro") else { return };
    let data = scratch.path("data");
    scratch.write("data/file", "x");
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o777)).unwrap();
    std::fs::set_permissions(data.join("file"), std::fs::Permissions::from_mode(0o666)).unwrap();
    let at = text(&data);
    for attempt in [
        "echo y > D/file",
        "echo y >> D/new",
        "rm -f D/file",
        "mv D/file D/other",
        "mkdir D/dir",
        "ln -s x D/link",
        "ln D/file D/hard",
        "chmod 600 D/file",
        "touch -d 2001-01-01 D/file",
    ] {
        let inside = confined(&scratch, &["--ro-bind", at, "/d"], &attempt.replace('D', "/d"));
        assert!(!inside.status.success(), "{attempt}");
        assert!(stderr(&inside).contains("Read-only file system"), "{attempt}: {}", stderr(&inside));
        // The same through a read-write bind works: the bind and not the file stops it. Only what is repeatable.
        if attempt.starts_with("echo y > ") {
            assert!(confined(&scratch, &["--bind", at, "/d"], &attempt.replace('D', "/d")).status.success());
        }
    }
    // A file system that is mounted below the source.
    let script = format!(
        "mount -t tmpfs none '{at}' && mkdir '{at}/sub' && mount -t tmpfs none '{at}/sub' && {{}}/sbox-spawn {{bind}} '{at}' /d -- touch /d/sub/x"
    );
    let run = |bind: &str| {
        let script = script.replace("{}", text(&bin())).replace("{bind}", bind);
        Command::new("unshare").args(["-rm", "sh", "-c", &script]).output().unwrap()
    };
    let control = run("--bind");
    assert!(control.status.success(), "the control fails: {}", stderr(&control));
    assert!(stderr(&run("--ro-bind")).contains("Read-only file system"));
}

#[test]
fn read_only_cannot_be_undone_from_inside() {
    let Some(scratch) = open_scratch("escape-undo") else { return };
    scratch.write("data/file", "x");
    let at = scratch.path("data");
    // Each with its control: the same to a read-only bind in a namespace of our own, where nothing else stands between.
    // What the kernel refuses there as well, because a mount of the parent is locked, has a control for its tools alone.
    let outside = |attempt: &str| {
        let place = text(&at);
        let script = format!("mount --bind '{place}' '{place}' && mount -o remount,ro,bind '{place}' && {attempt}");
        let output = Command::new("unshare").args(["-rm", "sh", "-c", &script]).output().unwrap();
        assert!(output.status.success(), "the control fails: {attempt}: {}", stderr(&output));
    };
    for (attempt, own) in [
        ("mount -o remount,rw,bind D", None),
        ("umount D", None),
        ("mount -t tmpfs none /tmp", None),
        ("mount -o remount,rw /", Some("true")),
        ("unshare -rm sh -c 'mount -o remount,rw,bind D && touch D/x'", Some("unshare -rm touch /dev/null")),
        ("unshare -rm sh -c 'umount -l D && touch D/file'", Some("unshare -rm touch /dev/null")),
        ("unshare -rm mount -o remount,rw,bind /usr", Some("unshare -rm true")),
        ("unshare -rm sh -c 'umount -l /proc && : >> /proc/sys/kernel/core_pattern'", Some("unshare -rm true")),
    ] {
        outside(&own.unwrap_or(attempt).replace('D', text(&at)));
        refused(&scratch, &["--ro-bind", text(&at), "/d"], &attempt.replace('D', "/d"));
    }
    assert_eq!(std::fs::read_dir(&at).unwrap().count(), 1);
}

#[test]
fn the_systems_programs_and_the_root_cannot_be_written() {
    let Some(scratch) = Scratch::sandbox("escape-system") else { return };
    for attempt in [
        ": >> /usr/bin/env",
        "touch /usr/x",
        "touch /x",
        "mkdir /y",
        "touch /etc/x",
        ": >> /etc/passwd",
        "touch /dev/x",
        "rm /dev/null",
        "rm /bin",
    ] {
        refused(&scratch, &[], attempt);
    }
    // The control: the same verbs where an agent may write.
    let control = confined(&scratch, &[], "set -e; cd /tmp; : >> env; touch x; mkdir y; ln -s x null; rm null x");
    assert!(control.status.success(), "{}", stderr(&control));
}

#[test]
fn kernel_settings_are_out_of_reach_also_for_root() {
    let Some(scratch) = Scratch::sandbox("escape-kernel") else { return };
    // Opened for writing and nothing written. Started by root, only the mounts stand between.
    for file in [
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/hostname",
        "/proc/sysrq-trigger",
        "/proc/sys/vm/overcommit_memory",
    ] {
        // A kernel may have been built without one of them.
        if Path::new(file).exists() {
            refused(&scratch, &[], &format!(": >> {file}"));
            assert!(
                confined(&scratch, &[], &format!("test -e {file}")).status.success(),
                "'{file}' is there to be refused"
            );
        }
    }
    let inside = confined(
        &scratch,
        &[],
        "cat /proc/keys /proc/kallsyms /proc/timer_list 2>/dev/null | wc -c; test ! -s /proc/kcore",
    );
    assert_eq!((stdout(&inside).trim(), inside.status.success()), ("0", true));
}

#[test]
fn no_device_node_and_no_set_uid_program_works() {
    let Some(scratch) = Scratch::sandbox("escape-suid") else { return };
    refused(&scratch, &[], "mknod /tmp/null c 1 3");
    assert!(confined(&scratch, &[], "mknod /tmp/pipe p").status.success(), "the control: the tool works");
    let inside = confined(&scratch, &["--bind", text(&scratch.root), "/d"], "cat /proc/self/mountinfo");
    for line in stdout(&inside).lines() {
        assert!(line.contains("nosuid"), "{line}");
        assert!(line.contains("nodev") || line.contains(" /dev/") || line.contains("devtmpfs"), "{line}");
    }
    assert!(stdout(&inside).contains(" /d "), "the list of mounts was read");
}

// Links that an agent planted in an earlier run.

#[test]
fn planted_links_in_the_root_show_nothing_of_the_host() {
    let Some(scratch) = open_scratch("escape-planted") else { return };
    std::fs::create_dir_all(scratch.path("root/app")).unwrap();
    symlink("/", scratch.path("root/host")).unwrap();
    symlink(&scratch.root, scratch.path("root/app/link")).unwrap();
    symlink(scratch.path("outside"), scratch.path("root/app/dangling")).unwrap();
    let root = scratch.path("root");
    let inside = confined(&scratch, &["--root", text(&root)], "ls /; cat /host/etc/shadow /app/link/secret");
    assert!(stdout(&inside).contains("app\n") && stderr(&inside).contains("/app/link/secret"), "{}", stderr(&inside));
    assert!(!stdout(&inside).contains("host\n") && !stdout(&inside).contains("canary"), "{}", stdout(&inside));
    // A mount whose place leads through one makes nothing on the host.
    for place in ["/app/link/made", "/app/dangling/made", "/app/link"] {
        let output = asked(&scratch, &["--root", text(&root), "--bind", "/usr/share", place], "true");
        assert_eq!(output.status.code(), Some(125), "{place}");
        assert!(stderr(&output).contains("in the way") || stderr(&output).contains("cannot"), "{}", stderr(&output));
    }
    assert!(!scratch.path("made").exists() && !scratch.path("outside").exists());
    // Nor does a root, or an own directory, that is a link itself.
    symlink(&scratch.root, scratch.path("rootlink")).unwrap();
    let link = scratch.path("rootlink");
    assert_eq!(asked(&scratch, &["--root", text(&link)], "true").status.code(), Some(125));
    assert_eq!(asked(&scratch, &["--own", text(&link), "/own"], "true").status.code(), Some(125));
    // The control: the same options with what is not a link.
    let real = scratch.path("root/app");
    confined(&scratch, &["--root", text(&root), "--own", text(&real), "/own"], "true");
}

#[test]
fn an_environment_that_is_a_link_is_not_followed() {
    let Some(spec) = need_python() else { return };
    let scratch = Scratch::new("escape-envlink");
    scratch.write("outside/secret", "canary");
    scratch.project("p", &format!("runtime: {spec}\n"));
    scratch.sbox("p").arg("build").assert().success();
    for part in ["env", "rootfs"] {
        let place = scratch.path("p/.sbox").join(part);
        std::fs::rename(&place, scratch.path("kept")).unwrap();
        symlink(scratch.path("outside"), &place).unwrap();
        let output = scratch.sbox("p").args(["run", &format!("cat '{}/secret'", place.display())]).output().unwrap();
        assert_eq!(output.status.code(), Some(125), "{part}: {}", stderr(&output));
        assert!(stderr(&output).contains(part), "{part}: {}", stderr(&output));
        std::fs::remove_file(&place).unwrap();
        std::fs::rename(scratch.path("kept"), &place).unwrap();
        scratch.sbox("p").args(["run", "true"]).assert().success();
    }
}

#[test]
fn what_an_agent_plants_on_the_way_to_its_own_directories_is_removed() {
    let Some(spec) = need_python() else { return };
    let scratch = Scratch::new("escape-way");
    scratch.write("outside/file", "precious");
    let root = scratch.project("p", &format!("runtime: {spec}\n"));
    scratch.sbox("p").arg("build").assert().success();
    // The project's path begins with a directory of this name, which the agent then owns inside.
    let first = root.components().nth(1).unwrap().as_os_str().to_owned();
    let second = root.components().nth(2).unwrap().as_os_str().to_owned();
    let entry = scratch.path("p/.sbox/rootfs").join(first);
    let _ = std::fs::remove_dir_all(&entry);
    std::fs::create_dir(&entry).unwrap();
    symlink(scratch.path("outside"), entry.join(second)).unwrap();
    scratch.sbox("p").args(["run", "test -w $HOME && python -c 'print(1)'"]).assert().success().stdout("1\n");
    assert_eq!(std::fs::read_dir(scratch.path("outside")).unwrap().count(), 1);
}

// Processes and privilege.

#[test]
fn there_are_no_capabilities_and_none_to_gain() {
    let Some(scratch) = Scratch::sandbox("escape-caps") else { return };
    // Of the command, and of pid 1, which it might try to take over.
    for process in ["self", "1"] {
        let said = stdout(&confined(&scratch, &[], &format!("grep -E '^(Cap|NoNewPrivs)' /proc/{process}/status")));
        for line in said.lines() {
            let value = line.split_whitespace().nth(1).unwrap();
            if line.starts_with("NoNewPrivs") {
                assert_eq!(value, "1");
            } else {
                assert_eq!(u64::from_str_radix(value, 16).unwrap(), 0, "{process}: {line}");
            }
        }
        assert_eq!(said.lines().count(), 6);
    }
}

#[test]
fn processes_of_the_host_cannot_be_seen_or_signalled() {
    let Some(scratch) = open_scratch("escape-processes") else { return };
    let mut sleeper = Command::new("sleep");
    sleeper.arg("1000");
    if is_root() {
        sleeper.uid(65534).gid(65534);
    }
    let sleeper = Ends(sleeper.spawn().unwrap());
    let pid = sleeper.0.id();
    must_fail(&scratch, &[], &format!("kill -0 {pid}"));
    must_fail(&scratch, &[], &format!("grep -q sleep /proc/{pid}/cmdline"));
    drop(sleeper);
    let inside = confined(&scratch, &[], "ls -d /proc/[0-9]* | wc -l");
    assert!(stdout(&inside).trim().parse::<u32>().unwrap() <= 4, "{}", stdout(&inside));
}

#[test]
fn init_tells_nothing_about_the_host() {
    let Some(scratch) = open_scratch("escape-init") else { return };
    let script = "cat /proc/1/environ /proc/1/mem /proc/1/maps 2>&1; tr -d '\\000' < /proc/1/cmdline; ls -l /proc/1/fd /proc/1/root/ /proc/1/cwd /proc/1/exe 2>&1; cat /proc/1/comm";
    let output = scratch
        .program("sbox-spawn")
        .env("SECRET_TOKEN", "canary-in-env")
        .args(["--bind", text(&scratch.root), "/d", "--", "sh", "-c", script])
        .output()
        .unwrap();
    let said = stdout(&output);
    assert!(!said.contains("canary") && !said.contains("--bind") && !said.contains("->"), "{said}");
    assert!(said.contains("denied"), "{said}");
}

#[test]
fn nothing_survives_the_launcher() {
    if !need_sandbox() {
        return;
    }
    let marker = format!("{}", 1_000_000 + std::process::id());
    let mut child = Command::new(bin().join("sbox-spawn"))
        .args(["sh", "-c", &format!("(setsid sleep {marker} &); trap '' TERM HUP INT; echo up; sleep {marker}")])
        .stderr(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = [0; 3];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
    let alive = || running("sleep", &marker);
    assert!(becomes(|| alive() == 2), "the control");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(becomes(|| alive() == 0), "{} processes survive", alive());
}

// IPC.

#[test]
fn shared_memory_and_keys_of_the_host_are_not_there() {
    if !need_program("perl") {
        return;
    }
    let Some(scratch) = open_scratch("escape-ipc") else { return };
    let key = 0x5b0c_0000 + std::process::id();
    // A System V segment.
    let look = format!("perl -e 'exit(defined shmget({key}, 16, 0666) ? 0 : 1)'");
    let made = Command::new("perl").args(["-e", &format!("print shmget({key}, 16, 01666)")]).output().unwrap();
    must_fail(&scratch, &[], &look);
    let _ = Command::new("ipcrm").args(["-m", &stdout(&made)]).status();
    // A POSIX segment.
    let file = format!("/dev/shm/sbox-test-{key}");
    std::fs::write(&file, "canary").unwrap();
    let _ = std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666));
    must_fail(&scratch, &[], &format!("cat {file}"));
    std::fs::remove_file(&file).unwrap();
    // A key in the session keyring of the caller: add_key is call 248, keyctl 250, KEYCTL_JOIN_SESSION_KEYRING 1,
    // KEYCTL_SEARCH 10, the session keyring -3.
    if cfg!(target_arch = "x86_64") {
        let plant = "syscall(250, 1, 0) >= 0 or exit 9; syscall(248, my $t = q(user), my $d = q(sbox-canary), my $p = q(x), 1, -3) >= 0 or exit 9;";
        let search = "exit(syscall(250, 10, -3, my $t2 = q(user), my $d2 = q(sbox-canary), 0) >= 0 ? 0 : 1);";
        let run = |launcher: &str| {
            let code = format!("{plant} exec(split(/ /, q({launcher}perl -e)), q({search})) or exit 8;");
            Command::new("perl").args(["-e", &code]).output().unwrap().status.code()
        };
        assert_eq!(run(""), Some(0), "the control");
        assert_eq!(run(&format!("{}/sbox-spawn -- ", bin().display())), Some(1));
    }
}

// Environment.

#[test]
fn no_variable_of_the_caller_passes() {
    let Some(scratch) = Scratch::sandbox("escape-env") else { return };
    let canaries = [
        "AWS_SECRET_ACCESS_KEY",
        "GITHUB_TOKEN",
        "SSH_AUTH_SOCK",
        "DBUS_SESSION_BUS_ADDRESS",
        "DISPLAY",
        "PYTHONPATH",
        "NODE_OPTIONS",
        "BASH_ENV",
        "ENV",
    ];
    let mut command = scratch.program("sbox-spawn");
    command.envs(canaries.map(|name| (name, "canary"))).args([
        "--",
        "sh",
        "-c",
        "env; cat /proc/*/environ 2>/dev/null",
    ]);
    let output = command.output().unwrap();
    started(&output, "a look at the environment");
    assert!(stdout(&output).contains("PATH="), "{}", stderr(&output));
    assert!(!stdout(&output).contains("canary"), "{}", stdout(&output));
}

// Network.

#[test]
fn without_a_network_the_hosts_loopback_is_not_there() {
    if !need_program("perl") {
        return;
    }
    let Some(scratch) = open_scratch("escape-network") else { return };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let connect = format!("perl -MIO::Socket::INET -e 'exit(IO::Socket::INET->new(\"127.0.0.1:{port}\") ? 0 : 1)'");
    must_fail(&scratch, &["--network", "none"], &connect);
    assert!(confined(&scratch, &[], &connect).status.success(), "with the host's network it is");
    let inside = confined(&scratch, &["--network", "none"], "tail -n +3 /proc/net/dev | cut -d: -f1");
    assert_eq!(stdout(&inside).trim(), "lo");
    // Loopback itself works: servers and their tests need it.
    let own = "perl -MIO::Socket::INET -e '$l = IO::Socket::INET->new(Listen => 1, LocalAddr => \"127.0.0.1:0\") or exit 2; exit(IO::Socket::INET->new(\"127.0.0.1:\" . $l->sockport) ? 0 : 1)'";
    assert!(confined(&scratch, &["--network", "none"], own).status.success());
}
