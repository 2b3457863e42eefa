//! Paths in text: scripts, Python sources, URLs, `#!` lines, an archive after one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sbox_fuzz::rewrite::{Mapping, in_python, kind, text};

fuzz_target!(|input: (u8, &[u8])| {
    let (choice, content) = input;
    let to = ["/e", "/a b/'\"\\$`/ü", "/a/very/long/path/0123456789/0123456789/0123456789/0123456789/0123456789"];
    let mappings = vec![Mapping::new(b"/env".to_vec(), to[usize::from(choice % 3)].into()).expect("both are prefixes")];
    let _ = kind(content);
    let new = text(content, &mappings);
    if let (Some(new), false) = (new, content.starts_with(b"#!")) {
        assert!(text(&new, &mappings).is_none(), "a second move finds nothing");
    }
    let _ = text(content, &in_python(&mappings));
});
