//! The head of a request to the proxy, and the line before a chunk.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sbox_fuzz::request::{What, chunk_length, parse};

fuzz_target!(|bytes: &[u8]| {
    let _ = chunk_length(bytes);
    let Ok(request) = parse(bytes) else { return };
    assert!(request.port > 0 && !request.host.is_empty());
    assert!(request.host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte)), "{request:?}");
    if let What::Plain { head, .. } = request.what {
        // What goes to the server is one head: it has one end, and one line that says the host.
        let head = String::from_utf8(head).expect("a head that was read as text is text");
        assert_eq!(head.find("\r\n\r\n"), Some(head.len() - 4));
        assert!(!head.replace("\r\n", "").contains(['\r', '\n', '\0']));
        let hosts = head.split("\r\n").filter(|line| line.to_ascii_lowercase().starts_with("host:")).count();
        assert_eq!(hosts, 1, "{head}");
    }
});
