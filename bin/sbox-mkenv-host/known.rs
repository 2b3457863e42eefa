//! What interpreters said of themselves, kept for the next build: to start one takes half as long as to copy a whole
//! environment. An answer counts for the very file that gave it.

use libsbox::cache;
use libsbox::fs;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Answers that were kept, and those of this run.
pub struct Known {
    file: Option<PathBuf>,
    kept: BTreeMap<String, Answer>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Answer {
    /// Everything that changes when a file is replaced.
    stamp: (u64, u64, i64, i64, i64, i64, u64),
    answer: Value,
}

impl Known {
    /// Those of the user's cache. A cache that cannot be read, or that an older version wrote, has none.
    pub fn read() -> Known {
        let file = cache::root().ok().map(|root| root.join("interpreters.json"));
        let text = file.as_deref().and_then(fs::read_plain);
        Known { file, kept: text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default() }
    }

    /// What the interpreter `file` said; nothing if it is not the same file any more.
    pub fn get<T: DeserializeOwned>(&self, file: &Path) -> Option<T> {
        let kept = self.kept.get(file.to_str()?)?;
        (stamp(file)? == kept.stamp).then(|| serde_json::from_value(kept.answer.clone()).ok())?
    }

    /// Keeps what it said.
    pub fn keep(&mut self, file: &Path, answer: &impl Serialize) {
        if let (Some(name), Some(stamp), Ok(answer)) = (file.to_str(), stamp(file), serde_json::to_value(answer)) {
            self.kept.insert(name.to_owned(), Answer { stamp, answer });
        }
    }

    /// Writes the answers. A cache on a read-only disk serves as well, and costs a question each time.
    pub fn write(&self) {
        if let (Some(file), Ok(text)) = (&self.file, serde_json::to_vec(&self.kept)) {
            let _ = file.parent().map(fs::make_dirs).transpose().and_then(|_| fs::write_atomic(file, &text, 0o600));
        }
    }
}

/// Of the file that a path leads to in the end.
fn stamp(file: &Path) -> Option<(u64, u64, i64, i64, i64, i64, u64)> {
    let metadata = std::fs::metadata(file).ok()?;
    Some((
        metadata.dev(),
        metadata.ino(),
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.ctime(),
        metadata.ctime_nsec(),
        metadata.len(),
    ))
}
