//! What programs of the host need to start: their configuration in /etc, modes, proxies, devices.

use crate::common::{Scratch, need_sandbox, stderr, stdout};
use predicates::str::contains;
use std::path::Path;

fn spawn(scratch: &Scratch, words: &[&str]) -> assert_cmd::Command {
    let mut command = scratch.program("sbox-spawn");
    command.args(words);
    command
}

#[test]
fn packages_have_their_configuration_and_secrets_are_not_among_it() {
    let scratch = Scratch::new("programs-etc");
    if !need_sandbox() {
        return;
    }
    let output = spawn(&scratch, &["find", "/etc", "-maxdepth", "1"]).output().unwrap();
    let there = stdout(&output);
    let has = |name: &str| there.lines().any(|line| line == format!("/etc/{name}"));
    for name in ["bash.bashrc", "perl", "vim", "chromium.d", "lynx", "magic", "java-17-openjdk"] {
        assert_eq!(has(name), Path::new("/etc").join(name).exists(), "{name}");
    }
    for name in
        ["shadow", "gshadow", "sudoers", "ssh", "cron.d", "NetworkManager", "npmrc", "pip.conf", "wgetrc", "profile"]
    {
        assert!(!has(name), "{name}");
    }
    spawn(&scratch, &["sh", "-c", "ls /etc/ssl/private /etc/maven/settings.xml"]).assert().failure();
}

#[test]
fn java_starts() {
    let scratch = Scratch::new("programs-java");
    if !need_sandbox() || !Path::new("/usr/bin/java").exists() {
        return;
    }
    spawn(&scratch, &["java", "-version"]).assert().success().stderr(contains("Runtime Environment"));
}

#[test]
fn debians_chromium_shows_a_page_with_its_own_sandbox() {
    let scratch = Scratch::new("programs-chromium");
    if !need_sandbox() || !Path::new("/etc/chromium.d").exists() || !Path::new("/usr/bin/chromium").exists() {
        return;
    }
    let page = "data:text/html,<p id=x></p><script>x.textContent=6*7</script>";
    let words = ["chromium", "--headless", "--disable-gpu", "--dump-dom", page];
    // As uid 0 Chromium refuses to use its own, whoever that is outside.
    let own: &[&str] = if crate::common::is_root() { &["--no-sandbox"] } else { &[] };
    let nested = ["--nested", "--network", "none"];
    let all: Vec<&str> = nested.iter().chain(&words).chain(own).copied().collect();
    let output = spawn(&scratch, &all).timeout(std::time::Duration::from_secs(120)).output().unwrap();
    assert!(stdout(&output).contains(">42<"), "{}", stderr(&output));
}

#[test]
fn a_set_gid_bit_is_passed_over_and_a_set_uid_bit_is_refused() {
    let scratch = Scratch::new("programs-gid");
    if !need_sandbox() {
        return;
    }
    let script =
        "cd /tmp && mkdir d && touch f && chmod 2775 d && tar cf - d | tar xpf - -C /tmp && install -d -m 2755 e &&
                  stat -c %a d e f | tr '\\n' ' '; chmod 4755 f 2>/dev/null || echo refused; umask 0;
                  python3 -c 'import os; os.open(\"/tmp/n\", os.O_CREAT, 0o2755)' 2>/dev/null || echo not made";
    let output = spawn(&scratch, &["sh", "-c", script]).output().unwrap();
    assert_eq!(stdout(&output), "755 755 644 refused\nnot made\n", "{}", stderr(&output));
}

#[test]
fn every_name_of_this_machine_goes_past_the_proxy() {
    let scratch = Scratch::new("programs-no-proxy");
    if !need_sandbox() {
        return;
    }
    let words = ["--network", "proxy", "--allow", "example.org", "sh", "-c", "echo $no_proxy; echo $NO_PROXY"];
    let said = stdout(&spawn(&scratch, &words).output().unwrap());
    for name in ["localhost", ".localhost", "127.0.0.1", "0.0.0.0", "::1", "sbox"] {
        assert!(said.lines().all(|line| line.split(',').any(|entry| entry == name)), "{name}: {said}");
    }
    assert_eq!(said.lines().count(), 2);
}

#[test]
fn a_device_is_there_when_it_is_asked_for_and_a_missing_one_is_an_error_in_words() {
    let scratch = Scratch::new("programs-devices");
    if !need_sandbox() {
        return;
    }
    // Every host has this one, and no sandbox by itself.
    let node = "/dev/kmsg";
    if Path::new(node).exists() {
        spawn(&scratch, &["test", "-e", node]).assert().failure();
        spawn(&scratch, &["--dev-bind", node, "/dev/kmsg", "test", "-c", node]).assert().success();
    }
    let Some(spec) = crate::common::need_python() else { return };
    scratch.project("p", &format!("runtime: {spec}\nprovider: host\n"));
    scratch.sbox("p").arg("build").assert().success();
    let config = |devices: &str| format!("runtime: {spec}\nprovider: host\ndevices: {devices}\n");
    scratch.write("p/.sbox/config.yaml", &config("[kvn]"));
    scratch.sbox("p").arg("validate").assert().code(1).stderr(contains("kvm"));
    if !Path::new("/dev/nvidia0").exists() {
        scratch.write("p/.sbox/config.yaml", &config("nvidia"));
        scratch.sbox("p").args(["run", "true"]).assert().code(125).stderr(contains("this host has no /dev/nvidia0"));
    }
    scratch.write("q/.sbox/config.yaml", &config("[kvm]"));
    scratch.sbox("q").args(["run", "true"]).assert().code(125).stderr(contains("the devices 'kvm' of this host"));
}
