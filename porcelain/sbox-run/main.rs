//! sbox-run: run the project's command in its sandbox, or another one; in front of the user or as a daemon.
#![forbid(unsafe_code)]

mod learn;
mod line;
mod listening;
mod one_off;
mod ready;

use lexopt::prelude::*;
use libsbox::cli::{self, Tool};
use libsbox::config::{Command, Config, Overrides};
use libsbox::daemon;
use libsbox::daemon::Daemon;
use libsbox::error::{Error, Result};
use libsbox::output;
use libsbox::plumbing::sandbox;
use libsbox::project::Project;
use std::ffi::OsString;
use std::process::ExitCode;

const TOOL: Tool = Tool { name: "sbox-run", usage: USAGE, runs_a_command: true };
const USAGE: &str = concat!(
    "\
usage: sbox run [-d [-n NAME] [--wait]] [options] [COMMAND [ARGUMENT...]]
       sbox run --runtime SPEC [--keep] [options] COMMAND [ARGUMENT...]
Run the project's command, or COMMAND, in its sandbox; or, with --runtime, run
COMMAND in a sandbox without a project, which is gone afterwards. A single
COMMAND is run by sh; with ARGUMENTs it is executed directly and gets all
options that follow.

      --runtime SPEC       python:X.Y or node:X; can be given once for each
      --keep               keep the sandbox of --runtime, and say where it is
  -d, --detach             run it as a daemon; return once it has started
  -n, --name NAME          name of the daemon [the project's]
      --wait               return once it is ready, see 'ready' in the
                           configuration
      --learn              say at the end what it missed, as lines for the
                           configuration; --learn=network lets names through
      --write              with --learn: add these lines, after a question

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
    let mut options = Options::default();
    let mut words = Vec::new();
    while let Some(arg) = args.next()? {
        match arg {
            Long("runtime") => options.runtimes.push(args.value()?.string()?),
            Long("keep") => options.keep = true,
            Long("learn") => options.learn = Some(learned(args.optional_value())?),
            Long("write") => options.write = true,
            Long(name) if Overrides::has_option(name) => {
                let name = name.to_owned();
                options.overrides.take(&name, args)?;
            }
            Short('d') | Long("detach") => options.detach = true,
            Short('n') | Long("name") => options.name = Some(args.value()?.string()?),
            Long("wait") => options.wait = true,
            Value(word) => {
                words.push(word);
                words.extend(args.raw_args()?);
            }
            other => return Err(cli::common(other)),
        }
    }
    if options.write && options.learn.is_none() {
        return Err(Error::usage("'--write' belongs to '--learn'"));
    }
    if options.learn.is_some() && !options.runtimes.is_empty() {
        return Err(Error::usage("'--learn' needs a project, whose configuration gets the lines")
            .hint("give '--keep' instead, and then: sbox -C THE-SANDBOX run --learn COMMAND"));
    }
    if options.learn.is_some() && options.detach {
        return Err(Error::usage("'--learn' says at the end of a run what it missed, and a daemon has no end")
            .hint("the same command in the foreground, ended with Ctrl-C: sbox run --learn COMMAND"));
    }
    if !options.runtimes.is_empty() {
        return one_off::run(&options, words);
    }
    if options.keep {
        return Err(Error::usage("'--keep' belongs to '--runtime'").hint("a project's sandbox is kept anyway"));
    }
    if options.detach {
        return detach(options, words);
    }
    if options.name.is_some() || options.wait {
        return Err(Error::usage("'--name' and '--wait' belong to a daemon").hint("sbox run -d --name NAME"));
    }
    if let Some(network) = options.learn {
        let learn = learn::Learn { network, write: options.write };
        return learn::run(learn, &options.overrides, |config| command(words, config));
    }
    sandbox::become_command(&options.overrides, |_, config| command(words, config))
}

/// The value of `--learn`: whether names are let through.
fn learned(value: Option<OsString>) -> Result<bool> {
    match value.as_ref().map(|value| value.to_string_lossy()) {
        None => Ok(false),
        Some(value) if value == "network" => Ok(true),
        Some(value) => {
            let shown = libsbox::escape::visible(&value);
            Err(Error::usage(format!("'{shown}' cannot be learned")).hint("--learn, or --learn=network"))
        }
    }
}

#[derive(Default)]
struct Options {
    /// Without a project.
    runtimes: Vec<String>,
    keep: bool,
    /// Whether names are let through.
    learn: Option<bool>,
    write: bool,
    overrides: Overrides,
    detach: bool,
    name: Option<String>,
    wait: bool,
}

fn detach(options: Options, words: Vec<OsString>) -> Result<u8> {
    let project = Project::find()?;
    let config = libsbox::check::load_with(&project, &options.overrides)?;
    let words = command(words, &config)?;
    let name = match options.name {
        Some(name) => daemon::name::check(&name).map(|()| name)?,
        None => daemon::name::default(&project),
    };
    if options.wait && config.daemon.ready.is_none() {
        return Err(Error::usage("the configuration does not say when a daemon is ready")
            .hint("add, for example: ready: {tcp: 8080}"));
    }
    let signs = options.wait.then(|| ready::Watch::new(&project, &config, &name)).transpose()?.flatten();
    let daemon = Daemon {
        project: &project,
        config: &config,
        name: &name,
        words: &words,
        overrides: &options.overrides,
        host: None,
    };
    let sandbox_asks = options.overrides.asks_about(&config)?;
    let started = daemon.start()?;
    if words.first().is_some_and(|first| first == "/bin/sh") {
        line::require_a_program(&project, &name, started.command)?;
    }
    output::ok(format_args!("Daemon '{name}' started (PID {})", started.pid));
    for (host, inside) in &config.ports {
        output::info(format_args!("port {host} of this machine's loopback leads to its port {inside}"));
    }
    if sandbox_asks {
        output::hint(
            "it asks for names that no rule has: answer in a window with 'sbox ask'; until then it is refused",
        );
    }
    match signs {
        Some(signs) => {
            signs.wait(&started)?;
            output::ok(format_args!("Daemon '{name}' is ready"));
        }
        None => output::hint(format_args!("sbox logs -f {name}    sbox stop {name}")),
    }
    Ok(0)
}

fn shell_line(line: OsString) -> Vec<OsString> {
    vec!["/bin/sh".into(), "-c".into(), line]
}

/// One word is a line for the shell (`sbox run "node server.js"`), several are a program and its arguments.
fn command(mut words: Vec<OsString>, config: &Config) -> Result<Vec<OsString>> {
    match words.len() {
        0 => match &config.cmd {
            Some(Command::Line(text)) => Ok(shell_line(text.into())),
            Some(Command::Words(words)) => Ok(words.iter().map(OsString::from).collect()),
            None => {
                Err(Error::usage("the configuration has no 'cmd'").hint("add one, or name a command: sbox run COMMAND"))
            }
        },
        1 => Ok(shell_line(words.remove(0))),
        _ => Ok(words),
    }
}
