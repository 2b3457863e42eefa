use crate::common::{Scratch, bin};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

struct Proxy {
    child: Child,
    address: String,
}

impl Proxy {
    fn new(rules: &[&str]) -> Proxy {
        Proxy::behind(&[], rules)
    }

    /// With these variables of the host.
    fn behind(variables: &[(&str, &str)], rules: &[&str]) -> Proxy {
        let mut command = Command::new(bin().join("sbox-proxy"));
        command.env_clear().envs(variables.iter().copied());
        command.args(rules).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut address = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut address).unwrap();
        Proxy { child, address: address.trim().to_owned() }
    }

    fn open(&self, request: &str) -> (TcpStream, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut line = String::new();
        let mut byte = [0];
        while !line.ends_with("\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
            line.push(byte[0].into());
        }
        (stream, line)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server that sends back what it gets.
fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut again = stream.try_clone().unwrap();
                let _ = std::io::copy(&mut again, &mut stream);
            });
        }
    });
    port
}

/// A ClientHello with one name, as small as there is.
fn hello(name: &str) -> Vec<u8> {
    let length = name.len() as u16;
    let mut extension = vec![0, 0];
    extension.extend((length + 5).to_be_bytes());
    extension.extend((length + 3).to_be_bytes());
    extension.push(0);
    extension.extend(length.to_be_bytes());
    extension.extend(name.as_bytes());
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0x13, 0x01, 1, 0]);
    body.extend((extension.len() as u16).to_be_bytes());
    body.extend(extension);
    let mut record = vec![0x16, 3, 1];
    record.extend((body.len() as u16 + 4).to_be_bytes());
    record.extend([1, 0]);
    record.extend((body.len() as u16).to_be_bytes());
    record.extend(body);
    record
}

fn tunnelled(proxy: &Proxy, target: &str, bytes: &[u8]) -> Vec<u8> {
    let (mut stream, line) = proxy.open(&format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n"));
    assert!(line.starts_with("HTTP/1.1 200 "), "{line}");
    stream.write_all(bytes).unwrap();
    let mut answer = vec![0; bytes.len()];
    let count = stream.read(&mut answer).unwrap_or(0);
    answer.truncate(count);
    answer
}

#[test]
fn the_tls_server_name_must_be_the_name_that_was_asked_for() {
    let port = echo();
    let proxy = Proxy::new(&["--allow", &format!("web.invalid:{port}=127.0.0.1")]);
    let target = format!("web.invalid:{port}");
    let good = hello("web.invalid");
    assert_eq!(tunnelled(&proxy, &target, &good), good);
    // A fatal alert, unrecognized_name.
    assert_eq!(tunnelled(&proxy, &target, &hello("evil.invalid")), [0x15, 3, 3, 0, 2, 2, 112]);
}

#[test]
fn a_server_may_speak_first_and_a_late_hello_is_looked_at_all_the_same() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(b"SSH-2.0-server\r\n").unwrap();
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        bytes
    });
    let proxy = Proxy::new(&["--allow", &format!("git.invalid:{port}=127.0.0.1")]);
    let target = format!("git.invalid:{port}");
    let (mut stream, line) = proxy.open(&format!("CONNECT {target} HTTP/1.1\r\n\r\n"));
    assert!(line.starts_with("HTTP/1.1 200 "), "{line}");
    let mut greeting = [0; 16];
    stream.read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"SSH-2.0-server\r\n");
    std::thread::sleep(Duration::from_millis(1500));
    stream.write_all(&hello("evil.invalid")).unwrap();
    assert_eq!(heard.join().unwrap(), b"", "the server heard the hello");
}

#[test]
fn a_tunnel_on_the_usual_ports_carries_tls_and_nothing_else() {
    // Port 443 of this host's loopback cannot be taken by an ordinary user, so that nothing may be dialled; the refusal
    // of a name comes before that, and that of an address too.
    let proxy = Proxy::new(&["--allow", "web.invalid=127.0.0.1", "--allow", "loop.invalid", "--deny", "bad.invalid"]);
    for (request, code) in [
        ("CONNECT other.invalid:443 HTTP/1.1\r\n\r\n", "403"),
        ("CONNECT web.invalid:22 HTTP/1.1\r\n\r\n", "403"),
        ("CONNECT bad.invalid:443 HTTP/1.1\r\n\r\n", "403"),
        ("CONNECT 127.0.0.1:443 HTTP/1.1\r\n\r\n", "400"),
        ("CONNECT [::1]:443 HTTP/1.1\r\n\r\n", "400"),
        ("CONNECT 0x7f.1:443 HTTP/1.1\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: web.invalid\r\n\r\n", "400"),
        ("nonsense\r\n\r\n", "400"),
    ] {
        let (_, line) = proxy.open(request);
        assert!(line.starts_with(&format!("HTTP/1.1 {code} ")), "{request}: {line}");
    }
}

#[test]
fn what_follows_a_body_does_not_reach_the_server() {
    let port = echo();
    let proxy = Proxy::new(&["--allow", &format!("web.invalid:{port}=127.0.0.1")]);
    for (headers, body) in [("Content-Length: 3", "abc"), ("Transfer-Encoding: chunked", "3\r\nabc\r\n0\r\n\r\n")] {
        let request = format!(
            "POST http://web.invalid:{port}/ HTTP/1.1\r\nHost: web.invalid:{port}\r\n{headers}\r\n\r\n{body}GET / HTTP/1.1\r\nHost: evil.invalid\r\n\r\n"
        );
        let (mut stream, mut seen) = proxy.open(&request);
        stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let mut rest = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut rest) {
            seen += &String::from_utf8_lossy(&rest[..count]);
        }
        assert!(seen.contains("abc") && !seen.contains("evil"), "{seen}");
    }
}

#[test]
fn a_client_that_says_nothing_keeps_nobody_else_waiting() {
    let port = echo();
    let proxy = Proxy::new(&["--allow", &format!("web.invalid:{port}=127.0.0.1")]);
    let silent: Vec<TcpStream> = (0..40).map(|_| TcpStream::connect(&proxy.address).unwrap()).collect();
    let good = hello("web.invalid");
    assert_eq!(tunnelled(&proxy, &format!("web.invalid:{port}"), &good), good);
    drop(silent);
}

#[test]
fn wrong_rules_are_errors() {
    let scratch = Scratch::new("proxy-rules");
    for rule in ["*", "10.0.0.1", "https://x.org"] {
        scratch.program("sbox-proxy").args(["--allow", rule]).assert().code(2);
    }
}

#[test]
fn the_log_is_never_written_through_a_link() {
    let scratch = Scratch::new("proxy-log");
    let precious = scratch.write("precious", "x");
    std::os::unix::fs::symlink(&precious, scratch.path("log")).unwrap();
    let mut command = scratch.program("sbox-proxy");
    command.arg("--access-log").arg(scratch.path("log")).timeout(Duration::from_secs(10)).assert().code(1);
    assert_eq!(scratch.read("precious"), "x");
}

/// A company's proxy: it knows where every name is, and notes what it was asked.
fn company(answer: &'static str) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, heads) = (listener.local_addr().unwrap().port(), Arc::new(Mutex::new(Vec::new())));
    let seen = heads.clone();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let seen = seen.clone();
            std::thread::spawn(move || {
                let (mut head, mut byte) = (String::new(), [0]);
                while !head.ends_with("\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
                    head.push(byte[0].into());
                }
                seen.lock().unwrap().push(head);
                let _ = stream.write_all(answer.as_bytes());
                // A tunnel ends at a server that sends back what it gets.
                let mut again = stream.try_clone().unwrap();
                let _ = std::io::copy(&mut again, &mut stream);
            });
        }
    });
    (port, heads)
}

#[test]
fn a_companys_proxy_is_used_with_its_password_and_the_tls_name_is_checked_all_the_same() {
    let (port, heads) = company("HTTP/1.1 200 Connection established\r\nX-Own: 1\r\n\r\n");
    let url = format!("http://me:s%20cret@127.0.0.1:{port}");
    let scratch = Scratch::new("proxy-upstream");
    let log = scratch.path("log");
    let log = log.to_str().unwrap();
    let rules = ["--allow", "web.invalid", "--allow", "localhost", "--access-log", log];
    let proxy = Proxy::behind(&[("HTTPS_PROXY", &url), ("http_proxy", &url)], &rules);
    let good = hello("web.invalid");
    assert_eq!(tunnelled(&proxy, "web.invalid:443", &good), good);
    assert_eq!(tunnelled(&proxy, "web.invalid:443", &hello("evil.invalid")), [0x15, 3, 3, 0, 2, 2, 112]);
    let (stream, line) = proxy.open("GET http://web.invalid/x HTTP/1.1\r\nHost: web.invalid\r\n\r\n");
    assert!(line.starts_with("HTTP/1.1 200 "), "{line}");
    let _ = stream.shutdown(std::net::Shutdown::Both);
    let seen = heads.lock().unwrap().clone();
    let authorization = "Proxy-Authorization: Basic bWU6cyBjcmV0\r\n";
    assert_eq!(seen[0], format!("CONNECT web.invalid:443 HTTP/1.1\r\nHost: web.invalid:443\r\n{authorization}\r\n"));
    assert!(seen[2].starts_with(&format!("GET http://web.invalid/x HTTP/1.1\r\n{authorization}")), "{}", seen[2]);
    // What is not allowed does not get there, and neither does a name that this host knows to be its own.
    for (name, code) in [("evil.invalid:443", "403"), ("localhost:443", "403")] {
        let (_, line) = proxy.open(&format!("CONNECT {name} HTTP/1.1\r\n\r\n"));
        assert!(line.starts_with(&format!("HTTP/1.1 {code} ")), "{name}: {line}");
    }
    assert_eq!(heads.lock().unwrap().len(), 3);
    let log = scratch.read("log");
    assert!(log.contains("web.invalid") && !log.contains("cret") && !log.contains("bWU6"), "{log}");
}

#[test]
fn what_no_proxy_names_and_what_a_rule_places_is_dialled_directly() {
    let server = echo();
    let (port, heads) = company("HTTP/1.1 200 OK\r\n\r\n");
    let variables = [("ALL_PROXY", format!("http://127.0.0.1:{port}")), ("NO_PROXY", "own.invalid".into())];
    let variables = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
    let placed = format!("web.invalid:{server}=127.0.0.1");
    let proxy = Proxy::behind(&variables, &["--allow", &placed, "--allow", "own.invalid", "--allow", "x.invalid"]);
    let good = hello("web.invalid");
    assert_eq!(tunnelled(&proxy, &format!("web.invalid:{server}"), &good), good);
    let (_, line) = proxy.open("CONNECT own.invalid:443 HTTP/1.1\r\n\r\n");
    assert!(line.starts_with("HTTP/1.1 502 ") && line.contains("was not found"), "{line}");
    assert!(heads.lock().unwrap().is_empty());
    // The control.
    let good = hello("x.invalid");
    assert_eq!(tunnelled(&proxy, "x.invalid:443", &good), good);
    assert_eq!(heads.lock().unwrap().len(), 1);
}

#[test]
fn what_is_wrong_with_a_companys_proxy_is_said_and_never_gone_around() {
    let (port, _) = company("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
    let (strict, _) = company("HTTP/1.1 403 Blocked by policy\r\n\r\n");
    for (url, why) in [
        (format!("http://me:secret@127.0.0.1:{port}"), "wants another user or password"),
        (format!("http://127.0.0.1:{strict}"), "refused it: HTTP/1.1 403 Blocked by policy"),
        ("http://127.0.0.1:1".into(), "cannot be reached: connection refused"),
        ("socks5://127.0.0.1:1080".into(), "is not one for HTTP"),
        ("https://me:secret@127.0.0.1:1".into(), "spoken to in TLS"),
    ] {
        let proxy = Proxy::behind(&[("https_proxy", &url)], &["--allow", "web.invalid"]);
        let (_, line) = proxy.open("CONNECT web.invalid:443 HTTP/1.1\r\n\r\n");
        assert!(line.starts_with("HTTP/1.1 502 ") && line.contains(why) && !line.contains("secret"), "{url}: {line}");
    }
}

#[test]
fn a_head_that_is_too_long_is_refused_in_words_before_the_connection_ends() {
    let proxy = Proxy::new(&["--allow", "example.com"]);
    let mut stream = TcpStream::connect(&proxy.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut writer = stream.try_clone().unwrap();
    // More than it reads for the head, and more than any buffer holds.
    let sent = std::thread::spawn(move || {
        let _ = writer.write_all(b"GET http://example.com/ HTTP/1.1\r\nX: ");
        let _ = writer.write_all(&vec![b'x'; 1 << 20]);
    });
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(read.is_ok() && answer.starts_with("HTTP/1.1 431 "), "{read:?}: {answer}");
    sent.join().unwrap();
}
