//! What goes wrong with agents, as seen: their own sandboxes, registries that nothing allows, and too much of the host.

use super::Checker;
use crate::config::{Command, MountEntry};
use crate::escape::visible_path;
use crate::locate::Step;
use crate::model::{NameRule, NameSet, Network};
use std::path::Path;

/// Packages of programs that bring a sandbox, which needs user namespaces; how each is called, and how it does without.
const WITH_A_SANDBOX: [(&str, &str, &str); 5] = [
    ("@openai/codex", "Codex", "sandbox_mode = \"danger-full-access\" in its configuration"),
    ("@anthropic-ai/claude-code", "Claude Code", "--dangerously-skip-permissions in 'cmd'"),
    ("playwright", "Chromium of Playwright", "chromiumSandbox: false in its launch options"),
    ("browser-use", "Chromium of browser-use", "chromium_sandbox=False in its profile"),
    ("puppeteer", "Chromium of Puppeteer", "--no-sandbox in its arguments"),
];

/// Words in `cmd` by which such a program does without.
const WITHOUT: [&str; 3] = ["--dangerously-", "danger-full-access", "--no-sandbox"];

/// Programs that fetch packages, and the set that has where from.
const CLIENTS: [(&str, NameSet); 9] = [
    ("npm", NameSet::Npm),
    ("npx", NameSet::Npm),
    ("pnpm", NameSet::Npm),
    ("yarn", NameSet::Npm),
    ("corepack", NameSet::Npm),
    ("pip", NameSet::Pypi),
    ("pip3", NameSet::Pypi),
    ("uv", NameSet::Pypi),
    ("poetry", NameSet::Pypi),
];

/// What the names of registries and of mirrors have in them.
const REGISTRIES: [&str; 9] =
    ["npm", "yarn", "registry", "pypi", "pythonhosted", "mirror", "nexus", "artifact", "packages"];

impl Checker<'_> {
    /// A program that brings a sandbox refuses to start, or warns at every step, where the kernel gives it no namespaces.
    pub(super) fn own_sandboxes(&mut self, install: &[String], cmd: Option<&Command>, nested: bool) {
        let does_without = cmd.is_some_and(|cmd| WITHOUT.iter().any(|word| cmd.to_string().contains(word)));
        if nested || does_without {
            return;
        }
        for (index, command) in install.iter().enumerate() {
            let is_package = |name: &str| {
                let mut words = command.split(|c: char| c.is_whitespace() || "'\"=<>[".contains(c));
                words.any(|word| word == name || word.strip_prefix(name).is_some_and(|rest| rest.starts_with('@')))
            };
            if let Some((_, name, without)) = WITH_A_SANDBOX.iter().find(|(package, ..)| is_package(package)) {
                let path = [Step::Key("install".into()), Step::Index(index)];
                let hint = format!("Add 'nested: true', or use {without}");
                self.warn(&format!("install[{index}]"), format!("{name} brings its own sandbox"), hint, &path);
            }
        }
    }

    /// Install commands have the network that is configured.
    pub(super) fn registries(&mut self, install: &[String], network: &Network) {
        let mut said = Vec::new();
        for (index, command) in install.iter().enumerate() {
            let programs = command.split(['&', '|', ';', '\n']).filter_map(|part| part.split_whitespace().next());
            let python = command.contains("python -m pip") || command.contains("python3 -m pip");
            let programs: Vec<&str> = programs.chain(python.then_some("pip")).collect();
            let used = CLIENTS.iter().find(|(client, set)| programs.contains(client) && !said.contains(set));
            let Some((client, set)) = used else { continue };
            let (message, hint) = match network {
                Network::Host => continue,
                Network::None => {
                    (format!("'{client}' has no network"), format!("Use 'network: {{allow: [\"{set}\"]}}'"))
                }
                Network::Allow { allow, .. } if leads_to_a_registry(allow, *set) => continue,
                Network::Allow { .. } => (
                    format!("'network' lets '{client}' reach no registry"),
                    format!("Add \"{set}\" to 'allow': whatever your {client} is configured to use"),
                ),
            };
            said.push(*set);
            let path = [Step::Key("install".into()), Step::Index(index)];
            self.warn(&format!("install[{index}]"), message, hint, &path);
        }
    }

    /// Everything that the user has is more than any agent works on.
    pub(super) fn too_much(&mut self, mount: &[MountEntry]) {
        let home = crate::fs::user_home();
        let home = home.map(|home| home.canonicalize().unwrap_or(home));
        for (index, entry) in mount.iter().enumerate() {
            let src = entry.src.canonicalize().unwrap_or_else(|_| entry.src.clone());
            let what = match &home {
                _ if src == Path::new("/") => "The whole host is mounted",
                Some(home) if *home != Path::new("/") && home.starts_with(&src) => {
                    "Your whole home directory is mounted"
                }
                _ => continue,
            };
            let path = [Step::Key("mount".into()), Step::Index(index)];
            let message = format!("{what}, keys and passwords in it included: '{}'", visible_path(&entry.src));
            let hint = "Mount the directory that the agent works on, as ':cow'";
            self.warn(&format!("mount[{index}]"), message, hint, &path);
        }
    }
}

/// Whether something in the list may be where a client gets packages. Only the names are known here.
fn leads_to_a_registry(allow: &[NameRule], set: NameSet) -> bool {
    let may_be = |rule: &NameRule| match rule {
        NameRule::Set(other) => *other == set,
        NameRule::Host(rule) => REGISTRIES.iter().any(|word| rule.to_string().contains(word)),
    };
    allow.iter().any(may_be)
}

#[cfg(test)]
mod tests {
    use crate::check::check;

    fn warnings(more: &str) -> Vec<String> {
        let text = format!("runtime: [node:22, python:3.11]\n{more}");
        check(&text, std::path::Path::new("/nonexistent")).warnings().map(ToString::to_string).collect()
    }

    #[test]
    fn programs_with_a_sandbox_of_their_own_need_namespaces() {
        for (install, name) in [
            ("npm install -g @openai/codex", "Codex brings"),
            ("npm i -g '@anthropic-ai/claude-code@2.1'", "Claude Code brings"),
            ("pip install playwright==1.50", "Playwright brings"),
        ] {
            let found = warnings(&format!("install: [\"{install}\"]\n"));
            assert!(found.len() == 1 && found[0].contains(name), "{install}: {found:?}");
            assert!(warnings(&format!("install: [\"{install}\"]\nnested: true\n")).is_empty(), "{install}");
        }
        assert!(warnings("install: [npm i -g @openai/codex]\ncmd: codex --dangerously-bypass-x\n").is_empty());
        assert!(warnings("install: [npm i codex-parser playwright-report]\n").is_empty());
    }

    #[test]
    fn an_allow_list_has_the_registry_of_the_install_commands() {
        let install = "install: [npm ci && npm test, pip install -r r.txt, pip install x]\n";
        let found = warnings(&format!("{install}network: {{allow: ['@openai', example.org]}}\n"));
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("[install[0]] 'network' lets 'npm' reach no registry (line 2"), "{found:?}");
        assert!(warnings(&format!("{install}network: none\n"))[1].contains("'pip' has no network"));
        assert!(warnings(&format!("{install}network: {{allow: ['@npm', '@pypi']}}\n")).is_empty());
        assert!(warnings(&format!("{install}network: {{allow: [mirror.corp]}}\n")).is_empty());
        assert!(warnings(install).is_empty());
    }

    #[test]
    fn the_whole_host_and_the_whole_home_are_too_much() {
        let home = std::env::var("HOME").unwrap();
        for (src, what) in [("/", "whole host"), (&*home, "whole home"), ("~", "whole home")] {
            let found = warnings(&format!("mount: ['{src}:/data:ro']\n"));
            assert!(found.len() == 1 && found[0].contains(what), "{src}: {found:?}");
        }
        assert!(warnings("mount: ['/usr/share:/data:ro']\n").is_empty());
    }
}
