//! Into copy-on-write mounts and out of them: what is in one only a sandbox sees, and while one is running, only a sandbox can
//! change it. So a sandbox copies between the mount and a directory of the agent's that is on this machine, too; what is in
//! that is the agent's word, and is looked at as such.

use crate::place::Place;
use libsbox::built::Built;
use libsbox::config::Config;
use libsbox::dir::Dir;
use libsbox::error::{Context, Error, Result};
use libsbox::escape::{visible, visible_path};
use libsbox::model::Network;
use libsbox::output;
use libsbox::plumbing::{self, sandbox::ProjectSandbox};
use libsbox::project::Project;
use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// With this begins the name of the directory between; the number of the process follows.
const LEAD: &str = ".sbox-cp-";

/// The directory between, which is made when it is needed and gone with this.
pub struct Passage<'a> {
    project: &'a Project,
    config: Config,
    name: OsString,
    /// One directory below for each copy: names may be the same.
    count: Cell<usize>,
}

impl<'a> Passage<'a> {
    pub fn open(project: &'a Project, config: &Config) -> Result<Passage<'a>> {
        let name = OsString::from(format!("{LEAD}{}", std::process::id()));
        let rootfs = Dir::open(&project.rootfs())?;
        // What one that was killed has left.
        for entry in rootfs.entries()? {
            let process = entry.name.to_str().and_then(|name| name.strip_prefix(LEAD)?.parse::<u32>().ok());
            if process.is_some_and(|process| entry.name == name || !Path::new(&format!("/proc/{process}")).exists()) {
                rootfs.remove_tree(&entry.name)?;
            }
        }
        // Nothing but the copy is wanted of it.
        let mut config = config.clone();
        config.network = Network::None;
        config.ports.clear();
        config.reach.clear();
        Ok(Passage { project, config, name, count: Cell::new(0) })
    }

    /// A fresh directory in it, and where a sandbox sees it.
    pub fn directory(&self) -> Result<(Dir, PathBuf)> {
        let number = self.count.replace(self.count.get() + 1).to_string();
        let below = Path::new(&self.name).join(number);
        let made = Dir::open(&self.project.rootfs())?.sub_or_make(&below)?;
        Ok((made, Built::seen_from_inside(self.project).rootfs().join(below)))
    }

    /// A copy of what a sandbox sees at `path`.
    pub fn fetch(&self, path: &Path) -> Result<Place> {
        let (parent, seen) = self.directory()?;
        let name = path.file_name().unwrap_or(OsStr::new("root")).to_owned();
        let said = self.run(&["cp".into(), "-a".into(), "--".into(), path.into(), seen.join(&name).into()])?;
        let place = Place { parent, name, inside: true };
        // What is not there at all is said by who asks for it.
        if let (Some(said), Some(_)) = (said, place.kind()?) {
            output::warn(visible(&said));
        }
        Ok(place)
    }

    /// Puts what is in a directory of it to where a sandbox sees `target`.
    pub fn deliver(&self, seen: &Path, names: &[OsString], target: &Path) -> Result<()> {
        let sources = names.iter().map(|name| seen.join(name).into_os_string());
        let words: Vec<OsString> = match names {
            [_] => ["cp", "-a", "--"].map(OsString::from).into_iter().chain(sources).chain([target.into()]).collect(),
            _ => ["cp", "-a", "-t"].map(OsString::from).into_iter().chain([target.into()]).chain(sources).collect(),
        };
        match self.run(&words)? {
            None => Ok(()),
            Some(said) => {
                Err(Error::new(format!("cannot write ':{}' in the sandbox: {}", visible_path(target), visible(&said))))
            }
        }
    }

    /// Runs a command in the sandbox; gives its last word if it failed.
    fn run(&self, words: &[OsString]) -> Result<Option<String>> {
        let mut prepared = ProjectSandbox::new(self.project, &self.config).command("/", words)?;
        plumbing::trace(&prepared.command);
        let command = plumbing::die_with_parent(&mut prepared.command);
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let output = command.output().context(|| "start 'sbox-spawn'".into())?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it says nothing").to_owned();
        Ok((!output.status.success()).then_some(last))
    }
}

impl Drop for Passage<'_> {
    fn drop(&mut self) {
        let _ = Dir::open(&self.project.rootfs()).and_then(|rootfs| rootfs.remove_tree(&self.name));
    }
}
