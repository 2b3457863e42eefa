use crate::common::{Scratch, need_python, stderr};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

const ASKS: &str = "env:\n  KEY: \"${MY_KEY}\"\nmount:\n  - /usr/share:/share:ro\n";

#[test]
fn a_project_from_elsewhere_gets_nothing_before_it_is_trusted() {
    let Some(spec) = need_python() else { return };
    let scratch = Scratch::new("trust");
    scratch.project("p", &format!("runtime: {spec}\n{ASKS}cmd: echo $KEY\n"));
    // Made here: nothing is asked.
    scratch.sbox("p").arg("build").assert().success();
    scratch.sbox("p").env("MY_KEY", "k1").arg("run").assert().success().stdout("k1\n");
    scratch.sbox("p").args(["trust", "--list"]).assert().success().stderr(contains("made here"));
    // The same with the record of a packed sandbox beside it.
    scratch.write("p/metadata.json", "{\"format\": \"sbox 1\"}");
    for verb in [&["run"][..], &["build"], &["exec", "true"], &["shell"]] {
        let output = scratch.sbox("p").env("MY_KEY", "k1").args(verb).output().unwrap();
        assert!(!output.status.success(), "{verb:?}");
        let said = stderr(&output);
        assert!(
            said.contains("your variable 'MY_KEY'") && said.contains("'/usr/share' of this host, read-only"),
            "{said}"
        );
        assert!(said.contains("sbox trust"));
    }
    scratch.sbox("p").args(["trust", "--list"]).assert().code(1);
    scratch.sbox("p").arg("trust").assert().success().stderr(contains("Accepted, and nothing more"));
    scratch.sbox("p").env("MY_KEY", "k2").arg("run").assert().success().stdout("k2\n");
    // What is asked for later has to be accepted again; what asks for less of it too.
    scratch.project("p", &format!("runtime: {spec}\n{ASKS}  - ~/.ssh:/ssh\ncmd: echo $KEY\n"));
    std::fs::create_dir(scratch.path("home/.ssh")).unwrap();
    scratch.sbox("p").arg("run").assert().code(125).stderr(contains(".ssh' of this host, read-write"));
    scratch.sbox("p").arg("trust").assert().success();
    scratch.sbox("p").args(["trust", "--revoke"]).assert().success();
    scratch.sbox("p").arg("run").assert().code(125);
}

#[test]
fn a_built_project_that_lies_in_another_directory_is_from_elsewhere() {
    let Some(spec) = need_python() else { return };
    let scratch = Scratch::new("trust-copy");
    scratch.project("p", &format!("runtime: {spec}\n{ASKS}cmd: echo $KEY\n"));
    scratch.sbox("p").arg("build").assert().success();
    let copy = std::process::Command::new("cp").args(["-a", "p", "q"]).current_dir(&scratch.root).status().unwrap();
    assert!(copy.success());
    scratch.sbox("q").arg("build").assert().code(1).stderr(contains("came from elsewhere"));
    scratch.sbox("q").arg("trust").assert().success();
    scratch.sbox("q").arg("build").assert().success();
    scratch.sbox("q").env("MY_KEY", "k").arg("run").assert().success().stdout("k\n");
}

#[test]
fn what_asks_for_nothing_needs_no_trust() {
    let Some(spec) = need_python() else { return };
    let scratch = Scratch::new("trust-none");
    scratch.project("p", &format!("runtime: {spec}\ncmd: echo ran\n"));
    scratch.write("p/metadata.json", "{\"format\": \"sbox 1\"}");
    scratch.sbox("p").arg("build").assert().success();
    scratch.sbox("p").arg("run").assert().success().stdout("ran\n");
    scratch
        .sbox("p")
        .args(["trust", "-l", "-j"])
        .assert()
        .success()
        .stdout(contains("\"requests\": []").and(contains("\"own\": false")));
}
