//! sbox-run: run the project's command in its sandbox, or another one.
#![forbid(unsafe_code)]

use lexopt::prelude::*;
use sbox::cli::{self, Tool};
use sbox::config::{Command, Config};
use sbox::confine;
use sbox::error::{Error, Result};
use std::ffi::OsString;
use std::process::ExitCode;

const TOOL: Tool = Tool { name: "sbox-run", usage: USAGE, runs_a_command: true };
const USAGE: &str = "\
usage: sbox run [--isolation LEVEL] [COMMAND [ARGUMENT...]]
Run the project's command in its sandbox. A COMMAND of one word is a line for sh; with ARGUMENTs it is executed as it
is, and what stands after it is its own.

      --isolation LEVEL    namespace, landlock, env or auto [the configuration's]
  -h, --help               print this text
  -V, --version            print the version
";

fn main() -> ExitCode {
    TOOL.main(run)
}

fn run(args: &mut lexopt::Parser) -> Result<u8> {
    let (mut isolation, mut words) = (None, Vec::new());
    while let Some(arg) = args.next()? {
        match arg {
            Long("isolation") => isolation = Some(args.value()?.string()?),
            Short('d' | 'n') | Long("detach" | "name") => {
                return Err(Error::usage("daemons are not in this version")
                    .hint("run it in the foreground, under your own supervisor"));
            }
            Value(word) => {
                words.push(word);
                words.extend(args.raw_args()?);
            }
            other => return Err(cli::common(other)),
        }
    }
    confine::become_command(isolation, |_, config| command(words, config))
}

/// One word is a line for the shell (`sbox run "node server.js"`), several are a program and its arguments.
fn command(mut words: Vec<OsString>, config: &Config) -> Result<Vec<OsString>> {
    let line = |line: OsString| vec!["/bin/sh".into(), "-c".into(), line];
    match words.len() {
        0 => match &config.cmd {
            Some(Command::Line(text)) => Ok(line(text.into())),
            Some(Command::Words(words)) => Ok(words.iter().map(OsString::from).collect()),
            None => {
                Err(Error::usage("the configuration has no 'cmd'").hint("add one, or name a command: sbox run COMMAND"))
            }
        },
        1 => Ok(line(words.remove(0))),
        _ => Ok(words),
    }
}
