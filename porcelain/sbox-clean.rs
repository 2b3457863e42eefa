//! sbox-clean: remove what was built.
#![forbid(unsafe_code)]

use lexopt::prelude::*;
use libsbox::cli::{self, Tool};
use libsbox::daemon::record;
use libsbox::error::{Error, Result};
use libsbox::fs;
use libsbox::output;
use libsbox::plumbing;
use libsbox::project::Project;
use std::path::PathBuf;
use std::process::ExitCode;

const TOOL: Tool = Tool { name: "sbox-clean", usage: USAGE, runs_a_command: false };
const USAGE: &str = "\
usage: sbox clean [-a | --logs]
Stop the project's daemons, then remove its environment, its rootfs and the
state of the build. Sources, configuration and logs stay.

  -a, --all        remove everything that sbox made, configuration and logs too
      --logs       remove log files only
  -h, --help       print this text
  -V, --version    print the version
";

fn main() -> ExitCode {
    TOOL.main(run)
}

fn run(args: &mut lexopt::Parser) -> Result<u8> {
    let (mut all, mut logs) = (false, false);
    while let Some(arg) = args.next()? {
        match arg {
            Short('a') | Long("all") => all = true,
            Long("logs") => logs = true,
            other => return Err(cli::common(other)),
        }
    }
    if all && logs {
        return Err(Error::usage("'--all' and '--logs' contradict each other"));
    }
    let project = Project::find()?;
    let lock = fs::Lock::exclusive(&project.build_lock(), || output::info("waiting for a build to end"))?;
    // Logs go on in new files; everything else is what a sandbox runs in.
    let _unused = if logs { None } else { Some(end_all(&project)?) };
    for path in what(&project, all, logs) {
        fs::set_aside(&path, &project.trash())?;
    }
    fs::empty_trash(&project.trash());
    if all {
        // Whoever has put something else there keeps it: in a home directory, the cache lives in .sbox too.
        let _ = std::fs::remove_file(project.build_lock());
        let _ = std::fs::remove_dir(project.state());
    }
    drop(lock);
    if logs {
        fs::make_dirs(&project.logs())?;
    }
    output::ok(if logs {
        "Log files removed"
    } else if all {
        "Everything of sbox removed"
    } else {
        "Build artifacts removed"
    });
    output::hint(if all { "sbox init . makes the project anew" } else { "sbox build" });
    Ok(0)
}

/// Stops what runs; keeps anything else from starting until this is dropped.
fn end_all(project: &Project) -> Result<fs::Lock> {
    let records = record::list(project)?;
    if records.iter().any(|record| record.status.is_live()) {
        let mut stop = plumbing::program("sbox-stop")?;
        stop.arg("--all").current_dir(project.root());
        plumbing::output(&mut stop)?;
    }
    libsbox::daemon::require_unused(project)
}

fn what(project: &Project, all: bool, logs: bool) -> Vec<PathBuf> {
    if logs {
        return vec![project.logs()];
    }
    let mut paths = vec![
        project.env(),
        project.env_new(),
        project.rootfs(),
        project.rootfs_new(),
        project.env_sh(),
        project.stage_record(),
        project.stage_record_new(),
        project.lock(),
    ];
    if all {
        let own = ["mamba", "bin"].map(|name| project.state().join(name));
        paths.extend([project.config(), project.logs(), project.processes()]);
        paths.extend(["processes.lock", "in-use.lock", ".processes.json.new"].map(|name| project.state().join(name)));
        paths.extend(own);
    }
    paths.retain(|path| path.symlink_metadata().is_ok());
    paths
}
