//! `--learn`: what a run missed, as lines for the configuration. Nothing is allowed by it that was not before; with
//! `--learn=network` names are let through, and recorded.

use libsbox::config::{self, Config, Overrides, mount_item};
use libsbox::config_lines;
use libsbox::dir::Dir;
use libsbox::environment::Host;
use libsbox::error::{Context, Error, Result};
use libsbox::escape::visible;
use libsbox::model::{self, HostRules, Network};
use libsbox::name_rules::NameRules;
use libsbox::output;
use libsbox::plumbing::{self, sandbox::ProjectSandbox};
use libsbox::project::Project;
use libsbox::view::{Lack, View};
use libsbox::{built, check, fs, status, trust};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io::{BufRead, IsTerminal, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Learn {
    /// Names are let through.
    pub network: bool,
    /// The lines are added, after a look.
    pub write: bool,
}

/// Lines that are shown.
const SHOWN: usize = 40;

/// As many entries of one directory make the directory the line.
const A_DIRECTORY: usize = 3;

/// Runs a command in the project's sandbox, and says at its end what it missed.
pub fn run(learn: Learn, overrides: &Overrides, words: impl FnOnce(&Config) -> Result<Vec<OsString>>) -> Result<u8> {
    let project = Project::find()?;
    let config = check::load_with(&project, overrides)?;
    let words = words(&config)?;
    trust::require_with(&project, &config, overrides)?;
    built::require(&project, &config)?;
    let has_names = matches!(config.network, Network::Allow { .. });
    if learn.network && !has_names {
        return Err(Error::usage("'--learn=network' needs a network of some names")
            .hint("for this run: --network example.org, or in the configuration: network: {allow: []}"));
    }
    let seen = project.state().join(format!("learned-{}", std::process::id()));
    let before = length(&project.network_log());
    let mut sandbox = ProjectSandbox::new(&project, &config);
    sandbox.learn = Some(seen.clone());
    sandbox.any_name = learn.network;
    let ended = wait(&sandbox, &words);
    let paths = fs::read_plain(&seen).unwrap_or_default();
    let _ = std::fs::remove_file(&seen);
    let code = ended?;
    let plan = ProjectSandbox::new(&project, &config).plan()?;
    let missed = Missed {
        paths: missed_paths(&View::new(plan), &paths, &project),
        names: if has_names { missed_names(&project, &config, before) } else { Vec::new() },
    };
    missed.show();
    if learn.write && !missed.is_empty() {
        missed.write(&project)?;
    }
    Ok(code)
}

/// Runs it to its end. The keys of the terminal are the command's.
fn wait(sandbox: &ProjectSandbox<'_>, words: &[OsString]) -> Result<u8> {
    let mut prepared = sandbox.command(&sandbox.config.workdir, words)?;
    plumbing::trace(&prepared.command);
    let mut child = plumbing::die_with_parent(&mut prepared.command).spawn().context(|| "start 'sbox-spawn'".into())?;
    plumbing::leave_the_keys();
    let ended = child.wait().context(|| "wait for 'sbox-spawn'".into())?;
    Ok(status::of(ended))
}

fn length(path: &Path) -> u64 {
    path.symlink_metadata().map_or(0, |metadata| metadata.len())
}

/// What was not there.
struct Missed {
    /// Of the host.
    paths: Vec<PathBuf>,
    /// Entries of `allow`, each with what happened.
    names: Vec<(String, &'static str)>,
}

/// Directories that are never proposed as a whole, whatever is missed in them.
fn is_too_much(path: &Path) -> bool {
    const NEVER: [&str; 14] = [
        "/", "/etc", "/home", "/root", "/var", "/usr", "/opt", "/srv", "/mnt", "/media", "/run", "/tmp", "/boot",
        "/var/lib",
    ];
    let home = std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
    NEVER.iter().any(|never| path == Path::new(never)) || home.is_some_and(|home| home.starts_with(path))
}

fn missed_paths(view: &View, seen: &[u8], project: &Project) -> Vec<PathBuf> {
    let is_plain = |path: &Path| path.components().all(|part| !matches!(part, std::path::Component::ParentDir));
    let is_missed = |path: &PathBuf| {
        let not_ours = model::reserved(path).is_none() && !path.starts_with(project.state()) && is_plain(path);
        // A link may be the agent's own, and lead to what has another name.
        let leads_to_keys =
            || path.canonicalize().is_ok_and(|real| real != *path && model::is_private(&real).is_some());
        not_ours
            && !leads_to_keys()
            && path.symlink_metadata().is_ok()
            && view.find(path).is_err_and(|missing| missing.lack == Lack::NotMounted)
    };
    let all = seen
        .split(|byte| *byte == 0)
        .filter(|path| !path.is_empty())
        .map(|path| PathBuf::from(OsStr::from_bytes(path)));
    let all: BTreeSet<PathBuf> = all.map(|path| path.components().collect()).filter(is_missed).collect();
    collapsed(all)
}

/// A directory in the place of many of its entries, and of everything below it.
fn collapsed(all: BTreeSet<PathBuf>) -> Vec<PathBuf> {
    let mut of: BTreeMap<PathBuf, usize> = BTreeMap::new();
    for parent in all.iter().filter_map(|path| path.parent()) {
        *of.entry(parent.to_owned()).or_default() += 1;
    }
    let many = of.into_iter().filter(|(parent, count)| *count >= A_DIRECTORY && !is_too_much(parent));
    let all: BTreeSet<PathBuf> =
        all.into_iter().filter(|path| !is_too_much(path)).chain(many.map(|(parent, _)| parent)).collect();
    let mut out: Vec<PathBuf> = Vec::new();
    for path in all {
        // In this order a directory comes before what is in it.
        if !out.iter().any(|above| path.starts_with(above)) {
            out.push(path);
        }
    }
    out
}

/// What was refused, and what was let through that no rule allows.
fn missed_names(project: &Project, config: &Config, before: u64) -> Vec<(String, &'static str)> {
    const MOST: u64 = 4 << 20;
    let log = project.network_log();
    let start = if length(&log) < before { 0 } else { before };
    let file = log.file_name().and_then(|name| Dir::open(&project.logs()).ok()?.file(name).ok());
    let mut text = Vec::new();
    if let Some(mut file) = file {
        let _ = file.seek(SeekFrom::Start(start)).and_then(|_| file.take(MOST).read_to_end(&mut text));
    }
    let rules = NameRules::of(project, config, &Host::own());
    let plain = |rules: &[libsbox::name_rules::SourcedRule]| rules.iter().map(|rule| rule.rule.clone()).collect();
    let rules = HostRules { allow: plain(&rules.allow), deny: plain(&rules.deny) };
    let mut names: BTreeMap<String, &'static str> = BTreeMap::new();
    for line in text.split(|byte| *byte == b'\n') {
        let Ok(line) = serde_json::from_slice::<serde_json::Value>(line) else { continue };
        let (Some(host), Some(port)) =
            (line["host"].as_str(), line["port"].as_u64().and_then(|port| u16::try_from(port).ok()))
        else {
            continue;
        };
        if line["allowed"] == true && rules.grant(host, port).is_none() {
            let default = model::DEFAULT_PORTS.contains(&port);
            names.insert(if default { host.to_owned() } else { format!("{host}:{port}") }, "let through for this run");
        } else if let (false, Some(rule)) = (line["allowed"] == true, line["rule"].as_str()) {
            names.entry(rule.to_owned()).or_insert("refused");
        } else if line["allowed"] == false && model::host_name(host).is_some() && rules.grant(host, port).is_none() {
            let default = model::DEFAULT_PORTS.contains(&port);
            let name = if default { host.to_owned() } else { format!("{host}:{port}") };
            if !rules.is_denied(host, port) {
                names.entry(name).or_insert("asked for, and not reached");
            }
        }
    }
    names.into_iter().collect()
}

impl Missed {
    fn is_empty(&self) -> bool {
        self.paths.is_empty() && self.names.is_empty()
    }

    fn show(&self) {
        if self.is_empty() {
            return output::info("it asked for nothing that is not there");
        }
        output::info("it asked for what is not there; these lines would give it:");
        if !self.paths.is_empty() {
            output::line("  mount:");
        }
        for path in self.paths.iter().take(SHOWN) {
            let what = if path.is_dir() { "a directory of the host" } else { "a file of the host" };
            let careful = model::is_private(path).map_or_else(String::new, |why| format!(", careful: {why}"));
            output::line(format_args!("    - {}  # {what}{careful}", visible(&mount_item(path, path, "ro"))));
        }
        if self.paths.len() > SHOWN {
            output::line(format_args!("    # and {} more", self.paths.len() - SHOWN));
        }
        if !self.names.is_empty() {
            output::line("  network.allow:");
        }
        for (name, why) in self.names.iter().take(SHOWN) {
            output::line(format_args!("    - \"{}\"  # {why}", visible(name)));
        }
        if self.names.len() > SHOWN {
            output::line(format_args!("    # and {} more", self.names.len() - SHOWN));
        }
    }

    /// Adds the lines, once somebody has agreed. What gives keys away is left out: that is written by hand or not at all.
    fn write(&self, project: &Project) -> Result<()> {
        if !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
            output::warn("nothing was added: '--write' asks first, which needs a terminal");
            return Ok(());
        }
        let old = config::read(project)?;
        let mut new = old.clone();
        let mut left = Vec::new();
        let items: Vec<(&[&str], String)> = self
            .paths
            .iter()
            // What was shown, and nothing else.
            .take(SHOWN)
            .filter(|path| model::is_private(path).is_none())
            .map(|path| (["mount"].as_slice(), mount_item(path, path, "ro")))
            .chain(self.names.iter().take(SHOWN).map(|(name, _)| (["network", "allow"].as_slice(), name.clone())))
            .collect();
        for (keys, item) in items {
            match config_lines::append_at(&new, keys, &item) {
                Some(text) => new = text,
                None => left.push(item),
            }
        }
        if new == old {
            output::info("there is nothing to add by itself");
            return Ok(());
        }
        output::ask("Add these lines to .sbox/config.yaml, but those with 'careful'? [y/N]");
        let mut line = String::new();
        let _ = std::io::stdin().lock().read_line(&mut line);
        if !matches!(line.trim(), "y" | "Y" | "yes") {
            output::info("nothing was added");
            return Ok(());
        }
        let report = check::check(&new, project.root());
        if let Some(error) = report.errors().next() {
            return Err(Error::new(format!("nothing was added: {error}")).hint("sbox edit opens the configuration"));
        }
        fs::write_atomic(&project.config(), new.as_bytes(), 0o644)?;
        output::ok("Added to .sbox/config.yaml");
        for item in left {
            output::hint(format_args!("by hand, as the list is written in a way of its own: - {}", visible(&item)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(paths: &[&str]) -> Vec<String> {
        let all = paths.iter().map(PathBuf::from).collect();
        collapsed(all).into_iter().map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn many_entries_make_a_directory_and_never_a_great_one() {
        assert_eq!(of(&["/opt/t/a", "/opt/t/b"]), ["/opt/t/a", "/opt/t/b"]);
        assert_eq!(of(&["/opt/t/a", "/opt/t/b", "/opt/t/c", "/opt/t/c/d"]), ["/opt/t"]);
        assert_eq!(of(&["/etc/a", "/etc/b", "/etc/c"]), ["/etc/a", "/etc/b", "/etc/c"]);
        assert_eq!(of(&["/a", "/b", "/c", "/", "/etc", "/root"]), ["/a", "/b", "/c"]);
        assert_eq!(of(&["/opt", "/opt/x", "/var/lib", "/home"]), ["/opt/x"]);
    }
}
