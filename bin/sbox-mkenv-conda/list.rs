//! Lists of packages: chosen by micromamba, or locked. Both are checked before anything comes of them.

use crate::channel;
use crate::pkgs::stem;
use libsbox::error::{Context, Error, Result};
use libsbox::escape;
use libsbox::lockfile::Package;
use serde_json::Value;
use std::path::Path;

/// The packages that micromamba chose, by its answer; none if it does not say.
pub fn chosen(answer: &[u8], channels: &[String]) -> Result<Vec<Package>> {
    let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
    let linked = answer["actions"]["LINK"].as_array().into_iter().flatten();
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let package = |value: &Value| {
        let sha256 = text(value, "sha256");
        let hash = if sha256.is_empty() { sha256 } else { format!("sha256:{sha256}") };
        // Passwords are masked in it.
        let url = channel::shown(&text(value, "url"));
        Package { name: text(value, "name"), version: text(value, "version"), url, hash, md5: text(value, "md5") }
    };
    checked(linked.map(package).collect(), channels)
}

/// The packages of a lock. It may have come with an archive: what it names is fetched and run, if only in a sandbox.
pub fn locked(list: &Path, channels: &[String]) -> Result<Vec<Package>> {
    let text = std::fs::read(list).context(|| format!("read '{}'", escape::visible_path(list)))?;
    let packages: Vec<Package> =
        serde_json::from_slice(&text).map_err(|error| Error::new(format!("invalid package list: {error}")))?;
    checked(packages, channels)
}

/// Refuses what cannot be a line of a list of packages: each stands in a file that micromamba reads, and names files in
/// the cache.
fn checked(mut packages: Vec<Package>, channels: &[String]) -> Result<Vec<Package>> {
    let is_name = |text: &str| {
        !text.is_empty()
            && !text.starts_with(['.', '-'])
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.+!=".contains(c))
    };
    let is_hex = |text: &str, length: usize| text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    for package in &packages {
        let is_url = ["https://", "http://", "file:///"].iter().any(|scheme| package.url.starts_with(scheme))
            && !package.url.chars().any(|c| c.is_whitespace() || c.is_control() || "#?\\".contains(c))
            && !package.url.split('/').any(|segment| matches!(segment, "." | ".."));
        let sha256 = package.hash.strip_prefix("sha256:").unwrap_or_default();
        if !is_url
            || !is_name(&package.name)
            || !stem(package).is_some_and(is_name)
            || !is_hex(&package.md5, 32) && !is_hex(sha256, 64)
        {
            let shown = escape::visible(&format!("{} {}", package.name, channel::shown(&package.url)));
            return Err(Error::new(format!(
                "'{shown}' is not a package that can be checked: it needs an address and a hash"
            )));
        }
    }
    channel::only_from(&packages, channels)?;
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(packages)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, url: &str, md5: &str) -> Package {
        Package { name: name.into(), url: url.into(), md5: md5.into(), ..Package::default() }
    }

    #[test]
    fn a_hostile_list_is_refused() {
        let md5 = "0123456789abcdef0123456789abcdef";
        let good = package("x", "https://h/c/noarch/x-1-0.conda", md5);
        assert!(checked(vec![good], &["https://h/c".into()]).is_ok());
        for (name, url, md5) in [
            ("x", "https://h/c/noarch/x-1-0.conda", ""),
            ("../x", "https://h/c/noarch/x-1-0.conda", md5),
            ("x", "https://h/c/noarch/...conda", md5),
            ("x", "https://h/c/noarch/x.exe", md5),
            ("x", "https://h/c/noarch/x-1-0.conda\n@EXPLICIT", md5),
            ("x", "ftp://h/c/noarch/x-1-0.conda", md5),
            ("x", "https://other/c/noarch/x-1-0.conda", md5),
            ("x", "https://h/cc/noarch/x-1-0.conda", md5),
            ("x", "https://h/c/../../x-1-0.conda", md5),
            ("x", "https://h/c/./x-1-0.conda", md5),
            ("x", "https://h/c/noarch/x-1-0.conda?y", md5),
        ] {
            assert!(checked(vec![package(name, url, md5)], &["https://h/c".into()]).is_err(), "{name} {url}");
        }
    }
}
