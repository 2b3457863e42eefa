//! Output that is too long for a model: its beginning and its end, and how much is between.

use std::io::Read;

/// How much of a stream an answer has.
pub const MOST: usize = 48 * 1024;

/// A stream, as far as it is kept.
#[derive(Debug, Default)]
pub struct Kept {
    begin: Vec<u8>,
    end: std::collections::VecDeque<u8>,
    total: u64,
}

impl Kept {
    /// Reads to the end, in constant memory.
    pub fn read(mut from: impl Read) -> Kept {
        let (mut kept, mut space) = (Kept::default(), [0; 8192]);
        loop {
            match from.read(&mut space) {
                Ok(0) => return kept,
                Ok(count) => kept.add(&space[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return kept,
            }
        }
    }

    fn add(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let room = (MOST / 2).saturating_sub(self.begin.len()).min(bytes.len());
        self.begin.extend(&bytes[..room]);
        self.end.extend(&bytes[room..]);
        let surplus = self.end.len().saturating_sub(MOST / 2);
        self.end.drain(..surplus);
    }

    pub fn is_cut(&self) -> bool {
        self.total > (self.begin.len() + self.end.len()) as u64
    }

    /// As text, with a note where something is left out.
    pub fn text(&self) -> String {
        let end: Vec<u8> = self.end.iter().copied().collect();
        if !self.is_cut() {
            let mut all = self.begin.clone();
            all.extend(end);
            return String::from_utf8_lossy(&all).into_owned();
        }
        let left_out = self.total - (self.begin.len() + end.len()) as u64;
        let (begin, end) = (String::from_utf8_lossy(&self.begin), String::from_utf8_lossy(&end));
        format!("{begin}\n[... {left_out} of {} bytes left out ...]\n{end}", self.total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_short_is_kept_and_what_is_long_has_both_ends() {
        assert_eq!(Kept::read(&b"abc"[..]).text(), "abc");
        let long: Vec<u8> = (0..200_000u32).flat_map(|number| format!("{number}\n").into_bytes()).collect();
        let kept = Kept::read(&long[..]);
        let text = kept.text();
        assert!(kept.is_cut() && text.starts_with("0\n1\n") && text.ends_with("199999\n"));
        assert!(text.len() < MOST + 100 && text.contains(&format!("of {} bytes left out", long.len())));
        let fits = vec![b'x'; MOST];
        assert_eq!(Kept::read(&fits[..]).text().len(), MOST);
    }
}
