//! Files in `~/.sbox/trust`: what this user has made or accepted on this machine. No archive and no clone brings them.

use crate::error::{Context, Error, Result};
use crate::escape::visible_path;
use crate::fs;
use rustix::fs::{AtFlags, CWD, StatxFlags};
use std::path::{Path, PathBuf};

/// A directory itself, not its name: one that was unpacked in its place is another one.
pub fn identity(kind: &str, directory: &Path) -> Option<String> {
    let wanted = StatxFlags::INO | StatxFlags::BTIME;
    let stat = rustix::fs::statx(CWD, directory, AtFlags::SYMLINK_NOFOLLOW, wanted).ok()?;
    let born = stat.stx_btime;
    Some(format!(
        "{kind}\0{}:{}\0{}\0{}.{}",
        stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino, born.tv_sec, born.tv_nsec
    ))
}

/// The name of the file for something.
pub fn name_of(what: &str) -> String {
    fs::sha256(what.as_bytes())[..32].to_owned()
}

/// Whether it is marked.
pub fn is_set(what: &str) -> bool {
    path(what).is_some_and(|mark| mark.is_file())
}

/// Marks it; `text` is for people.
pub fn set(what: &str, text: &str) -> Result<()> {
    let Some(mark) = path(what) else {
        return Err(Error::new("cannot remember it: HOME is not set").hint("set HOME: it is kept in ~/.sbox/trust"));
    };
    if let Some(store) = mark.parent() {
        fs::make_dirs(store)?;
    }
    fs::write_atomic(&mark, format!("{text}\n").as_bytes(), 0o600)
}

/// Takes the mark away, if there is one.
pub fn remove(what: &str) -> Result<()> {
    match path(what).filter(|mark| mark.exists()) {
        Some(mark) => std::fs::remove_file(&mark).context(|| format!("remove '{}'", visible_path(&mark))),
        None => Ok(()),
    }
}

fn path(what: &str) -> Option<PathBuf> {
    let home = crate::fs::user_home()?;
    Some(home.join(".sbox/trust").join(name_of(what)))
}
