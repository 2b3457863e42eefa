//! Whether a configuration may have what it asks for.
//!
//! A configuration can ask for `~/.ssh` or a key as well as for anything. It is the user's own if `sbox init` made it here,
//! or if `sbox trust` accepted exactly what it asks for. Any other, whether it came in an archive, with a clone, or was
//! written by hand, runs as long as it asks for nothing outside of its project. What it asks for is judged by real paths:
//! a link in the project that leads to `~/.ssh` asks for `~/.ssh`. What is known is kept in `~/.sbox/trust`, which no
//! sandbox sees.

use crate::config::{Config, MountEntry, Overrides, Piece, pieces};
use crate::error::{Context, Error, Kind, Result};
use crate::escape::{visible, visible_path};
use crate::fs;
use crate::locate::{Step, locate};
use crate::marks;
use crate::model::secret::Source;
use crate::model::{Isolation, MountMode};
use crate::output;
use crate::project::Project;
use std::io::{BufRead, IsTerminal};
use std::path::{Path, PathBuf};

/// One thing that a configuration asks for beyond its own project.
#[derive(Debug, Clone)]
pub struct Request {
    /// In words; this is what is accepted.
    pub text: String,
    /// The line of the configuration that asks for it.
    pub line: Option<usize>,
}

/// What a configuration asks for beyond its own project, in the order of its keys.
pub fn requests(project: &Project, config: &Config) -> Vec<Request> {
    // No `..`: a new key is not added before somebody has said here whether it asks for anything of the user's.
    let Config {
        runtimes: _, // made of what the user's own cache and channels have
        provider: _, // a program of the user's, by a name that is checked
        workdir: _,
        copy,
        mount,
        install: _, // runs inside
        cmd: _,     // runs inside
        env,
        env_file,
        git_identity,
        isolation,
        network: _, // `host` is the default; a set is names, and of the host's clients no more than where they get packages
        secrets,
        ports,
        reach,
        limits: _, // only ever less
        nested,
        devices,
        daemon: _, // how often and how long, nothing else
        channels,
        packages: _, // of the channels
        mamba,
        hash: _,
    } = config;
    let mut all = Requests { text: crate::config::read(project).unwrap_or_default(), all: Vec::new() };
    for (index, entry) in copy.iter().enumerate() {
        if let Some(real) = outside(project, entry) {
            all.add(&["copy"], Some(index), format!("a copy of '{}'", visible_path(real)));
        }
    }
    for (index, entry) in mount.iter().enumerate() {
        if let Some(real) = outside(project, entry) {
            let access = match entry.mode {
                MountMode::ReadOnly => "read-only",
                MountMode::ReadWrite => "read-write",
                MountMode::CopyOnWrite => "copy-on-write",
            };
            all.add(&["mount"], Some(index), format!("'{}' of this host, {access}", visible_path(real)));
        }
    }
    for (name, value) in env {
        for piece in pieces(value) {
            if let Piece::Variable { name: wanted, .. } = piece {
                let (wanted, name_shown) = (visible(&wanted), visible(name));
                let other = if wanted == name_shown { String::new() } else { format!(", as '{name_shown}'") };
                all.add(&["env", name], None, format!("your variable '{wanted}'{other}"));
            }
        }
    }
    let root = project.root().canonicalize().unwrap_or_else(|_| project.root().to_owned());
    for (index, file) in env_file.iter().enumerate() {
        let real = real_path(file);
        if !real.starts_with(&root) {
            all.add(&["env_file"], Some(index), format!("the variables in '{}'", visible_path(real)));
        }
    }
    // Without a word only the user's own projects have it: see `may_have_identity`.
    if *git_identity == Some(true) {
        all.add(&["git_identity"], None, "your name and e-mail address, from git's configuration".into());
    }
    if !matches!(isolation, Isolation::Auto | Isolation::Namespace) {
        all.add(&["isolation"], None, format!("isolation level '{isolation}'"));
    }
    for secret in secrets {
        let hosts: Vec<String> = secret.hosts.iter().map(ToString::to_string).collect();
        let what = match &secret.from {
            Source::Env(name) => format!("your variable '{}'", visible(name)),
            Source::File(path) => format!("what is in '{}'", visible_path(real_path(path))),
            Source::Command(line, _) => format!("what the command '{}' prints, on this host,", visible(line)),
        };
        all.add(&["secrets", &secret.name], None, format!("{what} as a key for {}", visible(&hosts.join(", "))));
    }
    for (index, (host, inside)) in ports.iter().enumerate() {
        all.add(&["ports"], Some(index), format!("port {host} of this host, for its port {inside}"));
    }
    for (index, (host, _)) in reach.iter().enumerate() {
        all.add(&["reach"], Some(index), format!("what listens on port {host} of this host's loopback"));
    }
    for (index, channel) in channels.iter().enumerate().filter(|(_, channel)| channel.contains("://")) {
        all.add(&["channels"], Some(index), format!("packages from '{}'", visible(channel)));
    }
    if let Some(url) = &mamba.url {
        all.add(&["mamba"], None, format!("a micromamba from '{}'", visible(url)));
    }
    // It would write packages into the cache that all projects of the user share.
    if !is_own(project)
        && let Some(program) = placed_micromamba(project)
    {
        all.all.push(Request { text: program, line: None });
    }
    for (index, device) in devices.iter().enumerate() {
        all.add(&["devices"], Some(index), format!("the devices '{device}' of this host"));
    }
    if *nested {
        all.add(&["nested"], None, "namespaces of the agent's own".into());
    }
    all.all
}

/// The requests so far, and the text of the configuration, where their lines are looked up.
struct Requests {
    text: String,
    all: Vec<Request>,
}

impl Requests {
    fn add(&mut self, keys: &[&str], index: Option<usize>, text: String) {
        let keys = keys.iter().map(|key| Step::Key((*key).to_owned()));
        let path: Vec<Step> = keys.chain(index.map(Step::Index)).collect();
        let line = locate(&self.text, &path, false).or_else(|| locate(&self.text, &path[..1], true));
        self.all.push(Request { text, line: line.map(|(line, _)| line) });
    }
}

/// The real path of an entry's source, if it is outside of the project: links are followed, whoever made them.
fn outside(project: &Project, entry: &MountEntry) -> Option<PathBuf> {
    let root = project.root().canonicalize().unwrap_or_else(|_| project.root().to_owned());
    let real = real_path(&entry.src);
    (!real.starts_with(root)).then_some(real)
}

/// The real path of what is there, and of the nearest directory above what is not.
fn real_path(path: &Path) -> PathBuf {
    let found = path.ancestors().find_map(|above| Some((above, above.canonicalize().ok()?)));
    match found {
        Some((above, real)) if above == path => real,
        Some((above, real)) => real.join(path.strip_prefix(above).unwrap_or(Path::new(""))),
        None => path.to_owned(),
    }
}

fn texts(requests: &[Request]) -> Vec<&str> {
    requests.iter().map(|request| request.text.as_str()).collect()
}

/// A micromamba in the project itself, by its content.
fn placed_micromamba(project: &Project) -> Option<String> {
    let path = crate::cache::placed_micromamba(project)?;
    let metadata = std::fs::metadata(&path).ok()?;
    let sum = match metadata.is_file() {
        true => fs::sha256_of(&mut std::fs::File::open(&path).ok()?).ok()?,
        false => "no file".into(),
    };
    Some(format!("its own micromamba ({})", sum.get(..16).unwrap_or(&sum)))
}

/// The same for a configuration with options of the command line in it. What the user types is the user's own request, but
/// not in company of a configuration from elsewhere, whose commands would get it: then that has to be accepted first.
pub fn require_with(project: &Project, config: &Config, overrides: &Overrides) -> Result<()> {
    if overrides.is_empty() {
        return require(project, config);
    }
    let own = crate::check::load(project)?;
    require(project, &own)?;
    let (own, all) = (requests(project, &own), requests(project, config));
    let (asked, mut given) = (texts(&own), texts(&all));
    given.retain(|text| !asked.contains(text));
    if given.is_empty() || is_own(project) || is_accepted(project, &own) {
        return Ok(());
    }
    let name = visible(&project.name());
    let message = format!("project '{name}' is not known as yours, and would get {}", given.join("; "));
    Err(Error::of(Kind::NotTrusted, message).hint("look at .sbox/config.yaml; 'sbox trust' accepts it"))
}

/// Whether [`require`] lets this configuration through without a question.
pub fn is_settled(project: &Project, config: &Config) -> bool {
    let requests = requests(project, config);
    requests.is_empty() || is_own(project) || is_accepted(project, &requests)
}

/// Refuses a configuration that asks for something which nobody accepted; on a terminal it asks, once.
pub fn require(project: &Project, config: &Config) -> Result<()> {
    if is_settled(project, config) {
        return Ok(());
    }
    let requests = requests(project, config);
    let name = visible(&project.name());
    if std::io::stdin().is_terminal() && std::io::stderr().is_terminal() {
        output::warn(format_args!("the configuration of '{name}' is not known as yours, and asks for:"));
        show(&requests);
        output::line("Allow exactly this? [y/N]");
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer).context(|| "read the answer".into())?;
        if matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
            return accept(project, &requests);
        }
    }
    let message = format!("project '{name}' asks for {}, which was not accepted", texts(&requests).join("; "));
    Err(Error::of(Kind::NotTrusted, message).hint("look at .sbox/config.yaml; 'sbox trust' accepts exactly this"))
}

/// Shows requests, each with the line that asks for it.
pub fn show(requests: &[Request]) {
    for Request { text, line } in requests {
        match line {
            Some(line) => output::wrapped("  •", 4, format_args!("{text} (config.yaml:{line})")),
            None => output::wrapped("  •", 4, text),
        }
    }
}

/// Whether commits of this project's agent carry the user's name.
pub fn may_have_identity(project: &Project, config: &Config) -> bool {
    let is_known = || is_own(project) || is_accepted(project, &requests(project, config));
    config.git_identity != Some(false) && is_known()
}

/// Whether `sbox init` made this configuration here.
pub fn is_own(project: &Project) -> bool {
    let is_known = identity(project).is_some_and(|identity| marks::is_set(&identity));
    is_known && !project.was_packed() || project.is_one_off()
}

/// Whether somebody accepted what is asked for.
pub fn is_accepted(project: &Project, requests: &[Request]) -> bool {
    marks::is_set(&content(project, requests))
}

/// The name of the file in `~/.sbox/trust` that says that the user made this project here.
pub fn own_mark(project: &Project) -> Option<String> {
    Some(marks::name_of(&identity(project)?))
}

/// Remembers that the user made this project here.
pub fn remember(project: &Project) -> Result<()> {
    match identity(project) {
        Some(identity) => marks::set(&identity, &project.root().to_string_lossy()),
        None => Ok(()),
    }
}

/// Accepts what is asked for.
pub fn accept(project: &Project, requests: &[Request]) -> Result<()> {
    marks::set(&content(project, requests), &texts(requests).join("\n"))
}

/// Takes it back.
pub fn revoke(project: &Project, requests: &[Request]) -> Result<()> {
    [Some(content(project, requests)), identity(project)]
        .into_iter()
        .flatten()
        .try_for_each(|what| marks::remove(&what))
}

/// The directory `.sbox` itself, not its name: one that was unpacked in its place is another one.
fn identity(project: &Project) -> Option<String> {
    marks::identity("own", &project.state())
}

fn content(project: &Project, requests: &[Request]) -> String {
    format!("accepted\0{}\0{}", project.root().display(), texts(requests).join("\0"))
}
