//! Where something stands in the configuration.

use crate::answer::{By, Rule};
use libsbox::config;
use libsbox::config::keys::KEYS;
use libsbox::error::Result;
use libsbox::locate::{Step, locate};
use libsbox::project::Project;
use std::path::Path;

/// The text of the configuration.
pub struct Lines(String);

impl Lines {
    pub fn of(project: &Project) -> Result<Lines> {
        config::read(project).map(Lines)
    }

    /// Whether the file has this key.
    pub fn has(&self, key: &str) -> bool {
        self.key_line(key).is_some()
    }

    /// What stands at a path into the file. Where a number would not be true, there is none.
    pub fn by(&self, path: &[Step]) -> By {
        let key = shown(path);
        let line = self.line(path);
        let text = match line.and_then(|line| self.0.lines().nth(line - 1)) {
            Some(text) => text.trim().to_owned(),
            None => key.clone(),
        };
        By { rule: Rule::Configuration, key: Some(key), line, text }
    }

    /// The same of a key at the top, or what holds without it.
    pub fn by_key(&self, key: &str, default: &str) -> By {
        if self.has(key) { self.by(&[Step::Key(key.into())]) } else { By::default(key, default) }
    }

    fn key_line(&self, key: &str) -> Option<usize> {
        locate(&self.0, &[Step::Key(key.into())], true).map(|(line, _)| line)
    }

    /// An alias leads to where its anchor stands, which is another place: what is not between the key and the next one, or
    /// not after the item before it, is not the item.
    fn line(&self, path: &[Step]) -> Option<usize> {
        let [Step::Key(top), below @ ..] = path else { return None };
        let begin = self.key_line(top)?;
        let Some(last) = below.last() else { return Some(begin) };
        let end = KEYS.iter().filter_map(|key| self.key_line(key.name)).filter(|line| *line > begin).min();
        let at = |path: &[Step]| locate(&self.0, path, matches!(path.last(), Some(Step::Key(_))));
        let (line, column) = match at(path) {
            Some(place) => place,
            // One text in the place of a list.
            None if matches!(last, Step::Index(0)) => locate(&self.0, &path[..path.len() - 1], false)?,
            None => return None,
        };
        if let Step::Index(index @ 1..) = last {
            let mut before = path.to_vec();
            before[path.len() - 1] = Step::Index(index - 1);
            if at(&before).is_none_or(|before| before >= (line, column)) {
                return None;
            }
        }
        (line >= begin && end.is_none_or(|end| line < end)).then_some(line)
    }
}

fn shown(path: &[Step]) -> String {
    let mut out = String::new();
    for step in path {
        match step {
            Step::Key(key) if out.is_empty() => out = key.clone(),
            Step::Key(key) => out += &format!(".{key}"),
            Step::Index(index) => out += &format!("[{index}]"),
        }
    }
    out
}

/// An item of `mount` that shows a path of the host at its own place.
pub fn item(path: &Path, mode: &str) -> String {
    format!("- {}", libsbox::config::mount_item(path, path, mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<Option<usize>> {
        let lines = Lines(text.to_owned());
        (0..3).map(|index| lines.line(&[Step::Key("mount".into()), Step::Index(index)])).collect()
    }

    #[test]
    fn items_are_found_in_every_style() {
        assert_eq!(
            lines("mount:\n  # why\n  - a:/a\n\n  - {src: b, dst: /b}\n  - src: c\n    dst: /c\n"),
            [Some(3), Some(5), Some(6)]
        );
        assert_eq!(lines("x: 1\nmount: [a, b,\n  c]\nenv: {}\n"), [Some(2), Some(2), Some(3)]);
        assert_eq!(lines("mount: ./a:/a\n"), [Some(1), None, None]);
    }

    #[test]
    fn an_alias_has_no_number_rather_than_a_wrong_one() {
        assert_eq!(lines("env:\n  A: &a ./a:/a\nmount:\n  - *a\n  - b:/b\n"), [None, Some(5), None]);
        assert_eq!(lines("mount:\n  - &a ./a:/a\n  - b:/b\n  - *a\n"), [Some(2), Some(3), None]);
    }
}
