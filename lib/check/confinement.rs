//! What confines: network, ports, limits, and whether a level can give them.

use super::Checker;

use crate::config::raw::RawNetwork;
use crate::escape::visible;

use crate::config::MountEntry;
use crate::locate::Step;
use crate::model::{Isolation, Limits, NameRule, Network};
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

    pub(super) fn ports(&mut self, raw: &[String], network: &Network) -> Vec<(u16, u16)> {
        let mut ports = Vec::new();
        let number = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port > 0);
        for (index, text) in raw.iter().enumerate() {
            let (host, inside) = text.split_once(':').unwrap_or((text, text));
            match (number(host), number(inside)) {
                (Some(host), Some(inside)) => ports.push((host, inside)),
                _ => {
                    let path = [Step::Key("ports".into()), Step::Index(index)];
                    let message = format!("Invalid port: '{}'", visible(text));
                    self.error(
                        &format!("ports[{index}]"),
                        message,
                        "Use 8080, or \"9000:8080\" for HOST:INSIDE",
                        &path,
                    );
                }
            }
        }
        if !ports.is_empty() && *network == Network::Host {
            let hint = "With 'network: host' its servers are on the host's loopback already";
            self.warn("ports", "Ports have no meaning with the host's network", hint, &[Step::Key("ports".into())]);
            ports.clear();
        }
        ports
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
