//! The command line of `sbox-envsh`, and its reply.

use super::{output, program, reply};
use crate::error::Result;
use crate::project::Project;
use serde_json::{Map, Value};
use std::process::Command;

fn envsh(project: &Project, format: &str) -> Result<Command> {
    let mut command = program("sbox-envsh")?;
    command.args(["--format", format]).current_dir(project.root());
    Ok(command)
}

/// What `.sbox/env.sh` says. Variables of the host that are not set are named on stderr, unless it is `quiet`.
pub fn script(project: &Project, quiet: bool) -> Result<Vec<u8>> {
    output(envsh(project, "sh")?.args(quiet.then_some("--quiet")))
}

/// The variables in an image: nothing of this user's is in them.
pub fn of_image(project: &Project) -> Result<Map<String, Value>> {
    let mut command = envsh(project, "json")?;
    command.args(["--quiet", "--isolation", "engine"]);
    command.env_clear().env("HOME", "/").env("USER", "agent").env("LOGNAME", "agent");
    reply("sbox-envsh", &output(&mut command)?)
}
