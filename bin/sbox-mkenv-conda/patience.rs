//! How long anything is waited for. Where another provider can serve, nobody waits long here: SBOX_PATIENCE=short.

use std::time::Duration;

pub fn is_short() -> bool {
    std::env::var_os("SBOX_PATIENCE").is_some_and(|value| value == "short")
}

/// For a connection.
pub fn connecting() -> Duration {
    Duration::from_secs(if is_short() { 3 } else { 10 })
}

/// For the next bytes of a channel.
pub fn silence() -> Duration {
    seconds("SBOX_CHANNEL_TIMEOUT").unwrap_or(Duration::from_secs(if is_short() { 10 } else { 30 }))
}

/// For linking, with the scripts that packages bring.
pub fn linking() -> Duration {
    seconds("SBOX_LINK_TIMEOUT").unwrap_or(Duration::from_secs(600))
}

fn seconds(name: &str) -> Option<Duration> {
    std::env::var(name).ok()?.parse().ok().filter(|seconds| *seconds > 0).map(Duration::from_secs)
}
