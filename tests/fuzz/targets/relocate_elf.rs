//! Paths in programs, with what an archive claims of the room that they have; and the run path of an ELF file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sbox_fuzz::binary::{Known, Slots, apply, patches};
use sbox_fuzz::content::Reader;
use sbox_fuzz::forms::{Forms, Mapping};
use sbox_fuzz::run_path;
use std::os::unix::fs::FileExt;

fuzz_target!(|input: (u8, u32, u64, u32, &[u8])| {
    let (choice, start, most, placeholder, content) = input;
    let to = ["/e", "/envi", "/environment/of/another", "/env/env"][usize::from(choice % 4)];
    let forms = Forms::new(&[Mapping::new(b"/env".to_vec(), to.into()).expect("both are prefixes")], false);
    // What an archive says is a number; the placeholder is the length of a string that was read.
    let slots = Slots::from([(u64::from(start), most)]);
    let known = Known {
        slots: (choice & 4 != 0).then_some(&slots),
        placeholder: (choice & 8 != 0).then_some((placeholder as usize, 4)),
        is_declared: choice & 16 != 0,
    };
    let path = sbox_fuzz::directory().join("program");
    std::fs::write(&path, content).expect("a file in memory can be written");
    let file = std::fs::File::options().read(true).write(true).open(&path).expect("it is there");
    let all = patches(&mut Reader::new(), &file, content.len() as u64, &forms, &known).expect("it can be read");
    if all.lacking.is_none() {
        apply(&file, &all).expect("it can be written");
        let mut new = Vec::new();
        new.resize(file.metadata().expect("it is there").len() as usize, 0);
        file.read_exact_at(&mut new, 0).expect("it can be read");
        assert_eq!(new.len(), content.len());
    }
    let mut file = content.to_vec();
    if let Some(range) = run_path::run_path(&file) {
        assert!(range.end < file.len());
        run_path::set_run_path(&mut file, "$ORIGIN/../lib");
        assert_eq!(file.len(), content.len());
    }
});
