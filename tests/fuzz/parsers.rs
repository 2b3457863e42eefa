//! The parsers under test, by the path of their source.
//!
//! They belong to programs, which nothing links: a program is started, and a fuzzer that starts one gets a hundred runs a
//! second where a function gives it a million. So this package, and no other, includes the source of programs. All of
//! those paths are in this file.

#![allow(dead_code, missing_docs, reason = "a program uses what its fuzz target does not")]

#[path = "../../bin/sbox-proxy/client_hello.rs"]
pub mod client_hello;

#[path = "../../bin/sbox-proxy/request.rs"]
pub mod request;

#[path = "../../bin/sbox-archive/blocks.rs"]
pub mod blocks;

#[path = "../../bin/sbox-archive/decompress.rs"]
pub mod decompress;

#[path = "../../bin/sbox-archive/header.rs"]
pub mod header;

#[path = "../../bin/sbox-archive/sparse.rs"]
pub mod sparse;

#[path = "../../bin/sbox-archive/read.rs"]
pub mod read;

#[path = "../../bin/sbox-archive/verify.rs"]
pub mod verify;

#[path = "../../bin/sbox-relocate/boundary.rs"]
pub mod boundary;

#[path = "../../bin/sbox-relocate/forms.rs"]
pub mod forms;

#[path = "../../bin/sbox-relocate/content.rs"]
pub mod content;

#[path = "../../bin/sbox-relocate/elf.rs"]
pub mod elf;

#[path = "../../bin/sbox-relocate/binary.rs"]
pub mod binary;

#[path = "../../bin/sbox-relocate/shebang.rs"]
pub mod shebang;

#[path = "../../bin/sbox-relocate/installed_metadata.rs"]
pub mod installed_metadata;

#[path = "../../bin/sbox-mkenv-host/elf.rs"]
pub mod run_path;

/// A directory of this process, for what is read from files. In memory where there is such a place.
pub fn directory() -> std::path::PathBuf {
    let shm = std::path::Path::new("/dev/shm");
    let base = if shm.is_dir() { shm.to_owned() } else { std::env::temp_dir() };
    let place = base.join(format!("sbox-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&place).expect("a directory in memory can be made");
    place
}
