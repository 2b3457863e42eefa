//! `--wait`: whether a daemon is ready, as the configuration tells.

use crate::listening::listens;
use libsbox::config::{Config, ReadinessProbe, Ready};
use libsbox::daemon::Started;
use libsbox::daemon::processes;
use libsbox::error::{Context, Error, Result};
use libsbox::format;
use libsbox::logs::Reader;
use libsbox::model::Network;
use libsbox::plumbing;
use libsbox::plumbing::forward::{self, SandboxNetwork};
use libsbox::project::Project;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// How long a server may take to answer one question.
const ANSWER: Duration = Duration::from_secs(2);

/// What is waited for.
pub struct Watch {
    project: Project,
    name: String,
    ready: Ready,
    own_network: bool,
    /// The log from here on.
    log: Option<Reader>,
}

impl Watch {
    /// Before the start, so that the log is read from there.
    pub fn new(project: &Project, config: &Config, name: &str) -> Result<Option<Watch>> {
        let Some(ready) = config.daemon.ready.clone() else { return Ok(None) };
        let log = match ready.probe {
            ReadinessProbe::Log(_) => Some(Reader::last(project, name, 0)?),
            _ => None,
        };
        let own_network = config.network != Network::Host;
        Ok(Some(Watch { project: project.clone(), name: name.to_owned(), ready, own_network, log }))
    }

    /// Waits until the daemon that has `started` is ready. One that ends is not; nor one that takes too long,
    /// which goes on running.
    pub fn wait(mut self, started: &Started) -> Result<()> {
        let end = Instant::now() + self.ready.timeout;
        let mut bridge = None;
        let mut seen = Vec::new();
        loop {
            let sign = self.ready.probe.clone();
            let is_ready = match &sign {
                ReadinessProbe::Log(text) => self.log_has(text.as_bytes(), &mut seen)?,
                ReadinessProbe::Tcp(port) => listens(started, *port, self.own_network),
                // Another process of the host may answer on that port: first it must be the daemon's.
                ReadinessProbe::Http(port, path) => {
                    listens(started, *port, self.own_network)
                        && answers(self.way(*port, started.command, &mut bridge)?, *port, path)
                }
            };
            if is_ready {
                return Ok(());
            }
            let records = processes::list(&self.project)?;
            let state = records.into_iter().find(|record| record.name == self.name);
            let Some(state) = state.filter(|record| record.status.is_live()) else {
                let message = format!("daemon '{}' has ended before it was ready", self.name);
                return Err(Error::new(message).hint(format!("sbox logs {}", self.name)));
            };
            if state.pid != 0 && state.pid != started.pid {
                // Started again: its network is another one.
                let again = Started { pid: state.pid, command: state.command_pid, ..started.clone() };
                return self.wait(&again);
            }
            if Instant::now() >= end {
                let time = format::span(self.ready.timeout.as_secs());
                let message = format!("daemon '{}' is running but was not ready after {time}", self.name);
                return Err(Error::new(message).hint(format!("sbox logs {0}    sbox stop {0}", self.name)));
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn log_has(&mut self, text: &[u8], seen: &mut Vec<u8>) -> Result<bool> {
        let mut buffer = [0u8; 16 * 1024];
        let Some(log) = &mut self.log else { return Ok(false) };
        loop {
            let length = log.read(&mut buffer)?;
            if length == 0 {
                return Ok(false);
            }
            seen.extend(&buffer[..length]);
            // The lines with which a start begins hold the command, and that may hold the text.
            let own = memchr::memmem::rfind(seen, b"=== sbox daemon started at ");
            let begin = own.map_or(0, |at| at + header_length(&seen[at..]));
            if memchr::memmem::find(&seen[begin..], text).is_some() {
                return Ok(true);
            }
            if own.is_none() && seen.len() > text.len() + 256 {
                seen.drain(..seen.len() - text.len() - 256);
            }
        }
    }

    /// Where a port of the sandbox's loopback can be reached from here.
    fn way(&self, port: u16, command: i32, bridge: &mut Option<Bridge>) -> Result<Option<SocketAddr>> {
        if !self.own_network {
            return Ok(Some((Ipv4Addr::LOCALHOST, port).into()));
        }
        if bridge.is_none() {
            *bridge = Bridge::to(command, port)?;
        }
        Ok(bridge.as_ref().map(|bridge| bridge.address))
    }
}

/// How long the lines are with which a start begins: up to the line of `=` that ends them.
fn header_length(text: &[u8]) -> usize {
    let end = memchr::memmem::find(text, b"\n=====").map(|at| at + 1);
    end.and_then(|end| Some(end + memchr::memchr(b'\n', &text[end..])? + 1)).unwrap_or(text.len())
}

/// A way into the network of a sandbox, while this is held.
struct Bridge {
    address: SocketAddr,
    forward: Child,
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = self.forward.kill();
        let _ = self.forward.wait();
    }
}

impl Bridge {
    /// Nothing if the sandbox is gone.
    fn to(command: i32, port: u16) -> Result<Option<Bridge>> {
        let Ok(namespaces) = SandboxNetwork::of(command) else { return Ok(None) };
        let shown = || String::from("look into the sandbox's network");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context(shown)?;
        let address = listener.local_addr().context(shown)?;
        let mut forward = forward::into_sandbox(&namespaces, [(listener.as_fd(), port)].into_iter())?;
        plumbing::trace(&forward);
        let forward = plumbing::die_with_parent(&mut forward)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context(shown)?;
        Ok(Some(Bridge { address, forward }))
    }
}

/// Whether a server answers with a status from 200 to 399.
fn answers(address: Option<SocketAddr>, port: u16, path: &str) -> bool {
    let ask = || -> std::io::Result<Vec<u8>> {
        let address = address.ok_or(ErrorKind::NotConnected)?;
        let mut stream = TcpStream::connect_timeout(&address, ANSWER)?;
        stream.set_read_timeout(Some(ANSWER))?;
        let request = format!("GET {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut start = Vec::new();
        // What came before an error is an answer: a server may close before it has read everything.
        let _ = stream.take(12).read_to_end(&mut start);
        Ok(start)
    };
    let status = ask().ok().and_then(|start| {
        let text = String::from_utf8(start).ok()?;
        text.strip_prefix("HTTP/1.")?.get(2..5)?.parse::<u16>().ok()
    });
    status.is_some_and(|status| (200..400).contains(&status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_in_the_command_is_no_sign() {
        let log = b"=== sbox daemon started at X ===\nName: a\nCommand: echo ready\n=====\nready\n";
        assert_eq!(&log[header_length(log)..], b"ready\n");
        assert_eq!(header_length(b"=== sbox daemon"), 15);
    }

    #[test]
    fn a_server_is_ready_when_it_answers_well() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            for answer in ["HTTP/1.1 503 No\r\n\r\n", "HTTP/1.1 204 Yes\r\n\r\n"] {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let mut byte = [0u8; 1];
                    stream.read_exact(&mut byte).unwrap();
                    request.extend(byte);
                }
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        assert!(!answers(Some(address), 1, "/") && answers(Some(address), 1, "/x"));
        server.join().unwrap();
    }
}
