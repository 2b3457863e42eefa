//! Commands for people that other such commands start.

use super::{die_with_parent, output, program, trace};
use crate::error::{Context, Result};
use crate::project::Project;
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

fn of_project(name: &str, project: &Project) -> Result<Command> {
    let mut command = program(name)?;
    command.current_dir(project.root()).stdin(Stdio::null());
    Ok(command)
}

/// Whether `sbox build` would have something to do.
pub fn is_build_due(project: &Project) -> Result<bool> {
    let mut command = of_project("sbox-build", project)?;
    command.arg("--check").stdout(Stdio::null()).stderr(Stdio::null());
    trace(&command);
    let status = die_with_parent(&mut command).status().context(|| "start 'sbox-build'".into())?;
    Ok(!status.success())
}

/// Builds with the configuration `config`, which then takes the place of the project's.
pub fn build_with(project: &Project, config: &Path, verbose: bool) -> Result<()> {
    let mut command = of_project("sbox-build", project)?;
    output(command.arg("--config").arg(config).args(verbose.then_some("--verbose"))).map(drop)
}

/// Stops the daemons of these names.
pub fn stop<S: AsRef<OsStr>>(project: &Project, names: impl IntoIterator<Item = S>) -> Result<()> {
    output(of_project("sbox-stop", project)?.args(names)).map(drop)
}

/// Stops all daemons.
pub fn stop_all(project: &Project) -> Result<()> {
    stop(project, ["--all"])
}

/// Shows the change of one path, and notes in the file `digests` which content was shown.
pub fn show_change(path: &Path, digests: &Path) -> Result<()> {
    let mut command = program("sbox-diff")?;
    command.args(["--no-pager", "--for-reading", "--digests"]).arg(digests).arg("--").arg(path);
    trace(&command);
    command.status().map(drop).context(|| "start 'sbox-diff'".into())
}

/// The path of micromamba, if it is there already.
pub fn micromamba() -> Option<Vec<u8>> {
    let output = program("sbox-fetch-mamba").ok()?.arg("--offline").stderr(Stdio::null()).output().ok()?;
    output.status.success().then_some(output.stdout)
}
