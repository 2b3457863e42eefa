//! sbox-clean: remove what was built, or what a sandbox has gathered.
#![forbid(unsafe_code)]

use lexopt::prelude::*;
use libsbox::cli::{self, Tool};
use libsbox::daemon::processes;
use libsbox::error::Result;
use libsbox::plumbing::porcelain;
use libsbox::plumbing::stage::Sources;
use libsbox::project::{Project, home};
use libsbox::{escape, format, fs, output};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const TOOL: Tool = Tool { name: "sbox-clean", usage: USAGE, runs_a_command: false };
const USAGE: &str = "\
usage: sbox clean [-a | --home | --logs]
Stop the project's daemons, then remove its environment, its rootfs and the
state of the build. The agent's home, sbox.lock, sources, configuration and
logs stay.

      --home       remove the agent's home only: logins, sessions, histories
      --logs       remove log files and the record of the runs only
  -a, --all        remove everything that sbox made, and the agent's home,
                   configuration, sbox.lock and logs too
  -h, --help       print this text
  -V, --version    print the version
";

fn main() -> ExitCode {
    TOOL.main(run)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Built,
    Home,
    Logs,
    All,
}

fn run(args: &mut lexopt::Parser) -> Result<u8> {
    let mut parts = Vec::new();
    while let Some(arg) = args.next()? {
        match arg {
            Short('a') | Long("all") => parts.push(Part::All),
            Long("home") => parts.push(Part::Home),
            Long("logs") => parts.push(Part::Logs),
            other => return Err(cli::common(other)),
        }
    }
    let part = cli::at_most_one(parts, "'--all', '--home' and '--logs'")?.unwrap_or(Part::Built);
    let project = Project::find()?;
    let lock = fs::Lock::exclusive(&project.build_lock(), || output::info("waiting for a build to end"))?;
    // Logs go on in new files; everything else is what a sandbox runs in.
    let _unused = if part == Part::Logs { None } else { Some(end_all(&project)?) };
    remove(&project, part)?;
    drop(lock);
    if part == Part::Logs {
        fs::make_dirs(&project.logs())?;
    }
    let (done, next) = match part {
        Part::Built => ("Build artifacts removed; the agent's home and sbox.lock stay", "sbox build"),
        Part::Home => ("The agent's home removed", "sbox run begins with an empty one"),
        Part::Logs => ("Log files and the record of the runs removed", "sbox run"),
        Part::All => ("Everything that sbox made removed", "sbox init . makes a project here again"),
    };
    output::ok(done);
    output::hint(next);
    Ok(0)
}

fn remove(project: &Project, part: Part) -> Result<()> {
    home::restore(project)?;
    match part {
        Part::Logs => set_aside(project, &[project.logs()])?,
        Part::Home => {
            say(&project.home());
            if is_directory(&project.rootfs()) {
                set_aside(project, &[project.home()])?;
                libsbox::dir::Dir::open(&project.rootfs())?.sub_or_make(Path::new("home"))?;
            }
        }
        Part::Built => {
            if let Some(sources) = Sources::of_readable(&project.stage_record()) {
                sources.leave_home(project, &Sources::default())?;
            }
            // Before the record of what is in it.
            home::replace_rootfs(project, None)?;
            set_aside(project, &built(project))?;
        }
        Part::All => {
            let all = everything(project);
            all.iter().for_each(|path| say(path));
            set_aside(project, &built(project))?;
            set_aside(project, &all)?;
        }
    }
    fs::empty_trash(&project.trash());
    if part == Part::All {
        // Whoever has put something else there keeps it: in a home directory, the cache lives in .sbox too.
        let _ = std::fs::remove_file(project.build_lock());
        let _ = std::fs::remove_dir(project.state());
    }
    Ok(())
}

fn is_directory(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

fn set_aside(project: &Project, paths: &[PathBuf]) -> Result<()> {
    paths.iter().try_for_each(|path| fs::set_aside(path, &project.trash()))
}

/// Names what nobody can make again, before it goes.
fn say(path: &Path) {
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return };
    let shown = escape::visible_path(path);
    if metadata.is_dir() {
        let (files, bytes) = fs::measure(path);
        output::info(format_args!("deleting '{shown}': {files} files, {}", format::size(bytes)));
    } else {
        output::info(format_args!("deleting '{shown}'"));
    }
}

/// Stops what runs; keeps anything else from starting until this is dropped.
fn end_all(project: &Project) -> Result<fs::Lock> {
    let records = processes::list(project)?;
    if records.iter().any(|record| record.status.is_live()) {
        porcelain::stop_all(project)?;
    }
    libsbox::daemon::require_unused(project)
}

/// What a build makes again, but for the rootfs.
fn built(project: &Project) -> Vec<PathBuf> {
    vec![
        project.env(),
        project.env_new(),
        project.stage_record_new(),
        project.rootfs_new(),
        project.env_sh(),
        project.stage_record(),
        project.built(),
        project.slots(),
        project.state().join("moving"),
        project.state().join("sites.json"),
    ]
}

/// What no build makes again: the agent's and the user's.
fn everything(project: &Project) -> Vec<PathBuf> {
    let state = |name: &str| project.state().join(name);
    // Not a cache: in a home directory the user's own lies there.
    let names = ["cow", "mamba", "bin", "SHA256SUMS", ".gitignore", "processes.lock", "in-use.lock", "ends"];
    let mut paths = vec![project.rootfs(), project.config(), project.lock(), project.logs(), project.processes()];
    paths.extend(names.map(state));
    paths.push(state(".processes.json.new"));
    paths.retain(|path| path.symlink_metadata().is_ok());
    paths
}
