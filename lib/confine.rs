//! The command line of `sbox-spawn` for a project: the one place that says what a project's sandbox is made of.

use crate::built::Built;
use crate::config::{Config, Network};
use crate::error::{Context, Error, Result};
use crate::plumbing;
use crate::project::Project;
use rustix::fd::{AsRawFd, OwnedFd};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// How a project's sandbox is started.
#[derive(Debug)]
pub struct Confine<'a> {
    /// The project.
    pub project: &'a Project,
    /// Its configuration.
    pub config: &'a Config,
    /// The directory that appears as `.sbox/env`: another one while a new environment is being built.
    pub env: PathBuf,
    /// The directory that appears as the root, and as `.sbox/rootfs`.
    pub rootfs: PathBuf,
    /// The isolation level, if not the configuration's.
    pub isolation: Option<String>,
    /// Seconds that everything inside has to end at SIGTERM; without it the command alone gets the signal.
    pub stop_timeout: Option<u64>,
    /// What the variables of the configuration are expanded from, if not this process's environment.
    pub host: Option<Vec<(OsString, OsString)>>,
}

/// A command that is ready to be started, and the environment it will read.
#[derive(Debug)]
pub struct Prepared {
    /// `sbox-spawn` with all its arguments.
    pub command: Command,
    _environment: OwnedFd,
    _use: crate::fs::Lock,
}

impl<'a> Confine<'a> {
    /// The sandbox of a project as it was built.
    pub fn new(project: &'a Project, config: &'a Config) -> Confine<'a> {
        let (env, rootfs) = (project.env(), project.rootfs());
        Confine { project, config, env, rootfs, isolation: None, stop_timeout: None, host: None }
    }

    /// A command that runs `words` in `directory` of the sandbox.
    pub fn command(&self, directory: &str, words: &[OsString]) -> Result<Prepared> {
        let inside = Built::seen_from_inside(self.project);
        let isolation = match (&self.isolation, inside == *self.project) {
            (Some(level), _) => level,
            // Nothing weaker could show it at another place.
            (None, false) if self.config.isolation == "auto" => "namespace",
            _ => &self.config.isolation,
        };
        // Held until the sandbox has ended: the launcher inherits it.
        let in_use = self.project.hold()?;
        let environment = self.environment(isolation)?;
        let mut command = plumbing::program("sbox-spawn")?;
        self.close_to_others();
        command.arg("--root").arg(&self.rootfs);
        command.arg("--hide").arg(self.project.state());
        for mount in &self.config.mount {
            command.arg(if mount.read_only { "--ro-bind" } else { "--bind" }).args([&mount.src, &mount.dst]);
        }
        command.arg("--own").args([&self.rootfs, &inside.rootfs()]);
        command.arg("--own").args([&self.env, &inside.env()]);
        command.args(["--isolation", isolation, "--chdir", directory]);
        self.network(&mut command)?;
        command.args(self.config.limits.written().iter().flat_map(|limit| ["--limit", limit]));
        if let Some(seconds) = self.stop_timeout {
            command.arg("--stop-timeout").arg(seconds.to_string());
        }
        if self.config.nested {
            command.arg("--nested");
        }
        command.arg("--env-fd").arg(environment.as_raw_fd().to_string());
        command.arg("--").args(words);
        Ok(Prepared { command, _environment: environment, _use: in_use })
    }

    /// A command that runs `words` in `directory` of a sandbox of this project that stands: the one that process `pid` is in.
    pub fn joining(&self, pid: i32, directory: &str, words: &[OsString]) -> Result<Prepared> {
        let environment = self.environment("namespace")?;
        let mut command = plumbing::program("sbox-spawn")?;
        let in_use = self.project.hold()?;
        command.arg("--join").arg(pid.to_string()).args([
            "--chdir",
            directory,
            "--network",
            self.config.network.mode(),
        ]);
        let limits = self.config.limits.written();
        // Those of the whole sandbox are kept in it already.
        let each = limits.iter().filter(|limit| !limit.starts_with("tmp=") && !limit.starts_with("time="));
        command.args(each.flat_map(|limit| ["--limit", limit]));
        if self.config.nested {
            command.arg("--nested");
        }
        command.arg("--env-fd").arg(environment.as_raw_fd().to_string());
        command.arg("--").args(words);
        Ok(Prepared { command, _environment: environment, _use: in_use })
    }

    /// What an agent leaves in its own directories is for nobody else on this host to start: a set-uid program there would
    /// run as the user. If the directory is somebody else's, so is what happens in it.
    fn close_to_others(&self) {
        use std::os::unix::fs::PermissionsExt;
        let state = self.project.state();
        if std::fs::symlink_metadata(&state)
            .is_ok_and(|state| state.is_dir() && state.permissions().mode() & 0o077 != 0)
        {
            let _ = std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o700));
        }
    }

    fn network(&self, command: &mut Command) -> Result<()> {
        command.args(["--network", self.config.network.mode()]);
        if let Network::Allow { allow, deny, log } = &self.config.network {
            command.args(allow.iter().flat_map(|rule| ["--allow", rule]));
            command.args(deny.iter().flat_map(|rule| ["--deny", rule]));
            if *log {
                self.project.open_logs()?;
                command.arg("--access-log").arg(self.project.network_log());
            }
        }
        for (host, inside) in &self.config.ports {
            command.arg("--port").arg(format!("{host}:{inside}"));
        }
        Ok(())
    }

    /// The environment in a file without a name, which the started program inherits: it may hold secrets, and those
    /// never travel in arguments.
    fn environment(&self, isolation: &str) -> Result<OwnedFd> {
        let mut envsh = plumbing::program("sbox-envsh")?;
        envsh.args(["--format", "null", "--isolation", isolation]).current_dir(self.project.root());
        if let Some(host) = &self.host {
            envsh.env_clear().envs(host.iter().map(|(name, value)| (name, value)));
        }
        if !std::io::IsTerminal::is_terminal(&std::io::stderr()) {
            // A program's stderr may be somebody's data: words of ours go to terminals only.
            envsh.arg("--quiet");
        }
        let bytes = plumbing::output(&mut envsh)?;
        memory_file(&bytes).context(|| "pass the environment on".into())
    }
}

fn memory_file(bytes: &[u8]) -> std::io::Result<OwnedFd> {
    use std::io::{Seek, Write};
    let mut file = std::fs::File::from(rustix::fs::memfd_create("environment", rustix::fs::MemfdFlags::empty())?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file.into())
}

/// The system's bundle of certificate authorities: Debian and Alpine, Fedora, openSUSE. Programs that bring a bundle of
/// their own (pip, Node.js) have to be told of it, or a company's own authority is unknown to them.
pub fn system_certificates() -> Option<&'static str> {
    const BUNDLES: [&str; 3] =
        ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem"];
    BUNDLES.into_iter().find(|path| Path::new(path).is_file())
}

/// A command that runs `words` of an environment with nothing but it: no project, no network, no variable of the user's.
/// `dir` appears as `prefix`, which is where the environment believes to be.
pub fn in_prefix(dir: &Path, prefix: &Path, words: &[OsString]) -> Result<Command> {
    let mut command = plumbing::program("sbox-spawn")?;
    command.arg("--own").args([dir, prefix]).args(["--network", "none", "--setenv", "PATH"]);
    let mut path = prefix.join("bin").into_os_string();
    path.push(":/usr/local/bin:/usr/bin:/bin");
    command.arg(path).arg("--").args(words);
    Ok(command)
}

/// What this host gives at an isolation level, from the program that would use it.
pub fn probe(isolation: &str) -> serde_json::Value {
    let output = plumbing::program("sbox-spawn").ok().and_then(|mut command| {
        command.args(["--isolation", isolation, "--probe"]).stderr(Stdio::null()).output().ok()
    });
    let said = output.and_then(|output| serde_json::from_slice(&output.stdout).ok());
    said.unwrap_or_else(|| serde_json::json!({"level": "none"}))
}

/// Becomes a command in the sandbox of the project that the current directory is in; returns only if that failed.
/// `words` says which, once the configuration is known.
pub fn become_command(
    isolation: Option<String>,
    words: impl FnOnce(&Project, &Config) -> Result<Vec<OsString>>,
) -> Result<u8> {
    let project = Project::find()?;
    let config = Config::load(&project)?;
    let words = words(&project, &config)?;
    crate::trust::require(&project, &config)?;
    require_built(&project, &config)?;
    let mut confine = Confine::new(&project, &config);
    confine.isolation = isolation;
    Err(plumbing::exec(&mut confine.command(&config.workdir, &words)?.command))
}

/// Refuses to go on with a project that was not built, or not here.
pub fn require_built(project: &Project, config: &Config) -> Result<()> {
    let lock = Built::read(project).filter(|lock| lock.is_whole());
    let (true, Some(lock)) = (project.env().is_dir() && project.rootfs().is_dir(), lock) else {
        return Err(Error::new(format!("project '{}' is not built", project.name())).hint("sbox build"));
    };
    if !lock.is_here(project) {
        let message = format!("project '{}' was built at '{}' and has moved", project.name(), lock.prefix);
        return Err(Error::new(message).hint("sbox build makes it work here; if it came in an archive: sbox unpack"));
    }
    if lock.config_hash != config.hash && std::io::IsTerminal::is_terminal(&std::io::stderr()) {
        crate::output::warn("the configuration changed after the last build");
        crate::output::hint("sbox build");
    }
    Ok(())
}
