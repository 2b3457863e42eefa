//! Running micromamba: confined, with a home, a root prefix and certificates of our choice, and nothing else.

use crate::channel;
use libsbox::certificates;
use libsbox::dir::Dir;
use libsbox::error::{Context, Error, Result};
use libsbox::escape;
use libsbox::fs;
use libsbox::lockfile::Package;
use libsbox::output;
use libsbox::plumbing;
use libsbox::plumbing::spawn;
use libsbox::project::Project;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// What micromamba does in one run, and what that needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Choose packages: network, the package cache for the channels' indexes.
    Choose,
    /// The same with what was fetched before.
    ChooseOffline,
    /// Fetch and unpack packages: the same.
    Fetch,
    /// Put them into the prefix and run their scripts: no network, the package cache read-only.
    Link,
    /// List what there is of a package.
    Search,
}

/// What micromamba said when it failed.
#[derive(Debug)]
pub struct Said(pub String);

impl Said {
    fn has(&self, signs: &[&str]) -> bool {
        let text = self.0.to_lowercase();
        signs.iter().any(|sign| text.contains(sign))
    }

    /// Whether a server could not be reached, or broke off.
    pub fn is_cut_off(&self) -> bool {
        self.has(&[
            "could not resolve",
            "couldn't resolve",
            "connect to server",
            "failed to connect",
            "timeout was reached",
            "download error",
            "failure when receiving",
            "status: 4",
            "status: 5",
            "offline",
            "transfer finalized",
        ])
    }

    /// Whether another try may do better: not when a name or a certificate is wrong, nor when there is no such file.
    fn is_passing(&self) -> bool {
        self.is_cut_off()
            && !self.has(&[
                "could not resolve",
                "couldn't resolve",
                "certificate",
                "connect to server",
                "failed to connect",
                "status: 4",
                "offline",
            ])
    }

    /// Whether something in the package cache is not what it should be.
    pub fn is_damage(&self) -> bool {
        self.has(&[
            "invalid package cache",
            "extracted directory cache",
            "incorrect download",
            "sum doesn't match",
            "not valid",
            "error when extracting",
            "could not extract",
            "unexpected end",
            "corrupt",
            "truncated",
        ])
    }

    pub fn is_full(&self) -> bool {
        self.has(&["no space left", "disk quota exceeded"])
    }

    pub fn is_certificate(&self) -> bool {
        self.has(&["certificate"])
    }
}

impl From<Error> for Said {
    fn from(error: Error) -> Said {
        Said(error.to_string())
    }
}

/// Everything that the runs have in common.
pub struct Micromamba {
    program: PathBuf,
    channels: Vec<String>,
    /// Where things are on the host.
    pkgs: PathBuf,
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
        let (program, pkgs, work) = (program.to_owned(), pkgs.to_owned(), work.to_owned());
        Ok(Micromamba { program, channels, pkgs, work, root, inside })
    }

    /// The prefix that is written in the files.
    pub fn prefix(&self) -> PathBuf {
        self.inside.place.join(NAME)
    }

    /// Where it is on the host until it is delivered.
    pub fn env(&self) -> PathBuf {
        self.work.join("place").join(NAME)
    }

    pub fn deliver(&self, prefix: &Path) -> Result<()> {
        std::fs::rename(self.env(), prefix)
            .context(|| format!("move the environment to '{}'", escape::visible_path(prefix)))
    }

    /// Forgets an environment that was begun.
    pub fn start_anew(&self) -> Result<()> {
        fs::remove_tree(&self.env())
    }

    /// Writes the list of packages for micromamba; gives its path there. The MD5 is what all its versions check by; a
    /// SHA-256 is compared by us.
    pub fn explicit(&self, packages: &[Package]) -> Result<PathBuf> {
        let mut text = String::from("@EXPLICIT\n");
        for package in packages {
            let hash = if package.md5.is_empty() { &package.hash } else { &package.md5 };
            text.push_str(&format!("{}#{hash}\n", package.url));
        }
        fs::write_atomic(&self.work.join("home/packages.txt"), text.as_bytes(), 0o600)?;
        Ok(self.inside.home.join("packages.txt"))
    }

    /// The same as [`Micromamba::run`], again after a pause if the network failed.
    pub fn patiently(&self, step: Step, args: &[&str], specs: &[String]) -> Result<Vec<u8>, Said> {
        let tries = if crate::is_hasty() { 1 } else { 3 };
        for attempt in 1.. {
            match self.run(step, args, specs) {
                Err(said) if said.is_passing() && attempt < tries => {
                    output::info(format_args!("the channel broke off; trying again in {attempt} s"));
                    std::thread::sleep(Duration::from_secs(attempt));
                }
                result => return result,
            }
        }
        Err(Said(String::new()))
    }

    /// One run; what it wrote on stdout, or all that it said when it failed.
    pub fn run(&self, step: Step, args: &[&str], specs: &[String]) -> Result<Vec<u8>, Said> {
        let mut command = self.sandbox(step)?;
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
        command.args(self.channels.iter().flat_map(|channel| ["--channel", channel]));
        match step {
            // The prefix must not exist yet: this one never will.
            Step::Choose | Step::ChooseOffline => command.arg("--prefix").arg(self.inside.home.join("none")),
            Step::Fetch => command.args(["--download-only", "--prefix"]).arg(self.inside.home.join("none")),
            Step::Link => command.args(["--always-copy", "--no-pyc", "--prefix"]).arg(self.prefix()),
            Step::Search => &mut command,
        };
        if matches!(step, Step::Fetch | Step::Link) {
            // What another program did to the cache is found, whether or not the size is the same.
            command.args(["--safety-checks", "enabled", "--extra-safety-checks"]);
        }
        command.args((step == Step::ChooseOffline).then_some("--offline"));
        command.args(args).args(specs);
        plumbing::trace(&command);
        let output = plumbing::tie(&mut command).stdin(Stdio::null()).output();
        let output = output.context(|| "start 'sbox-spawn'".into())?;
        match output.status.success() {
            true => Ok(output.stdout),
            // With --json some versions put their errors on stdout.
            false => Err(Said(
                [output.stderr, output.stdout].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat(),
            )),
        }
    }

    /// A command of the environment itself, with nothing but it.
    pub fn in_environment(&self, words: &[OsString]) -> Result<Command> {
        spawn::in_prefix(&self.work.join("place"), &self.inside.place, words)
    }

    fn is_elsewhere(&self) -> bool {
        self.inside.root != self.root
    }

    fn sandbox(&self, step: Step) -> Result<Command> {
        let mut command = plumbing::program("sbox-spawn")?;
        let has_network = matches!(step, Step::Choose | Step::Fetch | Step::Search);
        command.args(["--network", if has_network { "host" } else { "none" }]);
        let own = |command: &mut Command, dir: &Path, at: &Path| {
            command.arg("--own").args([dir, at]);
        };
        own(&mut command, &self.work.join("place"), &self.inside.place);
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
                command.arg("--ro-bind").args([&self.pkgs, &self.inside.pkgs]);
                let own_pkgs = self.inside.home.join("pkgs");
                fs::make_dirs(&self.work.join("home/pkgs"))?;
                format!("{},{}", own_pkgs.display(), self.inside.pkgs.display())
            }
            _ => {
                own(&mut command, &self.pkgs, &self.inside.pkgs);
                self.inside.pkgs.display().to_string()
            }
        };
        if self.is_elsewhere() {
            command.arg("--ro-bind").arg(&self.program).arg("/sbox/bin/micromamba");
        } else {
            command.arg("--ro-bind").args([&self.program, &self.program]);
        }
        for dir in self.channels.iter().filter_map(|channel| channel.strip_prefix("file://")) {
            command.arg("--ro-bind").args([dir, dir]);
        }
        if let (true, Some(file)) = (self.is_elsewhere(), condarc()) {
            command.arg("--ro-bind").arg(file).arg("/sbox/condarc");
        }
        let home = self.inside.home.to_string_lossy();
        for (name, value) in [
            ("HOME", &*home),
            ("TMPDIR", &*home),
            ("PATH", "/usr/local/bin:/usr/bin:/bin"),
            ("MAMBA_ROOT_PREFIX", &*self.inside.root.to_string_lossy()),
            ("CONDA_PKGS_DIRS", &pkgs),
            // Its own loop spins for a minute at full speed when a server is down; ours waits between tries.
            ("MAMBA_REMOTE_MAX_RETRIES", "0"),
            ("MAMBA_REMOTE_CONNECT_TIMEOUT_SECS", if crate::is_hasty() { "3" } else { "10" }),
        ] {
            command.args(["--setenv", name, value]);
        }
        if has_network {
            self.network(&mut command)?;
        }
        command.arg("--");
        Ok(command)
    }

    /// Proxies, and the certificates that micromamba would not look for by itself.
    fn network(&self, command: &mut Command) -> Result<()> {
        for name in ["http_proxy", "https_proxy", "no_proxy"] {
            let upper = name.to_uppercase();
            // curl takes http_proxy in small letters only.
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

    #[test]
    fn failures_are_told_apart() {
        let cut = Said("Download error (28) Timeout was reached [https://x]".into());
        assert!(cut.is_cut_off() && cut.is_passing() && !cut.is_damage());
        let name = Said("Download error (6) Could not resolve hostname [https://x]".into());
        assert!(name.is_cut_off() && !name.is_passing());
        assert!(Said("File not valid: SHA256 sum doesn't match expectation".into()).is_damage());
        assert!(Said("Cannot find a valid extracted directory cache for x".into()).is_damage());
    }
}
