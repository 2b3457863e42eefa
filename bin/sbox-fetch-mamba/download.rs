//! One file over HTTP: redirects, proxies, the system's certificate authorities, timeouts, another try that goes on where
//! the last one broke off.

use libsbox::error::{Context, Error, Result};
use libsbox::escape;
use libsbox::escape::visible;
use libsbox::fs;
use libsbox::output;
use libsbox::progress::amount::Report;
use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, Read, Write};
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;
use ureq::http::{Response, StatusCode};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body};

/// No micromamba is larger: that of today has 6 MB packed and 16 MB unpacked.
const LARGEST: u64 = 256 << 20;

/// Where something comes from.
pub struct Source {
    pub url: String,
    pub sha256: Option<String>,
    /// How long a connection may take.
    pub connect: Duration,
    /// How long the next bytes may take.
    pub idle: Duration,
    /// How often to try again.
    pub retries: u64,
}

impl Source {
    /// The address without a password in it.
    pub fn shown(&self) -> String {
        match (self.url.split_once("://"), self.url.find('@')) {
            (Some((scheme, rest)), Some(_)) => {
                let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
                format!("{scheme}://{}/{path}", host.rsplit('@').next().unwrap_or(host))
            }
            _ => self.url.clone(),
        }
    }

    /// Without TLS nobody knows who answers: then the hash has to be known, or it is this machine that answers.
    fn allow(&self) -> Result<()> {
        let authority = self.url.strip_prefix("http://").map(|rest| rest.split(['/', '?', '#']).next().unwrap_or(rest));
        // What is before an @ is a user, whatever it looks like.
        let host = authority
            .map(|all| all.rsplit('@').next().unwrap_or(all))
            .map(|host| host.split(':').next().unwrap_or(host));
        match host {
            None if self.url.starts_with("https://") => Ok(()),
            Some(host) if matches!(host, "localhost" | "127.0.0.1") || self.sha256.is_some() => Ok(()),
            Some(_) => Err(Error::new(format!("'{}' is not encrypted", visible(&self.shown())))
                .hint("use https, or say with --sha256 what has to come")),
            None => Err(Error::usage(format!("'{}' is not an http or https URL", visible(&self.shown())))),
        }
    }
}

/// Why an attempt failed.
enum Failure {
    /// Another attempt may do better, after this many seconds if the server said so.
    Passing(String, Option<u64>),
    /// It may not.
    Final(Error),
}

/// Downloads into `part`, and gives the SHA-256 of what came.
pub fn fetch(source: &Source, part: &Path) -> Result<String> {
    source.allow()?;
    let agent = agent(source)?;
    let _ = std::fs::remove_file(part);
    let mut known = None;
    for attempt in 0.. {
        let failure = match attempt_once(&agent, source, part, &mut known) {
            Ok(()) => break,
            Err(failure) => failure,
        };
        let (why, wait) = match failure {
            Failure::Final(error) => return Err(error),
            Failure::Passing(why, wait) => (why, wait),
        };
        if attempt >= source.retries {
            return Err(Error::new(format!("cannot download micromamba from '{}': {why}", visible(&source.shown()))));
        }
        let wait = wait.unwrap_or(1 << attempt.min(4)).min(30);
        output::info(format_args!("{why}; trying again in {wait} s"));
        std::thread::sleep(Duration::from_secs(wait));
    }
    let mut file = File::open(part).context(|| "read what was downloaded".into())?;
    let sha256 = fs::sha256_of(&mut file).context(|| "read what was downloaded".into())?;
    // One that was asked for counts; one that lies beside the download, as releases have it, finds what broke on the way.
    let wanted = source.sha256.clone().or_else(|| published(&agent, source));
    match wanted {
        Some(wanted) if wanted != sha256 => {
            Err(Error::new(format!("what came from '{}' has SHA-256 {sha256}, not {wanted}", visible(&source.shown()))))
        }
        _ => Ok(sha256),
    }
}

/// The checksum that is published beside a download, at the same address with `.sha256` behind it; nothing if there is none.
fn published(agent: &Agent, source: &Source) -> Option<String> {
    let (path, query) = source.url.split_once('?').map_or((&*source.url, None), |(path, query)| (path, Some(query)));
    let url = query.map_or_else(|| format!("{path}.sha256"), |query| format!("{path}.sha256?{query}"));
    let mut response = agent.get(&url).call().ok().filter(|response| response.status() == StatusCode::OK)?;
    let text = response.body_mut().with_config().limit(4096).read_to_string().ok()?;
    digest(&text)
}

/// The SHA-256 in a checksum file: alone, or with the name of the file behind it.
fn digest(text: &str) -> Option<String> {
    let word = text.split_whitespace().next()?;
    libsbox::fs::is_sha256(word).then(|| word.to_lowercase())
}

fn agent(source: &Source) -> Result<Agent> {
    let tls = TlsConfig::builder().root_certs(authorities()?).build();
    let config = Agent::config_builder()
        .https_only(source.url.starts_with("https://"))
        .timeout_connect(Some(source.connect))
        .timeout_resolve(Some(source.connect))
        .timeout_recv_response(Some(source.idle))
        .max_redirects(8)
        .http_status_as_error(false)
        .user_agent(concat!("sbox/", env!("CARGO_PKG_VERSION")))
        .tls_config(tls)
        .build();
    Ok(config.into())
}

/// The system's certificate authorities, or those of SSL_CERT_FILE and SSL_CERT_DIR; else those that the user names to
/// other programs.
fn authorities() -> Result<RootCerts> {
    let variable = |name: &&str| std::env::var_os(name).filter(|value| !value.is_empty());
    if ["SSL_CERT_FILE", "SSL_CERT_DIR"].iter().find_map(variable).is_some() {
        return Ok(RootCerts::PlatformVerifier);
    }
    let Some(bundle) = ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"].iter().find_map(variable) else {
        return Ok(RootCerts::PlatformVerifier);
    };
    let text = std::fs::read(&bundle).context(|| format!("read '{}'", escape::visible_path(Path::new(&bundle))))?;
    let certificates: Vec<_> = ureq::tls::parse_pem(&text)
        .filter_map(|item| match item {
            Ok(ureq::tls::PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    Ok(RootCerts::from(certificates))
}

/// One request. `known` is the mark by which the server tells that a file is still the same.
fn attempt_once(
    agent: &Agent,
    source: &Source,
    part: &Path,
    known: &mut Option<String>,
) -> std::result::Result<(), Failure> {
    let had = match known {
        Some(_) => std::fs::metadata(part).map_or(0, |metadata| metadata.len()),
        None => 0,
    };
    // The client resolves names in a thread of its own, and panics if it cannot have one.
    let thread = libsbox::thread::spawn(|| ()).map_err(Failure::Final)?;
    let _ = thread.join();
    let mut request = agent.get(&source.url);
    if let (Some(mark), 1..) = (&known, had) {
        request = request.header("range", format!("bytes={had}-")).header("if-range", mark);
    }
    let response = request.call().map_err(|error| reason(&error, source))?;
    let resumes = response.status() == StatusCode::PARTIAL_CONTENT && starts_at(&response) == Some(had);
    if response.status() != StatusCode::OK && !resumes {
        return Err(refused(&response, source));
    }
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(ToOwned::to_owned);
    // A weak mark says that two files mean the same, not that their bytes are (RFC 9110, 13.1.5).
    *known = header("etag").filter(|mark| !mark.starts_with("W/")).or_else(|| header("last-modified"));
    let length: Option<u64> = header("content-length").and_then(|length| length.parse().ok());
    if length.is_some_and(|length| length > LARGEST) {
        return Err(Failure::Final(too_large(source)));
    }
    let kind = header("content-type").unwrap_or_default();
    let already = if resumes { had } else { 0 };
    let mut file = OpenOptions::new()
        .create(true)
        .write(true)
        .append(resumes)
        .truncate(!resumes)
        .open(part)
        .context(|| format!("write '{}'", escape::visible_path(part)))
        .map_err(Failure::Final)?;
    if !std::io::stderr().is_terminal() {
        output::info("downloading micromamba");
    }
    let mut report = Report::begin("micromamba", already, length.map(|length| length + already));
    let came = receive(response.into_body(), source, &mut file, &mut report)?;
    drop(report);
    if let Some(length) = length.filter(|length| *length != came) {
        return Err(Failure::Passing(format!("only {came} of {length} bytes came"), None));
    }
    if already == 0 {
        looks_right(part, &kind, source)?;
    }
    Ok(())
}

/// Where the bytes of a partial answer belong.
fn starts_at(response: &Response<Body>) -> Option<u64> {
    let range = response.headers().get("content-range")?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}

/// The body into the file. It is read by a thread: a server that sends nothing more is waited for, but not for ever.
fn receive(body: Body, source: &Source, file: &mut File, report: &mut Report) -> std::result::Result<u64, Failure> {
    let (sender, receiver) = mpsc::sync_channel::<std::io::Result<Vec<u8>>>(4);
    let reader = libsbox::thread::spawn(move || {
        let mut reader = body.into_with_config().limit(LARGEST + 1).reader();
        loop {
            let mut chunk = vec![0; 64 * 1024];
            let read = reader.read(&mut chunk).map(|length| {
                chunk.truncate(length);
                chunk
            });
            let ends = read.as_ref().map_or(true, Vec::is_empty);
            if sender.send(read).is_err() || ends {
                return;
            }
        }
    });
    reader.map_err(Failure::Final)?;
    let mut came = 0;
    loop {
        match receiver.recv_timeout(source.idle) {
            Ok(Ok(chunk)) if chunk.is_empty() => return Ok(came),
            Ok(Ok(chunk)) => {
                file.write_all(&chunk).context(|| "write what was downloaded".into()).map_err(Failure::Final)?;
                came += chunk.len() as u64;
                report.add(chunk.len() as u64);
                if came > LARGEST {
                    return Err(Failure::Final(too_large(source)));
                }
            }
            Ok(Err(error)) => {
                return Err(Failure::Passing(format!("it broke off after {came} bytes ({})", said(&error)), None));
            }
            Err(_) => {
                let why = format!("nothing came for {} s, after {came} bytes", source.idle.as_secs());
                return Err(Failure::Passing(why, None));
            }
        }
    }
}

fn said(error: &std::io::Error) -> String {
    visible(&libsbox::error::reason(error))
}

fn too_large(source: &Source) -> Error {
    Error::new(format!("what comes from '{}' is larger than any micromamba", visible(&source.shown())))
}

/// An answer that is not a file.
fn refused(response: &Response<Body>, source: &Source) -> Failure {
    let status = response.status();
    let wait = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
    let why = format!("the server answered {status}");
    let passing = status.is_server_error()
        || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
        || status == StatusCode::PARTIAL_CONTENT
        || status == StatusCode::RANGE_NOT_SATISFIABLE;
    match passing {
        true => Failure::Passing(why, wait),
        false => {
            Failure::Final(Error::new(format!("cannot download micromamba from '{}': {why}", visible(&source.shown()))))
        }
    }
}

/// What went wrong before an answer came.
fn reason(error: &ureq::Error, source: &Source) -> Failure {
    let text = match error {
        ureq::Error::Io(error) => libsbox::error::reason(error),
        error => error.to_string(),
    };
    // The library's name for the kind of error says nothing to a reader.
    let text = visible(text.strip_prefix("io: ").unwrap_or(&text));
    let lower = text.to_lowercase();
    let fixed = lower.contains("certificate") || lower.contains("too many redirects") || lower.contains("https only");
    match fixed {
        _ if is_without_network(error) => {
            let why = text.replace("failed to lookup address information", "the name cannot be resolved");
            Failure::Final(Error::new(format!("cannot download micromamba from '{}': {why}", visible(&source.shown()))))
        }
        true if lower.contains("certificate") => Failure::Final(Error::new(format!(
            "cannot download micromamba: {text}; a company's own authority is found in the system's store, or by SSL_CERT_FILE"
        ))),
        true => Failure::Final(Error::new(format!("cannot download micromamba: {text}"))),
        false => Failure::Passing(text, None),
    }
}

/// Whether there is no way to any server. The resolver has tried for a while by itself, and a machine without a network does
/// not get one within seconds: the user, or another provider, waits for nothing.
fn is_without_network(error: &ureq::Error) -> bool {
    use std::io::ErrorKind;
    match error {
        ureq::Error::HostNotFound | ureq::Error::Timeout(ureq::Timeout::Resolve) => true,
        ureq::Error::Io(error) => {
            matches!(error.kind(), ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable)
                // The resolver's errors have no kind of their own in the standard library.
                || error.to_string().starts_with("failed to lookup address information")
        }
        _ => false,
    }
}

/// Refuses a login page or an error message in the place of a program, and says what it was.
fn looks_right(part: &Path, kind: &str, source: &Source) -> std::result::Result<(), Failure> {
    let mut start = vec![0; 4096];
    let read = File::open(part).and_then(|mut file| file.read(&mut start));
    start.truncate(read.unwrap_or(0));
    if crate::archive::Form::of(&start).is_some() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&start);
    let lower = text.to_lowercase();
    let title = lower.find("<title>").and_then(|at| text.get(at + 7..)?.split('<').next()).map(str::trim);
    let what = match title {
        _ if start.is_empty() => "nothing".into(),
        Some(title) => format!("a web page, '{}'", visible(title)),
        None if lower.contains("<html") => "a web page".into(),
        None if kind.is_empty() => {
            format!("something else, which begins with '{}'", visible(&text.chars().take(40).collect::<String>()))
        }
        None => format!(
            "something of type '{}', which begins with '{}'",
            visible(kind),
            visible(&text.chars().take(40).collect::<String>())
        ),
    };
    Err(Failure::Final(Error::new(format!(
        "what came from '{}' is not a micromamba: {what}",
        visible(&source.shown())
    ))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(url: &str, sha256: Option<&str>) -> Source {
        let second = Duration::from_secs(1);
        Source { url: url.into(), sha256: sha256.map(Into::into), connect: second, idle: second, retries: 0 }
    }

    #[test]
    fn what_is_not_encrypted_needs_a_hash_or_is_this_machine() {
        for url in ["https://host/x", "http://127.0.0.1:8080/x", "http://localhost/x"] {
            assert!(source(url, None).allow().is_ok(), "{url}");
        }
        for url in [
            "http://host/x",
            "http://127.0.0.1.evil/x",
            "http://127.0.0.1:80@evil/x",
            "ftp://host/x",
            "file:///etc/passwd",
            "x",
        ] {
            assert!(source(url, None).allow().is_err(), "{url}");
        }
        assert!(source("http://host/x", Some("aa")).allow().is_ok());
    }

    #[test]
    fn a_checksum_file_is_read_and_a_page_is_not_one() {
        let hex = "AB".repeat(32);
        assert_eq!(digest(&format!("{hex}\n")), Some(hex.to_lowercase()));
        assert_eq!(digest(&format!("{hex}  micromamba.tar.bz2\n")), Some(hex.to_lowercase()));
        assert_eq!((digest("<html>"), digest("")), (None, None));
    }

    #[test]
    fn a_password_is_not_shown() {
        assert_eq!(source("https://user:secret@host/a@b", None).shown(), "https://host/a@b");
        assert_eq!(source("https://host/a", None).shown(), "https://host/a");
    }
}
