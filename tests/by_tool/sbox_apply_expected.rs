//! What was looked at is what is applied, or nothing is.

use crate::common::cow::{Tree, snapshot};
use crate::common::{stderr, stdout};
use predicates::str::contains;

/// The digest of what would be applied now.
fn digest(tree: &Tree, words: &[&str]) -> String {
    let output = tree.sbox().args(["apply", "-n", "--digest"]).args(words).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let digest = stdout(&output).lines().last().unwrap().to_owned();
    assert_eq!(digest.len(), 64, "{}", stdout(&output));
    digest
}

#[test]
fn whatever_is_different_after_the_look_stops_it_and_the_host_has_nothing_of_it() {
    let Some(tree) = Tree::overlay("apply-expected") else { return };
    for name in ["file", "gone", "kept"] {
        tree.write(name, "1\n");
    }
    let mut used = tree.begin();
    assert!(used.inside("echo 2 >file; rm gone; echo a >new; ln -s file link; mkdir dir; echo b >dir/in"));
    let before = snapshot(&tree.root());
    for later in [
        // Of the same length, and of the same time.
        "touch -r file stamp; printf '3\\n' >file; touch -r stamp file; rm stamp",
        "echo more >other",
        "chmod 755 new",
        "ln -sfn /etc/passwd link",
        "rm kept",
        "chmod 700 dir",
        "echo c >dir/in",
        "echo 1 >gone",
        "rm dir/in",
    ] {
        let expected = digest(&tree, &[]);
        assert_eq!(digest(&tree, &[]), expected, "looking changes nothing");
        assert!(used.inside(later), "{later}");
        let output = tree.sbox().args(["apply", "--expect", &expected]).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{later}: {}", stderr(&output));
        assert!(stderr(&output).contains("any more; nothing was applied"), "{later}: {}", stderr(&output));
        assert_eq!(snapshot(&tree.root()), before, "{later}");
    }
    // The other side counts, too: it is another difference.
    let expected = digest(&tree, &["--partial"]);
    tree.write("beside", "of the user's\n");
    tree.write("file", "of the user's\n");
    tree.sbox().args(["apply", "--partial", "--expect", &expected]).assert().code(1);
    assert_eq!(tree.read("file"), "of the user's\n");
    assert!(!tree.path("new").exists());
    // What is as it was is applied, and only what is named.
    let expected = digest(&tree, &["new", "dir"]);
    assert!(used.inside("echo later >other"));
    tree.sbox().args(["apply", "--expect", &expected, "new", "dir"]).assert().success();
    assert_eq!(tree.read("new"), "a\n");
    assert!(tree.path("dir").is_dir());
    assert!(!tree.path("other").exists());
}

#[test]
fn the_options_fit_together_and_what_nobody_can_have_looked_at_is_refused() {
    let Some(tree) = Tree::overlay("apply-expected-wrong") else { return };
    for wrong in [
        &["--digest"][..],
        &["-n", "--expect", "x"],
        &["-i", "--expect", "x"],
        &["--commits", "--expect", "x"],
        &["-n", "--commits", "--digest"],
    ] {
        tree.sbox().arg("apply").args(wrong).assert().code(2);
    }
    assert!(tree.inside("truncate -s 2G hole; echo x >small"));
    tree.sbox().args(["apply", "-n", "--digest"]).assert().code(1).stderr(contains("'hole' is too large"));
    let expected = digest(&tree, &["small"]);
    tree.sbox().args(["apply", "--expect", &expected, "small"]).assert().success();
    tree.sbox().args(["apply", "--expect", &"0".repeat(64), "small"]).assert().code(1);
    assert_eq!(tree.read("small"), "x\n");
}
