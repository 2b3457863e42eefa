//! Questions to the user that are open.

use crate::jobs::lock;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How long a person may think.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// Questions that a client was told to ask: what they are about, and since when. Each is good for one answer.
#[derive(Default)]
pub struct Open(Mutex<Vec<(String, String, Instant)>>);

impl Open {
    /// A state that nobody can guess, for a question about `subject`.
    pub fn add(&self, subject: &str) -> Option<String> {
        const MOST: usize = 16;
        let mut random = [0u8; 24];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty()).ok()?;
        let state: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut all = lock(&self.0);
        all.retain(|(_, _, since)| since.elapsed() < PATIENCE);
        if all.len() >= MOST {
            all.remove(0);
        }
        all.push((state.clone(), subject.to_owned(), Instant::now()));
        Some(state)
    }

    /// Whether a question with this state was asked about just this. It is spent.
    pub fn take(&self, state: &str, subject: &str) -> bool {
        let mut all = lock(&self.0);
        all.retain(|(_, _, since)| since.elapsed() < PATIENCE);
        let found = all.iter().position(|(own, about, _)| own == state && about == subject);
        found.map(|at| all.remove(at)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_holds_once_and_for_what_was_asked() {
        let open = Open::default();
        let state = open.add("a").unwrap();
        assert!(!open.take(&state, "b") && !open.take("", "a"));
        assert!(open.take(&state, "a") && !open.take(&state, "a"));
        for _ in 0..100 {
            open.add("a").unwrap();
        }
        assert!(lock(&open.0).len() <= 16);
    }
}
