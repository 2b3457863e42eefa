//! Named sets of hosts: what `@NAME` stands for in `allow` and `deny`.
//!
//! `@npm` and `@pypi` have no names here: they are whatever the client is configured to use, see [`crate::registries`]. The
//! others are the names that one vendor's clients need, each with its reason.

use crate::suggest;
use std::fmt;

/// A set of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameSet {
    /// Where npm gets packages.
    Npm,
    /// Where pip gets packages.
    Pypi,
    /// What a vendor's clients need.
    Vendor(&'static Vendor),
}

/// A vendor's names.
#[derive(Debug, PartialEq, Eq)]
pub struct Vendor {
    /// Without the `@`.
    pub name: &'static str,
    /// Each name, and what it is needed for.
    pub hosts: &'static [(&'static str, &'static str)],
}

const fn vendor(name: &'static str, hosts: &'static [(&'static str, &'static str)]) -> Vendor {
    Vendor { name, hosts }
}

/// Every vendor, in the order of the manual. Names that a client only reports to are left out: it works without them.
pub const VENDORS: &[Vendor] = &[
    vendor(
        "anthropic",
        &[
            ("api.anthropic.com", "models"),
            ("platform.claude.com", "the first interactive start, and login with an account of the API"),
            ("claude.ai", "login with a subscription"),
        ],
    ),
    vendor(
        "openai",
        &[
            ("api.openai.com", "models"),
            ("chatgpt.com", "models of a subscription"),
            ("auth.openai.com", "login with a subscription"),
        ],
    ),
    vendor(
        "google",
        &[
            ("generativelanguage.googleapis.com", "models"),
            ("cloudcode-pa.googleapis.com", "models of an account without a key"),
            ("accounts.google.com", "login with an account"),
            ("oauth2.googleapis.com", "renewing a login"),
        ],
    ),
    vendor(
        "github",
        &[
            ("github.com", "git over HTTPS, login, releases"),
            ("api.github.com", "issues, pull requests, tokens"),
            ("codeload.github.com", "archives of repositories"),
            ("raw.githubusercontent.com", "single files of repositories"),
            ("objects.githubusercontent.com", "files of releases"),
            ("release-assets.githubusercontent.com", "files of releases"),
        ],
    ),
    vendor(
        "copilot",
        &[
            ("api.githubcopilot.com", "models"),
            ("*.githubcopilot.com", "models of a plan for individuals or a company"),
            ("api.github.com", "the token"),
            ("github.com", "login"),
        ],
    ),
    vendor("openrouter", &[("openrouter.ai", "models")]),
    vendor("deepseek", &[("api.deepseek.com", "models")]),
    vendor("mistral", &[("api.mistral.ai", "models")]),
    vendor("xai", &[("api.x.ai", "models")]),
    vendor(
        "qwen",
        &[
            ("dashscope.aliyuncs.com", "models"),
            ("dashscope-intl.aliyuncs.com", "models outside of China"),
            ("portal.qwen.ai", "models of an account"),
            ("chat.qwen.ai", "login with an account"),
        ],
    ),
];

impl NameSet {
    /// Reads `@NAME`; nothing if it does not begin like a set. The error is a sentence, and what to do.
    pub fn parse(text: &str) -> Option<Result<NameSet, (String, String)>> {
        let name = text.strip_prefix('@')?;
        let vendor = || VENDORS.iter().find(|vendor| vendor.name == name).map(NameSet::Vendor);
        let found = match name {
            "npm" => Some(NameSet::Npm),
            "pypi" => Some(NameSet::Pypi),
            _ => vendor(),
        };
        Some(found.ok_or_else(|| {
            let known = NameSet::names();
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            (format!("unknown set of names '{}'", crate::escape::visible(text)), suggest::hint(text, &known))
        }))
    }

    /// Every set, with its `@`.
    pub fn names() -> Vec<String> {
        let clients = ["npm", "pypi"].into_iter();
        clients.chain(VENDORS.iter().map(|vendor| vendor.name)).map(|name| format!("@{name}")).collect()
    }
}

impl fmt::Display for NameSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NameSet::Npm => f.write_str("@npm"),
            NameSet::Pypi => f.write_str("@pypi"),
            NameSet::Vendor(vendor) => write!(f, "@{}", vendor.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::HostRule;

    #[test]
    fn every_set_reads_back_and_its_names_are_rules() {
        for name in NameSet::names() {
            assert_eq!(NameSet::parse(&name).unwrap().unwrap().to_string(), name);
        }
        for (host, why) in VENDORS.iter().flat_map(|vendor| vendor.hosts) {
            assert!(HostRule::parse(host).is_ok_and(|rule| !rule.names_port()) && !why.is_empty(), "{host}");
        }
        assert!(NameSet::parse("example.org").is_none());
        let (message, hint) = NameSet::parse("@antropic").unwrap().unwrap_err();
        assert_eq!((&*message, &*hint), ("unknown set of names '@antropic'", "did you mean '@anthropic'?"));
    }

    #[test]
    fn the_manual_lists_every_set_and_its_names() {
        let page = include_str!("../../man/sbox-config.5").replace("\\&", "");
        for name in NameSet::names() {
            assert!(page.contains(&format!(".It Ql {name}\n")), "sbox-config(5) lacks {name}");
        }
        for (host, _) in VENDORS.iter().flat_map(|vendor| vendor.hosts) {
            assert!(page.contains(host), "sbox-config(5) lacks {host}");
        }
    }
}
