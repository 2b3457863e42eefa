//! Every finding in a configuration at once, each with its place and what to do about it.

use crate::config::{self, Command, Config, DEFAULT_WORKDIR, Entry, KEYS, Language, Raw, RawEntry, Runtime};
use crate::locate::{Step, locate};
use crate::words::{self, did_you_mean, visible, visible_path};
use serde_yaml::Value;
use std::fmt;
use std::path::Path;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Nothing is built or run before it is mended.
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
    /// In the order of the checks.
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
            words::say(label, format_args!("{title} ({}):", findings.len()));
            words::line("");
            for (number, finding) in findings.iter().enumerate() {
                words::line(format_args!("  {}. {finding}", number + 1));
                if !finding.hint.is_empty() {
                    words::line(format_args!("     → {}", finding.hint));
                }
                words::line("");
            }
        };
        list(words::Label::Error, "Configuration errors", self.errors().collect());
        if !errors_only {
            list(words::Label::Warn, "Configuration warnings", self.warnings().collect());
        }
    }
}

/// Checks the text of a configuration of the project at `root`.
pub fn check(text: &str, root: &Path) -> Report {
    let mut checker = Checker { text, root, findings: Vec::new() };
    let config = checker.run();
    Report { findings: checker.findings, config }
}

/// Variables that sbox sets itself and that a configuration cannot change.
pub const RESERVED: [&str; 11] = [
    "HOME", "PATH", "TMPDIR", "CONDA_PREFIX", "MAMBA_ROOT_PREFIX", "SBOX_ACTIVE", "SBOX_PROJECT", "SBOX_ISOLATION",
    "npm_config_prefix", "npm_config_cache", "PNPM_HOME",
];

/// Top-level directories that belong to the system inside: nothing can be put there.
const SYSTEM: [&str; 11] =
    ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/dev", "/sys", "/nix"];

/// Versions that are known to work; others are tried, with a warning. End-of-life dates are the languages' own.
const PYTHONS: [&str; 7] = ["3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "3.14"];
const NODES: [&str; 5] = ["18", "20", "22", "23", "24"];

struct Checker<'a> {
    text: &'a str,
    root: &'a Path,
    findings: Vec<Finding>,
}

/// The shape a value must have.
#[derive(Clone, Copy)]
enum Shape {
    Text,
    TextOrList,
    List,
    Map,
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
                self.error("", "The file is no mapping of keys to values", "Begin with a line like 'runtime: python:3.11'", &[]);
                return None;
            }
        };
        let mut whole = true;
        for (key, value) in &map {
            whole &= self.key(key, value);
        }
        if !whole {
            return None;
        }
        match serde_yaml::from_str::<Raw>(if map.is_empty() { "{}" } else { self.text }) {
            Ok(raw) => Some(self.read(raw)),
            Err(error) => {
                self.yaml_error(&error);
                None
            }
        }
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
        });
    }

    fn error(&mut self, field: &str, message: impl Into<String>, hint: impl Into<String>, path: &[Step]) {
        self.find(Severity::Error, field, message.into(), hint.into(), locate(self.text, path, false));
    }

    fn warn(&mut self, field: &str, message: impl Into<String>, hint: impl Into<String>, path: &[Step]) {
        self.find(Severity::Warning, field, message.into(), hint.into(), locate(self.text, path, false));
    }

    fn find(&mut self, severity: Severity, field: &str, message: String, hint: String, place: Option<(usize, usize)>) {
        self.findings.push(Finding { severity, field: field.into(), message, hint, place });
    }

    /// Looks at a key of the file and the shape of its value. Tells whether the file can be read on.
    fn key(&mut self, key: &Value, value: &Value) -> bool {
        let Some(name) = key.as_str() else {
            self.error("", "A key is no text", "Keys are words like 'runtime'", &[]);
            return false;
        };
        let shape = match name {
            "runtime" | "install" | "build" | "cmd" => Shape::TextOrList,
            "workdir" | "provider" | "isolation" => Shape::Text,
            "copy" | "mount" => Shape::List,
            "env" => Shape::Map,
            "network" => return self.network(value),
            _ => return self.strange_key(name),
        };
        self.shape(name, value, shape)
    }

    fn strange_key(&mut self, name: &str) -> bool {
        let place = locate(self.text, &[Step::Key(name.into())], true);
        let (message, hint) = if config::LATER.contains(&name) {
            (format!("'{name}' is not in this version"), "Remove it: what it asks for would not be kept".into())
        } else {
            let hint = match did_you_mean(name, KEYS) {
                Some(meant) => format!("Did you mean '{meant}'?"),
                None => format!("Known keys: {}", KEYS.iter().filter(|key| !config::LATER.contains(key)).copied().collect::<Vec<_>>().join(", ")),
            };
            (format!("Unknown key: '{}'", visible(name)), hint)
        };
        self.find(Severity::Error, &visible(name), message, hint, place);
        true
    }

    fn network(&mut self, value: &Value) -> bool {
        if matches!(value, Value::Mapping(_)) {
            let hint = "Use 'none', or 'host'; a list of allowed names would not be kept";
            self.error("network", "An allowlist is not in this version", hint, &[Step::Key("network".into())]);
            return false;
        }
        self.shape("network", value, Shape::Text)
    }

    fn shape(&mut self, name: &str, value: &Value, shape: Shape) -> bool {
        let scalar = |value: &Value| matches!(value, Value::String(_) | Value::Number(_) | Value::Bool(_));
        let path = [Step::Key(name.into())];
        match (shape, value) {
            (_, Value::Null) => true,
            (Shape::Text, value) if scalar(value) => true,
            (Shape::TextOrList, Value::String(_)) => true,
            (Shape::TextOrList | Shape::List, Value::Sequence(items)) => {
                let mut whole = true;
                for (index, item) in items.iter().enumerate() {
                    let fits = match shape {
                        Shape::List => self.entry_shape(name, index, item),
                        _ => scalar(item),
                    };
                    if !fits && !matches!((shape, item), (Shape::List, Value::Mapping(_))) {
                        let path = [Step::Key(name.into()), Step::Index(index)];
                        let hint = "Put the whole line in quotes if it has ': ' in it";
                        self.error(&format!("{name}[{index}]"), "Must be a text", hint, &path);
                    }
                    whole &= fits;
                }
                whole
            }
            (Shape::Map, Value::Mapping(map)) => {
                let mut whole = true;
                for (key, value) in map {
                    if !(scalar(key) && (scalar(value) || value.is_null())) {
                        let shown = key.as_str().map(visible).unwrap_or_else(|| "a key".into());
                        self.error(name, format!("'{shown}' must be a name with one value"), "Use 'NAME: \"value\"'", &path);
                        whole = false;
                    }
                }
                whole
            }
            _ => {
                let wanted = match shape {
                    Shape::Text => "a text",
                    Shape::TextOrList => "a text or a list of texts",
                    Shape::List => "a list",
                    Shape::Map => "a mapping of names to values",
                };
                self.error(name, format!("Must be {wanted}"), format!("See sbox-config(5) on '{name}'"), &path);
                false
            }
        }
    }

    /// An entry of `copy` or `mount`: a text, or a mapping of `src`, `dst` and `ro`.
    fn entry_shape(&mut self, name: &str, index: usize, item: &Value) -> bool {
        let field = format!("{name}[{index}]");
        let path = [Step::Key(name.into()), Step::Index(index)];
        let map = match item {
            Value::String(_) => return true,
            Value::Mapping(map) => map,
            _ => return false,
        };
        let before = self.findings.len();
        for (key, value) in map {
            match (key.as_str(), value) {
                (Some("src" | "dst"), Value::String(_)) | (Some("ro"), Value::Bool(_)) => {}
                (Some(known @ ("src" | "dst" | "ro")), _) => {
                    let kind = if known == "ro" { "true or false" } else { "a text" };
                    self.error(&field, format!("'{known}' must be {kind}"), "Use '{src: ./app, dst: /app}'", &path);
                }
                (key, _) => {
                    let shown = visible(key.unwrap_or("?"));
                    let hint = match key.and_then(|key| did_you_mean(key, ["src", "dst", "ro"])) {
                        Some(meant) => format!("Did you mean '{meant}'?"),
                        None => "Known keys: src, dst, ro".into(),
                    };
                    self.error(&field, format!("Unknown key: '{shown}'"), hint, &path);
                }
            }
        }
        if !map.contains_key("src") {
            self.error(&field, "'src' is missing", "Use '{src: ./app, dst: /app}'", &path);
        }
        before == self.findings.len()
    }

    fn read(&mut self, raw: Raw) -> Config {
        let text = |value: Option<config::Text>, default: &str| match value {
            Some(config::Text(text)) if !text.is_empty() && text != "null" && text != "~" => text,
            _ => default.to_owned(),
        };
        let workdir = self.workdir(text(raw.workdir, DEFAULT_WORKDIR));
        let runtimes = self.runtimes(&raw.runtime);
        let copy = self.entries("copy", &raw.copy.0, &workdir);
        let mount = self.entries("mount", &raw.mount.0, &workdir);
        self.overlaps(&copy, &mount);
        self.commands("install", &raw.install.items, &runtimes);
        self.commands("build", &raw.build.items, &runtimes);
        self.variables(&raw.env.0);
        let provider = self.provider(text(raw.provider, "auto"));
        let isolation = self.choice("isolation", text(raw.isolation, "auto"), &["auto", "namespace", "landlock", "env"]);
        let network = self.choice("network", text(raw.network, "host"), &["host", "none"]);
        let cmd = self.cmd(raw.cmd);
        Config {
            runtimes,
            provider,
            workdir,
            copy,
            mount,
            install: raw.install.items.into_iter().chain(raw.build.items).collect(),
            cmd,
            env: raw.env.0,
            isolation,
            network,
            hash: crate::fsx::sha256(self.text.as_bytes())[..16].to_owned(),
        }
    }

    fn runtimes(&mut self, raw: &config::Lines) -> Vec<Runtime> {
        if raw.items.iter().all(|spec| spec.is_empty()) {
            self.error("runtime", "Runtime is missing", "Add a line like 'runtime: python:3.11' or 'runtime: node:22'", &[]);
        }
        let mut runtimes: Vec<Runtime> = Vec::new();
        for (index, spec) in raw.items.iter().enumerate().filter(|(_, spec)| !spec.is_empty()) {
            let mut path = vec![Step::Key("runtime".into())];
            let mut field = String::from("runtime");
            if raw.is_list {
                path.push(Step::Index(index));
                field = format!("runtime[{index}]");
            }
            match Runtime::parse(spec) {
                Err(error) => self.error(&field, error.to_string(), error.hint_text().unwrap_or_default(), &path),
                Ok(runtime) if runtimes.iter().any(|other| other.language == runtime.language) => {
                    let hint = "Keep one of them: an environment holds one version of a language";
                    self.error(&field, format!("A second {} runtime: '{runtime}'", runtime.language.name()), hint, &path);
                }
                Ok(runtime) => {
                    self.recommended(&runtime, &field, &path);
                    runtimes.push(runtime);
                }
            }
        }
        runtimes
    }

    fn recommended(&mut self, runtime: &Runtime, field: &str, path: &[Step]) {
        let known: &[&str] = if runtime.language == Language::Python { &PYTHONS } else { &NODES };
        let parts = if runtime.language == Language::Python { 2 } else { 1 };
        let series = runtime.version.split('.').take(parts).collect::<Vec<_>>().join(".");
        if !known.contains(&series.as_str()) {
            let message = format!("Version {} of {} is not among those tried", runtime.version, runtime.language.name());
            self.warn(field, message, format!("Recommended: {}", known.join(", ")), path);
        }
    }

    fn workdir(&mut self, workdir: String) -> String {
        let path = [Step::Key("workdir".into())];
        let shown = visible(&workdir);
        if !workdir.starts_with('/') {
            let message = format!("Workdir must be an absolute path: '{shown}'");
            self.error("workdir", message, "Use an absolute path like '/app' or '/home/user/app'", &path);
        } else if Path::new(&workdir).components().any(|part| part == std::path::Component::ParentDir) {
            self.error("workdir", format!("Workdir leads out with '..': '{shown}'"), "Use a path without '..'", &path);
        }
        workdir
    }

    fn entries(&mut self, key: &str, raw: &[RawEntry], workdir: &str) -> Vec<Entry> {
        let mut entries = Vec::new();
        for (index, raw) in raw.iter().enumerate() {
            let field = format!("{key}[{index}]");
            let path = [Step::Key(key.into()), Step::Index(index)];
            match raw.resolve(self.root, workdir) {
                Ok(entry) => {
                    self.entry(key, &entry, &field, &path);
                    entries.push(entry);
                }
                Err(message) => {
                    let hint = format!("Use 'source:/destination', e.g., './app:/app'{}", if key == "mount" { " or '/data:/data:ro'" } else { "" });
                    self.error(&field, message, hint, &path);
                }
            }
        }
        entries
    }

    fn entry(&mut self, key: &str, entry: &Entry, field: &str, path: &[Step]) {
        let shown = visible_path(&entry.src);
        let state = self.root.join(".sbox");
        if entry.src.starts_with(&state) {
            let message = format!("Source is sbox's own: '{shown}'");
            self.error(field, message, "What is in .sbox is there already, or must not be", path);
        } else if std::fs::metadata(&entry.src).is_err() {
            let hint = match (key, entry.written.starts_with(['/', '~'])) {
                (_, true) => String::from("Check the path"),
                ("mount", _) => format!("Relative paths start at the project root; make it with: mkdir -p '{shown}'"),
                _ => "Relative paths start at the project root".into(),
            };
            self.error(field, format!("Source does not exist: '{shown}'"), hint, path);
        }
        let dst = visible_path(&entry.dst);
        if entry.dst == Path::new("/") {
            self.error(field, "Destination is the root itself", "Use a directory like '/app'", path);
        } else if let Some(system) = SYSTEM.iter().find(|system| entry.dst.starts_with(system)) {
            let message = format!("Destination is in the system's '{system}': '{dst}'");
            self.error(field, message, "The system's directories are read-only inside; use a directory like '/app' or '/opt'", path);
        } else if entry.dst == Path::new("/etc") {
            self.error(field, "Destination is the whole of '/etc'", "Name what it is for, like '/etc/myapp'", path);
        }
        if key == "copy" && entry.read_only {
            self.warn(field, "'ro' has no meaning for a copy", "The agent works on its own copy; for a read-only view use mount", path);
        }
    }

    /// A copy that a mount would cover is one that nobody sees; two entries for one place contradict each other.
    fn overlaps(&mut self, copy: &[Entry], mount: &[Entry]) {
        for (index, entry) in copy.iter().enumerate() {
            let path = [Step::Key("copy".into()), Step::Index(index)];
            if let Some(cover) = mount.iter().find(|mount| entry.dst.starts_with(&mount.dst)) {
                let message = format!("'{}' is covered by the mount at '{}'", visible_path(&entry.dst), visible_path(&cover.dst));
                self.error(&format!("copy[{index}]"), message, "Copy to a place outside the mount: the copy would be invisible", &path);
            }
            if copy[..index].iter().any(|other| other.dst == entry.dst && other.src != entry.src && !(other.src.is_dir() && entry.src.is_dir())) {
                let message = format!("A second copy to '{}'", visible_path(&entry.dst));
                self.error(&format!("copy[{index}]"), message, "Give each its own destination", &path);
            }
        }
        for (index, entry) in mount.iter().enumerate() {
            if mount[..index].iter().any(|other| other.dst == entry.dst) {
                let path = [Step::Key("mount".into()), Step::Index(index)];
                let message = format!("A second mount at '{}'", visible_path(&entry.dst));
                self.error(&format!("mount[{index}]"), message, "Give each its own destination", &path);
            }
        }
    }

    fn commands(&mut self, key: &str, commands: &[String], runtimes: &[Runtime]) {
        let has = |language| runtimes.is_empty() || runtimes.iter().any(|runtime| runtime.language == language);
        let (python, node) = (has(Language::Python), has(Language::Node));
        for (index, command) in commands.iter().enumerate() {
            let field = format!("{key}[{index}]");
            let path = [Step::Key(key.into()), Step::Index(index)];
            if command.trim().is_empty() {
                self.error(&field, "Empty command", "Remove the line", &path);
            }
            let programs: Vec<&str> = command.split(['&', '|', ';', '\n']).filter_map(|part| part.split_whitespace().next()).collect();
            let uses = |names: &[&str]| programs.iter().find(|program| names.contains(program)).copied();
            if uses(&["sudo", "doas", "su"]).is_some() {
                self.warn(&field, format!("Using sudo in {key} command"), "sbox runs in user space - sudo is not needed", &path);
            }
            if let Some(tool) = uses(&["apt", "apt-get", "yum", "dnf", "apk", "pacman", "zypper", "brew"]) {
                let hint = "Install it on the host: the host's /usr is visible inside, read-only";
                self.warn(&field, format!("'{tool}' cannot change the system inside the sandbox"), hint, &path);
            }
            if let (false, Some(tool)) = (python, uses(&["pip", "pip3", "python", "python3"])) {
                self.warn(&field, format!("'{tool}' with a Node.js runtime"), "Add a python runtime, or use npm", &path);
            }
            if let (false, Some(tool)) = (node, uses(&["npm", "npx", "pnpm", "yarn", "node"])) {
                self.warn(&field, format!("'{tool}' with a Python runtime"), "Add a node runtime, or use pip", &path);
            }
        }
    }

    fn cmd(&mut self, raw: config::Lines) -> Option<Command> {
        match (raw.is_list, raw.items) {
            (false, mut items) => items.pop().filter(|line| !line.trim().is_empty()).map(Command::Line),
            (true, items) if items.is_empty() => None,
            (true, items) => Some(Command::Words(items)),
        }
    }

    fn variables(&mut self, env: &[(String, String)]) {
        for (name, value) in env {
            let field = format!("env.{}", visible(name));
            let path = [Step::Key("env".into()), Step::Key(name.clone())];
            let valid = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if name.is_empty() || !name.chars().all(valid) || name.starts_with(|c: char| c.is_ascii_digit()) {
                let message = format!("Invalid variable name: '{}'", visible(name));
                self.error(&field, message, "Use letters, digits and underscores, not beginning with a digit", &path);
            } else if RESERVED.contains(&name.as_str()) {
                let message = format!("'{name}' is managed by sbox; this value has no effect");
                self.warn(&field, message, "Remove it", &path);
            } else if value.contains('\0') {
                self.error(&field, "The value has a NUL character", "No variable can hold one", &path);
            } else if is_secret(name, value) {
                let message = "Plain-text secret in the configuration";
                self.warn(&field, message, format!("Pass it from the host: {name}: \"${{{name}}}\""), &path);
            }
        }
    }

    fn provider(&mut self, provider: String) -> String {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if !provider.chars().all(plain) {
            let message = format!("Invalid provider: '{}'", visible(&provider));
            let hint = "Use auto, host, npm, or the NAME of a program sbox-mkenv-NAME";
            self.error("provider", message, hint, &[Step::Key("provider".into())]);
        }
        provider
    }

    fn choice(&mut self, key: &str, value: String, known: &[&str]) -> String {
        if !known.contains(&value.as_str()) {
            let hint = match did_you_mean(&value, known.iter().copied()) {
                Some(meant) => format!("Did you mean '{meant}'?"),
                None => format!("Use one of: {}", known.join(", ")),
            };
            self.error(key, format!("Unknown {key}: '{}'", visible(&value)), hint, &[Step::Key(key.into())]);
        }
        value
    }
}

/// Whether a value looks like a secret that is written out: by the name of the variable or by the issuer's prefix.
pub fn is_secret(name: &str, value: &str) -> bool {
    const NAMES: [&str; 7] = ["KEY", "TOKEN", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL", "AUTH"];
    const PREFIXES: [&str; 9] = ["sk-", "ghp_", "gho_", "github_pat_", "xoxb-", "xoxp-", "AKIA", "glpat-", "AIza"];
    let written_out = config::pieces(value).iter().all(|piece| matches!(piece, config::Piece::Text(_)));
    let harmless = value.is_empty() || ["true", "false", "0", "1", "none"].contains(&value.to_lowercase().as_str());
    let upper = name.to_uppercase();
    // Words of the name, so that `MONKEY` and `AUTHOR` are nobody's secret.
    let named = upper.split('_').any(|word| NAMES.contains(&word) || NAMES.iter().any(|name| *name != "AUTH" && *name != "KEY" && word.ends_with(name)))
        || upper.ends_with("APIKEY");
    written_out && !harmless && (named || PREFIXES.iter().any(|prefix| value.starts_with(prefix)))
        || written_out && value.split_once("://").is_some_and(|(_, rest)| rest.split('/').next().is_some_and(|host| host.split_once('@').is_some_and(|(user, _)| user.contains(':'))))
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
        assert_eq!(found[0], "[workdir] Workdir must be an absolute path: 'relative/path' (line 2, column 10)");
        assert_eq!(found[1], "[runtime] Invalid runtime format: 'ruby:3.0' (line 1, column 10)");
        assert_eq!(found[2], "[install[0]] Using sudo in install command (line 4, column 5)");
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
    fn a_copy_under_a_mount_is_refused() {
        let text = "runtime: node:22\ncopy:\n  - /etc/hosts:/data/app\nmount:\n  - /tmp:/data\n";
        assert_eq!(check(text, Path::new("/nonexistent")).errors().count(), 1);
    }
}
