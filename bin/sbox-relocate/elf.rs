//! Which parts of an ELF file a running program sees as text: sections that are loaded, and of those the ones whose strings
//! end at a NUL.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// What a byte of an ELF file belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Strings that each end at a NUL.
    Strings,
    /// Never loaded: what debuggers read, names of symbols, notes of the compiler.
    Debug,
    /// Strings that stand one after the other, their lengths elsewhere: the program was made by Go's or Rust's compiler.
    Counted,
}

/// The map of a file.
#[derive(Debug, Default)]
pub struct Map {
    /// Sections in which strings end at a NUL.
    loaded: Vec<Range<u64>>,
    /// Of those, the linker's own: their strings end at a NUL in every language.
    linkers: Vec<Range<u64>>,
    counted: bool,
    /// Without a section table nothing is known: then everything may be loaded.
    has_sections: bool,
}

const SHF_ALLOC: u64 = 2;
const SHT_NOBITS: u32 = 8;

impl Map {
    pub fn read(file: &File) -> Map {
        sections(file).map_or_else(Map::default, |sections| {
            let named = |names: &[&str]| sections.iter().any(|section| names.contains(&section.name.as_str()));
            let comment = sections.iter().find(|section| section.name == ".comment");
            let compiler = comment.map(|section| bytes(file, section.range.start, (section.len()).min(1 << 16)));
            let rust = compiler.flatten().is_some_and(|text| memchr::memmem::find(&text, b"rustc").is_some());
            let ranges = |wanted: &dyn Fn(&Section) -> bool| {
                sections.iter().filter(|section| wanted(section)).map(|section| section.range.clone()).collect()
            };
            Map {
                loaded: ranges(&|section| section.is_loaded),
                linkers: ranges(&|section| [".interp", ".dynstr"].contains(&section.name.as_str())),
                counted: rust || named(&[".go.buildinfo", ".gopclntab", ".note.go.buildid", ".data.rel.ro.gopclntab"]),
                has_sections: true,
            }
        })
    }

    /// What the byte at an offset belongs to.
    pub fn part(&self, at: u64) -> Part {
        let within = |ranges: &[Range<u64>]| ranges.iter().any(|range| range.contains(&at));
        match () {
            () if self.has_sections && !within(&self.loaded) => Part::Debug,
            () if self.counted && !within(&self.linkers) => Part::Counted,
            () => Part::Strings,
        }
    }

    /// Notes that the file is a program of Rust's after all: its standard library names the place where it was compiled.
    pub fn is_rust(&mut self) {
        self.counted = true;
    }
}

struct Section {
    name: String,
    range: Range<u64>,
    is_loaded: bool,
}

impl Section {
    fn len(&self) -> usize {
        (self.range.end - self.range.start) as usize
    }
}

/// The section table; nothing if there is none, or it does not fit the file.
fn sections(file: &File) -> Option<Vec<Section>> {
    let size = file.metadata().ok()?.len();
    let head = bytes(file, 0, 64)?;
    let (wide, little) = (head[4] == 2, head[5] == 1);
    let number = |bytes: &[u8], at: usize, width: usize| -> Option<u64> {
        let field = bytes.get(at..at + width)?;
        let add = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        Some(if little { field.iter().rev().fold(0, add) } else { field.iter().fold(0, add) })
    };
    let (table, entry, count, names) = match wide {
        true => (number(&head, 40, 8)?, number(&head, 58, 2)?, number(&head, 60, 2)?, number(&head, 62, 2)?),
        false => (number(&head, 32, 4)?, number(&head, 46, 2)?, number(&head, 48, 2)?, number(&head, 50, 2)?),
    };
    let least = if wide { 64 } else { 40 };
    if table == 0 || count == 0 || entry < least {
        return None;
    }
    let headers = bytes(file, table, (entry * count) as usize)?;
    let one = |index: u64| -> Option<(u64, u32, Section)> {
        let header = headers.get((index * entry) as usize..)?;
        let (name, kind) = (number(header, 0, 4)?, number(header, 4, 4)? as u32);
        let (flags, offset, length) = match wide {
            true => (number(header, 8, 8)?, number(header, 24, 8)?, number(header, 32, 8)?),
            false => (number(header, 8, 4)?, number(header, 16, 4)?, number(header, 20, 4)?),
        };
        let range = if kind == SHT_NOBITS { 0..0 } else { offset..offset.checked_add(length)? };
        (range.end <= size).then_some(())?;
        Some((name, kind, Section { name: String::new(), range, is_loaded: flags & SHF_ALLOC != 0 }))
    };
    let text = one(names)?.2;
    let text = bytes(file, text.range.start, text.len().min(1 << 20))?;
    (0..count)
        .map(|index| {
            let (name, _, mut section) = one(index)?;
            let name = text.get(name as usize..).unwrap_or_default();
            let end = memchr::memchr(0, name).unwrap_or(name.len());
            section.name = String::from_utf8_lossy(&name[..end]).into_owned();
            Some(section)
        })
        .collect()
}

fn bytes(file: &File, at: u64, length: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, at).ok()?;
    Some(bytes)
}
