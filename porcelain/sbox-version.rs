//! sbox-version: print the version.
#![forbid(unsafe_code)]

use libsbox::cli::{self, Tool};
use libsbox::error::Result;
use std::process::ExitCode;

const TOOL: Tool = Tool { name: "sbox-version", usage: USAGE, runs_a_command: false };
const USAGE: &str = "\
usage: sbox version
Print the version of sbox.

  -h, --help       print this text
  -V, --version    print the version
";

fn main() -> ExitCode {
    TOOL.main(run)
}

fn run(args: &mut lexopt::Parser) -> Result<u8> {
    cli::no_options(args)?;
    cli::out_line(format_args!("sbox version {}", cli::VERSION))?;
    Ok(0)
}
