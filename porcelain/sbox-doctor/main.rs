//! sbox-doctor: what this host gives, found out by trying; and whether the sandbox holds here.
#![forbid(unsafe_code)]

mod checks;
mod fixtures;
mod profile;
mod selftest;

use checks::{Check, State};
use lexopt::prelude::*;
use libsbox::cli::{self, Tool};
use libsbox::error::{Error, Result};
use libsbox::escape;
use libsbox::output;
use libsbox::width;
use serde_json::json;
use std::io::IsTerminal;
use std::process::ExitCode;

const TOOL: Tool = Tool { name: "sbox-doctor", usage: USAGE, runs_a_command: false };
const USAGE: &str = "\
usage: sbox doctor [-j] [--self-test [--isolation LEVEL]] [--apparmor-profile]
Try each thing that sbox needs on this host, and print what is missing and how
to get just that. The exit code is 1 if programs cannot be confined at level
'namespace'.

      --self-test          attack a sandbox on this host and print a line for
                           each class of attacks; exit code 1 if one succeeded
      --isolation LEVEL    auto, namespace, landlock or env [auto]
      --apparmor-profile   print a profile that lets sbox make user namespaces
                           where AppArmor forbids them
  -j, --json               print JSON
  -h, --help               print this text
  -V, --version            print the version
";

fn main() -> ExitCode {
    TOOL.main(run)
}

fn run(args: &mut lexopt::Parser) -> Result<u8> {
    let (mut as_json, mut self_test, mut level, mut print_profile) = (false, false, None, false);
    while let Some(arg) = args.next()? {
        match arg {
            Short('j') | Long("json") => as_json = true,
            Long("self-test") => self_test = true,
            Long("isolation") => level = Some(args.value()?.string()?),
            Long("apparmor-profile") => print_profile = true,
            other => return Err(cli::common(other)),
        }
    }
    if level.is_some() && !self_test {
        return Err(Error::usage("--isolation belongs to --self-test"));
    }
    if print_profile {
        cli::out(profile::text()?.as_bytes())?;
        return Ok(0);
    }
    if self_test {
        return selftest::run(level.as_deref().unwrap_or("auto"), as_json);
    }
    let checks = checks::all()?;
    let confined = checks.iter().any(|check| check.name == "sandbox" && check.state == State::Good);
    if as_json {
        let all: Vec<_> = checks
            .iter()
            .map(|check| json!({"name": check.name, "state": check.state.name(), "found": check.found, "fix": check.fix}))
            .collect();
        cli::out_json(&json!({"confined": confined, "checks": all}))?;
    } else {
        show(&checks)?;
    }
    Ok(u8::from(!confined))
}

fn show(checks: &[Check]) -> Result<()> {
    let colour = output::colour(std::io::stdout().is_terminal());
    for check in checks {
        let (mark, sgr) = match check.state {
            State::Good => ("✓", "32"),
            State::Weaker => ("•", "33"),
            State::Missing => ("✗", "31"),
        };
        // The fix is a command, which people copy: it stays in one piece.
        let found = escape::visible(&check.found);
        let found = width::of_stdout().map_or(found.clone(), |columns| width::wrapped(&found, 21, columns));
        cli::out_line(format_args!("{} {:<18} {found}", output::paint(colour, sgr, mark), check.name))?;
        if let Some(fix) = &check.fix {
            cli::out_line(format_args!("  {:<18} → {}", "", escape::visible(fix)))?;
        }
    }
    Ok(())
}
