//! sbox-refresh: show inside, at once, what changed on the host in the sources of copy-on-write mounts.
#![forbid(unsafe_code)]

use libsbox::cli::{self, Tool};
use libsbox::dir::Dir;
use libsbox::error::Result;
use libsbox::output;
use libsbox::plumbing::spawn;
use libsbox::process::Identity;
use libsbox::project::Project;
use std::collections::BTreeSet;
use std::io::Read;
use std::process::ExitCode;

const TOOL: Tool = Tool { name: "sbox-refresh", usage: USAGE, runs_a_command: false };
const USAGE: &str = "\
usage: sbox refresh
Show in the project's running sandboxes, at once, what you changed on the host.
Without this, a changed file appears in a copy-on-write mount within a second.

  -h, --help       print this text
  -V, --version    print the version
";

/// sbox-spawn writes there who has a layer mounted, one line each; it is far shorter.
const LONGEST: u64 = 1 << 20;

fn main() -> ExitCode {
    TOOL.main(run)
}

fn run(args: &mut lexopt::Parser) -> Result<u8> {
    cli::no_options(args)?;
    let project = Project::find()?;
    let mut failed = None;
    let sandboxes = sandboxes(&project);
    for pid in &sandboxes {
        failed = spawn::refresh(*pid).err().or(failed);
    }
    match failed {
        Some(error) => return Err(error),
        None if sandboxes.is_empty() => output::info("no running sandbox has a copy-on-write mount"),
        None => {}
    }
    Ok(0)
}

/// The commands of this project's sandboxes that have a layer mounted and are running.
fn sandboxes(project: &Project) -> BTreeSet<i32> {
    let Ok(layers) = Dir::open(&project.state()).and_then(|state| state.sub("cow")) else { return BTreeSet::new() };
    let mounted = |name: &std::ffi::OsStr| {
        let mut text = String::new();
        let file = layers.sub(name).ok()?.file("mount.json").ok()?;
        file.take(LONGEST).read_to_string(&mut text).ok()?;
        Some(text)
    };
    let texts = layers.entries().unwrap_or_default().into_iter().filter_map(|entry| mounted(&entry.name));
    let commands = texts
        .flat_map(|text| text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect::<Vec<Identity>>());
    commands.filter(Identity::is_alive).map(|command| command.pid).collect()
}
