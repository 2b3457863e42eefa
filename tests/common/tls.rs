//! A server of HTTPS on the loopback, with a certificate of a private authority.

use super::Scratch;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

pub type Stream = StreamOwned<ServerConnection, TcpStream>;

/// What was asked: the head in one text, and the body.
#[derive(Debug, Clone)]
pub struct Asked {
    pub head: String,
    pub body: Vec<u8>,
}

impl Asked {
    pub fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (own, value) = line.split_once(": ")?;
            own.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// It answers as the test says, and ends with it.
pub struct TlsServer {
    pub port: u16,
    /// The certificate of its authority.
    pub ca: PathBuf,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl TlsServer {
    pub fn start(
        scratch: &Scratch,
        names: &[&str],
        answer: impl Fn(&Asked, &mut Stream) + Send + Sync + 'static,
    ) -> TlsServer {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let text = authority.der().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let ca = scratch.write("authority.pem", &pem(&text));
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let leaf = CertificateParams::new(names).unwrap().signed_by(&key, &authority).unwrap();
        let config = ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = TlsServer { port: listener.local_addr().unwrap().port(), ca, asked: Arc::default() };
        let (config, answer, asked) = (Arc::new(config), Arc::new(answer), Arc::clone(&server.asked));
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let (config, answer, asked) = (Arc::clone(&config), Arc::clone(&answer), Arc::clone(&asked));
                std::thread::spawn(move || {
                    let tls = ServerConnection::new(config).unwrap();
                    let mut stream = BufReader::new(StreamOwned::new(tls, socket));
                    while let Some(request) = read(&mut stream) {
                        asked.lock().unwrap().push(request.clone());
                        answer(&request, stream.get_mut());
                        let _ = stream.get_mut().flush();
                    }
                });
            }
        });
        server
    }

    /// One that says what it got: in a header, and in the body with its length.
    pub fn echo(scratch: &Scratch, names: &[&str]) -> TlsServer {
        TlsServer::start(scratch, names, |asked, stream| {
            let body = format!("{}\n{}", asked.head, String::from_utf8_lossy(&asked.body));
            let said = asked.header("authorization").unwrap_or("nothing");
            let head = format!("HTTP/1.1 200 OK\r\nX-Said: {said}\r\nContent-Length: {}\r\n\r\n", body.len());
            let _ = stream.write_all(format!("{head}{body}").as_bytes());
        })
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

fn read(stream: &mut BufReader<Stream>) -> Option<Asked> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let mut asked = Asked { head: head.trim_end().replace("\r\n", "\n"), body: Vec::new() };
    let length = asked.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    asked.body.resize(length, 0);
    stream.read_exact(&mut asked.body).ok()?;
    if asked.header("transfer-encoding").is_some() {
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).ok()?;
            let length = usize::from_str_radix(line.trim(), 16).ok()?;
            let mut chunk = vec![0; length + 2];
            stream.read_exact(&mut chunk).ok()?;
            asked.body.extend(&chunk[..length]);
            if length == 0 {
                break;
            }
        }
    }
    Some(asked)
}

/// A certificate, from its bytes in hexadecimal.
fn pem(hex: &str) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits: String = hex.chars().map(|digit| format!("{:04b}", digit.to_digit(16).unwrap())).collect();
    let bits = format!("{bits}{}", "0".repeat((6 - bits.len() % 6) % 6));
    let letter = |at: usize| char::from(LETTERS[usize::from_str_radix(&bits[at..at + 6], 2).unwrap()]);
    let mut text: String = (0..bits.len()).step_by(6).map(letter).collect();
    text += &"=".repeat((4 - text.len() % 4) % 4);
    let lines: Vec<&str> = (0..text.len()).step_by(64).map(|at| &text[at..(at + 64).min(text.len())]).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}
