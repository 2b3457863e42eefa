//! Where things are: a project is a directory with `.sbox/config.yaml`.

pub mod home;

use crate::error::{Context, Error, Result};
use crate::escape::visible_path;
use std::path::{Path, PathBuf};

/// Where the wheels of pip's packages are that came with an archive, below the agent's home.
pub const WHEELS: &str = ".cache/sbox-wheels";

/// A project, by its absolute root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    root: PathBuf,
    /// Where its environment is, if not in its state.
    env: Option<PathBuf>,
}

impl Project {
    /// The project that the current directory is in: the nearest directory upward that has `.sbox/config.yaml`.
    /// A bare `.sbox`, such as the one in a home directory that holds the cache, is not a project.
    pub fn find() -> Result<Project> {
        let here = std::env::current_dir().context(|| "find the current directory".into())?;
        let root = here.ancestors().find(|place| place.join(".sbox/config.yaml").is_file()).ok_or_else(|| {
            let shown = visible_path(&here);
            Error::new(format!("no project in '{shown}' or above it"))
                .hint("sbox init . makes one here; sbox -C DIR ... looks for one elsewhere")
        })?;
        let project = Project::at(root)?;
        if project.state().is_symlink() {
            let message = format!("'{}' is a symbolic link", visible_path(project.state()));
            return Err(Error::new(message).hint("sbox keeps its state in a directory of the project itself"));
        }
        Ok(project)
    }

    /// The project at `root`, which must be absolute. Some paths cannot work and are refused here, before anything is made.
    pub fn at(root: &Path) -> Result<Project> {
        let text = root.to_str().ok_or_else(|| impossible(root, "is not valid UTF-8"))?;
        if let Some(why) = text.chars().find_map(why_not) {
            return Err(impossible(root, why));
        }
        Ok(Project { root: root.to_owned(), env: None })
    }

    /// Whether the record of a packed sandbox lies beside the project.
    pub fn was_packed(&self) -> bool {
        let path = self.root.join("metadata.json");
        match std::fs::symlink_metadata(&path) {
            // Enough of it to find our name; whatever else lies there under that name is looked at as if it were one.
            Ok(metadata) if metadata.is_file() && metadata.len() < 16 << 20 => {
                std::fs::read(&path).is_ok_and(|bytes| memchr::memmem::find(&bytes, b"sbox").is_some())
            }
            Ok(_) => true,
            Err(_) => false,
        }
    }

    /// The root.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The name of the project: that of its directory.
    pub fn name(&self) -> String {
        self.root.file_name().map_or_else(|| "root".into(), |name| name.to_string_lossy().into_owned())
    }

    /// `.sbox`.
    pub fn state(&self) -> PathBuf {
        self.root.join(".sbox")
    }

    /// `.sbox/config.yaml`.
    pub fn config(&self) -> PathBuf {
        self.state().join("config.yaml")
    }

    /// `.sbox/env`: the runtime. The agent can write it.
    pub fn env(&self) -> PathBuf {
        self.env.clone().unwrap_or_else(|| self.state().join("env"))
    }

    /// The same project as programs see it whose environment is at another place. That place ends up in PATH and in scripts:
    /// it must be one that a project could have.
    pub fn with_env_at(&self, prefix: &Path) -> Result<Project> {
        Project::at(prefix)?;
        Ok(Project { env: Some(prefix.to_owned()), ..self.clone() })
    }

    /// `.sbox/env.new`: a runtime that is being built while the old one still serves.
    pub fn env_new(&self) -> PathBuf {
        self.state().join("env.new")
    }

    /// `.sbox/env-layer`: what the agent of a one-off run changed of an environment in the cache.
    pub fn env_layer(&self) -> PathBuf {
        self.state().join("env-layer")
    }

    /// `.sbox/rootfs`: the agent's world. The agent can write it.
    pub fn rootfs(&self) -> PathBuf {
        self.state().join("rootfs")
    }

    /// `.sbox/rootfs.new`: the same for the agent's world.
    pub fn rootfs_new(&self) -> PathBuf {
        self.state().join("rootfs.new")
    }

    /// `.sbox/env.sh`.
    pub fn env_sh(&self) -> PathBuf {
        self.state().join("env.sh")
    }

    /// `.sbox/logs`.
    pub fn logs(&self) -> PathBuf {
        self.state().join("logs")
    }

    /// `.sbox/logs`, made if it is missing; a link in its place, which came with an archive, is replaced.
    pub fn open_logs(&self) -> Result<crate::dir::Dir> {
        crate::dir::Dir::open(&self.state())?.sub_or_make(Path::new("logs"))
    }

    /// `.sbox/logs/network.log`: what was asked of the proxy.
    pub fn network_log(&self) -> PathBuf {
        self.logs().join("network.log")
    }

    /// Holds the project's environment and rootfs in use, until what this gives is dropped and the programs that were
    /// started in the meantime have ended. Any number of sandboxes can.
    pub fn lock_shared(&self) -> Result<crate::fs::Lock> {
        crate::fs::Lock::shared(&self.in_use())
    }

    /// Makes sure that no sandbox uses environment and rootfs, and keeps it so until this is dropped. Nothing if one does.
    pub fn try_exclusive(&self) -> Result<Option<crate::fs::Lock>> {
        crate::fs::Lock::alone(&self.in_use())
    }

    /// What an agent leaves in its own directories is for nobody else on this host to start: a set-uid program there would
    /// run as the user. If the directory belongs to another user, so does what happens in it.
    pub fn close_to_others(&self) {
        use std::os::unix::fs::PermissionsExt;
        let state = self.state();
        if std::fs::symlink_metadata(&state)
            .is_ok_and(|state| state.is_dir() && state.permissions().mode() & 0o077 != 0)
        {
            let _ = std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o700));
        }
    }

    fn in_use(&self) -> PathBuf {
        self.state().join("in-use.lock")
    }

    /// `.sbox/one-off`: marks the project of a one-off run, and is locked while that goes on.
    pub fn one_off_mark(&self) -> PathBuf {
        self.state().join("one-off")
    }

    /// Where those are: `~/.sbox/runs`.
    pub fn one_off_runs() -> Result<PathBuf> {
        let home = crate::fs::user_home();
        let home =
            home.ok_or_else(|| Error::new("HOME is not set").hint("set HOME: one-off runs are in ~/.sbox/runs"))?;
        Ok(home.join(".sbox/runs"))
    }

    /// Whether this is one. Nobody but sbox writes there.
    pub fn is_one_off(&self) -> bool {
        let is_there = Project::one_off_runs().is_ok_and(|runs| self.root.parent() == Some(&*runs));
        is_there && std::fs::symlink_metadata(self.one_off_mark()).is_ok_and(|mark| mark.is_file())
    }

    /// `.sbox/processes.json`.
    pub fn processes(&self) -> PathBuf {
        self.state().join("processes.json")
    }

    /// `.sbox/stage.json`: what was copied into rootfs, and from what.
    pub fn stage_record(&self) -> PathBuf {
        self.state().join("stage.json")
    }

    /// `.sbox/stage.new.json`: the record of `.sbox/rootfs.new`.
    pub fn stage_record_new(&self) -> PathBuf {
        self.state().join("stage.new.json")
    }

    /// `.sbox/built.json`: what was built, where, from what.
    pub fn built(&self) -> PathBuf {
        self.state().join("built.json")
    }

    /// `.sbox/slots.json`: what room earlier moves left in the binary files of the environment.
    pub fn slots(&self) -> PathBuf {
        self.state().join("slots.json")
    }

    /// `.sbox/trash`: what was replaced and is not yet deleted.
    pub fn trash(&self) -> PathBuf {
        self.state().join("trash")
    }

    /// `.sbox/build.lock`, held while something is built or cleaned.
    pub fn build_lock(&self) -> PathBuf {
        self.state().join("build.lock")
    }

    /// `sbox.lock`: what was asked for and resolved.
    pub fn lock(&self) -> PathBuf {
        self.root.join("sbox.lock")
    }
}

/// Why a character cannot be in the path of a project.
fn why_not(c: char) -> Option<&'static str> {
    match c {
        ':' => Some("contains ':', which PATH cannot hold"),
        '"' | '$' | '`' | '\\' => Some("contains a character that the scripts of pip and npm cannot quote"),
        c if c.is_control() => Some("contains a control character"),
        _ => None,
    }
}

fn impossible(root: &Path, why: &str) -> Error {
    Error::new(format!("project path '{}' {why}", visible_path(root)))
        .hint("move the project to a path without it; spaces and apostrophes are fine")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_paths_are_refused_at_once() {
        use std::os::unix::ffi::OsStrExt;
        for path in [&b"/a/x:y"[..], b"/a/x\ny", b"/a/\xff", b"/a/$HOME", b"/a/\"x\""] {
            let path = Path::new(std::ffi::OsStr::from_bytes(path));
            assert!(Project::at(path).is_err(), "{path:?}");
        }
        for path in ["/a/with space", "/a/it's; (x) & y", "/größe"] {
            assert!(Project::at(Path::new(path)).is_ok(), "{path}");
        }
    }
}
