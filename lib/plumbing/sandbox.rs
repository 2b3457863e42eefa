//! What a project's sandbox is made of.

use super::cached_env::CachedEnv;
use super::exec;
use super::in_home;
use super::secrets::{self, Secrets};
use super::spawn::{Spawn, can_overlay};
use crate::built::{self, Built};
use crate::config::{Config, MountEntry, Overrides};
use crate::cow;
use crate::environment::{self, Host, Unset};
use crate::error::{Context, Result};
use crate::git_identity::{self, Identity};
use crate::model::{Isolation, Level, Network};
use crate::name_rules::NameRules;
use crate::operation::Op;
use crate::policy;
use crate::project::Project;
use rustix::fd::{AsFd, OwnedFd};
use std::ffi::OsString;
use std::io::{IsTerminal, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

/// How a project's sandbox is started.
#[derive(Debug)]
pub struct ProjectSandbox<'a> {
    /// The project.
    pub project: &'a Project,
    /// Its configuration.
    pub config: &'a Config,
    /// The directory that appears as `.sbox/env`: another one while a new environment is being built.
    pub env: PathBuf,
    /// The directory that appears as the root, and as `.sbox/rootfs`.
    pub rootfs: PathBuf,
    /// The directory that appears as the agent's home, if not the one in `rootfs`.
    pub home: Option<PathBuf>,
    /// The isolation level, if not the configuration's.
    pub isolation: Option<Isolation>,
    /// Seconds that everything inside has to end at SIGTERM; without it the command alone gets the signal.
    pub stop_timeout: Option<u64>,
    /// The file that gets each path which the command looks up.
    pub learn: Option<PathBuf>,
    /// Whether names are let through that no rule has.
    pub any_name: bool,
    /// Whether a person is asked about them.
    pub asks: bool,
    /// Whether the project is removed at the end, unless changes wait in it.
    pub is_last: bool,
    /// What appears in the place of `env`, if it is one of the cache.
    pub cached_env: Option<&'a CachedEnv>,
    /// The name of the daemon that it is, for the record.
    pub daemon: Option<&'a str>,
    /// What the variables of the configuration are expanded from, if not this process's environment.
    pub host: Option<Vec<(OsString, OsString)>>,
}

/// A command that is ready to be started, and what it inherits.
#[derive(Debug)]
pub struct Prepared {
    /// `sbox-spawn` with all its arguments.
    pub command: Command,
    pub(super) environment: OwnedFd,
    pub(super) secrets: Option<Secrets>,
    /// Variables of this process that what it becomes does not get.
    withheld: Vec<String>,
    _in_use: crate::fs::Lock,
    _layers: Vec<cow::Use>,
}

impl Prepared {
    /// Takes variables that have the value of a secret out of the environment of what starts the sandbox.
    pub fn withhold(&self, command: &mut Command) {
        for name in &self.withheld {
            command.env_remove(name);
        }
    }
}

fn withhold(config: &Config, command: &mut Command) -> Vec<String> {
    let names: Vec<String> = secrets::variables(config).map(str::to_owned).collect();
    for name in &names {
        command.env_remove(name);
    }
    names
}

impl<'a> ProjectSandbox<'a> {
    /// The sandbox of a project as it was built.
    pub fn new(project: &'a Project, config: &'a Config) -> ProjectSandbox<'a> {
        let (env, rootfs) = (project.env(), project.rootfs());
        ProjectSandbox {
            project,
            config,
            env,
            rootfs,
            home: None,
            isolation: None,
            stop_timeout: None,
            learn: None,
            any_name: false,
            asks: false,
            is_last: false,
            cached_env: None,
            daemon: None,
            host: None,
        }
    }

    /// The project as programs inside see it.
    fn inside(&self) -> Result<Project> {
        let inside = Built::seen_from_inside(self.project);
        self.cached_env.map_or(Ok(inside.clone()), |cached| inside.with_env_at(cached.prefix()))
    }

    /// A command that runs `words` in `directory` of the sandbox.
    pub fn command(&self, directory: &str, words: &[OsString]) -> Result<Prepared> {
        let inside = self.inside()?;
        let isolation = match self.isolation {
            Some(isolation) => isolation,
            // Nothing weaker could show the project at the path that is written in its files.
            None if self.config.isolation == Isolation::Auto && inside != *self.project => Isolation::Namespace,
            None => self.config.isolation,
        };
        // Held until the sandbox has ended: sbox-spawn inherits it.
        let in_use = self.project.lock_shared()?;
        let secrets = secrets::start(self.project, self.config, &self.host())?;
        let placeholders = secrets.as_ref().map(|secrets| secrets.placeholders.clone()).unwrap_or_default();
        let environment = self.environment(isolation, placeholders)?;
        self.project.close_to_others();
        let rules = self.name_rules()?;
        let mut layers = Vec::new();
        let mut spawn = self.mounts(&inside, &rules, |spawn, mount| {
            let can = |src: &Path, dst: &Path, layer: &Path| can_overlay(isolation, src, dst, layer);
            let begun = cow::begin(self.project, (&self.config.mount, mount), isolation, &can)?;
            let spawn = begun.iter().fold(spawn, |spawn, used| spawn.layer(&used.layer));
            layers.extend(begun);
            Ok(spawn)
        })?;
        spawn = spawn
            .isolation(isolation)
            .chdir(directory)
            .network(&self.config.network, &rules, &self.project.network_log(), self.any_name)
            .ports(&self.config.ports)
            .reach(&self.config.reach)
            .limits(&self.config.limits);
        if let Some(seconds) = self.stop_timeout {
            spawn = spawn.stop_timeout(seconds);
        }
        if let Some(file) = &self.learn {
            spawn = spawn.learn(file);
        }
        if self.any_name {
            spawn = spawn.any_name();
        }
        if self.asks {
            spawn = spawn.ask(self.project.root());
        }
        if self.is_last {
            spawn = spawn.ephemeral(self.project.root());
        }
        spawn = self.record(spawn);
        if let Some(secrets) = &secrets {
            spawn = spawn.secrets_fd(&secrets.control);
        }
        let mut command = spawn.nested(self.config.nested).env_fd(&environment).command(words);
        let withheld = withhold(self.config, &mut command);
        if let Some(secrets) = &secrets {
            // Not before: whoever has it can ask for the values, and git and others were started in the meantime. Next is
            // sbox-spawn, or a supervisor that starts it.
            super::inherit(secrets.control.as_fd())?;
        }
        Ok(Prepared { command, environment, secrets, withheld, _in_use: in_use, _layers: layers })
    }

    /// What of the host and of the project is there, in the order of the options. `copy_on_write` adds such a mount.
    fn mounts(
        &self,
        inside: &Project,
        rules: &NameRules,
        mut copy_on_write: impl FnMut(Spawn, &MountEntry) -> Result<Spawn>,
    ) -> Result<Spawn> {
        let mut spawn = Spawn::new()?.root(&self.rootfs).hide(&self.project.state());
        for mount in &self.config.mount {
            if mount.is_copy_on_write() {
                spawn = copy_on_write(spawn, mount)?;
                continue;
            }
            let place = in_home::place(self.project, self.config, mount);
            spawn = spawn.bind(&mount.src, place.as_ref().unwrap_or(&mount.dst), mount.is_read_only());
            if let Some(target) = place.and_then(|place| in_home::link(inside, self.config, mount, &place)) {
                spawn = spawn.symlink(&target, &mount.dst);
            }
        }
        spawn = spawn.file(Path::new(policy::PLACE), &policy::text(self.project, self.config, rules));
        if let Some(identity) = self.git_identity() {
            // By name, too: a git that was not made by the distribution looks in another place.
            const PLACE: &str = "/etc/gitconfig";
            spawn = spawn.file(Path::new(PLACE), &identity.config()).setenv("GIT_CONFIG_SYSTEM", PLACE.as_ref());
        }
        for device in &self.config.devices {
            for node in device.nodes()? {
                spawn = spawn.device(&node);
            }
        }
        spawn = spawn.bind_nofollow(&self.rootfs, &inside.rootfs());
        if let Some(home) = &self.home {
            spawn = spawn.bind_nofollow(home, &inside.home());
        }
        Ok(match self.cached_env {
            Some(cached) => spawn.overlay(&cached.env(), cached.prefix(), &self.project.env_layer()),
            None => spawn.bind_nofollow(&self.env, &inside.env()),
        })
    }

    /// The operations that make the root of this sandbox: what `sbox-spawn` would do, from itself. Nothing is made, and no
    /// layer begins; a copy-on-write mount that no run has used yet is a read-only bind in it.
    pub fn plan(&self) -> Result<Vec<Op>> {
        let inside = Built::seen_from_inside(self.project);
        let _in_use = self.project.lock_shared()?;
        let rules = NameRules::of(self.project, self.config, &self.host());
        let spawn = self.mounts(&inside, &rules, |spawn, mount| {
            let planned = cow::planned(self.project, (&self.config.mount, mount))?;
            Ok(planned.iter().fold(spawn, |spawn, (src, dst, layer)| match layer {
                Some(layer) => spawn.layer(layer),
                None => spawn.bind(src, dst, true),
            }))
        })?;
        let environment = self.environment(self.config.isolation, secrets::placeholders(self.project, self.config))?;
        spawn.limits(&self.config.limits).nested(self.config.nested).env_fd(&environment).plan()
    }

    /// The variables of its commands.
    pub fn variables(&self) -> Result<environment::Variables> {
        let inside = Built::seen_from_inside(self.project);
        let level = self.config.isolation.named().unwrap_or(Level::Namespace).name();
        Ok(environment::of_sandbox(&inside, self.config, level, &self.host())?.0)
    }

    /// A command that runs `words` in `directory` of the running sandbox that contains process `pid`.
    pub fn joining(&self, pid: i32, directory: &str, words: &[OsString]) -> Result<Prepared> {
        let placeholders = secrets::placeholders(self.project, self.config);
        let environment = self.environment(Isolation::Namespace, placeholders)?;
        let in_use = self.project.lock_shared()?;
        let mut spawn = Spawn::new()?.join(pid);
        // Somebody who only looks is not in the record.
        if let Some(name) = self.daemon {
            spawn = spawn.record(&self.project.logs(), &format!("exec:{name}"));
        }
        let mut command = spawn
            .chdir(directory)
            .network_mode(self.config.network.mode())
            .limits(&self.config.limits.of_each_process())
            .nested(self.config.nested)
            .env_fd(&environment)
            .command(words);
        let withheld = withhold(self.config, &mut command);
        Ok(Prepared { command, environment, secrets: None, withheld, _in_use: in_use, _layers: Vec::new() })
    }

    /// Where it is written down what happens: a one-off run's project, with all its logs, is gone afterwards.
    fn record(&self, spawn: Spawn) -> Spawn {
        let program = std::env::args_os().next().unwrap_or_default();
        let program = Path::new(&program).file_name().unwrap_or_default().to_string_lossy();
        let verb = program.strip_prefix("sbox-").unwrap_or(&program);
        let who = self.daemon.map_or_else(|| verb.to_owned(), |name| format!("daemon:{name}"));
        match (self.is_last, crate::record::of_one_offs()) {
            (true, None) => spawn,
            (true, Some(place)) => {
                // It must be there to be hidden, where the home is mounted.
                let _ = crate::fs::make_dirs(&place);
                spawn.hide(&place).record(&place, &who)
            }
            (false, _) => spawn.record(&self.project.logs(), &who),
        }
    }

    /// What the network's names come to.
    fn name_rules(&self) -> Result<NameRules> {
        if !matches!(self.config.network, Network::Allow { .. }) {
            return Ok(NameRules::default());
        }
        self.project.open_logs()?;
        let rules = NameRules::of(self.project, self.config, &self.host());
        if std::io::stderr().is_terminal() {
            rules.unusable.iter().for_each(crate::output::warn);
        }
        Ok(rules)
    }

    fn host(&self) -> Host {
        match &self.host {
            Some(kept) => Host::of(kept.iter().cloned()),
            None => Host::own(),
        }
    }

    /// Who commits, where there is something to commit to.
    fn git_identity(&self) -> Option<Identity> {
        let tree = self.config.mount.iter().find(|mount| git_identity::is_working_tree(&mount.src))?;
        crate::trust::may_have_identity(self.project, self.config).then(|| Identity::of(&tree.src))?
    }

    /// The environment in a file without a name, for sbox-spawn to inherit.
    fn environment(&self, isolation: Isolation, placeholders: Vec<(String, String)>) -> Result<OwnedFd> {
        // `auto` is the strongest level until sbox-spawn knows better.
        let level = isolation.named().unwrap_or(Level::Namespace).name();
        let host = self.host();
        let inside = self.inside()?;
        let (mut variables, unset) = environment::of_sandbox(&inside, self.config, level, &host)?;
        environment::add_placeholders(&mut variables, self.config, placeholders);
        // A program's stderr may be somebody's data: our messages go to terminals only.
        if std::io::stderr().is_terminal() {
            unset.iter().for_each(Unset::warn);
        }
        memory_file(&environment::null_terminated(&variables)).context(|| "pass the environment on".into())
    }
}

fn memory_file(bytes: &[u8]) -> std::io::Result<OwnedFd> {
    let mut file = std::fs::File::from(rustix::fs::memfd_create("environment", rustix::fs::MemfdFlags::empty())?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file.into())
}

/// Becomes a command in the sandbox of the project that the current directory is in; returns only if that failed.
/// `words` says which, once the configuration is known.
pub fn become_command(
    overrides: &Overrides,
    words: impl FnOnce(&Project, &Config) -> Result<Vec<OsString>>,
) -> Result<u8> {
    let project = Project::find()?;
    let config = crate::check::load_with(&project, overrides)?;
    let words = words(&project, &config)?;
    crate::trust::require_with(&project, &config, overrides)?;
    built::require(&project, &config)?;
    let mut sandbox = ProjectSandbox::new(&project, &config);
    sandbox.asks = overrides.asks_about(&config)?;
    Err(exec(&mut sandbox.command(&config.workdir, &words)?.command))
}

/// The same in the sandbox of a one-off run that is kept.
pub fn become_kept_command(project: &Project, overrides: &Overrides, words: &[OsString]) -> Result<u8> {
    let config = crate::check::load_with(project, overrides)?;
    let mut sandbox = ProjectSandbox::new(project, &config);
    sandbox.asks = overrides.asks_about(&config)?;
    Err(exec(&mut sandbox.command(&config.workdir, words)?.command))
}

/// The same in the sandbox of a one-off run, which is removed afterwards, unless changes wait in it. `cached_env` is its
/// environment, if none was made for it.
pub fn become_last_command(
    project: &Project,
    (config, asks): (&Config, bool),
    cached_env: Option<&CachedEnv>,
    words: &[OsString],
) -> Result<u8> {
    let mut sandbox = ProjectSandbox::new(project, config);
    sandbox.is_last = true;
    sandbox.asks = asks;
    sandbox.cached_env = cached_env;
    Err(exec(&mut sandbox.command(&config.workdir, words)?.command))
}
