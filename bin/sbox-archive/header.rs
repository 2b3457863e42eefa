//! The headers of a tar: POSIX's, GNU's, and the extensions of both. Names and numbers are what they say; nothing is judged
//! here.

use crate::sparse;
use std::io::{Error, Read, Result};
use tar::{EntryType, GnuExtSparseHeader, Header};

/// The longest name, and list of attributes, that is read.
const LONGEST: u64 = 64 * 1024;

/// More extensions than this before one entry are not for any use.
const MOST: u64 = 16;

/// An entry whose content comes next.
pub struct Next {
    pub header: Header,
    pub name: Vec<u8>,
    /// Where a link leads.
    pub link: Vec<u8>,
    /// Of a file with holes: offset and length of each piece.
    pub map: Option<Vec<(u64, u64)>>,
    /// The size of the file.
    pub size: u64,
    /// Bytes of content.
    pub stored: u64,
    /// Extensions before it.
    pub before: u64,
}

/// What entries of GNU's and POSIX's extensions say of the entry after them.
#[derive(Default)]
struct Extension {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    /// Of a file with holes, in the format 1.0.
    real_name: Option<Vec<u8>>,
    real_size: Option<u64>,
    is_sparse: bool,
}

/// Reads on to the next entry; nothing at the end of the archive.
pub fn next(source: &mut dyn Read) -> Result<Option<Next>> {
    let mut extension = Extension::default();
    for before in 0..MOST {
        let Some(header) = block(source)? else {
            // An end that nothing announced: what was said is of nothing.
            return if before == 0 { Ok(None) } else { Err(Error::other("it ends in the middle of an entry")) };
        };
        let kind = header.entry_type();
        let size = match kind {
            EntryType::Symlink | EntryType::Directory | EntryType::Link => 0,
            _ => header.entry_size()?,
        };
        if !matches!(
            kind,
            EntryType::GNULongName | EntryType::GNULongLink | EntryType::XHeader | EntryType::XGlobalHeader
        ) {
            return entry(source, header, extension, size, before).map(Some);
        }
        if size > LONGEST {
            return Err(Error::other("a name is too long"));
        }
        let mut bytes = Vec::new();
        source.take(size).read_to_end(&mut bytes)?;
        if bytes.len() as u64 != size {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        skip(source, padding(size))?;
        let text = |bytes: &[u8]| bytes.split(|byte| *byte == 0).next().unwrap_or_default().to_vec();
        match kind {
            EntryType::GNULongName => extension.name = Some(text(&bytes)),
            EntryType::GNULongLink => extension.link = Some(text(&bytes)),
            EntryType::XHeader => extension.records(&bytes)?,
            _ => {}
        }
    }
    Err(Error::other("too many extensions before an entry"))
}

fn entry(source: &mut dyn Read, header: Header, said: Extension, size: u64, before: u64) -> Result<Next> {
    let is_file = matches!(header.entry_type(), EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse);
    let stored = said.size.filter(|_| is_file).unwrap_or(size);
    let name = said.real_name.or(said.name).unwrap_or_else(|| header.path_bytes().into_owned());
    let link = said.link.or_else(|| header.link_name_bytes().map(|name| name.into_owned())).unwrap_or_default();
    let (mut map, mut real, mut taken) = (None, stored, 0);
    if is_file && said.is_sparse {
        map = Some(sparse::read_map(&mut source.take(stored), &mut taken)?);
        real = said.real_size.ok_or_else(|| Error::other("a file with holes has no size"))?;
    } else if header.entry_type() == EntryType::GNUSparse {
        (map, real) = old_map(source, &header)?;
    }
    let stored = stored - taken;
    if map.as_ref().is_some_and(|map| !fits(map, real, stored)) {
        return Err(Error::other("the pieces of a file with holes do not fit"));
    }
    Ok(Next { name, link, map, size: real, stored, before, header })
}

/// The map of GNU tar's older format, which goes on in blocks after the header.
fn old_map(source: &mut dyn Read, header: &Header) -> Result<(Option<sparse::Pieces>, u64)> {
    let gnu = header.as_gnu().ok_or_else(|| Error::other("a file with holes has no map"))?;
    let mut map = Vec::new();
    let mut add = |pieces: &[tar::GnuSparseHeader]| -> Result<()> {
        for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
            map.push((piece.offset()?, piece.length()?));
        }
        Ok(())
    };
    add(&gnu.sparse)?;
    let (mut more, mut blocks) = (gnu.is_extended(), 0);
    while more {
        let mut block = GnuExtSparseHeader::new();
        source.read_exact(block.as_mut_bytes())?;
        add(block.sparse())?;
        blocks += 512;
        more = block.is_extended();
        if blocks > sparse::LONGEST_MAP {
            return Err(Error::other("the map of a file with holes is too long"));
        }
    }
    Ok((Some(map), gnu.real_size()?))
}

/// Whether pieces come in order, are all that is stored, and end where the file does.
fn fits(map: &[(u64, u64)], size: u64, stored: u64) -> bool {
    let mut end = 0u64;
    let mut sum = 0u64;
    for (start, length) in map {
        match start.checked_add(*length) {
            Some(next) if *start >= end && next <= size => end = next,
            _ => return false,
        }
        sum = sum.saturating_add(*length);
    }
    sum == stored && i64::try_from(size).is_ok()
}

/// A header; nothing where the archive ends: a block of zeros, or the end of the file.
fn block(source: &mut dyn Read) -> Result<Option<Header>> {
    let mut header = Header::new_old();
    let bytes = header.as_mut_bytes();
    source.read_exact(bytes)?;
    if bytes.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    let field = |at: usize| (148..156).contains(&at);
    let sum = bytes.iter().enumerate().map(|(at, byte)| if field(at) { 32 } else { u32::from(*byte) }).sum::<u32>();
    if header.cksum()? != sum {
        return Err(Error::other("the checksum of a header does not match"));
    }
    Ok(Some(header))
}

/// Reads to the end of the stream, where its checksums are. Nothing but zeros may follow on the archive.
pub fn end(source: &mut dyn Read) -> Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match source.read(&mut buffer)? {
            0 => return Ok(()),
            length if buffer[..length].iter().all(|byte| *byte == 0) => {}
            _ => return Err(Error::other("something follows after its end")),
        }
    }
}

/// Bytes up to the next block.
pub fn padding(size: u64) -> u64 {
    (512 - size % 512) % 512
}

/// Reads on over `length` bytes.
pub fn skip(source: &mut dyn Read, length: u64) -> Result<()> {
    match std::io::copy(&mut source.take(length), &mut std::io::sink())? {
        read if read == length => Ok(()),
        _ => Err(std::io::ErrorKind::UnexpectedEof.into()),
    }
}

impl Extension {
    /// Records `length key=value\n`; a value may have any byte in it.
    fn records(&mut self, mut bytes: &[u8]) -> Result<()> {
        let wrong = || Error::other("an extended header cannot be read");
        while bytes.first().is_some_and(|byte| *byte != 0) {
            let space = bytes.iter().position(|byte| *byte == b' ').ok_or_else(wrong)?;
            let length: usize =
                std::str::from_utf8(&bytes[..space]).ok().and_then(|digits| digits.parse().ok()).ok_or_else(wrong)?;
            if length <= space + 1 || length > bytes.len() || bytes[length - 1] != b'\n' {
                return Err(wrong());
            }
            let record = &bytes[space + 1..length - 1];
            let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(wrong)?;
            self.record(&record[..equals], &record[equals + 1..])?;
            bytes = &bytes[length..];
        }
        Ok(())
    }

    fn record(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let number = || std::str::from_utf8(value).ok().and_then(|digits| digits.parse::<u64>().ok());
        match key {
            b"path" => self.name = Some(value.to_vec()),
            b"linkpath" => self.link = Some(value.to_vec()),
            b"size" => self.size = Some(number().ok_or_else(|| Error::other("a size cannot be read"))?),
            b"GNU.sparse.major" if number() == Some(1) => self.is_sparse = true,
            b"GNU.sparse.minor" if number() == Some(0) => {}
            b"GNU.sparse.name" => self.real_name = Some(value.to_vec()),
            b"GNU.sparse.realsize" => self.real_size = number(),
            _ if key.starts_with(b"GNU.sparse.") => {
                return Err(Error::other(
                    "a file with holes is in a format that is not read (write it with GNU tar 1.15 or later)",
                ));
            }
            _ => {}
        }
        Ok(())
    }
}
