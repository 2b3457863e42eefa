//! What a level promises, and what of it depends on the host: one table.
//!
//! Everything that `sbox-attempt` tries is refused, but for these lines. The self-test, `sbox doctor` and the warning at
//! start take them from here; a test compares sbox-isolation(7) and SECURITY.md.

use crate::model::Level;

/// What of a host decides over promises.
#[derive(Debug, Clone, Copy)]
pub struct Host {
    /// The version of the kernel's Landlock, 0 without it.
    pub landlock: i64,
    /// Whether the sandboxes of root keep root's uid: there are no idmapped mounts.
    pub keeps_root: bool,
}

/// Where a line applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Everywhere.
    Always,
    /// Where the kernel's Landlock is older, or there is none.
    LandlockBelow(i64),
    /// For root, where mounts cannot be idmapped.
    KeepsRoot,
}

impl When {
    /// Whether it applies to this host.
    pub fn applies(self, host: &Host) -> bool {
        match self {
            When::Always => true,
            When::LandlockBelow(version) => host.landlock < version,
            When::KeepsRoot => host.keeps_root,
        }
    }
}

impl std::fmt::Display for When {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            When::Always => f.write_str("everywhere"),
            // landlock(7): ABI 6 came with Linux 6.12.
            When::LandlockBelow(6) => f.write_str("before Linux 6.12 (Landlock 6)"),
            When::LandlockBelow(version) => write!(f, "before Landlock {version}"),
            When::KeepsRoot => f.write_str("started by root without idmapped mounts"),
        }
    }
}

/// Something that a level does not promise.
#[derive(Debug)]
pub struct Exception {
    /// At which level.
    pub level: Level,
    /// On which hosts.
    pub when: When,
    /// What can be done, as a sentence without its end.
    pub lost: &'static str,
    /// The attempts that show it, by name.
    pub attempts: &'static [&'static str],
    /// And all of a class.
    pub class: Option<&'static str>,
}

const fn line(level: Level, when: When, lost: &'static str, attempts: &'static [&'static str]) -> Exception {
    Exception { level, when, lost, attempts, class: None }
}

/// The table.
pub const EXCEPTIONS: &[Exception] = &[
    line(
        Level::Namespace,
        When::LandlockBelow(6),
        "with the host's network its abstract sockets (X11, D-Bus) can be reached",
        &["abstract-socket"],
    ),
    line(Level::Namespace, When::KeepsRoot, "the agent keeps root's uid, without any capability", &["kernel-root"]),
    line(
        Level::Landlock,
        When::Always,
        "files of the host that were not given are denied, not absent, and their modes, times and attributes can be changed",
        &[
            "stat-secret",
            "host-accounts",
            "host-mounts",
            "chmod-unmounted",
            "chmod-read-only",
            "touch-read-only",
            "xattr-read-only",
        ],
    ),
    line(
        Level::Landlock,
        When::Always,
        "other processes are visible",
        &["see-process", "pidfd", "init-arguments", "capabilities", "kernel-root", "host-name"],
    ),
    line(
        Level::Landlock,
        When::Always,
        "protected files in read-write mounts can be changed",
        &[
            "git-hook",
            "git-config",
            "nested-git-hook",
            "swap-git",
            "direnv",
            "editor-settings",
            "agent-settings",
            "own-configuration",
        ],
    ),
    Exception {
        level: Level::Landlock,
        when: When::Always,
        lost: "the network is the host's, or none",
        attempts: &["interfaces"],
        class: Some("network"),
    },
    line(Level::Landlock, When::LandlockBelow(6), "other processes can be signalled", &["signal-process"]),
];

/// What of a level's promises does not hold on this host.
pub fn exceptions(level: Level, host: &Host) -> impl Iterator<Item = &'static Exception> {
    let host = *host;
    EXCEPTIONS.iter().filter(move |line| line.level == level && line.when.applies(&host))
}

/// What a host that gives everything would not lose, in words.
pub fn lost_here(level: Level, host: &Host) -> Vec<&'static str> {
    exceptions(level, host).filter(|line| line.when != When::Always).map(|line| line.lost).collect()
}

/// Whether a level promises on this host that an attempt is refused.
pub fn is_promised(level: Level, host: &Host, class: &str, attempt: &str) -> bool {
    match level {
        // It arranges the environment, and nothing else.
        Level::Env => class == "environment" && attempt != "host-name",
        level => !exceptions(level, host).any(|line| line.class == Some(class) || line.attempts.contains(&attempt)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_promised_depends_on_the_host() {
        let new = Host { landlock: 7, keeps_root: false };
        let old = Host { landlock: 2, keeps_root: true };
        assert!(is_promised(Level::Namespace, &new, "ipc", "abstract-socket"));
        assert!(!is_promised(Level::Namespace, &old, "ipc", "abstract-socket"));
        assert!(!is_promised(Level::Namespace, &old, "privilege", "kernel-root"));
        assert!(is_promised(Level::Namespace, &old, "files", "read-secret"));
        assert!(is_promised(Level::Landlock, &new, "processes", "signal-process"));
        assert!(!is_promised(Level::Landlock, &old, "processes", "signal-process"));
        assert!(!is_promised(Level::Landlock, &new, "network", "udp-route"));
        assert!(!is_promised(Level::Env, &new, "files", "read-secret"));
        assert!(lost_here(Level::Namespace, &new).is_empty());
        assert_eq!(lost_here(Level::Landlock, &old).len(), 1);
    }
}
