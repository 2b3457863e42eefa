//! sbox-mcp: the project's sandbox as tools of the Model Context Protocol, on stdin and stdout.
//!
//! The client's model is not trusted: it gets what the agent inside has, and the host's files change only when the user
//! agrees. Every tool is a program of ours, started as a person would start it, so that nothing is decided here twice.
#![forbid(unsafe_code)]

mod apply;
mod child;
mod consent;
mod cut;
mod files;
mod jobs;
mod looks;
mod message;
mod open;
mod run;
mod server;
mod session;
mod tools;

use lexopt::prelude::*;
use libsbox::cli::{self, Tool};
use libsbox::error::{Context, Error, Result};
use libsbox::project::Project;
use session::Server;
use std::io::{BufRead, Read};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

const TOOL: Tool = Tool { name: "sbox-mcp", usage: USAGE, runs_a_command: false };
const USAGE: &str = "\
usage: sbox mcp [--in NAME] [--allow-apply] [--timeout SECONDS]
Serve the project's sandbox to a client of the Model Context Protocol, on stdin
and stdout: tools to run commands in it, to read, write and list its files, to
show and apply changes, and to say what is there and why.

      --in NAME          use the running sandbox of the daemon NAME; without it
                         each call has a sandbox of its own
      --allow-apply      apply changes to the host without asking the user
      --timeout SECONDS  end a command that takes longer [600]
  -h, --help             print this text
  -V, --version          print the version
";

/// The longest message. A file that is written comes in one.
const LONGEST: u64 = 8 << 20;

fn main() -> ExitCode {
    TOOL.main(run)
}

/// What the user said when the server was started.
pub struct Options {
    /// The daemon whose sandbox is used.
    pub inside: Option<String>,
    /// Whether changes are applied without a question.
    pub allow_apply: bool,
    /// How long a command may take.
    pub timeout: Duration,
}

fn run(args: &mut lexopt::Parser) -> Result<u8> {
    let mut options = Options { inside: None, allow_apply: false, timeout: Duration::from_secs(600) };
    while let Some(arg) = args.next()? {
        match arg {
            Long("in") => options.inside = Some(args.value()?.string()?),
            Long("allow-apply") => options.allow_apply = true,
            Long("timeout") => options.timeout = Duration::from_secs(args.value()?.parse::<u32>()?.max(1).into()),
            other => return Err(cli::common(other)),
        }
    }
    let project = Project::find()?;
    // What is wrong with it is known before a client asks.
    let config = libsbox::check::load(&project)?;
    libsbox::trust::require(&project, &config)?;
    libsbox::built::require(&project, &config)?;
    let server = Arc::new(Server::new(project, options));
    let mut stdin = std::io::stdin().lock();
    loop {
        let mut line = Vec::new();
        let read = stdin.by_ref().take(LONGEST + 1).read_until(b'\n', &mut line);
        if read.context(|| "read stdin".into())? == 0 {
            break;
        }
        if line.len() as u64 > LONGEST {
            server.refuse(&format!("a message has more than {} MB", LONGEST >> 20))?;
            return Err(Error::new("a message is too long"));
        }
        if !line.trim_ascii().is_empty() {
            server.take(&line)?;
        }
    }
    // The client is gone: nothing goes on for it.
    server.end();
    Ok(0)
}
