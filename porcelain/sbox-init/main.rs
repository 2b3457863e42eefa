//! sbox-init: make a project.
#![forbid(unsafe_code)]

mod templates;

use lexopt::prelude::*;
use libsbox::cli::{self, Tool};
use libsbox::error::{Context, Error, Result};
use libsbox::escape;
use libsbox::fs;
use libsbox::model::{Language, Runtime};
use libsbox::output;
use libsbox::plumbing;
use libsbox::project::Project;
use libsbox::provider;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const TOOL: Tool = Tool { name: "sbox-init", usage: USAGE, runs_a_command: false };
const USAGE: &str = "\
usage: sbox init [-r SPEC] [-f] [--copy] NAME
       sbox init [-r SPEC] [-f] -t TEMPLATE NAME
       sbox init --list-templates
Make a project in the directory NAME; '.' means the current directory. Existing
files are kept.

  -r, --runtime SPEC   python:VERSION or node:VERSION [the one that fits the
                       files there, or else a Python of this host]
  -t, --template NAME  openclaw, claude-code, codex, gemini-cli, opencode,
                       qwen-code, copilot, aider, mini-swe-agent, jupyter,
                       playwright, python, node, or the NAME of a file
                       ~/.config/sbox/templates/NAME.yaml
      --list-templates  list the templates, and do nothing else
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
    let (mut spec, mut template, mut force, mut copy, mut name) = (None, None, false, false, None);
    while let Some(arg) = args.next()? {
        match arg {
            Short('r') | Long("runtime") => spec = Some(args.value()?.string()?),
            Short('t') | Long("template") => template = Some(args.value()?.string()?),
            Long("list-templates") => return templates::list().map(|()| 0),
            Short('f') | Long("force") => force = true,
            Long("copy") => copy = true,
            Value(value) if name.is_none() => name = Some(PathBuf::from(value)),
            other => return Err(cli::common(other)),
        }
    }
    let name =
        name.ok_or_else(|| Error::usage("missing NAME").hint("sbox init myapp, or sbox init . for this directory"))?;
    let root = std::path::absolute(&name).context(|| format!("find '{}'", escape::visible_path(&name)))?;
    let root: PathBuf = root.components().collect();
    let project = Project::at(&root)?;
    let existing = Existing::look(&root);
    let spec = spec.map(|spec: String| {
        Runtime::parse(&spec)
            .map_err(|error| Error::usage(error.to_string()).hint(error.hint_text().unwrap_or_default()))
    });
    let spec = spec.transpose()?;
    if template.is_some() && copy {
        return Err(Error::usage("--copy and --template cannot be used together"));
    }
    let text = template.as_ref().map(|name: &String| templates::configuration(name, spec.as_ref())).transpose()?;
    if project.config().symlink_metadata().is_ok() && !force {
        return Err(Error::new(format!("'{}' is a project already", escape::visible_path(&root)))
            .hint("sbox init --force replaces its configuration and keeps all other files"));
    }
    let what = match (&text, &template) {
        (Some(text), Some(template)) => {
            fs::make_dirs(&project.logs())?;
            ignore(&project)?;
            fs::write_atomic(&project.config(), text.as_bytes(), 0o644)?;
            format!("from template '{}'", escape::visible(template))
        }
        _ => {
            let runtime = spec.map_or_else(|| existing.runtime(), Ok)?;
            make(&project, &runtime, &existing, copy)?;
            format!("with {runtime}")
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
            output::hint(format_args!("cd {} && sbox build && sbox run", plumbing::quote(&name.to_string_lossy())))
        }
    }
    Ok(0)
}

/// What the directory has already.
struct Existing {
    package_json: bool,
    requirements: bool,
    main: Option<&'static str>,
    /// A repository, or a file or directory that is not of the template.
    others: bool,
}

impl Existing {
    fn look(root: &Path) -> Existing {
        let has = |name: &str| root.join(name).is_file();
        let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
        Existing {
            package_json: has("package.json"),
            requirements: has("requirements.txt"),
            main: ["main.py", "app.py", "index.js", "server.js", "main.js"].into_iter().find(|name| has(name)),
            others: entries.map(|entry| entry.file_name()).any(|name| {
                let name = name.to_string_lossy();
                name == ".git" || !name.starts_with('.') && !matches!(&*name, "app" | "sbox.lock")
            }),
        }
    }

    fn has_sources(&self) -> bool {
        self.package_json || self.requirements || self.main.is_some() || self.others
    }

    /// What the sources are written in; else the newest Python that this host can give.
    fn runtime(&self) -> Result<Runtime> {
        if self.package_json || self.main.is_some_and(|name| name.ends_with(".js")) {
            return Runtime::parse("node:22");
        }
        if let Some(runtime) = provider::python_of_this_host()? {
            return Ok(runtime);
        }
        Runtime::parse("python:3.11")
    }
}

fn make(project: &Project, runtime: &Runtime, existing: &Existing, copy: bool) -> Result<()> {
    fs::make_dirs(&project.logs())?;
    if !existing.has_sources() {
        for (name, content) in template(project, runtime)? {
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
    fs::write_atomic(&project.config(), configuration(runtime, existing, copy).as_bytes(), 0o644)
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
            let package = serde_json::to_string_pretty(&package).map_err(|error| Error::new(error.to_string()))?;
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

fn configuration(runtime: &Runtime, existing: &Existing, copy: bool) -> String {
    let python = runtime.language == Language::Python;
    let (seen, install, cmd) = if existing.has_sources() {
        let install = match (python, existing.requirements, existing.package_json) {
            (true, true, _) => Some("pip install -r requirements.txt"),
            (false, _, true) => Some("npm install"),
            _ => None,
        };
        let cmd = match existing.main {
            Some(name) if name.ends_with(".py") == python => {
                format!("cmd: {} {name}", if python { "python" } else { "node" })
            }
            _ if existing.package_json && !python => "cmd: npm start".into(),
            // Which of the sources is to be started is for the user to say.
            _ if python => "# cmd: python main.py".into(),
            _ => "# cmd: node index.js".into(),
        };
        // A working tree is mounted: what an agent changes in a copy would never come back.
        let seen = match copy {
            true => "copy:\n  - .:/app\nworkdir: /app\n",
            false => {
                "# What it changes stays apart: sbox diff shows it, sbox apply brings it over.\n\
                 mount:\n  - .:/work:cow\nworkdir: /work\n"
            }
        };
        (seen, install, cmd)
    } else if python {
        (TEMPLATE, Some("pip install -r requirements.txt"), "cmd: python main.py".into())
    } else {
        (TEMPLATE, Some("npm install"), "cmd: node index.js".into())
    };
    let install = install.map_or_else(String::new, |line| {
        format!("\n# Run once, inside the sandbox, when it is built.\ninstall:\n  - {line}\n")
    });
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
