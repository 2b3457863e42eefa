//! One change in the format of git, as `git apply` reads it.

use crate::{Patch, binary};
use imara_diff::{Algorithm, Diff, InternedInput};
use libsbox::cow::{Change, Node, Tree, What};
use libsbox::error::{Context, Result};
use libsbox::escape::visible_path;
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Files that are larger are not shown: nobody reads that, and it would have to fit into memory.
pub const LARGEST: u64 = 64 << 20;

/// What a change is, line by line.
pub enum Shown {
    /// A part of a patch, with the lines that came and went.
    Text { added: usize, removed: usize },
    /// A part of a patch with binary content.
    Binary,
    /// Something that a patch cannot say.
    Note,
}

/// One side of a change.
struct Side {
    mode: &'static str,
    content: Content,
}

enum Content {
    Bytes(Vec<u8>),
    TooLarge,
}

/// The change as text.
pub fn write(change: &Change, host: &mut Tree, layer: &mut Tree) -> Result<Patch> {
    let old = side(change, change.old.as_ref(), host)?;
    let new = side(change, change.new.as_ref(), layer)?;
    let digest = match new.as_ref().map(|new| &new.content) {
        Some(Content::Bytes(bytes)) => Some(libsbox::fs::sha256(bytes)),
        _ => None,
    };
    let mut text = Vec::new();
    let shown = both(&mut text, change, old, new)?;
    Ok(Patch { text, shown, digest })
}

fn both(out: &mut Vec<u8>, change: &Change, old: Option<Side>, new: Option<Side>) -> Result<Shown> {
    let name = quoted(&change.path);
    match (old, new) {
        (None, None) => {
            out.extend(format!("# {}\n", note(change)).bytes());
            Ok(Shown::Note)
        }
        // A file that became a link, or the other way round: for git that is one that went and one that came.
        (Some(old), Some(new)) if old.mode[..2] != new.mode[..2] => {
            let gone = pair(out, &name, Some(&old), None);
            Ok(sum(gone, pair(out, &name, None, Some(&new))))
        }
        (old, new) => {
            mode_note(out, change);
            Ok(pair(out, &name, old.as_ref(), new.as_ref()))
        }
    }
}

fn sum(one: Shown, other: Shown) -> Shown {
    match (one, other) {
        (Shown::Text { added: a, removed: b }, Shown::Text { added: c, removed: d }) => {
            Shown::Text { added: a + c, removed: b + d }
        }
        _ => Shown::Binary,
    }
}

/// What a patch cannot say, in words.
pub fn note(change: &Change) -> String {
    let path = visible_path(&change.path);
    let what = |node: &Option<Node>| node.as_ref().map(|node| node.what);
    match (what(&change.old), what(&change.new)) {
        (None, Some(What::Directory)) => format!("new directory: {path}"),
        (Some(What::Directory), None) => format!("deleted directory: {path}"),
        (Some(What::Directory), Some(What::Directory)) => format!("new mode of the directory: {path}"),
        (_, Some(What::Special)) => format!("a pipe, a socket or a device: {path}"),
        _ => format!("cannot be shown: {path}"),
    }
}

fn side(change: &Change, node: Option<&Node>, tree: &mut Tree) -> Result<Option<Side>> {
    let Some(node) = node else { return Ok(None) };
    let shown = || format!("read '{}'", visible_path(&change.path));
    Ok(match node.what {
        What::File => {
            let mut bytes = Vec::with_capacity(node.size.min(LARGEST) as usize);
            let length = tree.file(&change.path)?.take(LARGEST + 1).read_to_end(&mut bytes).context(shown)?;
            let fits = length as u64 <= LARGEST;
            let content = if fits { Content::Bytes(bytes) } else { Content::TooLarge };
            Some(Side { mode: if node.mode & 0o111 != 0 { "100755" } else { "100644" }, content })
        }
        What::Link => {
            let target = tree.link(&change.path)?;
            Some(Side { mode: "120000", content: Content::Bytes(target.as_os_str().as_bytes().to_vec()) })
        }
        What::Directory | What::Special => None,
    })
}

/// The head and the body of one part of the patch.
fn pair(out: &mut Vec<u8>, name: &str, old: Option<&Side>, new: Option<&Side>) -> Shown {
    let (a, b) = (prefixed("a/", name), prefixed("b/", name));
    let is_same = |old: &Side, new: &Side| match (&old.content, &new.content) {
        (Content::Bytes(before), Content::Bytes(after)) => before == after && old.mode == new.mode,
        _ => false,
    };
    if old.zip(new).is_some_and(|(old, new)| is_same(old, new)) {
        // What is different, a patch cannot say.
        return Shown::Text { added: 0, removed: 0 };
    }
    out.extend(format!("diff --git {a} {b}\n").bytes());
    match (old, new) {
        (None, Some(new)) => out.extend(format!("new file mode {}\n", new.mode).bytes()),
        (Some(old), None) => out.extend(format!("deleted file mode {}\n", old.mode).bytes()),
        (Some(old), Some(new)) if old.mode != new.mode => {
            out.extend(format!("old mode {}\nnew mode {}\n", old.mode, new.mode).bytes());
        }
        _ => {}
    }
    let empty = Content::Bytes(Vec::new());
    let (before, after) = (old.map_or(&empty, |old| &old.content), new.map_or(&empty, |new| &new.content));
    let (Content::Bytes(before), Content::Bytes(after)) = (before, after) else {
        out.extend(format!("Binary files {a} and {b} differ\n").bytes());
        return Shown::Binary;
    };
    if before == after && old.is_some() == new.is_some() {
        return Shown::Text { added: 0, removed: 0 };
    }
    let id = |side: Option<&Side>, bytes: &[u8]| side.map_or_else(|| "0".repeat(40), |_| binary::object_name(bytes));
    let (from, to) = (id(old, before), id(new, after));
    let mode = match (old, new) {
        (Some(old), Some(new)) if old.mode == new.mode => format!(" {}", new.mode),
        _ => String::new(),
    };
    if is_binary(before) || is_binary(after) {
        out.extend(format!("index {from}..{to}{mode}\n").bytes());
        binary::write(out, before, after);
        return Shown::Binary;
    }
    out.extend(format!("index {}..{}{mode}\n", &from[..10], &to[..10]).bytes());
    if before.is_empty() && after.is_empty() {
        return Shown::Text { added: 0, removed: 0 };
    }
    let end = if name.contains(' ') && !name.starts_with('"') { "\t" } else { "" };
    let from = if old.is_some() { format!("{a}{end}") } else { "/dev/null".into() };
    let to = if new.is_some() { format!("{b}{end}") } else { "/dev/null".into() };
    out.extend(format!("--- {from}\n+++ {to}\n").bytes());
    lines(out, before, after)
}

/// Git looks near the start alone. A megabyte of zeros behind that takes no room on the disk, and would be a line of the patch.
fn is_binary(bytes: &[u8]) -> bool {
    memchr::memchr(0, bytes).is_some()
}

/// The bits that git's modes do not say: who else may read and write.
fn mode_note(out: &mut Vec<u8>, change: &Change) {
    if let (Some(old), Some(new)) = (&change.old, &change.new)
        && old.what == What::File
        && new.what == What::File
    {
        let (was, is) = (old.mode & 0o777, new.mode_on_the_host(Some(old.mode)));
        let all_in_the_patch = (was ^ is) & 0o666 == 0 && (was & 0o111 == 0) != (is & 0o111 == 0);
        if was != is && !all_in_the_patch {
            out.extend(format!("# mode {is:03o}, was {was:03o}: {}\n", visible_path(&change.path)).bytes());
        }
    }
}

/// A unified diff with three lines of context.
fn lines(out: &mut Vec<u8>, before: &[u8], after: &[u8]) -> Shown {
    const CONTEXT: u32 = 3;
    let input = InternedInput::new(before, after);
    let mut diff = Diff::compute(Algorithm::Histogram, &input);
    diff.postprocess_no_heuristic(&input);
    let hunks: Vec<_> = diff.hunks().collect();
    let (mut added, mut removed) = (0, 0);
    let mut first = 0;
    while first < hunks.len() {
        let mut last = first;
        while last + 1 < hunks.len() && hunks[last + 1].before.start - hunks[last].before.end <= 2 * CONTEXT {
            last += 1;
        }
        let lead = hunks[first].before.start.min(CONTEXT);
        let trail = (input.before.len() as u32 - hunks[last].before.end).min(CONTEXT);
        let (from, to) = (hunks[first].before.start - lead, hunks[last].before.end + trail);
        let (new_from, new_to) = (hunks[first].after.start - lead, hunks[last].after.end + trail);
        out.extend(format!("@@ -{} +{} @@\n", range(from, to), range(new_from, new_to)).bytes());
        let mut at = from;
        for hunk in &hunks[first..=last] {
            (at..hunk.before.start).for_each(|line| put(out, b' ', input.interner[input.before[line as usize]]));
            hunk.before.clone().for_each(|line| put(out, b'-', input.interner[input.before[line as usize]]));
            hunk.after.clone().for_each(|line| put(out, b'+', input.interner[input.after[line as usize]]));
            (added, removed) = (added + hunk.after.len(), removed + hunk.before.len());
            at = hunk.before.end;
        }
        (at..to).for_each(|line| put(out, b' ', input.interner[input.before[line as usize]]));
        first = last + 1;
    }
    Shown::Text { added, removed }
}

/// `START,LENGTH` as diff(1) counts: from one, and the line before where there is none.
fn range(from: u32, to: u32) -> String {
    match to - from {
        0 => format!("{from},0"),
        1 => format!("{}", from + 1),
        length => format!("{},{length}", from + 1),
    }
}

fn put(out: &mut Vec<u8>, sign: u8, line: &[u8]) {
    out.push(sign);
    out.extend(line);
    if !line.ends_with(b"\n") {
        out.extend(b"\n\\ No newline at end of file\n");
    }
}

fn prefixed(prefix: &str, name: &str) -> String {
    match name.strip_prefix('"') {
        Some(rest) => format!("\"{prefix}{rest}"),
        None => format!("{prefix}{name}"),
    }
}

/// A path as git quotes it: in double quotes, with octal escapes, if it has anything in it that is not plain.
pub fn quoted(path: &Path) -> String {
    let bytes = path.as_os_str().as_bytes();
    if bytes.iter().all(|byte| (0x20..0x7f).contains(byte) && !b"\"\\".contains(byte)) {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    let mut out = String::from("\"");
    for byte in OsStr::as_bytes(path.as_os_str()) {
        match byte {
            b'\n' => out.push_str("\\n"),
            b'\t' => out.push_str("\\t"),
            b'"' | b'\\' => out.extend(['\\', char::from(*byte)]),
            0x20..0x7f => out.push(char::from(*byte)),
            byte => out.push_str(&format!("\\{byte:03o}")),
        }
    }
    out + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_as_git_does() {
        assert_eq!(quoted(Path::new("a b")), "a b");
        assert_eq!(quoted(Path::new("a\n\"é")), "\"a\\n\\\"\\303\\251\"");
    }

    #[test]
    fn lines_without_an_end_are_marked() {
        let mut out = Vec::new();
        lines(&mut out, b"a\nb\n", b"a\nc");
        assert_eq!(String::from_utf8(out).unwrap(), "@@ -1,2 +1,2 @@\n a\n-b\n+c\n\\ No newline at end of file\n");
    }

    #[test]
    fn ranges_count_as_diff_does() {
        assert_eq!([range(0, 0), range(4, 5), range(4, 7)], ["0,0", "5", "5,3"]);
    }
}
