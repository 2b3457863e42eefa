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
        assert_eq!(output.status.code(), Some(125), "{verb:?}");
        let said = stderr(&output);
        assert!(
            said.contains("your variable 'MY_KEY'") && said.contains("'/usr/share' of this host, read-only"),
            "{said}"
        );
        assert!(said.contains("sbox trust"));
    }
    scratch.sbox("p").args(["trust", "--list"]).assert().code(1);
    scratch.sbox("p").arg("trust").assert().success().stderr(contains("Accepted (only this)"));
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
    scratch.sbox("q").arg("build").assert().code(125).stderr(contains("not accepted"));
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

#[test]
fn a_cloned_configuration_that_asks_for_anything_outside_is_refused_without_a_terminal_g18() {
    let scratch = Scratch::new("trust-clone");
    std::fs::create_dir_all(scratch.path("home/.ssh")).unwrap();
    for (config, asked) in [
        ("isolation: env\n", "isolation level 'env'"),
        ("env:\n  K: \"${AWS_SECRET_ACCESS_KEY}\"\n", "your variable 'AWS_SECRET_ACCESS_KEY', as 'K'"),
        ("mount:\n  - ~/.ssh:/ssh:ro\n", "/home/.ssh' of this host, read-only"),
        ("copy:\n  - ~/.ssh:/ssh\n", "a copy of '"),
        ("network: none\nports: [8080]\n", "port 8080 of this host"),
        ("nested: true\n", "namespaces of the agent's own"),
        ("channels: [\"https://example.org/channel\"]\n", "packages from 'https://example.org/channel'"),
        ("mamba: {url: \"https://example.org/m\"}\n", "a micromamba from"),
    ] {
        scratch.strange_project("p", &format!("runtime: node:22\n{config}cmd: 'true'\n"));
        for verb in ["run", "build"] {
            let output = scratch.sbox("p").arg(verb).output().unwrap();
            let said = stderr(&output);
            assert!(output.status.code() == Some(125) && said.contains(asked), "{verb} {config}: {said}");
            assert!(said.contains("sbox trust"), "{said}");
        }
        // The same in a project that was made here is built without a question: it fails later, or not at all.
        scratch.project("own", &format!("runtime: node:22\n{config}cmd: 'true'\n"));
        scratch.sbox("own").args(["trust", "--list"]).assert().success();
    }
}

#[test]
fn a_link_in_the_project_asks_for_what_it_leads_to_g6() {
    let scratch = Scratch::new("trust-link");
    std::fs::create_dir_all(scratch.path("home/.ssh")).unwrap();
    for (key, words) in [("mount", "of this host, read-write"), ("copy", "a copy of '")] {
        let root = scratch.strange_project("p", &format!("runtime: node:22\n{key}:\n  - ./data:/data\ncmd: 'true'\n"));
        let _ = std::fs::remove_dir(root.join("data"));
        std::os::unix::fs::symlink("../home/.ssh", root.join("data")).unwrap();
        let output = scratch.sbox("p").arg("build").output().unwrap();
        let said = stderr(&output);
        assert!(output.status.code() == Some(125) && said.contains("/home/.ssh'") && said.contains(words), "{said}");
        // Accepted is what the link leads to now, and not the link.
        scratch.sbox("p").arg("trust").assert().success();
        scratch.sbox("p").args(["trust", "--list"]).assert().success();
        std::fs::remove_file(root.join("data")).unwrap();
        std::os::unix::fs::symlink("../home", root.join("data")).unwrap();
        scratch.sbox("p").args(["trust", "--list"]).assert().code(1);
        std::fs::remove_file(root.join("data")).unwrap();
        std::fs::create_dir(root.join("data")).unwrap();
        scratch.sbox("p").args(["trust", "--list"]).assert().success().stderr(contains("nothing outside"));
    }
}

#[test]
fn each_request_is_shown_with_the_line_that_asks_for_it() {
    let scratch = Scratch::new("trust-lines");
    scratch.strange_project("p", &format!("runtime: node:22\n{ASKS}cmd: 'true'\n"));
    let list = scratch.sbox("p").args(["trust", "--list"]).assert().code(1);
    let said = String::from_utf8_lossy(&list.get_output().stderr).into_owned();
    assert!(said.contains("as 'KEY' (config.yaml:3)") && said.contains("read-only (config.yaml:5)"), "{said}");
}

#[test]
fn a_port_of_the_hosts_loopback_asks_for_trust() {
    let scratch = Scratch::new("trust-reach");
    scratch.strange_project("p", "runtime: node:22\nnetwork: {allow: ['@npm']}\nreach: [5432, '8080:80']\n");
    let output = scratch.sbox("p").args(["trust", "--list"]).output().unwrap();
    let text = crate::common::stdout(&output) + &crate::common::stderr(&output);
    assert!(text.contains("what listens on port 5432 of this host's loopback (config.yaml:3)"), "{text}");
    assert!(text.contains("port 8080") && !text.contains("@npm"), "{text}");
}
