//! Other processes, privilege, communication between processes, and the environment.

use crate::{Attempt, Fixtures, Outcome, Tried, looked_at};
use libsbox::sys::attempt;
use libsbox::sys::{self, Fork};
use rustix::process::{Pid, PidfdFlags};
use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};

pub const ATTEMPTS: &[Attempt] = &[
    Attempt {
        class: "processes",
        name: "see-process",
        what: "see a process of the host",
        run: |f| {
            fs::read(format!("/proc/{}/cmdline", f.get("pid")?)).map_err(Outcome::from).and_then(|line| {
                if line.starts_with(b"sleep") {
                    Ok("seen".into())
                } else {
                    Err(Outcome::Refused("it is another".into()))
                }
            })
        },
    },
    Attempt {
        class: "processes",
        name: "process-environment",
        what: "read its environment",
        run: |f| {
            fs::read(format!("/proc/{}/environ", f.get("pid")?))
                .map_err(Outcome::from)
                .and_then(|text| canary(f, &text))
        },
    },
    Attempt {
        class: "processes",
        name: "signal-process",
        what: "signal it",
        run: |f| rustix::process::test_kill_process(pid(f)?).map(|()| "it can be".into()).map_err(Outcome::from),
    },
    Attempt {
        class: "processes",
        name: "trace-process",
        what: "attach to it with ptrace",
        run: |f| attempt::seize(pid(f)?.as_raw_pid()).map(|()| "attached".into()).map_err(Outcome::from),
    },
    Attempt {
        class: "processes",
        name: "pidfd",
        what: "get a handle on it",
        run: |f| rustix::process::pidfd_open(pid(f)?, PidfdFlags::empty()).map(|_| "got".into()).map_err(Outcome::from),
    },
    Attempt {
        class: "processes",
        name: "init-environment",
        what: "read the environment of pid 1",
        run: |f| fs::read("/proc/1/environ").map_err(Outcome::from).and_then(|text| canary(f, &text)),
    },
    Attempt {
        class: "processes",
        name: "init-arguments",
        what: "read the arguments of pid 1",
        run: |_| {
            fs::read("/proc/1/cmdline").map_err(Outcome::from).and_then(|line| {
                if line.iter().any(|byte| *byte != 0) {
                    Ok("read".into())
                } else {
                    Err(Outcome::Refused("it has none".into()))
                }
            })
        },
    },
    Attempt { class: "privilege", name: "capabilities", what: "have a capability, in any set", run: capabilities },
    Attempt {
        class: "privilege",
        name: "new-privileges",
        what: "be able to gain privileges",
        run: |_| {
            status("NoNewPrivs").and_then(|value| {
                if value == "0" { Ok("it can".into()) } else { Err(Outcome::Refused("no_new_privs".into())) }
            })
        },
    },
    Attempt { class: "privilege", name: "kernel-root", what: "be root to the kernel", run: kernel_root },
    Attempt {
        class: "privilege",
        name: "unshare-user",
        what: "make a user namespace with unshare",
        run: |_| in_a_child(attempt::try_unshare_user),
    },
    Attempt { class: "privilege", name: "clone-user", what: "make a user namespace with clone", run: |_| clone_user() },
    Attempt {
        class: "privilege",
        name: "real-time",
        what: "become a real-time process",
        run: |_| attempt::try_real_time().map(|()| "it is one".into()).map_err(Outcome::from),
    },
    Attempt {
        class: "ipc",
        name: "abstract-socket",
        what: "connect to an abstract socket (X11, D-Bus)",
        run: |f| {
            SocketAddr::from_abstract_name(f.get("abstract")?)
                .and_then(|address| UnixStream::connect_addr(&address))
                .map(|_| "connected".into())
                .map_err(Outcome::from)
        },
    },
    Attempt {
        class: "ipc",
        name: "socket-file",
        what: "connect to a socket (SSH agent, container engine)",
        run: |f| UnixStream::connect(f.get("socket")?).map(|_| "connected".into()).map_err(Outcome::from),
    },
    Attempt {
        class: "ipc",
        name: "posix-memory",
        what: "read shared memory of the host",
        run: |f| fs::read(f.get("shm")?).map(|bytes| format!("{} bytes", bytes.len())).map_err(Outcome::from),
    },
    Attempt {
        class: "ipc",
        name: "inject-input",
        what: "put input into the terminal",
        run: |_| looked_at(attempt::try_terminal_request(rustix::stdio::stdin(), 0x5412)),
    },
    Attempt {
        class: "ipc",
        name: "inject-input-wide",
        what: "the same, with a high bit set",
        run: |_| looked_at(attempt::try_terminal_request(rustix::stdio::stdin(), 0x1_0000_5412)),
    },
    Attempt {
        class: "ipc",
        name: "inject-selection",
        what: "paste a console's selection",
        run: |_| looked_at(attempt::try_terminal_request(rustix::stdio::stdin(), 0x541C)),
    },
    Attempt {
        class: "environment",
        name: "token",
        what: "find a token of the caller's environment",
        run: |f| {
            let all: Vec<u8> = std::env::vars_os().flat_map(|(_, value)| value.into_encoded_bytes()).collect();
            canary(f, &all)
        },
    },
    Attempt {
        class: "environment",
        name: "agent-pointer",
        what: "find the way to the SSH agent",
        run: |_| std::env::var("SSH_AUTH_SOCK").map_err(|_| Outcome::Refused("not set".into())),
    },
    Attempt {
        class: "environment",
        name: "host-name",
        what: "learn the host's name",
        run: |f| {
            let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
            if name == f.get("host-name")? { Ok(name) } else { Err(Outcome::Refused(format!("it is '{name}'"))) }
        },
    },
];

fn pid(fixtures: &Fixtures) -> Result<Pid, Outcome> {
    fixtures.get("pid")?.parse().ok().and_then(Pid::from_raw).ok_or(Outcome::Impossible)
}

fn canary(fixtures: &Fixtures, text: &[u8]) -> Tried {
    match memchr::memmem::find(text, fixtures.get("canary")?.as_bytes()) {
        Some(_) => Ok("found".into()),
        None => Err(Outcome::Refused("it is not there".into())),
    }
}

fn status(field: &str) -> Tried {
    let text = fs::read_to_string("/proc/self/status")?;
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    value.map(|value| value.trim().to_owned()).ok_or(Outcome::Impossible)
}

/// Outside of a sandbox an ordinary user has none, but the bounding set says that they could be had.
fn capabilities(_: &Fixtures) -> Tried {
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        let value = status(set)?;
        if value.bytes().any(|byte| byte != b'0') {
            return Ok(format!("{set} is {value}"));
        }
    }
    Err(Outcome::Refused("every set is empty".into()))
}

/// Uid 0 inside, and outside too: the second number of uid_map, in a namespace below the first.
fn kernel_root(_: &Fixtures) -> Tried {
    let map = fs::read_to_string("/proc/self/uid_map")?;
    let outside = map.split_whitespace().nth(1).unwrap_or_default().to_owned();
    match rustix::process::getuid().is_root() && outside == "0" {
        true => Ok("it is".into()),
        false => Err(Outcome::Refused(format!("its uid is {outside}"))),
    }
}

/// What cannot be undone is tried in a process that ends at once.
fn in_a_child(attempt: fn() -> std::io::Result<()>) -> Tried {
    match sys::fork()? {
        Fork::Child => end(attempt().is_ok()),
        Fork::Parent(child) => verdict(child),
    }
}

fn clone_user() -> Tried {
    match sys::fork_into(libc::CLONE_NEWUSER)? {
        Fork::Child => end(true),
        Fork::Parent(child) => verdict(child),
    }
}

#[allow(clippy::exit, reason = "a forked process must not run what its parent is in the middle of")]
fn end(worked: bool) -> ! {
    std::process::exit(if worked { 0 } else { 1 })
}

fn verdict(child: Pid) -> Tried {
    let ended = rustix::process::waitpid(Some(child), rustix::process::WaitOptions::empty())?;
    match ended.and_then(|(_, status)| status.exit_status()) {
        Some(0) => Ok("made".into()),
        _ => Err(Outcome::Refused("operation not permitted".into())),
    }
}
