//! The one edit that makes a program find its libraries beside itself: the run path in its dynamic section.
//!
//! Only 64-bit little-endian ELF, which is what CPython and Node.js are on every Linux that has them as binaries.

use std::ops::Range;

/// Where the run path of an ELF file is, NUL not included; `None` if the file has none or is not an ELF file.
pub fn run_path(file: &[u8]) -> Option<Range<usize>> {
    const DT_STRTAB: u64 = 5;
    const DT_RPATH: u64 = 15;
    const DT_RUNPATH: u64 = 29;
    let segments = segments(file)?;
    let dynamic = segments.iter().find(|segment| segment.kind == PT_DYNAMIC)?;
    let (mut table, mut offset) = (None, None);
    for at in (dynamic.offset..dynamic.offset.checked_add(dynamic.size)?).step_by(16) {
        let (tag, value) = (word(file, at)?, word(file, at + 8)?);
        match tag {
            0 => break,
            DT_STRTAB => table = Some(value),
            DT_RPATH | DT_RUNPATH => offset = Some(value),
            _ => {}
        }
    }
    let address = table?.checked_add(offset?)?;
    let load = segments.iter().find(|segment| {
        segment.kind == PT_LOAD
            && (segment.address..segment.address.saturating_add(segment.size as u64)).contains(&address)
    })?;
    let start = load.offset.checked_add(usize::try_from(address - load.address).ok()?)?;
    let length = memchr::memchr(0, file.get(start..)?)?;
    Some(start..start + length)
}

/// Writes another run path into the room of the old one. `false` if it is longer.
pub fn set_run_path(file: &mut [u8], new: &str) -> bool {
    let Some(range) = run_path(file) else { return false };
    if new.len() > range.len() {
        return false;
    }
    // The linker may let another string end where this one ends, so that nothing but this string's own start changes:
    // the rest of the room is filled with separators, which the loader skips.
    let room = &mut file[range];
    room[..new.len()].copy_from_slice(new.as_bytes());
    room[new.len()..].fill(b':');
    true
}

pub fn is_elf(file: &[u8]) -> bool {
    file.starts_with(b"\x7fELF")
}

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;

struct Segment {
    kind: u32,
    offset: usize,
    address: u64,
    size: usize,
}

fn segments(file: &[u8]) -> Option<Vec<Segment>> {
    // ELFCLASS64, ELFDATA2LSB (elf.h).
    if !is_elf(file) || file.get(4..6)? != [2, 1] {
        return None;
    }
    let (table, size, count) = (word(file, 32)?, half(file, 54)?, half(file, 56)?);
    (0..count)
        .map(|number| {
            let at = usize::try_from(table).ok()?.checked_add(usize::from(number) * usize::from(size))?;
            let kind = u32::from_le_bytes(file.get(at..at.checked_add(4)?)?.try_into().ok()?);
            Some(Segment {
                kind,
                offset: usize::try_from(word(file, at.checked_add(8)?)?).ok()?,
                address: word(file, at + 16)?,
                size: usize::try_from(word(file, at + 32)?).ok()?,
            })
        })
        .collect()
}

fn word(file: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(file.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

fn half(file: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(file.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_elf_file_has_no_run_path() {
        assert_eq!(run_path(b"#!/bin/sh\n"), None);
        assert_eq!(run_path(b"\x7fELF"), None);
        assert_eq!(run_path(&[b"\x7fELF\x02\x01".as_slice(), &[0xff; 60]].concat()), None);
    }
}
