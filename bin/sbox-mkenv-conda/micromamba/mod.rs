//! Running micromamba: confined, with a home, a root prefix and certificates of our choice, and nothing else.

mod sandbox;
mod step;

pub use step::Step;

use crate::mamba_error::{Cause, MambaError};
use crate::pkgs::PackageCache;
use crate::script::Script;
use crate::watch::{self, Limit};
use crate::{channel, indexes, patience};
use libsbox::error::{Context, Result};
use libsbox::escape;
use libsbox::fs;
use libsbox::lockfile::Package;
use sandbox::{Inside, NAME};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// Everything that the runs have in common.
pub struct Micromamba {
    program: PathBuf,
    channels: Vec<String>,
    /// Where things are on the host.
    pub cache: PackageCache,
    work: PathBuf,
    root: PathBuf,
    /// Where they are for micromamba.
    inside: Inside,
}

/// A place with less room than this is full.
const ROOM: u64 = 64 << 10;

impl Micromamba {
    pub fn new(program: &Path, pkgs: &Path, work: &Path, channels: &[String]) -> Result<Micromamba> {
        for name in ["place", "home", "root/pkgs"] {
            fs::make_dirs(&work.join(name))?;
        }
        let root = sandbox::root(work)?;
        let inside = Inside::choose(work, pkgs, &root);
        let channels = if channels.is_empty() { vec![channel::DEFAULT.into()] } else { channels.to_vec() };
        let (program, cache, work) = (program.to_owned(), PackageCache { dir: pkgs.to_owned() }, work.to_owned());
        Ok(Micromamba { program, channels, cache, work, root, inside })
    }

    /// The prefix that is written in the files.
    pub fn prefix(&self) -> PathBuf {
        self.inside.place.join(NAME)
    }

    /// Where it is on the host until it is delivered.
    pub fn env(&self) -> PathBuf {
        self.place().join(NAME)
    }

    /// The directory that it is made in: nothing else of ours is there.
    pub fn place(&self) -> PathBuf {
        self.work.join("place")
    }

    /// The home that is thrown away: on the host, and for micromamba.
    pub fn home(&self) -> (PathBuf, PathBuf) {
        (self.work.join("home"), self.inside.home.clone())
    }

    /// Where micromamba sees a file of the package cache; nothing where no file can be shown in the place of another.
    pub fn seen(&self, path: &Path) -> Option<PathBuf> {
        self.inside.is_elsewhere.then(|| Some(self.inside.pkgs.join(path.strip_prefix(&self.cache.dir).ok()?)))?
    }

    pub fn deliver(&self, prefix: &Path) -> Result<()> {
        std::fs::rename(self.env(), prefix)
            .context(|| format!("move the environment to '{}'", escape::visible_path(prefix)))
    }

    /// Forgets an environment that was begun.
    pub fn start_again(&self) -> Result<()> {
        fs::remove_tree(&self.env())
    }

    /// The addresses of the channels as far as they are known: what a name refers to, micromamba knows, or a mirror.
    pub fn addresses(&self) -> Vec<String> {
        let full = |channel: &String| match alias() {
            Some(alias) if !channel.contains("://") => {
                format!("{}/{channel}", alias.to_string_lossy().trim_end_matches('/'))
            }
            _ => channel.clone(),
        };
        self.channels.iter().map(full).collect()
    }

    /// Whether anything is known of the channels without asking them.
    pub fn has_index(&self) -> bool {
        indexes::is_there(&self.cache, &self.addresses())
    }

    /// Writes the list of packages for micromamba; gives its path there. The MD5 is what all its versions check by; the
    /// SHA-256 is compared by us.
    pub fn explicit(&self, packages: &[Package]) -> Result<String> {
        let mut text = String::from("@EXPLICIT\n");
        for package in packages {
            let hash = if package.md5.is_empty() { &package.hash } else { &package.md5 };
            text.push_str(&format!("{}#{hash}\n", package.url));
        }
        fs::write_atomic(&self.work.join("home/packages.txt"), text.as_bytes(), 0o600)?;
        Ok(self.inside.home.join("packages.txt").display().to_string())
    }

    /// One run; what it wrote on stdout, or why it failed.
    pub fn run(&self, step: Step, args: &[&str], specs: &[String]) -> Result<Vec<u8>, MambaError> {
        self.run_with(step, args, specs, &[])
    }

    /// Links the packages of a list.
    pub fn link(&self, list: &str, scripts: &[Script]) -> Result<(), MambaError> {
        self.run_with(Step::Link, &["--file", list], &[], scripts).map(drop)
    }

    fn run_with(&self, step: Step, args: &[&str], specs: &[String], scripts: &[Script]) -> Result<Vec<u8>, MambaError> {
        let mut command = self.sandbox(step, scripts, &self.words(step, args, specs))?;
        let progress = || self.cache.progress();
        let limit = match step {
            Step::Link => Limit::Total(patience::linking()),
            _ => Limit::Silence(patience::silence(), &progress),
        };
        let ended = watch::output(&mut command, &limit)?;
        match (ended.is_over, ended.status.success(), limit) {
            (true, _, Limit::Silence(time, _)) => Err(MambaError::own(Cause::Silent(time), "")),
            (true, _, Limit::Total(time)) => Err(MambaError::own(Cause::TooLong(time), "")),
            (_, true, _) => Ok(ended.stdout),
            _ => Err(self.failed(step, &ended)),
        }
    }

    fn failed(&self, step: Step, ended: &watch::Ended) -> MambaError {
        let mut error = MambaError::of(ended.status.code(), &ended.stderr, &ended.stdout);
        // What was being made when the room ran out is still there when it links, and when it reads an index.
        let place = match (step, &error.cause) {
            (Step::Link, _) => self.place(),
            (_, Cause::BrokenIndex) => self.cache.dir.clone(),
            _ => return error,
        };
        if rustix::fs::statvfs(&place).is_ok_and(|fs| fs.f_bavail * fs.f_frsize < ROOM) {
            error.cause = Cause::Full;
        }
        error
    }

    /// Its command line.
    fn words(&self, step: Step, args: &[&str], specs: &[String]) -> Vec<OsString> {
        let mut words = Words(vec![self.program_inside().into()]);
        words.add([if step == Step::Search { "search" } else { "create" }, "--yes", "--override-channels"]);
        if let Some(alias) = alias() {
            words.add(["--channel-alias".into(), alias]);
        }
        // A file that is named is read in place of all others; --no-rc would leave out that one, too.
        match self.condarc() {
            Some((_, inside)) => words.add(["--rc-file".as_ref(), inside.as_os_str()]),
            None => words.add(["--no-rc"]),
        }
        for channel in &self.channels {
            // What links is written into the environment's history, which agents read.
            let channel = if step.has_network() { channel.clone() } else { channel::shown(channel) };
            words.add(["--channel", &channel]);
        }
        // The prefix must not exist yet, unless it is linked: this one is thrown away.
        let none = self.inside.home.join("none");
        match step {
            Step::Choose | Step::ChooseOffline => words.add(["--prefix".as_ref(), none.as_os_str()]),
            // What another program did to the cache is found, whether or not the size is the same, and repaired.
            Step::Fetch | Step::Repair => {
                words.add(["--download-only".as_ref(), "--prefix".as_ref(), none.as_os_str()]);
                words.add(["--safety-checks", "enabled", "--extra-safety-checks"]);
            }
            // That has just been done, and a script of ours stands where a package has its own.
            Step::Link => {
                words.add([
                    "--always-copy".as_ref(),
                    "--no-pyc".as_ref(),
                    "--prefix".as_ref(),
                    self.prefix().as_os_str(),
                ]);
                words.add(["--safety-checks", "disabled"]);
            }
            Step::Search => {}
        }
        words.add((step == Step::ChooseOffline).then_some("--offline"));
        words.add(args);
        words.add(specs);
        words.0
    }
}

/// A command line in the making.
struct Words(Vec<OsString>);

impl Words {
    fn add<T: AsRef<OsStr>>(&mut self, words: impl IntoIterator<Item = T>) {
        self.0.extend(words.into_iter().map(|word| word.as_ref().to_owned()));
    }
}

/// Where channels that have only a name are: a company's mirror.
fn alias() -> Option<OsString> {
    let names = ["SBOX_CHANNEL_ALIAS", "CONDA_CHANNEL_ALIAS", "MAMBA_CHANNEL_ALIAS"];
    names.iter().find_map(|name| std::env::var_os(name).filter(|value| !value.is_empty()))
}
