//! Node.js of the host: the binary, its npm, its headers.

use crate::known::Known;
use crate::{Source, find, libraries};
use libsbox::cache::version_key;
use libsbox::error::{Context, Error, Result};
use libsbox::escape::visible_path;
use libsbox::fs;
use libsbox::lockfile::Package;
use libsbox::model::Runtime;
use libsbox::plumbing::spawn;
use libsbox::provider::cannot;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The host's Node.js with the highest version that fits. What is known from an earlier build will do if it is only asked
/// about, and not copied.
pub fn find(runtime: &Runtime, is_only_asked: bool) -> Result<Source> {
    let mut known = Known::read();
    let mut is_new = false;
    let candidates = find::nodes();
    let mut others = Vec::new();
    let mut best: Option<Source> = None;
    for file in &candidates {
        let kept = if is_only_asked { known.get(file) } else { None };
        let source = match kept {
            Some(source) => source,
            None => {
                let Some(source) = ask(file) else { continue };
                known.keep(file, &source);
                is_new = true;
                source
            }
        };
        if !runtime.accepts(&source.version) {
            others.push(format!("{} ({})", source.version, visible_path(file)));
        } else if best.as_ref().is_none_or(|best| version_key(&best.version) < version_key(&source.version)) {
            best = Some(source);
        }
    }
    if is_new {
        known.write();
    }
    best.ok_or_else(|| match others.is_empty() {
        true => cannot("no Node.js on PATH, in nvm, asdf, mise, fnm, volta or Homebrew"),
        false => cannot(format!("no Node.js {} on this host; it has {}", runtime.version, others.join(", "))),
    })
}

fn ask(file: &Path) -> Option<Source> {
    let script = "process.stdout.write(process.versions.node + '\\n' + process.execPath)";
    let output = Command::new(file)
        .args(["-e", script])
        .env_remove("NODE_OPTIONS")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (version, path) = text.split_once('\n')?;
    let executable = PathBuf::from(path).canonicalize().ok()?;
    Some(Source { executable, version: version.to_owned() })
}

pub fn make(source: &Source, prefix: &Path) -> Result<Vec<Package>> {
    let home = source.executable.parent().and_then(Path::parent).unwrap_or(Path::new("/"));
    let node = prefix.join("bin/node");
    fs::make_dirs(&prefix.join("bin"))?;
    fs::copy_file(&source.executable, &node)?;
    let foreign = libraries::foreign(std::slice::from_ref(&source.executable))?;
    libraries::copy(&foreign, &prefix.join("lib"))?;
    libraries::lead_to(&prefix.join("lib"), std::slice::from_ref(&node), &foreign)?;
    if home.join("include/node").is_dir() {
        fs::copy_tree(&home.join("include/node"), &prefix.join("include/node"), &|_| true)?;
    }
    let mut packages = vec![Package { name: "node".into(), version: source.version.clone(), ..Package::default() }];
    for (name, programs) in [("npm", &["npm", "npx"][..]), ("corepack", &["corepack"]), ("pnpm", &["pnpm", "pnpx"])] {
        packages.extend(package_manager(home, prefix, name, programs)?);
    }
    check(source, prefix)?;
    Ok(packages)
}

/// A package manager that came with the host's Node.js, if it is whole: Debian's npm has its parts all over /usr/share.
fn package_manager(home: &Path, prefix: &Path, name: &str, programs: &[&str]) -> Result<Option<Package>> {
    let from = home.join("lib/node_modules").join(name);
    let Ok(text) = std::fs::read(from.join("package.json")) else { return Ok(None) };
    let described: serde_json::Value =
        serde_json::from_slice(&text).map_err(|error| Error::new(format!("cannot read {name}: {error}")))?;
    let target = prefix.join("lib/node_modules").join(name);
    fs::copy_tree(&from.canonicalize().context(|| format!("read {name}"))?, &target, &|_| true)?;
    for program in programs {
        let Some(script) = described["bin"][program].as_str() else { continue };
        let link = prefix.join("bin").join(program);
        std::os::unix::fs::symlink(format!("../lib/node_modules/{name}/{}", script.trim_start_matches("./")), &link)
            .context(|| format!("link '{}'", visible_path(&link)))?;
    }
    let version = described["version"].as_str().unwrap_or_default().to_owned();
    Ok(Some(Package { name: name.into(), version, ..Package::default() }))
}

fn check(source: &Source, prefix: &Path) -> Result<()> {
    let words = [prefix.join("bin/node").into_os_string(), "--version".into()];
    let output = spawn::in_prefix(prefix, prefix, &words)?.output().context(|| "try the new Node.js".into())?;
    if String::from_utf8_lossy(&output.stdout).trim() == format!("v{}", source.version) {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(cannot(format!("the copy of '{}' does not start: {why}", visible_path(&source.executable))))
}
