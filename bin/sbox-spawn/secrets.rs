//! Keys that the command uses and never holds: the proxy has them, and the command trusts the proxy's authority.

use crate::args::Args;
use crate::network::{Proxy, hand_over};
use libsbox::certificates;
use libsbox::error::{Context, Error, Result};
use libsbox::sys;
use rustix::fd::OwnedFd;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::io::Read;
use std::path::{Path, PathBuf};

/// The largest certificate that is taken, in its text form; ours has less than a kilobyte.
const LARGEST: u64 = 16 * 1024;

/// Starts the proxy if there are secrets, and puts the certificate of its authority where programs look for one.
pub fn prepare(args: &mut Args) -> Result<Option<Proxy>> {
    let Some(control) = args.network.secrets_fd else { return Ok(None) };
    let control = sys::adopt(control).context(|| format!("take descriptor {control}"))?;
    rustix::io::fcntl_setfd(&control, rustix::io::FdFlags::CLOEXEC).context(|| "keep the socket".into())?;
    // The root of a dry run and of a trial needs no keys.
    if args.dry_run || args.probe {
        return Ok(None);
    }
    let (own, theirs) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .context(|| "make a socket for the secrets".into())?;
    hand_over(&control, &[theirs])
        .map_err(|_| Error::new("what holds the secrets is gone").hint("start the daemon again: sbox restart"))?;
    let mut proxy = Proxy::start(&args.network, args.record.is_some(), Some(&own))?;
    let Some(socket) = proxy.socket.take() else { return Ok(None) };
    let (socket, certificate) = read(socket)?;
    proxy.socket = Some(socket);
    let bundle = PathBuf::from(certificates::OWN_BUNDLE);
    args.files.push((bundle.clone(), roots() + &certificate));
    args.shown.extend(certificates::bundles().into_iter().map(|place| (bundle.clone(), place)));
    Ok(Some(proxy))
}

/// The certificate comes first through the socket that the proxy gets its listening one from.
fn read(socket: OwnedFd) -> Result<(OwnedFd, String)> {
    const END: &str = "-----END CERTIFICATE-----\n";
    let mut text = Vec::new();
    let mut socket = std::fs::File::from(socket);
    let mut space = [0; 4096];
    while !text.ends_with(END.as_bytes()) && (text.len() as u64) < LARGEST {
        match socket.read(&mut space).context(|| "take the certificate of the proxy's authority".into())? {
            // It has said why.
            0 => return Err(Error::reported(125)),
            count => text.extend_from_slice(&space[..count]),
        }
    }
    let text = String::from_utf8(text).map_err(|_| Error::new("the proxy's certificate is not text"))?;
    Ok((socket.into(), text))
}

/// What is trusted beside it: what the host names, where the sandbox could see that, or else the system's.
fn roots() -> String {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let named = named.filter(|path| path.starts_with("/etc/") || path.starts_with("/usr/"));
    let system = certificates::system_bundle().map(Path::new);
    let mut text = String::new();
    for path in named.as_deref().into_iter().chain(system) {
        if let Ok(found) = std::fs::read_to_string(path) {
            text = found;
            break;
        }
    }
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text
}
