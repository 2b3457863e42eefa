//! Whether the program of a line was found. That `sh` was executed says nothing of what it was to run.

use libsbox::daemon::processes;
use libsbox::error::{Error, Result};
use libsbox::escape;
use libsbox::logs::Reader;
use libsbox::output;
use libsbox::process::{self, Table};
use libsbox::project::Project;
use std::time::{Duration, Instant};

/// How long to look. A shell has said by then that there is no such program; one that is still at its own commands is
/// taken at its word.
const LOOK: Duration = Duration::from_millis(300);

/// Looks at a daemon that has just been started with `sh -c LINE`; fails with the shell's code if it found no program.
pub fn require_a_program(project: &Project, name: &str, shell: i32) -> Result<()> {
    let end = Instant::now() + LOOK;
    while Instant::now() < end && !has_executed(shell) {
        let records = processes::list(project)?;
        let found = records.iter().find(|record| record.name == name);
        match found.and_then(|record| record.exit_code) {
            Some(code @ (126 | 127)) => return Err(tell(project, name, code)),
            Some(_) => return Ok(()),
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    }
    Ok(())
}

/// Whether the shell has become something else, or started it.
fn has_executed(shell: i32) -> bool {
    let is_shell = |pid: i32| {
        let arguments = process::arguments(pid).unwrap_or_default();
        arguments.is_empty() || arguments.starts_with(&["/bin/sh".into(), "-c".into()])
    };
    !is_shell(shell) || Table::read().children(shell).iter().any(|child| !is_shell(*child))
}

fn tell(project: &Project, name: &str, code: u8) -> Error {
    let mut said = vec![0; 4096];
    let length = Reader::last(project, name, 3).and_then(|mut log| log.read(&mut said)).unwrap_or(0);
    let text = String::from_utf8_lossy(&said[..length]).into_owned();
    for line in text.lines().filter(|line| !line.starts_with("===")) {
        output::line(escape::visible(line));
    }
    output::say(output::Label::Error, format_args!("daemon '{name}' ended at once: its program cannot be executed"));
    output::hint(format_args!("sbox logs {name}"));
    Error::reported(code)
}
