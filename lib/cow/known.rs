//! Since when the agent has had a version of its own of each path.
//!
//! An entry of the layer that is made again in a later run was born in that run, but what the user changed in between was never
//! seen by the agent: its own older version hid it. So each run begins by writing down what the layer hides already.

use super::node::Node;
use super::{DEPTH, Layer, Runs};
use crate::dir::Dir;
use crate::error::Result;
use crate::fs;
use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// In the directory of a layer.
const NAME: &str = "known";

/// By path: the start of the run in which the agent first had its own version, and whether it is a directory that the host
/// did not have, of which nothing below is listed.
#[derive(Debug, Default)]
pub(super) struct Known(HashMap<PathBuf, (i64, bool)>);

impl Known {
    pub fn read(layer: &Layer) -> Known {
        let bytes = fs::read_plain(&layer.path().join(NAME)).unwrap_or_default();
        let record = |line: &[u8]| {
            let mut parts = line.splitn(3, |byte| *byte == b' ');
            let since = std::str::from_utf8(parts.next()?).ok()?.parse().ok()?;
            let is_whole = parts.next()? == b"1";
            Some((PathBuf::from(OsString::from_vec(parts.next()?.to_vec())), (since, is_whole)))
        };
        Known(bytes.split(|byte| *byte == 0).filter_map(record).collect())
    }

    /// The earlier one of `since` and of what is known.
    pub fn since(&self, path: &Path, since: i64) -> i64 {
        let own = self.0.get(path).map(|(since, _)| *since);
        let above = || path.ancestors().skip(1).filter_map(|above| self.0.get(above).filter(|(_, is_whole)| *is_whole));
        if self.0.is_empty() { since } else { above().map(|(since, _)| *since).chain(own).fold(since, i64::min) }
    }

    /// Writes down what the layer has, before a run begins. Nobody uses it.
    pub fn record(layer: &Layer) -> Result<()> {
        let (upper, host) = (Dir::open(&layer.changes())?, layer.host()?);
        let mut walk = Walk { old: Known::read(layer), runs: Runs::read(&layer.runs()), text: Vec::new() };
        walk.directory(&upper, &host, Path::new(""), 0)?;
        if walk.text.is_empty() && walk.old.0.is_empty() {
            return Ok(());
        }
        fs::write_locked(&layer.path().join(NAME), &walk.text, 0o600)
    }
}

struct Walk {
    old: Known,
    runs: Runs,
    text: Vec<u8>,
}

impl Walk {
    fn directory(&mut self, upper: &Dir, host: &Dir, place: &Path, depth: usize) -> Result<()> {
        for entry in upper.entries()? {
            let path = place.join(&entry.name);
            let Some(node) = Node::look(upper, &entry.name)? else { continue };
            let below = if node.is_directory() && depth < DEPTH { host.sub(&entry.name).ok() } else { None };
            let is_whole = node.is_directory() && below.is_none();
            let since = self.old.since(&path, self.runs.start_of(node.birth));
            self.text.extend(format!("{since} {} ", u8::from(is_whole)).into_bytes());
            self.text.extend(path.as_os_str().as_bytes());
            self.text.push(0);
            if let Some(below) = below {
                self.directory(&upper.sub_lent(&entry.name)?, &below, &path, depth + 1)?;
            }
        }
        Ok(())
    }
}
