//! The command line of `sbox-spawn`: options in, plain values out. Nothing is touched here.

use lexopt::prelude::*;
use libsbox::cli::{self, Tool};
use libsbox::error::{Error, Result};
use libsbox::model::{Isolation, Limits};
pub use libsbox::model::{Level, NetworkMode as Mode};
use rustix::process::Pid;
use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub const TOOL: Tool = Tool { name: "sbox-spawn", usage: USAGE, runs_a_command: true };

const USAGE: &str = "\
usage: sbox-spawn [options] [--] COMMAND [ARGUMENT...]
Run COMMAND in a new root and new namespaces, without capabilities.

What the command sees, in this order:
      --root DIR          each entry of DIR appears on /, read-write
      --bind SRC DST      SRC appears at DST, read-write
      --ro-bind SRC DST   SRC appears at DST, read-only, submounts included
      --cow SRC DST LAYER  SRC appears at DST, copy-on-write: what is changed
                          goes to the directory LAYER (upper/, work/)
      --tmpfs DST         an empty directory in memory at DST
      --dev-bind SRC DST  a device node of the host, or a directory of them
      --unguarded DST     what is bound at DST is not used on the host: nothing
                          in it is protected from the command
      --symlink TARGET DST  a symbolic link at DST
      --file DST TEXT     a read-only file at DST with this text
      --hide PATH         PATH of the host is not visible in any bind above
      --bind-nofollow DIR DST  like --bind, after the rest, for a DIR that the
                          agent may write; DIR may not be a symbolic link
      --overlay SRC DST LAYER  like --cow, after the rest, for a SRC that
                          nobody changes and a LAYER that is this sandbox's own

How it runs:
      --chdir DIR         start in DIR
      --env NAME          pass NAME on from the environment of the caller
      --setenv NAME VALUE  set NAME (for secrets use --env or --env-fd)
      --env-fd N          read the whole environment from descriptor N:
                          NAME=VALUE, each followed by NUL
      --limit NAME=VALUE  memory=512M, cpus=2, pids=256, open_files=1024,
                          file_size=100M, tmp=1G, time=30m
      --stop-timeout SECONDS  pass SIGTERM on to every process inside, and kill
                          those that are left after SECONDS, or at a SIGALRM;
                          without this option only the command gets SIGTERM
      --hostname NAME     host name inside [sbox]
      --network MODE      host, none, or proxy: only what --allow names [host]
      --allow NAME[:PORT]  allow NAME, or every name below *.NAME, on PORT [80
                          and 443]
      --deny NAME[:PORT]  refuse this, although --allow names it
      --access-log FILE   append each request to the proxy to FILE, one JSON
                          object a line
      --refusal-log FILE  the same, but only of requests that were refused
      --secrets-fd N      with --network proxy: the socket of sbox-secrets(1),
                          which has the keys that the proxy exchanges
      --port [HOST:]PORT  forward port HOST [PORT] of the host's loopback to
                          PORT inside
      --reach [HOST:]PORT  forward port PORT of the loopback inside to port HOST
                          [PORT] of the host's loopback
      --isolation LEVEL   namespace, landlock, env, or auto: the strongest that
                          this host supports [auto]
      --learn FILE        append each path that the command looks up to FILE
      --any-name          let names through that --allow does not name, and
                          record all requests that are recorded
      --ask PROJECT       ask about them, see sbox-ask(1)
      --nested            let the command make user namespaces and mounts
      --ephemeral DIR     at the end remove DIR, the project of a one-off run,
                          unless changes wait in its copy-on-write mounts
      --record DIR        append what happens to the record in DIR
      --record-as KIND[:NAME]  which command this is, for the record
      --status-fd N       write events to descriptor N, one JSON object a line
      --join PID          run COMMAND in the sandbox of process PID, not in a
                          new one
      --refresh           with --join and without COMMAND: show what changed on
                          the host inside its copy-on-write mounts
  -n, --dry-run           print the operations that make the root, one JSON
                          object a line
      --probe             print what this host supports, as JSON
  -h, --help              print this text
  -V, --version           print the version
";

/// Something that appears in the new root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mount {
    Bind {
        src: PathBuf,
        dst: PathBuf,
        read_only: bool,
    },
    /// Changes go to `layer`, and `src` stays as it is.
    Cow {
        src: PathBuf,
        dst: PathBuf,
        layer: PathBuf,
    },
    Tmpfs {
        dst: PathBuf,
    },
}

impl Mount {
    /// Where it appears.
    pub fn dst(&self) -> &Path {
        match self {
            Mount::Bind { dst, .. } | Mount::Cow { dst, .. } | Mount::Tmpfs { dst } => dst,
        }
    }
}

#[derive(Debug, Clone, Default)]
pub struct Network {
    pub mode: Mode,
    pub allow: Vec<String>,
    pub deny: Vec<String>,
    /// Names that no rule has are let through.
    pub any_name: bool,
    /// They are asked about, for this project.
    pub ask: Option<PathBuf>,
    /// Which option of the proxy, and its file.
    pub log: Option<(&'static str, PathBuf)>,
    /// Where the proxy gets the values of secrets.
    pub secrets_fd: Option<RawFd>,
    /// On the host, inside.
    pub ports: Vec<(u16, u16)>,
    /// On the host, inside: what leads out.
    pub reach: Vec<(u16, u16)>,
}

impl Network {
    /// Whether the sandbox has a separate network.
    pub fn is_own(&self) -> bool {
        self.mode != Mode::Host
    }
}

impl Args {
    /// The real paths of what is bound read-write.
    pub fn writable_sources(&self) -> Vec<PathBuf> {
        let writable = |mount: &Mount| match mount {
            Mount::Bind { src, read_only: false, .. } => src.canonicalize().ok(),
            _ => None,
        };
        self.mounts.iter().filter_map(writable).collect()
    }

    /// Whether it takes an overlay, which only namespaces have.
    pub fn needs_overlay(&self) -> bool {
        self.overlays().next().is_some() || !self.own_overlays.is_empty()
    }

    /// The places that are mounted copy-on-write, with their sources and layers.
    pub fn overlays(&self) -> impl Iterator<Item = (&Path, &Path, &Path)> {
        self.mounts.iter().filter_map(|mount| match mount {
            Mount::Cow { src, dst, layer } => Some((&**src, &**dst, &**layer)),
            _ => None,
        })
    }
}

#[derive(Debug, Clone, Default)]
pub struct Args {
    pub root: Option<PathBuf>,
    pub mounts: Vec<Mount>,
    /// Devices of the host, and where they appear.
    pub devices: Vec<(PathBuf, PathBuf)>,
    /// Target, place.
    pub links: Vec<(PathBuf, PathBuf)>,
    /// Place, content.
    pub files: Vec<(PathBuf, String)>,
    /// Places that show such a file, too.
    pub shown: Vec<(PathBuf, PathBuf)>,
    pub hide: Vec<PathBuf>,
    pub bind_nofollow: Vec<(PathBuf, PathBuf)>,
    /// Source, place, layer: nobody changes the source and nobody shares the layer, so that nothing is watched or locked.
    pub own_overlays: Vec<(PathBuf, PathBuf, PathBuf)>,
    /// Where something is bound read-write that no program of the host acts on.
    pub unguarded: Vec<PathBuf>,
    pub chdir: Option<PathBuf>,
    pub pass: Vec<OsString>,
    pub set: Vec<(OsString, OsString)>,
    pub env_fd: Option<RawFd>,
    pub hostname: Option<OsString>,
    pub network: Network,
    pub limits: Limits,
    pub nested: bool,
    /// Where the paths go that the command looks up.
    pub learn: Option<PathBuf>,
    /// The project of a one-off run.
    pub ephemeral: Option<PathBuf>,
    /// Nothing: the strongest that there is.
    pub isolation: Option<Level>,
    /// The directory of the record.
    pub record: Option<PathBuf>,
    /// `run`, `daemon:web`: what the record says of who started this.
    pub record_as: String,
    pub status_fd: Option<RawFd>,
    /// How long what is inside may take to end.
    pub stop_timeout: Option<Duration>,
    /// A process of the sandbox to enter.
    pub join: Option<Pid>,
    /// Nothing but to let the overlays of the sandbox that is entered see the host's changes.
    pub refresh: bool,
    pub dry_run: bool,
    pub probe: bool,
    pub command: Vec<OsString>,
}

pub fn parse(parser: &mut lexopt::Parser) -> Result<Args> {
    let mut args = Args::default();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("root") => args.root = Some(parser.value()?.into()),
            Long("bind") => args.mounts.push(bind(parser, false)?),
            Long("ro-bind") => args.mounts.push(bind(parser, true)?),
            Long("cow") => args.mounts.push(cow(parser)?),
            Long("tmpfs") => args.mounts.push(Mount::Tmpfs { dst: mountable(parser.value()?)? }),
            Long("dev-bind") => args.devices.push((parser.value()?.into(), inside(parser.value()?)?)),
            Long("symlink") => args.links.push((parser.value()?.into(), inside(parser.value()?)?)),
            Long("file") => args.files.push((inside(parser.value()?)?, parser.value()?.string()?)),
            Long("hide") => args.hide.push(parser.value()?.into()),
            Long("unguarded") => args.unguarded.push(inside(parser.value()?)?),
            Long("bind-nofollow" | "own") => {
                args.bind_nofollow.push((parser.value()?.into(), inside(parser.value()?)?))
            }
            Long("overlay") => {
                let (src, dst, layer) = (parser.value()?, inside(parser.value()?)?, parser.value()?);
                args.own_overlays.push((src.into(), dst, layer.into()));
            }
            Long("chdir") if args.chdir.is_some() => return Err(Error::usage("--chdir was given twice")),
            Long("chdir") => args.chdir = Some(inside(parser.value()?)?),
            Long("env") => args.pass.push(parser.value()?),
            Long("setenv") => args.set.push((variable(parser.value()?)?, parser.value()?)),
            Long("env-fd") => args.env_fd = Some(descriptor(parser)?),
            Long("hostname") => args.hostname = Some(parser.value()?),
            Long("network") => args.network.mode = parser.value()?.string()?.parse()?,
            Long("allow") => args.network.allow.push(rule(parser.value()?)?),
            Long("deny") => args.network.deny.push(rule(parser.value()?)?),
            Long("access-log") => args.network.log = Some(("--access-log", parser.value()?.into())),
            Long("refusal-log") => args.network.log = Some(("--refusal-log", parser.value()?.into())),
            Long("secrets-fd") => args.network.secrets_fd = Some(descriptor(parser)?),
            Long("port") => args.network.ports.push(port(&parser.value()?.string()?)?),
            Long("reach") => args.network.reach.push(port(&parser.value()?.string()?)?),
            Long("isolation") => args.isolation = parser.value()?.string()?.parse::<Isolation>()?.named(),
            Long("limit") => limit(&mut args.limits, &parser.value()?.string()?)?,
            Long("ephemeral") => args.ephemeral = Some(parser.value()?.into()),
            Long("learn") => args.learn = Some(parser.value()?.into()),
            Long("any-name") => args.network.any_name = true,
            Long("ask") => args.network.ask = Some(parser.value()?.into()),
            Long("nested") => args.nested = true,
            Long("stop-timeout") => args.stop_timeout = Some(Duration::from_secs(parser.value()?.parse()?)),
            Long("join") => args.join = Some(pid(parser)?),
            Long("refresh") => args.refresh = true,
            Long("record") => args.record = Some(parser.value()?.into()),
            Long("record-as") => args.record_as = parser.value()?.string()?,
            Long("status-fd") => args.status_fd = Some(descriptor(parser)?),
            Short('n') | Long("dry-run") => args.dry_run = true,
            Long("probe") => args.probe = true,
            Value(command) => {
                // The first word that is not an option begins the command; all that follows belongs to it.
                args.command.push(command);
                args.command.extend(parser.raw_args()?);
            }
            other => return Err(cli::common(other)),
        }
    }
    let network = &args.network;
    if network.mode != Mode::Proxy && network.secrets_fd.is_some() {
        return Err(Error::usage("--secrets-fd belongs to --network proxy"));
    }
    if network.mode != Mode::Proxy
        && !(network.allow.is_empty()
            && network.deny.is_empty()
            && network.log.is_none()
            && !network.any_name
            && network.ask.is_none())
    {
        return Err(Error::usage(
            "--allow, --deny, --any-name, --ask, --access-log and --refusal-log belong to --network proxy",
        ));
    }
    if network.mode == Mode::Host && !network.ports.is_empty() {
        return Err(Error::usage("--port leads into a network of the sandbox's own")
            .hint("with --network host its servers are on the host's loopback already"));
    }
    if network.mode == Mode::Host && !network.reach.is_empty() {
        return Err(Error::usage("--reach leads out of a network of the sandbox's own")
            .hint("with --network host the host's loopback is there already"));
    }
    let is_made = args.root.is_some()
        || args.needs_overlay()
        || !(args.mounts.is_empty() && args.bind_nofollow.is_empty() && args.hide.is_empty());
    if args.join.is_some() && (is_made || args.isolation > Some(Level::Namespace)) {
        return Err(Error::usage("--join cannot be combined with options that build a root"));
    }
    if args.refresh && (args.join.is_none() || !args.command.is_empty()) {
        return Err(Error::usage("--refresh belongs to --join PID, and takes no command"));
    }
    if args.command.is_empty() && !args.refresh && !args.probe && !args.dry_run {
        return Err(Error::usage("missing command"));
    }
    Ok(args)
}

fn bind(parser: &mut lexopt::Parser, read_only: bool) -> Result<Mount> {
    let (src, dst) = (parser.value()?, parser.value()?);
    Ok(Mount::Bind { src: src.into(), dst: mountable(dst)?, read_only })
}

fn cow(parser: &mut lexopt::Parser) -> Result<Mount> {
    let (src, dst, layer) = (parser.value()?, parser.value()?, parser.value()?);
    Ok(Mount::Cow { src: src.into(), dst: mountable(dst)?, layer: layer.into() })
}

/// The name of a variable.
fn variable(name: OsString) -> Result<OsString> {
    let shown = libsbox::escape::visible(&name.to_string_lossy());
    match name.is_empty() || name.as_encoded_bytes().contains(&b'=') {
        true => {
            Err(Error::usage(format!("'{shown}' is not the name of a variable")).hint("--setenv NAME VALUE: two words"))
        }
        false => Ok(name),
    }
}

/// A place where something of the caller's can appear: not one that the sandbox fills itself.
fn mountable(path: OsString) -> Result<PathBuf> {
    let path = inside(path)?;
    let shown = libsbox::escape::visible_path(&path);
    match libsbox::model::reserved(&path) {
        Some(directory) => {
            Err(Error::usage(format!("nothing can be mounted at '{shown}': the sandbox makes '{directory}' itself")))
        }
        None if path.parent().is_none() => {
            Err(Error::usage("nothing can be mounted at '/': the sandbox makes it itself"))
        }
        None => Ok(path),
    }
}

/// A path in the sandbox: absolute, and without `..`, so that it means the same with and without symbolic links.
fn inside(path: OsString) -> Result<PathBuf> {
    let path = PathBuf::from(path);
    let plain = path.is_absolute() && !path.components().any(|part| part == std::path::Component::ParentDir);
    let shown = libsbox::escape::visible_path(&path);
    if plain { Ok(path) } else { Err(Error::usage(format!("'{shown}' must be an absolute path without '..'"))) }
}

fn pid(parser: &mut lexopt::Parser) -> Result<Pid> {
    let number: i32 = parser.value()?.parse()?;
    Pid::from_raw(number).filter(|_| number > 0).ok_or_else(|| Error::usage(format!("{number} is not a process")))
}

fn descriptor(parser: &mut lexopt::Parser) -> Result<RawFd> {
    let number: RawFd = parser.value()?.parse()?;
    if number > 2 { Ok(number) } else { Err(Error::usage(format!("descriptor {number} is not above 2"))) }
}

/// Looked at here, so that a wrong one is an error before anything is started.
fn rule(text: OsString) -> Result<String> {
    let text = text.string()?;
    libsbox::model::HostRule::parse(&text).map_err(Error::usage)?;
    Ok(text)
}

/// `8080` or `9000:8080`: on the host, inside.
fn port(text: &str) -> Result<(u16, u16)> {
    libsbox::model::ports(text).ok_or_else(|| {
        Error::usage(format!("'{}' is not a port", libsbox::escape::visible(text))).hint("--port 8080, or 9000:8080")
    })
}

fn limit(limits: &mut Limits, text: &str) -> Result<()> {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    limits.set(name, value).map_err(Error::usage)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<Args> {
        parse(&mut lexopt::Parser::from_args(words))
    }

    #[test]
    fn the_commands_own_flags_are_left_alone() {
        let args = parsed(&["--network", "none", "python", "-c", "print(1)", "--env", "X"]).unwrap();
        assert_eq!(args.command, ["python", "-c", "print(1)", "--env", "X"]);
        assert!(args.network.is_own() && args.pass.is_empty());
    }

    #[test]
    fn mounts_keep_their_order() {
        let args = parsed(&["--bind", "/a", "/x", "--tmpfs", "/x/y", "--ro-bind", "/b", "/z", "true"]).unwrap();
        assert!(matches!(&args.mounts[1], Mount::Tmpfs { dst } if dst.as_os_str() == "/x/y"));
        assert!(matches!(&args.mounts[2], Mount::Bind { read_only: true, .. }));
    }

    #[test]
    fn places_inside_are_absolute_and_plain() {
        assert!(parsed(&["--bind", "/a", "x", "true"]).is_err());
        assert!(parsed(&["--bind", "/a", "/x/../../y", "true"]).is_err());
    }

    #[test]
    fn a_level_is_weaker_than_the_one_before() {
        assert!(Level::Namespace < Level::Landlock && Level::Landlock < Level::Env);
        assert_eq!(parsed(&["--isolation", "landlock", "true"]).unwrap().isolation, Some(Level::Landlock));
        assert!(parsed(&["--isolation", "none", "true"]).is_err());
    }

    #[test]
    fn standard_descriptors_stay_the_commands() {
        assert!(parsed(&["--status-fd", "1", "true"]).is_err());
    }
}
