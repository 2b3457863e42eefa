//! Kills each of our processes at its system calls, and looks at what is left of it.

use crate::common::cow::{Tree, need_overlay};
use crate::common::daemons::{Standing, long_nap};
use crate::common::ptrace::{Moment, kill_at};
use crate::common::{Scratch, bin, need_sandbox, running, stderr};
use std::process::{Command, Stdio};

/// The system calls at which a process is killed: all of the first fifty and some later ones with
/// `SBOX_TEST_EVERY_CALL=1`, which takes most of an hour; `few` otherwise.
fn calls(few: &[usize]) -> Vec<usize> {
    match std::env::var_os("SBOX_TEST_EVERY_CALL") {
        Some(_) => (1..=50).chain((55..400).step_by(15)).collect(),
        None => few.to_vec(),
    }
}

const SOME: &[usize] = &[1, 7, 23, 41, 90, 170];

/// Where a whole command is run each time.
const TWO: &[usize] = &[3, 31];

/// Kills each process that `command` makes, in each program that it executes, at each of these calls, and wants all others
/// to end. Gives the names of those that were killed.
fn kill_each(what: &str, few: &[usize], command: &dyn Fn() -> Command, after: &dyn Fn(&str)) -> Vec<String> {
    let mut killed: Vec<String> = Vec::new();
    for number in 0.. {
        let mut is_there = false;
        for program in 0.. {
            let before = killed.len();
            for call in calls(few) {
                let moment = Moment { number, program, call };
                let outcome = kill_at(&mut command(), number, moment);
                let Some(name) = outcome.killed.clone() else { break };
                let which = format!("{what}: process {number} ({name}, program {program}) killed at call {call}");
                assert!(outcome.is_as_it_should(), "{which}: {:?}", outcome.left);
                after(&which);
                killed.push(name);
            }
            if killed.len() == before {
                break;
            }
            is_there = true;
        }
        if !is_there {
            break;
        }
    }
    killed.sort();
    killed.dedup();
    killed
}

/// The same, and the first one dies while the one that it has just started is on its way: this is not tied to it yet.
fn nothing_stays(what: &str, few: &[usize], command: &dyn Fn() -> Command, after: &dyn Fn(&str)) {
    let killed = kill_each(what, few, command, after);
    for program in [0, 1] {
        for call in calls(few) {
            let outcome = kill_at(&mut command(), 0, Moment { number: 1, program, call });
            if outcome.killed.is_none() {
                break;
            }
            let which = format!("{what}: the first killed when the second (program {program}) makes call {call}");
            assert_eq!(outcome.left, [], "{which}");
            after(&which);
        }
    }
    assert!(killed.len() >= 2, "{what}: {killed:?}");
}

#[test]
fn nothing_of_a_sandbox_stays_whichever_process_dies_and_when() {
    if !need_sandbox() {
        return;
    }
    let scratch = Scratch::new("faults-kill");
    let (nap, tree) = (long_nap(), scratch.path("tree"));
    std::fs::create_dir_all(tree.join("sub")).unwrap();
    for level in ["namespace", "landlock", "env"] {
        let command = || {
            let mut command = Command::new(bin().join("sbox-spawn"));
            command.args(["--isolation", level, "--bind"]).args([&tree, &tree]);
            command.args(["sleep", &nap]).stdout(Stdio::null()).stderr(Stdio::null());
            command
        };
        nothing_stays(level, SOME, &command, &|which| assert_eq!(running("sleep", &nap), 0, "{which}"));
    }
}

#[test]
fn nothing_of_a_sandbox_with_its_own_network_stays() {
    if !need_sandbox() {
        return;
    }
    let nap = long_nap();
    let command = || {
        // A port that nobody else takes meanwhile.
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new(bin().join("sbox-spawn"));
        command.args(["--network", "proxy", "--allow", "example.com", "--port", &format!("{free}:80")]);
        command.args(["sleep", &nap]).stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    nothing_stays("network", SOME, &command, &|which| assert_eq!(running("sleep", &nap), 0, "{which}"));
}

#[test]
fn a_daemon_ends_with_each_of_its_processes_and_no_record_lies() {
    if !need_sandbox() {
        return;
    }
    let project = Standing::new("faults-daemon", "");
    let nap = long_nap();
    let root = project.scratch.path("p");
    let command = || {
        let mut command = Command::new(bin().join("sbox-supervise"));
        command.env_clear().env("HOME", project.scratch.home()).args(["--name", "web", "--project"]).arg(&root);
        command.arg("--").arg(bin().join("sbox-spawn")).args(["--isolation", "namespace", "--", "sleep", &nap]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    nothing_stays("daemon", SOME, &command, &|which| {
        assert_eq!(running("sleep", &nap), 0, "{which}");
        let status = project.status("web");
        assert!(["", "failed", "exited", "stopped"].contains(&status.as_str()), "{which}: {status}");
    });
}

#[test]
fn nothing_of_a_foreground_run_stays() {
    if !need_sandbox() || !need_overlay() {
        return;
    }
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = format!(
        "network: {{allow: [example.com]}}\nports: ['{free}:80']\nmount: ['./tree:/tree', './copy:/copy:cow']\n"
    );
    let project = Standing::new("faults-run", &config);
    for tree in ["tree", "copy"] {
        project.scratch.write(&format!("p/{tree}/sub/file"), "");
    }
    let nap = long_nap();
    let command = || {
        let mut command = Command::new(bin().join("sbox"));
        command.env_clear().env("HOME", project.scratch.home()).env("PATH", "/usr/bin:/bin");
        command.current_dir(project.scratch.path("p")).args(["run", &format!("sleep {nap}")]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    nothing_stays("sbox run", TWO, &command, &|which| assert_eq!(running("sleep", &nap), 0, "{which}"));
    project.sbox(&["run", "echo whole"]).assert().success().stdout("whole\n");
}

/// In the place of a package manager: an environment of one file.
const PROVIDER: &str = r#"#!/bin/sh
for prefix; do :; done
if [ "$1" != --resolve ]; then
    mkdir -p "$prefix/bin" && printf '#!/bin/sh\nexec sh "$@"\n' >"$prefix/bin/node" && chmod +x "$prefix/bin/node"
fi
echo '{"version": "22.0.0", "fingerprint": "killed", "source": "killed", "packages": []}'
"#;

#[test]
fn a_build_that_was_killed_anywhere_is_repaired_by_the_next() {
    if !need_sandbox() {
        return;
    }
    let scratch = Scratch::new("faults-build");
    let provider = scratch.write("providers/sbox-mkenv-killed", PROVIDER);
    std::fs::set_permissions(&provider, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let config = "runtime: node:22\nprovider: killed\ncopy: ['./src:/app']\ninstall: ['cat /app/file >/app/made']\n";
    let root = scratch.project("p", config);
    let sbox = |words: &[&str]| {
        let mut command = Command::new(bin().join("sbox"));
        command.env_clear().env("HOME", scratch.home()).current_dir(&root).args(words);
        command.env("PATH", format!("{}:/usr/bin:/bin", scratch.path("providers").display()));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    };
    let number = std::cell::Cell::new(0);
    let command = || {
        number.set(number.get() + 1);
        scratch.write("p/src/file", &format!("{}\n", number.get()));
        let old = format!("p/src/only-{}", number.get() - 1);
        let _ = std::fs::remove_file(scratch.path(&old));
        scratch.write(&format!("p/src/only-{}", number.get()), "");
        let mut command = sbox(&["build", "--force"]);
        command.stderr(Stdio::null());
        command
    };
    let after = |which: &str| {
        let built = sbox(&["build"]).stderr(Stdio::piped()).output().unwrap();
        assert!(built.status.success(), "{which}: {}", stderr(&built));
        let check = sbox(&["build", "--check"]).stderr(Stdio::piped()).output().unwrap();
        assert!(check.status.success(), "{which}: {}", stderr(&check));
        let mut names: Vec<String> = std::fs::read_dir(root.join(".sbox/rootfs/app")).unwrap().map(name).collect();
        names.sort();
        assert_eq!(names, ["file".into(), "made".into(), format!("only-{}", number.get())], "{which}");
        let made = std::fs::read_to_string(root.join(".sbox/rootfs/app/made")).unwrap();
        assert_eq!(made, format!("{}\n", number.get()), "{which}");
        let left: Vec<String> = std::fs::read_dir(root.join(".sbox")).unwrap().map(name).collect();
        let is_unfinished =
            |name: &String| [".new", "trash", "home.kept", "moving"].iter().any(|end| name.ends_with(end));
        assert!(!left.iter().any(is_unfinished), "{which}: {left:?}");
    };
    kill_each("sbox build", &[31], &command, &after);
}

fn name(entry: std::io::Result<std::fs::DirEntry>) -> String {
    entry.unwrap().file_name().to_string_lossy().into_owned()
}

#[test]
fn an_apply_that_was_killed_anywhere_is_finished_by_the_next() {
    if !need_overlay() {
        return;
    }
    let tree = Tree::new("faults-apply");
    for name in ["changed", "removed", "kept"] {
        tree.write(name, "old\n");
    }
    let number = std::cell::Cell::new(0);
    let sbox = || {
        let mut command = Command::new(bin().join("sbox"));
        command.env_clear().env("HOME", tree.scratch.home()).env("PATH", "/usr/bin:/bin").current_dir(tree.root());
        command.arg("apply").stdout(Stdio::null());
        command
    };
    let command = || {
        number.set(number.get() + 1);
        let now = number.get();
        tree.write("removed", "old\n");
        assert!(tree.inside(&format!(
            "echo {now} >changed; rm removed; rm -rf dir-*; mkdir -p dir-{now}/sub; echo {now} >dir-{now}/sub/new"
        )));
        let mut command = sbox();
        command.stderr(Stdio::null());
        command
    };
    let after = |which: &str| {
        let text = tree.read("changed");
        let now = number.get();
        assert!(["old\n".into(), format!("{}\n", now - 1), format!("{now}\n")].contains(&text), "{which}: {text}");
        let applied = sbox().stderr(Stdio::piped()).output().unwrap();
        assert!(applied.status.success(), "{which}: {}", stderr(&applied));
        assert_eq!(tree.read("changed"), format!("{now}\n"), "{which}");
        assert_eq!(tree.read(&format!("dir-{now}/sub/new")), format!("{now}\n"), "{which}");
        let mut names: Vec<String> = std::fs::read_dir(tree.root()).unwrap().map(name).collect();
        names.sort();
        assert_eq!(names, [".sbox".into(), "changed".into(), format!("dir-{now}"), "kept".into()], "{which}");
        assert_eq!(tree.upper(), Vec::<String>::new(), "{which}");
    };
    kill_each("sbox apply", TWO, &command, &after);
}
