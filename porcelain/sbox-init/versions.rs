//! Which version of a language the files of a directory ask for: what version managers and package managers read.

use libsbox::fs;
use libsbox::model::{Language, Runtime};
use std::path::Path;

/// A runtime, and the file that asks for it.
pub struct Asked {
    pub runtime: Runtime,
    pub file: &'static str,
}

/// Series of Node.js that a range is tried with, the preferred first.
const NODES: [u64; 5] = [22, 24, 20, 18, 26];

/// The second number of Python's, likewise.
const PYTHONS: [u64; 6] = [12, 13, 11, 10, 9, 8];

/// The text of a file of the directory; one that is longer than any of these files is not one.
pub fn text(root: &Path, name: &str) -> Option<String> {
    let bytes = fs::read_plain(&root.join(name)).filter(|bytes| bytes.len() < 8 << 20)?;
    String::from_utf8(bytes).ok()
}

/// What the directory says of Node.js.
pub fn node(root: &Path) -> Option<Asked> {
    let exact = [".nvmrc", ".node-version"].into_iter().find_map(|file| {
        let text = text(root, file)?;
        Some(Asked { runtime: runtime(Language::Node, text.lines().next()?.trim().trim_start_matches('v'))?, file })
    });
    exact.or_else(|| {
        let package: serde_json::Value = serde_json::from_str(&text(root, "package.json")?).ok()?;
        let range = package["engines"]["node"].as_str()?;
        let series = NODES.into_iter().find(|series| fits_npm(range, *series))?;
        Some(Asked { runtime: runtime(Language::Node, &series.to_string())?, file: "package.json" })
    })
}

/// What the directory says of Python; `preferred` is taken if it fits a range.
pub fn python(root: &Path, preferred: Option<&Runtime>) -> Option<Asked> {
    let exact = text(root, ".python-version").and_then(|text| {
        let version = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'))?.to_owned();
        Some(Asked { runtime: runtime(Language::Python, &version)?, file: ".python-version" })
    });
    exact.or_else(|| {
        let text = text(root, "pyproject.toml")?;
        let range = text.lines().find_map(|line| {
            let (key, value) = line.split_once('=')?;
            // The second is poetry's.
            let is_it = matches!(key.trim(), "requires-python" | "python");
            is_it.then(|| value.split('#').next().unwrap_or(value).trim().trim_matches(['"', '\'']).to_owned())
        })?;
        let of_host = preferred.and_then(|runtime| runtime.series().split('.').nth(1)?.parse().ok());
        let minor = of_host.into_iter().chain(PYTHONS).find(|minor| fits_python(&range, *minor))?;
        Some(Asked { runtime: runtime(Language::Python, &format!("3.{minor}"))?, file: "pyproject.toml" })
    })
}

fn runtime(language: Language, version: &str) -> Option<Runtime> {
    Runtime::parse(&format!("{}:{version}", language.name())).ok()
}

/// An operator and the numbers after it: `>=3.10` is `>=` and 3, 10.
fn comparator(word: &str) -> Option<(&str, Vec<u64>)> {
    let at = word.find(|letter: char| letter.is_ascii_digit())?;
    let numbers = word[at..].split('.').map_while(|part| part.parse().ok()).collect();
    Some((word[..at].trim().trim_end_matches('v'), numbers))
}

/// Whether some version of a series of Node.js is in a range as npm writes it: `>=18 <23`, `^20.1 || 22.x`.
fn fits_npm(range: &str, series: u64) -> bool {
    range.split("||").any(|all| {
        let joined = [">=", "<=", ">", "<", "^", "~", "="]
            .iter()
            .fold(all.to_owned(), |text, operator| text.replace(&format!("{operator} "), operator));
        let mut words = joined.split_whitespace().peekable();
        words.peek().is_some()
            && words.all(|word| {
                let Some((operator, numbers)) = comparator(word) else { return matches!(word, "*" | "x" | "-") };
                let (Some(major), rest) = (numbers.first().copied(), numbers.iter().skip(1).any(|part| *part > 0))
                else {
                    return false;
                };
                match operator {
                    ">=" | ">" if operator == ">" && !rest && numbers.len() == 1 => series > major,
                    ">=" | ">" => series >= major,
                    "<=" => series <= major,
                    "<" => series < major || series == major && rest,
                    _ => series == major,
                }
            })
    })
}

/// Whether some release of 3.`minor` is in a range as PEP 440 or poetry writes it: `>=3.10,<3.13`, `^3.11`.
fn fits_python(range: &str, minor: u64) -> bool {
    range.split(',').all(|word| {
        let Some((operator, numbers)) = comparator(word.trim()) else { return word.trim() == "*" };
        let (Some(3), Some(than)) = (numbers.first(), numbers.get(1)) else {
            return match (operator, numbers.first()) {
                ("<" | "<=", Some(major)) => *major > 3,
                (_, major) => major == Some(&3),
            };
        };
        let rest = numbers.get(2).is_some_and(|patch| *patch > 0);
        match operator {
            ">=" | "^" => minor >= *than,
            ">" => minor > *than || numbers.len() > 2 && minor == *than,
            "<" => minor < *than || minor == *than && rest,
            "<=" => minor <= *than,
            "!=" => numbers.len() > 2 || minor != *than,
            "~=" if numbers.len() == 2 => minor >= *than,
            _ => minor == *than,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_npm_are_understood() {
        let fitting = |range: &str| NODES.into_iter().find(|series| fits_npm(range, *series));
        assert_eq!(
            [">=18", ">= 18.17.0", "^20.1", "20.x", "~18.2", "<21 >=18", "18 || 20", "*"].map(fitting),
            [Some(22), Some(22), Some(20), Some(20), Some(18), Some(20), Some(20), Some(22)]
        );
        assert_eq!([">22", ">=23 <25", "lts", ">=99"].map(fitting), [Some(24), Some(24), None, None]);
    }

    #[test]
    fn ranges_of_python_are_understood() {
        let fitting = |range: &str| PYTHONS.into_iter().find(|minor| fits_python(range, *minor));
        assert_eq!(
            [">=3.9", ">=3.10,<3.12", "^3.11", "~=3.10.0", "==3.9.*", "<4", ">=3.13", "3.8"].map(fitting),
            [Some(12), Some(11), Some(12), Some(10), Some(9), Some(12), Some(13), Some(8)]
        );
        assert_eq!([">=3.8,<3.10", "!=3.12", ">=2.7", ">=4"].map(fitting), [Some(9), Some(13), None, None]);
    }
}
