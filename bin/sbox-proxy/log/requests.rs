//! What is asked, told to whoever started the proxy as it happens, and how many bytes went. Nobody may read for a while: what
//! the pipe does not take is counted.

use super::{Line, Log};
use libsbox::error::{Context, Result};
use libsbox::record::{Asked, shown};
use libsbox::sys::{self, Signals};
use rustix::fd::{AsFd, OwnedFd};
use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::net::TcpStream;
use std::sync::Mutex;

pub struct Requests(Mutex<State>);

struct State {
    to: File,
    /// Requests that the pipe did not take.
    untold: u64,
    /// Connections that are open, with the socket that counts.
    open: HashMap<u64, (String, u16, TcpStream)>,
    next: u64,
}

impl Requests {
    pub fn new(fd: OwnedFd) -> Requests {
        Requests(Mutex::new(State { to: File::from(fd), untold: 0, open: HashMap::new(), next: 0 }))
    }

    pub fn asked(&self, line: &Line<'_>) {
        let asked = Asked {
            host: shown(line.host),
            port: line.port,
            allowed: line.refused.is_none(),
            reason: line.refused.map(shown),
            rule: line.rule.map(shown),
            count: 1,
            ..Asked::default()
        };
        if let Ok(mut state) = self.0.lock() {
            state.tell(&asked);
        }
    }

    pub fn open(&self, host: &str, port: u16, server: &TcpStream) -> Option<Connection<'_>> {
        let mut state = self.0.lock().ok()?;
        let id = state.next;
        state.next += 1;
        state.open.insert(id, (host.to_owned(), port, server.try_clone().ok()?));
        Some(Connection { requests: self, id })
    }
}

impl State {
    /// In one write, which a pipe takes whole or not at all: it is shorter than PIPE_BUF, since its texts are cut.
    fn tell(&mut self, asked: &Asked) {
        if self.untold > 0 {
            let reason = Some("there were too many at once to tell them apart".into());
            let untold = Asked { count: self.untold, reason, ..Asked::default() };
            if self.write(&untold) {
                self.untold = 0;
            }
        }
        if !self.write(asked) {
            self.untold += asked.count;
        }
    }

    fn write(&mut self, asked: &Asked) -> bool {
        serde_json::to_string(asked).is_ok_and(|text| self.to.write_all(format!("{text}\n").as_bytes()).is_ok())
    }

    fn close(&mut self, id: u64) {
        let Some((host, port, server)) = self.open.remove(&id) else { return };
        let (sent, received) = sys::tcp_bytes(server.as_fd());
        self.tell(&Asked { host: shown(&host), port, allowed: true, sent, received, ..Asked::default() });
    }
}

/// A connection to a server.
pub struct Connection<'a> {
    requests: &'a Requests,
    id: u64,
}

impl Drop for Connection<'_> {
    fn drop(&mut self) {
        if let Ok(mut state) = self.requests.0.lock() {
            state.close(self.id);
        }
    }
}

/// The end of the proxy, as whoever started it asks for it: first it says what has gone through what is still open.
pub struct Ending(OwnedFd);

impl Ending {
    /// Holds SIGTERM back.
    pub fn hold() -> Result<Ending> {
        let signals = Signals::of(&[libc::SIGTERM]);
        sys::block(&signals).context(|| "hold signals back".into())?;
        sys::signal_file(&signals).context(|| "wait for signals".into()).map(Ending)
    }

    /// Waits for it, and dies of it.
    pub fn wait(self, log: &Log) {
        let mut polled = [rustix::event::PollFd::new(&self.0, rustix::event::PollFlags::IN)];
        while !matches!(rustix::event::poll(&mut polled, None), Ok(1..)) {}
        if let Some(Ok(mut state)) = log.requests.as_ref().map(|requests| requests.0.lock()) {
            let all: Vec<u64> = state.open.keys().copied().collect();
            all.into_iter().for_each(|id| state.close(id));
        }
        // It waits for this thread, and is let through now.
        let _ = sys::block(&Signals::of(&[]));
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM);
    }
}
