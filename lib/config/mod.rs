//! The configuration, `.sbox/config.yaml`, as the programs use it. What is wrong with one is found by [`crate::check`].

mod daemon;
mod expand;
pub mod keys;
mod overrides;
pub(crate) mod raw;

pub use daemon::{DaemonConfig, ReadinessProbe, Ready};
pub use expand::{Piece, pieces};
pub use overrides::Overrides;

use crate::error::{Context, Result};
use crate::model::secret::Secret;
use crate::model::{Device, Isolation, Limits, MountMode, Network, Runtime};
use crate::project::Project;
use std::fmt;
use std::path::{Path, PathBuf};

/// A `copy` or `mount` entry, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountEntry {
    /// On the host: absolute.
    pub src: PathBuf,
    /// In the sandbox: absolute, without `.` and `..`.
    pub dst: PathBuf,
    /// What the agent can do with it; a copy is the agent's own and has no use for one.
    pub mode: MountMode,
    /// As it stands in the file, for messages.
    pub written: String,
    /// Whether it stands in no file: it was given on the command line, for one run.
    pub is_given: bool,
}

impl MountEntry {
    /// Whether the agent may only read it.
    pub fn is_read_only(&self) -> bool {
        self.mode == MountMode::ReadOnly
    }

    /// Whether what the agent changes stays apart from the host's files.
    pub fn is_copy_on_write(&self) -> bool {
        self.mode == MountMode::CopyOnWrite
    }
}

/// What agents of a project with these mounts can write: the host's own files, where one can, and what the sandbox is made
/// of. What lies in a copy-on-write mount belongs here, too: its changes come back.
pub fn writable_by_agents(mounts: &[MountEntry], project: &Project) -> Vec<PathBuf> {
    let own = [project.rootfs(), project.env(), project.env_layer(), project.state().join("cow")];
    mounts.iter().filter(|mount| !mount.is_read_only()).map(|mount| mount.src.clone()).chain(own).collect()
}

/// An entry of `mount`, as it is written into a file.
pub fn mount_item(src: &Path, dst: &Path, mode: &str) -> String {
    let (src, dst) = (src.to_string_lossy(), dst.to_string_lossy());
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./@+~".contains(c);
    match src.chars().chain(dst.chars()).all(plain) {
        true => format!("{src}:{dst}:{mode}"),
        false => {
            let (src, dst) = (serde_json::json!(src), serde_json::json!(dst));
            format!("{{src: {src}, dst: {dst}, mode: {mode}}}")
        }
    }
}

/// What is run by `sbox run`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// One line, for `sh -c`.
    Line(String),
    /// A program and its arguments.
    Words(Vec<String>),
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Command::Line(line) => f.write_str(line),
            Command::Words(words) => f.write_str(&words.join(" ")),
        }
    }
}

/// Where a program is downloaded, if not at its makers' place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Download {
    /// The address.
    pub url: Option<String>,
    /// What has to come.
    pub sha256: Option<String>,
}

/// A whole valid configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// At least one.
    pub runtimes: Vec<Runtime>,
    /// `auto` or the name of a provider.
    pub provider: String,
    /// Absolute, in the sandbox.
    pub workdir: String,
    /// What is copied in when building.
    pub copy: Vec<MountEntry>,
    /// What of the host is there while running.
    pub mount: Vec<MountEntry>,
    /// The commands of `install`, then those of `build`.
    pub install: Vec<String>,
    /// The default command.
    pub cmd: Option<Command>,
    /// In the order of the file, not expanded.
    pub env: Vec<(String, String)>,
    /// Files of variables; what `env` says wins.
    pub env_file: Vec<PathBuf>,
    /// Whether commits inside have the user's name and e-mail address. Without a word they do in the user's own projects.
    pub git_identity: Option<bool>,
    /// The level that is asked for.
    pub isolation: Isolation,
    /// What it can reach.
    pub network: Network,
    /// Keys that the agent uses and never holds.
    pub secrets: Vec<Secret>,
    /// Ports of the host's loopback that lead to ports inside: on the host, inside.
    pub ports: Vec<(u16, u16)>,
    /// Ports of the host's loopback that can be reached inside: on the host, inside.
    pub reach: Vec<(u16, u16)>,
    /// What it may use.
    pub limits: Limits,
    /// Whether it may make its own user namespaces and mounts.
    pub nested: bool,
    /// Devices beside the harmless ones.
    pub devices: Vec<Device>,
    /// How daemons run.
    pub daemon: DaemonConfig,
    /// Where conda's packages come from, if not from where it has them by itself.
    pub channels: Vec<String>,
    /// Packages of conda's beside the runtimes.
    pub packages: Vec<String>,
    /// Where micromamba comes from.
    pub mamba: Download,
    /// SHA-256 of the file, the first 16 digits.
    pub hash: String,
}

/// The text of the project's configuration.
pub fn read(project: &Project) -> Result<String> {
    /// It comes with clones and archives; nobody writes one of this size.
    const LONGEST: u64 = 1 << 20;
    let path = project.config();
    let shown = || format!("read '{}'", crate::escape::visible_path(&path));
    let file = std::fs::File::open(&path).context(shown)?;
    let mut text = String::new();
    std::io::Read::read_to_string(&mut std::io::Read::take(file, LONGEST + 1), &mut text).context(shown)?;
    if text.len() as u64 > LONGEST {
        return Err(crate::error::Error::new(format!("cannot {}: it has more than a megabyte", shown())));
    }
    Ok(text)
}
