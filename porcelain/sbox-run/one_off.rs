//! `--runtime`: a sandbox without a project, made of the command line, gone after the run.

use crate::{Options, shell_line};
use libsbox::built::Built;
use libsbox::cache;
use libsbox::check;
use libsbox::config::Config;
use libsbox::error::{Context, Error, Result};
use libsbox::escape;
use libsbox::fs;
use libsbox::one_off::{self, OneOff};
use libsbox::output;
use libsbox::plumbing::cached_env::CachedEnv;
use libsbox::plumbing::stage::Staging;
use libsbox::plumbing::{self, mkenv, sandbox};
use libsbox::progress::Progress;
use libsbox::project::Project;
use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::process::Stdio;

/// Becomes the command; returns only if that failed.
pub fn run(options: &Options, mut words: Vec<OsString>) -> Result<u8> {
    if options.detach || options.name.is_some() || options.wait {
        return Err(Error::usage("a daemon needs a project").hint("sbox init NAME makes one"));
    }
    let words = match words.len() {
        0 => return Err(Error::usage("missing command").hint("sbox run --runtime node:24 node -v")),
        1 => shell_line(words.remove(0)),
        _ => words,
    };
    one_off::sweep();
    let name = options.runtimes.join("-").replace(':', "-");
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    let name: String = name.chars().filter(|c| plain(*c)).take(40).collect();
    let configuration = options.overrides.configuration(&options.runtimes);
    // Held from here on, by what this process becomes, too.
    let (one_off, _lock) = OneOff::new(&name, &configuration, options.keep)?;
    let project = one_off.project();
    let (config, cached) = match prepared(project, options) {
        Ok(prepared) => prepared,
        Err(error) => {
            fs::remove_tree(project.root())?;
            return Err(error);
        }
    };
    let variables = options.overrides.variables();
    if options.keep {
        let shown = escape::shell_word(&escape::visible_path(project.root()));
        output::info(format_args!("the sandbox is kept: sbox -C {shown} run COMMAND"));
        return sandbox::become_kept_command(project, &variables, &words);
    }
    let asks = options.overrides.asks_about(&config)?;
    sandbox::become_last_command(project, (&config, asks), cached.as_ref(), &words)
}

/// What is run, and with which environment of the cache; without one it has its own.
fn prepared(project: &Project, options: &Options) -> Result<(Config, Option<CachedEnv>)> {
    let config = config(project, options)?;
    options.overrides.asks_about(&config)?;
    let cached = if options.keep { None } else { cached_env(project, &config)? };
    if let Some(cached) = cached {
        let rootfs = &project.rootfs();
        Staging { project, config: &config, rootfs, record: None, force: false, dry_run: false }.run()?;
        Built::write_of_one_off(project, cached.registries())?;
        // Whoever looks into it later, for the commits, starts a sandbox without it.
        fs::make_dirs(&project.env())?;
        return Ok((config, Some(cached)));
    }
    build(project, &config).map(|()| (config, None))
}

fn config(project: &Project, options: &Options) -> Result<Config> {
    check::load_with(project, &options.overrides.variables())
        .map_err(|error| Error::usage(error.to_string().replacen("the configuration has", "these options have", 1)))
}

/// The environment of the cache, made there if it is missing; nothing if it has to be copied, which `sbox build` does.
fn cached_env(project: &Project, config: &Config) -> Result<Option<CachedEnv>> {
    let found = match CachedEnv::find(config)? {
        Some(found) => Some(found),
        None => {
            let progress = Progress::start("making the runtime");
            let filled = mkenv::fill_cache(config, &progress);
            drop(progress);
            filled.map_err(|_| Error::reported(125))?;
            CachedEnv::find(config)?
        }
    };
    match found {
        Some(found) if found.prepare(project, config)? => Ok(Some(found)),
        _ => Ok(None),
    }
}

/// What `sbox build` says is of interest where it takes time, and where it fails.
fn build(project: &Project, config: &Config) -> Result<()> {
    let is_cached = config.runtimes.iter().all(|runtime| cache::entries(runtime).is_ok_and(|found| !found.is_empty()));
    let is_shown = std::io::stderr().is_terminal() && !is_cached;
    let mut command = plumbing::program("sbox-build")?;
    command.current_dir(project.root()).stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(if is_shown { Stdio::inherit() } else { Stdio::piped() });
    plumbing::trace(&command);
    let built = plumbing::die_with_parent(&mut command).output().context(|| "start 'sbox-build'".into())?;
    if built.status.success() {
        return Ok(());
    }
    let _ = std::io::stderr().write_all(&built.stderr);
    Err(Error::reported(125))
}
