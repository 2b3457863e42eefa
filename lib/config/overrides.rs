//! What the command line of `run`, `exec` and `shell` says in the place of the configuration, for one run.
//!
//! It is looked at as the file is: [`Overrides::apply`] changes the file as it is written, before anything in it is checked.

use super::Config;
use super::raw::{Lines, Pairs, Raw, RawEntry, RawNetwork, Text, split};
use crate::error::{Context, Error, Result};
use crate::escape::visible;
use crate::model::{Isolation, MountMode, Network};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The help text of these options, as a literal: a program's own text goes around it.
#[macro_export]
macro_rules! options_for_one_run {
    () => {
        "\
For this run, in place of what the configuration says or beside it:
      --env NAME[=VALUE]   set a variable, or pass on the one that is set here
      --env-file FILE      read variables from FILE, one NAME=VALUE a line
      --mount SRC:DST[:MODE]  mount SRC of the host at DST, as ro, rw or cow
      --network NET        host, none, or what is allowed, separated by commas:
                           names and sets, such as api.example.org,@npm
      --reach [HOST:]PORT  make a port of the host's loopback reachable inside
      --port [HOST:]PORT   forward a port of the host's loopback to PORT inside
      --limit NAME=VALUE   a limit, such as memory=2G, cpus=2, pids=99, time=30m
      --workdir DIR        start in DIR
      --isolation LEVEL    auto, namespace, landlock or env [as configured]
      --ask                ask about names that the network's rules do not have
      --nested             let it make user namespaces for its own sandbox
"
    };
}

/// A directory or file that is mounted for one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Mount {
    src: PathBuf,
    /// Nothing: where a bare path goes.
    dst: Option<String>,
    mode: String,
}

/// All of it. What is written of it, in the record of a daemon, has no value of a variable and no isolation level: see
/// [`Overrides::without_values`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Overrides {
    /// Variables: nothing for the host's value.
    env: Vec<(String, Option<String>)>,
    /// Variables whose value is kept elsewhere.
    valueless: Vec<String>,
    env_files: Vec<PathBuf>,
    mounts: Vec<Mount>,
    network: Vec<String>,
    ports: Vec<String>,
    reach: Vec<String>,
    limits: Vec<(String, String)>,
    workdir: Option<String>,
    #[serde(skip)]
    isolation: Option<Isolation>,
    nested: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    asks: bool,
}

impl Overrides {
    /// Whether an option is one of these.
    pub fn has_option(name: &str) -> bool {
        const OPTIONS: [&str; 11] =
            ["ask", "env", "env-file", "mount", "network", "port", "reach", "limit", "workdir", "isolation", "nested"];
        OPTIONS.contains(&name)
    }

    /// Takes the value of the option `name`. Paths start at the current directory.
    pub fn take(&mut self, name: &str, args: &mut lexopt::Parser) -> Result<()> {
        use lexopt::ValueExt;
        if name == "ask" {
            self.asks = true;
            return Ok(());
        }
        if name == "nested" {
            self.nested = true;
            return Ok(());
        }
        let value: OsString = args.value()?;
        if name == "env-file" {
            self.env_files.push(here(Path::new(&value))?);
            return Ok(());
        }
        let text = value.string()?;
        match name {
            "env" => self.env.push(variable(&text)?),
            "mount" => self.mounts.push(mount(&text)?),
            "network" => self.network.extend(text.split(',').filter(|name| !name.is_empty()).map(str::to_owned)),
            "port" => self.ports.push(text),
            "reach" => self.reach.push(text),
            "limit" => self.limits.push(limit(&text)?),
            "workdir" => self.workdir = Some(text),
            _ => self.isolation = Some(text.parse()?),
        }
        Ok(())
    }

    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Overrides::default()
    }

    /// Whether a person is asked about names that no rule has.
    ///
    /// # Errors
    /// They are to be asked, and this configuration has no rules: then there is nothing to ask about.
    pub fn asks_about(&self, config: &Config) -> Result<bool> {
        match self.asks && !matches!(config.network, Network::Allow { .. }) {
            true => Err(Error::usage("'--ask' needs a network of some names")
                .hint("for this run: --network example.org, or in the configuration: network: {allow: []}")),
            false => Ok(self.asks),
        }
    }

    /// The isolation level, if one is said.
    pub fn isolation(&self) -> Option<Isolation> {
        self.isolation
    }

    /// The same with this level.
    pub fn at_level(self, isolation: Option<Isolation>) -> Overrides {
        Overrides { isolation, ..self }
    }

    /// The same for a command in a sandbox that is there: variables, and where it starts.
    ///
    /// # Errors
    /// Anything else is said.
    pub fn of_a_command(&self) -> Result<()> {
        let (env, env_files) = (self.env.clone(), self.env_files.clone());
        let allowed = Overrides { env, env_files, workdir: self.workdir.clone(), ..Overrides::default() };
        if allowed == *self {
            return Ok(());
        }
        Err(Error::usage("'--in' goes into a sandbox that is there: what it was made of cannot be changed")
            .hint("--env, --env-file and --workdir can be given"))
    }

    /// The same with what else [`Overrides::of_a_command`] lets through.
    pub fn and(mut self, more: &Overrides) -> Overrides {
        self.env.extend(more.env.iter().cloned());
        self.env_files.extend(more.env_files.iter().cloned());
        self.workdir = more.workdir.clone().or(self.workdir);
        self
    }

    /// What can be written down, and the values of variables, which cannot.
    pub fn without_values(&self) -> (Overrides, BTreeMap<String, String>) {
        let given = self.env.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?)));
        let values: BTreeMap<String, String> = given.collect();
        let env = self.env.iter().filter(|(_, value)| value.is_none()).cloned().collect();
        (Overrides { env, valueless: values.keys().cloned().collect(), ..self.clone() }, values)
    }

    /// The whole again.
    ///
    /// # Errors
    /// The values of the variables that are returned are gone.
    pub fn with_values(&self, values: &BTreeMap<String, String>) -> std::result::Result<Overrides, Vec<String>> {
        let lost: Vec<String> = self.valueless.iter().filter(|name| !values.contains_key(*name)).cloned().collect();
        if !lost.is_empty() {
            return Err(lost);
        }
        let given = self.valueless.iter().map(|name| (name.clone(), values.get(name).cloned()));
        let env = self.env.iter().cloned().chain(given).collect();
        Ok(Overrides { env, valueless: Vec::new(), ..self.clone() })
    }

    /// What no file has, the variables above all: values from a command line are written into no file.
    pub fn variables(&self) -> Overrides {
        Overrides { env: self.env.clone(), asks: self.asks, ..Overrides::default() }
    }

    /// Changes a configuration as it is written.
    pub(crate) fn apply(&self, raw: &mut Raw) {
        for (name, value) in &self.env {
            // The user's shell has expanded the value; `$$` is a dollar.
            let value = value.as_ref().map_or_else(|| format!("${{{name}}}"), |value| value.replace('$', "$$"));
            replace(&mut raw.env, name, value);
        }
        let files = self.env_files.iter().map(|file| file.to_string_lossy().into_owned());
        append(&mut raw.env_file, files);
        for mount in &self.mounts {
            let entry = |dst| RawEntry::Given {
                src: mount.src.to_string_lossy().into_owned(),
                dst,
                mode: mount.mode.parse().unwrap_or(MountMode::ReadOnly),
            };
            // What is mounted at this place otherwise makes room.
            let place = |dst: &str| dst.trim_end_matches('/').to_owned();
            if let Some(dst) = &mount.dst {
                raw.mount.0.retain(|entry| entry.written_dst().is_none_or(|other| place(&other) != place(dst)));
            }
            raw.mount.0.push(entry(mount.dst.clone()));
        }
        match self.network.as_slice() {
            [] => {}
            [mode] if matches!(mode.as_str(), "host" | "none") => {
                raw.network = RawNetwork::Mode(mode.clone());
                if mode == "none" {
                    // There is nobody to give them to.
                    raw.secrets = Default::default();
                }
            }
            names => {
                // What the configuration denies stays denied.
                let (deny, log) = match std::mem::take(&mut raw.network) {
                    RawNetwork::Names { deny, log, .. } => (deny, log),
                    RawNetwork::Mode(_) => (Lines::default(), false),
                };
                raw.network = RawNetwork::Names { allow: Lines { items: names.to_vec(), is_list: true }, deny, log };
            }
        }
        append(&mut raw.ports, self.ports.iter().cloned());
        append(&mut raw.reach, self.reach.iter().cloned());
        for (name, value) in &self.limits {
            replace(&mut raw.limits, name, value.clone());
        }
        raw.workdir = self.workdir.clone().map(Text).or(raw.workdir.take());
        raw.isolation = self.isolation.map(|level| Text(level.name().into())).or(raw.isolation.take());
        if self.nested {
            raw.nested = Some(true);
        }
    }

    /// A configuration of these and some runtimes, for a sandbox without a project. Programs start where the first mount
    /// is, if nothing else is said. No value of a variable is in it.
    pub fn configuration(&self, runtimes: &[String]) -> String {
        let mounts: Vec<_> = self.mounts.iter().map(|mount| (mount, mount.place())).collect();
        let first = mounts.first().filter(|(mount, _)| mount.src.is_dir()).map(|(_, dst)| dst.clone());
        let mut out = String::from("# Made by 'sbox run --runtime'.\n");
        let mut key = |name: &str, value: serde_json::Value| {
            let is_there = value.as_array().map_or(!value.is_null(), |items| !items.is_empty());
            if is_there {
                out += &format!("{name}: {value}\n");
            }
        };
        key("runtime", json!(runtimes));
        key("workdir", json!(self.workdir.clone().or(first)));
        let mount = |(mount, dst): &(&Mount, String)| json!({"src": mount.src, "dst": dst, "mode": mount.mode});
        key("mount", mounts.iter().map(mount).collect());
        match self.network.as_slice() {
            [] => {}
            [mode] if matches!(mode.as_str(), "host" | "none") => key("network", json!(mode)),
            names => key("network", json!({"allow": names})),
        }
        key("env_file", json!(self.env_files));
        key("ports", json!(self.ports));
        key("reach", json!(self.reach));
        if !self.limits.is_empty() {
            let limits: serde_json::Map<_, _> =
                self.limits.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
            key("limits", limits.into());
        }
        key("isolation", self.isolation.map_or(serde_json::Value::Null, |level| json!(level.name())));
        key("nested", if self.nested { json!(true) } else { serde_json::Value::Null });
        out
    }
}

impl Mount {
    /// Where it goes in a sandbox that has no `workdir` yet: a bare path to `/work`, if it is a directory.
    fn place(&self) -> String {
        match &self.dst {
            Some(dst) => dst.clone(),
            None if self.src.is_dir() => "/work".into(),
            None => format!("/{}", self.src.file_name().unwrap_or_default().to_string_lossy()),
        }
    }
}

/// `NAME=VALUE`, or `NAME` for the host's value.
fn variable(text: &str) -> Result<(String, Option<String>)> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, None),
    };
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(valid) || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(Error::usage(format!("'{}' is not the name of a variable", visible(name)))
            .hint("--env NAME=VALUE, or --env NAME for the value that it has here"));
    }
    if value.is_none() && std::env::var_os(name).is_none() {
        return Err(Error::usage(format!("'{name}' is not set here")).hint(format!("--env {name}=VALUE")));
    }
    Ok((name.to_owned(), value))
}

fn mount(text: &str) -> Result<Mount> {
    let (src, dst, mode) =
        split(text).map_err(|why| Error::usage(why).hint("--mount SRC:DST:MODE, such as .:/work:cow"))?;
    let src = match src.starts_with('~') {
        true => super::raw::resolve_source(&src, Path::new("/")),
        false => here(Path::new(&src))?,
    };
    if src.to_str().is_none() {
        let shown = crate::escape::visible_path(&src);
        return Err(Error::usage(format!("cannot mount '{shown}': its path is not valid UTF-8")));
    }
    Ok(Mount { src, dst, mode: mode.name().to_owned() })
}

fn limit(text: &str) -> Result<(String, String)> {
    let pair = text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    pair.ok_or_else(|| Error::usage(format!("'{}' is not a limit", visible(text))).hint("--limit memory=2G"))
}

fn here(path: &Path) -> Result<PathBuf> {
    let path = std::path::absolute(path).context(|| "find the current directory".into())?;
    // `.` is the directory itself, whose name may be wanted.
    Ok(path.components().filter(|part| *part != std::path::Component::CurDir).collect())
}

fn append(lines: &mut Lines, more: impl Iterator<Item = String>) {
    let before = lines.items.len();
    lines.items.extend(more);
    lines.is_list |= lines.items.len() > before;
}

fn replace(pairs: &mut Pairs, name: &str, value: String) {
    pairs.0.retain(|(other, _)| other != name);
    pairs.0.push((name.to_owned(), value));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[&str]) -> Overrides {
        let (mut all, mut args) = (Overrides::default(), lexopt::Parser::from_args(words));
        while let Some(arg) = args.next().unwrap() {
            let lexopt::Arg::Long(name) = arg else { panic!("{arg:?}") };
            let name = name.to_owned();
            assert!(Overrides::has_option(&name));
            all.take(&name, &mut args).unwrap();
        }
        all
    }

    #[test]
    fn a_sandbox_without_a_project_has_a_valid_configuration_without_values() {
        let all = of(&[
            "--mount",
            "/usr:/work:cow",
            "--network",
            "@npm,a.org",
            "--network=b.org",
            "--env",
            "TOKEN=canary",
            "--limit",
            "memory=2G",
            "--port",
            "9000:80",
            "--reach",
            "5432",
            "--nested",
        ]);
        let text = all.configuration(&["node:22".into()]);
        let report = crate::check::check(&text, Path::new("/nonexistent"));
        assert_eq!(report.errors().count(), 0, "{:?}", report.findings);
        let config = report.config.unwrap();
        assert_eq!(
            (config.workdir.as_str(), config.ports, config.reach),
            ("/work", vec![(9000, 80)], vec![(5432, 5432)])
        );
        assert_eq!(config.network.to_string(), "only @npm, a.org, b.org");
        assert!(config.nested && config.mount[0].is_copy_on_write() && !text.contains("canary"), "{text}");
    }

    #[test]
    fn what_is_written_down_of_a_daemon_has_no_value() {
        let all = of(&["--env", "A=canary", "--env", "PATH", "--mount", "/usr:/x:ro", "--limit", "pids=9"]);
        let (kept, values) = all.without_values();
        let text = serde_json::to_string(&kept).unwrap();
        assert!(!text.contains("canary"), "{text}");
        let read: Overrides = serde_json::from_str(&text).unwrap();
        assert_eq!(read.with_values(&BTreeMap::new()), Err(vec!["A".to_owned()]));
        let again = read.with_values(&values).unwrap();
        assert_eq!((again.mounts, again.env.len(), again.limits), (all.mounts, 2, all.limits));
    }

    #[test]
    fn what_is_said_comes_before_the_file_and_is_checked_like_it() {
        let file = "runtime: node:22\nenv: {A: old, B: kept}\nmount: ['/usr/share:/data:ro', '/usr/lib:/lib2:ro']\nnetwork: {allow: [a.org], deny: [c.org]}\nlimits: {memory: 1G, pids: 9}\n";
        let check = |words: &[&str]| crate::check::check_with(file, Path::new("/nonexistent"), &of(words));
        let report = check(&[
            "--env",
            "A=$x",
            "--mount",
            "/usr/include:/data/:ro",
            "--network",
            "b.org",
            "--limit",
            "memory=2G",
            "--workdir",
            "/data",
        ]);
        assert_eq!(report.errors().count(), 0, "{:?}", report.findings);
        let config = report.config.unwrap();
        assert_eq!(config.env, [("B".into(), "kept".into()), ("A".into(), "$$x".into())]);
        assert_eq!(
            config.mount.iter().map(|mount| mount.src.to_str().unwrap()).collect::<Vec<_>>(),
            ["/usr/lib", "/usr/include"]
        );
        let crate::model::Network::Allow { allow, deny, .. } = config.network else { panic!() };
        assert_eq!((allow[0].to_string(), deny[0].to_string()), ("b.org".into(), "c.org".into()));
        assert_eq!(config.limits.written().join(" "), "memory=2G pids=9");
        for wrong in [
            &["--mount", "/nonexistent/x:/y"][..],
            &["--mount", "/usr:/etc"],
            &["--network", "@antropic"],
            &["--limit", "memory=x"],
            &["--workdir", "rel"],
            &["--isolation", "landlock"],
        ] {
            assert!(check(wrong).errors().count() > 0, "{wrong:?}");
        }
    }
}
