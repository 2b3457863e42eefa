//! Looking through a file of any size with little memory: whether it names a path, and what sort of file it is.

use crate::boundary::{CONTEXT, Encoding};
use crate::forms::Forms;
use rustix::fs::{SeekFrom, seek};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// How much of a file is in memory at once.
pub const WINDOW: usize = 1 << 20;

/// A text in an encoding of two or four bytes is changed as a whole; a longer one is left as it is.
pub const LONGEST_WIDE: u64 = 16 << 20;

/// What a file is, as far as it matters for what may be changed in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It may have any length.
    Text(Encoding),
    /// The same in UTF-16 or UTF-32, with a byte order mark.
    Wide(Wide),
    Elf,
    /// An archive after a `#!` line: that line may have any length, since what reads it looks from the end.
    Application,
    /// It has offsets, counts, checksums, a signature: nobody knows what may be changed.
    Opaque,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wide {
    pub width: usize,
    pub little: bool,
}

/// Buffers that serve one file after the other.
pub struct Reader {
    buffer: Vec<u8>,
}

impl Reader {
    pub fn new() -> Reader {
        Reader { buffer: vec![0; WINDOW] }
    }

    /// Calls `see` for each piece of the file that has data, with where it is; holes are skipped, and pieces overlap by
    /// `overlap`. It ends when `see` says so.
    pub fn pieces(
        &mut self,
        file: &File,
        size: u64,
        overlap: usize,
        see: &mut dyn FnMut(u64, &[u8]) -> bool,
    ) -> io::Result<()> {
        let sparse = std::os::unix::fs::MetadataExt::blocks(&file.metadata()?).saturating_mul(512) < size;
        let mut at = 0;
        while at < size {
            let end = if sparse {
                match seek(file, SeekFrom::Data(at)) {
                    Ok(data) => at = data,
                    // Nothing but a hole until the end.
                    Err(rustix::io::Errno::NXIO) => return Ok(()),
                    Err(_) => {}
                }
                seek(file, SeekFrom::Hole(at)).unwrap_or(size).min(size)
            } else {
                size
            };
            let mut held = 0;
            while at < end {
                let most = (WINDOW - held).min((end - at) as usize);
                let read = file.read_at(&mut self.buffer[held..held + most], at)?;
                if read == 0 {
                    return Ok(());
                }
                let filled = held + read;
                if !see(at - held as u64, &self.buffer[..filled]) {
                    return Ok(());
                }
                at += read as u64;
                held = overlap.min(filled);
                self.buffer.copy_within(filled - held..filled, 0);
            }
        }
        Ok(())
    }

    /// Whether the file has something in it that looks like one of the paths.
    pub fn names(&mut self, file: &File, size: u64, forms: &Forms) -> io::Result<bool> {
        let mut found = false;
        self.pieces(file, size, forms.longest().saturating_sub(1), &mut |_, piece| {
            found = forms.raw(piece).next().is_some();
            !found
        })?;
        Ok(found)
    }
}

/// The first bytes.
pub fn head(file: &File) -> io::Result<Vec<u8>> {
    let mut head = vec![0; 4096];
    let length = file.read_at(&mut head, 0)?;
    head.truncate(length);
    Ok(head)
}

/// A byte order mark, as far as it tells of a text that is not of single bytes.
pub fn wide(head: &[u8]) -> Option<Wide> {
    const MARKS: [(&[u8], usize, bool); 4] =
        [(b"\xff\xfe\0\0", 4, true), (b"\0\0\xfe\xff", 4, false), (b"\xff\xfe", 2, true), (b"\xfe\xff", 2, false)];
    let mark = MARKS.into_iter().find(|(mark, _, _)| head.starts_with(mark));
    mark.map(|(_, width, little)| Wide { width, little })
}

/// What sort of file this is, by all of its content.
pub fn kind(reader: &mut Reader, file: &File, size: u64) -> io::Result<Kind> {
    let head = head(file)?;
    if let Some(wide) = wide(&head) {
        return Ok(Kind::Wide(wide));
    }
    if head.starts_with(b"\x7fELF") {
        return Ok(Kind::Elf);
    }
    if let Some(end) = first_line(&head)
        && head[end..].starts_with(b"PK\x03\x04")
    {
        return Ok(Kind::Application);
    }
    if is_structured(&head) {
        return Ok(Kind::Opaque);
    }
    let mut look = Look::default();
    let mut seen = 0;
    reader.pieces(file, size, 0, &mut |at, piece| {
        // A hole is full of NULs.
        look.is_text &= at == seen;
        seen = at + piece.len() as u64;
        look.at(piece);
        look.is_text
    })?;
    let legacy = !look.is_utf8 || !look.rest.is_empty();
    Ok(match look.is_text && seen == size {
        true if !legacy => Kind::Text(Encoding::Utf8),
        // A few counted strings may look like this, too: text has lines, and begins with a word.
        true if look.has_lines && head.first().is_some_and(u8::is_ascii) => Kind::Text(Encoding::Legacy),
        _ => Kind::Opaque,
    })
}

/// Where the `#!` line ends, if there is one.
pub fn first_line(content: &[u8]) -> Option<usize> {
    content.starts_with(b"#!").then(|| memchr::memchr(b'\n', content).map(|at| at + 1))?
}

/// Formats that may be without any byte that text does not have, and have offsets or lengths in them.
fn is_structured(head: &[u8]) -> bool {
    const STARTS: [&[u8]; 6] = [b"%PDF-", b"!<arch>\n", b"WARC/", b"PK\x03\x04", b"070701", b"070707"];
    STARTS.iter().any(|start| head.starts_with(start))
}

struct Look {
    is_text: bool,
    is_utf8: bool,
    has_lines: bool,
    /// The beginning of a letter at the end of the last piece.
    rest: Vec<u8>,
}

impl Default for Look {
    fn default() -> Look {
        Look { is_text: true, is_utf8: true, has_lines: false, rest: Vec::new() }
    }
}

impl Look {
    fn at(&mut self, piece: &[u8]) {
        // What a terminal understands: bell to carriage return, escape.
        let fits = |byte: &u8| *byte >= b' ' || matches!(byte, 7..=13 | 27);
        self.is_text &= piece.iter().all(fits);
        self.has_lines |= memchr::memchr(b'\n', piece).is_some();
        if !self.is_text || !self.is_utf8 {
            return;
        }
        let joined;
        let piece = if self.rest.is_empty() {
            piece
        } else {
            joined = [std::mem::take(&mut self.rest).as_slice(), piece].concat();
            &joined
        };
        if let Err(error) = std::str::from_utf8(piece) {
            match error.error_len() {
                Some(_) => self.is_utf8 = false,
                None => self.rest = piece[error.valid_up_to()..].to_vec(),
            }
        }
    }
}

/// What replacing in a text came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// No path stands in it as a whole.
    Nothing,
    Changed,
    /// It counts the bytes of a string that would change.
    Counted,
}

/// How far ahead a counted string is looked for.
const AHEAD: usize = 64 << 10;

/// Replaces every path in a text, in pieces; `put` gets what it becomes. The first line is not looked at here.
pub fn replace(
    file: &File,
    size: u64,
    from: u64,
    forms: &Forms,
    encoding: Encoding,
    put: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<Outcome> {
    let first = head(file)?;
    let mut outcome = Outcome::Nothing;
    // What was written already, and is only looked back at; then what is to come.
    let (mut buffer, mut done, mut at) = (Vec::with_capacity(WINDOW), 0usize, from);
    loop {
        let held = buffer.len();
        buffer.resize(held.max(CONTEXT + AHEAD + forms.longest()) + WINDOW, 0);
        let most = (buffer.len() - held).min((size - at).try_into().unwrap_or(usize::MAX));
        let mut filled = held;
        while filled < held + most {
            let read = file.read_at(&mut buffer[filled..held + most], at)?;
            if read == 0 {
                break;
            }
            filled += read;
            at += read as u64;
        }
        let ends = at >= size || filled < held + most;
        buffer.truncate(filled);
        // Beyond this a path, and what is after it, may not be in memory yet.
        let safe = if ends { filled } else { filled.saturating_sub(AHEAD + forms.longest()).max(done) };
        let mut next = done;
        for site in forms.sites(&buffer, encoding) {
            if site.start < done || site.start >= safe {
                continue;
            }
            if crate::boundary::is_counted(&buffer, site.start, site.end - site.start, &first) {
                return Ok(Outcome::Counted);
            }
            outcome = Outcome::Changed;
            put(&buffer[next..site.start])?;
            put(site.to)?;
            next = site.end;
        }
        let stop = safe.max(next);
        put(&buffer[next..stop])?;
        if ends {
            return Ok(outcome);
        }
        let keep = stop.saturating_sub(CONTEXT);
        buffer.drain(..keep);
        done = stop - keep;
    }
}

/// The letters of a text in UTF-16 or UTF-32; nothing if it is not one.
pub fn decode(bytes: &[u8], wide: Wide) -> Option<String> {
    let units = bytes.chunks_exact(wide.width);
    if !units.remainder().is_empty() {
        return None;
    }
    let number = |unit: &[u8]| -> u32 {
        let add = |number: u32, byte: &u8| number << 8 | u32::from(*byte);
        if wide.little { unit.iter().rev().fold(0, add) } else { unit.iter().fold(0, add) }
    };
    let text: String = match wide.width {
        2 => char::decode_utf16(units.map(|unit| number(unit) as u16)).collect::<Result<_, _>>().ok()?,
        _ => units.map(|unit| char::from_u32(number(unit))).collect::<Option<_>>()?,
    };
    text.chars().all(|letter| letter >= ' ' || matches!(letter, '\u{7}'..='\r' | '\u{1b}')).then_some(text)
}

/// The inverse of [`decode`].
pub fn encode(text: &str, wide: Wide) -> Vec<u8> {
    let bytes = |number: u32| -> Vec<u8> {
        let all = if wide.little { number.to_le_bytes() } else { number.to_be_bytes() };
        if wide.little { all[..wide.width].to_vec() } else { all[4 - wide.width..].to_vec() }
    };
    match wide.width {
        2 => text.encode_utf16().flat_map(|unit| bytes(u32::from(unit))).collect(),
        _ => text.chars().flat_map(|letter| bytes(u32::from(letter))).collect(),
    }
}
