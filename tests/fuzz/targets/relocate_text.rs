//! Paths in text: scripts, Python sources, URLs, JSON, `#!` lines.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sbox_fuzz::boundary::{Encoding, is_counted};
use sbox_fuzz::forms::{Forms, Mapping};
use sbox_fuzz::shebang;

fuzz_target!(|input: (u8, &[u8])| {
    let (choice, content) = input;
    let to = ["/e", "/a b/'\"\\$`/ü", "/a/very/long/path/0123456789/0123456789/0123456789/0123456789/0123456789"];
    let mapping = Mapping::new(b"/env".to_vec(), to[usize::from(choice % 3)].into()).expect("both are prefixes");
    let encoding = [Encoding::Utf8, Encoding::Legacy, Encoding::Declared][usize::from(choice / 3 % 3)];
    let forms = Forms::new(std::slice::from_ref(&mapping), choice & 128 != 0);
    for site in forms.sites(content, encoding) {
        let _ = is_counted(content, site.start, site.end - site.start, content);
    }
    if let Some(new) = forms.replaced(content, encoding) {
        assert!(forms.replaced(&new, encoding).is_none(), "a second move finds nothing");
    }
    if let Some((_, replaced)) = shebang::moved(content, &[mapping]) {
        assert!(replaced <= content.len());
    }
});
