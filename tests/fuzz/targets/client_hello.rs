//! The first bytes of a connection that claims to be TLS.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sbox_fuzz::client_hello::{Hello, read};

fuzz_target!(|bytes: &[u8]| {
    let whole = read(bytes);
    // What comes in pieces is understood as what comes at once: no beginning says another name than the whole.
    let beginning = read(&bytes[..bytes.len() / 2]);
    if let (Hello::Names(first), Hello::Names(second)) = (&beginning, &whole) {
        assert_eq!(first, second);
    }
    if let Hello::Names(name) = whole {
        assert!(!name.is_empty() && name.is_ascii() && name.len() < 256);
    }
});
