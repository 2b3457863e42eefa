//! One connection whose TLS ends here: two sockets and one thread, which waits for whichever is ready. Each way takes no more
//! in than the other side takes off, so that an upload of any size needs the same memory.

use super::Interception;
use super::exchange::{Exchange, Stop};
use super::head;
use crate::connection::{Policy, SILENCE};
use crate::log::Line;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, ClientConnection, Connection, Error as TlsError, ServerConnection};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How much waits for either side.
const MOST: usize = 64 * 1024;

/// How long both handshakes and the first request may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a server may take to read what it has no answer for any more.
const FAREWELL: Duration = Duration::from_secs(5);

struct Side {
    tls: Connection,
    socket: TcpStream,
    /// What was said, and is to be looked at.
    came: Vec<u8>,
    /// How much of it may wait.
    most: usize,
    /// What is to be said.
    goes: Vec<u8>,
    is_closed: bool,
    failed: Option<String>,
    alert: Option<AlertDescription>,
}

impl Side {
    fn new(tls: Connection, socket: TcpStream) -> Side {
        Side {
            tls,
            socket,
            came: Vec::new(),
            most: MOST,
            goes: Vec::new(),
            is_closed: false,
            failed: None,
            alert: None,
        }
    }

    fn fail(&mut self, why: String) {
        self.is_closed = true;
        self.failed.get_or_insert(why);
    }

    /// Takes in what has arrived, from the socket or from what was read of it before.
    fn read(&mut self, mut before: Option<&[u8]>) {
        while self.came.len() < self.most && !self.is_closed {
            let got = match &mut before {
                // Not to be read: to TLS nothing is the end of the connection.
                Some([]) => return,
                Some(bytes) => self.tls.read_tls(bytes),
                None => self.tls.read_tls(&mut self.socket),
            };
            match got {
                Ok(0) => {
                    self.is_closed = true;
                    self.take_in();
                    return;
                }
                Ok(_) => self.take_in(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.fail(libsbox::error::reason(&error)),
            }
        }
    }

    fn take_in(&mut self) {
        if let Err(error) = self.tls.process_new_packets() {
            if let TlsError::AlertReceived(alert) = error {
                self.alert = Some(alert);
            }
            // The alert that says why is still to be sent.
            let _ = self.tls.write_tls(&mut self.socket);
            return self.fail(shown(&error));
        }
        let mut space = [0; 16 * 1024];
        loop {
            match self.tls.reader().read(&mut space) {
                Ok(0) => {
                    self.is_closed = true;
                    return;
                }
                Ok(count) => self.came.extend_from_slice(&space[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.is_closed = true;
                    return;
                }
            }
        }
    }

    /// Sends what the socket takes.
    fn write(&mut self) {
        loop {
            let before = self.goes.len();
            if before > 0 {
                match self.tls.writer().write(&self.goes) {
                    Ok(count) => drop(self.goes.drain(..count)),
                    Err(error) => return self.fail(libsbox::error::reason(&error)),
                }
            }
            let mut sent = false;
            while self.tls.wants_write() {
                match self.tls.write_tls(&mut self.socket) {
                    Ok(_) => sent = true,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                    Err(error) => return self.fail(libsbox::error::reason(&error)),
                }
            }
            if !sent && self.goes.len() == before || self.goes.is_empty() && !self.tls.wants_write() {
                return;
            }
        }
    }

    fn events(&self, has_room: bool) -> PollFlags {
        let mut events = PollFlags::empty();
        if !self.is_closed && has_room && self.came.len() < self.most {
            events |= PollFlags::IN;
        }
        if self.failed.is_none() && self.tls.wants_write() {
            events |= PollFlags::OUT;
        }
        events
    }

    /// Says the last words, and goes.
    fn end(&mut self, patience: Duration) {
        let _ = self.socket.set_nonblocking(false);
        let _ = self.socket.set_write_timeout(Some(patience));
        let end = Instant::now() + patience;
        while !self.goes.is_empty() && self.failed.is_none() && Instant::now() < end {
            self.write();
        }
        self.tls.send_close_notify();
        self.write();
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    /// Reads what is still coming, or the last words are lost with a reset.
    fn linger(&mut self) {
        let _ = self.socket.set_read_timeout(Some(Duration::from_millis(200)));
        let (end, mut space) = (Instant::now() + Duration::from_secs(2), [0; 8192]);
        while Instant::now() < end && self.socket.read(&mut space).is_ok_and(|count| count > 0) {}
    }
}

fn shown(error: &TlsError) -> String {
    match error {
        TlsError::InvalidCertificate(why) => format!("its certificate is not accepted here: {why:?}"),
        other => other.to_string(),
    }
}

/// Serves a connection to its end. `first`: what the client has sent of its TLS so far.
pub fn serve(
    policy: &Policy,
    secrets: &Interception,
    client: TcpStream,
    server: TcpStream,
    first: &[u8],
    host: &str,
    port: u16,
) {
    let refused = |why: &str| policy.log.write(&Line { host, port, refused: Some(why), rule: None });
    let (mut client, mut server) = match sides(secrets, client, server, host) {
        Ok(sides) => sides,
        Err(why) => return refused(&why),
    };
    let mut exchange = Exchange::new(host, port, || secrets.store.view(host, port));
    // One more than the largest head, which else would be waited for without being read.
    client.most = head::LARGEST + 1;
    client.read(Some(first));
    let mut last = Instant::now();
    let stop = loop {
        if let Some(why) = server.failed.take() {
            let why = format!("'{host}' cannot be asked: {why}");
            match exchange.is_idle() {
                true => exchange.unusable = Some(why),
                false => break Some(Stop::Refuse(502, why)),
            }
        }
        if let Err(stop) = pump(&mut exchange, &mut client, &mut server) {
            break Some(stop);
        }
        for note in exchange.notes.drain(..) {
            policy.log.note(host, port, &note);
        }
        server.most = if exchange.awaits_head() { head::LARGEST_ANSWER + 1 } else { MOST };
        client.write();
        server.write();
        // An agent that goes away wants no answer any more: neither should the server go on with it.
        if exchange.is_over() || client.is_closed {
            break None;
        }
        let patience = if exchange.count == 0 { PATIENCE } else { SILENCE };
        let Some(left) = patience.checked_sub(last.elapsed()) else {
            break Some(Stop::Abort("nothing was said for too long".into()));
        };
        match wait(&mut client, &mut server, left) {
            Ok(true) => last = Instant::now(),
            Ok(false) => {}
            Err(_) => break None,
        }
    };
    if client.alert.is_some_and(does_not_trust) {
        refused("the client does not accept certificates of this sandbox's authority");
    } else if exchange.count == 0 && client.failed.is_some() {
        refused(&format!("TLS with the client failed: {}", client.failed.as_deref().unwrap_or_default()));
    } else if stop.is_none() {
        policy.log.write(&Line { host, port, refused: None, rule: None });
    }
    server.end(FAREWELL);
    match stop {
        Some(Stop::Refuse(code, why)) => {
            refused(&why);
            client.goes.extend(crate::connection::refusal(code, &why));
            client.end(FAREWELL);
            client.linger();
        }
        Some(Stop::Abort(why)) => {
            refused(&why);
            client.write();
            let _ = client.socket.shutdown(Shutdown::Both);
        }
        // The end of an answer waits for a client that reads slowly, or is stopped.
        None => client.end(SILENCE),
    }
}

fn does_not_trust(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnsupportedCertificate
    )
}

fn sides(secrets: &Interception, client: TcpStream, server: TcpStream, host: &str) -> Result<(Side, Side), String> {
    let text = |error: &dyn std::fmt::Display| format!("TLS with '{host}' cannot begin: {error}");
    for socket in [&client, &server] {
        socket.set_nonblocking(true).map_err(|error| text(&error))?;
    }
    let config = secrets.authority.server(host).map_err(|error| text(&error))?;
    let theirs = ServerConnection::new(config).map_err(|error| text(&error))?;
    let name = ServerName::try_from(host.to_owned()).map_err(|error| text(&error))?;
    let ours = ClientConnection::new(Arc::clone(&secrets.client), name).map_err(|error| text(&error))?;
    Ok((Side::new(theirs.into(), client), Side::new(ours.into(), server)))
}

/// Brings over what has come.
fn pump<V: Fn() -> super::store::View>(
    exchange: &mut Exchange<V>,
    client: &mut Side,
    server: &mut Side,
) -> Result<(), Stop> {
    if server.goes.len() < MOST {
        exchange.request(&mut client.came, &mut server.goes)?;
    }
    if client.goes.len() < MOST {
        exchange.answer(&mut server.came, &mut client.goes)?;
        if server.is_closed && server.came.is_empty() && !exchange.is_over() && exchange.unusable.is_none() {
            // While nothing is asked, the next request would be lost: the client has to begin a new connection.
            exchange.server_closed(&mut client.goes)?;
        }
    }
    Ok(())
}

/// Waits until a side is ready, and takes in what has come. `false` if nothing happened in time.
fn wait(client: &mut Side, server: &mut Side, left: Duration) -> io::Result<bool> {
    let events = [client.events(server.goes.len() < MOST), server.events(client.goes.len() < MOST)];
    let mut ready = [PollFlags::empty(); 2];
    {
        let sockets = [&client.socket, &server.socket];
        let wanted: Vec<usize> = (0..2).filter(|side| !events[*side].is_empty()).collect();
        let mut fds: Vec<PollFd<'_>> = wanted.iter().map(|side| PollFd::new(sockets[*side], events[*side])).collect();
        match rustix::event::poll(&mut fds, Timespec::try_from(left).ok().as_ref()) {
            Err(rustix::io::Errno::INTR) => return Ok(true),
            Err(error) => return Err(error.into()),
            Ok(0) => return Ok(false),
            Ok(_) => {}
        }
        for (fd, side) in fds.iter().zip(&wanted) {
            ready[*side] = fd.revents();
        }
    }
    for (side, ready) in [client, server].into_iter().zip(ready) {
        if ready.contains(PollFlags::OUT) {
            side.write();
        }
        if ready.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            side.read(None);
        }
    }
    Ok(true)
}
