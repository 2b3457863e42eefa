//! sbox-envsh: the environment of a project's programs. Computed in [`libsbox::environment`].
#![forbid(unsafe_code)]

mod script;

use lexopt::prelude::*;
use libsbox::cli::{self, Tool};
use libsbox::environment::{self, Host, Unset, Variables};
use libsbox::error::{Error, Result};
use libsbox::project::Project;
use std::ffi::OsStr;
use std::process::ExitCode;

const TOOL: Tool = Tool { name: "sbox-envsh", usage: USAGE, runs_a_command: false };
const USAGE: &str = "\
usage: sbox-envsh [-q] [--format FORMAT] [--isolation LEVEL]
Print the environment of the project's programs.

      --format FORMAT     sh, fish, json or null: a script for POSIX shells or
                          for fish, to be sourced on the host; JSON; or
                          NAME=VALUE, each followed by NUL [sh]
      --isolation LEVEL   namespace, landlock, env or none: what SBOX_ISOLATION
                          says [none in scripts, or else namespace]
  -q, --quiet             do not warn about variables that the host lacks
  -h, --help              print this text
  -V, --version           print the version
";

fn main() -> ExitCode {
    TOOL.main(run)
}

#[derive(Clone, Copy)]
enum Format {
    Sh,
    Fish,
    Json,
    Null,
}

fn run(args: &mut lexopt::Parser) -> Result<u8> {
    let (mut format, mut level, mut quiet) = (Format::Sh, None, false);
    while let Some(arg) = args.next()? {
        match arg {
            Long("format") => format = parse_format(&args.value()?)?,
            Short('q') | Long("quiet") => quiet = true,
            Long("isolation") => level = Some(args.value()?.string()?),
            other => return Err(cli::common(other)),
        }
    }
    let project = Project::find()?;
    let config = libsbox::check::load(&project)?;
    let is_script = matches!(format, Format::Sh | Format::Fish);
    let level = match level.as_deref() {
        // Who sources a script is on the host, and not confined.
        None if is_script => "none",
        None | Some("auto") => "namespace",
        Some(level) => level,
    };
    let project = match is_script {
        // To be sourced on the host, where things are where they are.
        true => project,
        false => libsbox::built::Built::seen_from_inside(&project),
    };
    match format {
        Format::Sh => cli::out(script::sh(&project, &config, level).as_bytes())?,
        Format::Fish => cli::out(script::fish(&project, &config, level).as_bytes())?,
        Format::Json | Format::Null => {
            let (variables, unset) = environment::of_sandbox(&project, &config, level, &Host::own())?;
            if !quiet {
                unset.iter().for_each(Unset::warn);
            }
            match format {
                Format::Json => cli::out_json(&json(&variables))?,
                _ => cli::out(&environment::null_terminated(&variables))?,
            }
        }
    }
    Ok(0)
}

fn parse_format(name: &OsStr) -> Result<Format> {
    match name.to_str() {
        Some("sh") => Ok(Format::Sh),
        Some("fish") => Ok(Format::Fish),
        Some("json") => Ok(Format::Json),
        Some("null") => Ok(Format::Null),
        _ => Err(Error::usage(format!("unknown format '{}'", name.to_string_lossy())).hint("sh, fish, json or null")),
    }
}

fn json(variables: &Variables) -> serde_json::Map<String, serde_json::Value> {
    variables.iter().map(|(name, value)| (name.clone(), value.to_string_lossy().into_owned().into())).collect()
}
