//! A file on its way into the archive: hashed, and looked through for a path, while it is read once. Holes are not read.

use crate::blocks::{BOUND, Blocks};
use libsbox::checksums::Sum;
use libsbox::fs;
use libsbox::sites::Search;
use sha2::{Digest, Sha256};
use std::fs::{File, Metadata};
use std::io::{Read, Seek, SeekFrom};

/// What is known of a file when it is read.
pub struct Found {
    pub sum: Sum,
    pub has_prefix: bool,
}

enum Hash {
    Whole(Sha256),
    /// Mostly holes.
    Blocks(Blocks),
}

/// A file, read piece by piece.
pub struct Content<'a> {
    file: &'a File,
    size: u64,
    /// Offset and length of what is to be read still, the last first.
    left: Vec<(u64, u64)>,
    is_sparse: bool,
    /// Where the next byte is from.
    at: u64,
    hash: Hash,
    search: Search<'a>,
}

impl<'a> Content<'a> {
    pub fn new(file: &'a File, metadata: &Metadata, search: Search<'a>) -> std::io::Result<Content<'a>> {
        let size = metadata.len();
        let whole = vec![(0, size)];
        let mut left = if fs::has_holes(metadata) { fs::segments(file, size)? } else { whole.clone() };
        let data: u64 = left.iter().map(|(_, length)| length).sum();
        let is_sparse = data < size;
        if is_sparse {
            left.reverse();
        } else {
            left = whole;
            (&mut &*file).rewind()?;
        }
        let hash = if size - data > BOUND { Hash::Blocks(Blocks::new(size)) } else { Hash::Whole(Sha256::new()) };
        let mut content = Content { file, size, left, is_sparse, at: 0, hash, search };
        content.begin()?;
        Ok(content)
    }

    /// Offset and length of its pieces, if it has holes.
    pub fn map(&self) -> Option<Vec<(u64, u64)>> {
        self.is_sparse.then(|| self.left.iter().rev().copied().collect())
    }

    /// Goes to where the next piece begins.
    fn begin(&mut self) -> std::io::Result<()> {
        let next = self.left.last().map_or(self.size, |(start, _)| *start);
        if next > self.at {
            if let Hash::Whole(hash) = &mut self.hash {
                let zeros = [0; 8192];
                let mut hole = next - self.at;
                while hole > 0 {
                    let length = hole.min(zeros.len() as u64);
                    hash.update(&zeros[..length as usize]);
                    hole -= length;
                }
            }
            self.search.skip();
            self.at = next;
        }
        if self.is_sparse && next < self.size {
            self.file.seek(SeekFrom::Start(next))?;
        }
        Ok(())
    }

    /// What is known of it; nothing if it became shorter.
    pub fn finish(self) -> Option<Found> {
        let is_whole = self.left.iter().all(|(_, length)| *length == 0);
        let sum = match self.hash {
            Hash::Whole(hash) => Sum::File(fs::hex(&hash.finalize())),
            Hash::Blocks(blocks) => Sum::Sparse(blocks.finish()),
        };
        is_whole.then(|| Found { sum, has_prefix: self.search.found() })
    }
}

impl Read for Content<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let Some((start, left)) = self.left.last_mut() else { return Ok(0) };
        let most = buffer.len().min((*left).try_into().unwrap_or(usize::MAX));
        let length = self.file.read(&mut buffer[..most])?;
        (*start, *left) = (*start + length as u64, *left - length as u64);
        let is_done = *left == 0;
        let bytes = &buffer[..length];
        match &mut self.hash {
            Hash::Whole(hash) => hash.update(bytes),
            Hash::Blocks(blocks) => blocks.add(self.at, bytes),
        }
        self.search.look(bytes);
        self.at += length as u64;
        if is_done {
            self.left.pop();
            self.begin()?;
        }
        Ok(length)
    }
}
