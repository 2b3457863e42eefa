//! sbox-ask: ask a person about names that the network's rules do not have.
//!
//! A run with `--ask` starts it with `--serve`. It asks on the run's terminal, if that is the kind of terminal on which a line
//! can be asked: ours in front, and nobody in full screen. While it asks, the sandbox is stopped, so that nothing in it can
//! paint over the question or read the answer. `sbox ask` in another window answers for all runs of the project, and is the
//! way for programs that have the whole screen.
#![forbid(unsafe_code)]

mod freeze;
mod queue;
mod serve;
mod terminal;
mod watch;

use lexopt::prelude::*;
use libsbox::cli::{self, Tool};
use libsbox::error::Result;
use libsbox::project::Project;
use std::process::ExitCode;

const TOOL: Tool = Tool { name: "sbox-ask", usage: USAGE, runs_a_command: false };
const USAGE: &str = "\
usage: sbox ask
Answer in this window what runs of the project ask that were started with
--ask: whether the sandbox may reach a name that no rule has.

      --serve N        ask for one run, whose proxy is at descriptor N
  -h, --help           print this text
  -V, --version        print the version
";

fn main() -> ExitCode {
    TOOL.main(run)
}

fn run(args: &mut lexopt::Parser) -> Result<u8> {
    let mut serve = None;
    while let Some(arg) = args.next()? {
        match arg {
            Long("serve") => serve = Some(args.value()?.parse::<i32>()?),
            other => return Err(cli::common(other)),
        }
    }
    let project = Project::find()?;
    match serve {
        Some(fd) => serve::run(&project, fd),
        None => watch::run(&project),
    }
}

/// What a person says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// For this connection.
    Once,
    /// For the rest of the run.
    Run,
    /// From now on.
    Always,
    /// Not in this run.
    No,
}

impl Word {
    /// Reads an answer: the first letter counts, and whatever else it is, is a no.
    pub fn read(text: &str) -> Word {
        match text.trim().to_ascii_lowercase().as_str() {
            "o" | "once" => Word::Once,
            "r" | "run" => Word::Run,
            "a" | "always" => Word::Always,
            _ => Word::No,
        }
    }

    /// As it stands in an answer.
    pub fn name(self) -> &'static str {
        match self {
            Word::Once => "once",
            Word::Run => "run",
            Word::Always => "always",
            Word::No => "no",
        }
    }
}

/// Whether the project has a configuration when its run has ended: a one-off run's goes with it.
pub fn can_keep(project: &Project) -> bool {
    project.one_off_mark().symlink_metadata().is_err()
}

/// A name and a port as an entry of `allow`.
pub fn entry(host: &str, port: u16) -> String {
    match libsbox::model::DEFAULT_PORTS.contains(&port) {
        true => host.to_owned(),
        false => format!("{host}:{port}"),
    }
}

/// The question. `of` is the daemon that asks, and `can_keep` whether there is a configuration afterwards.
pub fn question(host: &str, port: u16, of: Option<&str>, can_keep: bool) -> String {
    use libsbox::escape::visible;
    let who = of.map_or_else(|| "the sandbox".into(), |name| format!("the daemon '{}'", visible(name)));
    let always = if can_keep { ", (a)lways: adds it to .sbox/config.yaml" } else { "" };
    let name = visible(&entry(host, port));
    format!("{who} asks for '{name}', which no rule allows\n  (o)nce, this (r)un{always}, or (n)o [no]: ")
}
