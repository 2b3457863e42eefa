//! Comparing an archive, or what was made of one, with the checksums that came in it.

use crate::blocks::{BOUND, Blocks};
use crate::read::{self, Item, Kind, Limits};
use libsbox::checksums::{self, Sum, Sums};
use libsbox::dir::Dir;
use libsbox::error::{Context, Error, Result};
use libsbox::escape::visible_path;
use libsbox::fs;
use libsbox::output;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Where the checksums are, below the folder at the top.
const SUMS: &str = ".sbox/SHA256SUMS";

/// Says what differs; fails if anything does.
pub fn verify(what: &Path, limits: Limits) -> Result<u8> {
    let (listed, found) = if what.is_dir() { directory(what)? } else { archive(what, limits)? };
    let mut wrong = Vec::new();
    for (place, sum) in &listed {
        match found.get(place) {
            None => wrong.push((place, "is missing")),
            Some(other) if other != sum => wrong.push((place, "was changed")),
            _ => {}
        }
    }
    // The list cannot list itself, and the metadata, which come after it, list it.
    let own = |place: &Path| place == Path::new(SUMS) || place == Path::new("metadata.json");
    wrong.extend(
        found.keys().filter(|place| !listed.contains_key(*place) && !own(place)).map(|place| (place, "was added")),
    );
    for (place, how) in wrong.iter().take(20) {
        output::line(format_args!("{}: {how}", visible_path(place)));
    }
    if wrong.is_empty() {
        return Ok(0);
    }
    Err(Error::new(format!("{} of {} files differ from the checksums", wrong.len(), listed.len())))
}

fn archive(path: &Path, limits: Limits) -> Result<(Sums, Sums)> {
    let (mut found, mut listed) = (Sums::new(), None);
    read::each(path, limits, &mut |item, content| {
        let place: PathBuf = item.path.components().skip(1).collect();
        let shown = || format!("read '{}'", visible_path(&item.path));
        match item.kind {
            Kind::File if place == Path::new(SUMS) => listed = Some(read_list(content)?),
            Kind::File => {
                found.insert(place, sum_of(item, content).context(shown)?);
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok((listed.ok_or_else(no_sums)?, found))
}

fn read_list(content: &mut dyn Read) -> Result<Sums> {
    let mut text = Vec::new();
    content.take(1 << 30).read_to_end(&mut text).context(|| format!("read '{SUMS}'"))?;
    checksums::parse(&text).ok_or_else(|| Error::new(format!("'{SUMS}' is not a list of checksums")))
}

/// The checksum of an entry, of the kind that it was given when it was written.
fn sum_of(item: &Item, content: &mut dyn Read) -> std::io::Result<Sum> {
    let Some(map) = &item.map else { return fs::sha256_of(content).map(Sum::File) };
    if item.holes() > BOUND {
        let mut blocks = Blocks::new(item.size);
        for (start, length) in map {
            feed(&mut blocks, *start, &mut content.take(*length))?;
        }
        return Ok(Sum::Sparse(blocks.finish()));
    }
    let (mut hash, mut at) = (Sha256::new(), 0);
    for (start, length) in map.iter().copied().chain([(item.size, 0)]) {
        std::io::copy(&mut std::io::repeat(0).take(start - at), &mut hash)?;
        std::io::copy(&mut content.take(length), &mut hash)?;
        at = start + length;
    }
    Ok(Sum::File(fs::hex(&hash.finalize())))
}

/// The same of a file that is there.
fn sparse_sum(file: &mut File) -> std::io::Result<Sum> {
    let size = file.metadata()?.len();
    let mut blocks = Blocks::new(size);
    for (start, length) in fs::segments(file, size)? {
        file.seek(SeekFrom::Start(start))?;
        feed(&mut blocks, start, &mut (&*file).take(length))?;
    }
    Ok(Sum::Sparse(blocks.finish()))
}

fn feed(blocks: &mut Blocks, mut at: u64, content: &mut dyn Read) -> std::io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    loop {
        match content.read(&mut buffer)? {
            0 => return Ok(()),
            length => {
                blocks.add(at, &buffer[..length]);
                at += length as u64;
            }
        }
    }
}

fn directory(path: &Path) -> Result<(Sums, Sums)> {
    let dir = Dir::open(path)?;
    let listed = read_list(&mut dir.file(SUMS)?)?;
    let mut found = Sums::new();
    // What is listed, and what else is in the two trees: the rest of the project is its owner's.
    for (place, sum) in &listed {
        let shown = || format!("read '{}'", visible_path(place));
        if let Ok(mut file) = dir.file(place) {
            let sum = match sum {
                Sum::Sparse(_) => sparse_sum(&mut file),
                _ => fs::sha256_of(&mut file).map(Sum::File),
            };
            found.insert(place.clone(), sum.context(shown)?);
        }
    }
    for tree in [".sbox/env", ".sbox/rootfs"] {
        let Ok(sub) = dir.sub(tree) else { continue };
        sub.walk(&mut |_, entry, below| {
            let place = Path::new(tree).join(below);
            if entry.kind == rustix::fs::FileType::RegularFile && !listed.contains_key(&place) {
                found.insert(place, Sum::File(String::new()));
            }
            Ok(())
        })?;
    }
    Ok((listed, found))
}

fn no_sums() -> Error {
    Error::new(format!("there are no checksums: '{SUMS}' is missing"))
}
