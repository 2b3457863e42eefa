//! The checksum of a file that is mostly holes. SHA-256 of a terabyte takes an hour; of what is in it, a moment.
//!
//! It is the SHA-256 of the file's size, and of every grain that is not all zeros, each after its number. So it does not
//! depend on where a file system has holes and where it has zeros.

use libsbox::fs::{self, GRAIN};
use sha2::{Digest, Sha256};

/// A file with more holes than this has such a checksum; any other has one that sha256sum(1) can check.
pub const BOUND: u64 = 256 << 20;

/// Counts what is in a file. Bytes are given in their order; what is not given is a hole.
pub struct Blocks {
    hash: Sha256,
    grain: Vec<u8>,
    number: u64,
}

impl Blocks {
    pub fn new(size: u64) -> Blocks {
        let mut hash = Sha256::new();
        hash.update(size.to_le_bytes());
        Blocks { hash, grain: Vec::with_capacity(GRAIN as usize), number: 0 }
    }

    /// The bytes at a place.
    pub fn add(&mut self, mut at: u64, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if at / GRAIN != self.number {
                self.close();
                self.number = at / GRAIN;
            }
            let start = (at % GRAIN) as usize;
            let length = bytes.len().min(GRAIN as usize - start);
            self.grain.resize(start, 0);
            self.grain.extend_from_slice(&bytes[..length]);
            at += length as u64;
            bytes = &bytes[length..];
        }
    }

    fn close(&mut self) {
        let end = self.grain.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        if end > 0 {
            self.hash.update(self.number.to_le_bytes());
            self.hash.update((end as u64).to_le_bytes());
            self.hash.update(&self.grain[..end]);
        }
        self.grain.clear();
    }

    pub fn finish(mut self) -> String {
        self.close();
        fs::hex(&self.hash.finalize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(size: u64, pieces: &[(u64, &[u8])]) -> String {
        let mut blocks = Blocks::new(size);
        pieces.iter().for_each(|(at, bytes)| blocks.add(*at, bytes));
        blocks.finish()
    }

    #[test]
    fn it_depends_on_the_content_alone() {
        let far = 1 << 40;
        let one = sum(far, &[(5, b"abc"), (far - 1, b"x")]);
        let mut zeros = vec![0; 3 * GRAIN as usize];
        zeros[5..8].copy_from_slice(b"abc");
        assert_eq!(one, sum(far, &[(0, &zeros), (far - 1, b"x")]));
        assert_eq!(
            one,
            sum(far, &[(0, &zeros[..6]), (6, &zeros[6..70_000]), (70_000, &zeros[70_000..]), (far - 1, b"x")])
        );
        assert_ne!(one, sum(far, &[(6, b"abc"), (far - 1, b"x")]));
        assert_ne!(one, sum(far + 1, &[(5, b"abc"), (far - 1, b"x")]));
        assert_ne!(one, sum(far, &[(5, b"abc")]));
    }
}
