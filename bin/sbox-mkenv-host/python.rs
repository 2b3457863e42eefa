//! CPython of the host: which one, and the steps to a copy of it.

mod finish;
mod parts;

use crate::find;
use crate::known::Known;
use crate::wheels;
use libsbox::cache::version_key;
use libsbox::error::Result;
use libsbox::escape::visible_path;
use libsbox::lockfile::Package;
use libsbox::model::Runtime;
use libsbox::provider::cannot;
use libsbox::thread;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What an interpreter says of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Python {
    pub version: String,
    implementation: String,
    pub executable: PathBuf,
    /// `sys.base_prefix`.
    prefix: PathBuf,
    /// The prefix it was built for, which its build configuration names; not the same after a move.
    built_prefix: PathBuf,
    stdlib: PathBuf,
    include: PathBuf,
    /// Debian and its descendants: packages go to `dist-packages`, and outside a virtual environment to `/usr/local`.
    debian: bool,
}

const QUESTION: &str = r#"
import json, os, sys, sysconfig, site
try:
    name = sysconfig._get_sysconfigdata_name()
    built = __import__(name, fromlist=["x"]).build_time_vars.get("prefix", sys.base_prefix)
except Exception:
    built = sys.base_prefix
v = {"base": sys.base_prefix, "platbase": sys.base_exec_prefix, "installed_base": sys.base_prefix}
print(json.dumps({
    "version": "%d.%d.%d" % sys.version_info[:3],
    "implementation": sys.implementation.name,
    "executable": os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable),
    "prefix": os.path.realpath(sys.base_prefix),
    "built_prefix": built,
    "stdlib": os.path.realpath(os.path.dirname(os.__file__)),
    "include": sysconfig.get_path("include", vars=v),
    "debian": any(p.endswith("dist-packages") for p in site.getsitepackages()),
}))
"#;

/// The host's Python with the highest version that fits. What is known from an earlier build will do if it is only asked
/// about, and not copied.
pub fn find(runtime: &Runtime, is_only_asked: bool) -> Result<Python> {
    let series = runtime.version.split('.').take(2).collect::<Vec<_>>().join(".");
    let names = [format!("python{series}"), "python3".into(), "python".into()];
    let mut others: Vec<String> = Vec::new();
    let mut best: Option<Python> = None;
    // Each question is a start of an interpreter. Those that their real name says to be of another series are asked only
    // for the message that there is no right one; shims, which lead to one of the others, if there is nothing else.
    let is_shim = |file: &Path| file.parent().is_some_and(|place| place.ends_with("shims"));
    let is_likely = |file: &PathBuf| may_be(file, &series) && !is_shim(file);
    let (likely, unlikely): (Vec<_>, Vec<_>) = find::pythons(&names).into_iter().partition(is_likely);
    let asked = ask_all(&likely, is_only_asked);
    let found = asked.iter().flatten().any(|python| runtime.accepts(&python.version));
    let rest = unlikely.iter().filter(|_| !found).map(|file| ask(file));
    for python in asked.into_iter().chain(rest).flatten() {
        if !runtime.accepts(&python.version) {
            let found = format!("{} ({})", python.version, visible_path(&python.executable));
            if !others.contains(&found) {
                others.push(found);
            }
        } else if best.as_ref().is_none_or(|best| version_key(&best.version) < version_key(&python.version)) {
            best = Some(python);
        }
    }
    if let Some(python) = best.as_ref().filter(|python| python.debian) {
        // Said before anything is made, so that `sbox doctor` and `sbox init` know it, too.
        wheels::pip(&wheels::all(&python.stdlib), &python.executable)?;
    }
    best.ok_or_else(|| match others.is_empty() {
        true => cannot("no Python on PATH, in pyenv, asdf, mise, uv, conda or Homebrew"),
        false => cannot(format!("no Python {} on this host; it has {}", runtime.version, others.join(", "))),
    })
}

/// Whether the file that this is in the end, `python3.12`, does not name another series.
fn may_be(file: &Path, series: &str) -> bool {
    let real = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    let name = real.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let named =
        name.strip_prefix("python").filter(|rest| rest.contains('.') && rest.starts_with(|c: char| c.is_ascii_digit()));
    named.is_none_or(|rest| rest == series)
}

/// Asks all at once.
fn ask_all(files: &[PathBuf], is_only_asked: bool) -> Vec<Option<Python>> {
    let mut known = Known::read();
    let kept = |file: &PathBuf| if is_only_asked { known.get(file) } else { None };
    let answers: Vec<(Option<Python>, bool)> = std::thread::scope(|scope| {
        let asked = |file| match kept(file) {
            Some(python) => Err(Box::new(python)),
            None => Ok((file, thread::spawn_scoped(scope, move || ask(file)))),
        };
        let all: Vec<_> = files.iter().map(asked).collect();
        let answers = all.into_iter().map(|one| match one {
            Ok((_, Ok(thread))) => (thread.join().unwrap_or(None), true),
            // No thread to be had: one after the other.
            Ok((file, Err(_))) => (ask(file), true),
            Err(python) => (Some(*python), false),
        });
        answers.collect()
    });
    let mut is_new = false;
    for (file, (answer, is_fresh)) in files.iter().zip(&answers) {
        if let (Some(python), true) = (answer, is_fresh) {
            known.keep(file, python);
            is_new = true;
        }
    }
    if is_new {
        known.write();
    }
    answers.into_iter().map(|(answer, _)| answer).collect()
}

fn ask(file: &Path) -> Option<Python> {
    let mut command = Command::new(file);
    command.args(["-I", "-S", "-c", QUESTION]).stdin(Stdio::null()).stderr(Stdio::null()).current_dir("/");
    let output = command.output().ok().filter(|output| output.status.success())?;
    let python: Python = serde_json::from_slice(&output.stdout).ok()?;
    (python.implementation == "cpython").then_some(python)
}

impl Python {
    fn series(&self) -> String {
        self.version.split('.').take(2).collect::<Vec<_>>().join(".")
    }

    /// Whether it shares its prefix with the rest of the system, so that the prefix itself means nothing.
    fn is_the_systems(&self) -> bool {
        ["/usr", "/usr/local", "/"].iter().any(|prefix| self.prefix == Path::new(prefix))
    }

    fn name(&self) -> String {
        format!("python{}", self.series())
    }
}

pub fn make(python: &Python, prefix: &Path) -> Result<Vec<Package>> {
    // Debian's interpreter installs to /usr/local unless it is in a virtual environment. So it becomes one: the copy of
    // the interpreter is the base, and the prefix is an environment on it.
    let base = if python.debian { prefix.join("base") } else { prefix.to_owned() };
    parts::copy(python, &base)?;
    if python.debian {
        parts::environment_on(python, prefix)?;
    }
    finish::relocate(python, &base)?;
    let lib = prefix.join(format!("lib/{}", python.name()));
    if !lib.join("site-packages/pip").is_dir() {
        finish::install_pip(python, prefix, &base)?;
    }
    finish::compile(python, prefix)?;
    finish::check(python, prefix)
}
