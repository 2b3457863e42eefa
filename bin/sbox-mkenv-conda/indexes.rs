//! The indexes of channels that micromamba keeps. It takes whatever came with status 200 for one: a page that asks for a
//! login is an empty channel, for an hour.

use crate::channel;
use crate::pkgs::PackageCache;
use libsbox::escape::visible;
use libsbox::fs;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// An index: what it is of, as micromamba noted it, and its file.
fn all(cache: &PackageCache) -> Vec<(Option<String>, PathBuf)> {
    let entries = std::fs::read_dir(cache.dir.join("cache")).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_index =
        |path: &PathBuf| path.to_string_lossy().ends_with(".json") && !path.to_string_lossy().ends_with(".state.json");
    let address = |path: &Path| {
        let state: Value = serde_json::from_slice(&fs::read_plain(&path.with_extension("state.json"))?).ok()?;
        Some(channel::shown(state["url"].as_str()?))
    };
    entries.filter(is_index).map(|path| (address(&path), path)).collect()
}

fn is_of(address: Option<&String>, channels: &[String]) -> bool {
    // An old version notes it in the index itself: then it is looked at in any case.
    let is_below = |address: &str, channel: &String| match channel.contains("://") {
        true => address.starts_with(&(channel::shown(channel) + "/")),
        false => address.contains(&format!("/{channel}/")),
    };
    address.is_none_or(|address| channels.iter().any(|channel| is_below(address, channel)))
}

/// Whether there is an index of one of these channels.
pub fn is_there(cache: &PackageCache, channels: &[String]) -> bool {
    all(cache).iter().any(|(address, _)| is_of(address.as_ref(), channels))
}

/// An index of these channels that is not one: its address, and what it is. It is removed, so that the next build asks again.
pub fn strange(cache: &PackageCache, channels: &[String]) -> Option<(String, String)> {
    let mut found = None;
    for (address, path) in all(cache) {
        if !is_of(address.as_ref(), channels) {
            continue;
        }
        let text = fs::read_plain(&path).unwrap_or_default();
        if serde_json::from_slice::<serde::de::IgnoredAny>(&text).is_ok() {
            continue;
        }
        remove(&path);
        let address =
            address.unwrap_or_else(|| channels.iter().map(|one| channel::shown(one)).collect::<Vec<_>>().join(", "));
        let address = address.rsplit_once('/').map_or(&*address, |(subdir, _)| subdir).to_owned();
        found = Some((visible(&address), kind(&text)));
    }
    found
}

/// Removes what was not written to its end.
pub fn forget_broken(cache: &PackageCache) {
    for (_, path) in all(cache) {
        let is_whole = |path: &Path| {
            let text = fs::read_plain(path).unwrap_or_default();
            serde_json::from_slice::<serde::de::IgnoredAny>(&text).is_ok()
        };
        if !is_whole(&path) || !is_whole(&path.with_extension("state.json")) {
            remove(&path);
        }
    }
}

fn remove(index: &Path) {
    for end in ["json", "state.json", "solv"] {
        let _ = std::fs::remove_file(index.with_extension(end));
    }
}

fn kind(text: &[u8]) -> String {
    let start = String::from_utf8_lossy(&text[..text.len().min(4096)]).into_owned();
    let lower = start.to_lowercase();
    let title = lower.find("<title>").and_then(|at| start.get(at + 7..)?.split('<').next()).map(str::trim);
    match title {
        _ if text.is_empty() => "nothing".into(),
        Some(title) => format!("a web page, '{}',", visible(title)),
        None if lower.contains("<html") || lower.contains("<!doctype") => "a web page".into(),
        None if start.trim_start().starts_with('{') => "JSON that breaks off".into(),
        None => format!("something that begins with '{}',", visible(&start.chars().take(40).collect::<String>())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_page_is_not_an_index() {
        let dir = libsbox::testing::Scratch::new("indexes");
        std::fs::create_dir_all(dir.join("cache")).unwrap();
        let put = |name: &str, text: &str| std::fs::write(dir.join("cache").join(name), text).unwrap();
        put("aa.json", "{\"packages\": {}}");
        put("aa.state.json", "{\"url\": \"https://h/good/noarch/repodata.json\"}");
        put("bb.json", "<html><title>Log in</title>");
        put("bb.state.json", "{\"url\": \"https://me:*****@h/bad/noarch/repodata.json\"}");
        let cache = PackageCache { dir: dir.to_path_buf() };
        assert_eq!(strange(&cache, &["https://h/good".into()]), None);
        assert!(is_there(&cache, &["https://h/bad".into()]) && !is_there(&cache, &["https://h/other".into()]));
        let (address, what) = strange(&cache, &["https://me:x@h/bad".into()]).unwrap();
        assert_eq!((&*address, &*what), ("https://h/bad/noarch", "a web page, 'Log in',"));
        assert!(!dir.join("cache/bb.json").exists() && dir.join("cache/aa.json").exists());
    }
}
