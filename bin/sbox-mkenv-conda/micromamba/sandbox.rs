//! The sandbox that micromamba runs in: what it sees there, and where.

use super::{Micromamba, Step};
use crate::script::Script;
use libsbox::certificates;
use libsbox::dir::Dir;
use libsbox::error::{Context, Error, Result};
use libsbox::escape;
use libsbox::fs;
use libsbox::model::{Isolation, NetworkMode, SYSTEM_PATH};
use libsbox::plumbing::spawn::{self, Spawn};
use libsbox::project::Project;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where things are for micromamba.
pub struct Inside {
    /// The directory that the prefix is made in.
    pub place: PathBuf,
    pub pkgs: PathBuf,
    root: PathBuf,
    pub home: PathBuf,
    /// Whether that is elsewhere than on the host: the same for everybody.
    pub is_elsewhere: bool,
}

impl Inside {
    /// Chooses the same places for everybody, if a sandbox of this host can show things elsewhere than they are.
    pub fn choose(work: &Path, pkgs: &Path, root: &Path) -> Inside {
        match spawn::probe(Isolation::Auto).level == "namespace" {
            true => Inside {
                place: padded(),
                pkgs: "/sbox/pkgs".into(),
                root: "/sbox/mamba".into(),
                home: "/sbox/home".into(),
                is_elsewhere: true,
            },
            false => Inside {
                place: work.join("place"),
                pkgs: pkgs.to_owned(),
                root: root.to_owned(),
                home: work.join("home"),
                is_elsewhere: false,
            },
        }
    }
}

/// The name of the environment in its place.
pub const NAME: &str = "env";

/// Length of the prefix that is written into files. Above about 100 bytes micromamba gives up the `#!` lines of scripts
/// (the kernel's limit was 127 before 5.1); below, what a script compiled into a file has no room to grow. Files that
/// packages bring have room for 255 bytes in any case: `conda-meta` keeps their placeholder.
const LENGTH: usize = 100;

impl Micromamba {
    /// A command of the environment itself, with nothing but it.
    pub fn in_environment(&self, words: &[OsString]) -> Result<Command> {
        spawn::in_prefix(&self.place(), &self.inside.place, words)
    }

    /// The program as the sandbox has it.
    pub(super) fn program_inside(&self) -> PathBuf {
        self.shown_at(&self.program, "/sbox/bin/micromamba")
    }

    /// The user's own settings for conda, only if they say that they are meant: on the host, and inside.
    pub(super) fn condarc(&self) -> Option<(PathBuf, PathBuf)> {
        let file = std::env::var_os("SBOX_CONDARC").map(PathBuf::from).filter(|file| file.is_file())?;
        let inside = self.shown_at(&file, "/sbox/condarc");
        Some((file, inside))
    }

    fn shown_at(&self, path: &Path, place: &str) -> PathBuf {
        if self.inside.is_elsewhere { place.into() } else { path.to_owned() }
    }

    /// A command that runs `words` with what a step needs.
    pub(super) fn sandbox(&self, step: Step, scripts: &[Script], words: &[OsString]) -> Result<Command> {
        let network = if step.has_network() { NetworkMode::Host } else { NetworkMode::None };
        let mut spawn = Spawn::new()?
            .network_mode(network)
            .bind_nofollow(&self.place(), &self.inside.place)
            .bind_nofollow(&self.work.join("home"), &self.inside.home);
        // Nor do scripts get what the next run would read.
        let is_thrown_away = step == Step::Link && self.inside.is_elsewhere;
        let root = if is_thrown_away { &self.work.join("root") } else { &self.root };
        spawn = spawn.bind_nofollow(root, &self.inside.root);
        // `sbox cache clean` may have moved it away since.
        fs::make_dirs(&self.cache.dir)?;
        let mut pkgs = self.inside.pkgs.as_os_str().to_owned();
        if step == Step::Link {
            // Scripts of packages run now: what others will build from, they may read. What micromamba itself writes goes
            // into a cache that is thrown away.
            spawn = spawn.bind(&self.cache.dir, &self.inside.pkgs, true);
            for script in scripts {
                spawn = spawn.bind(&script.starter, &script.cached, true);
            }
            fs::make_dirs(&self.work.join("home/pkgs"))?;
            pkgs = self.inside.home.join("pkgs").into();
            pkgs.push(",");
            pkgs.push(&self.inside.pkgs);
        } else {
            spawn = spawn.bind_nofollow(&self.cache.dir, &self.inside.pkgs);
        }
        spawn = spawn.bind(&self.program, &self.program_inside(), true);
        for dir in self.channels.iter().filter_map(|channel| channel.strip_prefix("file://").map(Path::new)) {
            if !dir.is_dir() {
                return Err(Error::new(format!("there is no directory '{}'", escape::visible_path(dir)))
                    .hint("check the address under 'channels'"));
            }
            spawn = spawn.bind(dir, dir, true);
        }
        if let Some((file, inside)) = self.condarc().filter(|_| self.inside.is_elsewhere) {
            spawn = spawn.bind(&file, &inside, true);
        }
        let home = self.inside.home.as_os_str();
        spawn = spawn
            .setenv("HOME", home)
            .setenv("TMPDIR", home)
            .setenv("PATH", SYSTEM_PATH.as_ref())
            .setenv("MAMBA_ROOT_PREFIX", self.inside.root.as_os_str())
            .setenv("CONDA_PKGS_DIRS", &pkgs)
            // Some versions before 2.8 try for a minute at full speed otherwise; 2.8 does what it likes.
            .setenv("MAMBA_REMOTE_MAX_RETRIES", "2".as_ref());
        if step == Step::Link {
            // It cannot lock a cache that is read-only, and says so in every run; nor is there need, in this step.
            spawn = spawn.setenv("MAMBA_USE_LOCKFILES", "false".as_ref());
        }
        let proxies = if step.has_network() { proxies() } else { Vec::new() };
        for (name, _) in &proxies {
            spawn = spawn.env(name);
        }
        if let (true, Some(bundle)) = (step.has_network(), authorities()?) {
            let inside = self.shown_at(&bundle, "/sbox/certificates.pem");
            spawn = spawn.bind(&bundle, &inside, true).setenv("MAMBA_SSL_VERIFY", inside.as_os_str());
        }
        let mut command = spawn.command(words);
        // By way of this program's environment: there may be a password in it.
        command.envs(proxies);
        Ok(command)
    }
}

/// The proxies of the user's. curl takes http_proxy in lower case only.
fn proxies() -> Vec<(&'static str, OsString)> {
    let value = |name: &'static str| {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        Some((name, set(name).or_else(|| set(&name.to_uppercase()))?))
    };
    ["http_proxy", "https_proxy", "no_proxy"].into_iter().filter_map(value).collect()
}

/// The certificates that micromamba would not look for by itself.
fn authorities() -> Result<Option<PathBuf>> {
    let named = ["MAMBA_SSL_VERIFY", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"]
        .iter()
        .find_map(|name| std::env::var_os(name).filter(|value| Path::new(value).is_file()))
        .map(PathBuf::from);
    let bundle = named.or_else(|| certificates::system_bundle().map(PathBuf::from));
    let real = |bundle: PathBuf| {
        std::fs::canonicalize(&bundle).context(|| format!("read '{}'", escape::visible_path(&bundle)))
    };
    bundle.map(real).transpose()
}

/// micromamba's own directory: `.sbox/mamba` of the project, or one for the moment.
pub fn root(work: &Path) -> Result<PathBuf> {
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
