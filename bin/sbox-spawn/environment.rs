//! The environment of the command: nothing of the caller's that was not asked for.

use crate::args::{Args, Level};
use libsbox::error::{Context, Error, Result};
use std::ffi::{OsStr, OsString};
use std::io::{Read, Seek};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// What a command gets without a word: language, terminal and time zone tell programs how to speak, and nothing else.
const HARMLESS: [&str; 5] = ["LANG", "TERM", "COLORTERM", "TZ", "NO_COLOR"];

/// The environment that `args` ask for. With `--env-fd` it is exactly what that descriptor gives, plus `--env` and
/// `--setenv`.
pub fn read(args: &Args) -> Result<Vec<(OsString, OsString)>> {
    let mut environment = match args.env_fd {
        Some(fd) => from_descriptor(fd)?,
        None => minimal(args),
    };
    for name in &args.pass {
        if let Some(value) = std::env::var_os(name) {
            set(&mut environment, name, value);
        }
    }
    for (name, value) in &args.set {
        set(&mut environment, name, value.clone());
    }
    Ok(environment)
}

/// Takes out what names a file that only a separate root has.
pub fn without_files(environment: &mut Vec<(OsString, OsString)>, args: &Args) {
    environment.retain(|(_, value)| !args.files.iter().any(|(place, _)| place.as_os_str() == value));
}

/// Says inside how strongly it is confined, where that is said at all.
pub fn name_level(environment: &mut [(OsString, OsString)], level: Level) {
    for (_, value) in environment.iter_mut().filter(|(name, _)| name == "SBOX_ISOLATION") {
        *value = level.name().into();
    }
}

fn minimal(args: &Args) -> Vec<(OsString, OsString)> {
    let home = if args.root.is_some() { "/home" } else { "/home/agent" };
    let mut environment = vec![
        ("PATH".into(), libsbox::model::SYSTEM_PATH.into()),
        ("HOME".into(), home.into()),
        ("SBOX_ACTIVE".into(), "1".into()),
        ("SBOX_ISOLATION".into(), Level::Namespace.name().into()),
    ];
    let passed = |name: &OsString| {
        let name = name.to_string_lossy();
        HARMLESS.contains(&&*name) || name.starts_with("LC_")
    };
    environment.extend(std::env::vars_os().filter(|(name, _)| passed(name)));
    environment
}

/// Gives a variable this value, whatever it had.
pub fn set(environment: &mut Vec<(OsString, OsString)>, name: &OsStr, value: OsString) {
    environment.retain(|(other, _)| other != name);
    environment.push((name.to_owned(), value));
}

fn from_descriptor(fd: i32) -> Result<Vec<(OsString, OsString)>> {
    let shown = || format!("read the environment from descriptor {fd}");
    let mut bytes = Vec::new();
    let mut file = std::fs::File::from(libsbox::sys::adopt(fd).context(shown)?);
    // A supervisor starts the same command line again: what can be read from its beginning is. A pipe cannot.
    let _ = file.rewind();
    file.read_to_end(&mut bytes).context(shown)?;
    let mut environment = Vec::new();
    for entry in bytes.split(|byte| *byte == 0).filter(|entry| !entry.is_empty()) {
        let at = entry.iter().position(|byte| *byte == b'=').filter(|at| *at > 0);
        let at = at.ok_or_else(|| Error::new(format!("cannot {}: an entry without a name", shown())))?;
        let (name, value) = (OsStr::from_bytes(&entry[..at]), OsString::from_vec(entry[at + 1..].to_vec()));
        set(&mut environment, name, value);
    }
    Ok(environment)
}
