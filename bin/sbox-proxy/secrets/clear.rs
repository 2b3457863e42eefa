//! Requests in the clear: nothing is exchanged in them, and no placeholder goes out in one.

use super::Interception;
use super::head::Head;
use super::store::Secret;
use super::swap::{named, placeholder_in};
use crate::refusal::Refusal;
use std::io::{self, Read};
use std::sync::Arc;

/// Why a request cannot go out, if its head has a placeholder in it.
pub fn secret_in_the_clear(secrets: &Interception, head: &[u8], host: &str) -> Option<Refusal> {
    let all = secrets.store.all();
    let found = match Head::parse(head) {
        Ok(head) => placeholder_in(&all, &head)?,
        // What cannot be taken apart could have one in it.
        Err(why) => return Some(Refusal::new(400, why)),
    };
    Some(Refusal::new(
        403,
        format!(
            "the placeholder of '{}' was on its way to '{host}' in the clear; keys go out by HTTPS only",
            found.name
        ),
    ))
}

/// The body of such a request, which ends before a placeholder is whole.
pub struct Unreadable<R> {
    from: R,
    all: Vec<Arc<Secret>>,
    /// The end of what went on, in which a placeholder may have begun.
    tail: Vec<u8>,
    found: Option<String>,
}

impl<R: Read> Unreadable<R> {
    pub fn new(from: R, secrets: &Interception) -> Unreadable<R> {
        Unreadable { from, all: secrets.store.all(), tail: Vec::new(), found: None }
    }

    /// Why it has ended early.
    pub fn found(&self) -> Option<String> {
        let name = self.found.as_ref()?;
        Some(format!("the placeholder of '{name}' was on its way in the clear, in the body of a request"))
    }
}

impl<R: Read> Read for Unreadable<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(into)?;
        self.tail.extend_from_slice(&into[..count]);
        if let Some(secret) = named(&self.all, &self.tail) {
            self.found = Some(secret.name.clone());
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let longest = self.all.iter().map(|secret| secret.placeholder.len()).max().unwrap_or(0);
        let old = self.tail.len().saturating_sub(longest);
        self.tail.drain(..old);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use libsbox::model::secret::Places;

    #[test]
    fn a_placeholder_never_goes_out_whole_however_it_is_cut() {
        let all = vec![Arc::new(Secret::for_a_test("own", "sk-place-own", "v", Places::default()))];
        for size in 1..30 {
            let text = b"a body with sk-place-own in it";
            let mut body = Unreadable { from: &text[..], all: all.clone(), tail: Vec::new(), found: None };
            let (mut out, mut space) = (Vec::new(), vec![0; size]);
            while let Ok(count @ 1..) = body.read(&mut space) {
                out.extend_from_slice(&space[..count]);
            }
            assert!(body.found().is_some() && out.len() < 24, "{size}");
        }
    }
}
