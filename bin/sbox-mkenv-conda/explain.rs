//! micromamba's errors in words that say what to do.

use crate::micromamba::{Micromamba, Said, Step};
use crate::refusal;
use libsbox::cache::version_key;
use libsbox::error::{Error, Kind};
use libsbox::escape::visible;
use serde_json::Value;

/// How many versions are named.
const NAMED: usize = 12;

/// Why no packages could be chosen.
pub fn solving(mamba: &Micromamba, said: &Said, specs: &[String]) -> Error {
    let missing = missing(&said.0, specs);
    if !missing.is_empty() {
        let one = |name: &String| match versions(mamba, name) {
            Some(versions) if versions.is_empty() => format!("the channels have no '{}'", visible(name)),
            Some(versions) => {
                let wanted = specs.iter().find(|spec| name_of(spec) == name).map_or(name.as_str(), String::as_str);
                format!("the channels have no '{}'; there is {}", visible(wanted), visible(&versions.join(", ")))
            }
            None => format!("the channels have no '{}' that fits", visible(name)),
        };
        return refusal(missing.iter().map(one).collect::<Vec<_>>().join("\n"));
    }
    if said.has_conflict() {
        return refusal(format!("the packages do not go together:\n{}", said.tree()));
    }
    general(said)
}

/// Why they could not be fetched or linked.
pub fn linking(said: &Said) -> Error {
    if said.is_damage() {
        let why = said.lines().join("\n");
        return refusal(format!("a package is not what its hash says, also when it is fetched anew:\n{why}"));
    }
    general(said)
}

fn general(said: &Said) -> Error {
    if said.is_full() {
        return Error::of(Kind::Failure, "micromamba could not write: no space left on the device")
            .hint("free some space, or move the cache: SBOX_CACHE=/elsewhere; sbox cache clean --all empties it");
    }
    let lines = said.lines().join("\n");
    if said.is_cut_off() {
        let hint = match said.is_certificate() {
            true => {
                "the certificate is not trusted: a company's own authority is found in the system's store, or by SSL_CERT_FILE"
            }
            false => {
                "a mirror is used with 'channels: [https://mirror/...]', or SBOX_CHANNEL_ALIAS for names; a proxy with https_proxy"
            }
        };
        return refusal(format!("a channel cannot be reached:\n{lines}\n{hint}"));
    }
    refusal(format!("micromamba failed:\n{lines}"))
}

impl Said {
    fn has_conflict(&self) -> bool {
        let text = self.0.to_lowercase();
        ["could not solve", "incompatible", "conflicts with", "nothing provides"].iter().any(|sign| text.contains(sign))
    }

    /// What it said, without what every line begins with and without its last words that say it once more.
    fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for line in self.0.lines() {
            let line = strip(line);
            if !line.is_empty() && !lines.contains(&line) && !line.starts_with(['{', '}']) && lines.len() < 12 {
                lines.push(line);
            }
        }
        lines.iter().map(|line| format!("  {}", visible(line))).collect()
    }

    /// The explanation of a conflict, which is drawn as a tree.
    fn tree(&self) -> String {
        let skipped = ["Could not solve for environment specs", "critical libmamba"];
        let lines = self.0.lines().map(str::trim_end).filter(|line| !line.trim().is_empty());
        let lines = lines.filter(|line| !skipped.iter().any(|text| line.contains(text)));
        lines.take(30).map(|line| visible(line.trim_start_matches("error    libmamba "))).collect::<Vec<_>>().join("\n")
    }
}

fn strip(line: &str) -> String {
    let line = line.trim();
    let rest = ["error", "critical", "warning", "info"]
        .iter()
        .find_map(|level| line.strip_prefix(level)?.trim_start().strip_prefix("libmamba"));
    rest.unwrap_or(line).trim().to_owned()
}

fn name_of(spec: &str) -> &str {
    let spec = spec.rsplit("::").next().unwrap_or(spec);
    spec.split(|c: char| " =<>!~[".contains(c)).next().unwrap_or(spec)
}

/// The packages that were asked for and do not exist: each version of micromamba says so in words like these.
fn missing(text: &str, specs: &[String]) -> Vec<String> {
    const SIGNS: [&str; 3] = ["does not exist", "nothing provides requested", "no candidates were found"];
    let names = specs.iter().map(|spec| name_of(spec));
    let lines: Vec<&str> =
        text.lines().filter(|line| SIGNS.iter().any(|sign| line.to_lowercase().contains(sign))).collect();
    let is_named = |name: &&str| {
        lines.iter().any(|line| {
            line.split(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c))).any(|word| word == *name)
        })
    };
    let mut found: Vec<String> = names.filter(is_named).map(Into::into).collect();
    found.dedup();
    found
}

/// The versions of a package that the channels have, newest first; nothing if they cannot be asked.
fn versions(mamba: &Micromamba, name: &str) -> Option<Vec<String>> {
    let answer = mamba.run(Step::Search, &["--json"], &[name.to_owned()]).ok()?;
    let answer: Value = serde_json::from_slice(&answer).ok()?;
    let mut versions: Vec<String> = answer["result"]["pkgs"]
        .as_array()?
        .iter()
        .filter_map(|package| Some(package["version"].as_str()?.to_owned()))
        .collect();
    versions.sort_by_key(|version| std::cmp::Reverse(version_key(version)));
    versions.dedup();
    let more = versions.len().saturating_sub(NAMED);
    versions.truncate(NAMED);
    versions.extend((more > 0).then(|| format!("and {more} older ones")));
    Some(versions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_exist_is_found_in_the_words_of_several_versions() {
        let specs = ["python=3.99".into(), "pip".into(), "tool >=2".into()];
        for text in [
            "    └─ python 3.99**  does not exist (perhaps a typo or a missing channel).",
            "error    libmamba Problem: nothing provides requested python 3.99**",
            "No candidates were found for python 3.99.*.",
        ] {
            assert_eq!(missing(text, &specs), ["python"], "{text}");
        }
        assert!(missing("tool 1.0 conflicts with the versions reported above", &specs).is_empty());
    }

    #[test]
    fn names_of_specs() {
        for (spec, name) in
            [("git >=2.40", "git"), ("numpy=1.26", "numpy"), ("conda-forge::gcc", "gcc"), ("x[build=1]", "x")]
        {
            assert_eq!(name_of(spec), name);
        }
    }
}
