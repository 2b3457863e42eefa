//! sbox-why: whether a path, a host or a program is there for the agent, by which rule, and what would change it.
//!
//! Nothing is computed for it: paths come from the plan that `sbox-spawn` prints of the project's sandbox, hosts from the
//! rules that `sbox-proxy` has, and its matcher.
#![forbid(unsafe_code)]

mod answer;
mod host;
mod line;
mod path;
mod program;
mod running;
mod weaker;

use answer::Answer;
use lexopt::prelude::*;
use libsbox::built;
use libsbox::cli::{self, Tool};
use libsbox::config::Config;
use libsbox::error::{Error, Result};
use libsbox::model::{Isolation, host_name};
use libsbox::plumbing::sandbox::ProjectSandbox;
use libsbox::plumbing::spawn;
use libsbox::project::Project;
use libsbox::view::View;
use line::Lines;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const TOOL: Tool = Tool { name: "sbox-why", usage: USAGE, runs_a_command: false };
const USAGE: &str = "\
usage: sbox why [-j] [--as KIND] [--in NAME] [--no-host]
                PATH | HOST[:PORT] | PROGRAM
Say whether the agent has a path, a host or a program, by which line of the
configuration or which rule of sbox's own, and which line would change it.

      --as KIND        path, host or program [by its form: a slash or a colon or
                       a dot in it]
      --in NAME        look into the running sandbox of the daemon NAME, too
      --no-host        say nothing of what the host has, for an agent to read
  -j, --json           print JSON
  -h, --help           print this text
  -V, --version        print the version
";

fn main() -> ExitCode {
    TOOL.main(run)
}

/// What is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Path,
    Host,
    Program,
}

/// What every answer is taken from.
pub struct Facts {
    project: Project,
    config: Config,
    lines: Lines,
    /// The level at which it would run.
    level: String,
    /// Nothing of what the host has is said.
    no_host: bool,
}

impl Facts {
    fn sandbox(&self) -> ProjectSandbox<'_> {
        ProjectSandbox::new(&self.project, &self.config)
    }

    fn view(&self) -> Result<View> {
        built::require(&self.project, &self.config)?;
        self.sandbox().plan().map(View::new)
    }
}

fn run(args: &mut lexopt::Parser) -> Result<u8> {
    let (mut as_json, mut no_host, mut kind, mut inside, mut asked) = (false, false, None, None, None::<OsString>);
    while let Some(arg) = args.next()? {
        match arg {
            Short('j') | Long("json") => as_json = true,
            Long("no-host") => no_host = true,
            Long("as") => kind = Some(kind_named(&args.value()?.string()?)?),
            Long("in") => inside = Some(args.value()?.string()?),
            Value(word) if asked.is_none() => asked = Some(word),
            other => return Err(cli::common(other)),
        }
    }
    let asked = asked.filter(|asked| !asked.is_empty());
    let asked = asked.ok_or_else(|| Error::usage("missing PATH, HOST or PROGRAM").hint("sbox why ~/.ssh"))?;
    let project = Project::find()?;
    let config = libsbox::check::load(&project)?;
    let lines = Lines::of(&project)?;
    let level = level(&config);
    let facts = Facts { project, config, lines, level, no_host };
    let mut answer = match kind {
        Some(Kind::Path) => path::answer(&facts, Path::new(&asked))?,
        Some(Kind::Host) => host::answer(&facts, &text(&asked)?)?,
        Some(Kind::Program) => program::answer(&facts, &asked)?,
        None => by_form(&facts, &asked)?,
    };
    if let Some(name) = inside {
        running::look(&facts, &name, &mut answer)?;
    }
    if as_json {
        cli::out_json(&answer)?
    } else {
        cli::out(answer.shown().as_bytes())?
    }
    Ok(u8::from(!answer.yes))
}

/// The level that a run would have here.
fn level(config: &Config) -> String {
    match config.isolation {
        Isolation::Auto => spawn::probe(Isolation::Auto).level,
        named => named.name().to_owned(),
    }
}

fn kind_named(text: &str) -> Result<Kind> {
    match text {
        "path" => Ok(Kind::Path),
        "host" => Ok(Kind::Host),
        "program" => Ok(Kind::Program),
        other => {
            let shown = libsbox::escape::visible(other);
            Err(Error::usage(format!("'{shown}' is not a kind")).hint("--as path, --as host or --as program"))
        }
    }
}

fn text(asked: &OsStr) -> Result<String> {
    let shown = libsbox::escape::visible(&asked.to_string_lossy());
    asked.to_str().map(str::to_owned).ok_or_else(|| Error::usage(format!("'{shown}' is not a host")))
}

/// A slash makes a path; a colon or a dot a host, unless a program has that name; anything else is a program.
fn by_form(facts: &Facts, asked: &OsStr) -> Result<Answer> {
    let text = asked.to_string_lossy();
    if text.contains('/') && !text.contains("://") || matches!(&*text, "." | ".." | "~") {
        return path::answer(facts, Path::new(asked));
    }
    let is_host = text.contains("://")
        || host::split(&text).is_some_and(|(host, port)| {
            port.is_some() || host == "localhost" || host.contains('.') || host.parse::<std::net::IpAddr>().is_ok()
        });
    if !is_host {
        let program = program::answer(facts, asked)?;
        let is_a_file = !program.yes && Path::new(asked).symlink_metadata().is_ok();
        return if is_a_file { path::answer(facts, Path::new(asked)) } else { Ok(program) };
    }
    let could_be_a_program = host_name(&text).is_none_or(|name| name != "localhost") && !text.contains(':');
    if could_be_a_program && built::require(&facts.project, &facts.config).is_ok() {
        let program = program::answer(facts, asked)?;
        // `pip3.12` and `mkfs.ext4` are no hosts.
        if program.yes || host_name(&text).is_none() && text.parse::<std::net::IpAddr>().is_err() {
            return Ok(program);
        }
    }
    host::answer(facts, &text)
}

/// A path as a person writes it, absolute; and whether it is one of the host's.
pub fn absolute(asked: &Path) -> Result<(PathBuf, bool)> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    if let (Ok(rest), Some(home)) = (asked.strip_prefix("~"), home) {
        return Ok((home.join(rest), true));
    }
    let path = std::path::absolute(asked).map_err(|error| {
        Error::new(format!("cannot find the current directory: {}", libsbox::error::reason(&error)))
    })?;
    Ok((path, !asked.is_absolute()))
}
