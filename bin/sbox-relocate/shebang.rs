//! `#!` lines that the kernel can run, wherever the interpreter is.

use crate::boundary::Encoding;
use crate::boundary::right_is_free;
use crate::forms::Mapping;

/// The longest that every Linux runs (`BINPRM_BUF_SIZE` was 128 before 5.1).
const LONGEST: usize = 127;

/// A `#!` line for the interpreter's new place, and how many bytes of `head` it replaces; nothing if the interpreter does not
/// move. `head` is the beginning of the file.
pub fn moved(head: &[u8], mappings: &[Mapping]) -> Option<(Vec<u8>, usize)> {
    let end = memchr::memchr(b'\n', head).unwrap_or(head.len());
    let line = head[..end].strip_prefix(b"#!")?.trim_ascii();
    let fits = |mapping: &&Mapping| {
        line.strip_prefix(mapping.from.as_slice()).is_some_and(|rest| right_is_free(rest, Encoding::Utf8))
    };
    let mapping = mappings.iter().find(fits)?;
    let rest = &line[mapping.from.len()..];
    // What follows the path that moves has no space in it; the path itself may.
    let space = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
    let program = [&mapping.to, &rest[..space]].concat();
    let options = rest[space..].trim_ascii();
    let mut plain = [b"#!", program.as_slice()].concat();
    if !options.is_empty() {
        plain.push(b' ');
        plain.extend_from_slice(options);
    }
    if plain.len() < LONGEST && !program.contains(&b' ') {
        return Some((plain, end));
    }
    let name = program.rsplit(|byte| *byte == b'/').next().unwrap_or(&program);
    if name.starts_with(b"python") || name.starts_with(b"pypy") {
        return Some(for_python(head, end, &program, name, options));
    }
    // A path in quotes, where env(1) can be given one; otherwise the program is looked for on PATH.
    let quotable = !program.iter().any(|byte| b"'\\$\"".contains(byte));
    let quoted = [b"#!/usr/bin/env -S '", program.as_slice(), b"'"].concat();
    let mut line = if quotable && quoted.len() < LONGEST { quoted } else { [b"#!/usr/bin/env -S ", name].concat() };
    if !options.is_empty() {
        line.push(b' ');
        line.extend_from_slice(options);
    }
    Some((line, end))
}

/// Valid as sh and as Python at once; what pip writes too (distlib's scripts.py). A line that tells the encoding stays among
/// the first two, where alone Python looks for it.
fn for_python(head: &[u8], end: usize, program: &[u8], name: &[u8], options: &[u8]) -> (Vec<u8>, usize) {
    let second = head.get(end + 1..).unwrap_or_default();
    let second = &second[..memchr::memchr(b'\n', second).unwrap_or(second.len())];
    let is_cookie = second.trim_ascii_start().starts_with(b"#") && memchr::memmem::find(second, b"coding").is_some();
    let mut out = b"#!/bin/sh\n".to_vec();
    let mut replaced = end;
    if is_cookie {
        out.extend_from_slice(second);
        out.push(b'\n');
        replaced = end + 1 + second.len();
    }
    // Between double quotes sh would take these for its own; then the interpreter is found beside the script.
    let special = program.iter().any(|byte| b"\"$`\\".contains(byte));
    let beside = [b"$(dirname \"$0\")/", name].concat();
    out.extend_from_slice(b"'''exec' \"");
    out.extend_from_slice(if special { &beside } else { program });
    out.extend_from_slice(b"\" ");
    if !options.is_empty() {
        out.extend_from_slice(options);
        out.push(b' ');
    }
    out.extend_from_slice(b"\"$0\" \"$@\"\n' '''");
    (out, replaced)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(head: &str, from: &str, to: &str) -> Option<String> {
        let (new, replaced) = moved(head.as_bytes(), &[Mapping::new(from.into(), to.into()).unwrap()])?;
        Some(String::from_utf8([&new, &head.as_bytes()[replaced..]].concat()).unwrap())
    }

    #[test]
    fn an_unusable_line_takes_a_form_that_works() {
        let script = "#!/p/env/bin/python3.11 -E\nprint(1)\n";
        assert_eq!(line(script, "/p/env", "/q").unwrap(), "#!/q/bin/python3.11 -E\nprint(1)\n");
        assert_eq!(
            line(script, "/p/env", "/a b/env").unwrap(),
            "#!/bin/sh\n'''exec' \"/a b/env/bin/python3.11\" -E \"$0\" \"$@\"\n' '''\nprint(1)\n"
        );
        let long = format!("/{}", "x".repeat(130));
        assert_eq!(line("#!/p/env/bin/perl -w\n", "/p/env", &long).unwrap(), "#!/usr/bin/env -S perl -w\n");
        // Nothing in a path may be taken for a command by the shell that reads the script.
        assert_eq!(
            line("#!/p/env/bin/python\n", "/p/env", "/a $(x) b").unwrap(),
            "#!/bin/sh\n'''exec' \"$(dirname \"$0\")/python\" \"$0\" \"$@\"\n' '''\n"
        );
    }

    #[test]
    fn an_interpreter_with_a_space_in_its_path_need_not_be_in_bin() {
        let script = "#!/a b/env/libexec/tool -x y\n";
        assert_eq!(line(script, "/a b/env", "/q").unwrap(), "#!/q/libexec/tool -x y\n");
        assert_eq!(line(script, "/a b/env", "/c d").unwrap(), "#!/usr/bin/env -S '/c d/libexec/tool' -x y\n");
        assert_eq!(line("#! /p/env/bin/x\n", "/p/env", "/q").unwrap(), "#!/q/bin/x\n");
    }

    #[test]
    fn the_line_that_tells_the_encoding_stays_where_python_looks_for_it() {
        assert_eq!(
            line("#!/p/bin/python\n# -*- coding: latin-1 -*-\nx\n", "/p", "/a b").unwrap(),
            "#!/bin/sh\n# -*- coding: latin-1 -*-\n'''exec' \"/a b/bin/python\" \"$0\" \"$@\"\n' '''\nx\n"
        );
    }

    #[test]
    fn another_interpreter_stays() {
        assert_eq!(line("#!/usr/bin/env python\n", "/p", "/q"), None);
        assert_eq!(line("#!/p-other/bin/python\n", "/p", "/q"), None);
    }
}
