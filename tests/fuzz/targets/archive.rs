//! An archive that somebody sent: headers, extensions, compression, checksums.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sbox_fuzz::read::{Kind, Limits, each};
use std::io::Read;
use std::path::Component;

fuzz_target!(|bytes: &[u8]| {
    let place = sbox_fuzz::directory().join("archive");
    std::fs::write(&place, bytes).expect("a file in memory can be written");
    let limits = Limits { bytes: 1 << 20, entries: 100 };
    let (mut count, mut size) = (0, 0);
    let _ = each(&place, limits, &mut |item, content| {
        assert!(item.path.components().all(|part| matches!(part, Component::Normal(_))), "{item:?}");
        assert!(item.mode <= 0o777);
        count += 1;
        let mut got = Vec::new();
        let _ = content.take(2 << 20).read_to_end(&mut got);
        if item.kind == Kind::File {
            size += got.len() as u64;
        }
        Ok(())
    });
    assert!(count <= limits.entries && size <= limits.bytes);
    let _ = sbox_fuzz::verify::verify(&place, limits);
});
