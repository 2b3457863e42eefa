//! A project that moved: its files name the old place.

use crate::Build;
use libsbox::error::Result;
use libsbox::escape::visible_path;
use libsbox::output;
use libsbox::plumbing::relocate::{Moved, Relocation};
use libsbox::{daemon, fs};
use std::path::{Path, PathBuf};

/// Makes what was built elsewhere work here, by the same rules as `sbox unpack`. An environment that cannot move keeps its
/// old path inside the sandbox.
pub fn moved(build: &mut Build<'_>) -> Result<bool> {
    let project = build.project;
    if !build.built.prefix.is_empty() && build.built.written_root().is_none() {
        // No project can have been there: nothing that the record says is of use.
        build.built = libsbox::built::Built::default();
        fs::set_aside(&project.env(), &project.trash())?;
    }
    let Some(from) = from(build) else { return Ok(false) };
    let _unused = daemon::require_unused(project)?;
    output::step(format_args!("The project moved: from '{}'", visible_path(&from)));
    if build.options.force || !build.built.is_whole() {
        // The environment is made again; what the agent has stays.
        data(build, &from)?;
        return Ok(true);
    }
    let relocation = Relocation { project, from: &from, dry_run: false, data_only: false, only: None };
    let moved = relocation.run()?;
    build.built.pinned_prefix = !moved.unrelocatable.is_empty();
    let root = if build.built.pinned_prefix { from.as_path() } else { project.root() };
    build.built.prefix = root.join(".sbox/env").to_string_lossy().into_owned();
    build.built.pinned_at =
        if build.built.pinned_prefix { project.root().to_string_lossy().into_owned() } else { String::new() };
    say(build, &moved, &from);
    // At once: what comes next runs in it.
    build.built.write(project)?;
    relocation.forget();
    Ok(true)
}

/// The root whose paths are written in the files, if it is not the project's and something of it is to be moved.
fn from(build: &Build<'_>) -> Option<PathBuf> {
    let (built, project) = (&build.built, build.project);
    let tried = built.pinned_prefix && Path::new(&built.pinned_at) == project.root();
    let from = built.written_root().filter(|from| from != project.root())?;
    (!tried || build.options.force).then_some(from)
}

/// What an environment at another prefix needs before it takes the place of one that could not move.
pub fn unpin(build: &mut Build<'_>) -> Result<()> {
    let from = build.built.written_root().filter(|from| build.built.pinned_prefix && from != build.project.root());
    from.map_or(Ok(()), |from| data(build, &from))
}

/// Moves the agent's files alone. Nothing in them can stand in the way.
fn data(build: &mut Build<'_>, from: &Path) -> Result<()> {
    let project = build.project;
    let relocation = Relocation { project, from, dry_run: false, data_only: true, only: None };
    let moved = relocation.run()?;
    say(build, &moved, from);
    // Until the new environment is whole, nothing runs here.
    build.built.prefix = project.env().to_string_lossy().into_owned();
    build.built.pinned_prefix = false;
    build.built.pinned_at.clear();
    build.built.built_at.clear();
    build.built.runtimes.clear();
    build.built.install.clear();
    build.built.write(project)?;
    fs::set_aside(&project.env(), &project.trash())?;
    relocation.forget();
    Ok(())
}

fn say(build: &Build<'_>, moved: &Moved, from: &Path) {
    if build.options.verbose {
        for (path, _) in &moved.changed {
            output::line(format_args!("  changed: .sbox/{}", libsbox::escape::visible(path)));
        }
        for (path, why) in &moved.left {
            output::line(format_args!("  left as it is ({why}): .sbox/{}", libsbox::escape::visible(path)));
        }
    } else if !moved.left.is_empty() {
        let count = moved.left.len();
        output::info(format_args!("{count} files that name the old path are data, and stay as they are"));
    }
    if moved.unrelocatable.is_empty() {
        return;
    }
    moved.warn(from, build.project.root());
    output::warn(format_args!("the environment keeps its old path inside the sandbox: '{}'", visible_path(from)));
    let most = moved.longest(from).map(|most| format!("a path of at most {most} bytes fits; ")).unwrap_or_default();
    output::hint(format_args!("{most}sbox build --force makes an environment for this path"));
}
