//! What a configuration says of daemons.

use super::Checker;
use super::shape::meant;
use crate::config::raw::{Pairs, Text};
use crate::config::{Daemon, Ready, Sign};
use crate::escape::visible;
use crate::limits::{bytes, seconds};
use crate::locate::Step;
use std::time::Duration;

impl Checker<'_> {
    pub(super) fn daemon(&mut self, restart: String, max: Option<Text>, stop: Option<Text>, logs: &Pairs) -> Daemon {
        let mut daemon =
            Daemon { restart: self.choice("restart", restart, &["no", "on-failure", "always"]), ..Daemon::default() };
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
                _ => self.unknown("logs", name, &["max_size", "keep"]),
            }
        }
        daemon
    }

    pub(super) fn ready(&mut self, raw: &Pairs) -> Option<Ready> {
        let mut sign = None;
        let mut timeout = Duration::from_secs(30);
        for (name, value) in &raw.0 {
            let found = match name.as_str() {
                "timeout" => {
                    match seconds(value) {
                        Some(seconds) => timeout = Duration::from_secs(seconds),
                        None => self.wrong("ready", Some(name), value, "Use a time, like 30s"),
                    }
                    continue;
                }
                "http" => Sign::http(value),
                "tcp" => value.parse().ok().filter(|port| *port > 0).map(Sign::Tcp),
                "log" => Some(Sign::Log(value.clone())).filter(|_| !value.is_empty()),
                _ => {
                    self.unknown("ready", name, &["http", "tcp", "log", "timeout"]);
                    continue;
                }
            };
            match (found, &sign) {
                (None, _) => self.wrong(
                    "ready",
                    Some(name),
                    value,
                    "Use 'http: \"http://127.0.0.1:8080/\"', 'tcp: 8080' or 'log: \"text\"'",
                ),
                (Some(_), Some(_)) => self.wrong("ready", Some(name), value, "Keep one of http, tcp and log"),
                (found, None) => sign = found,
            }
        }
        if sign.is_none()
            && !raw.0.is_empty()
            && !self.findings.iter().any(|finding| finding.field.starts_with("ready"))
        {
            let hint = "Add one of http, tcp and log";
            self.error("ready", "Nothing to look for", hint, &[Step::Key("ready".into())]);
        }
        sign.map(|sign| Ready { sign, timeout })
    }

    pub(super) fn wrong(&mut self, key: &str, name: Option<&str>, value: &str, hint: &str) {
        let mut path = vec![Step::Key(key.into())];
        path.extend(name.map(|name| Step::Key(name.into())));
        let field = name.map_or_else(|| key.to_owned(), |name| format!("{key}.{name}"));
        self.error(&field, format!("Cannot be '{}'", visible(value)), hint, &path);
    }

    pub(super) fn unknown(&mut self, key: &str, name: &str, known: &[&str]) {
        let hint = meant(name, known);
        let path = [Step::Key(key.into()), Step::Key(name.into())];
        self.error(&format!("{key}.{}", visible(name)), format!("Unknown key: '{}'", visible(name)), hint, &path);
    }
}
