//! What a directory has already: what it is written in, and what installs what it needs.

use crate::versions;
use libsbox::error::Result;
use libsbox::model::{Language, Runtime};
use libsbox::output;
use libsbox::provider;
use std::path::{Path, PathBuf};

pub struct Existing {
    root: PathBuf,
    package_json: bool,
    /// Something that lists packages of Python.
    python: bool,
    main: Option<&'static str>,
    /// A repository, or a file or directory that is not of the template.
    others: bool,
}

impl Existing {
    pub fn look(root: &Path) -> Existing {
        let has = |name: &str| root.join(name).is_file();
        let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
        let lists = ["requirements.txt", "pyproject.toml", "uv.lock", "poetry.lock"];
        Existing {
            root: root.to_owned(),
            package_json: has("package.json"),
            python: lists.into_iter().any(has),
            main: ["main.py", "app.py", "index.js", "server.js", "main.js"].into_iter().find(|name| has(name)),
            others: entries.map(|entry| entry.file_name()).any(|name| {
                let name = name.to_string_lossy();
                name == ".git" || !name.starts_with('.') && !matches!(&*name, "app" | "sbox.lock")
            }),
        }
    }

    pub fn has_sources(&self) -> bool {
        self.package_json || self.python || self.main.is_some() || self.others
    }

    /// What the sources are written in, both if they are; else the newest Python that this host can give.
    pub fn runtimes(&self) -> Result<Vec<Runtime>> {
        let of_main = |end: &str| self.main.is_some_and(|name| name.ends_with(end));
        let node = versions::node(&self.root);
        let is_node = self.package_json || of_main(".js") || node.is_some();
        let of_host = if is_node && !self.python { None } else { provider::python_of_this_host()? };
        let python = versions::python(&self.root, of_host.as_ref());
        let is_python = self.python || of_main(".py") && !self.package_json || python.is_some() || !is_node;
        let mut runtimes = Vec::new();
        for (wanted, asked, otherwise) in [(is_python, python, of_host), (is_node, node, None)] {
            match (wanted, asked) {
                (false, _) => {}
                (true, Some(asked)) => {
                    output::info(format_args!("{} is what '{}' asks for", asked.runtime, asked.file));
                    runtimes.push(asked.runtime);
                }
                (true, None) if runtimes.is_empty() && is_python => {
                    runtimes.push(otherwise.map_or_else(|| Runtime::parse("python:3.11"), Ok)?);
                }
                (true, None) => runtimes.push(Runtime::parse("node:22")?),
            }
        }
        Ok(runtimes)
    }

    /// What installs what the sources need, by the files that say what that is.
    pub fn install(&self, runtimes: &[Runtime]) -> Vec<String> {
        let has = |name: &str| self.root.join(name).is_file();
        let is = |language: Language| runtimes.iter().any(|runtime| runtime.language == language);
        let mut lines = Vec::new();
        if is(Language::Python) {
            lines.extend(if has("uv.lock") {
                Some("pip install uv && uv export --frozen --quiet -o /tmp/uv.txt && pip install -r /tmp/uv.txt".into())
            } else if has("poetry.lock") {
                Some("pip install poetry && POETRY_VIRTUALENVS_CREATE=false poetry install --no-interaction".into())
            } else if has("requirements.txt") {
                Some(String::from("pip install -r requirements.txt"))
            } else {
                has("pyproject.toml").then(|| "pip install -e .".into())
            });
        }
        if is(Language::Node) && self.package_json {
            lines.push(if has("pnpm-lock.yaml") {
                format!("npx --yes {} install --frozen-lockfile", self.package_manager("pnpm"))
            } else if has("yarn.lock") {
                let is_berry = versions::text(&self.root, "yarn.lock").is_some_and(|lock| lock.contains("__metadata:"));
                match is_berry {
                    true => "npx --yes @yarnpkg/cli-dist install --immutable".into(),
                    false => format!("npx --yes {} install --frozen-lockfile", self.package_manager("yarn")),
                }
            } else if has("package-lock.json") {
                "npm ci".into()
            } else {
                "npm install".into()
            });
        }
        lines
    }

    /// `pnpm@9.1.0`, if package.json names a version.
    fn package_manager(&self, name: &str) -> String {
        let version = || {
            let text = versions::text(&self.root, "package.json")?;
            let package: serde_json::Value = serde_json::from_str(&text).ok()?;
            let version = package["packageManager"].as_str()?.strip_prefix(name)?.strip_prefix('@')?;
            let version = version.split('+').next().unwrap_or(version).to_owned();
            version.chars().all(|letter| letter.is_ascii_digit() || letter == '.').then_some(version)
        };
        version()
            .filter(|version| !version.is_empty())
            .map_or_else(|| name.into(), |version| format!("{name}@{version}"))
    }

    /// The line of the configuration that says what `sbox run` runs.
    pub fn cmd(&self, runtimes: &[Runtime]) -> String {
        let is = |language: Language| runtimes.iter().any(|runtime| runtime.language == language);
        match self.main {
            Some(name) if name.ends_with(".py") && is(Language::Python) => format!("cmd: python {name}"),
            Some(name) if name.ends_with(".js") && is(Language::Node) => format!("cmd: node {name}"),
            _ if self.package_json && is(Language::Node) => "cmd: npm start".into(),
            // Which of the sources is to be started is for the user to say.
            _ if is(Language::Python) => "# cmd: python main.py".into(),
            _ => "# cmd: node index.js".into(),
        }
    }
}
