//! What a configuration says of conda: where packages come from, and which are wanted beside the runtime.

use super::Checker;
use crate::config::Download;
use crate::config::raw::{Lines, Pairs};
use crate::escape::visible;
use crate::locate::Step;

impl Checker<'_> {
    /// Names (`conda-forge`) and addresses. They become arguments of another program, which must not take them for options.
    pub(super) fn channels(&mut self, raw: &Lines) -> Vec<String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        let is_url = |text: &str| {
            ["https://", "http://", "file:///"].iter().any(|scheme| text.starts_with(scheme))
                && !text.chars().any(|c| c.is_whitespace() || c.is_control() || "\"'`\\,".contains(c))
        };
        let fits = |text: &str| {
            is_url(text) || text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(plain)
        };
        self.words("channels", raw, &fits, "Use a name like 'conda-forge', or the address of a channel")
    }

    /// Package names with or without a version, as conda writes them: `ffmpeg`, `numpy=1.26`, `git >=2.40,<3`.
    pub(super) fn packages(&mut self, raw: &Lines) -> Vec<String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || " -_.=<>!*,|:+[]~/".contains(c);
        let fits = |text: &str| {
            text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_') && text.chars().all(plain)
                // An address in the place of a name would be fetched from where nobody looks for a channel.
                && !text.contains("//")
        };
        self.words("packages", raw, &fits, "Use names of packages like 'ffmpeg', 'git >=2.40' or 'numpy=1.26'")
    }

    fn words(&mut self, key: &str, raw: &Lines, fits: &dyn Fn(&str) -> bool, hint: &str) -> Vec<String> {
        for (index, text) in raw.items.iter().enumerate().filter(|(_, text)| !fits(text)) {
            let mut path = vec![Step::Key(key.into())];
            path.extend(raw.is_list.then_some(Step::Index(index)));
            let field = if raw.is_list { format!("{key}[{index}]") } else { key.to_owned() };
            self.error(&field, format!("Invalid value: '{}'", visible(text)), hint, &path);
        }
        raw.items.clone()
    }

    /// Where micromamba is downloaded, and what has to come.
    pub(super) fn mamba(&mut self, raw: &Pairs) -> Download {
        let mut download = Download::default();
        for (name, value) in &raw.0 {
            let is_hash = crate::fs::is_sha256(value);
            match name.as_str() {
                "url" if value.starts_with("https://") || value.starts_with("http://") => {
                    download.url = Some(value.clone());
                }
                "sha256" if is_hash => download.sha256 = Some(value.clone()),
                "url" => self.wrong("mamba", Some(name), value, "Use an address that begins with https://"),
                "sha256" => self.wrong("mamba", Some(name), value, "A SHA-256 has 64 hexadecimal digits"),
                _ => self.unknown("mamba", name),
            }
        }
        download
    }
}
