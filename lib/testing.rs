//! What unit tests share: a directory of their own, and noise. Nothing else uses it.

use std::ops::Deref;
use std::path::{Path, PathBuf};

/// A new directory, which is removed at the end.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// One for the test `name`.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("sbox-test-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("a test needs a directory");
        Scratch(path.canonicalize().expect("a test needs a directory"))
    }
}

impl Deref for Scratch {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Numbers that look random, and are the same in each run: a linear congruential generator with Knuth's constants.
#[derive(Debug, Default)]
pub struct Noise(u64);

impl Noise {
    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}
