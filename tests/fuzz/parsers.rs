//! The parsers under test, by the path of their source.
//!
//! They belong to programs, which nothing links: a program is started, and a fuzzer that starts one gets a hundred runs a
//! second where a function gives it a million. So this package, and no other, includes the source of programs. All of
//! those paths are in this file.

#![allow(dead_code, missing_docs, reason = "a program uses what its fuzz target does not")]

#[path = "../../bin/sbox-proxy/hello.rs"]
pub mod client_hello;

#[path = "../../bin/sbox-proxy/request.rs"]
pub mod request;

#[path = "../../bin/sbox-archive/read.rs"]
pub mod read;

#[path = "../../bin/sbox-archive/verify.rs"]
pub mod verify;

#[path = "../../bin/sbox-relocate/rewrite.rs"]
pub mod rewrite;

#[path = "../../bin/sbox-relocate/binary.rs"]
pub mod binary;

#[path = "../../bin/sbox-relocate/records.rs"]
pub mod records;

#[path = "../../bin/sbox-mkenv-host/elf.rs"]
pub mod elf;

/// A directory of this process, for what is read from files. In memory where there is such a place.
pub fn directory() -> std::path::PathBuf {
    let shm = std::path::Path::new("/dev/shm");
    let base = if shm.is_dir() { shm.to_owned() } else { std::env::temp_dir() };
    let place = base.join(format!("sbox-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&place).expect("a directory in memory can be made");
    place
}
