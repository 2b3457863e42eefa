//! sbox-attempt: try what an agent must not be able to do, and say what came of it.
//!
//! Run outside of a sandbox it shows that each attempt is a real one; inside, that the sandbox holds. It changes only
//! fixtures that were made for it, and nothing where the boundary is broken.
#![forbid(unsafe_code)]

mod cow;
mod files;
mod kernel;
mod network;
mod processes;

use lexopt::prelude::*;
use libsbox::cli::{self, Tool};
use libsbox::error::{Error, Result};
use serde_json::json;
use std::collections::BTreeMap;
use std::io;
use std::process::ExitCode;

const TOOL: Tool = Tool { name: "sbox-attempt", usage: USAGE, runs_a_command: false };
const USAGE: &str = "\
usage: sbox-attempt [-l] [-c CLASS] [--fixture NAME=VALUE]... [ATTEMPT...]
Try what a sandbox must refuse, each ATTEMPT or all of them, and print the
results, one JSON object a line.

  -c, --class CLASS         files, writes, copy-on-write, processes,
                            privilege, ipc, environment, network or kernel:
                            only those
      --fixture NAME=VALUE  a target to reach: secret, data, work, pid, socket,
                            abstract, port, shm, canary, host-name, tree, seen
                            or layer
  -l, --list                only list them
  -h, --help                print this text
  -V, --version             print the version
";

/// What there is to be reached, by name.
pub struct Fixtures(BTreeMap<String, String>);

impl Fixtures {
    /// A fixture; without it the attempt cannot be made.
    pub fn get(&self, name: &str) -> Result<&str, Outcome> {
        self.0.get(name).map(String::as_str).ok_or(Outcome::Impossible)
    }
}

/// What came of an attempt.
#[derive(Debug)]
pub enum Outcome {
    /// It worked; what was got.
    Reached(String),
    /// It was refused; how.
    Refused(String),
    /// There is nothing here to try it on.
    Impossible,
}

impl From<io::Error> for Outcome {
    fn from(error: io::Error) -> Outcome {
        Outcome::Refused(libsbox::error::reason(&error))
    }
}

impl From<rustix::io::Errno> for Outcome {
    fn from(error: rustix::io::Errno) -> Outcome {
        Outcome::from(io::Error::from(error))
    }
}

/// The end of an attempt that went through.
pub type Tried = Result<String, Outcome>;

/// One attempt.
#[derive(Clone, Copy)]
pub struct Attempt {
    /// What sort of attack it is: a line of the report.
    pub class: &'static str,
    /// By which it is asked for.
    pub name: &'static str,
    /// Completes "it tried to".
    pub what: &'static str,
    /// Tries it.
    pub run: fn(&Fixtures) -> Tried,
}

fn main() -> ExitCode {
    TOOL.main(run)
}

fn run(args: &mut lexopt::Parser) -> Result<u8> {
    let (mut fixtures, mut names, mut class, mut list) = (BTreeMap::new(), Vec::new(), None, false);
    while let Some(arg) = args.next()? {
        match arg {
            Short('c') | Long("class") => class = Some(args.value()?.string()?),
            Long("fixture") => {
                let text = args.value()?.string()?;
                let (name, value) = text.split_once('=').ok_or_else(|| Error::usage("a fixture is NAME=VALUE"))?;
                fixtures.insert(name.to_owned(), value.to_owned());
            }
            Short('l') | Long("list") => list = true,
            Value(name) => names.push(name.string()?),
            other => return Err(cli::common(other)),
        }
    }
    let all = [files::ATTEMPTS, cow::ATTEMPTS, processes::ATTEMPTS, network::ATTEMPTS, kernel::ATTEMPTS].concat();
    if let Some(unknown) = names.iter().find(|name| !all.iter().any(|attempt| attempt.name == name.as_str())) {
        return Err(Error::usage(format!("unknown attempt '{}'", libsbox::escape::visible(unknown))));
    }
    let wanted = |attempt: &&Attempt| {
        (names.is_empty() || names.iter().any(|name| name == attempt.name))
            && class.as_deref().is_none_or(|class| class == attempt.class)
    };
    let fixtures = Fixtures(fixtures);
    for attempt in all.iter().filter(wanted) {
        let (outcome, got) = match list {
            true => ("listed", String::new()),
            false => result((attempt.run)(&fixtures)),
        };
        cli::out_line(json!({
            "class": attempt.class, "name": attempt.name, "what": attempt.what, "outcome": outcome, "got": got,
        }))?;
    }
    Ok(0)
}

fn result(tried: Tried) -> (&'static str, String) {
    match tried {
        Ok(got) | Err(Outcome::Reached(got)) => ("reached", got),
        Err(Outcome::Refused(how)) => ("refused", how),
        Err(Outcome::Impossible) => ("impossible", String::new()),
    }
}

/// A call is refused when the kernel would not even look at its arguments.
pub fn looked_at(result: io::Result<()>) -> Tried {
    match result {
        Ok(()) => Ok("it worked".into()),
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::EPERM | libc::ENOSYS | libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT)
            ) =>
        {
            Err(error.into())
        }
        Err(error) => Ok(format!("the kernel looked at it: {}", libsbox::error::reason(&error))),
    }
}

/// Makes a socket of a family, type and protocol (numbers of linux/socket.h).
pub fn socket(family: u16, kind: u32, protocol: u32) -> Tried {
    use rustix::net::{AddressFamily, Protocol, SocketType};
    let protocol = std::num::NonZeroU32::new(protocol).map(Protocol::from_raw);
    let made = rustix::net::socket(AddressFamily::from_raw(family), SocketType::from_raw(kind), protocol);
    looked_at(made.map(drop).map_err(io::Error::from))
}
