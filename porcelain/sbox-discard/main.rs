//! sbox-discard: forget what the agent changed in copy-on-write mounts.
#![forbid(unsafe_code)]

use lexopt::prelude::*;
use libsbox::cli::{self, Tool};
use libsbox::cow::{self, Layer, Selection};
use libsbox::daemon::processes;
use libsbox::error::{Context, Error, Result};
use libsbox::escape::visible_path;
use libsbox::format;
use libsbox::output;
use libsbox::project::Project;
use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

const TOOL: Tool = Tool { name: "sbox-discard", usage: USAGE, runs_a_command: false };
const USAGE: &str = "\
usage: sbox discard [-n] [-f] [PATH...]
Forget what the agent changed in copy-on-write mounts: it sees the host's files
again. With PATHs only what is at or below them; without, everything, commits
included, and a terminal asks once. No sandbox may be using the mount.

  -n, --dry-run    print what would be forgotten
  -f, --force      do not ask
  -h, --help       print this text
  -V, --version    print the version
";

fn main() -> ExitCode {
    TOOL.main(run)
}

fn run(args: &mut lexopt::Parser) -> Result<u8> {
    let (mut dry_run, mut force, mut words) = (false, false, Vec::new());
    while let Some(arg) = args.next()? {
        match arg {
            Short('n') | Long("dry-run") => dry_run = true,
            Short('f') | Long("force") => force = true,
            Value(word) => words.push(PathBuf::from(word)),
            other => return Err(cli::common(other)),
        }
    }
    let project = Project::find()?;
    let config = libsbox::check::load(&project)?;
    let mut selection = Selection::new(&project, &config.mount, &words)?;
    selection.with_ignored = true;
    let (mut count, mut text) = (0, String::new());
    for (_, scan) in selection.scan_for_discard()? {
        count += scan.changes.len();
        let paths = scan.changes.iter().map(|change| &change.path).chain(&scan.repositories);
        text.extend(paths.map(|path| visible_path(path) + "\n"));
    }
    if dry_run {
        return cli::out(text.as_bytes()).map(|()| 0);
    }
    if selection.everything && !force && !selection.layers.is_empty() {
        confirm(count)?;
    }
    for (layer, named) in selection.layers.iter().filter(|(_, named)| selection.everything || !named.is_empty()) {
        let _alone = layer.alone()?;
        let Some(offline) = layer.take()? else { return Err(in_use(&project, layer)) };
        let is_whole = named.iter().any(|path| path.as_os_str().is_empty()) && selection.is_stray(layer);
        match selection.everything || is_whole {
            true => layer.forget(&offline)?,
            false => cow::discard(layer, &offline, named)?,
        }
    }
    output::ok(format_args!("{} forgotten", format::count(count, "change")));
    Ok(0)
}

/// Asks once; without a terminal nobody can answer.
fn confirm(count: usize) -> Result<()> {
    if !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
        return Err(Error::usage("all changes would be forgotten").hint("sbox discard --force, or name paths"));
    }
    let mut stderr = std::io::stderr();
    let question = format!("forget {}, and the agent's commits? [y/N] ", format::count(count, "change"));
    let _ = stderr.write_all(question.as_bytes()).and_then(|()| stderr.flush());
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).context(|| "read the answer".into())?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Error::new("nothing was forgotten")),
    }
}

/// The daemons that run.
fn live_names(project: &Project) -> Vec<String> {
    let records = processes::list(project).unwrap_or_default();
    records.into_iter().filter(|record| record.status.is_live()).map(|record| record.name).collect()
}

fn in_use(project: &Project, layer: &Layer) -> Error {
    let message = format!("a sandbox uses '{}': its changes cannot be taken from under it", visible_path(layer.dst()));
    let daemons = live_names(project);
    match daemons.is_empty() {
        true => Error::new(message).hint("end the 'sbox run', 'exec' or 'shell' that uses it, and try again"),
        false => Error::new(message).hint(format!("daemons: {}; end them with: sbox stop --all", daemons.join(", "))),
    }
}
