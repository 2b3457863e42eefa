//! Paths in binary files, with what an archive claims of the room that they have; and the run path of an ELF file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sbox_fuzz::binary::{Room, Slots, rewrite};
use sbox_fuzz::rewrite::{Mapping, sites};
use sbox_fuzz::elf;

fuzz_target!(|input: (u8, u32, u64, u32, &[u8])| {
    let (choice, start, most, placeholder, content) = input;
    let to = ["/e", "/envi", "/environment/of/another", "/env/env"][usize::from(choice % 4)];
    let mappings = [Mapping::new(b"/env".to_vec(), to.into()).expect("both are prefixes")];
    // What an archive says is a number; the placeholder is the length of a string that was read.
    let slots = Slots::from([(start as usize, most as usize)]);
    let room = Room {
        slots: (choice & 4 != 0).then_some(&slots),
        placeholder: (choice & 8 != 0).then_some(placeholder as usize),
    };
    if let Ok(Some((new, _))) = rewrite(content, &mappings, &room) {
        assert_eq!(new.len(), content.len());
        if !to.starts_with("/env") {
            assert!(sites(&new, b"/env").next().is_none());
        }
    }
    let mut file = content.to_vec();
    if let Some(range) = elf::run_path(&file) {
        assert!(range.end < file.len());
        elf::set_run_path(&mut file, "$ORIGIN/../lib");
        assert_eq!(file.len(), content.len());
    }
});
