//! The rules: what in a file names the old prefix, and what may stand in its place.

use libsbox::error::{Error, Result};
use memchr::memmem;
use std::path::Path;

/// One path and what to write in its place.
#[derive(Debug)]
pub struct Mapping {
    pub from: Vec<u8>,
    to: Vec<u8>,
    /// As they stand in a URL.
    from_url: Vec<u8>,
    to_url: Vec<u8>,
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
                let shown = libsbox::escape::visible(&String::from_utf8_lossy(path));
                return Err(Error::usage(format!("'{shown}' is no prefix: it must be an absolute path below '/'")));
            }
        }
        Ok(Mapping::of(from, to))
    }

    fn of(from: Vec<u8>, to: Vec<u8>) -> Mapping {
        Mapping { from_url: in_url(&from), to_url: in_url(&to), from, to }
    }
}

/// A path as it stands in a URL (RFC 3986): what is not unreserved, or a slash, in hexadecimal.
fn in_url(path: &[u8]) -> Vec<u8> {
    let encode = |byte: &u8| match byte {
        b'/' | b'-' | b'.' | b'_' | b'~' => vec![*byte],
        byte if byte.is_ascii_alphanumeric() => vec![*byte],
        byte => format!("%{byte:02X}").into_bytes(),
    };
    path.iter().flat_map(encode).collect()
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
        let plain = (escaped != mapping.from).then(|| Mapping::of(mapping.from.clone(), to.clone()));
        [Some(Mapping::of(escaped, to)), plain]
    };
    mappings.iter().flat_map(forms).flatten().collect()
}

/// Files that hold the prefix and must not be touched. Byte code: its strings have their length before them, and Python
/// corrects the file name when it loads it.
pub fn is_exempt(name: &Path) -> bool {
    name.extension().is_some_and(|extension| extension == "pyc" || extension == "pyo")
}

/// What a file is, as far as it matters for what may be changed in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// No NUL in it, whatever its encoding: it may have any length.
    Text,
    /// Strings keep their room.
    Binary,
    /// An archive after a `#!` line: that line may have any length, since what reads it looks from the end.
    Application,
    /// It has offsets and checksums, or a signature.
    Sealed,
}

/// What sort of file this is, by its content.
pub fn kind(content: &[u8]) -> Kind {
    // Zip archives (wheels, launchers); Mach-O in both orders and widths, and several in one file.
    const SEALED: [&[u8]; 6] = [
        b"PK\x03\x04",
        b"\xfe\xed\xfa\xce",
        b"\xfe\xed\xfa\xcf",
        b"\xce\xfa\xed\xfe",
        b"\xcf\xfa\xed\xfe",
        b"\xca\xfe\xba\xbe",
    ];
    if SEALED.iter().any(|start| content.starts_with(start)) {
        return Kind::Sealed;
    }
    if memchr::memchr(0, content).is_none() {
        return Kind::Text;
    }
    match first_line(content) {
        Some(end) if content[end..].starts_with(b"PK\x03\x04") => Kind::Application,
        _ => Kind::Binary,
    }
}

/// Where the `#!` line ends, if there is one.
fn first_line(content: &[u8]) -> Option<usize> {
    content.starts_with(b"#!").then(|| memchr::memchr(b'\n', content).map(|at| at + 1))?
}

/// A text, or what stands before an archive, with the mappings applied; `None` if there is nothing to change.
pub fn text(content: &[u8], mappings: &[Mapping]) -> Option<Vec<u8>> {
    if kind(content) == Kind::Text {
        return replace_all(content, mappings).map(|text| shebang(&text));
    }
    let end = first_line(content)?;
    let line = replace_all(&content[..end], mappings)?;
    Some([&shebang(&line), &content[end..]].concat())
}

/// Where `from` begins in `text`, as a whole path: `/p/env` is not in `/p/env-other`.
pub fn sites<'a>(text: &'a [u8], from: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    let goes_on = |byte: &u8| byte.is_ascii_alphanumeric() || b"._+@%~-".contains(byte);
    memmem::find_iter(text, from).filter(move |at| !text.get(at + from.len()).is_some_and(goes_on))
}

/// The same with what to write there. A path in a `file:` URL stands there as URLs have it.
fn replacements<'a>(text: &'a [u8], mapping: &'a Mapping) -> Vec<(usize, usize, &'a [u8])> {
    let in_url = |at: usize| text[..at].ends_with(b"file://");
    let plain = sites(text, &mapping.from).map(|at| {
        let to = if in_url(at) { &mapping.to_url } else { &mapping.to };
        (at, mapping.from.len(), to.as_slice())
    });
    let mut all: Vec<_> = plain.collect();
    if mapping.from_url != mapping.from {
        let urls = sites(text, &mapping.from_url).filter(|at| in_url(*at));
        all.extend(urls.map(|at| (at, mapping.from_url.len(), mapping.to_url.as_slice())));
        all.sort_unstable();
    }
    all
}

/// Every mapping applied to a text of any length; `None` if none applies.
pub fn replace_all(text: &[u8], mappings: &[Mapping]) -> Option<Vec<u8>> {
    let mut current: Option<Vec<u8>> = None;
    for mapping in mappings {
        let text = current.as_deref().unwrap_or(text);
        let mut out = Vec::new();
        let mut done = 0;
        for (at, length, to) in replacements(text, mapping) {
            out.extend_from_slice(&text[done..at]);
            out.extend_from_slice(to);
            done = at + length;
        }
        if done > 0 {
            out.extend_from_slice(&text[done..]);
            current = Some(out);
        }
    }
    current
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

    fn moved(content: &str, from: &str, to: &str) -> Option<String> {
        text(content.as_bytes(), &map(from, to)).map(|new| String::from_utf8(new).unwrap())
    }

    #[test]
    fn only_the_whole_path_is_replaced() {
        assert_eq!(moved("/p/env-other /p/env2 /p/env.d", "/p/env", "/q"), None);
        assert_eq!(moved("-I/p/env/include:/p/env", "/p/env", "/q").unwrap(), "-I/q/include:/q");
    }

    #[test]
    fn wild_prefixes_are_refused() {
        for wild in ["", "/", "//", "relative", "..", "/a\nb"] {
            assert!(Mapping::new(wild.into(), "/x".into()).is_err(), "{wild:?}");
            assert!(Mapping::new("/x".into(), wild.into()).is_err(), "{wild:?}");
        }
    }

    #[test]
    fn quotes_of_a_path_do_not_end_a_python_string() {
        let there = in_python(&map("/p/env", "/it's/env"));
        let moved = text(b"x = '/p/env/lib'\n", &there).unwrap();
        assert_eq!(moved, b"x = '/it\\'s/env/lib'\n");
        let back = in_python(&map("/it's/env", "/p/env"));
        assert_eq!(text(&moved, &back).unwrap(), b"x = '/p/env/lib'\n");
    }

    #[test]
    fn archives_keep_their_bytes() {
        assert_eq!(kind(b"PK\x03\x04 /p/env "), Kind::Sealed);
        assert_eq!(kind(b"\xcf\xfa\xed\xfe /p/env "), Kind::Sealed);
        assert!(is_exempt(Path::new("x.cpython-311.pyc")));
        let application = b"#!/p/env/bin/python\nPK\x03\x04\0/p/env\0";
        assert_eq!(kind(application), Kind::Application);
        assert_eq!(
            text(application, &map("/p/env", "/longer/env")).unwrap(),
            b"#!/longer/env/bin/python\nPK\x03\x04\0/p/env\0"
        );
    }

    #[test]
    fn a_path_in_a_url_is_written_as_urls_have_it() {
        let url = "{\"url\": \"file:///p/app\", \"dir\": \"/p/app\"}";
        let there = moved(url, "/p", "/with space/ü").unwrap();
        assert_eq!(there, "{\"url\": \"file:///with%20space/%C3%BC/app\", \"dir\": \"/with space/ü/app\"}");
        assert_eq!(moved(&there, "/with space/ü", "/p").unwrap(), url);
        assert_eq!(moved("file:///p%20q/x", "/p", "/q"), None);
    }

    #[test]
    fn text_that_is_not_utf_8_is_text() {
        assert_eq!(text(b"caf\xe9 /p/env/x", &map("/p/env", "/longer/env")).unwrap(), b"caf\xe9 /longer/env/x");
    }

    #[test]
    fn an_unusable_shebang_takes_a_form_that_works() {
        let script = "#!/p/env/bin/python3.11 -E\nprint(1)\n";
        let new = moved(script, "/p/env", "/a b/env").unwrap();
        assert_eq!(new, "#!/bin/sh\n'''exec' \"/a b/env/bin/python3.11\" -E \"$0\" \"$@\"\n' '''\nprint(1)\n");
        let long = format!("/{}", "x".repeat(130));
        assert!(moved("#!/p/env/bin/perl -w\n", "/p/env", &long).unwrap().starts_with("#!/usr/bin/env -S perl -w\n"));
        assert_eq!(moved("#!/p/env/bin/python\n", "/p/env", "/q").unwrap(), "#!/q/bin/python\n");
        // Nothing in a path may be taken for a command by the shell that reads the script.
        assert_eq!(
            moved("#!/p/env/bin/python\n", "/p/env", "/a $(x) b").unwrap(),
            "#!/bin/sh\n'''exec' \"$(dirname \"$0\")/python\" \"$0\" \"$@\"\n' '''\n"
        );
    }
}
