//! What a sandbox may use: read from a configuration or a command line, written back for one.

use super::size::{bytes, seconds, span_written, written};
use crate::escape::visible;

/// The names of the limits, as a configuration has them.
pub const LIMITS: &[&str] = &["memory", "cpus", "pids", "open_files", "file_size", "tmp", "time"];

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
        let wrong = |like: &str| format!("'{}' is not a {name} limit; write, for example, {like}", visible(value));
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
            _ => return Err(format!("'{}' is not a limit; use one of: {}", visible(name), LIMITS.join(", "))),
        }
        Ok(())
    }

    /// Without those of the sandbox as a whole, which are kept in it already when somebody joins it.
    pub fn of_each_process(&self) -> Limits {
        Limits { tmp: None, time: None, ..self.clone() }
    }

    /// The limits as `NAME=VALUE`, as [`Limits::set`] reads them.
    pub fn written(&self) -> Vec<String> {
        let whole = |name: &str, value: Option<u64>| value.map(|value| format!("{name}={value}"));
        let size = |name: &str, value: Option<u64>| value.map(|value| format!("{name}={}", written(value)));
        [
            size("memory", self.memory),
            self.cpus.map(|cpus| format!("cpus={cpus}")),
            whole("pids", self.pids),
            whole("open_files", self.open_files),
            size("file_size", self.file_size),
            size("tmp", self.tmp),
            self.time.map(|time| format!("time={}", span_written(time))),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let mut limits = Limits::default();
        for (name, value) in LIMITS.iter().zip(["64M", "1.5", "50", "1024", "1G", "10M", "2h"]) {
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
