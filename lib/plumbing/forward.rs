//! The command lines of `sbox-forward`.

use super::{inherit, program};
use crate::error::{Context, Result};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::process::Command;

/// The namespaces of a sandbox with a network of its own.
#[derive(Debug)]
pub struct SandboxNetwork([OwnedFd; 2]);

impl SandboxNetwork {
    /// Those that process `pid` is in.
    pub fn of(pid: i32) -> Result<SandboxNetwork> {
        let open = |name: &str| {
            let path = format!("/proc/{pid}/ns/{name}");
            std::fs::File::open(&path).context(|| format!("open '{path}'")).map(OwnedFd::from)
        };
        Ok(SandboxNetwork([open("user")?, open("net")?]))
    }
}

/// Leads each of these listening sockets of the host to its port in a sandbox.
pub fn into_sandbox<'a>(
    network: &SandboxNetwork,
    listeners: impl Iterator<Item = (BorrowedFd<'a>, u16)>,
) -> Result<Command> {
    let mut command = program("sbox-forward")?;
    for (option, fd) in ["--user", "--network"].into_iter().zip(&network.0) {
        inherit(fd.as_fd())?;
        command.arg(option).arg(fd.as_raw_fd().to_string());
    }
    for (listener, port) in listeners {
        inherit(listener)?;
        command.arg(format!("{}:{port}", listener.as_raw_fd()));
    }
    Ok(command)
}

/// Leads the sockets that come through `sockets` to these ports of the host's loopback.
pub fn out_of_sandbox(sockets: BorrowedFd<'_>, ports: impl Iterator<Item = u16>) -> Result<Command> {
    inherit(sockets)?;
    let mut command = program("sbox-forward")?;
    command.arg("--receive").arg(sockets.as_raw_fd().to_string()).args(ports.map(|port| port.to_string()));
    Ok(command)
}
