use crate::common::cow::{Tree, snapshot};
use crate::common::stdout;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

fn names(tree: &Tree) -> String {
    stdout(&tree.sbox().args(["diff", "--name-only"]).output().unwrap())
}

#[test]
fn named_changes_are_forgotten_and_the_host_is_as_it_was() {
    let Some(tree) = Tree::overlay("discard-paths") else { return };
    for name in ["a", "gone", "d/x", "d/y", "o/old", "o/both", "file"] {
        tree.write(name, "1\n");
    }
    let before = snapshot(&tree.root());
    assert!(tree.inside(
        "echo 2 >>a; rm gone; rm -r d; rm -r o; mkdir -p o n/m; echo x >o/both; echo x >n/m/f; rm file; ln -s x file"
    ));
    tree.sbox().args(["discard", "gone", "n"]).assert().success().stderr(contains("4 changes forgotten"));
    assert_eq!(names(&tree), "a\nd/x\nd/y\nd\nfile\no/both\no/old\n");
    tree.sbox().args(["discard", "d/x"]).assert().code(1).stderr(contains("'d' was deleted or replaced as a whole"));
    tree.sbox().args(["discard", "o/both"]).assert().code(1).stderr(contains("'o' was deleted or replaced as a whole"));
    tree.sbox().args(["discard", "/work/d", "o", "file"]).assert().success();
    assert_eq!(names(&tree), "a\n");
    assert_eq!(snapshot(&tree.root()), before);
    assert!(tree.inside("test $(cat d/x o/old file | wc -l) = 3 && ! test -e n"));
    assert!(!tree.layer().join("trash").exists());
}

#[test]
fn everything_is_forgotten_when_that_is_said() {
    let Some(tree) = Tree::overlay("discard-all") else { return };
    tree.write("a", "1\n");
    assert!(tree.inside("echo 2 >>a; mkdir -p d/e .git; echo x >.git/HEAD; chmod 0 d/e d"));
    tree.sbox().arg("discard").assert().code(2).stderr(contains("sbox discard --force"));
    tree.sbox().args(["discard", "-n"]).assert().success().stdout("a\nd\nd/e\n.git\n");
    assert_eq!(names(&tree), "a\nd\nd/e\n");
    tree.sbox().args(["discard", "--force"]).assert().success().stderr(contains("3 changes forgotten"));
    tree.sbox().arg("diff").assert().success().stdout("");
    assert!(tree.inside("test ! -e .git && test $(wc -l <a) = 1"));
}

#[test]
fn nothing_is_taken_from_under_a_sandbox() {
    let Some(tree) = Tree::overlay("discard-in-use") else { return };
    let mut used = tree.begin();
    assert!(used.inside("echo 1 >a"));
    tree.sbox().args(["discard", "a"]).assert().code(1).stderr(contains("a sandbox uses '/work'"));
    assert_eq!(names(&tree), "a\n");
    drop(used);
    tree.sbox().args(["discard", "a"]).assert().success();
    assert_eq!(names(&tree), "");
}

#[test]
fn a_kill_at_any_moment_never_makes_a_deletion_of_a_half() {
    let Some(tree) = Tree::overlay("discard-killed") else { return };
    for number in 0..80 {
        tree.write(&format!("o/d/f{number}"), "1\n");
    }
    let before = snapshot(&tree.root());
    assert!(tree.inside("cp -r o copy; rm -r o; mv copy o; for f in o/d/*; do echo 2 >>$f; done"));
    let all = names(&tree);
    let mut killed = 0;
    for step in 0..300u64 {
        let mut discard = std::process::Command::new(crate::common::bin().join("sbox-discard"))
            .arg("o")
            .current_dir(tree.root())
            .env("HOME", tree.scratch.home())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let pause = std::time::Instant::now() + std::time::Duration::from_micros(1000 + 40 * step);
        while std::time::Instant::now() < pause {
            std::hint::spin_loop();
        }
        let _ = discard.kill();
        let status = discard.wait().unwrap();
        killed += u32::from(status.code().is_none());
        let now = names(&tree);
        assert!(now == all || now.is_empty(), "all of it or nothing: {now}");
        if status.success() {
            break;
        }
    }
    assert!(killed > 0, "none was killed in time");
    tree.sbox().args(["discard", "o"]).assert().success();
    assert_eq!((names(&tree), snapshot(&tree.root())), (String::new(), before));
    assert!(!tree.layer().join("trash").exists());
}

#[test]
fn a_private_copy_gets_the_host_version_again() {
    let tree = Tree::new("discard-copy");
    tree.write("a", "1\n");
    tree.write("d/x", "1\n");
    assert!(tree.begin_as("copy").inside("echo 2 >>a; rm -r d; echo x >new"));
    tree.sbox().args(["discard", "a", "d"]).assert().success();
    assert_eq!(names(&tree), "new\n");
    assert!(tree.begin_as("copy").inside("test $(cat a d/x | wc -l) = 2 && test -e new"));
}

#[test]
fn the_layer_of_a_mount_that_was_taken_out_of_the_configuration_is_told_of_and_can_be_forgotten() {
    let Some(tree) = Tree::overlay("discard-stray") else { return };
    tree.write("f", "one\n");
    assert!(tree.inside("echo two >f"));
    tree.write(".sbox/config.yaml", "runtime: node:22\n");
    tree.sbox()
        .arg("status")
        .assert()
        .stdout(contains("/work: not mounted any more").and(contains("sbox discard /work")));
    tree.sbox()
        .args(["apply", "/work/f"])
        .assert()
        .failure()
        .stderr(contains("no longer a mount of the configuration"));
    assert_eq!(tree.read("f"), "one\n");
    tree.sbox().args(["diff", "/work/f"]).assert().success().stdout(contains("+two"));
    tree.sbox().args(["discard", "/work"]).assert().success().stderr(contains("1 change forgotten"));
    let status = tree.sbox().arg("status").output().unwrap();
    assert!(!crate::common::stdout(&status).contains("not mounted any more"));
    assert!(!tree.layer().join("upper").exists());
    // Its tree need not be there any more.
    tree.write(".sbox/config.yaml", "runtime: node:22\nmount:\n  - ./src:/src:cow\n");
    tree.write("src/f", "one\n");
    assert!(tree.inside("echo two >f"));
    std::fs::remove_dir_all(tree.path("src")).unwrap();
    tree.write(".sbox/config.yaml", "runtime: node:22\n");
    tree.sbox().args(["discard", "-f"]).assert().success();
}
