//! sbox-forward: lead ports of the host's loopback to a server in a sandbox.
//!
//! The listening sockets were made on the host's side; this process then enters the sandbox's network, and nothing else of
//! the sandbox, and connects from there.
#![forbid(unsafe_code)]

use lexopt::prelude::*;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::thread::LinkNameSpaceType;
use sbox::cli::{self, Tool};
use sbox::error::{Context, Error, Result};
use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

const TOOL: Tool = Tool { name: "sbox-forward", usage: USAGE, runs_a_command: false };
const USAGE: &str = "\
usage: sbox-forward --into PID N:PORT...
Enter the network of process PID, and connect whoever comes to the listening socket N to PORT of its loopback.

      --into PID       a process of the sandbox
  -h, --help           print this text
  -V, --version        print the version
";

fn main() -> ExitCode {
    TOOL.main(run)
}

fn run(args: &mut lexopt::Parser) -> Result<u8> {
    let (mut pid, mut ports) = (None, Vec::new());
    while let Some(arg) = args.next()? {
        match arg {
            Long("into") => pid = Some(args.value()?.parse::<u32>()?),
            Value(word) => ports.push(socket(&word.string()?)?),
            other => return Err(cli::common(other)),
        }
    }
    let pid = pid.ok_or_else(|| Error::usage("missing option '--into'"))?;
    if ports.is_empty() {
        return Err(Error::usage("missing socket and port"));
    }
    enter(pid)?;
    let threads: Vec<_> =
        ports.into_iter().map(|(listener, port)| std::thread::spawn(move || serve(&listener, port))).collect();
    for thread in threads {
        thread.join().map_err(|_| Error::new("a port cannot be served any more"))?;
    }
    Ok(0)
}

/// `5:8080`: descriptor 5 is a listening socket, 8080 the port inside.
fn socket(text: &str) -> Result<(TcpListener, u16)> {
    let parts = text.split_once(':').and_then(|(fd, port)| Some((fd.parse().ok()?, port.parse().ok()?)));
    let wrong = || Error::usage(format!("'{}' is no socket and port", sbox::words::visible(text)));
    let (fd, port) = parts.ok_or_else(wrong)?;
    let socket = sbox::sys::adopt(fd).context(|| format!("take socket {fd}"))?;
    Ok((TcpListener::from(socket), port))
}

/// The user namespace first: it gives the right to enter the network that belongs to it. One thread only, until then.
fn enter(pid: u32) -> Result<()> {
    let namespace = |name: &str, kind| {
        let path = format!("/proc/{pid}/ns/{name}");
        let fd = rustix::fs::openat(CWD, &path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        fd.context(|| format!("open '{path}'")).map(|fd| (fd, kind, path))
    };
    let both = [namespace("user", LinkNameSpaceType::User)?, namespace("net", LinkNameSpaceType::Network)?];
    for (fd, kind, path) in &both {
        rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(fd), Some(*kind))
            .context(|| format!("enter '{path}'"))?;
    }
    Ok(())
}

fn serve(listener: &TcpListener, port: u16) {
    loop {
        match listener.accept() {
            Ok((client, _)) => {
                std::thread::spawn(move || connect(client, port));
            }
            // No descriptors left, or the other side went away at once.
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

fn connect(client: TcpStream, port: u16) {
    // Nobody listens yet: the client sees its connection closed, as it would without us.
    let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { return };
    let (Ok(mut client_in), Ok(mut server_out)) = (client.try_clone(), server.try_clone()) else { return };
    std::thread::spawn(move || {
        let _ = io::copy(&mut client_in, &mut server_out);
        let _ = server_out.shutdown(Shutdown::Write);
    });
    let (mut server_in, mut client_out) = (server, client);
    let _ = io::copy(&mut server_in, &mut client_out);
    let _ = client_out.shutdown(Shutdown::Both);
}
