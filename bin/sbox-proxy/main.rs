//! sbox-proxy: the way out of a sandbox, to some names only.
//!
//! An HTTP proxy on the host's side of a sandbox without its own route. A connection is let through when three
//! things agree: the name and port that were asked for are allowed; the name in the request itself (the TLS server name, or
//! the HTTP Host) is the same; and the name, resolved here and once, has a public address, which is the one that is dialled.
//! What comes in is written by an untrusted program: every length is bounded, and everything unclear is refused.
#![forbid(unsafe_code)]

mod address;
mod base64;
mod client_hello;
mod connection;
mod log;
mod refusal;
mod request;
#[cfg(feature = "secrets")]
mod secrets;
mod unlisted;
mod upstream;

use lexopt::prelude::*;
use libsbox::cli::{self, Tool};
use libsbox::error::{Context, Error, Result};
use libsbox::model::{HostRule, HostRules};
use libsbox::plumbing;
use std::io::Write;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const TOOL: Tool = Tool { name: "sbox-proxy", usage: USAGE, runs_a_command: false };
const USAGE: &str = "\
usage: sbox-proxy [--listen ADDRESS:PORT | --receive N] [--allow RULE]...
                  [--deny RULE]... [--access-log FILE | --refusal-log FILE]
                  [--refused-fd N] [--request-fd N] [--secrets-fd N]
                  [--any | --ask-fd N]
Let HTTP and HTTPS through to the names that are allowed. Print the address that
it listens on.

      --listen ADDRESS:PORT  where to listen [127.0.0.1:0]
      --receive N          get the listening socket from descriptor N, a Unix
                           socket
      --allow RULE         NAME or *.NAME, with :PORT [80 and 443], with
                           =ADDRESS to use that address, not the resolver's,
                           with =private if its address may be private
      --deny RULE          refuse this, although --allow names it
      --access-log FILE    append each request to FILE, one JSON object a line
      --refusal-log FILE   the same, but only of requests that were refused
      --refused-fd N       write what is refused to descriptor N, one NAME or
                           NAME:PORT a line, each once
      --request-fd N       write what is asked, and how many bytes went, to
                           descriptor N, one JSON object a line
      --secrets-fd N       get from descriptor N which placeholders to exchange
                           for keys on the way to which hosts; sbox-secrets
                           writes them. Write the certificate of the authority
                           that ends TLS for those hosts to the socket
                           that the listening one comes through, or print it
      --any                let names through that no rule has
      --ask-fd N           ask about them at descriptor N, a Unix socket: a JSON
                           object a line, and 'once', 'run' or 'no' back
  -h, --help               print this text
  -V, --version            print the version
";

/// Connections at once. More wait in the kernel's queue.
const MOST: usize = 2048;

/// The stack of a connection's thread: it keeps its buffers elsewhere.
const STACK: usize = 512 * 1024;

fn main() -> ExitCode {
    TOOL.main(run)
}

fn run(args: &mut lexopt::Parser) -> Result<u8> {
    // sbox-spawn, which starts this, holds signals back, and that is inherited.
    libsbox::sys::block(&libsbox::sys::Signals::of(&[])).context(|| "take signals".into())?;
    let (mut listen, mut receive) = (String::from("127.0.0.1:0"), None);
    let (mut allow, mut deny) = (Vec::new(), Vec::new());
    let mut logs = log::Wanted::default();
    let mut secrets = None;
    let (mut unlisted, mut ask_fd) = (unlisted::Unlisted::default(), None);
    while let Some(arg) = args.next()? {
        match arg {
            Long("listen") => listen = args.value()?.string()?,
            Long("receive") => receive = Some(args.value()?.parse::<i32>()?),
            Long("allow") => allow.push(args.value()?.string()?.parse::<HostRule>()?),
            Long("deny") => deny.push(args.value()?.string()?.parse::<HostRule>()?),
            Long("access-log") => logs.file = Some((PathBuf::from(args.value()?), log::Kind::All)),
            Long("refusal-log") => logs.file = Some((PathBuf::from(args.value()?), log::Kind::Refused)),
            Long("request-fd") => logs.request_fd = Some(args.value()?.parse::<i32>()?),
            Long("any") => unlisted = unlisted::Unlisted::Any,
            Long("ask-fd") => ask_fd = Some(args.value()?.parse::<i32>()?),
            Long("refused-fd") => logs.refused_fd = Some(args.value()?.parse::<i32>()?),
            Long("secrets-fd") => secrets = Some(args.value()?.parse::<i32>()?),
            other => return Err(cli::common(other)),
        }
    }
    more_descriptors();
    let secrets = secrets.map(keep_secrets).transpose()?;
    let log = log::Log::open(logs)?;
    if let Some(fd) = ask_fd {
        let line = libsbox::sys::adopt(fd).context(|| format!("use descriptor {fd}"))?;
        unlisted = unlisted::Unlisted::ask(line);
    }
    let listener = match receive {
        Some(fd) => {
            let socket = libsbox::sys::adopt(fd).context(|| format!("take a socket from descriptor {fd}"))?;
            let mut socket = std::fs::File::from(socket);
            if let Some(secrets) = &secrets {
                socket.write_all(secrets.text.as_bytes()).context(|| "hand the certificate over".into())?;
            }
            received(&socket.into())?
        }
        None => {
            let listener = TcpListener::bind(&listen).context(|| format!("listen on '{listen}'"))?;
            cli::out_line(listener.local_addr().context(|| "find the own address".into())?)?;
            if let Some(secrets) = &secrets {
                cli::out(secrets.text.as_bytes())?;
            }
            listener
        }
    };
    // What comes in is hostile.
    plumbing::drop_root()?;
    // Before there is another thread: each of them holds the signal back, and the one that waits for it gets it.
    let end = log.reports().then(log::Ending::hold).transpose()?;
    let upstream = upstream::Upstream::of(|name| std::env::var(name).ok());
    let policy = Arc::new(connection::Policy {
        rules: HostRules { allow, deny },
        unlisted,
        log,
        upstream,
        #[cfg(feature = "secrets")]
        secrets: secrets.map(Secrets::begin).transpose()?,
    });
    if let Some(end) = end {
        let policy = Arc::clone(&policy);
        libsbox::thread::spawn(move || end.wait(&policy.log))?;
    }
    serve(&listener, policy)
}

/// A connection takes up to six descriptors, and a shell gives a thousand. A host that allows no more gets fewer at once.
fn more_descriptors() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum.map(|most| most.min(16 * 1024)).or(Some(16 * 1024));
    let _ = setrlimit(Resource::Nofile, limit);
}

/// What exchanges placeholders for keys, before it has begun to listen for changes.
struct Secrets {
    #[cfg(feature = "secrets")]
    all: secrets::Interception,
    #[cfg(feature = "secrets")]
    later: Box<dyn FnOnce() + Send>,
    /// The certificate of its authority.
    text: String,
}

#[cfg(feature = "secrets")]
fn keep_secrets(fd: i32) -> Result<Secrets> {
    plumbing::keep_others_out()?;
    let (all, later) = secrets::Interception::new(fd)?;
    let text = all.certificate();
    Ok(Secrets { all, later: Box::new(later), text })
}

#[cfg(not(feature = "secrets"))]
fn keep_secrets(_: i32) -> Result<Secrets> {
    Err(Error::new("this sbox-proxy was built without TLS, and cannot exchange secrets"))
}

#[cfg(feature = "secrets")]
impl Secrets {
    /// Once root's rights are given up, which reaches no thread but this one.
    fn begin(self) -> Result<secrets::Interception> {
        plumbing::keep_others_out()?;
        libsbox::thread::spawn(self.later)?;
        Ok(self.all)
    }
}

/// A listening socket from a process in another network namespace: it stays a socket of that one.
fn received(from: &OwnedFd) -> Result<TcpListener> {
    let socket = plumbing::sockets_from(from)?.into_iter().next();
    socket.map(TcpListener::from).ok_or_else(|| Error::new("no listening socket came"))
}

/// One thread for each connection, and never more than there may be.
fn serve(listener: &TcpListener, policy: Arc<connection::Policy>) -> Result<u8> {
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        let client = match listener.accept() {
            Ok((client, _)) => client,
            // The other side went away, or there are no descriptors left: neither is the end of the proxy.
            Err(_) => {
                std::thread::sleep(std::time::Duration::from_millis(10));
                continue;
            }
        };
        while open.load(Ordering::Acquire) >= MOST {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        open.fetch_add(1, Ordering::AcqRel);
        let (policy, open) = (Arc::clone(&policy), Arc::clone(&open));
        let counted = Arc::clone(&open);
        let started = std::thread::Builder::new().stack_size(STACK).spawn(move || {
            connection::serve(&policy, client);
            counted.fetch_sub(1, Ordering::AcqRel);
        });
        // No thread to be had: this client is sent away, and others may find one.
        if started.is_err() {
            open.fetch_sub(1, Ordering::AcqRel);
        }
    }
}
