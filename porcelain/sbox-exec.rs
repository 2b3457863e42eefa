//! sbox-exec: execute a program of the sandbox with its arguments, as they are.
#![forbid(unsafe_code)]

use lexopt::prelude::*;
use sbox::cli::{self, Tool};
use sbox::confine;
use sbox::error::{Error, Result};
use std::process::ExitCode;

const TOOL: Tool = Tool { name: "sbox-exec", usage: USAGE, runs_a_command: true };
const USAGE: &str = "\
usage: sbox exec [--isolation LEVEL] COMMAND [ARGUMENT...]
Execute COMMAND in the project's sandbox. What stands after COMMAND is its own.

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
            Value(word) => {
                words.push(word);
                words.extend(args.raw_args()?);
            }
            other => return Err(cli::common(other)),
        }
    }
    if words.is_empty() {
        return Err(Error::usage("missing command").hint("sbox exec python -V"));
    }
    confine::become_command(isolation, |_, _| Ok(words))
}
