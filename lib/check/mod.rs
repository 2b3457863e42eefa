//! Every finding in a configuration at once, each with its place and what to do about it.

mod agents;
mod confinement;
mod daemon;
mod environment;
mod packages;
mod secrets;
mod shape;
mod values;

pub use values::is_secret;

use crate::config::raw::{Raw, Text};
use crate::config::{self, Config, Overrides, keys};
use crate::error::{Error, Result};
use crate::escape::visible;
use crate::locate::{Step, locate};
use crate::model::Isolation;
use crate::output;
use crate::project::Project;
use serde_yaml::Value;
use std::fmt;
use std::path::Path;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Nothing is built or run before it is fixed.
    Error,
    /// It works, and probably not as meant.
    Warning,
}

/// One thing that is wrong.
#[derive(Debug, Clone)]
pub struct Finding {
    /// How bad.
    pub severity: Severity,
    /// The key it is about, `install[0]`; empty for the file as a whole.
    pub field: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
    /// Line and column, from 1.
    pub place: Option<(usize, usize)>,
    /// Whether it stops nothing but a build.
    pub only_for_builds: bool,
}

/// How the message of a source that is missing begins.
const MISSING: &str = "Source does not exist";

impl Finding {
    /// Whether something is wrong with the text, and not with what is missing beside it.
    pub fn is_of_the_text(&self) -> bool {
        self.severity == Severity::Error && !self.message.starts_with(MISSING)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.field.is_empty() {
            write!(f, "[{}] ", self.field)?;
        }
        f.write_str(&self.message)?;
        match self.place {
            Some((line, column)) => write!(f, " (line {line}, column {column})"),
            None => Ok(()),
        }
    }
}

/// What a check found, and the configuration if it could be read.
#[derive(Debug, Default)]
pub struct Report {
    /// In the order of the lines.
    pub findings: Vec<Finding>,
    /// Present when the file has the right shape; meaningful when there are no errors.
    pub config: Option<Config>,
}

impl Report {
    /// The errors.
    pub fn errors(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.severity == Severity::Error)
    }

    /// The warnings.
    pub fn warnings(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.severity == Severity::Warning)
    }

    /// Prints the findings on stderr: errors, and warnings too unless `errors_only`.
    pub fn print(&self, errors_only: bool) {
        let list = |label, title: &str, findings: Vec<&Finding>| {
            if findings.is_empty() {
                return;
            }
            output::say(label, format_args!("{title} ({}):", findings.len()));
            output::line("");
            for (number, finding) in findings.iter().enumerate() {
                output::line(format_args!("  {}. {finding}", number + 1));
                if !finding.hint.is_empty() {
                    output::line(format_args!("     → {}", finding.hint));
                }
                output::line("");
            }
        };
        list(output::Label::Error, "Configuration errors", self.errors().collect());
        if !errors_only {
            list(output::Label::Warn, "Configuration warnings", self.warnings().collect());
        }
    }
}

/// Reads a project's configuration; anything wrong in it is an error that counts the findings.
pub fn load(project: &Project) -> Result<Config> {
    load_with(project, &Overrides::default())
}

/// The same with what a command line says in its place.
pub fn load_with(project: &Project, overrides: &Overrides) -> Result<Config> {
    let text = config::read(project)?;
    let report = check_with(&text, project.root(), overrides);
    // What was copied is in the sandbox: where it came from matters when it is built, and may be on another machine.
    let mut errors = report.errors().filter(|error| !error.only_for_builds);
    let (first, errors) = (errors.next().map(ToString::to_string), errors.count() + 1);
    match (report.config, first) {
        (Some(config), None) => Ok(config),
        (_, first) => {
            let whose = match overrides.is_empty() {
                true => "the configuration has errors",
                false => "the configuration and these options have errors",
            };
            let error = Error::new(format!("{whose} ({errors}): {}", first.unwrap_or_default()));
            Err(error.hint("sbox validate lists them all"))
        }
    }
}

/// Checks the text of a configuration of the project at `root`.
pub fn check(text: &str, root: &Path) -> Report {
    check_with(text, root, &Overrides::default())
}

/// The same with what a command line says in its place.
pub fn check_with(text: &str, root: &Path, overrides: &Overrides) -> Report {
    let mut checker = Checker { text, root, overrides, findings: Vec::new() };
    let config = checker.run();
    checker.findings.sort_by_key(|finding| finding.place);
    Report { findings: checker.findings, config }
}

/// Variables that sbox sets itself and that a configuration cannot change.
pub const RESERVED: [&str; 11] = [
    "HOME",
    "PATH",
    "TMPDIR",
    "CONDA_PREFIX",
    "MAMBA_ROOT_PREFIX",
    "SBOX_ACTIVE",
    "SBOX_PROJECT",
    "SBOX_ISOLATION",
    "npm_config_prefix",
    "npm_config_cache",
    "PNPM_HOME",
];
struct Checker<'a> {
    text: &'a str,
    root: &'a Path,
    overrides: &'a Overrides,
    findings: Vec<Finding>,
}

impl Checker<'_> {
    fn run(&mut self) -> Option<Config> {
        let value: Value = match serde_yaml::from_str(self.text) {
            Ok(value) => value,
            Err(error) => {
                self.yaml_error(&error);
                return None;
            }
        };
        let map = match value {
            Value::Mapping(map) => map,
            Value::Null => serde_yaml::Mapping::new(),
            _ => {
                self.error(
                    "",
                    "The file must be a mapping of keys to values",
                    "Begin with a line like 'runtime: python:3.11'",
                    &[],
                );
                return None;
            }
        };
        let mut misshapen = Vec::new();
        for (key, value) in &map {
            if !self.key(key, value) {
                misshapen.push(key.as_str()?);
            }
        }
        let text = if map.is_empty() { "{}" } else { self.text };
        match Raw::without(&misshapen, serde_yaml::Deserializer::from_str(text)) {
            Ok(raw) if misshapen.is_empty() => Some(self.read(raw)),
            Ok(raw) => {
                self.look_at_the_rest(raw, &misshapen);
                None
            }
            Err(error) => {
                self.yaml_error(&error);
                None
            }
        }
    }

    /// Finds what else is wrong in a file that cannot be read whole. The keys that were left out are not missing.
    fn look_at_the_rest(&mut self, raw: Raw, left_out: &[&str]) {
        let before = self.findings.len();
        self.read(raw);
        let is_left_out = |field: &str| left_out.iter().any(|key| field.split(['[', '.']).next() == Some(key));
        let rest = self.findings.split_off(before);
        self.findings.extend(rest.into_iter().filter(|finding| !is_left_out(&finding.field)));
    }

    fn yaml_error(&mut self, error: &serde_yaml::Error) {
        let text = error.to_string();
        let message = text.split(" at line ").next().unwrap_or(&text).to_owned();
        let place = error.location().map(|place| (place.line(), place.column()));
        self.findings.push(Finding {
            severity: Severity::Error,
            field: "yaml".into(),
            message: visible(&message),
            hint: "Check indentation, quotes and colons; values with ': ' or ' #' in them need quotes".into(),
            place,
            only_for_builds: false,
        });
    }

    fn error(&mut self, field: &str, message: impl Into<String>, hint: impl Into<String>, path: &[Step]) {
        self.find(Severity::Error, field, message.into(), hint.into(), locate(self.text, path, false));
    }

    fn warn(&mut self, field: &str, message: impl Into<String>, hint: impl Into<String>, path: &[Step]) {
        self.find(Severity::Warning, field, message.into(), hint.into(), locate(self.text, path, false));
    }

    fn find(&mut self, severity: Severity, field: &str, message: String, hint: String, place: Option<(usize, usize)>) {
        // As in the examples of sbox-validate(1): what a finding says begins with a capital, what an error says does not.
        let (field, message, hint) = (field.into(), capital(message), capital(hint));
        self.findings.push(Finding { severity, field, message, hint, place, only_for_builds: false });
    }

    fn read(&mut self, mut raw: Raw) -> Config {
        self.overrides.apply(&mut raw);
        let text = |value: Option<Text>, key: &str| match value {
            Some(Text(text)) if !text.is_empty() && text != "null" && text != "~" => text,
            _ => keys::default(key).to_owned(),
        };
        let workdir = self.workdir(text(raw.workdir, "workdir"));
        let runtimes = self.runtimes(&raw.runtime);
        let copy = self.entries("copy", &raw.copy.0, &workdir);
        let mount = self.entries("mount", &raw.mount.0, &workdir);
        self.overlaps(&copy, &mount);
        self.links("copy", &copy, &mount);
        self.links("mount", &mount, &mount);
        self.commands("install", &raw.install.items, &runtimes);
        self.commands("build", &raw.build.items, &runtimes);
        self.too_much(&mount);
        self.variables(&raw.env.0);
        let env_file = self.env_file(&raw.env_file);
        let provider = self.provider(text(raw.provider, "provider"));
        let isolation = self.choice("isolation", &text(raw.isolation, "isolation")).unwrap_or(Isolation::Auto);
        let network = self.network(raw.network);
        let secrets = self.secrets(raw.secrets, &network, &raw.env.0, &mount);
        let ports = self.ports("ports", &raw.ports.items, &network);
        let reach = self.ports("reach", &raw.reach.items, &network);
        self.crossings(&ports, &reach);
        let limits = self.limits(&raw.limits.0);
        let nested = raw.nested.unwrap_or(false);
        let devices = self.devices(&raw.devices);
        self.level(isolation, &network, nested);
        self.copy_on_write(isolation, &mount);
        self.registries(&raw.install.items, &network);
        let cmd = self.cmd(raw.cmd);
        self.own_sandboxes(&raw.install.items, cmd.as_ref(), nested);
        let channels = self.channels(&raw.channels);
        let packages = self.packages(&raw.packages);
        let mamba = self.mamba(&raw.mamba);
        let mut daemon = self.daemon(&text(raw.restart, "restart"), raw.max_restarts, raw.stop_timeout, &raw.logs);
        daemon.ready = self.ready(&raw.ready);
        Config {
            runtimes,
            provider,
            workdir,
            copy,
            mount,
            install: raw.install.items.into_iter().chain(raw.build.items).collect(),
            cmd,
            env: raw.env.0,
            env_file,
            git_identity: raw.git_identity,
            isolation,
            network,
            secrets,
            ports,
            reach,
            limits,
            nested,
            devices,
            daemon,
            channels,
            packages,
            mamba,
            hash: crate::fs::sha256(self.text.as_bytes())[..16].to_owned(),
        }
    }
}

/// The text with a capital at its head, unless our own name is there.
fn capital(text: String) -> String {
    if text.starts_with("sbox") {
        return text;
    }
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(text: &str) -> Vec<String> {
        check(text, Path::new("/nonexistent")).findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn all_findings_come_at_once_with_their_places() {
        let found = findings("runtime: ruby:3.0\nworkdir: relative/path\ninstall:\n  - sudo apt-get install x\n");
        assert_eq!(found[0], "[runtime] Invalid runtime format: 'ruby:3.0' (line 1, column 10)");
        assert_eq!(found[1], "[workdir] Workdir must be an absolute path: 'relative/path' (line 2, column 10)");
        assert_eq!(found[2], "[install[0]] Using sudo in install command (line 4, column 5)");
    }

    #[test]
    fn a_key_of_the_wrong_shape_hides_nothing_else() {
        let found = findings("bogus: 1\nruntime: {a: b}\nworkdir: rel\nnetwork:\n  foo: 1\nlimits: {memory: 4Q}\n");
        let fields: Vec<&str> = found.iter().filter_map(|finding| finding.split(['[', ']']).nth(1)).collect();
        assert_eq!(fields, ["bogus", "runtime", "workdir", "network", "limits.memory"], "{found:?}");
    }

    #[test]
    fn broken_yaml_has_a_place() {
        let found = findings("runtime: python:3.11\nenv:\n  A: 'open\n");
        assert!(found[0].contains("(line 4, column 1)"), "{found:?}");
    }

    #[test]
    fn a_misspelt_key_is_an_error_at_its_place_with_a_suggestion() {
        let report = check("runtime: node:22\ninstal:\n  - npm i\n", Path::new("/nonexistent"));
        let finding = report.errors().next().unwrap();
        assert_eq!((finding.place, finding.hint.as_str()), (Some((2, 1)), "Did you mean 'install'?"));
    }

    #[test]
    fn a_repeated_key_is_an_error() {
        assert!(findings("runtime: node:22\nruntime: node:20\n")[0].contains("duplicate"));
    }

    #[test]
    fn scalars_keep_their_spelling() {
        let report = check("runtime: node:22\nenv:\n  V: 3.10\n  B: yes\n  N: 007\n  E:\n", Path::new("/nonexistent"));
        let env = report.config.unwrap().env;
        let values: Vec<&str> = env.iter().map(|(_, value)| value.as_str()).collect();
        assert_eq!(values, ["3.10", "yes", "007", ""]);
    }

    #[test]
    fn secrets_are_told_from_references_and_ordinary_words() {
        assert!(is_secret("OPENAI_API_KEY", "sk-abc"));
        assert!(is_secret("X", "ghp_abcdef"));
        assert!(is_secret("DATABASE_URL", "postgresql://u:pw@host/db"));
        assert!(!is_secret("OPENAI_API_KEY", "${OPENAI_API_KEY}"));
        assert!(!is_secret("MONKEY", "banana"));
        assert!(!is_secret("DATABASE_URL", "postgresql://localhost/mydb"));
    }

    #[test]
    fn a_destination_cannot_leave_the_root_or_replace_the_system() {
        for dst in ["/../x", "/usr/lib/x", "/proc/x", "/", "/etc", "x"] {
            let text = format!("runtime: node:22\ncopy:\n  - /tmp:{dst}\n");
            assert_eq!(check(&text, Path::new("/nonexistent")).errors().count(), 1, "{dst}");
        }
    }

    #[test]
    fn nothing_is_mounted_over_the_sandboxs_own_files() {
        for (dst, wrong) in [
            ("/srv", 1),
            ("/srv/team", 1),
            ("/srv/team/p/.sbox", 1),
            ("/srv/team/p/.sbox/env", 1),
            ("/srv/team/p", 0),
            ("/srv/tea", 0),
            ("/srv/team/q", 0),
        ] {
            let text = format!("runtime: node:22\nmount:\n  - /tmp:{dst}:ro\n");
            assert_eq!(check(&text, Path::new("/srv/team/p")).errors().count(), wrong, "{dst}");
        }
        let text = "runtime: node:22\nmount:\n  - /tmp:/home:ro\n";
        assert_eq!(check(text, Path::new("/home/me/p")).errors().count(), 0);
        let text = "runtime: node:22\ncopy:\n  - /tmp:/srv\n";
        assert_eq!(check(text, Path::new("/srv/p")).errors().count(), 0);
        // The same tree at the same place has the project where it is.
        let text = "runtime: node:22\nmount:\n  - /tmp:/tmp:rw\n";
        assert_eq!(check(text, Path::new("/tmp/p")).errors().count(), 0);
    }

    #[test]
    fn a_copy_under_a_mount_is_refused() {
        let text = "runtime: node:22\ncopy:\n  - /etc/hosts:/data/app\nmount:\n  - /tmp:/data\n";
        assert_eq!(check(text, Path::new("/nonexistent")).errors().count(), 1);
    }

    #[test]
    fn no_bytes_are_too_wild() {
        // A good configuration with a few characters changed, cut or doubled: whatever comes of it is a report, and what it
        // accepts stays in its bounds.
        let good = "runtime: [python:3.11, node:22]\nworkdir: /app\ncopy:\n  - ./app:/app\n  - {src: ., dst: /x}\nmount:\n  - /usr/share:/data:ro\ninstall: [pip install x]\ncmd: python main.py\nenv:\n  A: \"${B:-c}$$d\"\nisolation: auto\nnetwork: {allow: [\"*.example.org:8443\"], log: true}\nports: [\"9000:80\"]\nlimits: {memory: 1G, time: 2h}\nnested: false\nrestart: always\nstop_timeout: 5s\nlogs: {max_size: 1M, keep: 2}\nchannels: [conda-forge, \"https://mirror.example/c\"]\npackages: [ffmpeg, \"git >=2.40\"]\nmamba: {url: \"https://x/{platform}\"}\nready: {http: \"http://localhost:1/x\", timeout: 9s}\n";
        let strange: Vec<char> = "\0\n\t:-{}[]\"'#&*!|>%@`,?~./\\$é\u{202e}0".chars().collect();
        let mut noise = crate::testing::Noise::default();
        let mut next = |limit| noise.below(limit);
        for _ in 0..3000 {
            let mut text: Vec<char> = good.chars().collect();
            for _ in 0..=next(3) {
                let at = next(text.len());
                match next(4) {
                    0 => text[at] = strange[next(strange.len())],
                    1 => drop(text.remove(at)),
                    2 => text.insert(at, strange[next(strange.len())]),
                    _ => text.truncate(at.max(1)),
                }
            }
            let text: String = text.into_iter().collect();
            let report = check(&text, Path::new("/nonexistent"));
            if let (Some(config), 0) = (&report.config, report.errors().count()) {
                assert!(config.copy.iter().chain(&config.mount).all(|entry| entry.dst.is_absolute()));
                let inside = |path: &Path| !path.components().any(|part| part == std::path::Component::ParentDir);
                assert!(config.copy.iter().chain(&config.mount).all(|entry| inside(&entry.dst)));
            }
            for finding in &report.findings {
                assert!(!finding.to_string().contains(['\0', '\u{202e}', '\u{1b}']), "{text:?}");
            }
        }
    }
}
