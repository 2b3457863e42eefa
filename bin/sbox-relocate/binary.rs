//! Strings in compiled programs: each ends at a NUL and has some room, and never leaves it.
//!
//! What room there is, is known from what was written there before: a shorter path that this program wrote leaves a *slot*,
//! which is remembered, so that a second move can grow again; a package of conda's was built with a long placeholder, whose
//! length its metadata tell. Otherwise a string has the room that it takes.

use crate::boundary::Encoding;
use crate::content::Reader;
use crate::elf::{Map, Part};
use crate::forms::Forms;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Where strings begin, and how many bytes each may have without its NUL.
pub type Slots = BTreeMap<u64, u64>;

/// What is known of a file.
#[derive(Debug, Default, Clone, Copy)]
pub struct Known<'a> {
    /// From an earlier move.
    pub slots: Option<&'a Slots>,
    /// The length of the path that the file was built with, and of the one that is in it now.
    pub placeholder: Option<(usize, usize)>,
    /// Whether the record of its package says that its strings end at a NUL, whatever it is.
    pub is_declared: bool,
}

/// What is to be done in a file.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Patches {
    /// What to write where; only NULs are overwritten behind it, as far as the string went.
    pub writes: Vec<(u64, Vec<u8>)>,
    pub slots: Slots,
    /// Whether a path stands where it is left as it is.
    pub leaves: bool,
    /// Strings that have too little room.
    pub lacking: Option<Lacking>,
}

/// How much too long a path is for a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lacking {
    /// Bytes that all of its strings lack together.
    pub bytes: u64,
    /// By how many bytes a path may grow (or must shrink, if it is negative) to fit everywhere.
    pub growth: i64,
}

/// No string that names a path is longer.
const LONGEST: u64 = 64 << 10;

/// Looks for every string that names a path.
pub fn patches(reader: &mut Reader, file: &File, size: u64, forms: &Forms, known: &Known<'_>) -> io::Result<Patches> {
    let mut map = Map::read(file);
    let mut found: Vec<u64> = Vec::new();
    let mut rust = false;
    const COMPILED: &[u8] = b"/rustc/";
    let overlap = forms.longest().max(COMPILED.len()) - 1;
    reader.pieces(file, size, overlap, &mut |at, piece| {
        found.extend(forms.raw(piece).map(|(start, _)| at + start as u64));
        rust |= memchr::memmem::find(piece, COMPILED).is_some();
        true
    })?;
    found.sort_unstable();
    found.dedup();
    if rust {
        map.is_rust();
    }
    let mut all = Patches { slots: known.slots.cloned().unwrap_or_default(), ..Patches::default() };
    let mut done = 0;
    for at in found {
        match map.part(at) {
            _ if at < done => {}
            Part::Debug => {}
            Part::Counted if !known.is_declared => all.leaves = true,
            _ => done = string(file, size, at, forms, known, &mut all)?,
        }
    }
    Ok(all)
}

/// Rewrites the string that the path at `at` is in; gives where it ends.
fn string(file: &File, size: u64, at: u64, forms: &Forms, known: &Known<'_>, all: &mut Patches) -> io::Result<u64> {
    let begin = at.saturating_sub(LONGEST);
    let mut window = vec![0; (size.min(at + 2 * LONGEST) - begin) as usize];
    file.read_exact_at(&mut window, begin)?;
    let here = (at - begin) as usize;
    let start = memchr::memrchr(0, &window[..here]).map_or(0, |nul| nul + 1);
    let end = memchr::memchr(0, &window[here..]).map_or(window.len(), |nul| here + nul);
    let text = &window[start..end];
    let encoding = if known.is_declared { Encoding::Declared } else { Encoding::Utf8 };
    let sites = forms.sites(text, encoding);
    let Some(first) = sites.first().map(|site| site.start) else { return Ok(begin + end as u64) };
    let is_text = known.is_declared || text.iter().all(|byte| *byte >= b' ' || matches!(byte, 7..=13 | 27));
    let too_long = end == window.len() && begin + (end as u64) < size;
    if !is_text || too_long {
        // Something else in which the bytes of a path happen to stand.
        all.leaves = true;
        return Ok(begin + end as u64);
    }
    let new = forms.replaced(text, encoding).unwrap_or_default()[first..].to_vec();
    let old = text.len() - first;
    let place = begin + (start + first) as u64;
    // Only NULs follow it as far as that, and one ends it; without one it ends with the file.
    let free = window[end..].iter().take_while(|byte| **byte == 0).count();
    let limit = old + free.saturating_sub(1);
    let slot = known.slots.and_then(|slots| slots.get(&place)).map(|room| (*room).min(LONGEST) as usize);
    let built = known
        .placeholder
        .map(|(placeholder, now)| old.saturating_add(sites.len().saturating_mul(placeholder.saturating_sub(now))));
    let most = slot.or(built).unwrap_or(0).min(limit).max(old);
    if new.len() > most {
        if is_transient(text, &sites) {
            all.leaves = true;
            return Ok(begin + end as u64);
        }
        let (bytes, count) = ((new.len() - most) as u64, sites.len() as i64);
        let growth = (most - old) as i64 / count;
        let before = all.lacking.unwrap_or(Lacking { bytes: 0, growth: i64::MAX });
        all.lacking = Some(Lacking { bytes: before.bytes + bytes, growth: before.growth.min(growth) });
    } else {
        if most > new.len() {
            all.slots.insert(place, most as u64);
        }
        let mut bytes = new;
        bytes.resize(bytes.len().max(old), 0);
        all.writes.push((place, bytes));
    }
    Ok(begin + end as u64)
}

/// Whether every path in a string is one below the sandbox's `tmp`: that of a build that is over, as compilers note it.
fn is_transient(text: &[u8], sites: &[crate::forms::Site<'_>]) -> bool {
    sites.iter().all(|site| text[..site.end].ends_with(b"/.sbox/rootfs") && text[site.end..].starts_with(b"/tmp/"))
}

/// Makes the changes in an open file.
pub fn apply(file: &File, patches: &Patches) -> io::Result<()> {
    patches.writes.iter().try_for_each(|(at, bytes)| file.write_all_at(bytes, *at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forms::Mapping;

    /// What becomes of a content: the new one and its slots, or what it lacks.
    fn moved(content: &[u8], from: &str, to: &str, known: &Known<'_>) -> Result<Option<(Vec<u8>, Slots)>, u64> {
        let forms = Forms::new(&[Mapping::new(from.into(), to.into()).unwrap()], false);
        let file = rustix::fs::memfd_create("content", rustix::fs::MemfdFlags::empty()).unwrap();
        let file = File::from(file);
        file.write_all_at(content, 0).unwrap();
        let patches = patches(&mut Reader::new(), &file, content.len() as u64, &forms, known).unwrap();
        if let Some(lacking) = patches.lacking {
            return Err(lacking.bytes);
        }
        apply(&file, &patches).unwrap();
        let mut new = vec![0; file.metadata().unwrap().len() as usize];
        file.read_exact_at(&mut new, 0).unwrap();
        Ok((!patches.writes.is_empty()).then_some((new, patches.slots)))
    }

    #[test]
    fn a_string_shrinks_in_its_room_and_grows_back_in_its_slot_only() {
        let old = b"\x7fELF\0/old/prefix/lib\0tail";
        let (new, slots) = moved(old, "/old/prefix", "/new", &Known::default()).unwrap().unwrap();
        assert_eq!(new, b"\x7fELF\0/new/lib\0\0\0\0\0\0\0\0tail");
        assert_eq!(moved(old, "/old/prefix", "/a/longer/prefix", &Known::default()), Err(5));
        let known = Known { slots: Some(&slots), ..Known::default() };
        let (back, slots) = moved(&new, "/new", "/old/prefix", &known).unwrap().unwrap();
        assert_eq!(back, old);
        let known = Known { slots: Some(&slots), ..Known::default() };
        assert_eq!(moved(&back, "/old/prefix", "/old/prefixx", &known), Err(1));
    }

    #[test]
    fn several_paths_in_one_string_share_its_room() {
        let (new, _) = moved(b"\0/pp/a:/pp/b\0", "/pp", "/q", &Known::default()).unwrap().unwrap();
        assert_eq!(new, b"\0/q/a:/q/b\0\0\0");
    }

    #[test]
    fn a_placeholder_leaves_as_much_room_as_it_had() {
        // Built with 20 bytes, moved to 4 by somebody who kept no slots.
        let file = [b"\0/env/lib".as_slice(), &[0; 16], b"\0next"].concat();
        let known = Known { placeholder: Some((20, 4)), ..Known::default() };
        let (new, _) = moved(&file, "/env", "/sixteen/letters", &known).unwrap().unwrap();
        assert_eq!(&new[1..21], b"/sixteen/letters/lib");
        assert_eq!((new.len(), &new[new.len() - 5..]), (file.len(), b"\0next".as_slice()));
        assert_eq!(moved(&file, "/env", "/twenty-one-letters-xx", &known), Err(2));
    }

    #[test]
    fn a_slot_that_is_not_there_is_not_believed() {
        // Whoever sends an archive writes its slots.
        let lie = Slots::from([(1, 1 << 40)]);
        let known = Known { slots: Some(&lie), placeholder: Some((1 << 40, 4)), is_declared: false };
        assert_eq!(moved(b"\0/env\0\0next", "/env", "/envi-ron", &known), Err(4));
        assert_eq!(moved(b"\0/env", "/env", "/envi", &known), Err(1));
    }

    #[test]
    fn what_only_has_the_bytes_of_a_path_is_left() {
        // A count of something before it.
        assert_eq!(moved(b"\0\x03/env/libx\0", "/env", "/e", &Known::default()), Ok(None));
        assert_eq!(moved(b"\0x/env/lib\0", "/env", "/e", &Known::default()), Ok(None));
    }

    #[test]
    fn no_noise_changes_the_length_of_a_file() {
        let mut noise = libsbox::testing::Noise::default();
        let mut next = |limit| noise.below(limit);
        for _ in 0..3000 {
            let parts: [&[u8]; 6] = [b"/env", b"\0", b"\0\0\0\0", b" ", b"/env/lib", b"\xff"];
            let file: Vec<u8> = (0..next(12)).flat_map(|_| parts[next(6)].to_vec()).chain([0]).collect();
            let slots = Slots::from([(next(20) as u64, next(64) as u64)]);
            let placeholder = (next(2) == 0).then(|| (next(64), 4));
            let known = Known { slots: Some(&slots), placeholder, is_declared: true };
            let to = ["/e", "/envi", "/environment"][next(3)];
            if let Ok(Some((new, _))) = moved(&file, "/env", to, &known) {
                assert_eq!(new.len(), file.len());
                assert_eq!(
                    new.iter().filter(|byte| **byte == 0xff).count(),
                    file.iter().filter(|byte| **byte == 0xff).count()
                );
            }
        }
    }
}
