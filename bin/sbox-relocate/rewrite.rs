//! The rules: what in a file names the old prefix, and what may stand in its place.

use memchr::memmem;
use sbox::error::{Error, Result};
use std::path::Path;

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    None,
    Done,
    /// A string in a binary file would have to grow by so many bytes.
    Stuck {
        lacks: usize,
    },
}

/// One path and what to write in its place.
#[derive(Debug)]
pub struct Mapping {
    from: Vec<u8>,
    to: Vec<u8>,
}

impl Mapping {
    /// Refuses paths that would match nearly everything, or that could not stand in a file.
    pub fn new(from: Vec<u8>, to: Vec<u8>) -> Result<Mapping> {
        let trim = |mut path: Vec<u8>| {
            while path.len() > 1 && path.ends_with(b"/") {
                path.pop();
            }
            path
        };
        let (from, to) = (trim(from), trim(to));
        for path in [&from, &to] {
            if !path.starts_with(b"/") || path.len() < 2 || path.iter().any(|byte| *byte < b' ') {
                let shown = sbox::words::visible(&String::from_utf8_lossy(path));
                return Err(Error::usage(format!("'{shown}' is no prefix: it must be an absolute path below '/'")));
            }
        }
        Ok(Mapping { from, to })
    }
}

/// The mappings for a Python source, where a path stands in a string: quotes and backslashes in it are escaped. What was
/// written by an earlier move is found in that form, too.
pub fn in_python(mappings: &[Mapping]) -> Vec<Mapping> {
    let escape = |path: &[u8]| -> Vec<u8> {
        path.iter().flat_map(|byte| if b"'\"\\".contains(byte) { vec![b'\\', *byte] } else { vec![*byte] }).collect()
    };
    let forms = |mapping: &Mapping| {
        let to = escape(&mapping.to);
        let escaped = escape(&mapping.from);
        let plain = (escaped != mapping.from).then(|| Mapping { from: mapping.from.clone(), to: to.clone() });
        [Some(Mapping { from: escaped, to }), plain]
    };
    mappings.iter().flat_map(forms).flatten().collect()
}

/// Files that hold the prefix and must not be touched. Byte code: its strings have their length before them, and Python
/// corrects the file name when it loads it.
pub fn is_exempt(name: &Path) -> bool {
    name.extension().is_some_and(|extension| extension == "pyc" || extension == "pyo")
}

/// The new content of a file; `None` if there is nothing to change; the bytes it lacks if it cannot be changed.
pub fn rewrite(content: &[u8], mappings: &[Mapping]) -> Result<Option<Vec<u8>>, usize> {
    // Zip archives (wheels, launchers) have offsets and checksums.
    if content.starts_with(b"PK\x03\x04") {
        return Ok(None);
    }
    if memchr::memchr(0, content).is_some() {
        return binary(content, mappings);
    }
    Ok(replace_all(content, mappings).map(|text| shebang(&text)))
}

/// Where `from` begins in `text`, as a whole path: `/p/env` is not in `/p/env-other`.
fn sites<'a>(text: &'a [u8], from: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    let goes_on = |byte: &u8| byte.is_ascii_alphanumeric() || b"._+@%~-".contains(byte);
    memmem::find_iter(text, from).filter(move |at| !text.get(at + from.len()).is_some_and(goes_on))
}

/// Every mapping applied to a text of any length; `None` if none applies.
pub fn replace_all(text: &[u8], mappings: &[Mapping]) -> Option<Vec<u8>> {
    let mut current: Option<Vec<u8>> = None;
    for mapping in mappings {
        let text = current.as_deref().unwrap_or(text);
        let mut out = Vec::new();
        let mut done = 0;
        for at in sites(text, &mapping.from) {
            out.extend_from_slice(&text[done..at]);
            out.extend_from_slice(&mapping.to);
            done = at + mapping.from.len();
        }
        if done > 0 {
            out.extend_from_slice(&text[done..]);
            current = Some(out);
        }
    }
    current
}

/// A binary file: the string that holds the prefix ends at a NUL and keeps its room, filled up with NULs.
fn binary(content: &[u8], mappings: &[Mapping]) -> Result<Option<Vec<u8>>, usize> {
    let mut out: Option<Vec<u8>> = None;
    let mut lacks = 0;
    for mapping in mappings {
        let base = out.as_deref().unwrap_or(content).to_owned();
        let mut at = 0;
        while let Some(found) = sites(&base[at..], &mapping.from).next() {
            let start = at + found;
            let end = memchr::memchr(0, &base[start..]).map_or(base.len(), |length| start + length);
            let old = &base[start..end];
            let new = replace_all(old, std::slice::from_ref(mapping)).unwrap_or_else(|| old.to_vec());
            if new.len() > old.len() {
                lacks += new.len() - old.len();
            } else {
                let file = out.get_or_insert_with(|| base.clone());
                file[start..start + new.len()].copy_from_slice(&new);
                file[start + new.len()..end].fill(0);
            }
            at = end;
        }
    }
    if lacks > 0 { Err(lacks) } else { Ok(out) }
}

/// The longest `#!` line that every Linux runs (`BINPRM_BUF_SIZE` was 128 before 5.1).
const LONGEST_SHEBANG: usize = 127;

/// A `#!` line that the kernel could not run (too long, or a space in the path) in a form that it can.
fn shebang(text: &[u8]) -> Vec<u8> {
    let Some(rest) = text.strip_prefix(b"#!") else { return text.to_vec() };
    let end = memchr::memchr(b'\n', text).unwrap_or(text.len());
    let line = String::from_utf8_lossy(&rest[..end - 2]).into_owned();
    let (program, options) = interpreter(line.trim());
    if end <= LONGEST_SHEBANG && !program.contains(' ') {
        return text.to_vec();
    }
    let name = program.rsplit('/').next().unwrap_or(&program);
    let new = if name.starts_with("python") || name.starts_with("pypy") {
        // Valid as sh and as Python at once; what pip writes too (distlib's scripts.py).
        let options = if options.is_empty() { String::new() } else { format!(" {options}") };
        // Between double quotes sh would take these for its own; then the interpreter is found beside the script.
        let special = program.contains(['"', '$', '`', '\\']);
        let program = if special { format!("$(dirname \"$0\")/{name}") } else { program.clone() };
        format!("#!/bin/sh\n'''exec' \"{program}\"{options} \"$0\" \"$@\"\n' '''")
    } else {
        format!("#!/usr/bin/env -S {name}{}{options}", if options.is_empty() { "" } else { " " })
    };
    [new.as_bytes(), &text[end..]].concat()
}

/// Program and options of a `#!` line. A program with spaces in its path ends where its options, or the line, begin.
fn interpreter(line: &str) -> (String, String) {
    let after_name = line.rfind("/bin/").map_or(0, |at| at + "/bin/".len());
    match line[after_name..].find(' ') {
        Some(space) => {
            let (program, options) = line.split_at(after_name + space);
            (program.to_owned(), options.trim().to_owned())
        }
        None => (line.to_owned(), String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(from: &str, to: &str) -> Vec<Mapping> {
        vec![Mapping::new(from.into(), to.into()).unwrap()]
    }

    fn text(content: &str, from: &str, to: &str) -> Option<String> {
        rewrite(content.as_bytes(), &map(from, to)).unwrap().map(|new| String::from_utf8(new).unwrap())
    }

    #[test]
    fn only_the_whole_path_is_replaced() {
        assert_eq!(text("/p/env-other /p/env2 /p/env.d", "/p/env", "/q"), None);
        assert_eq!(text("-I/p/env/include:/p/env", "/p/env", "/q").unwrap(), "-I/q/include:/q");
    }

    #[test]
    fn wild_prefixes_are_refused() {
        for wild in ["", "/", "//", "relative", "..", "/a\nb"] {
            assert!(Mapping::new(wild.into(), "/x".into()).is_err(), "{wild:?}");
            assert!(Mapping::new("/x".into(), wild.into()).is_err(), "{wild:?}");
        }
    }

    #[test]
    fn a_binary_string_shrinks_in_its_room_and_never_grows() {
        let old = b"\x7fELF\0/old/prefix/lib\0tail";
        let new = rewrite(old, &map("/old/prefix", "/new")).unwrap().unwrap();
        assert_eq!(new, b"\x7fELF\0/new/lib\0\0\0\0\0\0\0\0tail");
        assert_eq!(rewrite(old, &map("/old/prefix", "/a/longer/prefix")), Err(5));
    }

    #[test]
    fn several_paths_in_one_string_share_its_room() {
        let new = rewrite(b"\0/pp/a:/pp/b\0", &map("/pp", "/q")).unwrap().unwrap();
        assert_eq!(new, b"\0/q/a:/q/b\0\0\0");
    }

    #[test]
    fn quotes_of_a_path_do_not_end_a_python_string() {
        let there = in_python(&map("/p/env", "/it's/env"));
        let moved = rewrite(b"x = '/p/env/lib'\n", &there).unwrap().unwrap();
        assert_eq!(moved, b"x = '/it\\'s/env/lib'\n");
        let back = in_python(&map("/it's/env", "/p/env"));
        assert_eq!(rewrite(&moved, &back).unwrap().unwrap(), b"x = '/p/env/lib'\n");
    }

    #[test]
    fn archives_keep_their_bytes() {
        assert_eq!(rewrite(b"PK\x03\x04 /p/env ", &map("/p/env", "/q")), Ok(None));
        assert!(is_exempt(Path::new("x.cpython-311.pyc")));
    }

    #[test]
    fn an_unusable_shebang_takes_a_form_that_works() {
        let script = "#!/p/env/bin/python3.11 -E\nprint(1)\n";
        let moved = text(script, "/p/env", "/a b/env").unwrap();
        assert_eq!(moved, "#!/bin/sh\n'''exec' \"/a b/env/bin/python3.11\" -E \"$0\" \"$@\"\n' '''\nprint(1)\n");
        let long = format!("/{}", "x".repeat(130));
        assert!(text("#!/p/env/bin/perl -w\n", "/p/env", &long).unwrap().starts_with("#!/usr/bin/env -S perl -w\n"));
        assert_eq!(text("#!/p/env/bin/python\n", "/p/env", "/q").unwrap(), "#!/q/bin/python\n");
        // Nothing in a path may be taken for a command by the shell that reads the script.
        assert_eq!(
            text("#!/p/env/bin/python\n", "/p/env", "/a $(x) b").unwrap(),
            "#!/bin/sh\n'''exec' \"$(dirname \"$0\")/python\" \"$0\" \"$@\"\n' '''\n"
        );
    }
}
