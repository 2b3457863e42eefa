//! `sbox-supervise`: a daemon of a project.

use super::sandbox::Prepared;
use super::{program, value};
use crate::config::{DaemonConfig, Overrides};
use crate::error::{Error, Result};
use crate::model::Isolation;
use crate::project::Project;
use std::os::fd::AsRawFd;
use std::process::Command;

/// The name of the program, by which living supervisors are known.
pub const NAME: &str = "sbox-supervise";

/// The daemon that a supervisor with this command line has.
pub fn name(words: &[String]) -> Option<&str> {
    value(words, "--name")
}

/// Whether this is the command line of the supervisor of a daemon, of a project if one is named.
pub fn is_of(words: &[String], project: Option<&str>, daemon: &str) -> bool {
    let program = words.first().and_then(|first| first.rsplit('/').next());
    let is_its = |project| value(words, "--project") == Some(project);
    program == Some(NAME) && name(words) == Some(daemon) && project.is_none_or(is_its)
}

/// A daemon, and the sandbox that it runs in.
#[derive(Debug)]
pub struct Supervise<'a> {
    /// Its project.
    pub project: &'a Project,
    /// Its name.
    pub name: &'a str,
    /// The level that was named.
    pub isolation: Option<Isolation>,
    /// What else was said in the place of the configuration.
    pub options: &'a Overrides,
    /// When it is started again, how it ends, how much of its log is kept.
    pub daemon: &'a DaemonConfig,
    /// Where it starts inside.
    pub workdir: &'a str,
    /// What is run at each start.
    pub sandbox: &'a Prepared,
}

impl Supervise<'_> {
    /// The command line. It is of use as long as the sandbox's files are open.
    ///
    /// # Errors
    /// If the program is not there.
    pub fn command(&self) -> Result<Command> {
        let (daemon, spawn) = (self.daemon, &self.sandbox.command);
        let mut command = program(NAME)?;
        command.arg("--project").arg(self.project.root()).args(["--name", self.name, "--workdir", self.workdir]);
        command.args(["--env-fd", &self.sandbox.environment.as_raw_fd().to_string()]);
        if let Some(secrets) = &self.sandbox.secrets {
            command.args(["--secrets-fd", &secrets.control.as_raw_fd().to_string()]);
        }
        command.args(self.isolation.iter().flat_map(|isolation| ["--isolation", isolation.name()]));
        if !self.options.is_empty() {
            let text = serde_json::to_string(self.options).map_err(|error| Error::new(error.to_string()))?;
            command.args(["--options", &text]);
        }
        command.args(["--restart", daemon.restart.name(), "--max-restarts", &daemon.max_restarts.to_string()]);
        command.args(["--stop-timeout", &daemon.stop_timeout.to_string()]);
        command.args(["--log-size", &daemon.log_size.to_string(), "--log-keep", &daemon.log_keep.to_string()]);
        command.arg("--").arg(spawn.get_program()).args(spawn.get_args());
        Ok(command)
    }
}
