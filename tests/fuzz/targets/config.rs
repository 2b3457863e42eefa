//! `.sbox/config.yaml`, as an archive or a repository brings it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::path::{Component, Path};

fuzz_target!(|text: &str| {
    let report = libsbox::check::check(text, Path::new("/nonexistent"));
    if let (Some(config), 0) = (&report.config, report.errors().count()) {
        for entry in config.copy.iter().chain(&config.mount) {
            assert!(entry.dst.is_absolute(), "{entry:?}");
            assert!(!entry.dst.components().any(|part| part == Component::ParentDir), "{entry:?}");
        }
    }
    for finding in &report.findings {
        assert!(!finding.to_string().contains(['\0', '\u{202e}', '\u{1b}']), "{finding}");
    }
});
