//! How a path may stand in a text: as it is, in a URL, in JSON, in a Python string; and where it begins and ends.

use crate::boundary::{Encoding, left_is_free, right_is_free};
use libsbox::error::{Error, Result};
use libsbox::escape::visible;
use memchr::memmem::Finder;
use std::collections::BTreeMap;

/// One path and what to write in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    pub from: Vec<u8>,
    pub to: Vec<u8>,
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
                let shown = visible(&String::from_utf8_lossy(path));
                return Err(Error::usage(format!("'{shown}' is not a prefix: it must be an absolute path below '/'")));
            }
        }
        Ok(Mapping { from, to })
    }
}

/// One way to write the path of a mapping.
#[derive(Debug)]
struct Form {
    from: Vec<u8>,
    to: Vec<u8>,
    /// What to write after `file:`, if that is another text.
    to_url: Option<Vec<u8>>,
    /// Where in `from` the part begins that is searched for.
    anchor: usize,
}

/// All ways to write all mappings.
#[derive(Debug)]
pub struct Forms {
    forms: Vec<Form>,
    /// Parts of a path that look the same in every form, and the forms that have them.
    anchors: Vec<(Finder<'static>, Vec<usize>)>,
    /// The length of the longest form.
    longest: usize,
}

/// A place where a path stands, and what to write there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Site<'a> {
    pub start: usize,
    pub end: usize,
    pub to: &'a [u8],
}

impl Forms {
    /// In a Python source a path stands in a string: quotes in it are escaped.
    pub fn new(mappings: &[Mapping], python: bool) -> Forms {
        let mut forms: Vec<Form> = Vec::new();
        let mut by_anchor: BTreeMap<Vec<u8>, Vec<usize>> = BTreeMap::new();
        for mapping in mappings {
            let part = anchor(&mapping.from);
            for (from, to, to_url) in spellings(mapping, python) {
                if forms.iter().any(|form| form.from == from) {
                    continue;
                }
                let part = part.unwrap_or(&from);
                let Some(at) = memchr::memmem::find(&from, part) else { continue };
                by_anchor.entry(part.to_vec()).or_default().push(forms.len());
                forms.push(Form { from, to, to_url, anchor: at });
            }
        }
        let longest = forms.iter().map(|form| form.from.len()).max().unwrap_or(0);
        let anchors = by_anchor.into_iter().map(|(part, forms)| (Finder::new(&part).into_owned(), forms)).collect();
        Forms { forms, anchors, longest }
    }

    pub fn longest(&self) -> usize {
        self.longest
    }

    /// Where something begins that looks like one of the paths, whatever stands around it.
    pub fn raw<'a>(&'a self, text: &'a [u8]) -> impl Iterator<Item = (usize, usize)> + 'a {
        self.anchors.iter().flat_map(move |(finder, forms)| {
            finder.find_iter(text).flat_map(move |at| {
                forms.iter().filter_map(move |index| {
                    let form = &self.forms[*index];
                    let start = at.checked_sub(form.anchor)?;
                    text[start..].starts_with(&form.from).then_some((start, *index))
                })
            })
        })
    }

    /// Every whole path: `/p/env` is neither in `/p/env-other` nor in `/x/p/env`. In order, none in another.
    pub fn sites<'a>(&'a self, text: &'a [u8], encoding: Encoding) -> Vec<Site<'a>> {
        let whole = |(start, index): (usize, usize)| {
            let form = &self.forms[index];
            let end = start + form.from.len();
            (left_is_free(&text[..start], encoding) && right_is_free(&text[end..], encoding)).then(|| {
                let in_url = form.to_url.as_deref().filter(|_| is_after_scheme(&text[..start]));
                Site { start, end, to: in_url.unwrap_or(&form.to) }
            })
        };
        let mut found: Vec<Site<'a>> = self.raw(text).filter_map(whole).collect();
        // Of two that begin at one place the longer one is meant.
        found.sort_by_key(|site| (site.start, std::cmp::Reverse(site.end)));
        let mut done = 0;
        found.retain(|site| {
            let first = site.start >= done;
            done = if first { site.end } else { done };
            first
        });
        found
    }

    /// The text with every path replaced; nothing if there is none.
    pub fn replaced(&self, text: &[u8], encoding: Encoding) -> Option<Vec<u8>> {
        let sites = self.sites(text, encoding);
        let mut out = Vec::with_capacity(text.len());
        let mut done = 0;
        for site in &sites {
            out.extend_from_slice(&text[done..site.start]);
            out.extend_from_slice(site.to);
            done = site.end;
        }
        out.extend_from_slice(&text[done..]);
        (!sites.is_empty()).then_some(out)
    }
}

/// `file:///p`: what stands before the path is the scheme.
fn is_after_scheme(before: &[u8]) -> bool {
    let mut before = before;
    for _ in 0..2 {
        before = before.strip_suffix(b"/").unwrap_or(before);
    }
    before.ends_with(b"file:")
}

/// The component of a path that no form changes: ours, which is rare in any text, or the longest.
fn anchor(path: &[u8]) -> Option<&[u8]> {
    let plain = |part: &&[u8]| !part.is_empty() && part.iter().all(|byte| is_unreserved(*byte));
    let parts = || path.split(|byte| *byte == b'/').filter(plain);
    parts().find(|part| *part == b".sbox").or_else(|| parts().max_by_key(|part| part.len()))
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

type Spelling = (Vec<u8>, Vec<u8>, Option<Vec<u8>>);

/// Every way to write a mapping; the first that fits is taken, so that the plain one stands first.
fn spellings(mapping: &Mapping, python: bool) -> Vec<Spelling> {
    let both = |write: &dyn Fn(&[u8]) -> Vec<u8>| (write(&mapping.from), write(&mapping.to), None);
    let url = |path: &[u8]| percent(path, false, true);
    let to_url = (url(&mapping.to) != mapping.to).then(|| url(&mapping.to));
    let mut all = Vec::new();
    if python {
        let to = quoted(&mapping.to);
        all.push((quoted(&mapping.from), to.clone(), to_url.clone()));
        all.push((mapping.from.clone(), to, to_url));
    } else {
        all.push((mapping.from.clone(), mapping.to.clone(), to_url));
    }
    all.push(both(&|path| json(path, true, false)));
    all.push(both(&|path| json(path, false, true)));
    all.push(both(&|path| json(path, true, true)));
    for upper in [true, false] {
        let spelled =
            |slash: bool| (percent(&mapping.from, slash, upper), percent(&mapping.to, slash, upper), None::<Vec<u8>>);
        all.extend([spelled(false), spelled(true)]);
    }
    all
}

/// As in a URL (RFC 3986): what is not unreserved, or a slash, in hexadecimal; the slash too in a part of one.
fn percent(path: &[u8], slash: bool, upper: bool) -> Vec<u8> {
    let encode = |byte: &u8| match byte {
        b'/' if !slash => vec![b'/'],
        byte if is_unreserved(*byte) => vec![*byte],
        byte if upper => format!("%{byte:02X}").into_bytes(),
        byte => format!("%{byte:02x}").into_bytes(),
    };
    path.iter().flat_map(encode).collect()
}

/// As in a JSON string: slashes may be escaped, and what is not ASCII.
fn json(path: &[u8], slash: bool, ascii: bool) -> Vec<u8> {
    let Ok(text) = std::str::from_utf8(path) else { return path.to_vec() };
    let mut out = String::new();
    for letter in text.chars() {
        match letter {
            '/' if slash => out.push_str("\\/"),
            letter if ascii && !letter.is_ascii() => {
                let mut units = [0; 2];
                out.extend(letter.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
            }
            letter => out.push(letter),
        }
    }
    out.into_bytes()
}

fn quoted(path: &[u8]) -> Vec<u8> {
    path.iter().flat_map(|byte| if b"'\"\\".contains(byte) { vec![b'\\', *byte] } else { vec![*byte] }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved(text: &str, from: &str, to: &str) -> Option<String> {
        let mapping = Mapping::new(from.into(), to.into()).unwrap();
        Forms::new(&[mapping], false)
            .replaced(text.as_bytes(), Encoding::Utf8)
            .map(|new| String::from_utf8(new).unwrap())
    }

    #[test]
    fn wild_prefixes_are_refused() {
        for wild in ["", "/", "//", "relative", "..", "/a\nb"] {
            assert!(Mapping::new(wild.into(), "/x".into()).is_err(), "{wild:?}");
            assert!(Mapping::new("/x".into(), wild.into()).is_err(), "{wild:?}");
        }
    }

    #[test]
    fn a_path_in_a_url_is_written_as_urls_have_it() {
        let url = "{\"url\": \"file:///p/app\", \"dir\": \"/p/app\", \"part\": \"file%3A%2F%2F%2Fp%2Fapp\"}";
        let there = moved(url, "/p", "/with space/ü").unwrap();
        let expected = "{\"url\": \"file:///with%20space/%C3%BC/app\", \"dir\": \"/with space/ü/app\", \"part\": \"file%3A%2F%2F%2Fwith%20space%2F%C3%BC%2Fapp\"}";
        assert_eq!(there, expected);
        assert_eq!(moved(&there, "/with space/ü", "/p").unwrap(), url);
        assert_eq!(moved("file:///p%20q/x", "/p", "/q"), None);
        assert_eq!(moved("x=/a%c3%bc/y", "/aü", "/é").unwrap(), "x=/%c3%a9/y");
    }

    #[test]
    fn a_path_in_json_is_found_however_it_is_escaped() {
        assert_eq!(moved(r#"{"a": "\/p\/env\/x"}"#, "/p/env", "/q/e").unwrap(), r#"{"a": "\/q\/e\/x"}"#);
        assert_eq!(moved(r#""/gr\u00f6\u00dfe/x""#, "/größe", "/q").unwrap(), r#""/q/x""#);
        assert_eq!(moved(r#""file:\/\/\/p\/env""#, "/p/env", "/q").unwrap(), r#""file:\/\/\/q""#);
    }

    #[test]
    fn quotes_of_a_path_do_not_end_a_python_string() {
        let forms = |from: &str, to: &str| Forms::new(&[Mapping::new(from.into(), to.into()).unwrap()], true);
        let there = forms("/p/env", "/it's/env").replaced(b"x = '/p/env/lib'\n", Encoding::Utf8).unwrap();
        assert_eq!(there, b"x = '/it\\'s/env/lib'\n");
        let back = forms("/it's/env", "/p/env").replaced(&there, Encoding::Utf8).unwrap();
        assert_eq!(back, b"x = '/p/env/lib'\n");
    }

    #[test]
    fn two_mappings_are_applied_at_once() {
        let mappings =
            [("/a/env", "/b/env"), ("/b/env", "/c")].map(|(from, to)| Mapping::new(from.into(), to.into()).unwrap());
        let new = Forms::new(&mappings, false).replaced(b"/a/env /b/env\n", Encoding::Utf8).unwrap();
        assert_eq!(new, b"/b/env /c\n");
    }
}
