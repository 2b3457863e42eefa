//! What confines: network, ports, limits, and whether a level can give them.

use super::Checker;
use crate::allow::Rule;
use crate::config::Network;
use crate::config::raw::RawNetwork;
use crate::escape::visible;
use crate::limits::Limits;
use crate::locate::Step;

impl Checker<'_> {
    pub(super) fn network(&mut self, raw: RawNetwork) -> Network {
        match raw {
            RawNetwork::Mode(mode) if mode.is_empty() => Network::Host,
            RawNetwork::Mode(mode) => match self.choice("network", mode, &["host", "none"]).as_str() {
                "none" => Network::None,
                _ => Network::Host,
            },
            RawNetwork::Names { allow, deny, log } => {
                self.rules("allow", &allow.items);
                self.rules("deny", &deny.items);
                Network::Allow { allow: allow.items, deny: deny.items, log }
            }
        }
    }

    fn rules(&mut self, list: &str, rules: &[String]) {
        for (index, rule) in rules.iter().enumerate() {
            if let Err(message) = Rule::parse(rule) {
                let path = [Step::Key("network".into()), Step::Key(list.into()), Step::Index(index)];
                let hint = "Use example.org, *.example.org, example.org:8443, or example.org=ADDRESS";
                self.error(&format!("network.{list}[{index}]"), message, hint, &path);
            }
        }
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

    /// A level that is asked for by name and cannot give what else is asked for.
    pub(super) fn level(&mut self, isolation: &str, network: &Network, nested: bool) {
        let lost = match (isolation, network) {
            ("landlock" | "env", Network::Allow { .. }) => "a network of some names only",
            ("env", Network::None) => "a program without network",
            ("landlock" | "env", _) if nested => "namespaces of the agent's own",
            _ => return,
        };
        let message = format!("Level '{isolation}' cannot give {lost}");
        self.error("isolation", message, "Use 'namespace', or 'auto'", &[Step::Key("isolation".into())]);
    }
}
