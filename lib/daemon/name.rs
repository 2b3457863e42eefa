//! Names of daemons.

use crate::error::{Error, Result};
use crate::project::Project;

/// Refuses a name that is not a plain file name, or is that of another log.
pub fn check(name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    if !starts_well || name.len() > 64 || !name.chars().all(plain) {
        return Err(Error::usage(format!("'{}' cannot be the name of a daemon", crate::escape::visible(name)))
            .hint("letters, digits, '-', '_' and '.', at most 64, a letter or digit first"));
    }
    if matches!(name, "build" | "network") {
        return Err(Error::usage(format!("'{name}' is the name of another log")).hint(format!("--name my-{name}")));
    }
    Ok(())
}

/// The name of the daemon for which no other was said: that of the project, as far as it can be one.
pub fn default(project: &Project) -> String {
    let name: String =
        project.name().chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' }).collect();
    let name: String = name.trim_start_matches(['-', '.']).chars().take(64).collect();
    match check(&name) {
        Ok(()) => name,
        Err(_) => "default".into(),
    }
}
