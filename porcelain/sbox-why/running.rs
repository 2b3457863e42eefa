//! What is there in a sandbox that runs: looked at from inside.

use crate::Facts;
use crate::answer::Answer;
use libsbox::daemon;
use libsbox::daemon::processes;
use libsbox::error::{Error, Result};
use libsbox::escape;
use std::process::Stdio;

/// Asks the sandbox of a daemon, too, and says where its configuration is not the present one.
pub fn look(facts: &Facts, name: &str, answer: &mut Answer) -> Result<()> {
    libsbox::trust::require(&facts.project, &facts.config)?;
    let record = daemon::choose(&facts.project, &processes::list(&facts.project)?, Some(name))?;
    let shown = escape::visible(name);
    let gone = || Error::new(format!("'{shown}' is not running: {}", record.shown_status())).hint("sbox ps --all");
    let _supervisor = record.hold().ok_or_else(gone)?;
    let pid = if record.command_pid > 0 { record.command_pid } else { return Err(gone()) };
    if changed_since(facts, &record.start_time) {
        answer.note(format!("the configuration was changed after '{shown}' was started, which has the old one"));
        answer.change("to let it have the new one", format!("sbox restart {shown}"));
    }
    let script = match answer.kind {
        "path" => "test -e \"$1\" || test -L \"$1\"",
        "program" => "command -v -- \"$1\" >/dev/null",
        _ => return Ok(()),
    };
    let asked = answer.path.as_ref().filter(|_| answer.kind == "path").unwrap_or(&answer.asked);
    let words = ["/bin/sh", "-c", script, "sh", asked].map(Into::into);
    let mut join = facts.sandbox().joining(pid, "/", &words)?;
    let status = join.command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let is_there = status.is_ok_and(|status| status.success());
    answer.note(format!("in '{shown}' it {} now", if is_there { "is there" } else { "is not there" }));
    Ok(())
}

fn changed_since(facts: &Facts, start: &str) -> bool {
    let changed = facts.project.config().metadata().and_then(|metadata| metadata.modified()).ok();
    let changed = changed.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok()).map(|time| time.as_secs());
    // RFC 3339 in UTC compares as text.
    changed.is_some_and(|changed| libsbox::time::rfc3339(changed).as_str() > start)
}
