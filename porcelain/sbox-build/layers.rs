//! The layers that plumbing makes: runtime, files, activation script.

use crate::{Build, install, packages, relocate};
use libsbox::built::Built;
use libsbox::cache;
use libsbox::config::Config;
use libsbox::dir::Dir;
use libsbox::error::{Context, Result};
use libsbox::escape;
use libsbox::fs;
use libsbox::lockfile::{self, Lockfile, RuntimeRecord};
use libsbox::output;
use libsbox::plumbing::envsh;
use libsbox::plumbing::mkenv::{Environment, MadeRuntime};
use libsbox::plumbing::stage::{Sources, Staged, Staging};
use libsbox::progress::Progress;
use libsbox::project::{Project, home};
use rustix::fs::FileType;
use std::path::Path;

/// Whether the environment serves what the configuration asks for.
pub fn runtime_is_current(project: &Project, config: &Config, built: &Built) -> bool {
    let request = cache::request(&config.runtimes, &config.channels, &config.packages);
    let same = built.serves(&config.runtimes, &request, &config.provider);
    let is_directory = std::fs::symlink_metadata(project.env()).is_ok_and(|metadata| metadata.is_dir());
    // The agent can empty its own environment; then its interpreter is gone and the layer has to be made again.
    let programs = config.runtimes.iter().all(|runtime| {
        let name = if runtime.language == libsbox::model::Language::Python { "bin/python3" } else { "bin/node" };
        project.env().join(name).symlink_metadata().is_ok()
    });
    same && is_directory && programs && !is_locked_otherwise(project, config, &request, built)
}

/// Whether `sbox.lock`, which a checkout may have exchanged, names other packages than were built. Only a provider that can
/// give exactly what a lock says is asked to; with any other the next build would not end up anywhere else.
fn is_locked_otherwise(project: &Project, config: &Config, request: &str, built: &Built) -> bool {
    let lock = Lockfile::read(project).filter(|lock| lock.serves(&config.runtimes, request, &config.provider));
    lock.is_some_and(|lock| {
        let exact = lock.runtimes.iter().any(|record| record.provider == "conda" && !record.packages.is_empty());
        exact && lock.runtimes != built.runtimes
    })
}

/// Tells whether a build would do something: exit code 1 if so.
pub fn check(project: &Project, config: &Config) -> Result<u8> {
    let Some(built) = Built::read(project).filter(Built::is_whole) else { return Ok(1) };
    let current = built.is_of(config)
        && built.is_here(project)
        && runtime_is_current(project, config, &built)
        && project.rootfs().is_dir()
        && would_stage(project, config)?.is_empty()
        && install::pending(&project.stage_record(), config, &built)?.is_none();
    Ok(u8::from(!current))
}

/// What a build would copy or remove.
fn would_stage(project: &Project, config: &Config) -> Result<Vec<String>> {
    let (rootfs, record) = (&project.rootfs(), Some(&*project.stage_record()));
    Ok(Staging { project, config, rootfs, record, force: false, dry_run: true }.run()?.changes)
}

/// The runtime layer. An environment that is there is replaced only when the new one is whole.
pub fn runtime(build: &mut Build<'_>) -> Result<bool> {
    let (project, config) = (build.project, build.config);
    if !build.options.force && !build.options.update && runtime_is_current(project, config, &build.built) {
        return Ok(false);
    }
    // Whoever runs in the old one would lose it. Asked before the work is done, and again when it is.
    drop(libsbox::daemon::require_unused(project)?);
    let names: Vec<String> = config.runtimes.iter().map(ToString::to_string).collect();
    output::step(format_args!("Runtime {}", names.join(", ")));
    relocate::unpin(build)?;
    let replaces = project.env().symlink_metadata().is_ok();
    if replaces && build.built.is_whole() {
        build.env = project.env_new();
    } else {
        fs::set_aside(&project.env(), &project.trash())?;
    }
    let lock = project.lock();
    let wanted = Environment {
        config,
        into: &build.env,
        prefix: &project.env(),
        lock: (build.options.locked || lock.is_file()).then_some(&*lock),
        // What a packed sandbox brought for a machine without a network.
        cache_beside: &project.state().join("cache"),
        locked: build.options.locked,
        update: build.options.update,
        offline: build.options.offline,
    };
    let progress = Progress::start("making the runtime");
    let made = wanted.make(&progress);
    drop(progress);
    let made = made?;
    made.runtimes.iter().for_each(say_made);
    let registries = made.registries;
    let records: Vec<RuntimeRecord> = made.runtimes.into_iter().map(|made| made.record).collect();
    packages::print_difference(&build.built.runtimes, &records, build.options.update);
    packages::show_micromamba(project, &records)?;
    if build.options.update
        && records == build.built.runtimes
        && !build.options.force
        && runtime_is_current(project, config, &build.built)
    {
        // The same again: what was installed into it stays.
        fs::set_aside(&project.env_new(), &project.trash())?;
        build.env = project.env();
        return Ok(false);
    }
    build.built.runtimes = records;
    build.built.registries = registries;
    build.built.runtime = names.join(",");
    build.built.prefix = project.env().to_string_lossy().into_owned();
    build.built.version = lockfile::VERSION.into();
    // Whatever was installed went into the old environment.
    build.built.install.clear();
    if build.env == project.env() {
        build.built.built_at.clear();
        build.built.write(project)?;
    }
    Ok(true)
}

fn say_made(made: &MadeRuntime) {
    let from = if made.cached { "from the cache" } else { "built now" };
    let record = &made.record;
    let [spec, version, provider, source] =
        [&record.spec, &record.version, &record.provider, &record.source].map(|text| escape::visible(text));
    output::info(format_args!("{spec} {version} by provider '{provider}', {from}: {source}"));
}

/// The layer of files: `copy`, places for `mount`, and the directories that every sandbox has.
pub fn files(build: &mut Build<'_>) -> Result<bool> {
    let config = build.config;
    if !build.rootfs.is_dir() {
        // What the install commands made there is gone with it.
        build.built.install.clear();
    }
    let progress = (!config.copy.is_empty()).then(|| Progress::spin("copying files"));
    let (rootfs, record) = (&build.rootfs, &build.record);
    let record = Some(&**record);
    let staged =
        Staging { project: build.project, config, rootfs, record, force: build.options.force, dry_run: false }.run();
    drop(progress);
    let Staged { changes, fingerprint } = staged?;
    if build.rootfs != build.project.rootfs() {
        if let Some(old) = Sources::of_readable(&build.project.stage_record()) {
            old.leave_home(build.project, &Sources::of(&build.record)?)?;
        }
        staged_home(build)?;
    }
    build.built.sources = fingerprint;
    if changes.is_empty() {
        return Ok(false);
    }
    output::step(format_args!("Files: {} changed", changes.len()));
    if build.options.verbose {
        changes.iter().for_each(|change| output::line(format_args!("  {change}")));
    }
    Ok(true)
}

/// What was staged below `/home` of a new rootfs goes into the home that there is.
fn staged_home(build: &Build<'_>) -> Result<()> {
    let Ok(staged) = Dir::open(&build.rootfs.join("home")) else { return Ok(()) };
    fs::make_dirs(&build.project.rootfs())?;
    let home = Dir::open(&build.project.rootfs())?.sub_or_make(Path::new("home"))?;
    staged.walk(&mut |dir, entry, place| {
        if entry.kind == FileType::Directory {
            return home.sub_or_make(place).map(drop);
        }
        let target = home.sub_or_make(place.parent().unwrap_or(Path::new("")))?;
        target.remove_tree(&entry.name)?;
        rustix::fs::renameat(dir, &entry.name, &target, &entry.name)
            .context(|| format!("put '{}' in place", escape::visible_path(target.path().join(&entry.name))))
    })
}

/// Sources that a packed project came without: what was copied from them is in the archive, and stays.
pub fn packed_files(project: &Project, config: &Config) -> Vec<String> {
    let gone = config.copy.iter().filter(|entry| !entry.src.exists() && project.was_packed());
    gone.map(|entry| escape::visible_path(&entry.src)).collect()
}

/// `.sbox/env.sh`, for people who source it.
pub fn activation(build: &mut Build<'_>) -> Result<()> {
    let script = envsh::script(build.project, false)?;
    if fs::read_plain(&build.project.env_sh()).is_some_and(|old| old == script) {
        return Ok(());
    }
    fs::write_atomic(&build.project.env_sh(), &script, 0o644)
}

/// What was built again replaces the old.
pub fn put_in_place(build: &Build<'_>) -> Result<()> {
    let project = build.project;
    let places =
        [(&build.env, project.env()), (&build.rootfs, project.rootfs()), (&build.record, project.stage_record())];
    let replaced: Vec<_> = places.into_iter().filter(|(new, place)| *new != place).collect();
    let _unused = if replaced.is_empty() { None } else { Some(libsbox::daemon::require_unused(project)?) };
    for (new, place) in replaced {
        if place == project.rootfs() {
            home::replace_rootfs(project, Some(new))?;
            continue;
        }
        if place != project.stage_record() {
            fs::set_aside(&place, &project.trash())?;
        }
        rename(new, &place)?;
    }
    Ok(())
}

/// Puts what is new in its place.
pub fn rename(new: &Path, place: &Path) -> Result<()> {
    std::fs::rename(new, place).context(|| format!("put '{}' in place", escape::visible_path(place)))
}
