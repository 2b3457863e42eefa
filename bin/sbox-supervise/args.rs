//! The command line of `sbox-supervise`.

use lexopt::prelude::*;
use libsbox::cli;
use libsbox::config::{DaemonConfig, Overrides};
use libsbox::error::{Error, Result};
use libsbox::model::RestartPolicy;
use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::time::Duration;

pub const USAGE: &str = "\
usage: sbox-supervise --project ROOT --name NAME [options] -- sbox-spawn ARG...
Run a daemon: run the sbox-spawn command line, write its output to the project's
log NAME, keep the record NAME in processes.json, and start it again as POLICY
says. Print one JSON object once the command has started.

      --project ROOT       the project
      --name NAME          name of the daemon in the project
      --workdir DIR        where it starts inside, for its log [/]
      --env-fd N           keep this descriptor open for each start
      --secrets-fd N       keep this descriptor open for each start, too
      --isolation LEVEL    auto, namespace, landlock or env: what
                           'sbox restart' uses
      --options JSON       the other options of 'sbox run -d', likewise
      --restart POLICY     no, on-failure or always [no]
      --max-restarts N     give up after N in a row, each within 10 seconds [10]
      --stop-timeout SECONDS  how long the daemon has to end at SIGTERM [10]
      --log-size BYTES     begin a new log file at this size [10 MiB]
      --log-keep N         keep N old log files [3]
  -h, --help               print this text
  -V, --version            print the version
";

#[derive(Debug)]
pub struct Args {
    pub project: PathBuf,
    pub name: String,
    pub isolation: Option<String>,
    /// The other options of `sbox run -d`.
    pub options: Overrides,
    /// Where it starts inside.
    pub workdir: String,
    /// The descriptor that the environment comes through, which is read at each start.
    pub environment: Option<RawFd>,
    /// The descriptor where the values of secrets are asked for, at each start.
    pub secrets: Option<RawFd>,
    pub restart: RestartPolicy,
    pub max_restarts: u32,
    pub stop_timeout: Duration,
    pub log_size: u64,
    pub log_keep: u32,
    /// `sbox-spawn` and its arguments.
    pub command: Vec<OsString>,
}

impl Args {
    /// What is run inside: the words after `--` of `sbox-spawn`.
    pub fn words(&self) -> Vec<String> {
        let after = self.command.iter().skip_while(|word| *word != "--").skip(1);
        after.map(|word| word.to_string_lossy().into_owned()).collect()
    }

    /// The same as a person wrote it.
    pub fn shown(&self) -> String {
        match &self.words()[..] {
            [shell, option, line] if shell == "/bin/sh" && option == "-c" => line.clone(),
            words => words.iter().map(|word| libsbox::escape::shell_word(word)).collect::<Vec<_>>().join(" "),
        }
    }
}

pub fn parse(parser: &mut lexopt::Parser) -> Result<Args> {
    let DaemonConfig { mut restart, mut max_restarts, mut stop_timeout, mut log_size, mut log_keep, .. } =
        DaemonConfig::default();
    let (mut project, mut name, mut isolation) = (None, None, None);
    let (mut workdir, mut environment, mut secrets) = ("/".to_owned(), None, None);
    let mut options = Overrides::default();
    let mut command = Vec::new();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("project") => project = Some(PathBuf::from(parser.value()?)),
            Long("name") => name = Some(parser.value()?.string()?),
            Long("isolation") => isolation = Some(parser.value()?.string()?),
            Long("options") => {
                let text = parser.value()?.string()?;
                options = serde_json::from_str(&text).map_err(|error| Error::usage(format!("--options: {error}")))?;
            }
            Long("workdir") => workdir = parser.value()?.string()?,
            Long("env-fd") => environment = Some(parser.value()?.parse::<RawFd>()?).filter(|fd| *fd > 2),
            Long("secrets-fd") => secrets = Some(parser.value()?.parse::<RawFd>()?).filter(|fd| *fd > 2),
            Long("restart") => restart = parser.value()?.string()?.parse()?,
            Long("max-restarts") => max_restarts = parser.value()?.parse()?,
            Long("stop-timeout") => stop_timeout = parser.value()?.parse()?,
            Long("log-size") => log_size = parser.value()?.parse()?,
            Long("log-keep") => log_keep = parser.value()?.parse()?,
            Value(word) => {
                command.push(word);
                command.extend(parser.raw_args()?);
            }
            other => return Err(cli::common(other)),
        }
    }
    let project = project.ok_or_else(|| Error::usage("missing option '--project'"))?;
    let name = name.ok_or_else(|| Error::usage("missing option '--name'"))?;
    libsbox::daemon::name::check(&name)?;
    let stop_timeout = Duration::from_secs(stop_timeout);
    let args = Args {
        project,
        name,
        isolation,
        options,
        workdir,
        environment,
        secrets,
        restart,
        max_restarts,
        stop_timeout,
        log_size,
        log_keep,
        command,
    };
    let is_spawn = args.command.first().is_some_and(|first| first.to_string_lossy().ends_with("sbox-spawn"));
    if !is_spawn || args.words().is_empty() {
        return Err(Error::usage("missing command").hint("-- sbox-spawn [options] -- COMMAND"));
    }
    Ok(args)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_run_is_told_from_how() {
        let line = "--project /p --name web --workdir /app --env-fd 7 -- /x/sbox-spawn -- /bin/sh -c node\u{a0}a.js";
        let args = parse(&mut lexopt::Parser::from_args(line.split(' '))).unwrap();
        assert_eq!((args.shown().as_str(), args.workdir.as_str()), ("node\u{a0}a.js", "/app"));
        assert_eq!(args.environment, Some(7));
        let none = ["--project", "/p", "--name", "web", "--", "/bin/true"];
        assert!(parse(&mut lexopt::Parser::from_args(none)).is_err());
    }

    #[test]
    fn policies_want_what_they_say() {
        assert!(!RestartPolicy::No.wants(1) && RestartPolicy::OnFailure.wants(1) && !RestartPolicy::OnFailure.wants(0));
        assert!(RestartPolicy::Always.wants(0));
    }
}
