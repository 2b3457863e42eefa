//! sbox-unpack: make an extracted sandbox work where it is. Nothing of it is run, and nothing is asked of any network.
#![forbid(unsafe_code)]

use lexopt::prelude::*;
use libsbox::built::Built;
use libsbox::cli::{self, Tool};
use libsbox::error::{Error, Result};
use libsbox::escape::{visible, visible_path};
use libsbox::fs;
use libsbox::output;
use libsbox::plumbing::relocate::{Moved, Relocation};
use libsbox::plumbing::{self, envsh};
use libsbox::project::Project;
use libsbox::sites::SiteIndex;
use libsbox::trust;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const TOOL: Tool = Tool { name: "sbox-unpack", usage: USAGE, runs_a_command: false };
const USAGE: &str = "\
usage: sbox unpack [-n] [-v] [--json] [--verify] [DIR]
Replace the path where the sandbox in DIR was built by the path where it is now.
It runs no code, uses no network, and writes only .sbox.

  -n, --dry-run    print what would be changed, and change nothing
  -v, --verbose    print each file, and those that name the old path and stay as
                   they are
      --json       print all of that as one JSON object
      --verify     first compare all files with the archive's checksums
  -h, --help       print this text
  -V, --version    print the version
";

/// What is packed of `.sbox`, as far as it is counted in the index.
const TREES: [&str; 3] = ["env", "rootfs", "cache"];

fn main() -> ExitCode {
    TOOL.main(run)
}

#[derive(Default)]
struct Options {
    dry_run: bool,
    verbose: bool,
    json: bool,
    verify: bool,
}

fn run(args: &mut lexopt::Parser) -> Result<u8> {
    let (mut options, mut dir) = (Options::default(), None);
    while let Some(arg) = args.next()? {
        match arg {
            Short('n') | Long("dry-run") => options.dry_run = true,
            Short('v') | Long("verbose") => options.verbose = true,
            Long("json") => options.json = true,
            Long("verify") => options.verify = true,
            Value(word) if dir.is_none() => dir = Some(PathBuf::from(word)),
            other => return Err(cli::common(other)),
        }
    }
    let dir = dir.unwrap_or_else(|| ".".into());
    let root = std::fs::canonicalize(&dir).map_err(|_| Error::new(format!("there is no '{}'", visible_path(&dir))))?;
    let project = Project::at(&root)?;
    let packed = packed_root(&project)?;
    output::step(format_args!("Relocating paths for: {}", visible(&project.name())));
    if options.verify {
        verify(&project)?;
    }
    let lock = || fs::Lock::exclusive(&project.build_lock(), || output::info("waiting for a build to end"));
    let _lock = (!options.dry_run).then(lock).transpose()?;
    let _unused = (!options.dry_run).then(|| libsbox::daemon::require_unused(&project)).transpose()?;
    unpack(&project, &packed, &options)
}

/// Where it was built. Neither the state nor the metadata may be links: an archive can bring any.
fn packed_root(project: &Project) -> Result<PathBuf> {
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
        return Err(Error::new(format!("the archive names a path that cannot be used: '{}'", visible_path(&old))));
    }
    Ok(old)
}

fn verify(project: &Project) -> Result<()> {
    plumbing::archive::verify(project.root())?;
    output::ok("All files are as they were packed");
    Ok(())
}

fn unpack(project: &Project, packed: &Path, options: &Options) -> Result<u8> {
    let before = Built::read(project);
    // What the files say now: where it was moved to before, if it was.
    let from = before.as_ref().and_then(Built::written_root).unwrap_or_else(|| packed.to_owned());
    output::info(format_args!("Original prefix: {}", visible_path(packed)));
    output::info(format_args!("New prefix: {}", visible_path(project.root())));
    let index = if from == packed { index(project) } else { None };
    let relocation =
        Relocation { project, from: &from, dry_run: options.dry_run, data_only: false, only: index.as_deref() };
    let mut moved = Moved::default();
    if from != project.root() {
        output::step("Updating environment and root file system...");
        moved = relocation.run()?;
    }
    let pinned = !moved.unrelocatable.is_empty();
    let after = before.clone().map(|built| at(built, if pinned { &from } else { project.root() }, pinned));
    if pinned && !before.as_ref().is_some_and(Built::is_whole) {
        return Err(refusal(&moved, &from, project));
    }
    output::step("Regenerating environment script...");
    let script = envsh::script(project, true)?;
    if fs::read_plain(&project.env_sh()).is_none_or(|old| old != script) {
        moved.changed.push(("env.sh".into(), "write".into()));
    }
    let records = after;
    if records.is_some() && (records != before || !project.built().is_file()) {
        moved.changed.push(("built.json".into(), "write".into()));
    }
    if !options.dry_run {
        fs::write_atomic(&project.env_sh(), &script, 0o644)?;
        if let Some(built) = &records {
            // Last: until then everything would be done again.
            built.write(project)?;
        }
        relocation.forget();
    }
    report(project, &from, &moved, options)?;
    finish(project, &from, &moved, records.as_ref(), options);
    Ok(0)
}

/// The record of what was built, with the paths of `root` written in it.
fn at(mut built: Built, root: &Path, pinned: bool) -> Built {
    built.prefix = root.join(".sbox/env").to_string_lossy().into_owned();
    built.pinned_prefix = pinned;
    // What a set of names lets an agent reach is not for the maker of an archive to say.
    built.registries = libsbox::registries::Registries::default();
    built
}

fn refusal(moved: &Moved, from: &Path, project: &Project) -> Error {
    moved.warn(from, project.root());
    let length = project.root().as_os_str().len();
    let error = Error::new(format!(
        "nothing was changed: the path is too long for compiled programs in the environment ({length} bytes)"
    ));
    match moved.longest(from) {
        Some(most) => error.hint(format!("extract it at a path of at most {most} bytes, or: sbox build --force")),
        None => error.hint("sbox build --force makes the environment for this path"),
    }
}

/// What was changed, and what was left.
fn report(project: &Project, from: &Path, moved: &Moved, options: &Options) -> Result<()> {
    if options.json {
        let too_long = project.root().as_os_str().len() as i64 - from.as_os_str().len() as i64;
        let changed: Vec<_> =
            moved.changed.iter().map(|(path, change)| json!({"path": path, "change": change})).collect();
        let left: Vec<_> = moved.left.iter().map(|(path, why)| json!({"path": path, "why": why})).collect();
        let stuck = moved.unrelocatable.iter();
        let stuck: Vec<_> =
            stuck.map(|(path, growth)| json!({"path": path, "bytes_too_long": too_long - growth})).collect();
        return cli::out_json(&json!({
            "from": from, "to": project.root(), "dry_run": options.dry_run, "pinned": !moved.unrelocatable.is_empty(),
            "changed": changed, "left": left, "unrelocatable": stuck, "longest_path": moved.longest(from),
        }));
    }
    for (path, change) in &moved.changed {
        let what = match (options.dry_run, change.as_str()) {
            (true, "write") => "Would write",
            (true, "remove") => "Would remove",
            (true, _) => "Would update",
            (false, "write") => "Writing",
            (false, "remove") => "Removing",
            (false, _) => "Updating",
        };
        if change == "write" && !options.verbose {
            output::info(format_args!("{what}: {}/.sbox/{path}", visible_path(project.root())));
        } else if options.verbose || path.starts_with("env/conda-meta/") {
            output::info(format_args!("{what}: .sbox/{}", visible(path)));
        }
    }
    for (path, why) in moved.left.iter().filter(|_| options.verbose) {
        output::info(format_args!("Left as it is ({why}): .sbox/{}", visible(path)));
    }
    Ok(())
}

fn finish(project: &Project, from: &Path, moved: &Moved, built: Option<&Built>, options: &Options) {
    if !moved.unrelocatable.is_empty() {
        moved.warn(from, project.root());
        output::warn(format_args!("the environment keeps its old path inside the sandbox: '{}'", visible_path(from)));
        let most = moved.longest(from).map(|most| format!("; a path of at most {most} bytes fits")).unwrap_or_default();
        output::hint(format_args!("'sbox run' works all the same, at isolation level namespace{most}"));
    }
    if !moved.left.is_empty() && !options.verbose {
        let count = moved.left.len();
        output::info(format_args!("{count} files that name the old path are data, and stay as they are"));
        output::hint("with --verbose, or --json, they are listed");
    }
    let count = moved.changed.iter().filter(|(_, change)| change != "write").count();
    if options.dry_run {
        output::ok(format_args!("{count} files would be changed; nothing was"));
        return;
    }
    output::ok(format_args!("Path relocation complete ({count} files)"));
    let is_whole = built.is_some_and(Built::is_whole);
    // One that cannot be read is for the next command to report.
    let is_settled = libsbox::check::load(project).map_or(true, |config| trust::is_settled(project, &config));
    output::hint(match (is_settled, is_whole) {
        (true, true) => "sbox run",
        (true, false) => "the environment is not in the archive: sbox build",
        (false, true) => "look at .sbox/config.yaml, then: sbox trust && sbox run",
        (false, false) => "look at .sbox/config.yaml, then: sbox trust && sbox build",
    });
}

/// The files in which a path may stand, as found while packing, below `.sbox`. Nothing if there is no list, or not one of
/// what is there: then everything is looked through.
fn index(project: &Project) -> Option<Vec<PathBuf>> {
    let text = fs::read_plain(&project.state().join("sites.json"))?;
    let index: SiteIndex = serde_json::from_slice(&text).ok()?;
    let (mut files, mut bytes) = (0, 0);
    let state = libsbox::dir::Dir::open(&project.state()).ok()?;
    for tree in TREES {
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
    // Version 0.1.0 wrote names that are not UTF-8 in a way that cannot be read.
    let readable = !index.places().any(|place| place.to_str().is_some_and(|text| text.contains('\u{fffd}')));
    let below = index.places().filter_map(|site| site.strip_prefix(".sbox").map(Path::to_owned).ok()).collect();
    (files == index.files && bytes == index.bytes && readable).then_some(below)
}
