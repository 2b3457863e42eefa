//! File systems from which no program can be started (`noexec`), as some administrators mount `/tmp`.

use rustix::fs::StatVfsMountFlags;
use std::path::{Path, PathBuf};

/// Whether programs in a directory can be started. Where that cannot be told they can.
pub fn runs_programs(directory: &Path) -> bool {
    !rustix::fs::statvfs(directory).is_ok_and(|system| system.f_flag.contains(StatVfsMountFlags::NOEXEC))
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
    fn what_the_kernel_lists_as_noexec_runs_nothing() {
        assert!(runs_programs(Path::new("/usr")) && runs_programs(Path::new("/no/such/directory")));
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let lines = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        // The last one at a place is the one that is seen.
        let seen: std::collections::BTreeMap<&str, bool> =
            lines.map(|words| (words[1], words[3].split(',').any(|option| option == "noexec"))).collect();
        for place in ["/", "/proc", "/sys", "/dev/shm", "/dev/pts", "/run", "/tmp"] {
            if let Some(noexec) = seen.get(place) {
                assert_eq!(runs_programs(Path::new(place)), !noexec, "{place}");
            }
        }
    }
}
