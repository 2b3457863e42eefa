//! Where npm and pip get packages: what `@npm` and `@pypi` stand for.
//!
//! No registry is named here. The user's own configuration of the client counts, on the host, where no agent can write;
//! before it, the variables that `env:` gives the sandbox; after it, what the client has built in, which `sbox-mkenv` asked
//! of a fresh environment before any agent saw it. A file that an agent could have written (its home, its environment, a
//! mounted tree) is never asked: it would choose for itself what it may reach.

use crate::config::Config;
use crate::host_variables::{self, Host};
use crate::model::{HostRule, NameSet};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What the clients of an environment have built in: addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Registries {
    /// npm's.
    pub npm: Vec<String>,
    /// pip's: where it looks, and where the files are.
    pub pypi: Vec<String>,
}

/// A registry that a client uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registry {
    /// Its address, without user and password.
    pub url: String,
    /// Where that is written: `env.PIP_INDEX_URL`, a file, or `built in`.
    pub from: String,
    /// It is in the host's configuration, and the sandbox gets it through these variables.
    pub variables: &'static [&'static str],
    /// Whether the user wrote it down on this host: then it may be at a private address, as a company's is.
    pub is_the_users: bool,
}

/// The variables by which the sandbox's clients learn of a registry in the host's configuration.
const NPM: &[&str] = &["npm_config_registry", "COREPACK_NPM_REGISTRY", "YARN_NPM_REGISTRY_SERVER"];
const PIP: &[&str] = &["PIP_INDEX_URL", "UV_DEFAULT_INDEX"];
const PIP_EXTRA: &[&str] = &["PIP_EXTRA_INDEX_URL", "UV_INDEX"];

impl Registry {
    fn new(url: &str, from: impl Into<String>, variables: &'static [&'static str], is_the_users: bool) -> Registry {
        Registry { url: without_user(url), from: from.into(), variables, is_the_users }
    }

    /// The rule that allows it; or why none can.
    pub fn rule(&self) -> Result<HostRule, String> {
        let unusable = |why: &str| format!("'{}' {why}", crate::escape::visible(&self.url));
        let (scheme, rest) = self.url.split_once("://").ok_or_else(|| unusable("is not an address on the web"))?;
        let place = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let port = match (place.rsplit_once(':'), scheme) {
            (Some((_, "443")), "https") | (Some((_, "80")), "http") | (None, "https" | "http") => None,
            (Some((_, port)), "https" | "http") => Some(port),
            _ => return Err(unusable("is not an address on the web")),
        };
        let host = place.rsplit_once(':').map_or(place, |(host, _)| host);
        if host == "localhost" {
            return Err(unusable("is on this host; 'reach' leads to a port of it"));
        }
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        let private = if self.is_the_users { "=private" } else { "" };
        HostRule::parse(&format!("{host}{port}{private}")).map_err(|_| unusable("has no name that could be allowed"))
    }
}

/// The registries that a set stands for.
pub fn of(set: NameSet, config: &Config, host: &Host, built_in: &Registries) -> Vec<Registry> {
    match set {
        NameSet::Npm => npm(config, host, built_in),
        NameSet::Pypi => pip(config, host, built_in),
        NameSet::Vendor(_) => Vec::new(),
    }
}

fn npm(config: &Config, host: &Host, built_in: &Registries) -> Vec<Registry> {
    // npm takes its variables in either case.
    let ours = configured(config, host, |name| name.eq_ignore_ascii_case("npm_config_registry"));
    let mut all: Vec<Registry> = ours.into_iter().take(1).collect();
    let hosts = ["npm_config_registry", "NPM_CONFIG_REGISTRY"]
        .into_iter()
        .filter_map(|name| Some(Registry::new(&host.text(name)?, format!("your variable {name}"), NPM, true)));
    let lines: Vec<Line> = npm_files(host).into_iter().flat_map(|file| Line::read(file, host)).collect();
    let of_files = lines.iter().filter(|line| line.key == "registry").map(|line| line.registry(NPM));
    let main = hosts.chain(of_files).next();
    let default = built_in.npm.iter().map(|url| Registry::new(url, "built in", &[], false));
    if all.is_empty() {
        all.extend(main.map_or_else(|| default.collect(), |main| vec![main]));
    }
    // Those of scopes: `@company:registry=...`. Which of them a project uses, only its own files say.
    all.extend(lines.iter().filter(|line| line.key.ends_with(":registry")).map(|line| line.registry(&[])));
    all
}

fn pip(config: &Config, host: &Host, built_in: &Registries) -> Vec<Registry> {
    let is = |names: &'static [&'static str]| move |name: &str| names.contains(&name);
    let of_host = |names: &[&str], gives: &'static [&'static str]| -> Vec<Registry> {
        let set = names.iter().filter_map(|name| Some((name, host.text(name)?)));
        set.flat_map(|(name, value)| {
            let from = format!("your variable {name}");
            words(&value).map(|url| Registry::new(url, from.clone(), gives, true)).collect::<Vec<_>>()
        })
        .collect()
    };
    let lines: Vec<Line> = pip_files(host).into_iter().flat_map(|file| Line::read(file, host)).collect();
    let in_files = |key: &str, gives| {
        let found = lines.iter().find(|line| line.key == key);
        found.map(|line| words(&line.value).map(|url| Registry::new(url, line.file.clone(), gives, true)).collect())
    };
    let first = |all: Vec<Vec<Registry>>| all.into_iter().find(|some| !some.is_empty()).unwrap_or_default();
    let mut all = first(vec![
        configured(config, host, is(&["PIP_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL"])),
        of_host(&["PIP_INDEX_URL"], PIP),
        in_files("index-url", PIP).unwrap_or_default(),
        built_in.pypi.iter().map(|url| Registry::new(url, "built in", &[], false)).collect(),
    ]);
    all.extend(first(vec![
        configured(config, host, is(&["PIP_EXTRA_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL"])),
        of_host(&["PIP_EXTRA_INDEX_URL"], PIP_EXTRA),
        in_files("extra-index-url", PIP_EXTRA).unwrap_or_default(),
    ]));
    all
}

fn words(value: &str) -> impl Iterator<Item = &str> {
    value.split([' ', '\t', '\n', ',']).filter(|word| !word.is_empty())
}

/// What `env:` of the configuration says.
fn configured(config: &Config, host: &Host, is_wanted: impl Fn(&str) -> bool) -> Vec<Registry> {
    let wanted = config.env.iter().filter(|(name, _)| is_wanted(name));
    wanted
        .flat_map(|(name, value)| {
            let value = host_variables::expanded(name, value, host).to_string_lossy().into_owned();
            words(&value).map(|url| Registry::new(url, format!("env.{name}"), &[], false)).collect::<Vec<_>>()
        })
        .collect()
}

/// npm's files on this host, the user's before the system's (npmrc(5)).
fn npm_files(host: &Host) -> Vec<PathBuf> {
    let named = |names: [&str; 2]| names.into_iter().find_map(|name| host.text(name)).map(PathBuf::from);
    let user = named(["npm_config_userconfig", "NPM_CONFIG_USERCONFIG"]);
    let user = user.or_else(|| Some(PathBuf::from(host.text("HOME")?).join(".npmrc")));
    let global = named(["npm_config_globalconfig", "NPM_CONFIG_GLOBALCONFIG"]);
    let system = ["/usr/local/etc/npmrc", "/usr/etc/npmrc", "/etc/npmrc"].into_iter().map(PathBuf::from);
    user.into_iter().chain(global).chain(system).collect()
}

/// pip's, the most specific first (pip's manual, "Configuration").
fn pip_files(host: &Host) -> Vec<PathBuf> {
    let home = host.text("HOME").map(PathBuf::from);
    let config = host.text("XDG_CONFIG_HOME").map(PathBuf::from).or_else(|| Some(home.clone()?.join(".config")));
    let user = config.map(|config| config.join("pip/pip.conf"));
    let legacy = home.map(|home| home.join(".pip/pip.conf"));
    let system = ["/etc/pip.conf", "/etc/xdg/pip/pip.conf"].into_iter().map(PathBuf::from);
    host.text("PIP_CONFIG_FILE").map(PathBuf::from).into_iter().chain(user).chain(legacy).chain(system).collect()
}

/// A key and its value in a file of a client, `key = value` with the indented lines that go on with it.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    file: String,
    key: String,
    value: String,
}

impl Line {
    fn read(file: PathBuf, host: &Host) -> Vec<Line> {
        // A file that somebody else may write is not the user's word, but these are theirs or the system's.
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        Line::parse(&text, &crate::escape::visible_path(&file), host)
    }

    fn parse(text: &str, file: &str, host: &Host) -> Vec<Line> {
        let mut lines: Vec<Line> = Vec::new();
        let mut counts = true;
        for text in text.lines() {
            let trimmed = text.trim();
            if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
                continue;
            }
            if let Some(section) = trimmed.strip_prefix('[') {
                // pip's sections: those that `pip install` reads.
                counts = matches!(section.trim_end_matches(']'), "global" | "install");
            } else if !counts {
            } else if text.starts_with([' ', '\t']) && !trimmed.contains('=') {
                if let Some(last) = lines.last_mut() {
                    last.value = format!("{}\n{trimmed}", last.value);
                }
            } else if let Some((key, value)) = trimmed.split_once('=') {
                let value = value.trim().trim_matches(['"', '\'']);
                let value = host_variables::expanded(key, value, host).to_string_lossy().into_owned();
                lines.push(Line { file: file.into(), key: key.trim().replace('_', "-"), value });
            }
        }
        lines
    }

    fn registry(&self, variables: &'static [&'static str]) -> Registry {
        Registry::new(&self.value, self.file.clone(), variables, true)
    }
}

/// An address without user and password: those are nothing for the agent, nor for a screen.
fn without_user(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let place = rest[..end].rsplit_once('@').map_or(&rest[..end], |(_, place)| place);
    format!("{scheme}://{place}{}", &rest[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(variables: &[(&str, &str)]) -> Host {
        Host::of(variables.iter().map(|(name, value)| (name.into(), value.into())))
    }

    #[test]
    fn files_of_the_clients_are_read_as_they_read_them() {
        let host = host(&[("MIRROR", "mirror.corp")]);
        let text =
            "# a comment\n//x/:_authToken=secret\nregistry = https://${MIRROR}/npm/\n@corp:registry=https://own.corp\n";
        let lines = Line::parse(text, "f", &host);
        let of = |key: &str| lines.iter().find(|line| line.key == key).map(|line| line.value.as_str());
        assert_eq!(
            (of("registry"), of("@corp:registry")),
            (Some("https://mirror.corp/npm/"), Some("https://own.corp"))
        );
        let text = "[list]\nindex-url = https://no\n[global]\nindex_url = https://u:p@a.corp/simple\n[install]\nextra-index-url =\n  https://b.corp\n  https://c.corp\n";
        let lines = Line::parse(text, "f", &host);
        let lines: Vec<_> = lines.iter().map(|line| (line.key.as_str(), line.value.as_str())).collect();
        let extra = ("extra-index-url", "\nhttps://b.corp\nhttps://c.corp");
        assert_eq!(lines, [("index-url", "https://u:p@a.corp/simple"), extra]);
    }

    #[test]
    fn an_address_becomes_a_rule_without_its_password() {
        let rule = |url: &str, own| Registry::new(url, "", &[], own).rule().map(|rule| rule.to_string());
        assert_eq!(rule("https://u:p@mirror.corp/simple", true).unwrap(), "mirror.corp=private");
        assert_eq!(rule("https://mirror.example:8443/", false).unwrap(), "mirror.example:8443");
        assert_eq!(rule("http://mirror.example:80", false).unwrap(), "mirror.example");
        for bad in ["file:///wheels", "https://10.1.2.3/simple", "http://localhost:4873", "nonsense", "https://[::1]/"]
        {
            assert!(rule(bad, true).is_err(), "{bad}");
        }
        assert_eq!(without_user("https://u:p@h/a@b"), "https://h/a@b");
    }
}
