//! What a sandbox may use: read from a configuration or a command line, written back for one.

use crate::escape::visible;

/// The names of the limits, as a configuration has them.
pub const NAMES: [&str; 7] = ["memory", "cpus", "pids", "open_files", "file_size", "tmp", "time"];

/// Processes and threads of a sandbox for which nothing else was said: far above what agents need, far below what
/// brings a machine down.
pub const DEFAULT_PIDS: u64 = 4096;

/// The limits that were asked for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Limits {
    /// Bytes of memory of the whole sandbox, files in memory included.
    pub memory: Option<u64>,
    /// Processors; a part of one only where a control group enforces it.
    pub cpus: Option<f64>,
    /// Processes and threads of the whole sandbox.
    pub pids: Option<u64>,
    /// Open files of each process.
    pub open_files: Option<u64>,
    /// Bytes of the largest file that can be written.
    pub file_size: Option<u64>,
    /// Bytes in `/tmp`, which is then in memory and empty at every start.
    pub tmp: Option<u64>,
    /// Seconds from start to end.
    pub time: Option<u64>,
}

impl Limits {
    /// Sets one limit; the error says what a value looks like.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let wrong = |like: &str| format!("'{}' is no {name} limit; write it like {like}", visible(value));
        match name {
            "memory" => {
                self.memory = Some(bytes(value).filter(|size| *size >= 1 << 20).ok_or_else(|| wrong("512M or 2G"))?)
            }
            "cpus" => self.cpus = Some(processors(value).ok_or_else(|| wrong("2 or 0.5"))?),
            "pids" => self.pids = Some(count(value).ok_or_else(|| wrong("256"))?),
            "open_files" => self.open_files = Some(count(value).ok_or_else(|| wrong("1024"))?),
            "file_size" => self.file_size = Some(bytes(value).ok_or_else(|| wrong("100M"))?),
            "tmp" => self.tmp = Some(bytes(value).filter(|size| *size >= 4096).ok_or_else(|| wrong("1G"))?),
            "time" => self.time = Some(seconds(value).ok_or_else(|| wrong("90s, 30m or 2h"))?),
            _ => return Err(format!("'{}' is no limit; there are: {}", visible(name), NAMES.join(", "))),
        }
        Ok(())
    }

    /// The limits as `NAME=VALUE`, as [`Limits::set`] reads them.
    pub fn written(&self) -> Vec<String> {
        let whole = |name: &str, value: Option<u64>| value.map(|value| format!("{name}={value}"));
        [
            whole("memory", self.memory),
            self.cpus.map(|cpus| format!("cpus={cpus}")),
            whole("pids", self.pids),
            whole("open_files", self.open_files),
            whole("file_size", self.file_size),
            whole("tmp", self.tmp),
            whole("time", self.time),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// A positive whole number.
fn count(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number| *number > 0)
}

fn processors(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.01 && *number <= 4096.0)
}

/// A size: bytes, or with `K`, `M`, `G`, `T` (powers of 1024, as in container engines), `B` or `iB` after it or not.
pub fn bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = (text[..end].parse::<f64>().ok()?, text[end..].trim().to_ascii_lowercase());
    let power = match unit.trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        _ => return None,
    };
    let size = number * 1024f64.powi(power);
    (size >= 1.0 && size < 2f64.powi(60)).then_some(size as u64)
}

/// A span of time: seconds, or with `s`, `m`, `h`, `d` after it.
pub fn seconds(text: &str) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..end].parse().ok()?;
    let unit = match text[end..].trim() {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    number.checked_mul(unit).filter(|seconds| *seconds > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_spans_have_units() {
        assert_eq!(
            ["512M", "2G", "1GiB", "1.5k", "4096", "1 TB"].map(bytes),
            [Some(512 << 20), Some(2 << 30), Some(1 << 30), Some(1536), Some(4096), Some(1 << 40)]
        );
        assert_eq!(["", "x", "5X", "-1", "0", "1e3", "99999999999T", "inf"].map(bytes), [None; 8]);
        assert_eq!(["90", "90s", "30m", "2h", "1d"].map(seconds), [90, 90, 1800, 7200, 86_400].map(Some));
        assert_eq!(["", "0", "1w", "-5s", "99999999999999999999d"].map(seconds), [None; 5]);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut limits = Limits::default();
        for (name, value) in NAMES.iter().zip(["64M", "1.5", "50", "1024", "1G", "10M", "2h"]) {
            limits.set(name, value).unwrap();
        }
        let mut again = Limits::default();
        for line in limits.written() {
            let (name, value) = line.split_once('=').unwrap();
            again.set(name, value).unwrap();
        }
        assert_eq!(limits, again);
        assert!(limits.set("memory", "1k").is_err() && limits.set("ram", "1G").is_err());
    }
}
