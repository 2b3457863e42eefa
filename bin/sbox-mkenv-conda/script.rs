//! A script of a package that runs while it is linked.

use std::path::PathBuf;

/// A script, and its replacement.
pub struct Script {
    pub package: String,
    pub stem: String,
    /// Its place in the package, and in the environment.
    pub place: String,
    /// As it is written into the environment.
    pub content: Vec<u8>,
    /// The lines of ours, on the host.
    pub starter: PathBuf,
    /// The script in the package cache, as micromamba sees it.
    pub cached: PathBuf,
}
