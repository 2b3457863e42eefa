//! Holes: what a sparse file does not have. Nobody reads a terabyte of nothing.

use rustix::fs::SeekFrom;
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;

/// Holes are counted in grains of this size, so that what is found does not depend on a file system's blocks.
pub const GRAIN: u64 = 64 * 1024;

/// More pieces than this are joined to larger ones: a list of them is kept in memory.
const MOST: usize = 4096;

/// Whether a file may have holes: asked of every file, and cheap.
pub fn has_holes(metadata: &Metadata) -> bool {
    metadata.len() > 2 * GRAIN && metadata.blocks() * 512 < metadata.len()
}

/// Where a file of `size` bytes has data: pairs of offset and length, in order, none of them empty. What is between them
/// reads as zeros.
pub fn segments(file: &File, size: u64) -> rustix::io::Result<Vec<(u64, u64)>> {
    let mut grain = GRAIN;
    loop {
        match segments_of(file, size, grain)? {
            Some(segments) => return Ok(segments),
            None => grain *= 16,
        }
    }
}

/// The same in grains of a size; nothing if there are too many.
fn segments_of(file: &File, size: u64, grain: u64) -> rustix::io::Result<Option<Vec<(u64, u64)>>> {
    let mut found: Vec<(u64, u64)> = Vec::new();
    let mut at = 0;
    while at < size {
        let data = match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Ok(data) => data,
            // Nothing but a hole from here on.
            Err(rustix::io::Errno::NXIO) => break,
            Err(error) => return Err(error),
        };
        if data >= size {
            break;
        }
        let start = data / grain * grain;
        let end = rustix::fs::seek(file, SeekFrom::Hole(data))?.next_multiple_of(grain).min(size);
        let is_full = found.len() == MOST;
        match found.last_mut() {
            Some((begin, length)) if *begin + *length >= start => *length = (end - *begin).max(*length),
            _ if is_full => return Ok(None),
            _ => found.push((start, end - start)),
        }
        at = end;
    }
    Ok(Some(found))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn a_terabyte_of_holes_is_found_in_no_time_and_its_data_are_where_they_were_written() {
        let place = crate::testing::Scratch::new("holes");
        let file = File::options().read(true).write(true).create(true).truncate(true).open(place.join("file")).unwrap();
        file.set_len(1 << 40).unwrap();
        let metadata = file.metadata().unwrap();
        let all = segments(&file, 1 << 40).unwrap();
        if all.is_empty() {
            assert!(has_holes(&metadata));
            file.write_all_at(b"x", 1 << 30).unwrap();
            file.write_all_at(b"x", (1 << 40) - 1).unwrap();
            assert_eq!(segments(&file, 1 << 40).unwrap(), [(1 << 30, GRAIN), ((1 << 40) - GRAIN, GRAIN)]);
            // Ten thousand pieces are a list of fewer, and everything is in it.
            for number in 0..10_000 {
                file.write_all_at(b"x", number * 4 * GRAIN).unwrap();
            }
            let many = segments(&file, 1 << 40).unwrap();
            assert!(many.len() <= MOST);
            for number in 0..10_000 {
                let at = number * 4 * GRAIN;
                assert!(many.iter().any(|(start, length)| (*start..start + length).contains(&at)));
            }
        } else {
            // A file system without holes: everything is data.
            assert_eq!(all, [(0, 1 << 40)]);
        }
    }
}
