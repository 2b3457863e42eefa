//! sbox-add: install packages, and write them into the configuration.
//!
//! The configuration changes last: `sbox build` works with a new one beside it, which takes its place when all went well.
//! Whatever happens before, the old one is as it was.
#![forbid(unsafe_code)]

use lexopt::prelude::*;
use libsbox::check;
use libsbox::cli::{self, Tool};
use libsbox::config::{self, Config};
use libsbox::config_lines as lines;
use libsbox::error::{Error, Result};
use libsbox::escape;
use libsbox::fs;
use libsbox::model::Language;
use libsbox::output;
use libsbox::plumbing::porcelain;
use libsbox::project::Project;
use std::process::ExitCode;

const TOOL: Tool = Tool { name: "sbox-add", usage: USAGE, runs_a_command: false };
const USAGE: &str = "\
usage: sbox add [-g] [-n] [-v] [pip: | npm: | conda:]PACKAGE...
Install packages into the sandbox and write them into .sbox/config.yaml, with
pip or npm as the runtime is Python or Node.js, or with what stands before the
colon. If they cannot be installed, the configuration stays as it was.

  -g, --global     npm: install the package's commands, not for a package.json
  -n, --dry-run    print the configuration as it would be
  -v, --verbose    show the output of what is installed
  -h, --help       print this text
  -V, --version    print the version
";

fn main() -> ExitCode {
    TOOL.main(run)
}

/// Who installs a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manager {
    Pip,
    Npm,
    Conda,
}

fn run(args: &mut lexopt::Parser) -> Result<u8> {
    let (mut global, mut dry_run, mut verbose, mut specs) = (false, false, false, Vec::new());
    while let Some(arg) = args.next()? {
        match arg {
            Short('g') | Long("global") => global = true,
            Short('n') | Long("dry-run") => dry_run = true,
            Short('v') | Long("verbose") => verbose = true,
            Value(spec) => specs.push(spec.string()?),
            other => return Err(cli::common(other)),
        }
    }
    if specs.is_empty() {
        return Err(Error::usage("missing PACKAGE").hint("sbox add requests, or sbox add conda:ffmpeg"));
    }
    let project = Project::find()?;
    let old = config::read(&project)?;
    let config = valid(&project, &old, "fix .sbox/config.yaml first: sbox validate")?;
    let new = changed(&project, &config, &old, &asked(&config, &specs)?, global)?;
    if dry_run {
        return cli::out(new.as_bytes()).map(|()| 0);
    }
    install(&project, &new, verbose)?;
    let names: Vec<String> = specs.iter().map(|spec| escape::visible(spec)).collect();
    match new == old {
        true => output::ok(format_args!("{} was there already", names.join(", "))),
        false => output::ok(format_args!("Added {} to .sbox/config.yaml", names.join(", "))),
    }
    Ok(0)
}

fn valid(project: &Project, text: &str, hint: &str) -> Result<Config> {
    let report = check::check(text, project.root());
    let errors = report.errors().count();
    match report.config {
        Some(config) if errors == 0 => Ok(config),
        _ => {
            report.print(true);
            Err(Error::new("the configuration has errors").hint(hint))
        }
    }
}

/// Each package with who installs it.
fn asked(config: &Config, specs: &[String]) -> Result<Vec<(Manager, String)>> {
    let by_runtime = match config.runtimes.first().map(|runtime| runtime.language) {
        Some(Language::Node) => Manager::Npm,
        _ => Manager::Pip,
    };
    let one = |spec: &String| {
        let prefixes = [("pip:", Manager::Pip), ("npm:", Manager::Npm), ("conda:", Manager::Conda)];
        let named = prefixes.iter().find_map(|(prefix, manager)| Some((*manager, spec.strip_prefix(prefix)?)));
        let (manager, name) = named.unwrap_or((by_runtime, spec));
        // They become arguments of another program, which must not take them for options.
        if name.is_empty() || name.starts_with('-') || name.chars().any(char::is_control) {
            let shown = escape::visible(spec);
            return Err(Error::usage(format!("'{shown}' is not the name of a package"))
                .hint("sbox edit opens the configuration, for everything else"));
        }
        let has = |language| config.runtimes.iter().any(|runtime| runtime.language == language);
        match manager {
            Manager::Pip if !has(Language::Python) => Err(missing("Python", "python:3.12", "pip", &config.runtimes)),
            Manager::Npm if !has(Language::Node) => Err(missing("Node.js", "node:22", "npm", &config.runtimes)),
            _ => Ok((manager, name.to_owned())),
        }
    };
    specs.iter().map(one).collect()
}

fn missing(what: &str, spec: &str, client: &str, have: &[libsbox::model::Runtime]) -> Error {
    let all: Vec<String> = have.iter().map(ToString::to_string).chain([spec.into()]).collect();
    Error::new(format!("the project has no {what}, which '{client}' needs"))
        .hint(format!("write into .sbox/config.yaml: runtime: [{}]", all.join(", ")))
}

/// The text of the configuration with the packages in it. Nothing else may mean anything different.
fn changed(project: &Project, config: &Config, old: &str, asked: &[(Manager, String)], global: bool) -> Result<String> {
    let mut expected = config.clone();
    let mut text = old.to_owned();
    let of = |manager: Manager| asked.iter().filter(move |(one, _)| *one == manager).map(|(_, name)| name.as_str());
    for name in of(Manager::Conda) {
        if !expected.packages.iter().any(|have| have == name) {
            text = lines::append(&text, "packages", name).ok_or_else(|| by_hand("packages", name))?;
            expected.packages.push(name.to_owned());
        }
    }
    for (manager, client) in [(Manager::Pip, "pip install"), (Manager::Npm, "npm install")] {
        let words: Vec<String> = of(manager).map(escape::shell_word).collect();
        let flag = if manager == Manager::Npm && global { " -g" } else { "" };
        let line = format!("{client}{flag} {}", words.join(" "));
        if words.is_empty() || expected.install.contains(&line) {
            continue;
        }
        // 'build' is another name of 'install', and comes after it.
        let key = if lines::has(&text, "build") { "build" } else { "install" };
        text = lines::append(&text, key, &line).ok_or_else(|| by_hand(key, &line))?;
        expected.install.push(line);
    }
    let new = valid(project, &text, "sbox edit opens the configuration")?;
    expected.hash.clone_from(&new.hash);
    match format!("{expected:?}") == format!("{new:?}") {
        true => Ok(text),
        false => Err(by_hand("install", "...")),
    }
}

fn by_hand(key: &str, line: &str) -> Error {
    Error::new(format!("cannot add to '{key}' as it is written in .sbox/config.yaml"))
        .hint(format!("sbox edit, and add: {}", escape::visible(line)))
}

/// Builds with the new configuration, which then takes the place of the old one.
fn install(project: &Project, new: &str, verbose: bool) -> Result<()> {
    let beside = fs::beside(&project.config(), "add");
    fs::write_atomic(&beside, new.as_bytes(), 0o600)?;
    let built = porcelain::build_with(project, &beside, verbose);
    // Where it is still there, the build did not come to its end.
    let _ = std::fs::remove_file(&beside);
    built
}
