use crate::common::cow::{Tree, need_overlay, snapshot};
use crate::common::{stderr, stdout};
use predicates::str::contains;

/// What a script in a fresh tree shows as a patch, applied to a copy of the tree by git, and what the agent saw.
fn round(name: &str, before: &str, inside: &str) {
    let Some(tree) = Tree::overlay(name) else { return };
    tree.write("base", "one\ntwo\nthree\n");
    let run = |script: &str, at: std::path::PathBuf| {
        let status = std::process::Command::new("sh").args(["-ec", script]).current_dir(at).status().unwrap();
        assert!(status.success(), "{script}");
    };
    run(before, tree.root());
    assert!(tree.inside_and_copy(inside, &tree.scratch.path("seen")));
    let host = snapshot(&tree.root());
    let patch = tree.sbox().arg("diff").output().unwrap();
    assert_eq!(stderr(&patch), "");
    assert!(patch.status.success() && !patch.stdout.is_empty());
    assert_eq!(snapshot(&tree.root()), host, "diff changes nothing");
    let copy = tree.scratch.path("copy");
    // Not the state: the kernel closes the work directory of an overlay to its owner.
    run(&format!("mkdir '{0}'; tar -c --exclude=./.sbox . | tar -x -C '{0}'", copy.display()), tree.root());
    std::fs::write(tree.scratch.path("patch"), &patch.stdout).unwrap();
    run("git init -q . && git apply --whitespace=nowarn ../patch && rm -rf .git", copy.clone());
    // What git does not know of: empty directories and modes beyond the executable bit.
    run(
        "find . -type d -empty -delete; find . -type f -perm -100 -exec chmod 755 {} +; find . -type f ! -perm -100 -exec chmod 644 {} +",
        copy.clone(),
    );
    run(
        "rm -rf .sbox; find . -type d -empty -delete; find . -type f -perm -100 -exec chmod 755 {} +; find . -type f ! -perm -100 -exec chmod 644 {} +",
        tree.scratch.path("seen"),
    );
    assert_eq!(snapshot(&copy), snapshot(&tree.scratch.path("seen")));
}

#[test]
fn git_applies_text_with_every_kind_of_end() {
    round(
        "diff-text",
        "seq 100 >many; printf a >open; : >empty",
        "sed -i 's/^two$/2/' base; sed -i '3d;50s/.*/x/;99d' many; printf b >open; echo x >empty; printf '\\r\\n' >new; : >none",
    );
}

#[test]
fn git_applies_binaries() {
    round(
        "diff-binary",
        "head -c 3000 /dev/urandom >bin; head -c 100 /dev/urandom >gone",
        "head -c 70000 /dev/urandom >>bin; rm gone; printf 'a\\0b' >new; printf 'a\\0b' >base",
    );
}

#[test]
fn git_applies_modes_and_links() {
    round(
        "diff-modes",
        "ln -s base link; echo x >file; ln -s a swap; echo y >to-link",
        "chmod +x base; ln -sfn /etc/passwd link; echo z >new; chmod 755 new; rm swap; echo w >swap; rm to-link; ln -s base to-link; ln -s x fresh",
    );
}

#[test]
fn git_applies_deleted_replaced_and_renamed_directories() {
    round(
        "diff-directories",
        "mkdir -p d/e r/s o/p t; echo 1 >d/e/f; echo 2 >r/s/f; echo 3 >o/p/f; echo 4 >o/g; echo 5 >t/f; echo 6 >file",
        "rm -r d; mv r renamed; rm -r o; mkdir o; echo 7 >o/new; rm -r t; echo 8 >t; rm file; mkdir file; echo 9 >file/in",
    );
}

#[test]
fn git_applies_names_of_every_kind() {
    round(
        "diff-names",
        "echo 1 >'with space'; echo 2 >'größe'",
        "echo 2 >>'with space'; echo 3 >>'größe'; echo 1 >'a\"b\\c'; echo 1 >\"$(printf 'new\\nline')\"; mkdir 'x y'; echo 1 >'x y/-z'; printf 'a\\0' >'bin ary'",
    );
}

#[test]
fn unreadable_files_and_directories_of_the_agent_are_shown() {
    let Some(tree) = Tree::overlay("diff-unreadable") else { return };
    assert!(tree.inside("mkdir d; echo secret >d/f; chmod 0 d/f d; echo x >w; chmod 222 w"));
    let output = tree.sbox().arg("diff").output().unwrap();
    assert!(stdout(&output).contains("+secret\n") && stdout(&output).contains("+x\n"), "{}", stdout(&output));
}

#[test]
fn short_forms_and_json_have_every_change() {
    let Some(tree) = Tree::overlay("diff-forms") else { return };
    tree.write("a", "1\n2\n");
    tree.write("gone", "x\n");
    assert!(tree.inside("echo 3 >>a; rm gone; mkdir d; mkfifo d/p; echo x >.envrc; printf 'a\\0' >b"));
    tree.sbox().args(["diff", "--name-only"]).assert().success().stdout(".envrc\na\nb\nd\nd/p\ngone\n");
    let stat = stdout(&tree.sbox().args(["diff", "--stat"]).output().unwrap());
    assert!(stat.contains(" A  .envrc  +1 -0   applied only when named: direnv runs it"), "{stat}");
    assert!(stat.contains(" M  a       +1 -0\n") && stat.contains(" D  gone    +0 -1\n"), "{stat}");
    assert!(stat.contains("never applied: a pipe, a socket or a device\n"), "{stat}");
    assert!(stat.ends_with(" 6 changes, 2 lines added, 1 lines removed\n"), "{stat}");
    let json: serde_json::Value =
        serde_json::from_slice(&tree.sbox().args(["diff", "--json"]).output().unwrap().stdout).unwrap();
    let mount = &json["mounts"][0];
    assert_eq!((mount["dst"].as_str(), mount["kind"].as_str()), (Some("/work"), Some("overlay")));
    let of = |path: &str| mount["changes"].as_array().unwrap().iter().find(|c| c["path"] == path).unwrap().clone();
    assert_eq!(of("a")["change"], "modified");
    assert_eq!(of("a")["apply"], "ready");
    assert_eq!(of("b")["binary"], true);
    assert_eq!(of(".envrc")["apply"], "named");
    assert_eq!(of("d/p")["apply"], "never");
    assert_eq!(of("gone")["change"], "deleted");
}

#[test]
fn paths_are_those_of_the_host_or_of_the_sandbox() {
    let Some(tree) = Tree::overlay("diff-paths") else { return };
    tree.write("d/x", "1\n");
    assert!(tree.inside("echo 2 >>d/x; echo 1 >d/new; echo 1 >other"));
    let names = |place: &str, path: &str| {
        let mut command = tree.sbox();
        stdout(&command.current_dir(tree.path(place)).args(["diff", "--name-only", path]).output().unwrap())
    };
    assert_eq!(names("", "d"), "d/new\nd/x\n");
    assert_eq!(names("d", "x"), "d/x\n");
    assert_eq!(names("d", "../other"), "other\n");
    assert_eq!(names("", "/work/d/new"), "d/new\n");
    assert_eq!(names("", &tree.path("d/x").display().to_string()), "d/x\n");
    tree.sbox().args(["diff", "/etc"]).assert().code(2).stderr(contains("'/etc' is not in a copy-on-write mount"));
}

#[test]
fn nothing_is_shown_of_git_and_of_sbox_itself() {
    let Some(tree) = Tree::overlay("diff-own") else { return };
    tree.write(".git/config", "[core]\n");
    assert!(
        tree.inside(
            "echo x >>.git/config; mkdir -p sub/.git .sbox/x; echo y >sub/.git/HEAD; echo z >>.sbox/config.yaml"
        )
    );
    tree.sbox().arg("diff").assert().success().stdout("# new directory: sub\n");
}

#[test]
fn a_project_without_such_a_mount_says_so() {
    let scratch = crate::common::Scratch::new("diff-none");
    scratch.project("p", "runtime: node:22\n");
    scratch.sbox("p").arg("diff").assert().code(1).stderr(contains("this project has no copy-on-write mount"));
}

#[test]
fn a_tree_that_is_too_deep_or_a_huge_file_does_not_exhaust_anybody() {
    let Some(tree) = Tree::overlay("diff-hostile") else { return };
    assert!(tree.inside("d=x; for i in $(seq 12); do d=$d/$d; [ ${#d} -gt 1200 ] && break; done; mkdir -p $d/$d 2>/dev/null || mkdir -p $d; truncate -s 1T huge; echo 1 >seen"));
    let output = tree.sbox().args(["diff", "--stat"]).timeout(std::time::Duration::from_secs(20)).output().unwrap();
    let text = stdout(&output);
    assert!(output.status.success() && text.contains(" A  seen "), "{text}");
    assert!(text.contains("never applied: the tree is too deep"), "{text}");
}

#[test]
fn who_else_may_read_and_write_a_file_is_shown_beside_its_changed_content() {
    let Some(tree) = Tree::overlay("diff-bits") else { return };
    tree.write("secret", "one\n");
    std::fs::set_permissions(tree.path("secret"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    assert!(tree.inside("echo two >>secret; chmod 0664 secret"));
    tree.sbox().arg("diff").assert().success().stdout(contains("# mode 664, was 600: secret\n"));
}

#[test]
fn many_large_files_are_shown_one_after_the_other_and_zeros_behind_text_as_binary() {
    let Some(tree) = Tree::overlay("diff-memory") else { return };
    assert!(tree.inside("for n in $(seq 12); do yes text | head -n 9999 >f$n; truncate -s 50M f$n; done"));
    let script = "ulimit -v 1000000; exec \"$0\" diff --no-pager";
    let output = std::process::Command::new("sh")
        .args(["-c", script])
        .arg(crate::common::bin().join("sbox"))
        .current_dir(tree.root())
        .env("HOME", tree.scratch.home())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    // In less than a hundredth of what it stands for.
    assert!(output.stdout.len() < 6_000_000, "{}", output.stdout.len());
    assert_eq!(stdout(&output).matches("GIT binary patch").count(), 12);
}

#[test]
fn a_deep_tree_in_a_private_copy_exhausts_neither_descriptors_nor_the_stack() {
    if !need_overlay() || !crate::common::need_program("perl") {
        return;
    }
    let tree = Tree::new("diff-deep-copy");
    let deep = "perl -e 'for (1..600) { mkdir \"d\"; chdir \"d\" or die }'";
    assert!(tree.begin_as("copy").inside(deep));
    for _ in 0..2 {
        let script = "ulimit -n 1024; exec \"$0\" diff --no-pager --stat";
        let output = std::process::Command::new("sh")
            .args(["-c", script])
            .arg(crate::common::bin().join("sbox"))
            .current_dir(tree.root())
            .env("HOME", tree.scratch.home())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        assert!(stdout(&output).contains("never applied: the tree is too deep"));
        assert!(stdout(&output).contains(" 201 changes") || stdout(&output).contains(" 202 changes"));
        // The next run brings the copy up to date first.
        assert!(tree.begin_as("copy").inside("true"));
    }
    tree.sbox().args(["discard", "-f"]).assert().success();
}
