//! Keys that the agent uses and never holds.

use super::{Checker, RESERVED};
use crate::certificates;
use crate::config::raw::{RawSecret, RawSecrets, RawSource, resolve_source};
use crate::config::{MountEntry, Piece, pieces, writable_by_agents};
use crate::escape::{visible, visible_path};
use crate::inner_source;
use crate::locate::Step;
use crate::model::secret::{PLACES, Places, Secret, Source};
use crate::model::{HostRule, NameRule, Network, seconds};
use crate::project::Project;
use std::path::{Path, PathBuf};

pub(super) const EXAMPLE: &str = "Use 'OPENAI_API_KEY: {hosts: [api.openai.com]}'";

/// Variables in which something else has to be.
const PROXIES: [&str; 4] = ["http_proxy", "https_proxy", "all_proxy", "no_proxy"];

impl Checker<'_> {
    pub(super) fn wrong_secret(&mut self, name: &str, message: &str, hint: &str) {
        let path = [Step::Key("secrets".into()), Step::Key(name.into())];
        self.error(&format!("secrets.{}", visible(name)), message, hint, &path);
    }

    pub(super) fn secrets(
        &mut self,
        raw: RawSecrets,
        network: &Network,
        env: &[(String, String)],
        mounts: &[MountEntry],
    ) -> Vec<Secret> {
        if raw.0.is_empty() {
            return Vec::new();
        }
        if !matches!(network, Network::Allow { .. }) {
            let hint = "Add 'network: {allow: []}': the hosts of secrets are allowed by being named there";
            let message = "Secrets need a network of some names only: otherwise nobody could exchange them";
            self.error("secrets", message, hint, &[Step::Key("secrets".into())]);
        }
        let mut all = Vec::new();
        for (name, raw) in raw.0 {
            self.name_of_secret(&name, env);
            all.extend(self.secret(&name, &raw, network));
        }
        if let Ok(project) = Project::at(self.root) {
            let writable = writable_by_agents(mounts, &project);
            all.iter().for_each(|secret| self.what_agents_can_change(secret, &writable));
        }
        all
    }

    /// Who can write what a value comes from chooses what is sent, or what is run on this host.
    fn what_agents_can_change(&mut self, secret: &Secret, writable: &[PathBuf]) {
        let leads = |path: &Path| inner_source::leads_through(path, writable);
        match &secret.from {
            Source::Env(_) => {}
            Source::File(path) => {
                if let Some(place) = leads(path) {
                    let (path, place) = (visible_path(path), visible_path(&place));
                    let message = format!("Its file '{path}' leads through '{place}', which the agent can write");
                    let hint = "Keep the key outside of what is mounted 'rw' or 'cow', or mount that 'ro'";
                    self.wrong_secret(&secret.name, &message, hint);
                }
            }
            Source::Command(line, _) => {
                let words = paths_in(line);
                // `pass show mail/key` names no file: what is not there is one only where a shell would run it.
                let is_relative = |word: &&String| {
                    let is_run =
                        word.starts_with("./") || word.starts_with("../") || line.trim_start().starts_with(&***word);
                    !word.starts_with(['/', '~', '$']) && (is_run || self.root.join(word).exists())
                };
                if let Some(word) = words.iter().find(is_relative) {
                    let message = format!("Its command has the relative path '{}', and is run in '/'", visible(word));
                    let whole = resolve_source(word, self.root);
                    let hint = format!(
                        "Write '{}': trust holds the line and not what is in the file, which the agent must not be able to write",
                        visible_path(&whole)
                    );
                    self.wrong_secret(&secret.name, &message, &hint);
                }
                let home = crate::fs::user_home().unwrap_or_default();
                for word in words {
                    let below = ["~/", "$HOME/", "${HOME}/"].iter().find_map(|begin| word.strip_prefix(begin));
                    let path = below.map_or_else(|| PathBuf::from(&word), |below| home.join(below));
                    if let Some(place) = path.is_absolute().then(|| leads(&path)).flatten() {
                        let (word, place) = (visible(&word), visible_path(&place));
                        let message = format!(
                            "Its command has '{word}', which leads through '{place}', which the agent can write"
                        );
                        let hint = "It is run on this host: keep it outside of what is mounted 'rw' or 'cow'";
                        self.wrong_secret(&secret.name, &message, hint);
                    }
                }
            }
        }
    }

    fn name_of_secret(&mut self, name: &str, env: &[(String, String)]) {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let is_name = !name.is_empty() && name.chars().all(plain) && !name.starts_with(|c: char| c.is_ascii_digit());
        let taken = RESERVED.contains(&name)
            || certificates::VARIABLES.contains(&name)
            || PROXIES.contains(&&*name.to_ascii_lowercase());
        if !is_name || taken {
            let message = if is_name { "Is set by sbox" } else { "Is not the name of a variable" };
            self.wrong_secret(name, message, EXAMPLE);
        }
        if env.iter().any(|(other, _)| other == name) {
            let hint = "Remove it from 'env': the variable holds a placeholder, and the value stays outside";
            self.wrong_secret(name, "Is in 'env', too", hint);
        }
    }

    fn secret(&mut self, name: &str, raw: &RawSecret, network: &Network) -> Option<Secret> {
        let mut hosts = Vec::new();
        for host in &raw.hosts.items {
            match HostRule::parse(host) {
                Ok(rule) => hosts.push(rule),
                Err(why) => self.wrong_secret(name, &why, "Use example.org, *.example.org or example.org:8443"),
            }
        }
        if raw.hosts.items.is_empty() {
            self.wrong_secret(name, "Has no hosts: nobody would get it", EXAMPLE);
        }
        if let Network::Allow { deny, .. } = network {
            for host in &hosts {
                let same = |rule: &&NameRule| rule.to_string() == host.to_string();
                if deny.iter().any(|rule| same(&rule)) {
                    let path = [Step::Key("secrets".into()), Step::Key(name.into())];
                    let message = format!("Its host '{host}' is denied by network.deny, which wins");
                    self.warn(&format!("secrets.{name}"), message, "Remove one of the two", &path);
                }
            }
        }
        let places = match raw.places.items.as_slice() {
            [] => Some(Places::default()),
            names => Places::named(names),
        };
        if places.is_none() {
            self.wrong_secret(name, "Invalid value of 'in'", &format!("Use some of {}", PLACES.join(", ")));
        }
        let from = self.source(name, &raw.from)?;
        let optional = raw.optional;
        Some(Secret { name: name.to_owned(), hosts, from, places: places.unwrap_or_default(), optional })
    }

    fn source(&mut self, name: &str, raw: &RawSource) -> Option<Source> {
        let text = |value: &Option<crate::config::raw::Text>| value.as_ref().map(|text| text.0.clone());
        let expires = text(&raw.expires).map(|text| seconds(&text).filter(|span| (60..=31_536_000).contains(span)));
        if expires == Some(None) {
            self.wrong_secret(name, "Invalid value of 'expires'", "Use a time from 1m to 365d, like 30m");
        }
        if expires.is_some() && raw.command.is_none() {
            self.wrong_secret(name, "'expires' belongs to 'command'", "A file is read again when it changes");
        }
        match (text(&raw.env), text(&raw.file), text(&raw.command)) {
            (None, None, None) => Some(Source::Env(name.to_owned())),
            (Some(variable), None, None) => {
                match pieces(&format!("${{{variable}}}")).as_slice() {
                    [Piece::Variable { name, default: None }] if *name == variable => {}
                    _ => self.wrong_secret(name, "'from.env' is not the name of a variable", "Use 'from: {env: NAME}'"),
                }
                Some(Source::Env(variable))
            }
            (None, Some(file), None) => Some(Source::File(resolve_source(&file, self.root))),
            (None, None, Some(line)) => Some(Source::Command(line, expires.flatten())),
            _ => {
                self.wrong_secret(name, "Comes from more than one place", "Use one of env, file and command");
                None
            }
        }
    }
}

/// The words of a line for the shell that are paths: those with a slash in them, but for addresses. What a shell makes of
/// them otherwise is not known here.
fn paths_in(line: &str) -> Vec<String> {
    let ends = |c: char| c.is_whitespace() || "'\"`;&|()<>=".contains(c);
    let is_path = |word: &&str| word.contains('/') && !word.contains("://") && !word.starts_with('-');
    line.split(ends).filter(is_path).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use crate::check::check;
    use crate::model::secret::Source;
    use std::path::Path;

    fn findings(text: &str) -> Vec<String> {
        check(text, Path::new("/nonexistent")).errors().map(ToString::to_string).collect()
    }

    #[test]
    fn secrets_are_read_in_every_form() {
        let text = "runtime: node:22\nnetwork: {allow: []}\nsecrets:\n  OPENAI_API_KEY: {hosts: api.openai.com}\n  GITHUB_TOKEN: {hosts: [github.com, api.github.com], from: {command: gh auth token, expires: 30m}, optional: true}\n  X: {hosts: [\"*.x.org:8443\"], from: {file: ./key}, in: [header, body]}\n";
        assert_eq!(findings(text), [] as [String; 0]);
        let all = check(text, Path::new("/nonexistent")).config.unwrap().secrets;
        assert_eq!(all[0].from, Source::Env("OPENAI_API_KEY".into()));
        assert_eq!(all[1].from, Source::Command("gh auth token".into(), Some(1800)));
        assert!(all[1].optional && all[1].hosts.len() == 2 && all[1].places.header && !all[1].places.body);
        assert_eq!(all[2].from, Source::File("/nonexistent/key".into()));
        assert!(all[2].places.body && !all[2].places.address);
    }

    #[test]
    fn what_is_wrong_with_a_secret_is_said_where_it_is() {
        let with = |rest: &str| format!("runtime: node:22\nnetwork: {{allow: []}}\nsecrets:\n  {rest}\n");
        for (rest, wanted) in [
            ("A: {}", "[secrets.A] Has no hosts"),
            ("A: {hosts: [10.0.0.1]}", "[secrets.A] '10.0.0.1' is not a valid host rule"),
            ("A: {hosts: [a.org], from: {env: B, file: c}}", "[secrets.A] Comes from more than one place"),
            ("A: {hosts: [a.org], from: {env: B, expires: 3m}}", "[secrets.A] 'expires' belongs to 'command'"),
            ("A: {hosts: [a.org], in: [cookie]}", "[secrets.A] Invalid value of 'in'"),
            ("A: {hosts: [a.org], form: {env: B}}", "[secrets.A] Unknown key: 'form'"),
            ("A: api.a.org", "[secrets.A] Must be a mapping with 'hosts'"),
            ("PATH: {hosts: [a.org]}", "[secrets.PATH] Is set by sbox"),
            ("1A: {hosts: [a.org]}", "[secrets.1A] Is not the name of a variable"),
        ] {
            let found = findings(&with(rest));
            assert!(found.iter().any(|finding| finding.starts_with(wanted)), "{rest}: {found:?}");
        }
        let found = findings("runtime: node:22\nenv: {A: x}\nsecrets: {A: {hosts: [a.org]}}\n");
        assert!(found[0].contains("Is in 'env', too") || found[1].contains("Is in 'env', too"), "{found:?}");
        assert!(found.iter().any(|finding| finding.contains("Secrets need a network of some names")), "{found:?}");
    }

    #[test]
    fn what_the_agent_can_write_decides_nothing() {
        let with = |rest: &str| {
            let found = findings(&format!(
                "runtime: node:22\nnetwork: {{allow: []}}\nmount: ['.:/work', '/etc:/host-etc:ro']\nsecrets: {{A: {{hosts: [a.org], from: {rest}}}}}\n"
            ));
            // Of the mount's source, which is not there, something is said too.
            found.into_iter().filter(|finding| finding.contains("[secrets")).collect::<Vec<_>>()
        };
        for (rest, wanted) in [
            ("{file: ./key}", "Its file '/nonexistent/key' leads through '/nonexistent', which the agent can write"),
            ("{file: .sbox/rootfs/home/key}", "leads through '/nonexistent"),
            ("{command: './get-key'}", "Its command has the relative path './get-key', and is run in '/'"),
            ("{command: 'tools/get-key x'}", "Its command has the relative path 'tools/get-key'"),
            ("{command: 'cd /nonexistent/a && ../get-key'}", "Its command has the relative path '../get-key'"),
            ("{command: /nonexistent/get-key}", "leads through '/nonexistent', which the agent can write"),
        ] {
            let found = with(rest);
            assert!(found.iter().any(|finding| finding.contains(wanted)), "{rest}: {found:?}");
        }
        for rest in [
            "{file: /etc/hostname}",
            "{command: gh auth token}",
            "{command: 'curl -s https://a.org/b/c'}",
            "{command: /usr/bin/true}",
            "{command: pass show mail/key}",
        ] {
            assert_eq!(with(rest), [] as [String; 0], "{rest}");
        }
    }
}
