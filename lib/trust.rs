//! Whether a configuration may have what it asks for.
//!
//! A configuration that came with an archive is somebody else's, and it can ask for `~/.ssh` or a key as well as for
//! anything. Such a project gets nothing of the user's until `sbox trust` has accepted exactly what it asks for; what is
//! asked for later has to be accepted again. What the user made here is theirs, and nothing is asked.
//!
//! A project came from elsewhere if the record of a packed sandbox lies beside it (`metadata.json`), or if it was built
//! and not by this user in this very directory. What is known is kept in `~/.sbox/trust`, which no sandbox sees.

use crate::config::{Config, MountEntry, Piece, pieces};
use crate::error::{Context, Error, Result};
use crate::escape::{visible, visible_path};
use crate::fs;
use crate::model::{Isolation, MountMode};
use crate::project::Project;
use rustix::fs::{AtFlags, CWD, StatxFlags};
use std::path::PathBuf;

/// What a configuration asks for beyond its own project, in words; in the order of the file.
pub fn requests(project: &Project, config: &Config) -> Vec<String> {
    let outside = |entry: &&MountEntry| !entry.src.starts_with(project.root());
    let mut all = Vec::new();
    for entry in config.copy.iter().filter(outside) {
        all.push(format!("a copy of '{}'", visible_path(&entry.src)));
    }
    for entry in config.mount.iter().filter(outside) {
        let access = match entry.mode {
            MountMode::ReadOnly => "read-only",
            MountMode::ReadWrite => "read-write",
            MountMode::CopyOnWrite => "copy-on-write",
        };
        all.push(format!("'{}' of this host, {access}", visible_path(&entry.src)));
    }
    for (name, value) in &config.env {
        for piece in pieces(value) {
            if let Piece::Variable { name: wanted, .. } = piece {
                all.push(format!("your variable '{}', as '{}'", visible(&wanted), visible(name)));
            }
        }
    }
    if !matches!(config.isolation, Isolation::Auto | Isolation::Namespace) {
        all.push(format!("isolation level '{}'", config.isolation));
    }
    for channel in config.channels.iter().filter(|channel| channel.contains("://")) {
        all.push(format!("packages from '{}'", visible(channel)));
    }
    if let Some(url) = &config.mamba.url {
        all.push(format!("a micromamba from '{}'", visible(url)));
    }
    // It would write packages into the cache that all projects of the user share.
    if !is_own(project)
        && let Some(program) = placed_micromamba(project)
    {
        all.push(program);
    }
    if config.nested {
        all.push("namespaces of the agent's own".into());
    }
    all
}

/// A micromamba in the project itself, by its content.
fn placed_micromamba(project: &Project) -> Option<String> {
    let path = crate::cache::placed_micromamba(project)?;
    let metadata = std::fs::metadata(&path).ok()?;
    let sum = match metadata.is_file() {
        true => fs::sha256_of(&mut std::fs::File::open(&path).ok()?).ok()?,
        false => "no file".into(),
    };
    Some(format!("its own micromamba ({})", sum.get(..16).unwrap_or(&sum)))
}

/// Refuses a project from elsewhere that asks for something which nobody accepted.
pub fn require(project: &Project, config: &Config) -> Result<()> {
    let requests = requests(project, config);
    if requests.is_empty() || is_own(project) || is_accepted(project, &requests) {
        return Ok(());
    }
    let message =
        format!("project '{}' came from elsewhere and asks for {}", visible(&project.name()), requests.join("; "));
    Err(Error::new(message).hint("look at .sbox/config.yaml; 'sbox trust' accepts exactly this"))
}

/// Whether the user made this project here.
pub fn is_own(project: &Project) -> bool {
    let known = || identity(project).and_then(|identity| mark(&identity)).is_some_and(|mark| mark.is_file());
    let built =
        || [project.env(), project.rootfs(), project.lock()].iter().any(|path| std::fs::symlink_metadata(path).is_ok());
    !was_packed(project) && (known() || !built())
}

/// Whether the record of a packed sandbox lies beside the project.
pub fn was_packed(project: &Project) -> bool {
    let path = project.root().join("metadata.json");
    match std::fs::symlink_metadata(&path) {
        // Enough of it to find our name; whatever else lies there under that name is looked at as if it were one.
        Ok(metadata) if metadata.is_file() && metadata.len() < 16 << 20 => {
            std::fs::read(&path).is_ok_and(|bytes| memchr::memmem::find(&bytes, b"sbox").is_some())
        }
        Ok(_) => true,
        Err(_) => false,
    }
}

/// Whether somebody accepted what is asked for.
pub fn is_accepted(project: &Project, requests: &[String]) -> bool {
    mark(&content(project, requests)).is_some_and(|mark| mark.is_file())
}

/// Remembers that the user made this project here.
pub fn remember(project: &Project) -> Result<()> {
    match identity(project) {
        Some(identity) => put(&identity, &project.root().to_string_lossy()),
        None => Ok(()),
    }
}

/// Accepts what is asked for.
pub fn accept(project: &Project, requests: &[String]) -> Result<()> {
    put(&content(project, requests), &requests.join("\n"))
}

/// Takes it back.
pub fn revoke(project: &Project, requests: &[String]) -> Result<()> {
    for what in [Some(content(project, requests)), identity(project)].into_iter().flatten() {
        if let Some(mark) = mark(&what)
            && mark.exists()
        {
            std::fs::remove_file(&mark).context(|| format!("remove '{}'", visible_path(&mark)))?;
        }
    }
    Ok(())
}

fn content(project: &Project, requests: &[String]) -> String {
    format!("accepted\0{}\0{}", project.root().display(), requests.join("\0"))
}

/// The directory `.sbox` itself, not its name: one that was unpacked in its place is another one.
fn identity(project: &Project) -> Option<String> {
    let wanted = StatxFlags::INO | StatxFlags::BTIME;
    let stat = rustix::fs::statx(CWD, project.state(), AtFlags::SYMLINK_NOFOLLOW, wanted).ok()?;
    let born = stat.stx_btime;
    Some(format!(
        "own\0{}:{}\0{}\0{}.{}",
        stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino, born.tv_sec, born.tv_nsec
    ))
}

fn store() -> Option<PathBuf> {
    std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute()).map(|home| home.join(".sbox/trust"))
}

fn mark(what: &str) -> Option<PathBuf> {
    Some(store()?.join(&fs::sha256(what.as_bytes())[..32]))
}

fn put(what: &str, text: &str) -> Result<()> {
    let Some(mark) = mark(what) else {
        return Err(Error::new("cannot remember it: HOME is not set").hint("set HOME: it is kept in ~/.sbox/trust"));
    };
    if let Some(store) = mark.parent() {
        fs::make_dirs(store)?;
    }
    fs::write_atomic(&mark, format!("{text}\n").as_bytes(), 0o600)
}
