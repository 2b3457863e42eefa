//! File systems from which no program can be started (`noexec`), as some administrators mount `/tmp`.

use rustix::fs::StatVfsMountFlags;
use std::path::{Path, PathBuf};

/// Whether programs in a directory can be started. Where that cannot be told they can.
pub fn runs_programs(directory: &Path) -> bool {
    rustix::fs::statvfs(directory).is_ok_and(|system| !system.f_flag.contains(StatVfsMountFlags::NOEXEC))
        || !directory.exists()
}

/// Where something for a short time is put that is started: the usual place for temporary files, or the next that is not
/// mounted `noexec`.
pub fn temporary() -> PathBuf {
    let usual = std::env::temp_dir();
    let others = ["/var/tmp", "/dev/shm"].map(PathBuf::from);
    let can = |place: &PathBuf| place.is_dir() && runs_programs(place);
    std::iter::once(usual.clone()).chain(others).find(can).unwrap_or(usual)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_table_runs_nothing() {
        // Mounted noexec on every host.
        assert!(!runs_programs(Path::new("/proc")) || !Path::new("/proc/self").exists());
        assert!(runs_programs(Path::new("/usr")));
    }
}
