//! `sbox init -t`: the templates that ship, and the user's own.

use crate::common::{Scratch, stdout};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

#[test]
fn a_template_is_a_configuration_that_is_the_users_own() {
    let scratch = Scratch::new("templates");
    scratch.write("p/file", "mine\n");
    let init = |words: &[&str]| scratch.sbox("p").arg("init").args(words).assert();
    init(&[".", "-t", "claude-code"]).success().stderr(contains("from template 'claude-code'"));
    assert!(scratch.read("p/.sbox/config.yaml").contains("npm install -g @anthropic-ai/claude-code"));
    assert!(!scratch.path("p/app").exists() && scratch.read("p/file") == "mine\n");
    assert!(scratch.read("p/.gitignore").contains("!/.sbox/config.yaml"));
    scratch.sbox("p").arg("validate").assert().success();
    // It may have the key of this machine without another question.
    scratch.sbox("p").args(["trust", "--list"]).assert().success();
    init(&[".", "-t", "node"]).code(1).stderr(contains("is already a project"));
    init(&[".", "-f", "-t", "node", "-r", "node:24"]).success();
    assert!(scratch.read("p/.sbox/config.yaml").contains("\nruntime: node:24\n"));
    init(&["new", "-t", "claud-code"])
        .code(2)
        .stderr(contains("no template 'claud-code'"))
        .stderr(contains("claude-code"));
    init(&["new", "-t", "node", "--copy"]).code(2);
    assert!(!scratch.path("p/new").exists());
}

#[test]
fn the_users_own_templates_come_first_and_a_name_is_not_a_path() {
    let scratch = Scratch::new("templates-own");
    scratch.write("home/.config/sbox/templates/node.yaml", "# Ours.\nruntime: node:22\ncmd: ours\n");
    scratch.write("home/.config/sbox/templates/team.yaml", "# For the team. See x\nruntime: node:22\n");
    scratch.write("home/.config/sbox/secret.yaml", "x: 1\n");
    let list = stdout(&scratch.sbox("").args(["init", "--list-templates"]).output().unwrap());
    let line =
        |name: &str| list.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap_or_default().to_owned();
    assert!(line("node").ends_with("Ours.") && line("team").ends_with("For the team"), "{list}");
    assert!(line("codex").contains("OpenAI Codex in a sandbox") && list.lines().count() == 14, "{list}");
    scratch.sbox("").args(["init", "a", "-t", "node"]).assert().success();
    assert!(scratch.read("a/.sbox/config.yaml").contains("cmd: ours"));
    let names = stdout(&scratch.sbox("").args(["init", "--list-templates", "-q"]).output().unwrap());
    assert!(names.lines().any(|name| name == "team") && names.lines().count() == 14, "{names}");
    // A mistake in one is found before anything is written; what it mounts may come later.
    scratch.write("home/.config/sbox/templates/bad.yaml", "runtime: node:22\nmont: [./x:/y]\n");
    let mut bad = scratch.sbox("");
    bad.args(["init", "d", "-t", "bad"]).assert().code(1).stderr(contains("mont").and(contains("nothing was written")));
    assert!(!scratch.path("d").exists());
    scratch.write("home/.config/sbox/templates/later.yaml", "runtime: node:22\nmount: [./data:/data]\n");
    scratch.sbox("").args(["init", "e", "-t", "later"]).assert().success();
    for name in ["../secret", "/etc/passwd", ".", ""] {
        scratch.sbox("").args(["init", "b", "-t", name]).assert().code(2).stderr(contains("no template"));
    }
    let elsewhere = scratch.write("x/sbox/templates/other.yaml", "runtime: node:22\n");
    let mut command = scratch.sbox("");
    command.env("XDG_CONFIG_HOME", elsewhere.ancestors().nth(3).unwrap());
    command.args(["init", "c", "-t", "other"]).assert().success();
}
