//! The environment of a project's sandbox, from `sbox-envsh`.

use super::{output, program};
use crate::error::{Context, Result};
use crate::model::Level;
use crate::project::Project;
use rustix::fd::OwnedFd;
use std::ffi::OsString;
use std::io::{IsTerminal, Seek, Write};

/// The environment in a file without a name, for a program to inherit. `host` is what the variables of the configuration are
/// expanded from, if not this process's environment.
pub fn into_memory(project: &Project, level: Level, host: Option<&[(OsString, OsString)]>) -> Result<OwnedFd> {
    let mut envsh = program("sbox-envsh")?;
    envsh.args(["--format", "null", "--isolation", level.name()]).current_dir(project.root());
    if let Some(host) = host {
        envsh.env_clear().envs(host.iter().map(|(name, value)| (name, value)));
    }
    if !std::io::stderr().is_terminal() {
        // A program's stderr may be somebody's data: our messages go to terminals only.
        envsh.arg("--quiet");
    }
    memory_file(&output(&mut envsh)?).context(|| "pass the environment on".into())
}

fn memory_file(bytes: &[u8]) -> std::io::Result<OwnedFd> {
    let mut file = std::fs::File::from(rustix::fs::memfd_create("environment", rustix::fs::MemfdFlags::empty())?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file.into())
}
