//! sbox-build: make the sandbox, layer by layer; skip what did not change.
//!
//! Layers: runtime, files, install commands, env.sh. The lock gets a layer's record when the layer is done, so that a
//! build that was killed is taken up where it stopped. While an environment is replaced, the old one stays in place until
//! the new one is whole.
#![forbid(unsafe_code)]

mod install;
mod layers;
mod packages;
mod relocate;

use lexopt::prelude::*;
use libsbox::built::Built;
use libsbox::check;
use libsbox::cli::{self, Tool};
use libsbox::config::{self, Config};
use libsbox::error::{Context, Error, Result};
use libsbox::escape;
use libsbox::fs;
use libsbox::lockfile;
use libsbox::output;
use libsbox::project::{Project, home};
use libsbox::time;
use libsbox::trust;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

const TOOL: Tool = Tool { name: "sbox-build", usage: USAGE, runs_a_command: false };
const USAGE: &str = "\
usage: sbox build [-f] [-v] [-n] [--locked | --update] [--offline]
         [--config FILE]
Build the project's sandbox: runtime, files, install commands.

      --locked        use exactly the versions in sbox.lock, or fail
      --update        look for newer versions, and print what changed
      --offline       do not use the network, only caches
      --config FILE   use FILE, which becomes the configuration if all goes well
  -f, --force         rebuild everything from scratch
  -v, --verbose       show the output of install commands and each copied file
  -n, --check         build nothing; exit code 1 if there is something to do
  -h, --help          print this text
  -V, --version       print the version
";

fn main() -> ExitCode {
    TOOL.main(run)
}

/// What was asked for on the command line.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    force: bool,
    verbose: bool,
    check: bool,
    locked: bool,
    update: bool,
    offline: bool,
}

/// Everything the layers work on.
pub struct Build<'a> {
    project: &'a Project,
    config: &'a Config,
    options: Options,
    /// What was built before; layers overwrite their part of it.
    built: Built,
    /// The environment that is worked on: the project's, or the one that will take its place.
    env: PathBuf,
    /// The root file system that is worked on, likewise, and its record.
    rootfs: PathBuf,
    record: PathBuf,
}

fn run(args: &mut lexopt::Parser) -> Result<u8> {
    let (mut options, mut file) = (Options::default(), None);
    while let Some(arg) = args.next()? {
        match arg {
            Short('f') | Long("force") => options.force = true,
            Short('v') | Long("verbose") => options.verbose = true,
            Short('n') | Long("check") => options.check = true,
            Long("locked") => options.locked = true,
            Long("update") => options.update = true,
            Long("offline") => options.offline = true,
            Long("config") => file = Some(PathBuf::from(args.value()?)),
            other => return Err(cli::common(other)),
        }
    }
    if options.locked && options.update {
        return Err(cli::exclusive("'--locked' and '--update'"));
    }
    let project = Project::find()?;
    let config = validated(&project, file.as_deref())?;
    if options.check {
        return layers::check(&project, &config);
    }
    let _lock =
        fs::Lock::exclusive(&project.build_lock(), || output::info("waiting for another build of this project"))?;
    trust::require(&project, &config)?;
    if !fs::runs_programs(project.root()) {
        let root = escape::visible_path(project.root());
        return Err(Error::new(format!("cannot build in '{root}': the file system is mounted noexec"))
            .hint("no program of the environment could start there: move the project to another file system"));
    }
    let begun = Instant::now();
    let changed = build(&project, &config, options)?;
    if let Some(file) = &file {
        std::fs::rename(file, project.config()).context(|| format!("put '{}' in place", escape::visible_path(file)))?;
    }
    fs::empty_trash(&project.trash());
    let seconds = begun.elapsed().as_secs_f64();
    match changed {
        true => output::ok(format_args!("Built '{}' in {seconds:.1}s", escape::visible(&project.name()))),
        false => output::ok(format_args!("'{}' is up to date", escape::visible(&project.name()))),
    }
    if config.cmd.is_some() {
        output::hint("sbox run");
    }
    Ok(0)
}

/// The configuration, if nothing is wrong with it; what is, is printed as `sbox validate` does.
fn validated(project: &Project, file: Option<&Path>) -> Result<Config> {
    let text = match file {
        Some(file) => std::fs::read_to_string(file).context(|| format!("read '{}'", escape::visible_path(file)))?,
        None => config::read(project)?,
    };
    let report = check::check(&text, project.root());
    let errors = report.errors().count();
    report.print(false);
    match report.config {
        Some(config) if errors == 0 => Ok(config),
        _ => Err(Error::new("the configuration has errors; nothing was built")
            .hint("fix .sbox/config.yaml, then: sbox build")),
    }
}

/// Brings every layer up to date. Tells whether anything had to be done.
fn build(project: &Project, config: &Config, options: Options) -> Result<bool> {
    let built = Built::read(project).filter(|built| built.version == lockfile::VERSION).unwrap_or_default();
    let (env, rootfs, record) = (project.env(), project.rootfs(), project.stage_record());
    let mut build = Build { project, config, options, built, env, rootfs, record };
    let old = build.built.clone();
    home::restore(project)?;
    // The record of a new rootfs goes before it does: what is left of a build that was killed is never one of nothing.
    if !project.rootfs_new().exists() && project.stage_record_new().exists() {
        // The rootfs is in place, and its record was about to be.
        layers::rename(&project.stage_record_new(), &project.stage_record())?;
    }
    for leftover in [project.env_new(), project.stage_record_new(), project.rootfs_new()] {
        fs::set_aside(&leftover, &project.trash())?;
    }
    // Of what was killed while it made the environment.
    for (path, suffix) in [(project.env(), "move"), (project.env_new(), "move"), (project.env_new(), "lock")] {
        fs::sweep_beside(&path, suffix);
    }
    fs::reopen(&project.env())?;
    fs::reopen(&project.rootfs())?;
    let mut changed = options.force;
    changed |= relocate::moved(&mut build)?;
    let packed = layers::packed_files(project, config);
    if let (true, [first, ..]) = (options.force, packed.as_slice()) {
        // The archive has what was copied, and nothing else has it.
        output::info(format_args!("'{first}' is not here: the files in the archive stay as they are"));
    } else if options.force && build.built.is_whole() {
        // Files that the agent or the install commands made go too: this is the way back to a known state. But not
        // before there is another one.
        (build.rootfs, build.record) = (project.rootfs_new(), project.stage_record_new());
    } else if options.force {
        home::replace_rootfs(project, None)?;
        fs::set_aside(&build.record, &project.trash())?;
    }
    changed |= layers::runtime(&mut build)?;
    changed |= layers::files(&mut build)?;
    changed |= install::commands(&mut build)?;
    layers::activation(&mut build)?;
    build.built.record(config);
    // An edit of what is read at each start is recorded, and is not a build.
    let Built { config_hash, inputs, sources, .. } = build.built.clone();
    changed |= !old.is_of(config) || build.built != Built { config_hash, inputs, sources, ..old.clone() };
    if changed {
        build.built.built_at = time::rfc3339(time::now());
        layers::put_in_place(&build)?;
        build.built.write(project)?;
    } else if build.built != old || !project.built().is_file() {
        // Also what version 0.1.0 had in the lock, before the lock is written without it.
        build.built.write(project)?;
    }
    build.built.lock().write(project)?;
    Ok(changed)
}
