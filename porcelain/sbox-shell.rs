//! sbox-shell: an interactive shell in the sandbox.
#![forbid(unsafe_code)]

use lexopt::prelude::*;
use libsbox::cli::{self, Tool};
use libsbox::config::Overrides;
use libsbox::error::Result;
use libsbox::plumbing::sandbox;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

const TOOL: Tool = Tool { name: "sbox-shell", usage: USAGE, runs_a_command: true };
const USAGE: &str = concat!(
    "\
usage: sbox shell [options]
Start a shell in the project's sandbox: $SHELL if the sandbox has it, or else
bash or sh.

",
    libsbox::options_for_one_run!(),
    "
  -h, --help               print this text
  -V, --version            print the version
"
);

fn main() -> ExitCode {
    TOOL.main(run)
}

fn run(args: &mut lexopt::Parser) -> Result<u8> {
    let mut overrides = Overrides::default();
    while let Some(arg) = args.next()? {
        match arg {
            Long(name) if Overrides::has_option(name) => {
                let name = name.to_owned();
                overrides.take(&name, args)?;
            }
            other => return Err(cli::common(other)),
        }
    }
    sandbox::become_command(&overrides, |project, _| {
        let shell = shell();
        // A prompt that says where one is; the shell's own files in the sandbox's home may change it.
        let prompt = format!("PS1=(sbox {}) \\w \\$ ", libsbox::escape::visible(&project.name()));
        let variable = format!("SHELL={}", shell.to_string_lossy());
        Ok(vec!["/usr/bin/env".into(), prompt.into(), variable.into(), shell])
    })
}

/// The user's shell, if it is one of the system's: those are visible inside.
fn shell() -> OsString {
    let own = std::env::var_os("SHELL").filter(|shell| {
        let path = Path::new(shell);
        (path.starts_with("/usr") || path.starts_with("/bin")) && path.is_file()
    });
    let other = || if Path::new("/bin/bash").is_file() { "/bin/bash" } else { "/bin/sh" };
    own.unwrap_or_else(|| other().into())
}
