//! The records of packages in an environment: `conda-meta/*.json` and pip's `RECORD`, which an agent can write.
#![no_main]

use libfuzzer_sys::fuzz_target;
use libsbox::dir::Dir;
use sbox_fuzz::installed_metadata as records;
use std::collections::BTreeSet;

fuzz_target!(|bytes: &[u8]| {
    let root = sbox_fuzz::directory().join("env");
    let info = root.join("lib/python3.11/site-packages/x.dist-info");
    std::fs::create_dir_all(&info).expect("a directory in memory can be made");
    std::fs::create_dir_all(root.join("conda-meta")).expect("a directory in memory can be made");
    std::fs::create_dir_all(root.join("bin")).expect("a directory in memory can be made");
    let write = |place: &str, content: &[u8]| std::fs::write(root.join(place), content).expect("it can be written");
    write("bin/x", b"x");
    write("conda-meta/x-1-0.json", bytes);
    write("lib/python3.11/site-packages/x.dist-info/RECORD", bytes);
    let dir = Dir::open(&root).expect("it is there");
    let places = records::placeholders(&dir);
    let changed: BTreeSet<_> = places.into_keys().chain(["bin/x".into()]).collect();
    for place in records::affected(&dir, &changed).unwrap_or_default() {
        assert!(place.ends_with("RECORD") || place.starts_with("conda-meta"), "{place:?}");
        let _ = records::updated(&place, bytes, &changed, &|_| Some(([0; 32], 7)));
    }
});
