//! The names of git's objects, and its form of binary content.

use flate2::Compression;
use flate2::write::ZlibEncoder;
use sha1::{Digest, Sha1};
use std::io::Write;

/// The digits of git's base 85.
const DIGITS: &[u8; 85] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~";

/// The name that git gives to a file of this content.
pub fn object_name(bytes: &[u8]) -> String {
    let mut hash = Sha1::new();
    hash.update(format!("blob {}\0", bytes.len()));
    hash.update(bytes);
    libsbox::fs::hex(&hash.finalize())
}

/// A binary patch: the new content, and the old one for the way back.
pub fn write(out: &mut Vec<u8>, before: &[u8], after: &[u8]) {
    out.extend(b"GIT binary patch\n");
    for bytes in [after, before] {
        literal(out, bytes);
        out.push(b'\n');
    }
}

fn literal(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(format!("literal {}\n", bytes.len()).bytes());
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    // Into memory: it cannot fail.
    let packed = encoder.write_all(bytes).and_then(|()| encoder.finish()).unwrap_or_default();
    for chunk in packed.chunks(52) {
        let length = chunk.len() as u8;
        out.push(if length <= 26 { b'A' + length - 1 } else { b'a' + length - 27 });
        for four in chunk.chunks(4) {
            let mut word = [0; 4];
            word[..four.len()].copy_from_slice(four);
            let mut value = u32::from_be_bytes(word);
            let mut digits = [0; 5];
            for digit in digits.iter_mut().rev() {
                *digit = DIGITS[(value % 85) as usize];
                value /= 85;
            }
            out.extend(digits);
        }
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_have_the_names_that_git_gives_them() {
        assert_eq!(object_name(b""), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
        assert_eq!(object_name(b"hello\n"), "ce013625030ba8dba906f756967f9e9ca394464a");
    }
}
