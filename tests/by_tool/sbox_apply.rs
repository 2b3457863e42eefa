use crate::common::cow::{Tree, need_overlay, snapshot, tick};
use crate::common::{need_program, stderr, stdout};
use predicates::str::contains;
use std::os::unix::fs::PermissionsExt;

/// The agent does something, and it is applied: the host has what the agent saw, and the layer is empty.
fn round(name: &str, before: &str, inside: &str) {
    let tree = Tree::new(name);
    tree.write("base", "one\n");
    let status = std::process::Command::new("sh").args(["-ec", before]).current_dir(tree.root()).status().unwrap();
    assert!(status.success(), "{before}");
    let seen = tree.scratch.path("seen");
    assert!(tree.inside_and_copy(inside, &seen));
    let output = tree.sbox().arg("apply").output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(snapshot(&tree.root()), snapshot(&seen));
    assert_eq!(tree.upper(), Vec::<String>::new(), "the layer is empty");
    tree.sbox().arg("diff").assert().success().stdout("");
    tree.sbox().arg("apply").assert().success().stderr(contains("nothing to apply"));
    // The next run sees the same.
    let again = tree.scratch.path("again");
    assert!(tree.inside_and_copy("true", &again));
    assert_eq!(snapshot(&again), snapshot(&seen));
}

#[test]
fn the_host_has_what_the_agent_saw_and_the_layer_is_empty() {
    if need_overlay() {
        round(
            "apply-all",
            "mkdir -p d/e r/s o/p t keep/me; echo 1 >d/e/f; echo 2 >r/s/f; echo 3 >o/p/f; echo 4 >o/g; echo 5 >t/f; echo 6 >file; ln -s x l; echo x >keep/me/f",
            "echo 2 >>base; chmod 755 base; rm -r d; mv r renamed; rm -r o; mkdir o; echo 7 >o/new; mkdir o/p; echo 8 >o/p/x; rm -r t; echo 8 >t; rm file; mkdir file; echo 9 >file/in; ln -sfn y l; mkdir -p a/b/c; chmod 700 a/b; printf 'a\\0b' >bin; echo x >\"$(printf 'new line')\"; chmod 640 keep/me/f",
        );
    }
}

#[test]
fn what_the_agent_closed_to_its_owner_is_applied_with_what_is_in_it() {
    let Some(tree) = Tree::overlay("apply-closed") else { return };
    tree.write("known/file", "1\n");
    assert!(tree.inside(
        "mkdir -p shut/in; echo x >shut/in/file; echo y >secret; echo 2 >known/file; chmod 0 shut/in/file secret shut/in shut; chmod 555 known"
    ));
    let output = tree.sbox().arg("apply").output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let mode = |name: &str| tree.path(name).symlink_metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(
        [mode("shut"), mode("shut/in"), mode("known")],
        [0o700, 0o700, 0o755],
        "the user can go on working in them"
    );
    assert_eq!([mode("shut/in/file"), mode("secret")], [0o400; 2]);
    assert_eq!([tree.read("shut/in/file"), tree.read("secret"), tree.read("known/file")], ["x\n", "y\n", "2\n"]);
    assert_eq!(tree.upper(), Vec::<String>::new(), "the layer is empty");
}

#[test]
fn a_directory_that_was_replaced_keeps_what_is_not_applied() {
    let Some(tree) = Tree::overlay("apply-opaque") else { return };
    tree.write("o/old", "old\n");
    tree.write("o/both", "1\n");
    assert!(tree.inside("rm -r o; mkdir o; echo 2 >o/both; echo x >o/new"));
    tree.sbox().args(["apply", "o/new"]).assert().success();
    assert_eq!(tree.read("o/new"), "x\n");
    assert_eq!(tree.read("o/old"), "old\n");
    // For the agent the old file is still gone, and the rest still waits.
    tree.sbox().args(["diff", "--name-only"]).assert().stdout("o/both\no/old\n");
    assert!(tree.inside("! test -e o/old && grep -q x o/new"));
    tree.sbox().arg("apply").assert().success();
    assert!(!tree.path("o/old").exists() && tree.upper().is_empty());
}

#[test]
fn what_changed_on_both_sides_is_named_and_left() {
    let Some(tree) = Tree::overlay("apply-conflict") else { return };
    for name in ["theirs", "both", "same", "gone", "removed"] {
        tree.write(name, "1\n");
    }
    let mut used = tree.begin();
    tree.write("both", "host\n");
    tree.write("same", "same\n");
    tree.write("gone", "host\n");
    tree.write("added", "host\n");
    assert!(used.inside(
        "echo agent >both; echo same >same; rm gone; echo agent >added; echo agent >theirs; echo agent >removed"
    ));
    std::fs::remove_file(tree.path("removed")).unwrap();
    drop(used);
    let before = snapshot(&tree.root());
    let output = tree.sbox().arg("apply").output().unwrap();
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("4 entries are in conflict; nothing was applied"), "{said}");
    for line in [
        "both: it changed on the host",
        "gone: it changed on",
        "added: it changed on",
        "removed: it is no longer on the host",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert_eq!(snapshot(&tree.root()), before, "nothing was applied");
    tree.sbox().args(["apply", "--partial"]).assert().code(1).stderr(contains("1 change applied"));
    assert_eq!(tree.read("theirs"), "agent\n");
    assert_eq!(
        (tree.read("both"), tree.read("gone"), tree.read("added")),
        ("host\n".into(), "host\n".into(), "host\n".into())
    );
    assert!(!tree.path("removed").exists());
    assert_eq!(tree.upper(), ["added", "both", "gone", "removed"]);
}

#[test]
fn a_change_of_the_host_before_the_run_is_not_a_conflict_and_between_two_runs_it_is() {
    let Some(tree) = Tree::overlay("apply-runs") else { return };
    tree.write("f", "1\n");
    tree.write("g", "1\n");
    assert!(tree.inside("echo 2 >>f"));
    tick();
    tree.write("g", "host\n");
    assert!(tree.inside("echo 2 >>g"));
    tree.sbox().arg("apply").assert().success();
    assert_eq!((tree.read("f"), tree.read("g")), ("1\n2\n".into(), "host\n2\n".into()));
    assert!(tree.inside("echo 3 >>f"));
    tick();
    tree.write("f", "host\n");
    assert!(tree.inside("echo 4 >>f"));
    tree.sbox().arg("apply").assert().code(1).stderr(contains("f: it changed on the host"));
    assert_eq!(tree.read("f"), "host\n");
}

#[test]
fn a_deletion_in_a_later_run_has_its_own_start() {
    let Some(tree) = Tree::overlay("apply-whiteouts") else { return };
    tree.write("a", "1\n");
    tree.write("b", "1\n");
    assert!(tree.inside("rm a"));
    tick();
    tree.write("b", "host\n");
    assert!(tree.inside("rm b"));
    tree.sbox().arg("apply").assert().success();
    assert!(!tree.path("a").exists() && !tree.path("b").exists());
}

#[test]
fn files_that_programs_act_on_are_applied_only_when_named() {
    let Some(tree) = Tree::overlay("apply-held") else { return };
    assert!(tree.inside("echo evil >.envrc; mkdir -p sub/.vscode; echo evil >sub/.vscode/tasks.json; ln -s /etc/passwd out; ln -s ../../x up; mkdir bare; cd bare; mkdir objects refs; echo x >HEAD; echo evil >config; cd ..; echo ok >plain"));
    let output = tree.sbox().arg("apply").output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(tree.read("plain"), "ok\n");
    for name in [".envrc", "sub/.vscode", "out", "up", "bare/config", "bare/HEAD"] {
        assert!(tree.path(name).symlink_metadata().is_err(), "{name}");
        assert!(stderr(&output).contains(name.split('/').next().unwrap()), "{name}: {}", stderr(&output));
    }
    tree.sbox().args(["apply", ".", "sub"]).assert().success();
    assert!(!tree.path("sub/.vscode").exists() && !tree.path(".envrc").exists());
    tree.sbox().args(["apply", "sub/.vscode/tasks.json"]).assert().success();
    assert_eq!(tree.read("sub/.vscode/tasks.json"), "evil\n");
    tree.sbox().args(["apply", ".envrc", "out"]).assert().success();
    assert_eq!(tree.read(".envrc"), "evil\n");
    assert_eq!(std::fs::read_link(tree.path("out")).unwrap(), std::path::Path::new("/etc/passwd"));
}

#[test]
fn no_bit_and_no_entry_that_gives_rights_reaches_the_host() {
    let Some(tree) = Tree::overlay("apply-rights") else { return };
    assert!(tree.inside(
        "cp /bin/true suid; chmod 6755 suid; mkdir sticky; chmod 3777 sticky; mkfifo pipe; echo x >open; chmod 666 open"
    ));
    tree.sbox().arg("apply").assert().success().stderr(contains("pipe: a pipe, a socket or a device"));
    let mode = |name: &str| std::fs::metadata(tree.path(name)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("suid"), mode("sticky"), mode("open")), (0o755, 0o775, 0o664));
    assert!(!tree.path("pipe").exists());
    tree.sbox().args(["diff", "--name-only"]).assert().stdout("pipe\n");
}

#[test]
fn no_link_leads_a_write_out_of_the_tree() {
    let Some(tree) = Tree::overlay("apply-links") else { return };
    let outside = tree.scratch.path("outside");
    std::fs::create_dir(&outside).unwrap();
    tree.write("d/f", "1\n");
    assert!(tree.inside("echo 2 >>d/f; echo 3 >d/new; rm -f base"));
    // Whoever put it there: what is applied beneath it must not arrive behind it.
    std::fs::rename(tree.path("d"), tree.path("moved")).unwrap();
    std::os::unix::fs::symlink(&outside, tree.path("d")).unwrap();
    tree.sbox().args(["apply", "--partial"]).assert().code(1);
    assert!(std::fs::read_dir(&outside).unwrap().next().is_none(), "nothing arrived behind the link");
    assert!(tree.path("d").is_symlink());
}

#[test]
fn git_data_is_never_applied_as_files() {
    let Some(tree) = Tree::overlay("apply-git") else { return };
    tree.write(".git/config", "[core]\n");
    assert!(tree.inside("echo '[core] fsmonitor=evil' >>.git/config; mkdir -p .git/hooks sub/.git x/.GIT; echo evil >.git/hooks/pre-commit; echo evil >sub/.git/config; echo evil >x/.GIT/config; echo 'gitdir: /x' >x/.git"));
    tree.sbox().args(["apply", ".", ".git", "sub/.git", "x/.GIT/config", ".git/hooks/pre-commit"]).assert().success();
    assert_eq!(tree.read(".git/config"), "[core]\n");
    for name in [".git/hooks", "sub/.git", "x/.GIT", "x/.git"] {
        assert!(!tree.path(name).exists(), "{name}");
    }
}

#[test]
fn the_projects_own_configuration_is_never_applied() {
    let Some(tree) = Tree::overlay("apply-own") else { return };
    let before = tree.read(".sbox/config.yaml");
    assert!(tree.inside("echo 'isolation: env' >>.sbox/config.yaml; mkdir -p other/.sbox; echo 'isolation: env' >other/.sbox/config.yaml"));
    tree.sbox().args(["apply", ".sbox/config.yaml", "."]).assert().success();
    assert_eq!(tree.read(".sbox/config.yaml"), before);
    assert!(!tree.path("other/.sbox").exists(), "another project's is applied only when named");
}

#[test]
fn dry_run_prints_and_changes_nothing() {
    let Some(tree) = Tree::overlay("apply-dry") else { return };
    tree.write("a", "1\n");
    tree.write("b", "1\n");
    assert!(tree.inside("echo 2 >>a; rm b; echo 3 >c"));
    let before = (snapshot(&tree.root()), tree.upper());
    tree.sbox().args(["apply", "-n"]).assert().success().stdout("M a\nD b\nA c\n");
    assert_eq!((snapshot(&tree.root()), tree.upper()), before);
}

#[test]
fn while_a_sandbox_uses_the_layer_it_stays_and_is_tidied_later() {
    let Some(tree) = Tree::overlay("apply-in-use") else { return };
    tree.write("f", "1\n");
    tree.write("g", "1\n");
    let mut used = tree.begin();
    assert!(used.inside("echo 2 >>f; rm g"));
    tree.sbox().arg("apply").assert().success().stderr(contains("a sandbox uses '/work'"));
    assert_eq!(tree.read("f"), "1\n2\n");
    assert!(!tree.path("g").exists());
    assert_eq!(tree.upper(), ["f", "g"]);
    tree.sbox().arg("diff").assert().stdout("");
    // The agent goes on: that is not a conflict with what was applied.
    assert!(used.inside("echo 3 >>f"));
    drop(used);
    tree.sbox().arg("apply").assert().success();
    assert_eq!(tree.read("f"), "1\n2\n3\n");
    assert_eq!(tree.upper(), Vec::<String>::new());
}

#[test]
fn a_kill_at_any_moment_loses_nothing_and_the_next_finishes() {
    let Some(tree) = Tree::overlay("apply-killed") else { return };
    for number in 0..60 {
        tree.write(&format!("d{}/f{number}", number % 5), &format!("old {number}\n"));
    }
    assert!(tree.inside("for n in $(seq 0 59); do f=d$((n % 5))/f$n; case $((n % 3)) in 0) echo new $n >$f;; 1) rm $f;; 2) mkdir -p n$n; echo new $n >n$n/g;; esac; done; rm -r d4; mkdir d4; echo x >d4/only"));
    let seen = tree.scratch.path("seen");
    assert!(tree.inside_and_copy("true", &seen));
    let wanted = snapshot(&seen);
    let start = snapshot(&tree.root());
    let old_or_new = |lines: &[String]| {
        for line in lines {
            assert!(start.contains(line) || wanted.contains(line) || line.contains(".sbox-apply-"), "{line}");
        }
    };
    // As many kills as there are moments: the pause before each is a little longer than before the last.
    let mut killed = 0;
    for step in 0..200u64 {
        let mut apply = std::process::Command::new(crate::common::bin().join("sbox-apply"))
            .current_dir(tree.root())
            .env("HOME", tree.scratch.home())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let pause = std::time::Instant::now() + std::time::Duration::from_micros(2000 + 60 * step);
        while std::time::Instant::now() < pause {
            std::hint::spin_loop();
        }
        let _ = apply.kill();
        let status = apply.wait().unwrap();
        killed += u32::from(status.code().is_none());
        old_or_new(&snapshot(&tree.root()));
        if status.success() {
            break;
        }
    }
    assert!(killed > 0, "none was killed in time");
    tree.sbox().arg("apply").assert().success();
    assert_eq!(snapshot(&tree.root()), wanted);
    assert_eq!(tree.upper(), Vec::<String>::new());
    assert!(!tree.layer().join("journal").exists());
}

#[test]
fn a_private_copy_has_the_same_semantics() {
    let tree = Tree::new("apply-copy");
    for name in ["kept", "changed", "both", "gone", "d/in"] {
        tree.write(name, "1\n");
    }
    let mut used = tree.begin_as("copy");
    let copy = tree.layer().join("copy");
    assert_eq!(snapshot(&copy), snapshot(&tree.root()));
    assert!(used.inside("echo 2 >>changed; echo agent >both; rm gone; echo x >new; rm -r d; echo x >d; echo x >.envrc; ls -a .sbox | grep -qx config.yaml"));
    tree.write("both", "host\n");
    tree.write("kept", "host\n");
    drop(used);
    let output = tree.sbox().args(["apply", "--partial"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("both: it changed on the host"), "{}", stderr(&output));
    assert_eq!(
        (tree.read("changed"), tree.read("both"), tree.read("kept")),
        ("1\n2\n".into(), "host\n".into(), "host\n".into())
    );
    assert!(!tree.path("gone").exists() && tree.path("d").is_file() && !tree.path(".envrc").exists());
    assert_eq!(stdout(&tree.sbox().args(["diff", "--name-only"]).output().unwrap()), ".envrc\nboth\n");
    // The next run has the host's version of what the agent left alone.
    assert!(tree.begin_as("copy").inside("test $(cat kept) = host && test $(cat both) = agent"));
}

#[test]
fn what_the_user_changed_between_two_runs_is_not_lost_when_the_agent_makes_its_version_again() {
    let Some(tree) = Tree::overlay("apply-made-again") else { return };
    tree.write("f", "one\n");
    tree.write("d/g", "one\n");
    assert!(tree.inside("echo agent1 >>f; echo agent1 >>d/g; mkdir new; echo a >new/h"));
    tick();
    tree.write("f", "one\nthe user\n");
    tree.write("d/g", "one\nthe user\n");
    tree.write("new/h", "the user\n");
    tick();
    // Another file of the same name, born in this run, and a directory that goes as a whole.
    assert!(tree.inside("sed s/agent1/agent2/ f >x; mv x f; rm -r d; rm -r new; mkdir new; echo b >new/h"));
    let text = stderr(&tree.sbox().arg("apply").output().unwrap());
    for name in ["f: it changed", "d/g: it changed", "new/h: it changed"] {
        assert!(text.contains(name), "{name}: {text}");
    }
    assert_eq!(tree.read("f"), "one\nthe user\n");
    assert_eq!(tree.read("d/g"), "one\nthe user\n");
}

#[test]
fn a_run_beside_another_does_not_make_the_users_changes_since_known_to_it() {
    let Some(tree) = Tree::overlay("apply-beside") else { return };
    tree.write("f", "one\n");
    let mut daemon = tree.begin();
    tick();
    tree.write("f", "the user\n");
    tick();
    drop(tree.begin());
    // It has read the file long ago.
    assert!(daemon.inside("echo stale >f"));
    drop(daemon);
    tree.sbox().arg("apply").assert().code(1).stderr(contains("it changed on the host"));
    assert_eq!(tree.read("f"), "the user\n");
}

#[test]
fn what_the_hosts_git_or_a_link_leads_to_is_applied_only_when_named() {
    let Some(tree) = Tree::overlay("apply-led") else { return };
    tree.write(".git/config", "[core]\n\thooksPath = scripts/hooks\n[include]\n\tpath = ../team.gitconfig\n");
    tree.write("real/tasks.json", "{}\n");
    tree.write("tools/pre-push", "true\n");
    tree.write("scripts/other", "x\n");
    std::fs::create_dir_all(tree.path(".git/hooks")).unwrap();
    std::os::unix::fs::symlink("../../tools/pre-push", tree.path(".git/hooks/pre-push")).unwrap();
    std::os::unix::fs::symlink("real", tree.path(".vscode")).unwrap();
    let before = snapshot(&tree.root());
    assert!(tree.inside(
        "mkdir scripts/hooks; echo evil >scripts/hooks/pre-commit; echo evil >team.gitconfig; echo evil >real/tasks.json
         echo evil >tools/pre-push; echo fine >scripts/other"
    ));
    tree.sbox().arg("apply").assert().success().stderr(contains("lead to it"));
    let after = snapshot(&tree.root());
    let changed: Vec<_> = after.iter().filter(|line| !before.contains(line)).collect();
    assert_eq!(changed, ["scripts/other 644 \"fine\\n\""], "{changed:?}");
    tree.sbox().args(["apply", "scripts/hooks"]).assert().success();
    assert_eq!(tree.read("scripts/hooks/pre-commit"), "evil\n");
    // Nor does a link in the place of a directory above lead there.
    assert!(tree.inside("mkdir -p e/hooks; echo evil >e/hooks/pre-commit; rm -r scripts; ln -s e scripts"));
    tree.sbox().arg("apply").assert().stderr(contains("scripts"));
    assert!(!tree.path("scripts").is_symlink());
}

#[test]
fn an_interrupted_apply_brings_only_what_was_chosen_then() {
    if !need_overlay() || !need_program("strace") {
        return;
    }
    let tree = Tree::new("apply-chosen");
    tree.write("a", "one\n");
    assert!(tree.inside("echo two >a; echo good >.envrc"));
    killed_at(&tree, "renameat2", 1, &["apply", ".envrc", "a"]);
    assert!(tree.layer().join("journal").exists());
    assert!(tree.inside("echo evil >.envrc"));
    tree.sbox().arg("apply").assert().success().stderr(contains("applied only when named"));
    assert_eq!(tree.read("a"), "two\n");
    assert!(!tree.path(".envrc").exists());
}

/// Runs a command that is killed at its nth call of a system call.
fn killed_at(tree: &Tree, call: &str, number: usize, words: &[&str]) {
    let status = std::process::Command::new("strace")
        .args(["-f", "-o", "/dev/null", "-e", &format!("inject={call}:signal=SIGKILL:when={number}")])
        .arg(crate::common::bin().join(format!("sbox-{}", words[0])))
        .args(&words[1..])
        .current_dir(tree.root())
        .env("HOME", tree.scratch.home())
        .stderr(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(!status.success(), "{call} {number}: it was not killed");
}

#[test]
fn what_the_user_saved_at_the_moment_of_a_kill_goes_back() {
    if !need_overlay() || !need_program("strace") {
        return;
    }
    for in_place in [true, false] {
        let tree = Tree::new("apply-kill-edit");
        tree.write("a", "one\n");
        assert!(tree.inside("echo two >a"));
        // The unlink of the old version, after the exchange.
        killed_at(&tree, "unlinkat", 1, &["apply"]);
        let beside = std::fs::read_dir(tree.root()).unwrap().map(|entry| entry.unwrap().path());
        let beside = beside.filter(|path| path.to_string_lossy().contains(".sbox-apply-")).collect::<Vec<_>>();
        assert_eq!(beside.len(), 1);
        assert_eq!((std::fs::read_to_string(&beside[0]).unwrap(), tree.read("a")), ("one\n".into(), "two\n".into()));
        // What an editor had open, or what it had renamed there just before the exchange.
        match in_place {
            true => std::fs::write(&beside[0], "the user\n").unwrap(),
            false => {
                tree.write("new", "the user\n");
                std::fs::rename(tree.path("new"), &beside[0]).unwrap();
            }
        }
        tree.sbox().arg("apply").assert().code(1).stderr(contains("a: it changed on the host"));
        assert_eq!(tree.read("a"), "the user\n");
        assert_eq!(snapshot(&tree.root()).len(), 1);
    }
    // Nothing happened meanwhile: the old one goes.
    let tree = Tree::new("apply-kill-old");
    tree.write("a", "one\n");
    assert!(tree.inside("echo two >a"));
    killed_at(&tree, "unlinkat", 1, &["apply"]);
    tree.sbox().arg("apply").assert().success();
    assert_eq!(snapshot(&tree.root()), ["a 644 \"two\\n\""]);
}

#[test]
fn a_file_that_the_user_saves_while_others_are_applied_is_not_taken_for_the_agents() {
    if !need_overlay() || !need_program("strace") {
        return;
    }
    let tree = Tree::new("apply-saved");
    tree.write("a", "one\n");
    let mut run = tree.begin();
    assert!(run.inside("echo two >a"));
    // It waits before the disk has everything, and the user saves the file.
    let mut apply = std::process::Command::new("strace")
        .args(["-f", "-o", "/dev/null", "-e", "inject=syncfs:delay_enter=1500000"])
        .arg(crate::common::bin().join("sbox-apply"))
        .current_dir(tree.root())
        .env("HOME", tree.scratch.home())
        .spawn()
        .unwrap();
    assert!(crate::common::becomes(|| tree.read("a") == "two\n"));
    tree.write("a", "the user\n");
    assert!(apply.wait().unwrap().success());
    assert!(run.inside("echo three >a"));
    tree.sbox().arg("apply").assert().code(1).stderr(contains("a: it changed on the host"));
    assert_eq!(tree.read("a"), "the user\n");
}

#[test]
fn names_that_a_file_system_takes_for_gits_are_never_applied_and_control_characters_only_when_named() {
    let Some(tree) = Tree::overlay("apply-names") else { return };
    assert!(tree.inside(
        "mkdir .git. GIT~1; echo evil >.git./config; echo evil >GIT~1/config; echo x >\"$(printf 'a\\033[2J')\""
    ));
    let text = stderr(&tree.sbox().arg("apply").output().unwrap());
    assert!(text.contains("control characters in its name"), "{text}");
    assert_eq!(snapshot(&tree.root()), Vec::<String>::new());
}

#[test]
fn a_name_in_a_hint_is_one_word_and_not_an_option() {
    let Some(tree) = Tree::overlay("apply-hint") else { return };
    assert!(tree.inside("mkdir -p -- '-f;id'; echo x >'./-f;id/.envrc'"));
    tree.sbox().arg("apply").assert().stderr(contains("sbox apply './-f;id/.envrc'"));
}

#[test]
fn a_link_in_the_path_of_the_source_leads_no_apply_elsewhere() {
    let Some(tree) = Tree::overlay("apply-src-link") else { return };
    let elsewhere = tree.scratch.path("elsewhere");
    std::fs::create_dir_all(elsewhere.join("repo")).unwrap();
    tree.write("data/repo/f", "one\n");
    tree.write(".sbox/config.yaml", "runtime: node:22\nmount:\n  - ./data/repo:/work:cow\n  - ./data:/data\n");
    assert!(tree.inside("echo two >f"));
    std::fs::rename(tree.path("data"), tree.path("old")).unwrap();
    std::os::unix::fs::symlink(&elsewhere, tree.path("data")).unwrap();
    // Before the configuration is looked at again it may have been swapped: what counts is how the tree is opened.
    let text = std::fs::read_to_string(tree.layer().join("layer.json")).unwrap();
    assert!(text.contains("data/repo"), "{text}");
    let layer = libsbox::cow::Layer::open(&tree.layer()).unwrap().unwrap();
    assert!(layer.host().is_err());
    tree.sbox().arg("apply").assert().failure();
    assert!(std::fs::read_dir(elsewhere.join("repo")).unwrap().next().is_none());
}

/// A tree that is a repository with one tracked file of a name that is ignored.
fn ignoring(name: &str) -> Tree {
    let tree = Tree::new(name);
    tree.write(".gitignore", "/.sbox\n*.o\nout/\n");
    tree.write("kept.o", "one\n");
    tree.write("out/mine", "one\n");
    let script = "git init -q . && git add -f .gitignore kept.o && git -c user.name=u -c user.email=u@u commit -qm x";
    let status = std::process::Command::new("sh").args(["-ec", script]).current_dir(tree.root()).status().unwrap();
    assert!(status.success());
    tree
}

#[test]
fn what_the_hosts_git_ignores_is_left_out_and_counted_unless_it_is_named() {
    if !need_overlay() || !need_program("git") {
        return;
    }
    let tree = ignoring("apply-ignored");
    assert!(
        tree.inside("echo 2 >a.o; echo 2 >src; mkdir -p sub/out; echo 2 >sub/out/x; echo 2 >out/mine; echo 2 >out/new")
    );
    let output = tree.sbox().args(["diff", "--name-only"]).output().unwrap();
    assert_eq!(stdout(&output), "src\nsub\n");
    // a.o, sub/out and what is in it, two files of out.
    assert!(stderr(&output).contains("5 ignored files are left out (--ignored shows them)"), "{}", stderr(&output));
    let all = stdout(&tree.sbox().args(["diff", "--name-only", "--ignored"]).output().unwrap());
    assert_eq!(all.lines().count(), 7, "{all}");
    let named = stdout(&tree.sbox().args(["diff", "--name-only", "out"]).output().unwrap());
    assert_eq!(named, "out/mine\nout/new\n");
    assert!(stdout(&tree.sbox().arg("status").output().unwrap()).contains("/work: 2 changes wait"));
    tree.sbox().arg("apply").assert().success().stderr(contains("5 ignored files"));
    assert_eq!((tree.read("src"), tree.read("out/mine")), ("2\n".into(), "one\n".into()));
    assert!(!tree.path("a.o").exists() && !tree.path("sub/out").exists() && tree.path("sub").is_dir());
    // The agent still has them.
    assert!(tree.inside("test -e a.o && test -e out/new"));
    tree.sbox().args(["apply", "a.o"]).assert().success();
    assert!(tree.path("a.o").exists() && !tree.path("out/new").exists());
    tree.sbox().args(["apply", "--ignored"]).assert().success();
    assert!(tree.path("out/new").exists() && tree.path("sub/out/x").exists());
    assert_eq!(tree.upper(), Vec::<String>::new());
}

#[test]
fn an_agent_cannot_hide_a_change_by_rules_of_its_own_nor_of_a_tracked_file_by_any() {
    if !need_overlay() || !need_program("git") {
        return;
    }
    let tree = ignoring("apply-hiding");
    tree.write("mine", "one\n");
    let hide = "echo '*' >>.gitignore; echo '*' >>.git/info/exclude; git config core.excludesFile /work/all; echo '*' >all
                printf '*\\n!.gitignore\\n' >d/.gitignore; touch d/new; echo evil >mine; echo evil >kept.o; git rm -qf --cached kept.o";
    assert!(tree.inside(&format!("mkdir d; {hide}")));
    let names = stdout(&tree.sbox().args(["diff", "--name-only"]).output().unwrap());
    for name in [".gitignore", "all", "d/new", "kept.o", "mine"] {
        assert!(names.lines().any(|line| line == name), "{name}: {names}");
    }
    // A link in the way makes git say nothing: then it is asked about the others alone.
    let tree = ignoring("apply-hiding-link");
    std::os::unix::fs::symlink("out", tree.path("link")).unwrap();
    assert!(tree.inside("rm link; mkdir link; echo 2 >link/x; echo 2 >b.o; echo 2 >c"));
    let names = stdout(&tree.sbox().args(["diff", "--name-only"]).output().unwrap());
    assert_eq!(names, "c\nlink\nlink/x\n");
}

#[test]
fn a_directory_with_ignored_files_in_it_is_not_half_deleted() {
    if !need_overlay() || !need_program("git") {
        return;
    }
    let tree = ignoring("apply-ignored-gone");
    tree.write("pkg/out/x", "one\n");
    tree.write("pkg/src", "one\n");
    assert!(tree.inside("rm -r pkg"));
    tree.sbox().arg("apply").assert().success().stderr(contains("ignored file"));
    assert!(!tree.path("pkg/src").exists() && tree.path("pkg/out/x").exists());
    tree.sbox().args(["apply", "--ignored"]).assert().success();
    assert!(!tree.path("pkg").exists());
}

#[test]
fn a_tree_that_a_repository_above_ignores_as_a_whole_has_no_ignored_files() {
    if !need_overlay() || !need_program("git") {
        return;
    }
    let tree = Tree::new("apply-ignored-whole");
    let above = tree.scratch.path("");
    std::fs::write(above.join(".gitignore"), "*\n").unwrap();
    let status = std::process::Command::new("git").args(["init", "-q", "."]).current_dir(&above).status().unwrap();
    assert!(status.success());
    assert!(tree.inside("echo 2 >a"));
    assert_eq!(stdout(&tree.sbox().args(["diff", "--name-only"]).output().unwrap()), "a\n");
}

#[test]
fn a_file_that_the_user_saves_just_before_it_is_replaced_is_put_back() {
    if !need_overlay() || !need_program("strace") {
        return;
    }
    let tree = Tree::new("apply-put-back");
    tree.write("a", "one\n");
    assert!(tree.inside("echo two >a"));
    // Between the look at the host's file and the exchange.
    let mut apply = std::process::Command::new("strace")
        .args(["-f", "-o", "/dev/null", "-e", "inject=renameat2:delay_enter=2000000"])
        .arg(crate::common::bin().join("sbox-apply"))
        .current_dir(tree.root())
        .env("HOME", tree.scratch.home())
        .spawn()
        .unwrap();
    let is_made = |path: std::path::PathBuf| {
        path.to_string_lossy().contains(".sbox-apply-") && std::fs::read(path).is_ok_and(|text| text == b"two\n")
    };
    let entries = || std::fs::read_dir(tree.root()).unwrap().map(|entry| entry.unwrap().path());
    assert!(crate::common::becomes(|| entries().any(is_made)));
    tree.write("a", "the user\n");
    assert_eq!(apply.wait().unwrap().code(), Some(1));
    assert_eq!(snapshot(&tree.root()), ["a 644 \"the user\\n\""]);
}
