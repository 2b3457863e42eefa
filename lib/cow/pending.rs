//! What waits in a layer, in one line.

use super::{Layer, scan_without_ignored};
use crate::error::Result;
use crate::escape::visible_path;
use std::path::Path;

/// How many changes wait in a layer, and whether git's own data is among what changed.
pub fn pending(layer: &Layer) -> Result<(usize, bool)> {
    let scan = scan_without_ignored(layer, &[])?;
    Ok((scan.changes.len(), !scan.repositories.is_empty()))
}

/// What is said of changes that were left out because the host's git ignores the files.
pub fn ignored_line(count: usize) -> Option<String> {
    match count {
        0 => None,
        1 => Some("1 ignored file is left out (--ignored shows it)".into()),
        count => Some(format!("{count} ignored files are left out (--ignored shows them)")),
    }
}

/// What the end of a run says of the layer in this directory: nothing if nothing waits in it.
pub fn pending_line(path: &Path) -> Option<String> {
    let layer = Layer::open(path).ok()??;
    let dst = visible_path(layer.dst());
    match pending(&layer).ok()? {
        (0, false) => None,
        (0, true) => Some(format!("the repository in '{dst}' changed: sbox apply --commits brings commits")),
        (1, _) => Some(format!("1 change waits in '{dst}': sbox diff shows it, sbox apply brings it over")),
        (count, _) => {
            Some(format!("{count} changes wait in '{dst}': sbox diff shows them, sbox apply brings them over"))
        }
    }
}
