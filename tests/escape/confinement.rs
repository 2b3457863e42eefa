//! Levels, root's uid, streams, sandboxes in sandboxes, limits.

use super::{asked, confined, open_scratch, refused, started, text};
use crate::common::{
    Scratch, becomes, bin, need_ordinary_user, need_program, need_root, need_sandbox, running, stderr, stdout,
};
use std::os::unix::fs::MetadataExt;
use std::process::Command;

#[test]
fn started_by_root_the_agent_is_a_stranger_to_the_kernel_and_files_stay_roots() {
    if !need_sandbox() || !need_root() {
        return;
    }
    let scratch = Scratch::new("escape-root");
    let file = scratch.write("data/file", "x");
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let at = scratch.path("data");
    let inside = confined(
        &scratch,
        &["--bind", text(&at), "/d"],
        "id -u; cat /proc/self/uid_map; cat /d/file; echo new > /d/new; stat -c %u /d/new",
    );
    let said = stdout(&inside);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!((lines[0], lines[2]), ("0", "x0"), "{said}{}", stderr(&inside));
    let outside: u32 = lines[1].split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(outside >= 1_900_000_000, "{outside}");
    assert_eq!(std::fs::metadata(at.join("new")).unwrap().uid(), 0);
}

#[test]
fn a_file_given_for_reading_cannot_be_opened_for_writing() {
    let Some(scratch) = open_scratch("escape-stdin") else { return };
    // For everybody, root's stranger included: only how it was given says that it is not to be written.
    std::fs::set_permissions(scratch.path("secret"), std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    let script = |launcher: &str| {
        let line = format!("{launcher} sh -c 'echo evil >> /proc/self/fd/0 || echo evil >> /dev/stdin' < secret");
        Command::new("sh").args(["-c", &line]).current_dir(&scratch.root).output().unwrap()
    };
    let inside = script(&format!("{}/sbox-spawn --", bin().display()));
    started(&inside, "a write to what was given for reading");
    assert!(!inside.status.success());
    assert_eq!(scratch.read("secret"), "canary\n");
    // For reading it can be opened again, as scripts do.
    let line = format!("{}/sbox-spawn -- cat /dev/stdin < secret", bin().display());
    let output = Command::new("sh").args(["-c", &line]).current_dir(&scratch.root).output().unwrap();
    assert_eq!(stdout(&output), "canary\n");
    assert!(script("").status.success(), "the control");
}

#[test]
fn pipes_can_be_opened_by_name() {
    let Some(scratch) = Scratch::sandbox("escape-pipes") else { return };
    let inside = confined(&scratch, &[], "echo out > /dev/stdout; echo err > /dev/stderr");
    assert_eq!((stdout(&inside).as_str(), stderr(&inside).as_str()), ("out\n", "err\n"));
}

#[test]
fn a_sandbox_in_a_sandbox_undoes_nothing() {
    if !need_ordinary_user() {
        // Root's agent has uid 0 without capabilities, which the kernel maps into no further namespace.
        return;
    }
    let Some(scratch) = open_scratch("escape-nested") else { return };
    scratch.write("data/file", "x");
    let at = scratch.path("data");
    let options = ["--nested", "--ro-bind", text(&at), "/d"];
    assert!(confined(&scratch, &options, "unshare -rm true").status.success());
    assert!(confined(&scratch, &options, "unshare -rmpf --mount-proc sh -c 'test $$ = 1'").status.success());
    for attempt in [
        "unshare -rm sh -c 'mount -o remount,rw,bind /d && touch /d/x'",
        "unshare -rm sh -c 'umount -l /d && touch /d/file'",
        "unshare -rm mount -o remount,rw,bind /usr",
        "unshare -rm sh -c 'mount -t tmpfs none /tmp && : >> /proc/sys/kernel/core_pattern'",
        "unshare -rm sh -c ': >> /proc/sys/vm/overcommit_memory'",
        "unshare -r /usr/sbin/chroot / touch /d/x",
    ] {
        refused(&scratch, &options, attempt);
    }
    assert_eq!(std::fs::read_dir(&at).unwrap().count(), 1);
}

#[test]
fn a_weaker_level_is_taken_only_when_asked_for_and_never_with_less_than_asked() {
    let scratch = Scratch::new("escape-level");
    let run = |options: &[&str]| {
        scratch.program("sbox-spawn").args(options).args(["--", "sh", "-c", "echo $SBOX_ISOLATION"]).output().unwrap()
    };
    for level in ["landlock", "env"] {
        assert_eq!(stdout(&run(&["--isolation", level])).trim(), level);
        for options in [["--network", "proxy"], ["--network", "none"]] {
            let output = run(&["--isolation", level, options[0], options[1]]);
            let given = level == "landlock" && options[1] == "none";
            assert_eq!(output.status.code(), Some(if given { 0 } else { 125 }), "{level} {options:?}");
        }
    }
    // Where no namespace can be made, auto takes the next level and says what is lost; the name itself is an error.
    let without_namespaces = |level: &str| {
        let script = format!(
            "echo 0 > /proc/sys/user/max_user_namespaces; exec {}/sbox-spawn --isolation {level} -- sh -c 'echo $SBOX_ISOLATION'",
            bin().display()
        );
        Command::new("unshare").args(["-r", "sh", "-c", &script]).output().unwrap()
    };
    let output = without_namespaces("auto");
    assert_eq!(stdout(&output).trim(), "landlock", "{}", stderr(&output));
    assert_eq!(stderr(&output).matches("[WARN]").count(), 1);
    assert!(stderr(&output).contains("isolation level 'landlock' only"), "{}", stderr(&output));
    assert_eq!(without_namespaces("namespace").status.code(), Some(125));
    let without_network = Command::new("unshare")
        .args(["-r", "sh", "-c"])
        .arg(format!(
            "echo 0 > /proc/sys/user/max_user_namespaces; exec {}/sbox-spawn --network proxy -- true",
            bin().display()
        ))
        .output()
        .unwrap();
    assert_eq!(without_network.status.code(), Some(125));
}

#[test]
fn level_landlock_ends_with_its_launcher_too() {
    if !need_sandbox() {
        return;
    }
    let marker = format!("{}", 2_000_000 + std::process::id());
    let mut child = Command::new(bin().join("sbox-spawn"))
        .args([
            "--isolation",
            "landlock",
            "--",
            "sh",
            "-c",
            &format!("(setsid sleep {marker} &) ; trap '' TERM; echo up; sleep {marker}"),
        ])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0; 3]).unwrap();
    let alive = || running("sleep", &marker);
    assert!(becomes(|| alive() == 2), "the control");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(becomes(|| alive() == 0), "{} processes survive", alive());
}

#[test]
fn a_mount_is_a_link_where_there_are_no_namespaces_and_nothing_of_the_agents_is_lost() {
    let Some(scratch) = open_scratch("escape-links") else { return };
    std::fs::create_dir_all(scratch.path("root/app")).unwrap();
    scratch.write("root/taken/file", "kept");
    let (root, at) = (scratch.path("root"), scratch.path("secret"));
    let run = |dst: &str, script: &str| {
        asked(
            &scratch,
            &["--isolation", "landlock", "--root", text(&root), "--ro-bind", text(&at), dst, "--chdir", "/app"],
            script,
        )
    };
    assert_eq!(stdout(&run("/app/in", "cat in")), "canary\n");
    let inside = run("/app/in", "echo evil >> in");
    started(&inside, "a write through the link");
    assert!(!inside.status.success() && stderr(&inside).contains("denied"), "{}", stderr(&inside));
    let output = run("/taken", "true");
    assert_eq!(output.status.code(), Some(125), "{}", stderr(&output));
    assert_eq!(scratch.read("root/taken/file"), "kept");
}

#[test]
fn what_uses_too_much_is_ended_and_told_by_its_name() {
    let Some(scratch) = Scratch::sandbox("escape-limits") else { return };
    let ended = |limit: &str, script: &str| {
        let output = confined(&scratch, &["--limit", limit], script);
        assert_eq!(output.status.code(), Some(137), "{limit}: {}", stderr(&output));
        stderr(&output)
    };
    assert!(ended("memory=64M", "head -c 300m /dev/zero | tail > /dev/null; sleep 60").contains("memory limit of 64M"));
    assert!(ended("memory=64M", "head -c 300m /dev/zero > /dev/shm/x; sleep 60").contains("memory limit"));
    if need_program("perl") {
        // In System V memory, a megabyte at a time: no process has it.
        let segment = "perl -e '$id = shmget(0, 100 << 20, 01600); shmwrite($id, \"x\" x (1 << 20), $_ << 20, 1 << 20) for 0 .. 99; sleep 60'";
        assert!(ended("memory=64M", segment).contains("memory limit"));
    }
    assert!(ended("time=1s", "trap '' TERM; (setsid sleep 60 &); sleep 60").contains("time limit of 1s"));
    assert!(
        ended(
            "pids=20",
            "perl -e 'for (1 .. 40) { my $pid = fork; if (defined $pid && !$pid) { sleep 60; exit } } sleep 60'"
        )
        .contains("pids limit of 20")
    );
}

#[test]
fn limits_that_a_program_can_live_with_are_errors_to_it() {
    let Some(scratch) = Scratch::sandbox("escape-small-limits") else { return };
    for (limit, script, said) in [
        ("tmp=1M", "head -c 3m /dev/zero > /tmp/x", "No space left"),
        ("file_size=64k", "head -c 3m /dev/zero > /tmp/x", "File size limit"),
        ("open_files=8", "for i in 3 4 5 6 7; do eval \"exec $i< /dev/null\"; done; : < /etc/passwd", "Too many open"),
    ] {
        let output = confined(&scratch, &["--limit", limit], script);
        assert!(!output.status.success() && stderr(&output).contains(said), "{limit}: {}", stderr(&output));
        let roomy =
            limit.split('=').next().unwrap().to_owned() + if limit.starts_with("open") { "=100" } else { "=100M" };
        assert!(confined(&scratch, &["--limit", &roomy], script).status.success(), "the control of {limit}");
    }
    let inside = confined(&scratch, &["--limit", "cpus=1"], "nproc; taskset -p -c 0-63 $$ && nproc");
    assert!(stdout(&inside).starts_with("1\n") && !inside.status.success(), "{}", stdout(&inside));
    // Without a word: no core files, no real-time priority, and a number of processes that no host dies of.
    let inside = confined(&scratch, &[], "grep -E 'core file|realtime priority|Max processes' /proc/self/limits");
    let said = stdout(&inside);
    for line in said.lines() {
        let most: u64 =
            line.split_whitespace().rev().nth(if line.contains("realtime") { 0 } else { 1 }).unwrap().parse().unwrap();
        assert!(most == 0 || line.contains("processes") && most <= 4096, "{line}");
    }
    assert_eq!(said.lines().count(), 3);
}

/// What the filter refuses is heard by the monitor. Whoever could take its place, or answer a call in a filter of its own,
/// would let calls through: neither can be done.
#[test]
fn nobody_inside_answers_for_the_filter() {
    if !need_sandbox() || !need_program("python3") {
        return;
    }
    const SCRIPT: &str = r#"
import ctypes, os, struct, sys, threading, fcntl
libc = ctypes.CDLL(None, use_errno=True)
umount, seccomp = UMOUNT, SECCOMP
ops = [(0x20, 0, 0, 0), (0x15, 0, 1, umount), (6, 0, 0, 0x7fc00000), (6, 0, 0, 0x7fff0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *op) for op in ops))
filter = struct.pack("HxxxxxxQ", len(ops), ctypes.addressof(code))
libc.prctl(38, 1, 0, 0, 0)
def load(flags):
    fd = libc.syscall(seccomp, 1, flags, filter)
    return fd, 0 if fd >= 0 else ctypes.get_errno()
listener, error = load(8)
print("listener", "got" if listener >= 0 else error)
if listener < 0:
    print("silent", load(0))
elif "answer" in sys.argv:
    def answer():
        call = bytearray(80)
        fcntl.ioctl(listener, 0xC0502100, call)
        fcntl.ioctl(listener, 0xC0182101, struct.pack("QqiI", struct.unpack("Q", call[:8])[0], 0, 0, 1))
    threading.Thread(target=answer, daemon=True).start()
print("call", libc.syscall(umount, b"/tmp", 2), ctypes.get_errno())
# Every descriptor and process in sight: none is the monitor's.
print("seen", sorted(os.listdir("/proc/self/fd")) if listener < 0 else [], any("seccomp" in os.readlink(f"/proc/{p}/fd/{f}")
    for p in os.listdir("/proc") if p.isdigit() and p != str(os.getpid()) and os.access(f"/proc/{p}/fd", os.R_OK)
    for f in os.listdir(f"/proc/{p}/fd") if os.path.islink(f"/proc/{p}/fd/{f}")))
"#;
    let script =
        SCRIPT.replace("UMOUNT", &libc::SYS_umount2.to_string()).replace("SECCOMP", &libc::SYS_seccomp.to_string());
    let scratch = Scratch::new("escape-listener");
    let place = scratch.path("record");
    let run = |record: &[&str]| {
        let mut command = scratch.program("sbox-spawn");
        command.args(record).args(["--", "python3", "-c", &script, "answer"]);
        let output = command.timeout(std::time::Duration::from_secs(60)).output().unwrap();
        started(&output, "a listener of its own");
        stdout(&output)
    };
    // There is a listener already, and a filter without one is answered by the kernel.
    let recorded = run(&["--record", text(&place)]);
    assert!(recorded.contains("listener 16\nsilent (0, 0)\ncall -1 38\n"), "{recorded}");
    assert!(recorded.contains(" False\n"), "{recorded}");
    // Nobody listens: the sandbox's own filter comes before what any other says.
    let plain = run(&[]);
    assert!(plain.contains("listener got\ncall -1 1\n"), "{plain}");
    // The control: outside, a listener lets the call through to the kernel, which has its own reasons.
    let output = Command::new("unshare").args(["-Urm", "python3", "-c", &script, "answer"]).output().unwrap();
    let outside = stdout(&output);
    assert!(outside.is_empty() || outside.starts_with("listener got\ncall -1 22\n"), "{outside}");
}
