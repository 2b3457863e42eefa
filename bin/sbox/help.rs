//! Manual pages and completions. They are compiled in, because `cargo install` places programs only.

use libsbox::cli;
use libsbox::error::{Context, Error, Result};
use libsbox::escape;
use libsbox::fs;
use libsbox::output;
use libsbox::suggest;
use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

macro_rules! page {
    ($name:expr) => {
        ($name, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/man/", $name)))
    };
}

/// The page of each command in the table, and those that are of none.
macro_rules! pages {
    ($($name:literal $group:ident $line:literal;)*) => {
        &[
            page!("sbox.1"),
            page!("sbox-config.5"),
            page!("sbox-agents.7"),
            page!("sbox-extensions.7"),
            page!("sbox-isolation.7"),
            page!("sbox-plumbing.7"),
            $(page!(concat!("sbox-", $name, ".1"))),*
        ]
    };
}

const PAGES: &[(&str, &str)] = libsbox::commands!(pages);

const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", include_str!("../../completions/sbox.bash")),
    ("zsh", include_str!("../../completions/_sbox")),
    ("fish", include_str!("../../completions/sbox.fish")),
];

/// `sbox help`, `sbox help COMMAND`, `sbox help --install DIR`.
pub fn help(arguments: &[OsString]) -> Result<u8> {
    match arguments {
        [] => cli::out(crate::usage().as_bytes())?,
        [option, directory] if option == "--install" => return install(Path::new(directory)),
        [topic] => show(&topic.to_string_lossy())?,
        _ => return Err(Error::usage("one topic at a time").hint("sbox help COMMAND, or sbox help --install DIR")),
    }
    Ok(0)
}

/// `sbox completion SHELL`.
pub fn completion(arguments: &[OsString]) -> Result<u8> {
    let shell = arguments.first().map(|shell| shell.to_string_lossy().into_owned()).unwrap_or_default();
    match COMPLETIONS.iter().find(|(name, _)| *name == shell) {
        Some((_, text)) => cli::out(text.as_bytes()).map(|()| 0),
        None => Err(Error::usage(format!("no completions for '{}'", escape::visible(&shell)))
            .hint("sbox completion bash, zsh or fish")),
    }
}

/// Writes every page to `DIR/man1` and so on, where man(1) finds them through MANPATH.
fn install(directory: &Path) -> Result<u8> {
    for (name, text) in PAGES {
        let section = directory.join(format!("man{}", name.rsplit('.').next().unwrap_or("1")));
        fs::make_dirs(&section)?;
        fs::write_atomic(&section.join(name), text.as_bytes(), 0o644)?;
    }
    output::ok(format_args!("{} pages in '{}'", PAGES.len(), escape::visible_path(directory)));
    output::hint(format_args!("export MANPATH={}:", escape::visible_path(directory)));
    Ok(0)
}

fn show(topic: &str) -> Result<()> {
    let wanted = [topic.to_owned(), format!("sbox-{topic}")];
    let page = PAGES
        .iter()
        .find(|(name, _)| name.rsplit_once('.').is_some_and(|(stem, _)| wanted.iter().any(|want| want == stem)));
    let Some((_, text)) = page else {
        let topics = PAGES
            .iter()
            .filter_map(|(name, _)| name.rsplit_once('.'))
            .map(|(stem, _)| stem.trim_start_matches("sbox-"));
        let error = Error::new(format!("no manual page for '{}'", escape::visible(topic)));
        return Err(match suggest::did_you_mean(topic, topics) {
            Some(meant) => error.hint(format!("did you mean 'sbox help {meant}'?")),
            None => error.hint("'sbox --help' lists the commands; an extension has its own help: sbox NAME --help"),
        });
    };
    if std::io::stdout().is_terminal() && format(text) {
        return Ok(());
    }
    cli::out(crate::page::plain(text).as_bytes())
}

/// Through man(1) or mandoc(1), with their pager. `false` if neither is there.
fn format(text: &str) -> bool {
    let formatters: [(&str, &[&str]); 2] = [("man", &["-l", "-"]), ("mandoc", &["-a"])];
    formatters.into_iter().any(|(program, arguments)| {
        let file = temporary(text);
        let input = file.and_then(|path| {
            let file = std::fs::File::open(&path).ok();
            let _ = std::fs::remove_file(path);
            file
        });
        let Some(input) = input else { return false };
        Command::new(program).args(arguments).stdin(Stdio::from(input)).status().is_ok_and(|status| status.success())
    })
}

fn temporary(text: &str) -> Option<PathBuf> {
    let path = std::env::temp_dir().join(format!("sbox-page-{}", std::process::id()));
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(&path).ok()?;
    file.write_all(text.as_bytes()).context(|| "write a page".into()).ok()?;
    Some(path)
}
