use crate::common::Scratch;
use assert_cmd::Command;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

const CONFIG: &str = "# mine\nruntime: node:22\n";

fn project(name: &str) -> Scratch {
    let scratch = Scratch::new(name);
    scratch.project("p", CONFIG);
    scratch
}

/// `sbox edit` with a script as the editor, which gets the file as `$1`.
fn edit(scratch: &Scratch, script: &str) -> Command {
    let editor = scratch.write("my editor", &format!("#!/bin/sh\n{script}\n"));
    std::fs::set_permissions(&editor, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut command = scratch.sbox("p");
    command.arg("edit").env("EDITOR", format!("'{}'", editor.display()));
    command
}

fn state(scratch: &Scratch) -> usize {
    std::fs::read_dir(scratch.path("p/.sbox")).unwrap().count()
}

#[test]
fn a_right_text_takes_the_place_of_the_old_one() {
    let scratch = project("edit");
    let said = edit(&scratch, "echo 'cmd: node x.js' >> \"$1\"").assert().success();
    said.stderr(contains("Configuration changed"));
    assert_eq!(scratch.read("p/.sbox/config.yaml"), format!("{CONFIG}cmd: node x.js\n"));
    assert_eq!(state(&scratch), 1);
    // An editor is a command line, and the more special variable comes first.
    let mut command = edit(&scratch, "exit 1");
    command.env("VISUAL", "sed -i s/x.js/y.js/").assert().success();
    assert!(scratch.read("p/.sbox/config.yaml").contains("y.js"));
}

#[test]
fn a_wrong_text_an_unchanged_one_and_a_failing_editor_change_nothing() {
    let scratch = project("edit-wrong");
    let said = edit(&scratch, "echo 'runtimes: x' >> \"$1\"").assert().code(1);
    said.stderr(contains("runtimes").and(contains("the old one stays")));
    edit(&scratch, "true").assert().success().stderr(contains("nothing changed"));
    edit(&scratch, "echo 'cmd: x' >> \"$1\"; exit 3").assert().code(1).stderr(contains("failed"));
    assert_eq!((scratch.read("p/.sbox/config.yaml").as_str(), state(&scratch)), (CONFIG, 1));
    scratch.sbox("p").arg("edit").env("PATH", "/nowhere").assert().code(1).stderr(contains("there is no editor"));
}

#[test]
fn what_somebody_else_wrote_meanwhile_is_not_lost() {
    let scratch = project("edit-race");
    let script = "echo 'cmd: mine' >> \"$1\"; echo 'cmd: theirs' >> .sbox/config.yaml";
    edit(&scratch, script).assert().code(1).stderr(contains("somebody else").and(contains("config.draft-")));
    assert_eq!(scratch.read("p/.sbox/config.yaml"), format!("{CONFIG}cmd: theirs\n"));
    let drafts = std::fs::read_dir(scratch.path("p/.sbox")).unwrap().flatten();
    let draft = drafts.map(|entry| entry.path()).find(|path| path.to_string_lossy().contains("draft")).unwrap();
    assert!(std::fs::read_to_string(draft).unwrap().ends_with("cmd: mine\n"));
}
