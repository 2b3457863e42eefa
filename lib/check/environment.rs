//! Files of variables, and devices.

use super::{Checker, RESERVED};
use crate::config::raw::{Lines, resolve_source};
use crate::escape::visible_path;
use crate::locate::Step;
use crate::model::Device;
use std::path::PathBuf;

impl Checker<'_> {
    pub(super) fn env_file(&mut self, raw: &Lines) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for (field, path, item) in places("env_file", raw) {
            let file = resolve_source(item, self.root);
            if !file.is_file() {
                let hint = "Relative paths start at the project root; make it with one NAME=VALUE a line";
                self.error(&field, format!("File does not exist: '{}'", visible_path(&file)), hint, &path);
            } else if let Err(error) = crate::dotenv::read(&file) {
                self.error(&field, error.to_string(), error.hint_text().unwrap_or_default(), &path);
            } else if let Some(name) = first_reserved(&file) {
                let message = format!("'{name}' in '{}' is set by sbox", visible_path(&file));
                self.error(&field, message, "Remove it there; PATH has the environment's programs first", &path);
            }
            files.push(file);
        }
        files
    }

    pub(super) fn devices(&mut self, raw: &Lines) -> Vec<Device> {
        let mut devices = Vec::new();
        for (field, path, item) in places("devices", raw) {
            match item.parse::<Device>() {
                Ok(device) if devices.contains(&device) => {}
                Ok(device) => devices.push(device),
                Err(error) => self.error(&field, error.to_string(), error.hint_text().unwrap_or_default(), &path),
            }
        }
        devices
    }
}

fn first_reserved(file: &std::path::Path) -> Option<String> {
    let all = crate::dotenv::read(file).unwrap_or_default();
    all.into_iter().map(|(name, _)| name).find(|name| RESERVED.contains(&name.as_str()))
}

/// Each text of a key, with its name for people and its place in the file.
fn places<'a>(key: &'a str, raw: &'a Lines) -> impl Iterator<Item = (String, Vec<Step>, &'a str)> {
    raw.items.iter().enumerate().filter(|(_, item)| !item.is_empty()).map(move |(index, item)| match raw.is_list {
        true => (format!("{key}[{index}]"), vec![Step::Key(key.into()), Step::Index(index)], item.as_str()),
        false => (key.to_owned(), vec![Step::Key(key.into())], item.as_str()),
    })
}
