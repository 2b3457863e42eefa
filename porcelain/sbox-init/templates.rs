//! Templates: whole configurations for agents and other programs. Those that ship are compiled in; the user's own are files,
//! and win.

use libsbox::check::Finding;
use libsbox::cli;
use libsbox::error::{Context, Error, Result};
use libsbox::escape::{visible, visible_path};
use libsbox::model::Runtime;
use libsbox::suggest;
use std::path::{Path, PathBuf};

macro_rules! templates {
    ($($name:literal,)*) => {
        &[$(($name, include_str!(concat!("templates/", $name, ".yaml")))),*]
    };
}

/// In the order of the manual.
const SHIPPED: &[(&str, &str)] = templates![
    "openclaw",
    "claude-code",
    "codex",
    "gemini-cli",
    "opencode",
    "qwen-code",
    "copilot",
    "aider",
    "mini-swe-agent",
    "jupyter",
    "playwright",
    "python",
    "node",
];

/// The configuration of a template; with `runtimes` instead of its own, if some are named.
pub fn configuration(name: &str, runtimes: &[Runtime]) -> Result<String> {
    let text = text(name)?;
    if runtimes.is_empty() {
        return Ok(text);
    }
    let runtime = crate::written(runtimes);
    let own = |line: &str| line.starts_with("runtime:");
    if !text.lines().any(own) {
        return Err(Error::usage(format!("template '{}' has no line 'runtime:' to replace", visible(name))));
    }
    let lines = text.lines().map(|line| if own(line) { format!("runtime: {runtime}\n") } else { format!("{line}\n") });
    Ok(lines.collect())
}

fn text(name: &str) -> Result<String> {
    // A name and not a path: what is elsewhere is nobody's template.
    let is_name = !name.is_empty() && !name.starts_with('.') && !name.contains('/');
    if let Some(path) = own_directory().filter(|_| is_name).map(|own| own.join(format!("{name}.yaml")))
        && path.exists()
    {
        return std::fs::read_to_string(&path).context(|| format!("read '{}'", visible_path(&path)));
    }
    let shipped = SHIPPED.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).to_owned());
    shipped.ok_or_else(|| {
        let all: Vec<String> = own().into_iter().chain(SHIPPED.iter().map(|(name, _)| (*name).to_owned())).collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        Error::usage(format!("no template '{}'", visible(name))).hint(suggest::hint(name, &all))
    })
}

/// Refuses a template that no project could have: the user may have written it. What it mounts is the project's to bring.
pub fn require_valid(text: &str, root: &Path) -> Result<()> {
    let mut report = libsbox::check::check(text, root);
    report.findings.retain(Finding::is_of_the_text);
    report.print(true);
    match report.findings.is_empty() {
        true => Ok(()),
        false => Err(Error::new("the template has errors; nothing was written")),
    }
}

/// Prints every template with the first line of its text, or only their names.
pub fn list(quiet: bool) -> Result<()> {
    let own = own();
    let shipped = SHIPPED.iter().map(|(name, _)| (*name).to_owned()).filter(|name| !own.contains(name));
    let all: Vec<String> = shipped.chain(own.iter().cloned()).collect();
    let width = all.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    for name in all {
        if quiet {
            cli::out_line(visible(&name))?;
            continue;
        }
        let text = text(&name).unwrap_or_default();
        let first = text.lines().next().and_then(|line| line.strip_prefix('#')).unwrap_or_default().trim();
        let first = first.split(". See ").next().unwrap_or(first);
        cli::out_line(format!("{:width$}  {}", visible(&name), visible(first)).trim_end())?;
    }
    Ok(())
}

/// The names of the user's own.
fn own() -> Vec<String> {
    let entries = own_directory().and_then(|directory| std::fs::read_dir(directory).ok());
    let name = |entry: std::fs::DirEntry| Some(entry.file_name().to_str()?.strip_suffix(".yaml")?.to_owned());
    let mut names: Vec<String> = entries.into_iter().flatten().flatten().filter_map(name).collect();
    names.retain(|name| !name.is_empty() && !name.starts_with('.'));
    names.sort();
    names
}

/// `~/.config/sbox/templates`.
fn own_directory() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let config = variable("XDG_CONFIG_HOME").or_else(|| Some(variable("HOME")?.join(".config")));
    Some(config?.join("sbox/templates"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_is_a_configuration_without_findings() {
        for (name, text) in SHIPPED {
            let report = libsbox::check::check(text, &std::env::temp_dir());
            let found: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
            assert!(found.is_empty(), "{name}: {found:?}");
            let config = report.config.unwrap();
            assert!(config.mount.iter().all(|mount| mount.is_copy_on_write()), "{name}");
            assert!(config.cmd.is_some() && config.workdir == "/work", "{name}");
            assert!(matches!(config.network, libsbox::model::Network::Allow { .. }), "{name}");
            assert!(text.starts_with("# ") && text.lines().all(|line| line.chars().count() <= 120), "{name}");
        }
    }

    #[test]
    fn a_runtime_replaces_the_templates_own() {
        let runtime = Runtime::parse("python:3.12").unwrap();
        let text = configuration("aider", std::slice::from_ref(&runtime)).unwrap();
        assert!(text.contains("\nruntime: python:3.12\n") && !text.contains("3.11"));
        assert!(text.ends_with('\n') && text.lines().count() > 20);
    }
}
