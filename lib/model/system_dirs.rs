//! The directories of the system, which every sandbox has and no sandbox gives to its agent.

use std::path::Path;

/// Where a distribution keeps its programs and libraries: mounted read-only, where they are real.
pub const SYSTEM_DIRS: [&str; 9] =
    ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/gnu/store"];

/// Top-level directories that a sandbox fills itself: nothing can be staged or mounted there.
const RESERVED_DIRS: [&str; 12] =
    ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix", "/gnu", "/proc", "/dev", "/sys"];

/// Whether a path is one of the system's programs or libraries, on the host and inside alike.
pub fn is_system(path: &Path) -> bool {
    SYSTEM_DIRS.iter().any(|directory| path.starts_with(directory))
}

/// The reserved directory that a path is in.
pub fn reserved(path: &Path) -> Option<&'static str> {
    RESERVED_DIRS.into_iter().find(|directory| path.starts_with(directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_system_directory_is_reserved_whole() {
        assert!(SYSTEM_DIRS.iter().all(|directory| reserved(Path::new(directory)).is_some()));
        assert_eq!((reserved(Path::new("/gnu/a")), reserved(Path::new("/usrs"))), (Some("/gnu"), None));
        assert!(is_system(Path::new("/gnu/store/x")) && !is_system(Path::new("/gnu/x")));
    }
}
