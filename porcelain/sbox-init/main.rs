//! sbox-init: make a project.
#![forbid(unsafe_code)]

mod existing;
mod templates;
mod versions;

use existing::Existing;
use lexopt::prelude::*;
use libsbox::cli::{self, Tool};
use libsbox::error::{Context, Error, Result};
use libsbox::escape;
use libsbox::fs;
use libsbox::model::{Language, Runtime};
use libsbox::output;
use libsbox::project::Project;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const TOOL: Tool = Tool { name: "sbox-init", usage: USAGE, runs_a_command: false };
const USAGE: &str = "\
usage: sbox init [-r SPEC] [-f] [--copy] NAME
       sbox init [-r SPEC] [-f] -t TEMPLATE NAME
       sbox init --list-templates
Make a project in the directory NAME; '.' means the current directory. Existing
files are kept, and say what the configuration proposes: runtimes, what installs
the dependencies, and a command.

  -r, --runtime SPEC   python:VERSION or node:VERSION; can be repeated [what the
                       files there ask for, or else a Python of this host]
  -t, --template NAME  openclaw, claude-code, codex, gemini-cli, opencode,
                       qwen-code, copilot, aider, mini-swe-agent, jupyter,
                       playwright, python, node, or the NAME of a file
                       ~/.config/sbox/templates/NAME.yaml
      --list-templates  list the templates, and do nothing else
  -q, --quiet          with --list-templates: print names only
  -f, --force          replace an existing configuration
      --copy           copy sources that are there into the sandbox, instead of
                       mounting them copy-on-write
  -h, --help           print this text
  -V, --version        print the version
";

fn main() -> ExitCode {
    TOOL.main(run)
}

fn run(args: &mut lexopt::Parser) -> Result<u8> {
    let (mut runtimes, mut template, mut force, mut copy, mut name) = (Vec::new(), None, false, false, None);
    let (mut list, mut quiet) = (false, false);
    while let Some(arg) = args.next()? {
        match arg {
            Short('r') | Long("runtime") => runtimes.push(runtime(&args.value()?.string()?)?),
            Short('t') | Long("template") => template = Some(args.value()?.string()?),
            Long("list-templates") => list = true,
            Short('q') | Long("quiet") => quiet = true,
            Short('f') | Long("force") => force = true,
            Long("copy") => copy = true,
            Value(value) if name.is_none() => name = Some(PathBuf::from(value)),
            other => return Err(cli::common(other)),
        }
    }
    if list {
        return templates::list(quiet).map(|()| 0);
    }
    let name =
        name.ok_or_else(|| Error::usage("missing NAME").hint("sbox init myapp, or sbox init . for this directory"))?;
    let root = std::path::absolute(&name).context(|| format!("find '{}'", escape::visible_path(&name)))?;
    let root: PathBuf = root.components().collect();
    let project = Project::at(&root)?;
    let existing = Existing::look(&root);
    if template.is_some() && copy {
        return Err(cli::exclusive("'--copy' and '--template'"));
    }
    let text = template.as_ref().map(|name: &String| templates::configuration(name, &runtimes)).transpose()?;
    let text = text.map(|text| beside_the_project(text, project.root()));
    if project.config().symlink_metadata().is_ok() && !force {
        return Err(Error::new(format!("'{}' is already a project", escape::visible_path(&root)))
            .hint("sbox init --force replaces its configuration and keeps all other files"));
    }
    if let Some(text) = &text {
        templates::require_valid(text, &root)?;
    }
    let what = match (&text, &template) {
        (Some(text), Some(template)) => {
            fs::make_dirs(&project.logs())?;
            ignore(&project)?;
            fs::write_atomic(&project.config(), text.as_bytes(), 0o644)?;
            format!("from template '{}'", escape::visible(template))
        }
        _ => {
            if runtimes.is_empty() {
                runtimes = existing.runtimes()?;
            }
            make(&project, &runtimes, &existing, copy)?;
            format!("with {}", shown(&runtimes, " and "))
        }
    };
    // What it asks for later is the user's own.
    if let Err(error) = libsbox::trust::remember(&project) {
        output::warn(error);
    }
    output::ok(format_args!("Project '{}' {what}", escape::visible(&project.name())));
    match name == Path::new(".") {
        true => output::hint("sbox build && sbox run"),
        false => {
            output::hint(format_args!("cd {} && sbox build && sbox run", escape::shell_word(&name.to_string_lossy())))
        }
    }
    Ok(0)
}

fn runtime(spec: &str) -> Result<Runtime> {
    Runtime::parse(spec).map_err(|error| Error::usage(error.to_string()).hint(error.hint_text().unwrap_or_default()))
}

fn shown(runtimes: &[Runtime], between: &str) -> String {
    runtimes.iter().map(ToString::to_string).collect::<Vec<_>>().join(between)
}

/// One runtime, or a list, as the configuration has it.
fn written(runtimes: &[Runtime]) -> String {
    match runtimes {
        [one] => one.to_string(),
        several => format!("[{}]", shown(several, ", ")),
    }
}

fn make(project: &Project, runtimes: &[Runtime], existing: &Existing, copy: bool) -> Result<()> {
    fs::make_dirs(&project.logs())?;
    if !existing.has_sources() {
        for (name, content) in template(project, &runtimes[0])? {
            let path = project.root().join(name);
            if path.symlink_metadata().is_ok() {
                output::info(format_args!("kept '{}'", escape::visible(name)));
                continue;
            }
            fs::make_dirs(path.parent().unwrap_or(project.root()))?;
            fs::write_atomic(&path, content.as_bytes(), 0o644)?;
        }
    } else {
        output::info("the sources that are here are used as they are");
    }
    ignore(project)?;
    // Last: a directory is a project from the moment that this file is there.
    let text = beside_the_project(configuration(runtimes, existing, copy), project.root());
    fs::write_atomic(&project.config(), text.as_bytes(), 0o644)
}

/// A configuration whose working tree has another place where the project itself lies below the usual one: inside, the
/// sandbox's own files have the same path as outside, and the mount would cover them.
fn beside_the_project(text: String, root: &Path) -> String {
    match root.starts_with("/work") {
        true => text.replace(".:/work:cow", ".:/repo:cow").replace("workdir: /work\n", "workdir: /repo\n"),
        false => text,
    }
}

fn template(project: &Project, runtime: &Runtime) -> Result<Vec<(&'static str, String)>> {
    Ok(match runtime.language {
        Language::Python => vec![
            ("app/main.py", PYTHON.into()),
            ("app/requirements.txt", "# One package a line, for example: requests==2.32.3\n".into()),
        ],
        Language::Node => {
            let name: String = project
                .name()
                .to_lowercase()
                .chars()
                .map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' })
                .collect();
            let package = serde_json::json!({"name": name.trim_start_matches(['.', '_', '-']), "version": "1.0.0", "private": true, "main": "index.js"});
            let package = serde_json::to_string_pretty(&package)?;
            vec![("app/index.js", NODE.into()), ("app/package.json", package + "\n")]
        }
    })
}

const PYTHON: &str = r#"import os
import sys

print("Hello from Python", sys.version.split()[0])
print("  runtime:", sys.prefix)
print("  home:   ", os.path.expanduser("~"), "->", os.listdir(os.path.expanduser("~")))
print("  root:   ", sorted(os.listdir("/")))
"#;

const NODE: &str = r#"const fs = require("fs");
const os = require("os");

console.log("Hello from Node.js", process.version);
console.log("  runtime:", process.execPath);
console.log("  home:   ", os.homedir(), "->", fs.readdirSync(os.homedir()));
console.log("  root:   ", fs.readdirSync("/"));
"#;

/// How the files of a new project are seen.
const TEMPLATE: &str = "copy:\n  - ./app:/app\nworkdir: /app\n";

fn configuration(runtimes: &[Runtime], existing: &Existing, copy: bool) -> String {
    let python = runtimes[0].language == Language::Python;
    let (seen, install, cmd) = if existing.has_sources() {
        // A working tree is mounted: what an agent changes in a copy would never come back.
        let seen = match copy {
            true => "copy:\n  - .:/app\nworkdir: /app\n",
            false => {
                "# What it changes stays apart: sbox diff shows it, sbox apply brings it over.\n\
                 mount:\n  - .:/work:cow\nworkdir: /work\n"
            }
        };
        (seen, existing.install(runtimes), existing.cmd(runtimes))
    } else if python {
        (TEMPLATE, vec!["pip install -r requirements.txt".into()], "cmd: python main.py".into())
    } else {
        (TEMPLATE, vec!["npm install".into()], "cmd: node index.js".into())
    };
    let install: String = install.iter().map(|line| format!("  - {line}\n")).collect();
    let install = match install.is_empty() {
        true => install,
        false => format!("\n# Run once, inside the sandbox, when it is built.\ninstall:\n{install}"),
    };
    let runtime = written(runtimes);
    format!(
        "# The sandbox of this project: sbox help config\n\
         runtime: {runtime}\n\n\
         # What the agent gets to see. Nothing else of this machine exists to it.\n\
         {seen}\
         {install}\n\
         # What 'sbox run' runs.\n\
         {cmd}\n\n\
         # Variables of the program. ${{NAME}} takes one from this machine.\n\
         # env:\n\
         #   OPENAI_API_KEY: \"${{OPENAI_API_KEY}}\"\n\n\
         # Other directories of this machine: read-only, read-write (:rw) or copy-on-write (:cow).\n\
         # mount:\n\
         #   - ~/datasets:/data:ro\n"
    )
}

/// What of sbox does not belong into version control: everything but the configuration.
fn ignore(project: &Project) -> Result<()> {
    const LINES: [&str; 2] = ["/.sbox/*", "!/.sbox/config.yaml"];
    let path = project.root().join(".gitignore");
    if path.is_symlink() {
        return Ok(());
    }
    let old = std::fs::read_to_string(&path).unwrap_or_default();
    let missing: Vec<&str> = LINES.into_iter().filter(|line| !old.lines().any(|have| have.trim() == *line)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let gap = if old.is_empty() || old.ends_with('\n') { "" } else { "\n" };
    fs::write_atomic(&path, format!("{old}{gap}{}\n", missing.join("\n")).as_bytes(), 0o644)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_working_tree_is_not_mounted_over_its_own_project() {
        let nothing = Existing::look(Path::new("/nonexistent"));
        let text = configuration(&[Runtime::parse("node:22").unwrap()], &nothing, false);
        assert_eq!(beside_the_project(text.clone(), Path::new("/work/p")), text, "no working tree");
        for template in ["claude-code", "python"] {
            let text = templates::configuration(template, &[]).unwrap();
            assert_eq!(beside_the_project(text.clone(), Path::new("/workshop/p")), text);
            let other = beside_the_project(text, Path::new("/work/p"));
            assert!(other.contains("- .:/repo:cow\n") && other.contains("workdir: /repo\n"), "{other}");
        }
    }
}
