//! Exchanges texts in a stream, over the borders of what arrives at once. Nothing is held back but what may be the beginning
//! of a text that is looked for: an event that a server sends goes on at once.

use std::sync::Arc;

/// A text, and what takes its place.
#[derive(Clone, PartialEq, Eq)]
pub struct Pair {
    pub find: Vec<u8>,
    pub put: Vec<u8>,
}

impl Pair {
    pub fn new(find: impl Into<Vec<u8>>, put: impl Into<Vec<u8>>) -> Pair {
        Pair { find: find.into(), put: put.into() }
    }
}

/// The exchange in one stream.
pub struct Replacer {
    pairs: Arc<[Pair]>,
    /// The end of what has come, which may be the beginning of a text.
    held: Vec<u8>,
    /// Which of the pairs were found.
    pub found: Vec<bool>,
}

impl Replacer {
    pub fn new(pairs: Arc<[Pair]>) -> Replacer {
        let found = vec![false; pairs.len()];
        Replacer { pairs, held: Vec::new(), found }
    }

    /// Whether what comes out can have another length than what goes in.
    pub fn changes_length(&self) -> bool {
        self.pairs.iter().any(|pair| pair.find.len() != pair.put.len())
    }

    /// Takes bytes, and appends to `out` those that can go on.
    pub fn push(&mut self, input: &[u8], out: &mut Vec<u8>) {
        if self.pairs.is_empty() {
            return out.extend_from_slice(input);
        }
        if self.held.is_empty() {
            let kept = self.exchange(input, out);
            self.held.extend_from_slice(&input[kept..]);
        } else {
            let mut bytes = std::mem::take(&mut self.held);
            bytes.extend_from_slice(input);
            let kept = self.exchange(&bytes, out);
            bytes.drain(..kept);
            self.held = bytes;
        }
    }

    /// The stream has ended.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.held);
    }

    /// Gives where what has to be held back begins.
    fn exchange(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> usize {
        let mut at = 0;
        let find =
            |pair: &Pair, from: usize| memchr::memmem::find(&bytes[from..], &pair.find).map(|found| found + from);
        let mut next: Vec<Option<usize>> = self.pairs.iter().map(|pair| find(pair, 0)).collect();
        loop {
            // The first in the stream; of two at one place, the longer.
            let first = (0..next.len())
                .filter_map(|pair| Some((next[pair]?, usize::MAX - self.pairs[pair].find.len(), pair)))
                .min();
            let Some((place, _, pair)) = first else { break };
            out.extend_from_slice(&bytes[at..place]);
            out.extend_from_slice(&self.pairs[pair].put);
            self.found[pair] = true;
            at = place + self.pairs[pair].find.len();
            for (pair, next) in self.pairs.iter().zip(&mut next) {
                if next.is_some_and(|next| next < at) {
                    *next = find(pair, at);
                }
            }
        }
        let rest = &bytes[at..];
        let kept = self.pairs.iter().map(|pair| beginning_at_the_end(&pair.find, rest)).max().unwrap_or(0);
        out.extend_from_slice(&rest[..rest.len() - kept]);
        bytes.len() - kept
    }
}

/// How much of the end of `bytes` is the beginning of `text`, and not all of it.
fn beginning_at_the_end(text: &[u8], bytes: &[u8]) -> usize {
    let longest = bytes.len().min(text.len() - 1);
    (1..=longest).rev().find(|length| bytes.ends_with(&text[..*length])).unwrap_or(0)
}

/// The same for a text that is whole.
pub fn replaced(pairs: &[Pair], bytes: &[u8]) -> (Vec<u8>, bool) {
    let mut replacer = Replacer::new(pairs.into());
    let mut out = Vec::with_capacity(bytes.len());
    replacer.push(bytes, &mut out);
    replacer.finish(&mut out);
    (out, replacer.found.contains(&true))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A simple generator of numbers, the same every time.
    struct Noise(u64);

    impl Noise {
        fn below(&mut self, limit: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) as usize % limit
        }
    }

    #[test]
    fn what_is_looked_for_never_comes_out_however_it_is_cut() {
        let pairs = [Pair::new("sk-abab-real", "sk-abab-PLACE"), Pair::new("aaab", "zz"), Pair::new("abab", "y")];
        let mut noise = Noise(0x5b0c);
        for _ in 0..4000 {
            let mut text = Vec::new();
            for _ in 0..noise.below(12) {
                match noise.below(4) {
                    0 => text.extend(b"sk-abab-real"),
                    1 => text.extend(b"aaab"),
                    2 => text.extend(&b"sk-abab-real"[..noise.below(12)]),
                    _ => text.extend([b'a' + noise.below(3) as u8]),
                }
            }
            let (whole, _) = replaced(&pairs, &text);
            let (mut replacer, mut out, mut at) = (Replacer::new(pairs.to_vec().into()), Vec::new(), 0);
            while at < text.len() {
                let end = (at + 1 + noise.below(5)).min(text.len());
                replacer.push(&text[at..end], &mut out);
                at = end;
            }
            replacer.finish(&mut out);
            for found in [&whole, &out] {
                assert!(memchr::memmem::find(found, b"sk-abab-real").is_none(), "{text:?}");
            }
        }
    }

    #[test]
    fn only_a_possible_beginning_is_held_back() {
        let mut replacer = Replacer::new([Pair::new("secret", "public")].to_vec().into());
        let mut out = Vec::new();
        replacer.push(b"data: hello\n\n", &mut out);
        assert_eq!(out, b"data: hello\n\n");
        replacer.push(b"sec", &mut out);
        assert_eq!(out, b"data: hello\n\n");
        replacer.push(b"ond", &mut out);
        assert_eq!(out, b"data: hello\n\nsecond");
        assert_eq!(replacer.found, [false]);
    }
}
