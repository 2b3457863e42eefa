use crate::common::{Scratch, bin, need_python, stderr, stdout};
use predicates::str::contains;
use std::process::{Command, Stdio};

/// A project with a Python, a main.py that prints `one`, and these install commands.
fn project(scratch: &Scratch, install: &str) -> Option<std::path::PathBuf> {
    let spec = need_python()?;
    scratch.write("p/app/main.py", "print('one')\n");
    scratch.write("p/app/requirements.txt", "\n");
    Some(scratch.project("p", &format!("runtime: {spec}\ncopy:\n  - ./app:/app\n{install}cmd: python main.py\n")))
}

fn build(scratch: &Scratch) -> String {
    let output = scratch.sbox("p").arg("build").output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(stdout(&output), "");
    stderr(&output)
}

#[test]
fn a_second_build_does_nothing_and_an_edit_is_seen() {
    let scratch = Scratch::new("build-layers");
    let Some(_) = project(&scratch, "install:\n  - pip install -r requirements.txt\n") else { return };
    assert!(build(&scratch).contains("[STEP] Install 1/1"));
    assert!(build(&scratch).contains("up to date"));
    scratch.sbox("p").args(["build", "--check"]).assert().success();
    scratch.write("p/app/main.py", "print('two')\n");
    scratch.sbox("p").args(["build", "--check"]).assert().code(1);
    let said = build(&scratch);
    assert!(said.contains("Files: 1 changed") && !said.contains("Install") && !said.contains("Runtime"), "{said}");
    scratch.sbox("p").arg("run").assert().success().stdout("two\n");
    scratch.write("p/app/requirements.txt", "# changed\n");
    assert!(build(&scratch).contains("[STEP] Install 1/1"));
}

#[test]
fn deleted_parts_are_made_again() {
    let scratch = Scratch::new("build-deleted");
    let Some(_) = project(&scratch, "install: [echo made > made]\n") else { return };
    build(&scratch);
    for part in ["env", "rootfs"] {
        std::fs::remove_dir_all(scratch.path("p/.sbox").join(part)).unwrap();
        scratch.sbox("p").arg("run").assert().code(125).stderr(contains("is not built"));
        build(&scratch);
        scratch.sbox("p").arg("run").assert().success().stdout("one\n");
        assert_eq!(scratch.read("p/.sbox/rootfs/app/made"), "made\n");
    }
}

#[test]
fn both_habits_of_install_paths_work() {
    let scratch = Scratch::new("build-habits");
    let Some(_) = project(
        &scratch,
        "install:\n  - cat requirements.txt && pwd > a\n  - cat app/requirements.txt && pwd > app/b\n  - cd /app && pwd > c\n",
    ) else {
        return;
    };
    build(&scratch);
    assert_eq!(
        (scratch.read("p/.sbox/rootfs/app/a"), scratch.read("p/.sbox/rootfs/app/b")),
        ("/app\n".into(), "/\n".into())
    );
}

#[test]
fn install_commands_are_confined_and_have_the_configurations_variables() {
    let scratch = Scratch::new("build-confined");
    let canary = scratch.write("home/.ssh/id_rsa", "canary");
    let install = format!(
        "install:\n  - cat {0} > stolen || true\n  - env > env\n  - ls {1} > list || true\n",
        canary.display(),
        scratch.path("p").display()
    );
    let Some(_) = project(&scratch, &format!("{install}env:\n  MINE: yes\n")) else { return };
    scratch.sbox("p").env("GITHUB_TOKEN", "host-canary").arg("build").assert().success();
    assert_eq!(scratch.read("p/.sbox/rootfs/app/stolen"), "");
    let env = scratch.read("p/.sbox/rootfs/app/env");
    assert!(env.contains("MINE=yes") && !env.contains("canary"), "{env}");
    assert!(!scratch.read("p/.sbox/rootfs/app/list").contains("app"));
}

#[test]
fn a_failing_command_is_shown_and_taken_up_again() {
    let scratch = Scratch::new("build-fails");
    let Some(_) = project(&scratch, "install:\n  - echo x >> count\n  - printf 'why\\033[31m\\n'; test -e fixed\n")
    else {
        return;
    };
    let output = scratch.sbox("p").arg("build").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("why\\x1b[31m") && stderr(&output).contains("install command failed (exit code 1)"),
        "{}",
        stderr(&output)
    );
    scratch.sbox("p").arg("run").assert().code(125);
    scratch.write("p/.sbox/rootfs/app/fixed", "");
    build(&scratch);
    assert_eq!(scratch.read("p/.sbox/rootfs/app/count"), "x\n", "the first command ran once");
}

#[test]
fn a_build_killed_at_any_moment_is_repaired_by_the_next() {
    let scratch = Scratch::new("build-killed");
    let Some(_) = project(&scratch, "install: [sleep 0.2, echo made > made]\n") else { return };
    for delay in [5, 40, 90, 160, 250, 400, 700, 1000] {
        let mut child = Command::new(bin().join("sbox"))
            .arg("build")
            .current_dir(scratch.path("p"))
            .env("HOME", scratch.home())
            .env("SBOX_CACHE", scratch.path("cache"))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(delay));
        let _ = child.kill();
        let _ = child.wait();
    }
    let output = scratch.sbox("p").env("SBOX_CACHE", scratch.path("cache")).arg("build").output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    scratch.sbox("p").arg("run").assert().success().stdout("one\n");
    assert_eq!(scratch.read("p/.sbox/rootfs/app/made"), "made\n");
    let left: Vec<String> = std::fs::read_dir(scratch.path("p/.sbox"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(!left.iter().any(|name| name == "env.new" || name == "trash"), "{left:?}");
}

#[test]
fn a_failed_rebuild_leaves_the_last_good_state() {
    let scratch = Scratch::new("build-good");
    let Some(_) = project(&scratch, "") else { return };
    build(&scratch);
    let config = scratch.read("p/.sbox/config.yaml");
    scratch.write("p/.sbox/config.yaml", &config.replace("runtime: python:", "runtime: python:3.99 #"));
    scratch.sbox("p").arg("build").assert().code(1);
    scratch.sbox("p").args(["exec", "python", "main.py"]).assert().success().stdout("one\n");
    // A new runtime whose install command fails does not replace the old one either.
    scratch.write("p/.sbox/config.yaml", &format!("{config}install: [exit 1]\n"));
    scratch.write("p/.sbox/rootfs/home/kept", "x");
    scratch.sbox("p").args(["build", "--force"]).assert().code(1);
    scratch.write("p/.sbox/config.yaml", &config);
    scratch.sbox("p").args(["exec", "python", "main.py"]).assert().success().stdout("one\n");
    assert!(scratch.path("p/.sbox/rootfs/home/kept").exists());
    build(&scratch);
    assert!(!scratch.path("p/.sbox/rootfs.new").exists() && !scratch.path("p/.sbox/env.new").exists());
}

#[test]
fn force_makes_everything_again_but_the_home() {
    let scratch = Scratch::new("build-force");
    let Some(_) = project(&scratch, "") else { return };
    build(&scratch);
    scratch.write("p/.sbox/rootfs/home/login", "x");
    scratch.write("p/.sbox/rootfs/app/planted", "x");
    scratch.write("p/.sbox/env/bin/python3", "#!/bin/sh\necho planted\n");
    scratch.sbox("p").args(["build", "--force"]).assert().success();
    assert!(!scratch.path("p/.sbox/rootfs/app/planted").exists());
    assert_eq!(scratch.read("p/.sbox/rootfs/home/login"), "x");
    scratch.sbox("p").arg("run").assert().success().stdout("one\n");
}

#[test]
fn a_moved_project_works_after_a_build() {
    let scratch = Scratch::new("build-moved");
    let Some(_) = project(&scratch, "") else { return };
    build(&scratch);
    std::fs::rename(scratch.path("p"), scratch.path("a much longer name, with spaces")).unwrap();
    scratch.sbox("a much longer name, with spaces").arg("run").assert().code(125).stderr(contains("has moved"));
    scratch.sbox("a much longer name, with spaces").arg("build").assert().success();
    scratch
        .sbox("a much longer name, with spaces")
        .args(["exec", "pip", "--version"])
        .assert()
        .success()
        .stdout(contains("a much longer name, with spaces/.sbox/env"));
}

#[test]
fn what_was_built_is_recorded_where_no_checkout_takes_it_away() {
    let scratch = Scratch::new("build-lock");
    let Some(root) = project(&scratch, "") else { return };
    build(&scratch);
    let json = |place: &str| -> serde_json::Value { serde_json::from_str(&scratch.read(place)).unwrap() };
    let (lock, built) = (json("p/sbox.lock"), json("p/.sbox/built.json"));
    assert_eq!(built["prefix"], root.join(".sbox/env").to_str().unwrap());
    for key in ["config_hash", "built_at", "sources"] {
        assert!(!built[key].as_str().unwrap().is_empty() && lock[key].is_null(), "{key}");
    }
    assert_eq!(lock["runtimes"][0]["provider"], "host");
    assert!(lock["runtimes"][0]["packages"][0]["version"].as_str().unwrap().starts_with("3."));
    // A lock that is gone or is not one unbuilds nothing, and is written again.
    for lock in [None, Some("not a lock")] {
        let _ = std::fs::remove_file(root.join("sbox.lock"));
        if let Some(text) = lock {
            scratch.write("p/sbox.lock", text);
        }
        scratch.sbox("p").arg("run").assert().success();
        scratch.sbox("p").arg("build").assert().success().stderr(contains("is up to date"));
        assert_eq!(json("p/sbox.lock")["runtimes"], built["runtimes"]);
    }
    // What version 0.1.0 left: built state in the lock.
    std::fs::remove_file(root.join(".sbox/built.json")).unwrap();
    scratch.write("p/sbox.lock", &built.to_string());
    scratch.sbox("p").arg("run").assert().success();
    scratch.sbox("p").arg("build").assert().success().stderr(contains("is up to date"));
}

#[test]
fn git_in_the_project_never_unbuilds_it() {
    let scratch = Scratch::new("build-git");
    let Some(root) = project(&scratch, "") else { return };
    let git = |words: &[&str]| {
        let mut command = Command::new("git");
        command.args(["-c", "user.name=u", "-c", "user.email=u@localhost"]).args(words).current_dir(&root);
        let output = command.env("HOME", scratch.home()).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", stderr(&output));
    };
    git(&["init", "-q"]);
    git(&["add", "app", ".sbox/config.yaml"]);
    git(&["commit", "-qm", "first"]);
    build(&scratch);
    for words in [&["stash", "-u"][..], &["reset", "--hard"], &["clean", "-fd"], &["checkout", "-q", "-b", "other"]] {
        git(words);
        scratch.sbox("p").arg("run").assert().success().stdout("one\n");
        scratch.sbox("p").args(["build", "--check"]).assert().success();
    }
}

#[test]
fn two_builds_at_once_take_turns() {
    let scratch = Scratch::new("build-two");
    let Some(_) = project(&scratch, "install: [echo x >> count, sleep 0.3]\n") else { return };
    std::thread::scope(|scope| {
        let both = [0, 1].map(|_| scope.spawn(|| scratch.sbox("p").arg("build").output().unwrap().status.success()));
        assert!(both.into_iter().all(|one| one.join().unwrap()));
    });
    assert_eq!(scratch.read("p/.sbox/rootfs/app/count"), "x\n");
}

#[test]
fn a_bad_configuration_stops_a_build_with_all_findings() {
    let scratch = Scratch::new("build-bad");
    scratch.project("p", "runtime: ruby:3\nworkdir: x\n");
    scratch
        .sbox("p")
        .arg("build")
        .assert()
        .code(1)
        .stderr(contains("Configuration errors (2)"))
        .stderr(contains("nothing was built"));
    assert!(!scratch.path("p/.sbox/env").exists());
}

#[test]
fn a_read_only_project_is_an_error_with_the_reason() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new("build-readonly");
    scratch.project("p", "runtime: node:22\n");
    let set = |mode| std::fs::set_permissions(scratch.path("p/.sbox"), std::fs::Permissions::from_mode(mode)).unwrap();
    set(0o555);
    // Root may write anywhere; then there is nothing to see here.
    if std::fs::write(scratch.path("p/.sbox/probe"), "").is_err() {
        scratch.sbox("p").arg("build").assert().code(1).stderr(contains("permission denied"));
    }
    set(0o755);
}

#[test]
fn what_an_agent_closed_or_swapped_is_opened_and_made_again() {
    let scratch = Scratch::new("build-closed");
    let Some(root) = project(&scratch, "") else { return };
    build(&scratch);
    let at = root.join(".sbox/rootfs");
    let attack = format!(
        "cd / && mv '{0}/tmp' '{0}/app/t' && ln -s /etc '{0}/tmp'; chmod 0 '{0}' '{1}'",
        at.display(),
        root.join(".sbox/env").display()
    );
    scratch.sbox("p").args(["run", &attack]).assert().success();
    build(&scratch);
    scratch.sbox("p").args(["run", "python main.py && touch /tmp/x"]).assert().success().stdout("one\n");
    assert!(at.join("tmp").symlink_metadata().unwrap().is_dir());
    scratch.sbox("p").args(["run", &format!("chmod 0 '{}'", at.display())]).assert().success();
    scratch.sbox("p").arg("clean").assert().success();
    assert!(!at.join("app").exists() && at.join("home").is_dir());
}
