use crate::common::{Scratch, becomes, bin};
use predicates::str::contains;
use rustix::net::{AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::{Command, Stdio};

thread_local! {
    static NUMBER: std::cell::Cell<i32> = const { std::cell::Cell::new(0) };
}

fn pair() -> (OwnedFd, OwnedFd) {
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap()
}

/// Has these held; gives the other end of the control socket and the answers.
fn hold(secrets: &[Value]) -> (OwnedFd, Vec<Value>) {
    let (control, theirs) = pair();
    // A number by which the process is found.
    let lowest = 200 + (std::process::id() % 500) as i32;
    let theirs = rustix::io::fcntl_dupfd_cloexec(&theirs, lowest).unwrap();
    rustix::io::fcntl_setfd(&theirs, rustix::io::FdFlags::empty()).unwrap();
    NUMBER.with(|number| number.set(theirs.as_raw_fd()));
    let mut child = Command::new(bin().join("sbox-secrets"))
        .args(["--control", &theirs.as_raw_fd().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(theirs);
    let text: String = secrets.iter().map(|secret| format!("{secret}\n")).collect();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let mut answer = String::new();
    child.stdout.take().unwrap().read_to_string(&mut answer).unwrap();
    assert!(child.wait().unwrap().success());
    (control, answer.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

/// A proxy's end.
fn ask(control: &OwnedFd) -> BufReader<std::fs::File> {
    let (own, theirs) = pair();
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let fds = [theirs.as_fd()];
    ancillary.push(SendAncillaryMessage::ScmRights(&fds));
    rustix::net::sendmsg(control, &[rustix::io::IoSlice::new(b"!")], &mut ancillary, SendFlags::NOSIGNAL).unwrap();
    BufReader::new(own.into())
}

fn next(from: &mut BufReader<std::fs::File>) -> Value {
    let mut line = String::new();
    from.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap()
}

fn secret(name: &str, more: Value) -> Value {
    let mut all = json!({
        "name": name, "hosts": ["api.test"], "places": {"header": true, "address": false, "body": false},
        "placeholder": null, "value": null, "file": null, "command": null, "expires": null,
    });
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    all
}

#[test]
fn it_needs_a_socket_and_secrets() {
    let scratch = Scratch::new("secrets");
    let wrong = |words: &[&str], input: &str, why: &'static str| {
        scratch.program("sbox-secrets").args(words).write_stdin(input).assert().failure().stderr(contains(why));
    };
    wrong(&[], "", "missing option '--control'");
    wrong(&["--control", "62"], "", "take descriptor 62");
    wrong(&["--control", "0"], "{}", "");
}

#[test]
fn values_are_given_to_each_proxy_and_never_printed() {
    let scratch = Scratch::new("secrets-kept");
    let file = scratch.write("key", "ghp_from-the-file-0123456789\n");
    let (control, kept) = hold(&[
        secret("A", json!({"value": "sk-ant-api03-canary-0123456789"})),
        secret("B", json!({"file": file})),
        secret("C", json!({"command": "exit 7"})),
    ]);
    let text = serde_json::to_string(&kept).unwrap();
    assert!(!text.contains("canary") && !text.contains("from-the-file"), "{text}");
    assert!(kept[0]["placeholder"].as_str().unwrap().starts_with("sk-ant-api03-SBOX"), "{text}");
    assert_eq!(kept[2]["why"], "its command failed (exit code 7)");
    for _ in 0..2 {
        let mut proxy = ask(&control);
        let (first, second) = (next(&mut proxy), next(&mut proxy));
        assert_eq!((&first["value"], &first["more"]), (&json!("sk-ant-api03-canary-0123456789"), &json!(true)));
        assert_eq!((&second["value"], &second["more"]), (&json!("ghp_from-the-file-0123456789"), &json!(false)));
        assert_eq!(second["placeholder"], kept[1]["placeholder"]);
    }
}

#[test]
fn a_value_that_expires_is_had_again_and_one_that_cannot_be_had_is_not_used() {
    let scratch = Scratch::new("secrets-expire");
    let (number, gate) = (scratch.path("number"), scratch.path("gate"));
    let line =
        format!("echo x >> {0}; echo sk-value-number-$(wc -l < {0}); test ! -e {1}", number.display(), gate.display());
    let (control, kept) = hold(&[secret("A", json!({"command": line, "expires": 1}))]);
    let mut proxy = ask(&control);
    let first = next(&mut proxy);
    let second = next(&mut proxy);
    assert_ne!(first["value"], second["value"]);
    assert_eq!((&first["placeholder"], &second["placeholder"]), (&kept[0]["placeholder"], &kept[0]["placeholder"]));
    std::fs::write(gate, "").unwrap();
    let last = loop {
        let line = next(&mut proxy);
        if line["value"].is_null() {
            break line;
        }
    };
    assert_eq!(last["why"], "its command failed (exit code 1)");
}

/// The process that holds what came through this descriptor.
fn holder(number: i32) -> Option<i32> {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let mut pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let wanted = format!("sbox-secrets\0--control\0{number}\0");
    pids.find(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).ends_with(&wanted)
    })
}

#[test]
fn it_ends_with_the_last_that_could_ask_and_nobody_can_look_into_it() {
    use std::os::unix::fs::MetadataExt;
    let (control, kept) = hold(&[secret("A", json!({"value": "sk-ant-api03-canary-0123456789"}))]);
    assert!(kept[0]["why"].is_null());
    let mut proxy = ask(&control);
    next(&mut proxy);
    let number = NUMBER.with(std::cell::Cell::get);
    let pid = holder(number).expect("it is in the background");
    // What nobody can look into belongs to root, for others.
    assert_eq!(std::fs::metadata(format!("/proc/{pid}/environ")).unwrap().uid(), 0);
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"));
    drop(control);
    assert!(holder(number).is_some(), "a proxy is left");
    drop(proxy);
    assert!(becomes(|| holder(number).is_none()));
}
