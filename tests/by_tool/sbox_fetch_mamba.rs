use crate::common::http::{Server, send};
use crate::common::{Scratch, becomes, bin, need_program, package, stderr, stdout};
use assert_cmd::Command;
use predicates::str::contains;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const PROGRAM: &str = "#!/bin/sh\necho 2.0.0\n";

/// An entry of an archive: a name and a content, or where a link leads.
type Item<'a> = (&'a str, Result<&'a str, &'a str>);

/// A `.tar.bz2` with these entries.
fn archive(scratch: &Scratch, entries: &[Item<'_>]) -> Vec<u8> {
    let mut tar = String::from("import tarfile, io\na = tarfile.open('a.tar.bz2', 'w:bz2')\n");
    for (name, content) in entries {
        tar.push_str(&match content {
            Ok(text) => format!(
                "i = tarfile.TarInfo({name:?}); b = {text:?}.encode(); i.size = len(b); i.mode = 0o755; a.addfile(i, io.BytesIO(b))\n"
            ),
            Err(target) => {
                format!("i = tarfile.TarInfo({name:?}); i.type = tarfile.SYMTYPE; i.linkname = {target:?}; a.addfile(i)\n")
            }
        });
    }
    tar.push_str("a.close()\n");
    let made = std::process::Command::new("python3").args(["-c", &tar]).current_dir(&scratch.root).status().unwrap();
    assert!(made.success());
    std::fs::read(scratch.path("a.tar.bz2")).unwrap()
}

fn good(scratch: &Scratch) -> Vec<u8> {
    archive(scratch, &[("info/index.json", Ok("{}")), ("bin/micromamba", Ok(PROGRAM))])
}

fn fetch(scratch: &Scratch, server: &Server, more: &[&str]) -> Command {
    let mut command = scratch.program("sbox-fetch-mamba");
    command.args(["--url", &server.url("{platform}/latest"), "--retries", "2", "--idle-timeout", "1"]).args(more);
    command.timeout(std::time::Duration::from_secs(60));
    command
}

fn cached(scratch: &Scratch) -> PathBuf {
    scratch.home().join(".sbox/cache/bin/micromamba")
}

/// Nothing half-done is left, and nothing that could be taken for a micromamba.
fn assert_nothing(scratch: &Scratch) {
    let names = std::fs::read_dir(scratch.home().join(".sbox/cache/bin")).into_iter().flatten().flatten();
    let left: Vec<_> = names.map(|entry| entry.file_name()).filter(|name| name != ".micromamba.lock").collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn it_is_downloaded_once_unpacked_and_its_path_is_printed() {
    let scratch = Scratch::new("fetch");
    let body = good(&scratch);
    let server = Server::start(move |_, stream| send(stream, "200 OK", "", &body));
    for _ in 0..2 {
        let output = fetch(&scratch, &server, &["--platform", this()]).output().unwrap();
        assert_eq!(stdout(&output), format!("{}\n", cached(&scratch).display()), "{}", stderr(&output));
    }
    let asked: Vec<String> = server.requests().iter().map(|request| request.path().to_owned()).collect();
    assert_eq!(asked, [format!("/{}/latest", this()), format!("/{}/latest.sha256", this())]);
    assert_eq!(std::fs::read_to_string(cached(&scratch)).unwrap(), PROGRAM);
    assert_eq!(std::fs::metadata(cached(&scratch)).unwrap().permissions().mode() & 0o777, 0o755);
}

fn this() -> &'static str {
    if std::env::consts::ARCH == "aarch64" { "linux-aarch64" } else { "linux-64" }
}

#[test]
fn each_platform_has_its_address_and_others_are_refused() {
    let scratch = Scratch::new("fetch-url");
    for platform in ["linux-64", "linux-aarch64", "osx-64", "osx-arm64"] {
        let mut command = scratch.program("sbox-fetch-mamba");
        command.env_remove("SBOX_MAMBA_URL").args(["--print-url", "--platform", platform]);
        command.assert().success().stdout(format!("https://micro.mamba.pm/api/micromamba/{platform}/latest\n"));
    }
    let mut command = scratch.program("sbox-fetch-mamba");
    command.env("SBOX_MAMBA_URL", "https://mirror.example/{platform}.tar.bz2").args([
        "--print-url",
        "--platform",
        "osx-64",
    ]);
    command.assert().success().stdout("https://mirror.example/osx-64.tar.bz2\n");
    scratch.program("sbox-fetch-mamba").args(["--platform", "win-64"]).assert().code(2).stderr(contains("linux-64"));
}

#[test]
fn one_that_was_placed_by_hand_comes_first() {
    let scratch = Scratch::new("fetch-placed");
    scratch.project("p", "runtime: node:22\n");
    let placed = scratch.write("p/.sbox/bin/micromamba", PROGRAM);
    let run = || {
        let mut command = scratch.program("sbox-fetch-mamba");
        command.current_dir(scratch.path("p"));
        command
    };
    run().assert().code(1).stderr(contains("is not executable")).stderr(contains("chmod +x"));
    std::fs::set_permissions(&placed, std::fs::Permissions::from_mode(0o755)).unwrap();
    run().assert().success().stdout(format!("{}\n", placed.display()));
    run()
        .args(["--sha256", &"0".repeat(64)])
        .assert()
        .code(1)
        .stderr(contains("does not have the SHA-256 that was asked for"));
}

#[test]
fn the_error_says_how_to_do_it_by_hand() {
    let scratch = Scratch::new("fetch-hand");
    scratch.project("p", "runtime: node:22\n");
    let mut command = scratch.program("sbox-fetch-mamba");
    command.current_dir(scratch.path("p")).args(["--retries", "0"]);
    let platform = this();
    command
        .assert()
        .code(1)
        .stderr(contains("cannot download micromamba from 'http://127.0.0.1:9/nothing-is-there'"))
        .stderr(contains(format!(
            "curl -L https://micro.mamba.pm/api/micromamba/{platform}/latest | tar -xvj bin/micromamba"
        )))
        .stderr(contains(format!("mv bin/micromamba {}/", scratch.path("p/.sbox/bin").display())));
    scratch.program("sbox-fetch-mamba").arg("--offline").assert().code(1).stderr(contains("nothing is downloaded"));
    assert_nothing(&scratch);
}

#[test]
fn what_is_no_micromamba_is_refused_and_said() {
    let scratch = Scratch::new("fetch-strange");
    let answers: [(&str, &str, &[u8], &str); 5] = [
        (
            "200 OK",
            "Content-Type: text/html\r\n",
            b"<!doctype html><html><title>Please log in</title>",
            "a web page, 'Please log in'",
        ),
        (
            "200 OK",
            "Content-Type: application/json\r\n",
            b"{\"error\": \"\x1b[31mno\"}",
            "something of type 'application/json'",
        ),
        ("200 OK", "", b"", "nothing"),
        ("404 Not Found", "", b"", "the server answered 404 Not Found"),
        ("200 OK", "", b"BZh9 and then noise", "is damaged"),
    ];
    for (status, headers, body, said) in answers {
        let server = Server::start(move |_, stream| send(stream, status, headers, body));
        let output = fetch(&scratch, &server, &[]).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains(said) && !stderr(&output).contains('\x1b'), "{said}: {}", stderr(&output));
        let downloads = server.requests().into_iter().filter(|request| !request.path().ends_with(".sha256"));
        assert_eq!(downloads.count(), 1, "{said}: another try would not help");
        assert_nothing(&scratch);
    }
}

#[test]
fn an_archive_gives_one_regular_file_or_nothing() {
    let scratch = Scratch::new("fetch-archive");
    let cases: [(&[Item<'_>], &str); 5] = [
        (&[("bin/micromamba", Err("/bin/sh"))], "is not one regular file"),
        (&[("bin/micromamba", Ok(PROGRAM)), ("bin/micromamba", Ok(PROGRAM))], "is not one regular file"),
        (&[("bin/other", Ok(PROGRAM))], "there is no bin/micromamba"),
        (&[("bin/micromamba", Ok("<html>"))], "is not a program"),
        (&[("../../escaped", Ok("x")), ("/tmp/escaped-too", Ok("x"))], "there is no bin/micromamba"),
    ];
    for (entries, said) in cases {
        let body = archive(&scratch, entries);
        let server = Server::start(move |_, stream| send(stream, "200 OK", "", &body));
        fetch(&scratch, &server, &[]).assert().code(1).stderr(contains(said));
        assert_nothing(&scratch);
    }
    assert!(!scratch.home().join("escaped").exists());
}

#[test]
fn a_failing_server_is_asked_again_and_what_came_is_kept() {
    let scratch = Scratch::new("fetch-again");
    let body = good(&scratch);
    let server = Server::start(move |request, stream| match request.number {
        0 => send(stream, "503 Service Unavailable", "Retry-After: 0\r\n", b""),
        // Half of it, and the connection is gone.
        1 => {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nETag: \"one\"\r\n\r\n", body.len());
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body[..body.len() / 2]));
        }
        _ => {
            let from: usize = request.header("range").unwrap()[6..].trim_end_matches('-').parse().unwrap();
            let range = format!("Content-Range: bytes {from}-{}/{}\r\n", body.len() - 1, body.len());
            send(stream, "206 Partial Content", &range, &body[from..]);
        }
    });
    fetch(&scratch, &server, &[]).assert().success();
    assert_eq!(std::fs::read_to_string(cached(&scratch)).unwrap(), PROGRAM);
    assert_eq!(server.requests()[2].header("if-range"), Some("\"one\""));
}

#[test]
fn without_a_network_nothing_is_tried_again() {
    let scratch = Scratch::new("fetch-resolve");
    let mut command = scratch.program("sbox-fetch-mamba");
    // A name that never resolves (RFC 6761).
    let output = command.args(["--url", "https://nothing.invalid/x", "--connect-timeout", "5"]).output().unwrap();
    let words = stderr(&output);
    assert!(words.contains("cannot download micromamba from 'https://nothing.invalid/x': "), "{words}");
    assert!(!words.contains("trying again"), "{words}");
    assert_nothing(&scratch);
}

#[test]
fn a_truncated_answer_is_an_error_that_counts_the_bytes() {
    let scratch = Scratch::new("fetch-short");
    let body = good(&scratch);
    let server = Server::start(move |_, stream| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len() + 1000);
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
    });
    fetch(&scratch, &server, &["--retries", "0"]).assert().code(1).stderr(contains("bytes"));
    assert_nothing(&scratch);
}

#[test]
fn a_server_that_falls_silent_is_not_waited_for() {
    let scratch = Scratch::new("fetch-silent");
    let server = Server::start(|request, stream| {
        if request.path().contains("slow") {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nBZh");
        }
        // Says nothing more, for as long as it is listened to.
        let _ = std::io::Read::read(stream, &mut [0]);
    });
    let url = server.url("slow");
    fetch(&scratch, &server, &["--url", &url, "--retries", "0"])
        .assert()
        .code(1)
        .stderr(contains("nothing came for 1 s"));
    fetch(&scratch, &server, &["--retries", "0"]).assert().code(1).stderr(contains("cannot download"));
}

#[test]
fn redirects_are_followed_and_not_for_ever() {
    let scratch = Scratch::new("fetch-redirect");
    let body = good(&scratch);
    let server = Server::start(move |request, stream| match request.path() {
        "/there" => send(stream, "200 OK", "", &body),
        "/loop" => send(stream, "302 Found", "Location: /loop\r\n", b""),
        _ => send(stream, "302 Found", "Location: /there\r\n", b""),
    });
    let url = server.url("loop");
    fetch(&scratch, &server, &["--url", &url]).assert().code(1).stderr(contains("redirects"));
    fetch(&scratch, &server, &[]).assert().success();
}

#[test]
fn only_what_has_the_hash_is_taken() {
    let scratch = Scratch::new("fetch-hash");
    let body = good(&scratch);
    let output = std::process::Command::new("sha256sum").arg(scratch.path("a.tar.bz2")).output().unwrap();
    let right = stdout(&output)[..64].to_owned();
    let server = Server::start(move |_, stream| send(stream, "200 OK", "", &body));
    fetch(&scratch, &server, &["--sha256", &"0".repeat(64)]).assert().code(1).stderr(contains(right.clone()));
    assert_nothing(&scratch);
    fetch(&scratch, &server, &["--sha256", &right]).assert().success();
    fetch(&scratch, &server, &["--sha256", &right, "--offline"]).assert().success();
    // One that was put into the cache by somebody else does not serve who asks for this one.
    std::fs::write(cached(&scratch).with_extension("json"), "{}").unwrap();
    fetch(&scratch, &server, &["--sha256", &right, "--offline"]).assert().code(1);
    // Nothing unencrypted without it, but from this machine.
    fetch(&scratch, &server, &["--url", "http://example.invalid/x", "--sha256", ""]).assert().code(2);
    let mut plain = scratch.program("sbox-fetch-mamba");
    plain.env("HOME", scratch.path("other")).args(["--url", "http://example.invalid/x"]);
    plain.assert().code(1).stderr(contains("is not encrypted"));
}

#[test]
fn two_at_once_fetch_once() {
    let scratch = Scratch::new("fetch-two");
    let body = good(&scratch);
    let server = Server::start(move |_, stream| {
        std::thread::sleep(std::time::Duration::from_millis(300));
        send(stream, "200 OK", "", &body);
    });
    std::thread::scope(|scope| {
        let both = [0, 1].map(|_| scope.spawn(|| fetch(&scratch, &server, &[]).output().unwrap().status.success()));
        assert!(both.into_iter().all(|one| one.join().unwrap()));
    });
    let downloads = server.requests().into_iter().filter(|request| !request.path().ends_with(".sha256"));
    assert_eq!(downloads.count(), 1);
}

#[test]
fn a_checksum_that_is_published_beside_the_download_is_compared() {
    let scratch = Scratch::new("fetch-published");
    let body = good(&scratch);
    let output = std::process::Command::new("sha256sum").arg(scratch.path("a.tar.bz2")).output().unwrap();
    let right = stdout(&output)[..64].to_owned();
    for (published, is_taken) in [("0".repeat(64), false), (format!("{right}  micromamba.tar.bz2\n"), true)] {
        let body = body.clone();
        let server = Server::start(move |request, stream| match request.path().ends_with(".sha256") {
            true => send(stream, "200 OK", "", published.as_bytes()),
            false => send(stream, "200 OK", "", &body),
        });
        let output = fetch(&scratch, &server, &[]).output().unwrap();
        assert_eq!(output.status.success(), is_taken, "{}", stderr(&output));
        assert_eq!(cached(&scratch).exists(), is_taken);
        assert!(is_taken || stderr(&output).contains(&format!("has SHA-256 {right}")));
    }
}

#[test]
fn with_json_the_reason_is_data() {
    let scratch = Scratch::new("fetch-json");
    let run = || {
        let output = scratch.program("sbox-fetch-mamba").args(["--json", "--offline"]).output().unwrap();
        let answer: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
        (output.status.code(), answer, stderr(&output))
    };
    let (code, answer, words) = run();
    assert!(answer["refused"].as_str().unwrap().contains("nothing is downloaded"), "{answer}");
    assert_eq!((code, &*words), (Some(1), ""));
    std::fs::create_dir_all(cached(&scratch).parent().unwrap()).unwrap();
    std::fs::write(cached(&scratch), PROGRAM).unwrap();
    assert_eq!(run().1["path"], cached(&scratch).to_str().unwrap());
}

#[test]
fn a_proxy_is_used_and_its_password_is_not_shown() {
    let scratch = Scratch::new("fetch-proxy");
    let body = good(&scratch);
    // It plays the server behind it as well: the name there exists nowhere.
    let proxy = Server::start(move |request, stream| {
        if request.line.starts_with("CONNECT ") {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
            let _ = std::io::Read::read(stream, &mut [0; 4096]);
        }
        send(stream, "200 OK", "", &body);
    });
    let mut command = scratch.program("sbox-fetch-mamba");
    let hash = stdout(&std::process::Command::new("sha256sum").arg(scratch.path("a.tar.bz2")).output().unwrap());
    command.args(["--url", "http://me:secret@micromamba.invalid/x", "--sha256", &hash[..64], "--retries", "0"]);
    command.env("http_proxy", proxy.url(""));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(proxy.requests()[0].line.contains("micromamba.invalid"), "{:?}", proxy.requests());
    let record = std::fs::read_to_string(cached(&scratch).with_extension("json")).unwrap();
    assert!(!record.contains("secret") && !stderr(&output).contains("secret"), "{record}");
}

#[test]
fn a_company_s_certificate_authority_is_trusted_if_the_system_does() {
    let scratch = Scratch::new("fetch-tls");
    good(&scratch);
    let tls = package().join("tests/fixtures/tls");
    let mut server = std::process::Command::new("python3")
        .arg("-B")
        .arg(tls.join("serve.py"))
        .arg(scratch.path("a.tar.bz2"))
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut port = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(server.stdout.take().unwrap()), &mut port).unwrap();
    let run = |name: &str, bundle: &str| {
        let mut command = scratch.program("sbox-fetch-mamba");
        command.args(["--retries", "0", "--url", &format!("https://localhost:{}/x", port.trim())]);
        command.env(name, tls.join(bundle)).output().unwrap()
    };
    let stranger = run("OTHER", "ca.pem");
    let named = ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"].map(|name| {
        let _ = std::fs::remove_file(cached(&scratch));
        run(name, "ca.pem")
    });
    let _ = server.kill();
    let _ = server.wait();
    assert!(!stranger.status.success() && stderr(&stranger).contains("certificate"), "{}", stderr(&stranger));
    for output in named {
        assert!(output.status.success(), "{}", stderr(&output));
    }
}

#[test]
fn on_a_terminal_bytes_and_total_are_shown_and_no_line_is_left() {
    if !need_program("script") {
        return;
    }
    let scratch = Scratch::new("fetch-terminal");
    let body = good(&scratch);
    let seen = Arc::new(AtomicBool::new(false));
    let was_seen = Arc::clone(&seen);
    let server = Server::start(move |_, stream| {
        let (first, rest) = body.split_at(body.len() / 2);
        let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        let _ = stream.write_all(first);
        becomes(|| was_seen.load(Ordering::Relaxed));
        let _ = stream.write_all(rest);
    });
    let line = format!("{}/sbox-fetch-mamba --url {} --idle-timeout 20", bin().display(), server.url("x"));
    let mut child = std::process::Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .env("HOME", scratch.home())
        .env("TERM", "xterm")
        .current_dir(&scratch.root)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut text, mut out, mut block) = (String::new(), child.stdout.take().unwrap(), [0; 4096]);
    while let Ok(length @ 1..) = out.read(&mut block) {
        text += &String::from_utf8_lossy(&block[..length]);
        seen.fetch_or(text.contains(" downloading: micromamba ") && text.contains(" of "), Ordering::Relaxed);
    }
    assert!(child.wait().unwrap().success(), "{text}");
    assert!(seen.load(Ordering::Relaxed), "{text}");
    // After the last drawing the line is cleared, and what follows begins at its start.
    let (_, rest) = text.rsplit_once("downloading").unwrap();
    let (_, last) = rest.split_once("\r\u{1b}[2K").unwrap_or_else(|| panic!("{text:?}"));
    assert!(last.trim_end().ends_with("bin/micromamba") && !last.contains('\u{1b}'), "{text:?}");
}
