//! The completions, written from `--help`: options with whole sentences, the values that a text lists, and what has to
//! be looked up when somebody presses Tab.

mod bash;
mod fish;
mod zsh;

use super::help::{Help, HelpOption};
use super::same;
use crate::common::{Scratch, bin, package, stdout};
use libsbox::commands::{COMMANDS, Command, Group};

/// What completes a value.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    Words(Vec<String>),
    Files,
    Directories,
    /// Programs, and then their arguments.
    Programs,
    /// Daemons that are running.
    Daemons,
    /// Daemons, those that have ended included.
    AllDaemons,
    /// The same, and `build`.
    Logs,
    CacheEntries,
    Templates,
}

/// Values that no placeholder and no text of `--help` gives away: of a program, an option or a placeholder.
const KNOWN: &[(&str, &str, Values)] = &[
    ("exec", "--in", Values::Daemons),
    ("stop", "NAME", Values::Daemons),
    ("run", "--name", Values::AllDaemons),
    ("restart", "NAME", Values::AllDaemons),
    ("wait", "NAME", Values::Daemons),
    ("rm", "NAME", Values::AllDaemons),
    ("logs", "NAME", Values::Logs),
    ("cache", "NAME", Values::CacheEntries),
    ("init", "NAME", Values::Directories),
    ("init", "--template", Values::Templates),
    ("spawn", "--bind", Values::Files),
    ("spawn", "--ro-bind", Values::Files),
    ("spawn", "--hide", Values::Files),
];

const RUNTIMES: [&str; 6] = ["python:3.11", "python:3.12", "python:3.13", "node:20", "node:22", "node:24"];
const SHELLS: [&str; 3] = ["bash", "zsh", "fish"];

/// One command, as completions need it.
pub struct Spec {
    pub name: &'static str,
    pub line: &'static str,
    /// Whether people type it after `sbox`.
    pub porcelain: bool,
    pub options: Vec<HelpOption>,
    /// `list` of `sbox cache list`, each with what follows it.
    pub subcommands: Vec<(String, Vec<Values>)>,
    /// What follows the options, where there is no subcommand.
    pub positional: Vec<Values>,
}

impl Spec {
    fn of(command: &Command) -> Spec {
        let help = Help::of(&format!("sbox-{}", command.name));
        let mut spec = Spec {
            name: command.name,
            line: command.line,
            porcelain: command.group != Group::Plumbing,
            options: Vec::new(),
            subcommands: Vec::new(),
            positional: Vec::new(),
        };
        for usage in &help.usages {
            let own = if command.group == Group::Plumbing { 1 } else { 2 };
            let words: Vec<&str> = usage.split_whitespace().skip(own).collect();
            let is_subcommand = |word: &&str| word.starts_with(|letter: char| letter.is_ascii_lowercase());
            match words.first().filter(|word| is_subcommand(word)) {
                Some(name) => {
                    spec.subcommands.push(((*name).to_owned(), positional(command.name, &words[1..], &help.options)))
                }
                None => {
                    for values in positional(command.name, &words, &help.options) {
                        if !spec.positional.contains(&values) {
                            spec.positional.push(values);
                        }
                    }
                }
            }
        }
        spec.options = help.options;
        spec
    }

    /// What completes the value of an option. `None`: nothing is known of it.
    pub fn values(&self, option: &HelpOption) -> Option<Values> {
        let name = option.long.as_ref().or(option.short.as_ref())?;
        if name == "--provider" {
            let providers = COMMANDS.iter().filter_map(|command| command.name.strip_prefix("mkenv-"));
            return Some(Values::Words(["auto"].into_iter().chain(providers).map(str::to_owned).collect()));
        }
        let known = KNOWN.iter().find(|(program, one, _)| *program == self.name && one == name);
        known.map(|(.., values)| values.clone()).or_else(|| {
            let placeholder = of_placeholder(option.value.as_deref()?);
            placeholder.or_else(|| listed(&option.text).map(Values::Words))
        })
    }
}

fn of_placeholder(placeholder: &str) -> Option<Values> {
    match placeholder {
        "FILE" | "ARCHIVE" | "PATH" | "SRC" => Some(Values::Files),
        "DIR" | "ROOT" | "PREFIX" | "DIR DST" => Some(Values::Directories),
        "COMMAND" => Some(Values::Programs),
        "SPEC" => Some(Values::Words(RUNTIMES.map(str::to_owned).to_vec())),
        _ => None,
    }
}

/// The values that a text begins with: `auto, namespace, landlock or env: ...`.
fn listed(text: &str) -> Option<Vec<String>> {
    let mut plain = String::new();
    let mut depth = 0;
    for letter in text.chars() {
        match letter {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            _ if depth == 0 => plain.push(letter),
            _ => {}
        }
    }
    let list = plain.split([':', ';']).next()?.replace(", or ", ", ").replace(" or ", ", ");
    let words: Vec<String> = list.split(',').map(|word| word.trim().to_owned()).collect();
    let is_value = |word: &String| {
        word.starts_with(|letter: char| letter.is_ascii_lowercase())
            && word.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_.=".contains(letter))
    };
    (words.len() > 1 && words.iter().all(is_value)).then_some(words)
}

/// What follows the options in a line of usage.
fn positional(program: &str, words: &[&str], options: &[HelpOption]) -> Vec<Values> {
    let mut out = Vec::new();
    let mut skip = 0;
    for word in words {
        for part in word.split('|') {
            let part = part.trim_matches(|letter| "[].".contains(letter));
            let option = |one: &&HelpOption| [&one.short, &one.long].into_iter().flatten().any(|name| name == part);
            match options.iter().find(option) {
                Some(option) => skip = option.value.as_ref().map_or(0, |value| value.split(' ').count()),
                None if part.is_empty() => {}
                None if skip > 0 => skip -= 1,
                None => {
                    let known = KNOWN.iter().find(|(name, one, _)| *name == program && *one == part);
                    out.extend(known.map(|(.., values)| values.clone()).or_else(|| of_placeholder(part)));
                }
            }
        }
    }
    out.dedup();
    out
}

fn specs() -> Vec<Spec> {
    COMMANDS.iter().map(Spec::of).collect()
}

#[test]
fn completions_follow_from_help() {
    let specs = specs();
    for (program, name, _) in KNOWN {
        let spec = specs.iter().find(|spec| spec.name == *program).unwrap_or_else(|| panic!("{program} in KNOWN"));
        let is_option = spec.options.iter().any(|option| option.long.as_deref() == Some(*name));
        let usages = Help::of(&format!("sbox-{program}")).usages;
        assert!(is_option || usages.iter().any(|usage| usage.contains(name)), "{program} {name} in KNOWN");
    }
    same("completions/sbox.bash", &bash::write(&specs));
    same("completions/_sbox", &zsh::write(&specs));
    same("completions/sbox.fish", &fish::write(&specs));
}

#[test]
fn values_are_read_from_the_text() {
    let words = |text: &str| listed(text).map(|words| words.join(" "));
    assert_eq!(words("auto, namespace, landlock or env [as configured]").unwrap(), "auto namespace landlock env");
    assert_eq!(words("tar.gz, tar.zst, or oci: an image for podman, docker [tar.gz]").unwrap(), "tar.gz tar.zst oci");
    assert_eq!(words("sh (a script to source), json, or null: NAME=VALUE").unwrap(), "sh json null");
    assert_eq!(words("print the last N lines"), None);
    assert_eq!(words("level of compression, from 1 to 9 [6]"), None);
}

/// What bash offers for a line, in a directory, with the real function.
fn offered(scratch: &Scratch, path: &str, line: &str) -> Vec<String> {
    let script = format!(
        "source '{}'; COMP_LINE=$1; COMP_POINT=${{#1}}; _sbox; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        package().join("completions/sbox.bash").display()
    );
    let output = std::process::Command::new("bash")
        .args(["--norc", "-c", &script, "bash", line])
        .current_dir(&scratch.root)
        .env("PATH", path)
        .output()
        .unwrap();
    stdout(&output).lines().map(str::to_owned).filter(|line| !line.is_empty()).collect()
}

#[test]
fn bash_offers_what_fits_the_place() {
    let scratch = Scratch::new("completion");
    let path = format!("{}:/usr/bin:/bin", bin().display());
    let offers = |line: &str| offered(&scratch, &path, line).join(" ");
    assert_eq!(offers("sbox buil"), "build");
    // What only programs start is not in the way, and has its pages.
    assert_eq!((offers("sbox spaw"), offers("sbox help spaw")), (String::new(), "spawn".into()));
    assert_eq!(offers("sbox pack --format "), "tar.gz tar.zst oci");
    assert_eq!(offers("sbox-archive create --format=tar."), "tar.gz tar.zst");
    assert_eq!(offers("sbox -C somewhere cache "), "list info path clean prune verify");
    assert_eq!(offers("sbox run --isolation n"), "namespace");
    assert_eq!(offers("sbox status --"), "--json --help --version");
    // The part before the colon is a word of its own to readline.
    assert_eq!(offers("sbox init -r python:3.1"), "3.11 3.12 3.13");
    assert_eq!(offers("sbox init -t claude"), "claude-code");
    // Options after the command are the command's.
    assert_eq!(offers("sbox exec python --"), "");
}

#[test]
fn names_that_bash_would_expand_are_not_offered() {
    let scratch = Scratch::new("completion-names");
    let program =
        scratch.write("bin/sbox", "#!/bin/sh\nprintf '%s\\n' web '$(touch planted)' '`touch planted`' 'a b' web-2\n");
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", scratch.path("bin").display());
    assert_eq!(offered(&scratch, &path, "sbox stop "), ["web", "web-2"]);
    assert!(!scratch.path("planted").exists());
}
