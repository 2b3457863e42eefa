//! Limits in a control group, where the user was given one to divide. The tree is simulated: plain files with the names of
//! cgroup v2, in a mount namespace. What the kernel does with them is tried in the guests of `tests/vm/run`.

use crate::common::{Scratch, bin, need_program, need_sandbox, stderr, stdout};
use std::process::{Command, Output, Stdio};

/// Runs a script with `$spawn`, in a mount namespace whose group has these controllers.
fn with_controllers(scratch: &Scratch, controllers: &str, script: &str) -> Output {
    let tree = "mount -t tmpfs group /sys/fs/cgroup && cd /sys/fs/cgroup && echo \"$1\" >cgroup.controllers \
                && echo \"$1\" >cgroup.subtree_control && : >cgroup.procs || exit 99";
    let outer: &[&str] = if crate::common::is_root() { &["-m"] } else { &["-Urm"] };
    let mut unshare = Command::new("unshare");
    unshare.args(outer).args(["sh", "-c", &format!("{tree}\n{script}"), "sh", controllers]);
    unshare.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", scratch.home()).env("spawn", bin().join("sbox-spawn"));
    unshare.stdin(Stdio::null()).output().unwrap()
}

/// Whether this process is in a group of cgroup v2 that such a tree can stand for: the top one.
fn need_top_group() -> bool {
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    own.lines().any(|line| line == "0::/") || crate::common::skip::skip("this process is not in the top control group")
}

const RUN: &str = "\
mkfifo /sys/fs/cgroup/go
$spawn --status-fd 4 --limit memory=64M --limit pids=50 --limit cpus=0.5 sh -c 'read x; exit 7' 4>&1 </sys/fs/cgroup/go &
exec 3>/sys/fs/cgroup/go
until [ -s \"$(echo sbox-*/cgroup.procs)\" ] || ! kill -0 $!; do sleep 0.02; done
cd sbox-* && grep -H . memory.max memory.oom.group memory.swap.max pids.max cpu.max
[ \"$(cat cgroup.procs)\" = \"$(pgrep -P $!)\" ] && echo init is in it
echo \"oom_kill $kills\" >memory.events
echo >&3
wait $!
echo code $?";

#[test]
fn limits_are_written_into_a_delegated_group_and_its_events_are_read() {
    if !need_sandbox() || !need_program("unshare") || !need_program("pgrep") || !need_top_group() {
        return;
    }
    let scratch = Scratch::new("faults-group");
    for (kills, is_reported) in [(0, false), (3, true)] {
        let output = with_controllers(&scratch, "cpu io memory pids", &format!("kills={kills}\n{RUN}"));
        let (out, said) = (stdout(&output), stderr(&output));
        let written = [
            "memory.max:67108864",
            "memory.oom.group:1",
            "memory.swap.max:0",
            "pids.max:50",
            "cpu.max:50000 100000",
            "init is in it",
            "code 7",
        ];
        let (events, lines): (Vec<&str>, Vec<&str>) = out.lines().partition(|line| line.starts_with('{'));
        assert_eq!(lines, written, "{said}");
        assert_eq!(events[1].contains("it used more than its memory limit of 64M"), is_reported, "{events:?}");
        assert_eq!(said.contains("memory limit of 64M"), is_reported, "{said}");
    }
}

#[test]
fn half_a_group_is_none_and_pid_1_counts() {
    if !need_sandbox() || !need_program("unshare") || !need_top_group() {
        return;
    }
    let scratch = Scratch::new("faults-half-group");
    let script = "$spawn --limit memory=40M --tmpfs /x sh -c 'head -c 60M /dev/zero >/x/file; sleep 1000'
        echo code $?; ls -d sbox-* 2>/dev/null";
    let output = with_controllers(&scratch, "cpu pids", script);
    let said = stderr(&output);
    assert_eq!((stdout(&output).as_str(), said.contains("memory limit of 40M")), ("code 137\n", true), "{said}");
}
