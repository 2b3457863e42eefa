//! Web servers on the loopback, well-behaved and not.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// What was asked: the first line, and the headers in lower case.
#[derive(Debug, Clone)]
pub struct Request {
    pub line: String,
    pub headers: String,
    /// Which request of this server it is, from 0.
    pub number: usize,
}

impl Request {
    pub fn path(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// A server that answers each request as the test says. It ends with the test.
pub struct Server {
    pub port: u16,
    requests: Arc<Mutex<Vec<Request>>>,
    ends: Arc<AtomicBool>,
}

impl Server {
    pub fn start(answer: impl Fn(&Request, &mut TcpStream) + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = Server { port, requests: Arc::default(), ends: Arc::default() };
        let (requests, ends) = (server.requests.clone(), server.ends.clone());
        let (answer, count) = (Arc::new(answer), Arc::new(AtomicUsize::new(0)));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if ends.load(Ordering::Relaxed) {
                    return;
                }
                let (answer, count, requests) = (answer.clone(), count.clone(), requests.clone());
                std::thread::spawn(move || {
                    if let Some(request) = read(&stream, &count) {
                        requests.lock().unwrap().push(request.clone());
                        let mut stream = stream;
                        answer(&request, &mut stream);
                    }
                });
            }
        });
        server
    }

    /// The files below a directory.
    pub fn of_files(root: PathBuf) -> Server {
        Server::start(move |request, stream| {
            let path = request.path().split('?').next().unwrap_or_default().trim_start_matches('/').to_owned();
            match std::fs::read(root.join(path)) {
                Ok(content) => send(stream, "200 OK", "", &content),
                Err(_) => send(stream, "404 Not Found", "", b"not found"),
            }
        })
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn read(stream: &TcpStream, count: &AtomicUsize) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
    let mut headers = String::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        if header.trim().is_empty() {
            break;
        }
        let (name, value) = header.split_once(':')?;
        headers.push_str(&format!("{}: {}\n", name.to_lowercase(), value.trim()));
    }
    Some(Request { line: line.trim().into(), headers, number: count.fetch_add(1, Ordering::Relaxed) })
}

/// A whole answer.
pub fn send(stream: &mut impl Write, status: &str, headers: &str, body: &[u8]) {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n", body.len());
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).and_then(|()| stream.flush());
}
