use crate::common::{Scratch, need_program, stderr, stdout};
use predicates::str::contains;
use std::collections::BTreeMap;

fn null(scratch: &Scratch, variables: &[(&str, &str)]) -> BTreeMap<String, String> {
    let output =
        scratch.sbox("p").envs(variables.iter().copied()).args(["envsh", "--format", "null"]).output().unwrap();
    assert!(output.status.success());
    let text = stdout(&output);
    text.split_terminator('\0')
        .map(|entry| entry.split_once('=').unwrap())
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

#[test]
fn the_documented_values_are_literal() {
    let scratch = Scratch::new("envsh");
    let root = scratch.project("p", "runtime: node:22\n");
    let env = null(&scratch, &[]);
    let at = |below: &str| root.join(below).to_str().unwrap().to_owned();
    assert_eq!(env["HOME"], at(".sbox/rootfs/home"));
    assert_eq!(env["TMPDIR"], at(".sbox/rootfs/tmp"));
    assert_eq!(env["CONDA_PREFIX"], at(".sbox/env"));
    assert_eq!(env["npm_config_prefix"], at(".sbox/env"));
    assert_eq!(env["npm_config_cache"], at(".sbox/rootfs/home/.npm"));
    assert!(env["PATH"].starts_with(&at(".sbox/env/bin:")));
    for (name, value) in [
        ("SBOX_ACTIVE", "1"),
        ("PYTHONNOUSERSITE", "1"),
        ("PYTHONDONTWRITEBYTECODE", "1"),
        ("SBOX_ISOLATION", "namespace"),
    ] {
        assert_eq!(env[name], value);
    }
}

#[test]
fn nothing_of_the_caller_leaks() {
    let scratch = Scratch::new("envsh-leak");
    scratch.project("p", "runtime: node:22\n");
    let secrets = [
        ("AWS_SECRET_ACCESS_KEY", "x"),
        ("GITHUB_TOKEN", "x"),
        ("SSH_AUTH_SOCK", "/x"),
        ("DISPLAY", ":0"),
        ("LD_PRELOAD", ""),
        ("PYTHONPATH", "/x"),
        ("NODE_OPTIONS", "--x"),
        ("DBUS_SESSION_BUS_ADDRESS", "x"),
        ("GIT_SSL_CAINFO", "/home/x/ca.pem"),
    ];
    let env = null(
        &scratch,
        &[
            &secrets[..],
            &[("LANG", "C.UTF-8"), ("https_proxy", "http://proxy:1"), ("CURL_CA_BUNDLE", "/etc/ssl/certs/x")],
        ]
        .concat(),
    );
    for (name, _) in secrets {
        assert!(!env.contains_key(name), "{name}");
    }
    assert_eq!(
        (env["LANG"].as_str(), env["https_proxy"].as_str(), env["CURL_CA_BUNDLE"].as_str()),
        ("C.UTF-8", "http://proxy:1", "/etc/ssl/certs/x")
    );
}

#[test]
fn without_a_network_no_proxy_passes() {
    let scratch = Scratch::new("envsh-none");
    scratch.project("p", "runtime: node:22\nnetwork: none\n");
    let env = null(&scratch, &[("https_proxy", "http://user:password@proxy:1")]);
    assert!(!env.contains_key("https_proxy") && !env.contains_key("SSL_CERT_FILE"));
}

#[test]
fn values_expand_and_dollars_survive() {
    let scratch = Scratch::new("envsh-expand");
    scratch.project("p", "runtime: node:22\nenv:\n  KEY: \"a${HOSTVAR}b\"\n  COST: \"cost $5 100%\"\n  RAW: \"$$HOSTVAR\"\n  OR: \"${NOPE:-default}\"\n  HOME: /elsewhere\n  PORT: 3.10\n");
    let env = null(&scratch, &[("HOSTVAR", "v=1 2")]);
    let values = ["KEY", "COST", "RAW", "OR", "PORT"].map(|name| env[name].as_str());
    assert_eq!(values, ["av=1 2b", "cost $5 100%", "$HOSTVAR", "default", "3.10"]);
    assert!(env["HOME"].ends_with(".sbox/rootfs/home"));
    scratch
        .sbox("p")
        .args(["envsh", "--format", "json"])
        .assert()
        .success()
        .stderr(contains("'HOSTVAR' is not set on the host"));
}

#[test]
fn the_script_runs_nothing_and_holds_no_secret() {
    let scratch = Scratch::new("envsh-script");
    scratch.project(
        "it's a project; (touch PWN) & touch PWN",
        "runtime: node:22\nenv:\n  EVIL: '$(touch PWN)`touch PWN`\"'\n  TOKEN: \"${TOKEN}\"\n",
    );
    let script =
        scratch.sbox("it's a project; (touch PWN) & touch PWN").env("TOKEN", "canary").arg("envsh").output().unwrap();
    assert!(!stdout(&script).contains("canary"));
    scratch.write("env.sh", &stdout(&script));
    let run = std::process::Command::new("sh")
        .args(["-eu", "-c", ". ./env.sh; printf '%s|%s|%s' \"$EVIL\" \"$TOKEN\" \"$SBOX_PROJECT\""])
        .current_dir(&scratch.root)
        .env("TOKEN", "canary")
        .output()
        .unwrap();
    let project = scratch.path("it's a project; (touch PWN) & touch PWN");
    assert_eq!(stdout(&run), format!("$(touch PWN)`touch PWN`\"|canary|{}", project.display()));
    assert!(!scratch.path("PWN").exists() && !project.join("PWN").exists());
}

#[test]
fn the_script_is_the_same_each_time() {
    let scratch = Scratch::new("envsh-stable");
    scratch.project("p", "runtime: node:22\nenv: {B: 1, A: 2}\n");
    let script = || stdout(&scratch.sbox("p").arg("envsh").output().unwrap());
    assert_eq!(script(), script());
}

#[test]
fn the_script_does_not_claim_to_confine() {
    let scratch = Scratch::new("envsh-level");
    scratch.project("p", "runtime: node:22\n");
    for format in ["sh", "fish"] {
        let script = scratch.sbox("p").args(["envsh", "--format", format]).output().unwrap();
        let line = stdout(&script).lines().find(|line| line.contains("SBOX_ISOLATION")).unwrap().to_owned();
        assert!(line.ends_with("none") || line.ends_with("'none'"), "{line}");
    }
}

#[test]
fn fish_gets_the_same_values_and_runs_nothing() {
    if !need_program("fish") {
        return;
    }
    let scratch = Scratch::new("envsh-fish");
    let config = "runtime: node:22\nenv:\n  EVIL: \"(touch PWN)$(touch PWN)'\\\\\"\n  TOKEN: \"a${TOKEN}b\"\n  NONE: \"${NOPE}\"\n  OR: \"x${NOPE:-it's}y\"\n";
    scratch.project("p", config);
    let script = scratch.sbox("p").args(["envsh", "--format", "fish"]).output().unwrap();
    scratch.write("env.fish", &stdout(&script));
    let run = std::process::Command::new("fish")
        .args(["--no-config", "-c", "source env.fish; printf '%s|' $EVIL $TOKEN \"$NONE\" $OR $PATH[1] $HOME"])
        .current_dir(&scratch.root)
        .env("TOKEN", "canary")
        .env("HOME", scratch.home())
        .output()
        .unwrap();
    let project = scratch.path("p");
    let (bin, home) = (project.join(".sbox/env/bin"), project.join(".sbox/rootfs/home"));
    let expected = format!("(touch PWN)$(touch PWN)'\\|acanaryb||xit'sy|{}|{}|", bin.display(), home.display());
    assert_eq!(stdout(&run), expected, "{}", stderr(&run));
    assert!(!scratch.path("PWN").exists());
}
