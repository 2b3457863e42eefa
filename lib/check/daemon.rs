//! What a configuration says of daemons.

use super::Checker;
use crate::config::keys::Shape;
use crate::config::raw::{Pairs, Text};
use crate::config::{DaemonConfig, ReadinessProbe, Ready, keys};
use crate::escape::visible;
use crate::locate::Step;
use crate::model::{bytes, seconds};
use crate::suggest;
use std::time::Duration;

impl Checker<'_> {
    pub(super) fn daemon(
        &mut self,
        restart: &str,
        max: Option<Text>,
        stop: Option<Text>,
        logs: &Pairs,
    ) -> DaemonConfig {
        let mut daemon = DaemonConfig::default();
        if let Some(policy) = self.choice("restart", restart) {
            daemon.restart = policy;
        }
        if let Some(Text(text)) = max.filter(|Text(text)| !text.is_empty()) {
            match text.parse() {
                Ok(number) => daemon.max_restarts = number,
                Err(_) => self.wrong("max_restarts", None, &text, "Use a number, like 10"),
            }
        }
        if let Some(Text(text)) = stop.filter(|Text(text)| !text.is_empty()) {
            match seconds(&text).filter(|seconds| *seconds <= 86_400) {
                Some(seconds) => daemon.stop_timeout = seconds,
                None => self.wrong("stop_timeout", None, &text, "Use a time up to a day, like 10s or 2m"),
            }
        }
        for (name, value) in &logs.0 {
            match name.as_str() {
                "max_size" => match bytes(value).filter(|size| *size >= 4096) {
                    Some(size) => daemon.log_size = size,
                    None => self.wrong("logs", Some(name), value, "Use a size of 4K or more, like 10M"),
                },
                "keep" => match value.parse().ok().filter(|keep| *keep <= 1000) {
                    Some(keep) => daemon.log_keep = keep,
                    None => self.wrong("logs", Some(name), value, "Use a number, like 3"),
                },
                _ => self.unknown("logs", name),
            }
        }
        daemon
    }

    pub(super) fn ready(&mut self, raw: &Pairs) -> Option<Ready> {
        let mut probe = None;
        let mut timeout = Duration::from_secs(seconds(keys::default("ready.timeout")).unwrap_or(30));
        for (name, value) in &raw.0 {
            let found = match name.as_str() {
                "timeout" => {
                    match seconds(value) {
                        Some(seconds) => timeout = Duration::from_secs(seconds),
                        None => self.wrong("ready", Some(name), value, "Use a time, like 30s"),
                    }
                    continue;
                }
                "http" => ReadinessProbe::http(value),
                "tcp" => value.parse().ok().filter(|port| *port > 0).map(ReadinessProbe::Tcp),
                "log" => Some(ReadinessProbe::Log(value.clone())).filter(|_| !value.is_empty()),
                _ => {
                    self.unknown("ready", name);
                    continue;
                }
            };
            match (found, &probe) {
                (None, _) => self.wrong(
                    "ready",
                    Some(name),
                    value,
                    "Use 'http: \"http://127.0.0.1:8080/\"', 'tcp: 8080' or 'log: \"text\"'",
                ),
                (Some(_), Some(_)) => self.wrong("ready", Some(name), value, "Keep one of http, tcp and log"),
                (found, None) => probe = found,
            }
        }
        if probe.is_none()
            && !raw.0.is_empty()
            && !self.findings.iter().any(|finding| finding.field.starts_with("ready"))
        {
            let hint = "Add one of http, tcp and log";
            self.error("ready", "Nothing to look for", hint, &[Step::Key("ready".into())]);
        }
        probe.map(|probe| Ready { probe, timeout })
    }

    pub(super) fn wrong(&mut self, key: &str, name: Option<&str>, value: &str, hint: &str) {
        let mut path = vec![Step::Key(key.into())];
        path.extend(name.map(|name| Step::Key(name.into())));
        let field = name.map_or_else(|| key.to_owned(), |name| format!("{key}.{name}"));
        self.error(&field, format!("Invalid value: '{}'", visible(value)), hint, &path);
    }

    /// A key that the mapping `key` does not have.
    pub(super) fn unknown(&mut self, key: &str, name: &str) {
        let known = match keys::find(key).map(|key| key.shape) {
            Some(Shape::Map(known)) => known,
            _ => &[],
        };
        let hint = suggest::hint(name, known);
        let path = [Step::Key(key.into()), Step::Key(name.into())];
        self.error(&format!("{key}.{}", visible(name)), format!("Unknown key: '{}'", visible(name)), hint, &path);
    }
}
