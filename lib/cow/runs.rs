//! When the runs began that used a layer. With the birth time of an entry it says in which run the agent made it, and
//! so since when a change on the host is one that the agent cannot have seen.

use crate::error::{Context, Result};
use crate::escape::visible_path;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The starts of all runs, in nanoseconds since 1970, oldest first.
#[derive(Debug, Default, Clone)]
pub struct Runs {
    starts: Vec<i64>,
}

/// The present moment by the clock that gives files their times. It goes in steps of a few milliseconds: a file that is
/// changed later never has an earlier time.
pub fn now() -> i64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

impl Runs {
    /// Reads the record; a line that is damaged counts nothing, which makes conflicts more likely, never less.
    pub fn read(path: &Path) -> Runs {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let start = |line: &str| serde_json::from_str::<serde_json::Value>(line).ok()?.get("start")?.as_i64();
        Runs::new(text.lines().filter_map(start).collect(), now())
    }

    /// A clock that was set back makes old starts lie in the future. What was recorded earlier did not happen later, so
    /// that each start is at most the next one, and the last at most the present.
    fn new(mut starts: Vec<i64>, present: i64) -> Runs {
        let mut latest = present;
        for start in starts.iter_mut().rev() {
            latest = latest.min(*start);
            *start = latest;
        }
        Runs { starts }
    }

    /// Writes down that a run begins.
    pub fn record(path: &Path) -> Result<()> {
        let shown = || format!("write '{}'", visible_path(path));
        let mut options = std::fs::OpenOptions::new();
        options.append(true).create(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
        let line = format!("{{\"start\":{}}}\n", now());
        options.open(path).and_then(|mut file| file.write_all(line.as_bytes())).context(shown)
    }

    /// The start of the run in which an entry was made that was born at `birth`. Where the file system knows no birth
    /// times it may have been the first.
    pub fn start_of(&self, birth: Option<i64>) -> i64 {
        let earliest = self.starts.first().copied().unwrap_or(0);
        match birth {
            Some(birth) => self.starts.iter().rev().find(|start| **start <= birth).copied().unwrap_or(0),
            None => earliest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_belongs_to_the_last_run_that_began_before_it() {
        let runs = Runs::new(vec![100, 200, 300], 1000);
        assert_eq!(runs.start_of(Some(250)), 200);
        assert_eq!(runs.start_of(Some(300)), 300);
        assert_eq!(runs.start_of(Some(99)), 0);
        assert_eq!(runs.start_of(None), 100);
    }

    #[test]
    fn a_clock_that_was_set_back_moves_earlier_starts_back() {
        let runs = Runs::new(vec![1000, 500, 600], 700);
        assert_eq!(runs.start_of(Some(1001)), 600);
        assert_eq!(runs.start_of(Some(550)), 500);
        let future = Runs::new(vec![1000], 700);
        assert_eq!(future.start_of(Some(1001)), 700);
    }
}
