//! The short forms: names, counts of lines, and JSON.

use crate::patch::{Shown, quoted};
use crate::{Patch, batches, each};
use libsbox::cli;
use libsbox::cow::{Change, Kind, Layer, Node, Scan, Verdict, What};
use libsbox::error::Result;
use libsbox::escape::visible_path;
use libsbox::format;
use serde_json::{Value, json};

/// Which mount the following is about.
pub fn heading(layer: &Layer) -> String {
    format!("# {} ({})\n", visible_path(layer.dst()), visible_path(layer.src()))
}

/// One path a line, quoted where it must be.
pub fn names(scans: &[(&Layer, Scan)]) -> Result<()> {
    let names = scans.iter().flat_map(|(_, scan)| &scan.changes).map(|change| quoted(&change.path) + "\n");
    cli::out(names.collect::<String>().as_bytes())
}

/// A line for each change, and a sum.
pub fn stat(scans: &[(&Layer, Scan)]) -> Result<()> {
    let (mut rows, mut files, mut sum) = (Vec::new(), 0, (0, 0));
    for (layer, scan) in scans {
        for batch in batches(&scan.changes) {
            for (change, Patch { shown, .. }) in batch.iter().zip(each(layer, batch)?) {
                let lines = match shown {
                    Shown::Text { added, removed } => {
                        sum = (sum.0 + added, sum.1 + removed);
                        format!("+{added} -{removed}")
                    }
                    Shown::Binary => "binary".into(),
                    Shown::Note => String::new(),
                };
                files += 1;
                rows.push(vec![format!(" {}", letter(change)), quoted(&change.path), lines, remark(change)]);
            }
        }
    }
    cli::out(libsbox::output::table(&rows).as_bytes())?;
    if files > 0 {
        let files = format::count(files, "change");
        cli::out_line(format_args!(" {files}, {} lines added, {} lines removed", sum.0, sum.1))?;
    }
    Ok(())
}

/// As git marks it: added, deleted, modified, another sort of entry.
fn letter(change: &Change) -> &'static str {
    match (&change.old, &change.new) {
        (None, Some(_)) => "A",
        (Some(_), None) => "D",
        (Some(old), Some(new)) if old.what == new.what => "M",
        (Some(_), Some(_)) => "T",
        (None, None) => "?",
    }
}

fn remark(change: &Change) -> String {
    match &change.verdict {
        Verdict::Ready => String::new(),
        Verdict::Conflict(why) => format!("conflict: {why}"),
        Verdict::Held(held) => format!("applied only when named: {}", held.reason),
        Verdict::Never(why) => format!("never applied: {why}"),
    }
}

/// All of it, for programs.
pub fn json(scans: &[(&Layer, Scan)]) -> Result<()> {
    let mut mounts = Vec::new();
    for (layer, scan) in scans {
        let mut changes = Vec::new();
        for batch in batches(&scan.changes) {
            for (change, Patch { shown, .. }) in batch.iter().zip(each(layer, batch)?) {
                changes.push(entry(change, &shown));
            }
        }
        mounts.push(json!({
            "dst": layer.dst(),
            "src": layer.src(),
            "kind": if layer.kind() == Kind::Overlay { "overlay" } else { "copy" },
            "changes": changes,
            "ignored": scan.ignored.len(),
            "repositories": scan.repositories.iter().map(|path| path.to_string_lossy()).collect::<Vec<_>>(),
        }));
    }
    cli::out_json(&json!({ "mounts": mounts }))
}

fn entry(change: &Change, shown: &Shown) -> Value {
    let what = |node: &Option<Node>| {
        node.as_ref().map(|node| match node.what {
            What::File => "file",
            What::Link => "link",
            What::Directory => "directory",
            What::Special => "special",
        })
    };
    let mode = |node: &Option<Node>| node.as_ref().map(|node| format!("{:04o}", node.mode));
    let (verdict, reason) = match &change.verdict {
        Verdict::Ready => ("ready", None),
        Verdict::Conflict(why) => ("conflict", Some(why.clone())),
        Verdict::Held(held) => ("named", Some(held.reason.to_owned())),
        Verdict::Never(why) => ("never", Some(why.clone())),
    };
    let (added, removed) = match shown {
        Shown::Text { added, removed } => (Some(added), Some(removed)),
        _ => (None, None),
    };
    json!({
        "path": change.path.to_string_lossy(),
        "change": match letter(change) { "A" => "added", "D" => "deleted", "M" => "modified", "T" => "type", _ => "unknown" },
        "old": what(&change.old), "new": what(&change.new),
        "old_mode": mode(&change.old), "new_mode": mode(&change.new),
        // As they were called before; they stay for one version.
        "oldMode": mode(&change.old), "newMode": mode(&change.new),
        "size": change.new.as_ref().map(|node| node.size),
        "binary": matches!(shown, Shown::Binary),
        "added": added, "removed": removed,
        "apply": verdict, "reason": reason,
    })
}
