//! The rules of a network of some names: what its entries and sets come to, each with where it is from.

use crate::built::Built;
use crate::config::Config;
use crate::host_variables::Host;
use crate::model::{HostRule, NameRule, NameSet, Network};
use crate::project::Project;
use crate::registries::{self, Registries};

/// A rule, and who says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourcedRule {
    /// The rule.
    pub rule: HostRule,
    /// The set that it is of.
    pub set: Option<NameSet>,
    /// What it is for, or in whose configuration it stands; empty for one that the configuration has itself.
    pub why: String,
    /// Its place in `allow` or `deny`, from 0.
    pub index: usize,
}

/// All of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NameRules {
    /// What is allowed.
    pub allow: Vec<SourcedRule>,
    /// What is denied; this wins.
    pub deny: Vec<SourcedRule>,
    /// What a set has that no rule can allow, in words.
    pub unusable: Vec<String>,
}

impl NameRules {
    /// The rules of a project's network; none where it is not one of some names.
    pub fn of(project: &Project, config: &Config, host: &Host) -> NameRules {
        let Network::Allow { allow, deny, .. } = &config.network else { return NameRules::default() };
        let has_clients = [NameSet::Npm, NameSet::Pypi].iter().any(|set| {
            let set = NameRule::Set(*set);
            allow.contains(&set) || deny.contains(&set)
        });
        let built_in = if has_clients { built_in(project) } else { Registries::default() };
        let mut rules = NameRules::default();
        rules.allow = rules.expand(allow, config, host, &built_in);
        rules.deny = rules.expand(deny, config, host, &built_in);
        // The hosts of a secret are allowed by being named there. Before the others: of two rules for a name its own says where
        // that is.
        let of_secrets = config.secrets.iter().flat_map(|secret| {
            let rule = |rule: &HostRule| SourcedRule {
                rule: rule.clone(),
                set: None,
                why: format!("secret {}", secret.name),
                index: usize::MAX,
            };
            secret.hosts.iter().map(rule)
        });
        rules.allow.splice(0..0, of_secrets);
        rules
    }

    fn expand(
        &mut self,
        entries: &[NameRule],
        config: &Config,
        host: &Host,
        built_in: &Registries,
    ) -> Vec<SourcedRule> {
        let mut all: Vec<SourcedRule> = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            match entry {
                NameRule::Host(rule) => {
                    all.push(SourcedRule { rule: rule.clone(), set: None, why: String::new(), index });
                }
                NameRule::Set(set @ NameSet::Vendor(vendor)) => {
                    let of = |(host, why): &(&str, &str)| {
                        let rule = HostRule::parse(host).ok()?;
                        Some(SourcedRule { rule, set: Some(*set), why: (*why).into(), index })
                    };
                    all.extend(vendor.hosts.iter().filter_map(of));
                }
                NameRule::Set(set) => {
                    let registries = registries::of(*set, config, host, built_in);
                    if registries.is_empty() {
                        self.unusable.push(format!(
                            "{set} stands for nothing yet: what its client has built in is found out by a build"
                        ));
                    }
                    for registry in registries {
                        match registry.rule() {
                            Ok(rule) if all.iter().any(|other| other.rule == rule) => {}
                            Ok(rule) => all.push(SourcedRule { rule, set: Some(*set), why: registry.from, index }),
                            Err(why) => self.unusable.push(format!("{set}: {why}")),
                        }
                    }
                }
            }
        }
        all
    }
}

/// What the clients of the environment have built in.
pub fn built_in(project: &Project) -> Registries {
    Built::read(project).map(|built| built.registries).unwrap_or_default()
}
