//! A network of some names: what leads out, what does not, and what leads in.

use super::{asked, confined, text};
use crate::common::{Scratch, becomes, need_program, need_sandbox, stderr, stdout};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

/// A server on the host's loopback that answers every connection in the same way.
fn server(answer: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut space = [0; 4096];
                let _ = stream.read(&mut space);
                let _ = stream.write_all(answer.as_bytes());
            });
        }
    });
    port
}

#[test]
fn an_allowed_name_is_reached_and_nothing_else() {
    if !need_sandbox() || !need_program("curl") {
        return;
    }
    let scratch = Scratch::new("network-names");
    let port = server("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello");
    // An address that somebody wrote down is the one way to one that is not public.
    let rule = format!("web.invalid:{port}=127.0.0.1");
    let log = scratch.path("access.log");
    let open = format!("localhost:{port}");
    let options = ["--network", "proxy", "--allow", &rule, "--allow", &open, "--access-log", text(&log)];
    let run = |script: &str| confined(&scratch, &options, script);
    let output = run(&format!("curl -sS http://web.invalid:{port}/"));
    assert_eq!(stdout(&output), "hello", "{}", stderr(&output));
    for (attempt, why) in [
        (format!("curl -sS --noproxy '*' http://127.0.0.1:{port}/"), "connect"),
        (format!("curl -sS --noproxy '*' http://web.invalid:{port}/"), "resolve"),
        (format!("curl -sSf --noproxy '' -x http://127.0.0.1:3128 http://127.0.0.1:{port}/"), "400"),
        (format!("curl -sSf --noproxy '' -x http://127.0.0.1:3128 http://localhost:{port}/"), "403"),
        (format!("curl -sSf -p --noproxy '' -x http://127.0.0.1:3128 http://localhost:{port}/"), "403"),
        ("curl -sSf http://other.invalid/".into(), "403"),
        ("curl -sSf http://web.invalid/".into(), "403"),
        (format!("curl -sSf -H 'Host: other.invalid' http://web.invalid:{port}/"), "400"),
    ] {
        let output = run(&attempt);
        assert!(!output.status.success() && stderr(&output).contains(why), "{attempt}: {}", stderr(&output));
    }
    let said = run("curl -sS http://other.invalid/");
    assert_eq!(
        stdout(&said),
        "sbox: 'other.invalid' is not allowed; network: {allow: [\"other.invalid\"]} would allow it\n"
    );
    let lines: Vec<serde_json::Value> =
        scratch.read("access.log").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().any(|line| line["host"] == "web.invalid" && line["allowed"] == true));
    assert!(
        lines.iter().any(|line| line["host"] == "localhost" && line["reason"].as_str().unwrap().contains("loopback"))
    );
}

#[test]
fn the_proxy_dies_with_the_sandbox_and_the_sandbox_does_not_outlive_its_launcher() {
    let Some(scratch) = Scratch::sandbox("network-end") else { return };
    let rule = format!("end{}.invalid", std::process::id());
    let running = || crate::common::running("sbox-proxy", &rule);
    let mut child = std::process::Command::new(crate::common::bin().join("sbox-spawn"))
        .args(["--network", "proxy", "--allow", &rule, "--", "sh", "-c", "echo up; sleep 100"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0; 3]).unwrap();
    assert_eq!(running(), 1, "the control");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(becomes(|| running() == 0));
    assert!(confined(&scratch, &["--network", "proxy", "--allow", &rule], "true").status.success());
    assert_eq!(running(), 0);
}

#[test]
fn a_port_of_the_hosts_loopback_leads_to_a_server_inside() {
    if !need_sandbox() || !need_program("perl") {
        return;
    }
    // A number that was free a moment ago.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let serve = "perl -MIO::Socket::INET -e '$l = IO::Socket::INET->new(Listen => 5, LocalAddr => \"127.0.0.1:8080\", ReuseAddr => 1) or exit 2; $| = 1; print \"up\\n\"; while ($c = $l->accept) { $r = <$c>; print $c \"inside \" . $r; close $c }'";
    let mut child = std::process::Command::new(crate::common::bin().join("sbox-spawn"))
        .args(["--network", "none", "--port", &format!("{free}:8080"), "--", "sh", "-c", serve])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0; 3]).unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", free)).unwrap();
    stream.write_all(b"hello\n").unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    assert_eq!(said, "inside hello\n");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(becomes(|| TcpStream::connect(("127.0.0.1", free)).is_err()), "the port outlives the sandbox");
}

#[test]
fn a_port_that_is_taken_is_an_error_before_anything_runs() {
    let Some(scratch) = Scratch::sandbox("network-taken") else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let output = asked(&scratch, &["--network", "none", "--port", &port], "echo ran");
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(125), ""));
    assert!(stderr(&output).contains("cannot listen on port"), "{}", stderr(&output));
    // The control: the port is free.
    drop(listener);
    assert_eq!(stdout(&confined(&scratch, &["--network", "none", "--port", &port], "echo ran")), "ran\n");
}

#[test]
fn one_port_of_the_hosts_loopback_can_be_reached_and_no_other() {
    if !need_sandbox() || !need_program("curl") {
        return;
    }
    let scratch = Scratch::new("network-reach");
    let model = server("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nmodel");
    let other = server("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nother");
    let (same, mapped) = (model.to_string(), format!("{model}:80"));
    for network in [&["--network", "none"][..], &["--network", "proxy", "--allow", "x.invalid"]] {
        let options = [network, &["--reach", &same, "--reach", &mapped]].concat();
        let ask = |place: &str| confined(&scratch, &options, &format!("curl -sS http://{place}/"));
        for place in [format!("127.0.0.1:{model}"), format!("localhost:{model}"), "127.0.0.1".into()] {
            let output = ask(&place);
            assert_eq!(stdout(&output), "model", "{network:?} {place}: {}", stderr(&output));
        }
        let output = ask(&format!("127.0.0.1:{other}"));
        assert!(!output.status.success() && stdout(&output).is_empty(), "{network:?}");
        // The control: without the option not even the one.
        let output = confined(&scratch, network, &format!("curl -sS http://127.0.0.1:{model}/"));
        assert!(!output.status.success() && stdout(&output).is_empty(), "{network:?}");
    }
}

#[test]
fn what_leads_to_the_hosts_loopback_ends_with_the_sandbox() {
    if !need_sandbox() || !need_program("curl") {
        return;
    }
    let model = server("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nmodel");
    let running = || crate::common::running("sbox-forward", &format!("\0{model}"));
    let mut child = std::process::Command::new(crate::common::bin().join("sbox-spawn"))
        .args(["--network", "none", "--reach", &model.to_string(), "--", "sh", "-c", "echo up; sleep 100"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0; 3]).unwrap();
    assert_eq!(running(), 1, "the control");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(becomes(|| running() == 0));
}
