//! What confines: network, ports, limits, and whether a level can give them.

use super::Checker;

use crate::config::raw::RawNetwork;
use crate::escape::visible;

use crate::config::MountEntry;
use crate::locate::Step;
use crate::model::{self, Isolation, Limits, NameRule, Network, PROXY_PORT};
use crate::suggest;

impl Checker<'_> {
    pub(super) fn network(&mut self, raw: RawNetwork) -> Network {
        match raw {
            RawNetwork::Mode(mode) if mode.is_empty() => Network::Host,
            RawNetwork::Mode(mode) => match mode.as_str() {
                "host" => Network::Host,
                "none" => Network::None,
                other => {
                    let message = format!("Unknown network: '{}'", visible(other));
                    let hint = suggest::hint(other, &["host", "none"]);
                    self.error("network", message, hint, &[Step::Key("network".into())]);
                    Network::None
                }
            },
            RawNetwork::Names { allow, deny, log } => {
                Network::Allow { allow: self.rules("allow", &allow.items), deny: self.rules("deny", &deny.items), log }
            }
        }
    }

    fn rules(&mut self, list: &str, rules: &[String]) -> Vec<NameRule> {
        let mut valid = Vec::new();
        for (index, rule) in rules.iter().enumerate() {
            match NameRule::parse(rule) {
                Ok(rule) => valid.push(rule),
                Err((message, hint)) => {
                    let path = [Step::Key("network".into()), Step::Key(list.into()), Step::Index(index)];
                    self.error(&format!("network.{list}[{index}]"), message, hint, &path);
                }
            }
        }
        valid
    }

    /// `ports`, which lead into the sandbox, or `reach`, which leads out of it.
    pub(super) fn ports(&mut self, key: &str, raw: &[String], network: &Network) -> Vec<(u16, u16)> {
        let mut ports = Vec::new();
        for (index, text) in raw.iter().enumerate() {
            match model::ports(text) {
                Some(pair) => ports.push(pair),
                None => {
                    let path = [Step::Key(key.into()), Step::Index(index)];
                    let message = format!("Invalid port: '{}'", visible(text));
                    let hint = "Use 8080, or \"9000:8080\" for HOST:INSIDE";
                    self.error(&format!("{key}[{index}]"), message, hint, &path);
                }
            }
        }
        if !ports.is_empty() && *network == Network::Host {
            let (message, hint) = match key {
                "ports" => (
                    "Ports have no meaning with the host's network",
                    "With 'network: host' its servers are on the host's loopback already",
                ),
                _ => (
                    "'reach' has no meaning with the host's network",
                    "With 'network: host' every port of the host's loopback can be reached",
                ),
            };
            self.warn(key, message, hint, &[Step::Key(key.into())]);
            ports.clear();
        }
        ports
    }

    /// Ports inside that are taken: by what leads to the host, or by the way out to allowed names.
    pub(super) fn crossings(&mut self, ports: &[(u16, u16)], reach: &[(u16, u16)]) {
        for (index, (_, inside)) in reach.iter().enumerate() {
            let taken = match *inside {
                PROXY_PORT => "the proxy's",
                port if reach[..index].iter().any(|(_, other)| *other == port) => "another entry's",
                port if ports.iter().any(|(_, other)| *other == port) => "that of a server, by 'ports'",
                _ => continue,
            };
            let path = [Step::Key("reach".into()), Step::Index(index)];
            let hint = "Use another one inside: \"5432:15432\" is HOST:INSIDE";
            self.error(&format!("reach[{index}]"), format!("Port {inside} inside is {taken}"), hint, &path);
        }
        if reach.len() > crate::model::MOST_REACHED {
            let message = format!("More than {} ports", crate::model::MOST_REACHED);
            self.error("reach", message, "Name those that are needed", &[Step::Key("reach".into())]);
        }
    }

    pub(super) fn limits(&mut self, raw: &[(String, String)]) -> Limits {
        let mut limits = Limits::default();
        for (name, value) in raw {
            if let Err(message) = limits.set(name, value) {
                let path = [Step::Key("limits".into()), Step::Key(name.clone())];
                self.error(&format!("limits.{}", visible(name)), message, "See sbox-config(5) on 'limits'", &path);
            }
        }
        limits
    }

    /// Level 'env' shows the agent the host's own files: nothing could keep its changes apart.
    pub(super) fn copy_on_write(&mut self, isolation: Isolation, mount: &[MountEntry]) {
        let refused = |mount: &&MountEntry| isolation == Isolation::Env && mount.is_copy_on_write();
        if let Some(index) = mount.iter().position(|mount| refused(&mount)) {
            let path = [Step::Key("mount".into()), Step::Index(index)];
            let hint = "Use 'isolation: namespace' or 'auto'; or ':ro' or ':rw'";
            self.error(&format!("mount[{index}]"), "Level 'env' cannot give copy-on-write", hint, &path);
        }
    }

    /// A level that is asked for by name and cannot give what else is asked for.
    pub(super) fn level(&mut self, isolation: Isolation, network: &Network, nested: bool) {
        let lost = match (isolation, network) {
            (Isolation::Landlock | Isolation::Env, Network::Allow { .. }) => "a network of some names only",
            (Isolation::Env, Network::None) => "a program without network",
            (Isolation::Landlock | Isolation::Env, _) if nested => "namespaces of the agent's own",
            _ => return,
        };
        let message = format!("Level '{isolation}' cannot give {lost}");
        self.error("isolation", message, "Use 'namespace', or 'auto'", &[Step::Key("isolation".into())]);
    }
}
