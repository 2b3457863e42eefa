//! Strings in binary files: each ends at a NUL and has some room, and never leaves it.
//!
//! What room there is, is known from what was written there before: a shorter path that this program wrote leaves a *slot*,
//! which is remembered, so that a second move can grow again; a package of conda's was built with a long placeholder, whose
//! length its metadata tell. Otherwise a string has the room that it takes.

use crate::rewrite::{Mapping, replace_all, sites};
use std::collections::BTreeMap;

/// Where strings begin, and how many bytes each may have without its NUL.
pub type Slots = BTreeMap<usize, usize>;

/// What is known of the room in a file.
#[derive(Debug, Default)]
pub struct Room<'a> {
    /// From an earlier move.
    pub slots: Option<&'a Slots>,
    /// The length of the path that the file was built with.
    pub placeholder: Option<usize>,
}

/// A rewritten file, and the slots in it.
pub type Rewritten = (Vec<u8>, Slots);

/// The new content; nothing if there is nothing to change; the bytes that are lacking if it cannot be changed.
pub fn rewrite(content: &[u8], mappings: &[Mapping], room: &Room<'_>) -> Result<Option<Rewritten>, usize> {
    let mut out: Option<Vec<u8>> = None;
    let mut slots = room.slots.cloned().unwrap_or_default();
    let mut lacks = 0;
    for mapping in mappings {
        let base = out.as_deref().unwrap_or(content).to_owned();
        let mut at = 0;
        while let Some(found) = sites(&base[at..], &mapping.from).next() {
            let start = at + found;
            let end = memchr::memchr(0, &base[start..]).map_or(base.len(), |length| start + length);
            let old = &base[start..end];
            let new = replace_all(old, std::slice::from_ref(mapping)).unwrap_or_else(|| old.to_vec());
            let most = most(&base, start, end, mapping, room).max(old.len());
            if new.len() > most {
                lacks += new.len() - most;
            } else {
                let file = out.get_or_insert_with(|| base.clone());
                file[start..start + new.len()].copy_from_slice(&new);
                file[start + new.len()..end.max(start + new.len())].fill(0);
                if most > new.len() {
                    slots.insert(start, most);
                }
            }
            at = end;
        }
    }
    if lacks > 0 { Err(lacks) } else { Ok(out.map(|file| (file, slots))) }
}

/// How many bytes the string from `start` to `end` may have. Only NULs follow it as far as that, and one ends it.
fn most(content: &[u8], start: usize, end: usize, mapping: &Mapping, room: &Room<'_>) -> usize {
    let free = content[end..].iter().take_while(|byte| **byte == 0).count();
    // Without a NUL after it, it ends with the file.
    let limit = end - start + free.saturating_sub(1);
    let slot = room.slots.and_then(|slots| slots.get(&start).copied());
    let built = room.placeholder.map(|placeholder| {
        let count = sites(&content[start..end], &mapping.from).count();
        end - start + count * placeholder.saturating_sub(mapping.from.len())
    });
    slot.or(built).unwrap_or(0).min(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(from: &str, to: &str) -> Vec<Mapping> {
        vec![Mapping::new(from.into(), to.into()).unwrap()]
    }

    fn moved(content: &[u8], from: &str, to: &str, room: &Room<'_>) -> Result<Option<Rewritten>, usize> {
        rewrite(content, &map(from, to), room)
    }

    #[test]
    fn a_string_shrinks_in_its_room_and_grows_back_in_its_slot_only() {
        let old = b"\x7fELF\0/old/prefix/lib\0tail";
        let (new, slots) = moved(old, "/old/prefix", "/new", &Room::default()).unwrap().unwrap();
        assert_eq!(new, b"\x7fELF\0/new/lib\0\0\0\0\0\0\0\0tail");
        assert_eq!(moved(old, "/old/prefix", "/a/longer/prefix", &Room::default()), Err(5));
        let room = Room { slots: Some(&slots), placeholder: None };
        let (back, slots) = moved(&new, "/new", "/old/prefix", &room).unwrap().unwrap();
        assert_eq!(back, old);
        let room = Room { slots: Some(&slots), placeholder: None };
        assert_eq!(moved(&back, "/old/prefix", "/old/prefixx", &room), Err(1));
    }

    #[test]
    fn several_paths_in_one_string_share_its_room() {
        let (new, _) = moved(b"\0/pp/a:/pp/b\0", "/pp", "/q", &Room::default()).unwrap().unwrap();
        assert_eq!(new, b"\0/q/a:/q/b\0\0\0");
    }

    #[test]
    fn a_placeholder_leaves_as_much_room_as_it_had() {
        // Built with 20 bytes, moved to 4 by somebody who kept no slots.
        let file = [b"\0/env/lib".as_slice(), &[0; 16], b"\0next"].concat();
        let room = Room { slots: None, placeholder: Some(20) };
        let (new, _) = moved(&file, "/env", "/sixteen/letters", &room).unwrap().unwrap();
        assert_eq!(&new[1..21], b"/sixteen/letters/lib");
        assert_eq!((new.len(), &new[new.len() - 5..]), (file.len(), b"\0next".as_slice()));
        assert_eq!(moved(&file, "/env", "/twenty-one-letters-xx", &room), Err(2));
    }

    #[test]
    fn a_slot_that_is_not_there_is_not_believed() {
        // Whoever sends an archive writes its slots.
        let lie = Slots::from([(1, 1 << 40)]);
        let room = Room { slots: Some(&lie), placeholder: Some(1 << 40) };
        assert_eq!(moved(b"\0/env\0\0next", "/env", "/envi-ron", &room), Err(4));
        assert_eq!(moved(b"\0/env", "/env", "/envi", &room), Err(1));
    }

    #[test]
    fn no_noise_changes_the_length_of_a_file() {
        let mut state = 0x5b0c_5b0cu64;
        let mut next = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        for _ in 0..3000 {
            let parts: [&[u8]; 6] = [b"/env", b"\0", b"\0\0\0\0", b"x", b"/env/lib", b"\xff"];
            let file: Vec<u8> = (0..next(12)).flat_map(|_| parts[next(6)].to_vec()).chain([0]).collect();
            let slots = Slots::from([(next(20), next(64))]);
            let room = Room { slots: Some(&slots), placeholder: (next(2) == 0).then(|| next(64)) };
            let to = ["/e", "/envi", "/environment"][next(3)];
            if let Ok(Some((new, _))) = moved(&file, "/env", to, &room) {
                assert_eq!(new.len(), file.len());
                assert!(sites(&new, b"/env").next().is_none());
            }
        }
    }
}
