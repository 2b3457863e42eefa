//! The values themselves: each against what it is for.

use super::{Checker, RESERVED};
use crate::config::raw::{Lines, RawEntry};
use crate::config::{self, Command, MountEntry};
use crate::error::Error;
use crate::escape::{visible, visible_path};
use crate::locate::Step;
use crate::model::{self, Language, MountMode, Runtime};
use std::path::Path;
use std::str::FromStr;

impl Checker<'_> {
    pub(super) fn runtimes(&mut self, raw: &Lines) -> Vec<Runtime> {
        if raw.items.iter().all(|spec| spec.is_empty()) {
            self.error(
                "runtime",
                "Runtime is missing",
                "Add a line like 'runtime: python:3.11' or 'runtime: node:22'",
                &[],
            );
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
                    self.error(
                        &field,
                        format!("A second {} runtime: '{runtime}'", runtime.language.name()),
                        hint,
                        &path,
                    );
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
        let tested = runtime.language.tested();
        if !tested.contains(&runtime.series().as_str()) {
            let language = if runtime.language == Language::Python { "Python" } else { "Node.js" };
            let message = format!("{language} {} is not one of the tested versions", runtime.version);
            self.warn(field, message, format!("Recommended: {}", tested.join(", ")), path);
        }
    }

    pub(super) fn workdir(&mut self, workdir: String) -> String {
        let path = [Step::Key("workdir".into())];
        let shown = visible(&workdir);
        if !workdir.starts_with('/') {
            let message = format!("Workdir must be an absolute path: '{shown}'");
            self.error("workdir", message, "Use an absolute path like '/app' or '/home/user/app'", &path);
        } else if Path::new(&workdir).components().any(|part| part == std::path::Component::ParentDir) {
            self.error("workdir", format!("Workdir must not contain '..': '{shown}'"), "Use a path like '/app'", &path);
        }
        workdir
    }

    pub(super) fn entries(&mut self, key: &str, raw: &[RawEntry], workdir: &str) -> Vec<MountEntry> {
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
                    let hint = format!(
                        "Use 'source:/destination', e.g., './app:/app'{}",
                        if key == "mount" { ", '/data:/data:ro' or '.:/work:cow'" } else { "" }
                    );
                    self.error(&field, message, hint, &path);
                }
            }
        }
        entries
    }

    /// Whether the project came as an archive that has what was copied: it is built without the sources.
    fn was_packed_with(&self, entry: &MountEntry) -> bool {
        let place = Path::new(".sbox/rootfs").join(entry.dst.strip_prefix("/").unwrap_or(&entry.dst));
        let is_there = std::fs::symlink_metadata(self.root.join(place)).is_ok();
        is_there && crate::project::Project::at(self.root).is_ok_and(|project| project.was_packed())
    }

    fn entry(&mut self, key: &str, entry: &MountEntry, field: &str, path: &[Step]) {
        let shown = visible_path(&entry.src);
        let state = self.root.join(".sbox");
        if entry.src.starts_with(&state) {
            let message = format!("Source is sbox's own: '{shown}'");
            self.error(field, message, "What is in .sbox is there already, or must not be", path);
        } else if std::fs::metadata(&entry.src).is_err() && !(key == "copy" && self.was_packed_with(entry)) {
            let hint = match (key, entry.written.starts_with(['/', '~'])) {
                (_, true) => String::from("Check the path"),
                ("mount", _) => format!("Relative paths start at the project root; make it with: mkdir -p '{shown}'"),
                _ => "Relative paths start at the project root".into(),
            };
            self.error(field, format!("{}: '{shown}'", super::MISSING), hint, path);
            if let Some(finding) = self.findings.last_mut() {
                finding.only_for_builds = key == "copy";
            }
        }
        if key == "mount" {
            self.mode(entry, field, path);
        }
        let dst = visible_path(&entry.dst);
        if entry.dst == Path::new("/") {
            self.error(field, "Destination is the root itself", "Use a directory like '/app'", path);
        } else if let Some(system) = model::reserved(&entry.dst) {
            let message = format!("Destination is in the system's '{system}': '{dst}'");
            self.error(
                field,
                message,
                "The system's directories are read-only inside; use a directory like '/app' or '/opt'",
                path,
            );
        } else if entry.dst == Path::new("/etc") {
            self.error(field, "Destination is the whole of '/etc'", "Name what it is for, like '/etc/myapp'", path);
        } else if entry.dst.starts_with(&state) || key == "mount" && self.is_above(entry) {
            let message = format!("Destination covers the sandbox's own files in '{}': '{dst}'", visible_path(&state));
            self.error(field, message, "Use a place that the project does not lie in, like '/repo'", path);
        }
        if key == "copy" && entry.mode != MountMode::ReadWrite {
            self.warn(
                field,
                format!("'{}' has no meaning for a copy", entry.mode),
                "The agent works on its own copy; for a read-only view use mount",
                path,
            );
        }
    }

    /// Whether a mount would cover the sandbox's runtime and home, which have the same path inside as outside. One that has
    /// the project where it is does not, nor does `/home`: what leads to a project below it is made beside the mount.
    fn is_above(&self, entry: &MountEntry) -> bool {
        let Ok(rest) = self.root.strip_prefix(&entry.dst) else { return false };
        entry.dst != Path::new("/home") && !rest.as_os_str().is_empty() && entry.src.join(rest) != self.root
    }

    /// What the agent leaves in a working tree is acted on by the user's git, editor and shell.
    fn mode(&mut self, entry: &MountEntry, field: &str, path: &[Step]) {
        let shown = visible_path(&entry.src);
        match entry.mode {
            MountMode::CopyOnWrite if entry.src.exists() && !entry.src.is_dir() => {
                let hint = "Mount the directory that it is in, or use ':ro' or ':rw'";
                self.error(field, format!("Copy-on-write needs a directory: '{shown}'"), hint, path);
            }
            MountMode::ReadWrite if entry.src.join(".git").symlink_metadata().is_ok() => {
                let hint = "Use ':cow': the agent changes what it sees, and 'sbox apply' brings over what you want";
                self.warn(field, format!("A git working tree is mounted read-write: '{shown}'"), hint, path);
            }
            _ => {}
        }
    }

    /// A copy that a mount would cover is one that nobody sees; two entries for one place contradict each other.
    pub(super) fn overlaps(&mut self, copy: &[MountEntry], mount: &[MountEntry]) {
        for (index, entry) in copy.iter().enumerate() {
            let path = [Step::Key("copy".into()), Step::Index(index)];
            if let Some(cover) = mount.iter().find(|mount| entry.dst.starts_with(&mount.dst)) {
                let message =
                    format!("'{}' is covered by the mount at '{}'", visible_path(&entry.dst), visible_path(&cover.dst));
                self.error(
                    &format!("copy[{index}]"),
                    message,
                    "Copy to a place outside the mount: the copy would be invisible",
                    &path,
                );
            }
            if copy[..index].iter().any(|other| {
                other.dst == entry.dst && other.src != entry.src && !(other.src.is_dir() && entry.src.is_dir())
            }) {
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

    /// In a directory that is mounted read-write the agent may have put a link where a source is named: following it would
    /// give the agent whatever it points to.
    pub(super) fn links(&mut self, key: &str, entries: &[MountEntry], mount: &[MountEntry]) {
        for (index, entry) in entries.iter().enumerate() {
            let writable = mount.iter().filter(|mount| mount.mode == MountMode::ReadWrite && mount.src != entry.src);
            let planted = writable
                .filter(|mount| entry.src.starts_with(&mount.src))
                .any(|mount| entry.src.ancestors().take_while(|place| *place != mount.src).any(Path::is_symlink));
            if planted {
                let path = [Step::Key(key.into()), Step::Index(index)];
                let message =
                    format!("Source is behind a link that the agent can change: '{}'", visible_path(&entry.src));
                self.error(
                    &format!("{key}[{index}]"),
                    message,
                    "Name the target itself, or mount its directory read-only",
                    &path,
                );
            }
        }
    }

    pub(super) fn commands(&mut self, key: &str, commands: &[String], runtimes: &[Runtime]) {
        let has = |language| runtimes.is_empty() || runtimes.iter().any(|runtime| runtime.language == language);
        let (python, node) = (has(Language::Python), has(Language::Node));
        for (index, command) in commands.iter().enumerate() {
            let field = format!("{key}[{index}]");
            let path = [Step::Key(key.into()), Step::Index(index)];
            if command.trim().is_empty() {
                self.error(&field, "Empty command", "Remove the line", &path);
            }
            let programs: Vec<&str> =
                command.split(['&', '|', ';', '\n']).filter_map(|part| part.split_whitespace().next()).collect();
            let uses = |names: &[&str]| programs.iter().find(|program| names.contains(program)).copied();
            if uses(&["sudo", "doas", "su"]).is_some() {
                self.warn(
                    &field,
                    format!("Using sudo in {key} command"),
                    "sbox runs in user space - sudo is not needed",
                    &path,
                );
            }
            if let Some(tool) = uses(&["apt", "apt-get", "yum", "dnf", "apk", "pacman", "zypper", "brew"]) {
                let hint = "Install it on the host: the host's /usr is visible inside, read-only";
                self.warn(&field, format!("'{tool}' cannot change the system inside the sandbox"), hint, &path);
            }
            if let (false, Some(tool)) = (python, uses(&["pip", "pip3", "python", "python3"])) {
                self.warn(
                    &field,
                    format!("'{tool}' with a Node.js runtime"),
                    "Add a python runtime, or use npm",
                    &path,
                );
            }
            if let (false, Some(tool)) = (node, uses(&["npm", "npx", "pnpm", "yarn", "node"])) {
                self.warn(&field, format!("'{tool}' with a Python runtime"), "Add a node runtime, or use pip", &path);
            }
        }
    }

    pub(super) fn cmd(&mut self, raw: Lines) -> Option<Command> {
        match (raw.is_list, raw.items) {
            (false, mut items) => items.pop().filter(|line| !line.trim().is_empty()).map(Command::Line),
            (true, items) if items.is_empty() => None,
            (true, items) => Some(Command::Words(items)),
        }
    }

    pub(super) fn variables(&mut self, env: &[(String, String)]) {
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

    pub(super) fn provider(&mut self, provider: String) -> String {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if !provider.chars().all(plain) {
            let message = format!("Invalid provider: '{}'", visible(&provider));
            let hint = "Use auto, conda, host, npm, or the NAME of a program sbox-mkenv-NAME";
            self.error("provider", message, hint, &[Step::Key("provider".into())]);
        }
        provider
    }

    /// A value that is one of a few words, or the key's default.
    /// A value that is one of a few words; nothing if it is none of them.
    pub(super) fn choice<T: FromStr<Err = Error>>(&mut self, key: &str, value: &str) -> Option<T> {
        let read: Result<T, Error> = value.parse();
        if let Err(error) = &read {
            let hint = error.hint_text().unwrap_or_default();
            self.error(key, error.to_string(), hint, &[Step::Key(key.into())]);
        }
        read.ok()
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
    let named = upper.split('_').any(|word| {
        NAMES.contains(&word) || NAMES.iter().any(|name| *name != "AUTH" && *name != "KEY" && word.ends_with(name))
    }) || upper.ends_with("APIKEY");
    written_out && !harmless && (named || PREFIXES.iter().any(|prefix| value.starts_with(prefix)))
        || written_out
            && value.split_once("://").is_some_and(|(_, rest)| {
                rest.split('/')
                    .next()
                    .is_some_and(|host| host.split_once('@').is_some_and(|(user, _)| user.contains(':')))
            })
}
