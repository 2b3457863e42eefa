//! Files with holes, as GNU tar 1.15 and later, libarchive, Python and Go write and read them: the map of the pieces stands
//! before them (format 1.0, <https://www.gnu.org/software/tar/manual/html_node/PAX-1.html>).

use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use tar::{Builder, EntryType, Header};

/// Pieces of a file: offset and length.
pub type Map = [(u64, u64)];

/// The same, as it is read.
pub type Pieces = Vec<(u64, u64)>;

/// More than this is not a map that any tar would write for a file.
pub const LONGEST_MAP: u64 = 16 << 20;

/// Writes a file of `size` bytes whose pieces `content` gives.
pub fn append<W: Write>(
    tar: &mut Builder<W>,
    header: &mut Header,
    path: &Path,
    size: u64,
    map: &Map,
    content: &mut impl Read,
) -> std::io::Result<()> {
    let mut records = Vec::new();
    record(&mut records, "GNU.sparse.major", b"1");
    record(&mut records, "GNU.sparse.minor", b"0");
    record(&mut records, "GNU.sparse.name", path.as_os_str().as_bytes());
    record(&mut records, "GNU.sparse.realsize", size.to_string().as_bytes());
    // GNU tar takes the format of the map from the header's.
    let fields = header.as_bytes()[100..157].to_vec();
    *header = Header::new_ustar();
    header.as_mut_bytes()[100..157].copy_from_slice(&fields);
    let mut before = header.clone();
    before.set_entry_type(EntryType::XHeader);
    before.set_mode(0o644);
    name(&mut before, "PaxHeaders", path);
    before.set_size(records.len() as u64);
    before.set_cksum();
    tar.append(&before, records.as_slice())?;
    let text = written(map, size);
    name(header, "GNUSparseFile.0", path);
    header.set_size(text.len() as u64 + map.iter().map(|(_, length)| length).sum::<u64>());
    header.set_cksum();
    tar.append(header, text.as_slice().chain(content))
}

/// The map as it stands before the pieces, padded to a block. A hole at the end is a piece without a length.
fn written(map: &Map, size: u64) -> Vec<u8> {
    let has_end = map.last().is_some_and(|(start, length)| start + length == size);
    let end = if has_end { None } else { Some((size, 0)) };
    let mut text = format!("{}\n", map.len() + usize::from(end.is_some()));
    for (start, length) in map.iter().copied().chain(end) {
        text += &format!("{start}\n{length}\n");
    }
    let mut bytes = text.into_bytes();
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

/// `length key=value\n`, where the length counts itself.
fn record(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    out.extend_from_slice(format!("{length} {key}=").as_bytes());
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// The name for programs that do not know the format; the real one is in the records.
fn name(header: &mut Header, directory: &str, path: &Path) {
    let file = path.file_name().unwrap_or_default().as_bytes();
    let mut name = format!("{directory}/").into_bytes();
    name.extend_from_slice(&file[..file.len().min(80)]);
    let field = &mut header.as_mut_bytes()[..100];
    field.fill(0);
    field[..name.len()].copy_from_slice(&name);
}

/// Reads the map before the pieces; `bytes` counts what it took.
pub fn read_map(content: &mut dyn Read, bytes: &mut u64) -> std::io::Result<Vec<(u64, u64)>> {
    let mut numbers = Numbers { content, buffer: Vec::new(), at: 0, taken: bytes };
    let count = numbers.next()?;
    let mut map = Vec::new();
    for _ in 0..count {
        let start = numbers.next()?;
        map.push((start, numbers.next()?));
    }
    Ok(map)
}

/// Lines of digits, from blocks.
struct Numbers<'a> {
    content: &'a mut dyn Read,
    buffer: Vec<u8>,
    at: usize,
    taken: &'a mut u64,
}

impl Numbers<'_> {
    fn next(&mut self) -> std::io::Result<u64> {
        let wrong = || std::io::Error::other("the map of a file with holes cannot be read");
        let mut number = 0u64;
        for digits in 0..20 {
            if self.at == self.buffer.len() {
                self.buffer.resize(512, 0);
                self.content.read_exact(&mut self.buffer)?;
                (self.at, *self.taken) = (0, *self.taken + 512);
                if *self.taken > LONGEST_MAP {
                    return Err(wrong());
                }
            }
            let byte = self.buffer[self.at];
            self.at += 1;
            match byte {
                b'\n' if digits > 0 => return Ok(number),
                b'0'..=b'9' => {
                    let digit = u64::from(byte - b'0');
                    number = number.checked_mul(10).and_then(|number| number.checked_add(digit)).ok_or_else(wrong)?;
                }
                _ => return Err(wrong()),
            }
        }
        Err(wrong())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_read_back_whatever_its_length() {
        for count in [0u64, 1, 5, 300] {
            let map: Vec<(u64, u64)> = (0..count).map(|number| (number * 1_000_000_007, 65_536)).collect();
            let size = 1 << 40;
            let text = written(&map, size);
            let mut taken = 0;
            let back = read_map(&mut text.as_slice(), &mut taken).unwrap();
            assert_eq!((&back[..count as usize], taken), (map.as_slice(), text.len() as u64));
            assert_eq!(back[count as usize..], [(size, 0)]);
        }
        for bad in ["x\n", "\n", "2\n1\n", "99999999999999999999999\n", "-1\n"] {
            let mut block = bad.as_bytes().to_vec();
            block.resize(512, 0);
            assert!(read_map(&mut block.as_slice(), &mut 0).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_record_counts_its_own_length() {
        let mut out = Vec::new();
        record(&mut out, "k", &[b'v'; 92]);
        record(&mut out, "k", &[b'v'; 3]);
        assert!(out.starts_with(b"98 k=vv") && out[98..].starts_with(b"8 k=vvv\n"));
    }
}
