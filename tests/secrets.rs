//! Keys that the agent uses and never holds: whole runs against a server of HTTPS on the loopback.

use crate::common::daemons::Standing;
use crate::common::tls::TlsServer;
use crate::common::{Scratch, becomes, need_program, need_sandbox, stderr, stdout};
use assert_cmd::Command;
use std::io::Write;

const KEY: &str = "sk-ant-api03-CANARYcanaryCANARYcanaryCANARYcanary0123456789";

/// A project with one secret, and the server that gets it.
struct Kept {
    server: TlsServer,
    project: Standing,
    /// Where the certificate of the server's authority is.
    _scratch: Scratch,
}

impl Kept {
    fn new(name: &str, more: &str) -> Kept {
        let scratch = Scratch::new(&format!("{name}-server"));
        let server = TlsServer::echo(&scratch, &["api.test", "other.test"]);
        Kept::with(name, more, server, scratch)
    }

    fn with(name: &str, more: &str, server: TlsServer, scratch: Scratch) -> Kept {
        let config = format!(
            "network: {{allow: ['other.test:{0}=127.0.0.1']}}\nsecrets:\n  API_KEY: {{hosts: ['api.test:{0}=127.0.0.1']}}\n{more}",
            server.port
        );
        Kept { project: Standing::new(name, &config), server, _scratch: scratch }
    }

    fn sbox(&self, words: &[&str]) -> Command {
        let mut command = self.project.sbox(words);
        command.env("SSL_CERT_FILE", &self.server.ca).env("API_KEY", KEY);
        command
    }

    /// What a script prints, in which API is the server.
    fn run(&self, script: &str) -> String {
        let script = self.filled(script);
        let output = self.sbox(&["exec", "sh", "-c", &script]).output().unwrap();
        assert!(output.status.success(), "{script}: {}{}", stdout(&output), stderr(&output));
        stdout(&output)
    }

    fn filled(&self, script: &str) -> String {
        let port = self.server.port;
        script
            .replace("API:", &format!("https://api.test:{port}"))
            .replace("OTHER:", &format!("https://other.test:{port}"))
    }

    fn log(&self) -> String {
        self.project.log("network")
    }
}

fn need_tools() -> bool {
    need_sandbox() && need_program("curl")
}

#[test]
fn the_agent_uses_a_key_that_it_never_holds() {
    if !need_tools() {
        return;
    }
    let kept = Kept::new("secret-used", "");
    let said =
        kept.run("echo $API_KEY; curl -sSi -H \"Authorization: Bearer $API_KEY\" -A \"me $API_KEY\" API:/v1; env");
    let placeholder = said.lines().next().unwrap();
    assert!(placeholder.starts_with("sk-ant-api03-SBOX") && placeholder.len() == KEY.len(), "{placeholder}");
    // The server says the key again, in a header and in the body.
    assert!(said.contains(&format!("X-Said: Bearer {placeholder}")) && !said.contains("CANARY"), "{said}");
    let asked = kept.server.asked();
    assert_eq!(asked[0].header("authorization"), Some(format!("Bearer {KEY}").as_str()));
    assert_eq!(asked[0].header("user-agent"), Some(format!("me {placeholder}").as_str()));
    // As the password of Basic, and over a connection that is kept.
    let said = kept.run("curl -sS -u \"git:$API_KEY\" API:/a API:/b");
    assert_eq!(kept.server.asked()[2].header("authorization"), kept.server.asked()[1].header("authorization"));
    let shown = said.lines().find_map(|line| line.to_lowercase().starts_with("authorization").then(|| line.to_owned()));
    let command = format!("printf %s '{}' | cut -d' ' -f3 | base64 -d", shown.unwrap());
    assert_eq!(kept.run(&command), format!("git:{placeholder}"));
    // The same in the next run.
    assert_eq!(kept.run("echo $API_KEY").trim(), placeholder);
}

#[test]
fn a_placeholder_leaves_to_no_host_but_its_own() {
    if !need_tools() {
        return;
    }
    let more = "  OTHER_KEY: {hosts: [else.test], from: {command: 'echo ghp_zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz'}}\n";
    let kept = Kept::new("secret-stays", more);
    let said = kept.run("curl -sS -H \"Authorization: Bearer $OTHER_KEY\" API:/");
    assert!(
        said.contains("the placeholder of 'OTHER_KEY' was on its way to 'api.test', which is not its host"),
        "{said}"
    );
    let said = kept.run("curl -sS \"API:/?key=$API_KEY\"");
    assert!(said.contains("secrets.API_KEY.in: [header, address] would exchange it"), "{said}");
    let plain = format!("http://other.test:{}/", kept.server.port);
    let said = kept.run(&format!("curl -sS -H \"X: $API_KEY\" {plain}"));
    assert!(said.contains("on its way to 'other.test' in the clear"), "{said}");
    kept.run(&format!("curl -sS -d \"k=$API_KEY\" {plain} || true"));
    kept.run("curl -sS -d \"I found $OTHER_KEY and $API_KEY\" API:/");
    let asked = kept.server.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    let body = String::from_utf8(asked[0].body.clone()).unwrap();
    assert!(body.starts_with("I found ****************") && body.contains("and sk-ant-api03-SBOX"), "{body}");
    let log = kept.log();
    for reason in ["not its host", "in the clear, in the body", "is in the address"] {
        assert!(log.contains(reason), "{reason}: {log}");
    }
    assert!(!log.contains("CANARY") && !log.contains("ghp_zzz"), "{log}");
}

#[test]
fn a_host_that_is_not_of_a_secret_has_its_own_certificate() {
    if !need_tools() {
        return;
    }
    let kept = Kept::new("secret-not-of", "");
    // Not trusted inside: nobody has ended its TLS.
    let said = kept.run("curl -sS OTHER:/ 2>&1 || true");
    assert!(said.contains("certificate"), "{said}");
}

#[test]
fn a_server_that_cannot_be_known_gets_nothing() {
    if !need_tools() {
        return;
    }
    let kept = Kept::new("secret-unknown", "");
    let another = TlsServer::echo(&kept.project.scratch, &["api.test"]);
    let script = kept.filled("curl -sS -H \"Authorization: Bearer $API_KEY\" API:/");
    let output = kept.sbox(&["exec", "sh", "-c", &script]).env("SSL_CERT_FILE", &another.ca).output().unwrap();
    assert!(
        stdout(&output).contains("'api.test' cannot be asked: its certificate is not accepted here"),
        "{}",
        stdout(&output)
    );
    assert!(kept.server.asked().is_empty());
}

#[test]
fn a_redirect_to_another_host_takes_no_key_along() {
    if !need_tools() {
        return;
    }
    let scratch = Scratch::new("secret-redirect-server");
    let server = TlsServer::start(&scratch, &["api.test", "other.test"], |asked, stream| {
        let key = asked.header("authorization").unwrap_or_default().trim_start_matches("Bearer ").to_owned();
        let place = if asked.line().contains("/own") { "https://api.test" } else { "https://other.test" };
        let port = asked.header("host").and_then(|host| host.split(':').nth(1)).unwrap_or_default().to_owned();
        let head = format!("HTTP/1.1 302 Found\r\nLocation: {place}:{port}/?stolen={key}\r\nContent-Length: 0\r\n\r\n");
        let _ = stream.write_all(head.as_bytes());
    });
    let kept = Kept::with("secret-redirect", "", server, scratch);
    let said = kept.run("curl -sSi --max-redirs 1 -L -H \"Authorization: Bearer $API_KEY\" API:/own 2>&1 || true");
    assert!(said.contains("stolen=sk-ant-api03-SBOX") && !said.contains("CANARY"), "{said}");
    // With the placeholder in its address it is not asked.
    assert_eq!(kept.server.asked().len(), 1);
}

#[test]
fn events_come_at_once_and_uploads_of_any_size_pass() {
    if !need_tools() {
        return;
    }
    let scratch = Scratch::new("secret-stream-server");
    let gate = scratch.path("gate");
    let waits = gate.clone();
    let server = TlsServer::start(&scratch, &["api.test"], move |asked, stream| {
        if asked.line().starts_with("GET /events") {
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
            let _ = stream.write_all(b"d\r\ndata: first\n\n\r\n");
            let _ = stream.flush();
            becomes(|| waits.exists());
            let _ = stream.write_all(b"e\r\ndata: second\n\n\r\n0\r\n\r\n");
            return;
        }
        let length = asked.body.len().to_string();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{length}", length.len());
        let _ = stream.write_all(head.as_bytes());
    });
    let kept = Kept::with("secret-stream", "", server, scratch);
    let script = "curl -sSN API:/events > /tmp/events & until grep -q first /tmp/events; do sleep 0.02; done
        grep -c second /tmp/events; touch /tmp/seen; wait; cat /tmp/events";
    let script = kept.filled(script);
    let seen = kept.project.state("rootfs/tmp/seen");
    let opener = std::thread::spawn(move || {
        assert!(becomes(|| seen.exists()));
        std::fs::write(gate, "").unwrap();
    });
    assert_eq!(
        stdout(&kept.sbox(&["exec", "sh", "-c", &script]).output().unwrap()),
        "0\ndata: first\n\ndata: second\n\n"
    );
    opener.join().unwrap();
    let script = "head -c 30000000 /dev/zero > /tmp/zero; curl -sS -T /tmp/zero API:/; echo;
        curl -sS -H 'Expect: 100-continue' -T - API:/ < /tmp/zero";
    assert_eq!(kept.run(script), "30000000\n30000000");
}

#[test]
fn a_daemon_has_its_keys_at_every_start_and_exec_in_has_them_too() {
    if !need_tools() {
        return;
    }
    let kept = Kept::new("secret-daemon", "restart: on-failure\n");
    let line = "curl -sS -H \"Authorization: Bearer $API_KEY\" API:/from-daemon > /tmp/said || exit 3
        test -e /tmp/once || { touch /tmp/once; exit 1; }
        touch /tmp/twice; exec sleep 1000";
    let line = kept.filled(line);
    kept.sbox(&["run", "-d", "-n", "web", &line]).assert().success();
    assert!(becomes(|| kept.project.state("rootfs/tmp/twice").exists()), "{}", kept.project.log("web"));
    let script = kept.filled("curl -sS -H \"Authorization: Bearer $API_KEY\" API:/from-exec");
    // Here nobody has the key.
    let output = kept.project.sbox(&["exec", "--in", "web", "sh", "-c", &script]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let asked = kept.server.asked();
    assert!(asked.len() >= 3);
    for request in asked {
        assert_eq!(request.header("authorization"), Some(format!("Bearer {KEY}").as_str()), "{}", request.line());
    }
    nothing_tells(&kept);
    // A daemon is started again with the key of the caller, who has to have it.
    let output = kept.project.sbox(&["restart", "web"]).output().unwrap();
    assert!(stderr(&output).contains("'API_KEY' is not set here"), "{}", stderr(&output));
    assert_eq!(kept.project.status("web"), "running");
    let twice = kept.project.state("rootfs/tmp/twice");
    std::fs::remove_file(&twice).unwrap();
    kept.sbox(&["restart", "web"]).assert().success();
    assert!(becomes(|| twice.exists()), "{}", kept.project.log("web"));
    kept.sbox(&["stop", "web"]).assert().success();
}

/// No file of the project or its home has the key, no argument and no environment of a process, and nothing that we say.
fn nothing_tells(kept: &Kept) {
    let has = |bytes: &[u8]| memchr::memmem::find(bytes, b"CANARYcanary").is_some();
    for entry in walkdir::WalkDir::new(kept.project.scratch.path("")).into_iter().flatten() {
        if entry.file_type().is_file() {
            assert!(!has(&std::fs::read(entry.path()).unwrap_or_default()), "{}", entry.path().display());
        }
    }
    let own = std::process::id().to_string();
    for entry in std::fs::read_dir("/proc").unwrap().flatten().filter(|entry| *entry.file_name() != *own) {
        for name in ["cmdline", "environ"] {
            let bytes = std::fs::read(entry.path().join(name)).unwrap_or_default();
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let program = String::from_utf8_lossy(&line).into_owned();
            // Other tests of this file run beside this one: what has just been started has what it was started with.
            let is_starting =
                program.contains("/sbox\0") || program.contains("sbox-exec") || program.contains("sbox-run");
            assert!(is_starting || !has(&bytes), "{name} of {program}");
        }
    }
    for words in [&["status"][..], &["info"], &["ps", "-a"], &["logs", "web"], &["logs", "--network"], &["validate"]] {
        let output = kept.project.sbox(words).output().unwrap();
        assert!(!has(&output.stdout) && !has(&output.stderr), "{words:?}");
    }
}

#[test]
fn packs_and_scripts_have_neither_key_nor_placeholder() {
    if !need_tools() {
        return;
    }
    let kept = Kept::new("secret-pack", "");
    kept.run("true");
    let placeholders = std::fs::read_to_string(kept.project.state("placeholders.json")).unwrap();
    assert!(placeholders.contains("sk-ant-api03-SBOX"), "{placeholders}");
    kept.sbox(&["pack", "-o", "../packed.tar"]).assert().success();
    let packed = std::fs::read(kept.project.scratch.path("packed.tar")).unwrap();
    let mut script = kept.project.scratch.program("sbox-envsh");
    let script = script.current_dir(kept.project.scratch.path("p")).env("API_KEY", KEY).output().unwrap().stdout;
    for bytes in [packed, script] {
        assert!(!bytes.is_empty() && memchr::memmem::find(&bytes, b"CANARYcanary").is_none());
        assert!(memchr::memmem::find(&bytes, b"api03-SBOX").is_none());
    }
}

#[test]
fn a_configuration_from_elsewhere_gets_no_key_without_a_question() {
    if !need_sandbox() {
        return;
    }
    let kept = Kept::new("secret-trust", "  FILE_KEY: {hosts: [a.test], from: {file: /etc/hostname}}\n");
    std::fs::remove_dir_all(kept.project.scratch.path("home/.sbox/trust")).unwrap();
    let output = kept.sbox(&["exec", "true"]).output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    let said = stderr(&output);
    assert!(said.contains("your variable 'API_KEY' as a key for api.test"), "{said}");
    assert!(said.contains("what is in '/etc/hostname' as a key for a.test"), "{said}");
}

#[test]
fn without_a_value_a_secret_is_left_out_or_an_error() {
    if !need_sandbox() {
        return;
    }
    let kept = Kept::new("secret-none", "");
    let output = kept.project.sbox(&["exec", "sh", "-c", "echo [$API_KEY]"]).output().unwrap();
    assert_eq!(stdout(&output), "[]\n");
    let kept = Kept::new("secret-failed", "  B: {hosts: [b.test], from: {command: 'exit 3'}}\n");
    let output = kept.sbox(&["exec", "true"]).output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(stderr(&output).contains("cannot get secret 'B': its command failed (exit code 3)"), "{}", stderr(&output));
}

#[test]
fn a_project_that_comes_with_placeholders_does_not_choose_them() {
    if !need_tools() {
        return;
    }
    let kept = Kept::new("secret-planted", "");
    let record = kept.project.state("placeholders.json");
    // Texts that occur elsewhere would have the key put where the project wants it.
    for planted in
        ["e", "Bearer", "sk-ant-api03-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "Content-Type: application-json"]
    {
        std::fs::write(&record, format!("{{\"API_KEY\": \"{planted}\"}}")).unwrap();
        let said = kept.run("echo $API_KEY");
        assert!(said.starts_with("sk-ant-api03-SBOX") && said.trim().len() == KEY.len(), "{planted}: {said}");
    }
}

#[test]
fn two_first_runs_at_one_moment_have_one_placeholder() {
    if !need_sandbox() {
        return;
    }
    // Slow, so that without a lock both would have begun before either has written down what it chose.
    let more =
        "  SLOW: {hosts: [slow.test], from: {command: 'sleep 0.5; echo ghp_zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz'}}\n";
    let kept = Kept::new("secret-at-once", more);
    let said: Vec<String> = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..2).map(|_| scope.spawn(|| kept.run("echo $SLOW"))).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    assert!(said[0].starts_with("ghp_SBOX"), "{said:?}");
    assert_eq!(said[0], said[1]);
}

#[test]
fn a_key_that_the_agent_could_change_is_refused_before_and_at_the_start() {
    if !need_sandbox() {
        return;
    }
    let scratch = Scratch::new("secret-below-server");
    let server = TlsServer::echo(&scratch, &["api.test"]);
    let shared = scratch.path("shared");
    std::fs::create_dir(&shared).unwrap();
    let key = scratch.write("key", "ghp_from-the-file-0123456789");
    let link = scratch.path("link");
    let more = format!(
        "  FILE: {{hosts: [a.test], from: {{file: {}}}}}\nmount: ['{}:/shared']\n",
        link.display(),
        shared.display()
    );
    std::os::unix::fs::symlink(&key, &link).unwrap();
    let kept = Kept::with("secret-below", &more, server, scratch);
    assert!(kept.run("echo $FILE").starts_with("ghp_SBOX"));
    // A link that leads through what is mounted: there the agent says what is sent.
    std::fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(shared.join("key"), &link).unwrap();
    std::os::unix::fs::symlink(&key, shared.join("key")).unwrap();
    for words in [&["validate"][..], &["exec", "true"]] {
        let output = kept.sbox(words).output().unwrap();
        let said = format!("{}{}", stdout(&output), stderr(&output));
        assert!(!output.status.success() && said.contains("which the agent can write"), "{words:?}: {said}");
    }
}

#[test]
fn what_is_started_on_the_way_cannot_ask_for_the_keys() {
    use std::os::unix::fs::PermissionsExt;
    if !need_sandbox() {
        return;
    }
    let scratch = Scratch::new("secret-asked-server");
    let server = TlsServer::echo(&scratch, &["api.test"]);
    std::fs::create_dir_all(scratch.path("tree/.git")).unwrap();
    let more = format!("mount: ['{}:/tree:ro']\n", scratch.path("tree").display());
    let kept = Kept::with("secret-asked", &more, server, scratch);
    // The user's git is asked for a name, in the moment in which the keys are held already.
    let seen = kept.project.scratch.path("seen");
    let git = kept
        .project
        .scratch
        .write("bin/git", &format!("#!/bin/sh\nfor fd in /proc/$$/fd/*; do readlink $fd; done > {}\n", seen.display()));
    std::fs::set_permissions(&git, PermissionsExt::from_mode(0o755)).unwrap();
    let config = kept.project.scratch.write("gitconfig", "[include]\n\tpath = other\n");
    let path = format!("{}:{}", git.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let output = kept.sbox(&["exec", "true"]).env("PATH", path).env("GIT_CONFIG_GLOBAL", config).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let seen = std::fs::read_to_string(seen).unwrap();
    assert!(!seen.is_empty() && !seen.contains("socket:"), "{seen}");
}
