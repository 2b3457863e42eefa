//! sbox-unpack: make an extracted sandbox work where it is. Nothing of it is run, and nothing is asked of any network.
#![forbid(unsafe_code)]

use lexopt::prelude::*;
use libsbox::built::Built;
use libsbox::cli::{self, Tool};
use libsbox::error::{Error, Result};
use libsbox::escape::{visible, visible_path};
use libsbox::fs;
use libsbox::output;
use libsbox::plumbing;
use libsbox::project::Project;
use serde::Deserialize;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

const TOOL: Tool = Tool { name: "sbox-unpack", usage: USAGE, runs_a_command: false };
const USAGE: &str = "\
usage: sbox unpack [-n] [-v] [--verify] [DIR]
Replace the path where the sandbox in DIR was built by the path where it is now.
It runs no code, uses no network, and writes only .sbox and sbox.lock.

  -n, --dry-run    print what would be changed, and change nothing
  -v, --verbose    print each file
      --verify     first compare all files with the archive's checksums
  -h, --help       print this text
  -V, --version    print the version
";

/// The two trees of an archive.
const TREES: [&str; 2] = ["env", "rootfs"];

fn main() -> ExitCode {
    TOOL.main(run)
}

#[derive(Default)]
struct Options {
    dry_run: bool,
    verbose: bool,
    verify: bool,
}

fn run(args: &mut lexopt::Parser) -> Result<u8> {
    let (mut options, mut dir) = (Options::default(), None);
    while let Some(arg) = args.next()? {
        match arg {
            Short('n') | Long("dry-run") => options.dry_run = true,
            Short('v') | Long("verbose") => options.verbose = true,
            Long("verify") => options.verify = true,
            Value(word) if dir.is_none() => dir = Some(PathBuf::from(word)),
            other => return Err(cli::common(other)),
        }
    }
    let dir = dir.unwrap_or_else(|| ".".into());
    let root = std::fs::canonicalize(&dir).map_err(|_| Error::new(format!("there is no '{}'", visible_path(&dir))))?;
    let project = Project::at(&root)?;
    let old = old_root(&project)?;
    output::step(format_args!("Relocating paths for: {}", visible(&project.name())));
    if options.verify {
        verify(&project)?;
    }
    let _lock = if options.dry_run {
        None
    } else {
        Some(fs::Lock::exclusive(&project.build_lock(), || output::info("waiting for a build to end"))?)
    };
    relocate(&project, &old, &options)
}

/// Where it was built. Neither the state nor the metadata may be links: an archive can bring any.
fn old_root(project: &Project) -> Result<PathBuf> {
    let none = || {
        Error::new(format!("there is no packed sandbox in '{}'", visible_path(project.root())))
            .hint("extract an archive of 'sbox pack', and go into its folder")
    };
    if !std::fs::symlink_metadata(project.state()).is_ok_and(|state| state.is_dir()) {
        return Err(none());
    }
    let text = fs::read_plain(&project.root().join("metadata.json")).ok_or_else(none)?;
    let metadata: serde_json::Value = serde_json::from_slice(&text).map_err(|_| none())?;
    let old = metadata["original_prefix"].as_str().map(PathBuf::from).ok_or_else(none)?;
    let plain = |part: std::path::Component<'_>| part != std::path::Component::ParentDir;
    let (theirs, ours) = (metadata["platform"].as_str().unwrap_or_default(), cli::platform());
    if !theirs.is_empty() && theirs != ours {
        output::warn(format_args!("it was packed for {}, and this is {ours}", visible(theirs)));
        output::hint("sbox build --force makes the environment for this machine");
    }
    // A prefix that everything begins with would rewrite everything.
    if !old.is_absolute() || old.components().count() < 2 || !old.components().all(plain) || Project::at(&old).is_err()
    {
        return Err(Error::new(format!("the archive was packed at no usable path: '{}'", visible_path(&old))));
    }
    Ok(old)
}

fn verify(project: &Project) -> Result<()> {
    let mut archive = plumbing::program("sbox-archive")?;
    plumbing::output(archive.arg("verify").arg(project.root()))?;
    output::ok("All files are as they were packed");
    Ok(())
}

fn relocate(project: &Project, old: &Path, options: &Options) -> Result<u8> {
    let mut lock = Built::read(project);
    output::info(format_args!("Original prefix: {}", visible_path(old)));
    output::info(format_args!("New prefix: {}", visible_path(project.root())));
    // What the files say now: where it was moved to before, if it was.
    let from = lock.as_ref().and_then(|lock| Path::new(&lock.prefix).ancestors().nth(2).map(Path::to_owned));
    let from =
        from.filter(|from| from.is_absolute() && from.components().count() > 1).unwrap_or_else(|| old.to_owned());
    let mut changed = 0;
    if from != project.root() {
        let index = if from == old { Index::read(project) } else { None };
        for tree in TREES {
            match tree_of(project, tree, &from, index.as_ref(), options)? {
                Some(count) => changed += count,
                None => return stuck(project, lock, &from, options),
            }
        }
    }
    output::step("Regenerating environment script...");
    let script = project.env_sh();
    if options.dry_run {
        output::info(format_args!("Would write: {}", visible_path(&script)));
        output::ok(format_args!("{changed} files would be changed; nothing was"));
        return Ok(0);
    }
    output::info(format_args!("Writing: {}", visible_path(&script)));
    let mut envsh = plumbing::program("sbox-envsh")?;
    let text = plumbing::output(envsh.args(["--quiet", "--format", "sh"]).current_dir(project.root()))?;
    fs::write_atomic(&script, &text, 0o644)?;
    if let Some(lock) = &mut lock {
        // Last: until then everything would be done again.
        lock.prefix = project.env().to_string_lossy().into_owned();
        lock.pinned_prefix = false;
        lock.write(project)?;
    }
    output::ok(format_args!("Path relocation complete ({changed} files)"));
    let is_whole = lock.as_ref().is_some_and(Built::is_whole);
    output::hint(if is_whole { "sbox run" } else { "the environment is not in the archive: sbox build" });
    Ok(0)
}

/// What cannot move stays where it was, as far as programs in it can tell: sandboxes see it at its old path.
fn stuck(project: &Project, lock: Option<Built>, from: &Path, options: &Options) -> Result<u8> {
    let error = Error::new("it cannot be moved here; nothing of it was changed");
    let Some(mut lock) = lock.filter(|lock| !options.dry_run && lock.is_whole()) else {
        return Err(error.hint("extract it at a path that is not longer than the old one, or: sbox build --force"));
    };
    lock.prefix = from.join(".sbox/env").to_string_lossy().into_owned();
    lock.pinned_prefix = true;
    lock.write(project)?;
    Err(error.hint("sbox run works all the same: in the sandbox it is at its old path (level namespace)"))
}

/// Relocates one of the trees; gives how many files that changed, or would; nothing if it cannot be moved.
fn tree_of(
    project: &Project,
    tree: &str,
    from: &Path,
    index: Option<&Index>,
    options: &Options,
) -> Result<Option<usize>> {
    let dir = project.state().join(tree);
    if std::fs::symlink_metadata(&dir).is_err() {
        return Ok(Some(0));
    }
    let title = if tree == "env" { "Updating environment..." } else { "Updating root file system..." };
    output::step(title);
    let mut command = plumbing::program("sbox-relocate")?;
    command.arg("--null").args(options.dry_run.then_some("--dry-run"));
    if tree == "env" {
        command.arg("--slots").arg(project.slots());
    }
    let list = index.map(|index| index.list(tree));
    let file = fs::beside(&dir, "sites");
    if let Some(list) = &list {
        fs::write_atomic(&file, list, 0o600)?;
        command.arg("--only").arg(&file);
    }
    command.arg("--from").arg(from).arg("--to").arg(project.root()).arg(&dir);
    plumbing::trace(&command);
    let output = plumbing::tie(&mut command).stderr(Stdio::inherit()).output();
    if list.is_some() {
        let _ = std::fs::remove_file(&file);
    }
    let output = libsbox::error::Context::context(output, || "start 'sbox-relocate'".into())?;
    match output.status.code() {
        Some(0) => {}
        Some(1) if tree == "env" => return Ok(None),
        _ => return Err(Error::reported(libsbox::status::of(output.status))),
    }
    let places: Vec<&[u8]> = output.stdout.split(|byte| *byte == 0).filter(|place| !place.is_empty()).collect();
    for place in &places {
        let place = Path::new(std::ffi::OsStr::from_bytes(place));
        let is_conda = place.starts_with("conda-meta") && tree == "env";
        if options.verbose || is_conda {
            let what = if options.dry_run { "Would update" } else { "Updating" };
            output::info(format_args!("{what}: {}", visible_path(Path::new(".sbox").join(tree).join(place))));
        }
    }
    Ok(Some(places.len()))
}

/// The files in which the old path stands, as found while packing.
#[derive(Debug, Deserialize)]
struct Index {
    files: u64,
    bytes: u64,
    sites: Vec<PathBuf>,
}

impl Index {
    /// Nothing, if there is none, or not for what is there: then everything is looked through.
    fn read(project: &Project) -> Option<Index> {
        let text = fs::read_plain(&project.state().join("sites.json"))?;
        let index: Index = serde_json::from_slice(&text).ok()?;
        let (mut files, mut bytes) = (0, 0);
        let state = libsbox::dir::Dir::open(&project.state()).ok()?;
        for tree in TREES.iter().chain(&["cache"]) {
            let Ok(dir) = state.sub(tree) else { continue };
            dir.walk(&mut |dir, entry, _| {
                if entry.kind == rustix::fs::FileType::RegularFile {
                    files += 1;
                    bytes += dir.stat(&entry.name)?.map_or(0, |stat| stat.st_size as u64);
                }
                Ok(())
            })
            .ok()?;
        }
        (files == index.files && bytes == index.bytes).then_some(index)
    }

    /// Those of a tree, for `sbox-relocate --only`.
    fn list(&self, tree: &str) -> Vec<u8> {
        let tree = Path::new(".sbox").join(tree);
        let below = self.sites.iter().filter_map(|site| site.strip_prefix(&tree).ok());
        below.flat_map(|place| [place.as_os_str().as_bytes(), b"\0"].concat()).collect()
    }
}
