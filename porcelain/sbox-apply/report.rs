//! What is said of what was applied and of what was left.

use libsbox::cli;
use libsbox::cow::{Change, Layer, Verdict};
use libsbox::error::{Error, Result};
use libsbox::escape::{shell_path, visible_path};
use libsbox::output;
use std::path::Path;

/// How many entries that are no conflicts are listed one by one.
const LISTED: usize = 20;

/// Everything that there is to say.
pub struct Report {
    applied: usize,
    conflicts: Vec<(String, String)>,
    held: Vec<(String, String)>,
    never: Vec<(String, String)>,
    failed: usize,
    repositories: usize,
    ignored: usize,
    conflicts_said: bool,
}

impl Report {
    pub fn new() -> Report {
        Report {
            applied: 0,
            conflicts: Vec::new(),
            held: Vec::new(),
            never: Vec::new(),
            failed: 0,
            repositories: 0,
            ignored: 0,
            conflicts_said: false,
        }
    }

    /// A change that is not applied.
    pub fn left(&mut self, layer: &Layer, change: Change) {
        let path = shown(layer, &change.path);
        match change.verdict {
            Verdict::Conflict(why) => self.conflicts.push((path, why)),
            Verdict::Held(held) => self.held.push((path, held.reason.to_owned())),
            Verdict::Never(why) => self.never.push((path, why)),
            Verdict::Ready => {}
        }
    }

    /// Git's own data that differs.
    pub fn repositories(&mut self, _: &Layer, paths: &[std::path::PathBuf]) {
        self.repositories += paths.len();
    }

    /// What the host's git ignores, and was not asked for.
    pub fn ignored(&mut self, changes: &[Change]) {
        self.ignored += changes.len();
    }

    pub fn has_conflicts(&self) -> bool {
        !self.conflicts.is_empty()
    }

    pub fn failed(&mut self, path: &Path, error: &Error) {
        self.failed += 1;
        output::say(output::Label::Error, format_args!("'{}' was not applied: {error}", visible_path(path)));
    }

    pub fn applied(&mut self, layer: &Layer, count: usize) {
        self.applied += count;
        if count > 0 {
            let to = visible_path(layer.src());
            output::ok(format_args!("{count} {} applied to '{to}'", plural(count, "change", "changes")));
        }
    }

    /// Prints what would be applied.
    pub fn would(&mut self, _: &Layer, plan: &[Change]) -> Result<()> {
        self.applied += plan.len();
        let mut text = String::new();
        for change in plan {
            let letter = match (&change.old, &change.new) {
                (None, _) => 'A',
                (_, None) => 'D',
                _ => 'M',
            };
            text += &format!("{letter} {}\n", visible_path(&change.path));
        }
        cli::out(text.as_bytes())
    }

    /// Names the conflicts; `stopped` if nothing was applied because of them.
    pub fn print_conflicts(&mut self, stopped: bool) {
        if self.conflicts.is_empty() || std::mem::replace(&mut self.conflicts_said, true) {
            return;
        }
        let count = self.conflicts.len();
        let files = plural(count, "entry is in conflict", "entries are in conflict");
        let end = if stopped { "; nothing was applied" } else { "" };
        output::say(output::Label::Error, format_args!("{count} {files}{end}"));
        // All of them: what is not named here, the user would take for applied.
        list(&self.conflicts, usize::MAX);
        if stopped {
            output::hint("sbox apply --partial applies the others");
        }
        let first = shell_path(&self.conflicts[0].0);
        output::hint(format_args!("sbox diff {first} | git apply --3way merges one; sbox discard {first} forgets it"));
    }

    /// The end of it.
    pub fn finish(&mut self) {
        self.print_conflicts(false);
        if let Some(line) = libsbox::cow::ignored_line(self.ignored) {
            output::info(line);
        }
        if !self.held.is_empty() {
            let count = self.held.len();
            let what = plural(count, "change is", "changes are");
            output::warn(format_args!("{count} {what} applied only when named: programs on this host act on them"));
            list(&self.held, LISTED);
            output::hint(format_args!("look at them (sbox diff), then: sbox apply {}", shell_path(&self.held[0].0)));
        }
        if !self.never.is_empty() {
            let count = self.never.len();
            output::warn(format_args!("{count} {} never applied", plural(count, "entry is", "entries are")));
            list(&self.never, LISTED);
        }
        if self.repositories > 0 && self.applied + self.held.len() + self.conflicts.len() == 0 {
            output::info("git's own data changed: it is never applied as files");
            output::hint("sbox apply --commits brings the agent's commits");
        } else if self.applied + self.held.len() + self.conflicts.len() + self.never.len() + self.failed + self.ignored
            == 0
        {
            output::info("nothing to apply");
        }
    }

    pub fn code(&self) -> u8 {
        u8::from(!self.conflicts.is_empty() || self.failed > 0)
    }
}

fn shown(layer: &Layer, path: &Path) -> String {
    let host = layer.src().join(path);
    let here = std::env::current_dir().unwrap_or_default();
    visible_path(host.strip_prefix(here).unwrap_or(&host))
}

fn plural<'a>(count: usize, one: &'a str, more: &'a str) -> &'a str {
    if count == 1 { one } else { more }
}

fn list(rows: &[(String, String)], most: usize) {
    for (path, why) in rows.iter().take(most) {
        output::line(format_args!("    {path}: {why}"));
    }
    if rows.len() > most {
        output::line(format_args!("    and {} more: sbox diff --stat lists all", rows.len() - most));
    }
}
