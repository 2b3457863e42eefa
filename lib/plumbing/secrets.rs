//! `sbox-secrets`: the keys that a sandbox's agent uses and never holds.

use super::program;
use crate::config::Config;
use crate::environment::Host;
use crate::error::{Context, Error, Result};
use crate::escape::{visible, visible_path};
use crate::model::secret::{Kept, LONGEST_PLACEHOLDER, SHORTEST_PLACEHOLDER, Secret, Source, Wanted};
use crate::project::Project;
use crate::{fs, output};
use rustix::fd::OwnedFd;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::IsTerminal;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

/// What a sandbox has of its secrets.
#[derive(Debug)]
pub struct Secrets {
    /// The variables of the agent, and what they hold.
    pub placeholders: Vec<(String, String)>,
    /// Where `sbox-spawn` asks for the values. They are held until everybody has closed it.
    pub control: OwnedFd,
}

/// Placeholders by variable. They stay the same from run to run: an agent may have kept one, as a login.
type Placeholders = BTreeMap<String, String>;

fn record(project: &Project) -> PathBuf {
    project.state().join("placeholders.json")
}

/// A lock on the state itself, which the programs that are started in the meantime do not inherit: one of them stays.
fn alone(project: &Project) -> Result<File> {
    let shown = || format!("lock '{}'", visible_path(project.state()));
    let lock = File::open(project.state()).context(shown)?;
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).context(shown)?;
    Ok(lock)
}

/// A project may come from elsewhere, with this file in it: what is not a placeholder is passed over, and so is one that two
/// secrets would share.
fn recorded(project: &Project) -> Placeholders {
    let text = fs::read_plain(&record(project)).unwrap_or_default();
    let all: Placeholders = serde_json::from_slice(&text).unwrap_or_default();
    let is_one = |text: &str| {
        (SHORTEST_PLACEHOLDER..=LONGEST_PLACEHOLDER).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    let is_own = |text: &str| all.values().filter(|other| other.contains(text) || text.contains(*other)).count() == 1;
    all.iter()
        .filter(|(_, text)| is_one(text) && is_own(text))
        .map(|(name, text)| (name.clone(), text.clone()))
        .collect()
}

/// The placeholders of a sandbox that is there already.
pub fn placeholders(project: &Project, config: &Config) -> Vec<(String, String)> {
    let mut all = if config.secrets.is_empty() { Placeholders::new() } else { recorded(project) };
    config.secrets.iter().filter_map(|secret| all.remove_entry(&secret.name)).collect()
}

/// The variables of the host that nothing but `sbox-secrets` gets.
pub fn variables(config: &Config) -> impl Iterator<Item = &str> {
    config.secrets.iter().filter_map(|secret| match &secret.from {
        Source::Env(name) => Some(name.as_str()),
        _ => None,
    })
}

/// Fails if a variable that a secret needs is not set here. No daemon keeps one, so that it has to be there again.
pub fn require_variables(config: &Config) -> Result<()> {
    let host = Host::own();
    let needed = config.secrets.iter().filter(|secret| !secret.optional);
    let missing = needed.into_iter().find_map(|secret| match &secret.from {
        Source::Env(name) if host.text(name).is_none() => Some((secret, name)),
        _ => None,
    });
    match missing {
        Some((secret, name)) => {
            Err(Error::new(format!("'{name}' is not set here, and secret '{}' is its value", secret.name))
                .hint(format!("export {name}=...: a secret is kept in no place that could be read again")))
        }
        None => Ok(()),
    }
}

/// Gets the values, and has them held; nothing if there are none. `host`: where variables come from that this process lacks.
pub fn start(project: &Project, config: &Config, host: &Host) -> Result<Option<Secrets>> {
    if config.secrets.is_empty() {
        return Ok(None);
    }
    // Until it is written what each has: of two first runs at one moment, the second has the placeholders of the first.
    let _lock = alone(project)?;
    let before = recorded(project);
    let own = Host::own();
    let writable = crate::config::writable_by_agents(&config.mount, project);
    let mut wanted = Vec::new();
    for secret in &config.secrets {
        let value = match &secret.from {
            Source::Env(name) => match own.text(name).or_else(|| host.text(name)) {
                Some(value) => Some(value),
                None => {
                    tell_unset(secret, name);
                    continue;
                }
            },
            _ => None,
        };
        let mut line = want(secret, before.get(&secret.name), value);
        line.writable.clone_from(&writable);
        wanted.push((secret, line));
    }
    if wanted.is_empty() {
        return Ok(None);
    }
    let (control, kept) = hold(&wanted)?;
    let mut placeholders = Vec::new();
    for ((secret, _), kept) in wanted.iter().zip(kept) {
        match (kept.placeholder, kept.why) {
            (Some(placeholder), _) => placeholders.push((secret.name.clone(), placeholder)),
            (None, _) if secret.optional => {}
            (None, why) => {
                let why = visible(&why.unwrap_or_default());
                return Err(Error::new(format!("cannot get secret '{}': {why}", secret.name))
                    .hint("'optional: true' lets it run without this secret"));
            }
        }
    }
    let mut all = before.clone();
    all.extend(placeholders.iter().cloned());
    if all != before {
        let text = serde_json::to_vec_pretty(&all).map_err(|error| Error::new(error.to_string()))?;
        fs::write_atomic(&record(project), &text, 0o600)?;
    }
    Ok((!placeholders.is_empty()).then_some(Secrets { placeholders, control }))
}

fn tell_unset(secret: &Secret, name: &str) {
    // A program's stderr may be somebody's data: our messages go to terminals only.
    if !secret.optional && std::io::stderr().is_terminal() {
        output::warn(format_args!("'{name}' is not set on the host; secret '{}' is left out", secret.name));
        output::hint(format_args!("export {name}=..., or write 'optional: true'"));
    }
}

fn want(secret: &Secret, placeholder: Option<&String>, value: Option<String>) -> Wanted {
    let (mut file, mut command, mut expires) = (None, None, None);
    match &secret.from {
        Source::Env(_) => {}
        Source::File(path) => file = Some(path.clone()),
        Source::Command(line, lasts) => (command, expires) = (Some(line.clone()), *lasts),
    }
    Wanted {
        name: secret.name.clone(),
        hosts: secret.hosts.iter().map(ToString::to_string).collect(),
        places: secret.places,
        placeholder: placeholder.cloned(),
        value,
        file,
        writable: Vec::new(),
        command,
        expires,
    }
}

/// Starts the program that holds them; it is in the background when this returns.
fn hold(wanted: &[(&Secret, Wanted)]) -> Result<(OwnedFd, Vec<Kept>)> {
    let shown = || String::from("hold the secrets");
    let (control, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).context(shown)?;
    rustix::io::fcntl_setfd(&theirs, rustix::io::FdFlags::empty()).context(shown)?;
    let mut command = program("sbox-secrets")?;
    command.arg("--control").arg(theirs.as_raw_fd().to_string());
    let mut input = Vec::new();
    for (secret, wanted) in wanted {
        if let Source::Env(name) = &secret.from {
            // Nor do commands that get another secret have this one.
            command.env_remove(name);
        }
        input.extend(serde_json::to_vec(wanted).map_err(|error| Error::new(error.to_string()))?);
        input.push(b'\n');
    }
    let answer = super::output_of(&mut command, &input)?;
    let lines = answer.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let kept = lines.map(|line| serde_json::from_slice(line).map_err(|error| Error::new(error.to_string())));
    Ok((control, kept.collect::<Result<_>>()?))
}
