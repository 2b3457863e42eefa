//! A network of the sandbox's own, and what leads out of it and into it.
//!
//! The sandbox has a loopback interface and no route. Where names are allowed, pid 1 makes a listening socket on it and
//! hands that to `sbox-proxy`, which runs on the host's side: a socket stays one of the network that it was made in, so
//! that the proxy accepts in there and dials out here. Ports are the other way round: the monitor listens on the host's
//! loopback, and `sbox-forward` enters the sandbox's network with those sockets. What the sandbox reaches of the host's
//! loopback is handed out as the proxy's socket is.

use crate::args::{Mode, Network};
use libsbox::error::{Context, Result};
use libsbox::model::PROXY_PORT;
use libsbox::plumbing::forward::{self, SandboxNetwork};
use libsbox::plumbing::{self, inherit};
use libsbox::sys;
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::net::{AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType};
use rustix::pipe::PipeFlags;
use rustix::process::Pid;
use std::ffi::{OsStr, OsString};
use std::io::IsTerminal;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// What the proxy is called where it is missed.
const PROXY: &str = "the proxy of its network";

/// What runs on the host's side, before the sandbox is made.
pub struct Outside {
    /// The proxy's end of a socket: pid 1 sends the listening socket through it.
    to_proxy: Option<OwnedFd>,
    /// The end of a socket of what leads to the host's loopback, and the ports inside.
    to_reach: Option<(OwnedFd, Vec<u16>)>,
    ports: Vec<(TcpListener, u16)>,
    /// They die with the monitor, however it dies; where it ends in good order, they are ended before.
    helpers: Vec<(&'static str, Child)>,
    /// What was asked of the proxy comes from here.
    pub requests: Option<OwnedFd>,
    /// Who asks about names. Without it they are refused, and that is all.
    asker: Option<Child>,
}

/// The proxy, on its own until it belongs to a sandbox.
#[derive(Default)]
pub struct Proxy {
    child: Option<Child>,
    /// Where it gets its listening socket.
    pub socket: Option<OwnedFd>,
    requests: Option<OwnedFd>,
    asker: Option<Child>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        for child in self.child.iter_mut().chain(&mut self.asker) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Proxy {
    /// Starts it. `secrets`: where it gets the values of secrets.
    pub fn start(network: &Network, is_recorded: bool, secrets: Option<&OwnedFd>) -> Result<Proxy> {
        let flags = SocketFlags::CLOEXEC;
        let (own, theirs) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .context(|| "make a socket for the proxy".into())?;
        inherit(theirs.as_fd())?;
        let mut command = plumbing::program("sbox-proxy")?;
        command.arg("--receive").arg(theirs.as_raw_fd().to_string());
        for (option, rules) in [("--allow", &network.allow), ("--deny", &network.deny)] {
            command.args(rules.iter().flat_map(|rule| [option, rule]));
        }
        if let Some((option, log)) = &network.log {
            command.arg(option).arg(log);
        }
        if network.any_name {
            command.arg("--any");
        }
        let asker = network.ask.as_deref().map(start_asker).transpose()?;
        if let Some((_, line)) = &asker {
            inherit(line.as_fd())?;
            command.arg("--ask-fd").arg(line.as_raw_fd().to_string());
        }
        if let Some(secrets) = secrets {
            inherit(secrets.as_fd())?;
            command.arg("--secrets-fd").arg(secrets.as_raw_fd().to_string());
        }
        // The record has it, and a person reads at the end what was refused.
        let is_read = is_recorded || std::io::stderr().is_terminal();
        let pipe = is_read.then(|| rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK));
        let pipe = pipe.transpose().context(|| "make a pipe".into())?;
        if let Some((_, write)) = &pipe {
            inherit(write.as_fd())?;
            command.arg("--request-fd").arg(write.as_raw_fd().to_string());
        }
        let child = Some(start(command)?);
        let (requests, asker) = (pipe.map(|(read, _)| read), asker.map(|(asker, _)| asker));
        Ok(Proxy { child, socket: Some(own), requests, asker })
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        for helper in self.helpers.iter_mut().map(|(_, helper)| helper).chain(&mut self.asker) {
            let _ = helper.kill();
            let _ = helper.wait();
        }
    }
}

impl Outside {
    /// Starts the proxy and takes the ports.
    pub fn prepare(network: &Network, is_recorded: bool, proxy: Option<Proxy>) -> Result<Outside> {
        let listen = |(host, inside): &(u16, u16)| {
            let listener = TcpListener::bind(("127.0.0.1", *host));
            Ok((listener.context(|| format!("listen on port {host} of the host's loopback"))?, *inside))
        };
        let ports = network.ports.iter().map(listen).collect::<Result<Vec<_>>>()?;
        let mut outside =
            Outside { to_proxy: None, to_reach: None, ports, helpers: Vec::new(), requests: None, asker: None };
        if network.mode == Mode::Proxy {
            let mut proxy = proxy.map_or_else(|| Proxy::start(network, is_recorded, None), Ok)?;
            outside.helpers.extend(proxy.child.take().map(|child| (PROXY, child)));
            (outside.to_proxy, outside.requests) = (proxy.socket.take(), proxy.requests.take());
            outside.asker = proxy.asker.take();
        }
        if !network.reach.is_empty() {
            outside.start_reach(&network.reach)?;
        }
        Ok(outside)
    }

    /// What leads from ports inside to the host's loopback.
    fn start_reach(&mut self, reach: &[(u16, u16)]) -> Result<()> {
        let (own, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
                .context(|| "make a socket".into())?;
        let command = forward::out_of_sandbox(theirs.as_fd(), reach.iter().map(|(host, _)| *host))?;
        self.helpers.push(("what leads out to ports of the host", start(command)?));
        self.to_reach = Some((own, reach.iter().map(|(_, inside)| *inside).collect()));
        Ok(())
    }

    /// Why the sandbox cannot go on, once what leads out of its network or into it has ended.
    pub fn lost(&mut self) -> Option<String> {
        let mut why = None;
        for (what, helper) in &mut self.helpers {
            if let Ok(Some(status)) = helper.try_wait() {
                let told = libsbox::status::told_of(status);
                why = why.or(Some(format!("{what} {told}")));
            }
        }
        why
    }

    /// Lets the proxy say its last word, and end.
    pub fn end_proxy(&self) {
        if let Some((_, proxy)) = self.helpers.iter().find(|(name, _)| *name == PROXY)
            && let Some(pid) = Pid::from_raw(proxy.id() as i32)
        {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
    }

    /// In pid 1, in the sandbox's network: brings up loopback, and sends the proxy its listening socket.
    pub fn open(&self) -> Result<()> {
        let socket = sys::interface_socket().context(|| "bring up the loopback interface".into())?;
        sys::interface_up(socket.as_fd(), c"lo").context(|| "bring up the loopback interface".into())?;
        if let Some((to_reach, ports)) = &self.to_reach {
            let listen = |port: &u16| {
                let listener = TcpListener::bind(("127.0.0.1", *port));
                listener.context(|| format!("listen on port {port} of the sandbox's loopback"))
            };
            hand_over(to_reach, &ports.iter().map(listen).collect::<Result<Vec<_>>>()?)?;
        }
        let Some(to_proxy) = &self.to_proxy else { return Ok(()) };
        let listener = TcpListener::bind(("127.0.0.1", PROXY_PORT)).context(|| "listen for the proxy".into())?;
        hand_over(to_proxy, &[listener])
    }

    /// The namespaces of pid 1, where ports lead into them. While it waits for the monitor: later it lets nobody look.
    pub fn ways_in(&self, init: Pid) -> Result<Option<SandboxNetwork>> {
        (!self.ports.is_empty()).then(|| SandboxNetwork::of(init.as_raw_pid())).transpose()
    }

    /// Once the sandbox is ready: leads the ports into it.
    pub fn lead_in(&mut self, sandbox: &SandboxNetwork) -> Result<()> {
        let listeners = self.ports.iter().map(|(listener, port)| (listener.as_fd(), *port));
        let command = forward::into_sandbox(sandbox, listeners)?;
        self.helpers.push(("what leads ports into its network", start(command)?));
        // The other process has them; a client must see them close when that one ends.
        self.ports.clear();
        Ok(())
    }
}

/// Sends sockets to a helper on the host's side.
pub fn hand_over(to: &OwnedFd, sockets: &[impl AsFd]) -> Result<()> {
    let fds: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(libsbox::model::MOST_REACHED))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&fds));
    let data = [rustix::io::IoSlice::new(b"!")];
    let shown = || String::from("hand a socket over");
    rustix::net::sendmsg(to, &data, &mut ancillary, SendFlags::NOSIGNAL).context(shown).map(drop)
}

/// Starts who asks about names, and gives the proxy's end of the line to it. It stays in this process group: who is not in
/// front may not read from a terminal.
fn start_asker(project: &Path) -> Result<(Child, OwnedFd)> {
    let (ours, theirs) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .context(|| "make a socket".into())?;
    inherit(theirs.as_fd())?;
    let mut command = plumbing::program("sbox-ask")?;
    command.arg("--serve").arg(theirs.as_raw_fd().to_string()).current_dir(project);
    plumbing::trace(&command);
    plumbing::die_with_parent(&mut command).stdin(Stdio::null()).stdout(Stdio::null());
    Ok((command.spawn().context(|| "start 'sbox-ask'".into())?, ours))
}

/// Starts a helper: away from the terminal's keys, and never for longer than this process lives.
fn start(mut command: Command) -> Result<Child> {
    plumbing::trace(&command);
    let name = libsbox::escape::visible_path(command.get_program());
    plumbing::die_with_parent(&mut command).stdin(Stdio::null()).stdout(Stdio::null()).process_group(0);
    command.spawn().context(|| format!("start '{name}'"))
}

/// Tells programs inside where the proxy is, in the words of curl(1), which most others understand; and Node.js 22.21 and
/// later to use it.
pub fn name_proxy(network: &Network, hostname: &str, environment: &mut Vec<(OsString, OsString)>) {
    if network.mode != Mode::Proxy {
        return;
    }
    let url = format!("http://127.0.0.1:{PROXY_PORT}");
    // What is inside is reached without the proxy, under any of its names: servers say that they listen on 0.0.0.0, and
    // programs ask for this host by its name. curl and Python take a suffix with and without a dot, others only one.
    let local = format!("localhost,.localhost,127.0.0.1,::1,0.0.0.0,{hostname}");
    let both = |name: &str, value: &str| [(name.to_owned(), value.to_owned()), (name.to_uppercase(), value.to_owned())];
    let mut all = vec![("NODE_USE_ENV_PROXY".to_owned(), "1".to_owned())];
    for (name, value) in [("http_proxy", &*url), ("https_proxy", &*url), ("all_proxy", &*url), ("no_proxy", &local)] {
        all.extend(both(name, value));
    }
    for (name, value) in all {
        crate::environment::set(environment, OsStr::new(&name), value.into());
    }
}
