//! Running micromamba: confined, with a home, a root prefix and certificates of our choice, and nothing else.

use crate::mamba_error::{Cause, MambaError};
use crate::pkgs::PackageCache;
use crate::script::Script;
use crate::watch::{self, Limit};
use crate::{channel, indexes, patience};
use libsbox::certificates;
use libsbox::dir::Dir;
use libsbox::error::{Context, Error, Result};
use libsbox::escape;
use libsbox::fs;
use libsbox::lockfile::Package;
use libsbox::plumbing;
use libsbox::plumbing::spawn;
use libsbox::project::Project;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What micromamba does in one run, and what that needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Choose packages: network, the package cache for the channels' indexes.
    Choose,
    /// The same with what was fetched before, without a network.
    ChooseOffline,
    /// Fetch and unpack packages, and choose them first unless a list is given: the same.
    Fetch,
    /// Repair what is damaged in the package cache from what else is there: no network. micromamba's own `--offline` fetches
    /// the packages of a list all the same.
    Repair,
    /// Put them into the prefix and run their scripts: no network, the package cache read-only.
    Link,
    /// List what there is of a package.
    Search,
}

impl Step {
    fn has_network(self) -> bool {
        matches!(self, Step::Choose | Step::Fetch | Step::Search)
    }
}

/// Everything that the runs have in common.
pub struct Micromamba {
    program: PathBuf,
    channels: Vec<String>,
    /// Where things are on the host.
    pub cache: PackageCache,
    work: PathBuf,
    root: PathBuf,
    /// Where they are for micromamba: the same for everybody, if the sandbox can show them elsewhere.
    inside: Inside,
}

struct Inside {
    /// The directory that the prefix is made in.
    place: PathBuf,
    pkgs: PathBuf,
    root: PathBuf,
    home: PathBuf,
}

/// The name of the environment in its place.
const NAME: &str = "env";

/// A place with less room than this is full.
const ROOM: u64 = 64 << 10;

/// Length of the prefix that is written into files. Above about 100 bytes micromamba gives up the `#!` lines of scripts
/// (the kernel's limit was 127 before 5.1); below, what a script compiled into a file has no room to grow. Files that
/// packages bring have room for 255 bytes in any case: `conda-meta` keeps their placeholder.
const LENGTH: usize = 100;

impl Micromamba {
    pub fn new(program: &Path, pkgs: &Path, work: &Path, channels: &[String]) -> Result<Micromamba> {
        for name in ["place", "home", "root/pkgs"] {
            fs::make_dirs(&work.join(name))?;
        }
        let root = root(work)?;
        let moves = spawn::probe(libsbox::model::Isolation::Auto).level == "namespace";
        let inside = match moves {
            true => Inside {
                place: padded(),
                pkgs: "/sbox/pkgs".into(),
                root: "/sbox/mamba".into(),
                home: "/sbox/home".into(),
            },
            false => {
                Inside { place: work.join("place"), pkgs: pkgs.to_owned(), root: root.clone(), home: work.join("home") }
            }
        };
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
        self.is_elsewhere().then(|| Some(self.inside.pkgs.join(path.strip_prefix(&self.cache.dir).ok()?)))?
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
        let mut command = self.sandbox(step, scripts)?;
        self.arguments(&mut command, step, args, specs);
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

    fn arguments(&self, command: &mut Command, step: Step, args: &[&str], specs: &[String]) {
        command.arg(if self.is_elsewhere() { "/sbox/bin/micromamba".as_ref() } else { self.program.as_os_str() });
        command.arg(if step == Step::Search { "search" } else { "create" });
        command.args(["--yes", "--override-channels"]);
        if let Some(alias) = alias() {
            command.arg("--channel-alias").arg(alias);
        }
        // A file that is named is read in place of all others; --no-rc would leave out that one, too.
        match condarc() {
            Some(file) => command.arg("--rc-file").arg(if self.is_elsewhere() { "/sbox/condarc".into() } else { file }),
            None => command.arg("--no-rc"),
        };
        for channel in &self.channels {
            // What links is written into the environment's history, which agents read.
            let channel = if step.has_network() { channel.clone() } else { channel::shown(channel) };
            command.arg("--channel").arg(channel);
        }
        // The prefix must not exist yet, unless it is linked: this one is thrown away.
        let none = self.inside.home.join("none");
        match step {
            Step::Choose | Step::ChooseOffline => command.arg("--prefix").arg(none),
            Step::Fetch | Step::Repair => command.args(["--download-only", "--prefix"]).arg(none),
            Step::Link => command.args(["--always-copy", "--no-pyc", "--prefix"]).arg(self.prefix()),
            Step::Search => &mut *command,
        };
        match step {
            // What another program did to the cache is found, whether or not the size is the same, and repaired.
            Step::Fetch | Step::Repair => command.args(["--safety-checks", "enabled", "--extra-safety-checks"]),
            // That has just been done, and a script of ours stands where a package has its own.
            Step::Link => command.args(["--safety-checks", "disabled"]),
            _ => &mut *command,
        };
        command.args((step == Step::ChooseOffline).then_some("--offline"));
        command.args(args).args(specs);
    }

    /// A command of the environment itself, with nothing but it.
    pub fn in_environment(&self, words: &[OsString]) -> Result<Command> {
        spawn::in_prefix(&self.work.join("place"), &self.inside.place, words)
    }

    fn is_elsewhere(&self) -> bool {
        self.inside.root != self.root
    }

    fn sandbox(&self, step: Step, scripts: &[Script]) -> Result<Command> {
        let mut command = plumbing::program("sbox-spawn")?;
        command.args(["--network", if step.has_network() { "host" } else { "none" }]);
        let own = |command: &mut Command, dir: &Path, at: &Path| {
            command.arg("--bind-nofollow").args([dir, at]);
        };
        own(&mut command, &self.place(), &self.inside.place);
        own(&mut command, &self.work.join("home"), &self.inside.home);
        // Nor do scripts get what the next run would read.
        let root = if step == Step::Link { self.work.join("root") } else { self.root.clone() };
        if self.is_elsewhere() {
            own(&mut command, &root, &self.inside.root);
        } else {
            own(&mut command, &self.root, &self.root);
        }
        let pkgs = match step {
            // Scripts of packages run now: what others will build from, they may read. What micromamba itself writes goes
            // into a cache that is thrown away.
            Step::Link => {
                command.arg("--ro-bind").args([&self.cache.dir, &self.inside.pkgs]);
                for script in scripts {
                    command.arg("--ro-bind").args(script.mount());
                }
                let own_pkgs = self.inside.home.join("pkgs");
                fs::make_dirs(&self.work.join("home/pkgs"))?;
                format!("{},{}", own_pkgs.display(), self.inside.pkgs.display())
            }
            _ => {
                own(&mut command, &self.cache.dir, &self.inside.pkgs);
                self.inside.pkgs.display().to_string()
            }
        };
        if self.is_elsewhere() {
            command.arg("--ro-bind").arg(&self.program).arg("/sbox/bin/micromamba");
        } else {
            command.arg("--ro-bind").args([&self.program, &self.program]);
        }
        for dir in self.channels.iter().filter_map(|channel| channel.strip_prefix("file://")) {
            if !Path::new(dir).is_dir() {
                return Err(Error::new(format!("there is no directory '{}'", escape::visible(dir)))
                    .hint("check the address under 'channels'"));
            }
            command.arg("--ro-bind").args([dir, dir]);
        }
        if let (true, Some(file)) = (self.is_elsewhere(), condarc()) {
            command.arg("--ro-bind").arg(file).arg("/sbox/condarc");
        }
        let home = self.inside.home.to_string_lossy();
        for (name, value) in [
            ("HOME", &*home),
            ("TMPDIR", &*home),
            ("PATH", libsbox::model::SYSTEM_PATH),
            ("MAMBA_ROOT_PREFIX", &*self.inside.root.to_string_lossy()),
            ("CONDA_PKGS_DIRS", &pkgs),
            // Some versions before 2.8 try for a minute at full speed otherwise; 2.8 does what it likes.
            ("MAMBA_REMOTE_MAX_RETRIES", "2"),
        ] {
            command.args(["--setenv", name, value]);
        }
        if step == Step::Link {
            // It cannot lock a cache that is read-only, and says so in every run; nor is there need, in this step.
            command.args(["--setenv", "MAMBA_USE_LOCKFILES", "false"]);
        }
        if step.has_network() {
            self.network(&mut command)?;
        }
        command.arg("--");
        Ok(command)
    }

    /// Proxies, and the certificates that micromamba would not look for by itself.
    fn network(&self, command: &mut Command) -> Result<()> {
        for name in ["http_proxy", "https_proxy", "no_proxy"] {
            let upper = name.to_uppercase();
            // curl takes http_proxy in lower case only.
            let set =
                [name, &upper].into_iter().find_map(|name| std::env::var_os(name).filter(|value| !value.is_empty()));
            if let Some(value) = set {
                // By way of this program's environment: there may be a password in it.
                command.env(name, value).args(["--env", name]);
            }
        }
        let named = ["MAMBA_SSL_VERIFY", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"]
            .iter()
            .find_map(|name| std::env::var_os(name).filter(|value| Path::new(value).is_file()))
            .map(PathBuf::from);
        if let Some(bundle) = named.or_else(|| certificates::system_bundle().map(PathBuf::from)) {
            let bundle =
                std::fs::canonicalize(&bundle).context(|| format!("read '{}'", escape::visible_path(&bundle)))?;
            let inside = if self.is_elsewhere() { PathBuf::from("/sbox/certificates.pem") } else { bundle.clone() };
            command.arg("--ro-bind").args([&bundle, &inside]);
            command.args(["--setenv", "MAMBA_SSL_VERIFY"]).arg(inside);
        }
        Ok(())
    }
}

/// Where channels that have only a name are: a company's mirror.
fn alias() -> Option<OsString> {
    let names = ["SBOX_CHANNEL_ALIAS", "CONDA_CHANNEL_ALIAS", "MAMBA_CHANNEL_ALIAS"];
    names.iter().find_map(|name| std::env::var_os(name).filter(|value| !value.is_empty()))
}

/// The user's own settings for conda, only if they say that they are meant.
fn condarc() -> Option<OsString> {
    std::env::var_os("SBOX_CONDARC").filter(|value| Path::new(value).is_file())
}

/// micromamba's own directory: `.sbox/mamba` of the project, or one for the moment.
fn root(work: &Path) -> Result<PathBuf> {
    let Ok(project) = Project::find() else {
        fs::make_dirs(&work.join("mamba/pkgs"))?;
        return Ok(work.join("mamba"));
    };
    // What came with an archive may have a link in its place.
    Dir::open(&project.state())?.sub_or_make(Path::new("mamba/pkgs"))?;
    Ok(project.state().join("mamba"))
}

/// A directory of which the environment's path gets its length.
fn padded() -> PathBuf {
    let start = "/sbox/runtime-";
    let end = format!("/{NAME}");
    PathBuf::from(format!("{start}{}", "_".repeat(LENGTH - start.len() - end.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_has_its_length_and_fits_into_a_script() {
        let prefix = padded().join(NAME);
        assert_eq!(prefix.as_os_str().len(), LENGTH);
        assert!(format!("#!{}/bin/python3.12\n", prefix.display()).len() <= 127);
    }
}
