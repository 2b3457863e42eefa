//! Reading the record.

use super::{End, Event, KEPT, Line, Start, file};
use crate::dir::Dir;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

/// More than any file of it has; one that came with an archive may have any size.
const MOST: u64 = 64 << 20;

/// What is known of one run.
#[derive(Debug, Clone, Default)]
pub struct Run {
    /// Its number.
    pub number: u64,
    /// When it began, and how. Nothing if that line is gone by now.
    pub start: Option<(String, Start)>,
    /// What happened, and when.
    pub events: Vec<(String, Event)>,
    /// When it ended, and how.
    pub end: Option<(String, End)>,
}

impl Run {
    /// Whether it is running still.
    pub fn is_running(&self) -> bool {
        self.end.is_none() && self.start.as_ref().is_some_and(|(_, start)| start.monitor.is_alive())
    }
}

/// The content of one file of the record; nothing if it cannot be read.
pub(super) fn content(dir: &Dir, number: u32) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    dir.file(file(number)).ok()?.take(MOST).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// All lines in the directory `place`, oldest first. What is not a whole line is left out; [`super::verify`] says so.
pub fn lines(place: &Path) -> Vec<Line> {
    let Ok(dir) = Dir::open(place) else { return Vec::new() };
    let files = (0..=KEPT).rev().filter_map(|number| content(&dir, number));
    files.flat_map(|bytes| bytes.split(|byte| *byte == b'\n').filter_map(Line::read).collect::<Vec<_>>()).collect()
}

/// All runs in the directory `place`, oldest first.
pub fn runs(place: &Path) -> Vec<Run> {
    let mut runs: BTreeMap<u64, Run> = BTreeMap::new();
    for line in lines(place) {
        let run = runs.entry(line.run).or_insert_with(|| Run { number: line.run, ..Run::default() });
        match line.event {
            Event::Start(start) => run.start = Some((line.time, *start)),
            Event::End(end) => run.end = Some((line.time, *end)),
            event => run.events.push((line.time, event)),
        }
    }
    runs.into_values().collect()
}
