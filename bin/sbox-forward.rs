//! sbox-forward: lead ports of the host's loopback to a server in a sandbox, or the other way round.
//!
//! The listening sockets were made on the host's side; this process then enters the sandbox's network, and nothing else of
//! the sandbox, and connects from there. For the other direction the sockets were made in the sandbox's network, and this
//! process stays where it is.
#![forbid(unsafe_code)]

use lexopt::prelude::*;
use libsbox::cli::{self, Tool};
use libsbox::error::{Context, Error, Result};
use rustix::thread::LinkNameSpaceType;
use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const TOOL: Tool = Tool { name: "sbox-forward", usage: USAGE, runs_a_command: false };
const USAGE: &str = "\
usage: sbox-forward --user N --network N N:PORT...
       sbox-forward --receive N PORT...
Enter the network namespace behind descriptor N, and connect each client of the
listening socket N to PORT of the loopback there; or get listening sockets from
another network, and connect their clients to each PORT of the loopback here.

      --user N         descriptor of the user namespace that owns the network
      --network N      descriptor of the network namespace
      --receive N      get the listening sockets from descriptor N, a socket,
                       in the order of the ports
  -h, --help           print this text
  -V, --version        print the version
";

/// Connections to one port at once.
const MOST: usize = 256;

fn main() -> ExitCode {
    TOOL.main(run)
}

fn run(args: &mut lexopt::Parser) -> Result<u8> {
    // sbox-spawn, which starts this, holds signals back, and that is inherited.
    libsbox::sys::block(&libsbox::sys::Signals::of(&[])).context(|| "take signals".into())?;
    let (mut user, mut network, mut receive, mut words) = (None, None, None, Vec::new());
    while let Some(arg) = args.next()? {
        match arg {
            Long("user") => user = Some(args.value()?.parse::<i32>()?),
            Long("network") => network = Some(args.value()?.parse::<i32>()?),
            Long("receive") => receive = Some(args.value()?.parse::<i32>()?),
            Value(word) => words.push(word.string()?),
            other => return Err(cli::common(other)),
        }
    }
    let ports = match (user, network, receive) {
        (None, None, Some(fd)) => {
            let ports = received(fd, &words)?;
            // Whoever connects is not trusted.
            libsbox::plumbing::drop_root()?;
            ports
        }
        (Some(user), Some(network), None) => {
            let ports = words.iter().map(|word| socket(word)).collect::<Result<Vec<_>>>()?;
            if ports.is_empty() {
                return Err(Error::usage("missing socket and port"));
            }
            enter(user, LinkNameSpaceType::User)?;
            enter(network, LinkNameSpaceType::Network)?;
            give_up_rights()?;
            ports
        }
        (_, _, Some(_)) => return Err(cli::exclusive("'--receive' and the others")),
        _ => return Err(Error::usage("missing option '--user' or '--network'")),
    };
    let threads: Vec<_> =
        ports.into_iter().map(|(listener, port)| libsbox::thread::spawn(move || serve(&listener, port))).collect();
    for thread in threads.into_iter().collect::<Result<Vec<_>>>()? {
        thread.join().map_err(|_| Error::new("a port can no longer be served"))?;
    }
    Ok(0)
}

/// `5:8080`: descriptor 5 is a listening socket, 8080 the port inside.
fn socket(text: &str) -> Result<(TcpListener, u16)> {
    let parts = text.split_once(':').and_then(|(fd, port)| Some((fd.parse().ok()?, port.parse().ok()?)));
    let wrong = || Error::usage(format!("'{}' is not a socket and port", libsbox::escape::visible(text)));
    let (fd, port) = parts.ok_or_else(wrong)?;
    let socket = libsbox::sys::adopt(fd).context(|| format!("take socket {fd}"))?;
    Ok((TcpListener::from(socket), port))
}

/// Listening sockets of another network, each with the port that it leads to here.
fn received(fd: i32, words: &[String]) -> Result<Vec<(TcpListener, u16)>> {
    let port = |word: &String| {
        let port = word.parse::<u16>().ok().filter(|port| *port > 0);
        port.ok_or_else(|| Error::usage(format!("'{}' is not a port", libsbox::escape::visible(word))))
    };
    let ports = words.iter().map(port).collect::<Result<Vec<_>>>()?;
    let sockets = libsbox::plumbing::received_sockets(fd)?;
    if sockets.len() != ports.len() || ports.is_empty() {
        return Err(Error::new(format!("{} sockets came for {} ports", sockets.len(), ports.len())));
    }
    Ok(sockets.into_iter().map(TcpListener::from).zip(ports).collect())
}

/// The user namespace comes first: it gives the right to enter the network that belongs to it. One thread only, until then.
fn enter(fd: i32, kind: LinkNameSpaceType) -> Result<()> {
    let shown = || format!("enter the namespace of descriptor {fd}");
    let namespace = libsbox::sys::adopt(fd).context(shown)?;
    rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), Some(kind)).context(shown)
}

/// With the namespace came every capability in it; to copy bytes takes none.
fn give_up_rights() -> Result<()> {
    let shown = || String::from("give up all capabilities");
    libsbox::sys::no_capabilities().context(shown)?;
    rustix::thread::set_no_new_privs(true).context(shown)?;
    // The kernel forgets it with the change of the user namespace.
    match libsbox::plumbing::obey_death_of_parent() {
        true => Ok(()),
        false => Err(Error::new("the process that asked for this is gone")),
    }
}

/// One connection is two threads and four descriptors. More clients than [`MOST`] wait in the kernel's queue.
fn serve(listener: &TcpListener, port: u16) {
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        while open.load(Ordering::Acquire) >= MOST {
            std::thread::sleep(Duration::from_millis(5));
        }
        let Ok((client, _)) = listener.accept() else {
            // No descriptors left, or the other side went away at once.
            std::thread::sleep(Duration::from_millis(10));
            continue;
        };
        open.fetch_add(1, Ordering::AcqRel);
        let counted = Arc::clone(&open);
        let started = std::thread::Builder::new().spawn(move || {
            connect(client, port);
            counted.fetch_sub(1, Ordering::AcqRel);
        });
        // No thread to be had: this client is sent away, and others may find one.
        if started.is_err() {
            open.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

fn connect(client: TcpStream, port: u16) {
    // Nobody listens yet: the client sees its connection closed, as it would without us.
    let Ok(server) = TcpStream::connect(("127.0.0.1", port)).or_else(|_| TcpStream::connect(("::1", port))) else {
        return;
    };
    let (Ok(mut client_in), Ok(mut server_out)) = (client.try_clone(), server.try_clone()) else { return };
    let there = std::thread::Builder::new().spawn(move || {
        let _ = io::copy(&mut client_in, &mut server_out);
        let _ = server_out.shutdown(Shutdown::Write);
    });
    let Ok(there) = there else { return };
    let (mut server_in, mut client_out) = (server, client);
    let _ = io::copy(&mut server_in, &mut client_out);
    let _ = client_out.shutdown(Shutdown::Both);
    let _ = there.join();
}
