//! The record: what each sandbox asked for, was refused and changed, and how it ended.
//!
//! `.sbox/logs/record.jsonl` has one JSON object a line, for all runs of a project, daemons included: one file under a
//! lock, and not one for each run, because a chain over all of them also shows that a whole run was removed. Each line has
//! the SHA-256 of the line before. `record.head` beside it has the number and the hash of the last line, so that lines
//! missing at the end are noticed, too. Neither is a signature: who can write both files can forge all of it. No sandbox
//! can, since nothing of `.sbox/logs` is ever mounted.
//!
//! What an agent can cause is bounded: repeats are counted, different names only up to a number, and each text is cut and
//! escaped. Larger files are begun again, and the chain goes on in them.

mod chain;
mod event;
mod reader;
mod tally;
mod verify;
mod writer;

pub use chain::Line;
pub use event::{Asked, Call, Changes, End, Event, MountShown, Start};
pub use reader::{Run, lines, runs};
pub use tally::Tally;
pub use verify::{Finding, Verified, verify};
pub use writer::Writer;

/// The name of the current file; older ones have `.1` and so on at their end.
pub const FILE: &str = "record.jsonl";

/// The name of the file that knows the last line. It is never renamed, and is the lock.
pub const HEAD: &str = "record.head";

/// Bytes after which a new file is begun.
pub const LARGEST: u64 = 4 << 20;

/// Old files that are kept.
pub const KEPT: u32 = 3;

/// Different names that a run's record lists, of the refused and of the allowed each.
pub const MOST_NAMES: usize = 128;

/// Entries in any other list.
pub const MOST_LISTED: usize = 50;

/// Characters of a text that an agent wrote.
pub const LONGEST: usize = 200;

/// Characters of a command line, which is the user's.
pub const LONGEST_COMMAND: usize = 1000;

/// A text from outside as the record has it: escaped, and cut.
pub fn shown(text: &str) -> String {
    cut(text, LONGEST)
}

/// The same, `most` characters long.
pub fn cut(text: &str, most: usize) -> String {
    // What is escaped is longer, never shorter.
    let start: String = text.chars().take(most + 1).collect();
    let shown = crate::escape::visible(&start);
    match shown.chars().count() > most {
        true => shown.chars().take(most.saturating_sub(3)).chain("...".chars()).collect(),
        false => shown,
    }
}

/// The name of a file of the record: the current one is number 0.
pub fn file(number: u32) -> String {
    match number {
        0 => FILE.to_owned(),
        number => format!("{FILE}.{number}"),
    }
}

/// Where runs without a project are recorded: those of `sbox run --runtime`.
pub fn of_one_offs() -> Option<std::path::PathBuf> {
    let home = crate::fs::user_home()?;
    Some(home.join(".sbox/logs"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_agent_wrote_is_cut_and_harmless() {
        assert_eq!(shown("a\x1b[2Jb\n"), "a\\x1b[2Jb\\n");
        let long = shown(&"\x1b".repeat(10_000));
        assert!(long.chars().count() == LONGEST && long.ends_with("..."), "{long}");
        assert_eq!(shown(&"x".repeat(LONGEST)).len(), LONGEST);
    }
}
