//! What makes a copy a Python of its new place: paths, pip, byte code, and a trial.

use super::{Python, parts};
use crate::{libraries, wheels};
use libsbox::bytecode;
use libsbox::cache::version_key;
use libsbox::error::{Context, Error, Result};
use libsbox::escape::{visible, visible_path};
use libsbox::lockfile::Package;
use libsbox::plumbing::{self, relocate::Relocate, spawn};
use libsbox::provider::cannot;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Makes the files name the new prefix. Only text: the interpreter finds its prefix by itself, from where it is.
pub fn relocate(python: &Python, base: &Path) -> Result<()> {
    let built = python.built_prefix.clone();
    let is_configuration = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.starts_with("_sysconfigdata")
            || name == "Makefile"
            || name.ends_with(".pc")
            || name.ends_with("-config")
            || name == "python-config.py"
    };
    let texts: Vec<PathBuf> = parts::files(base).filter(|path| !libraries::is_elf(path)).collect();
    let configuration: Vec<PathBuf> = texts.iter().filter(|path| is_configuration(path)).cloned().collect();
    if python.is_the_systems() {
        // `/usr` itself stands for the system in most places; only what was copied has moved.
        let include = python.include.clone();
        let moved = [
            (python.stdlib.clone(), base.join("lib").join(python.name())),
            (include.clone(), base.join("include").join(include.file_name().unwrap_or_default())),
            (python.prefix.join("bin").join(python.name()), base.join("bin").join(python.name())),
        ];
        return rewrite(&moved, base, &configuration);
    }
    rewrite(&[(python.prefix.clone(), base.to_owned())], base, &texts)?;
    if built != python.prefix && built.is_absolute() && built.components().count() > 1 {
        // It was moved before, or built elsewhere: a short old prefix (`/install`) is only one where prefixes are named.
        rewrite(&[(built, base.to_owned())], base, &configuration)?;
    }
    Ok(())
}

fn rewrite(moved: &[(PathBuf, PathBuf)], base: &Path, only: &[PathBuf]) -> Result<()> {
    let below = only.iter().filter_map(|path| path.strip_prefix(base).ok());
    let ways = moved.iter().map(|(from, to)| (&**from, &**to));
    Relocate::new(ways)?.only(below).run(base, None).map(drop)
}

/// Installs pip from a wheel: no network.
pub fn install_pip(python: &Python, prefix: &Path, base: &Path) -> Result<()> {
    let wheels = wheels::all(&base.join("lib").join(python.name()));
    let pip = wheels::pip(&wheels, &python.executable)?;
    const INSTALL: &str = "import runpy, sys; sys.path.insert(0, sys.argv[1]); sys.argv[1:] = ['install', '--no-index', \
        '--no-deps', '--no-cache-dir', '--disable-pip-version-check', '--no-warn-script-location', '--no-compile', *sys.argv[1:]]; \
        runpy.run_module('pip', run_name='__main__')";
    let mut words: Vec<OsString> =
        vec![prefix.join("bin").join(python.name()).into(), "-I".into(), "-c".into(), INSTALL.into(), pip.into()];
    // From 3.12 on nothing expects setuptools to be there.
    if version_key(&python.series()) < vec![3, 12] {
        words.extend(wheels::named(&wheels, "setuptools-").map(OsString::from));
    }
    plumbing::output(&mut spawn::in_prefix(prefix, prefix, &words)?).map(drop)
}

/// Byte code for everything that has none or whose source changed. Files that do not compile are not Python's concern here.
pub fn compile(python: &Python, prefix: &Path) -> Result<()> {
    for directory in parts::directories(&prefix.join("lib")).chain(parts::directories(&prefix.join("base"))) {
        for stale in bytecode::stale_in(&directory) {
            std::fs::remove_file(&stale.byte_code)
                .context(|| format!("remove '{}'", visible_path(&stale.byte_code)))?;
        }
    }
    let mut words: Vec<OsString> = vec![prefix.join("bin").join(python.name()).into()];
    words.extend(["-I", "-W", "ignore", "-m", "compileall", "-qq", "-j", "2"].map(OsString::from));
    words.push(prefix.join("lib").into());
    if python.debian {
        words.push(prefix.join("base/lib").into());
    }
    let mut command = spawn::in_prefix(prefix, prefix, &words)?;
    plumbing::trace(&command);
    let output = plumbing::die_with_parent(&mut command).output().context(|| "compile the standard library".into())?;
    // 1: some file did not compile, as some in the standard library are meant not to.
    if output.status.code().is_some_and(|code| code <= 1) {
        Ok(())
    } else {
        Err(Error::new("cannot compile the standard library"))
    }
}

/// Runs the copy once, confined: that it starts, says the new prefix, and has what programs expect of a Python.
pub fn check(python: &Python, prefix: &Path) -> Result<Vec<Package>> {
    const TRY: &str = r#"
import json, sys, sysconfig, pip
bad = []
for name in "ssl hashlib sqlite3 ctypes zlib bz2 lzma json socket".split():
    try: __import__(name)
    except ImportError as e: bad.append("%s: %s" % (name, e))
print(json.dumps([sys.prefix, sysconfig.get_path("purelib"), sysconfig.get_path("scripts"), pip.__version__, bad, pip.__file__]))
"#;
    let words = [prefix.join("bin/python3").into_os_string(), "-I".into(), "-c".into(), TRY.into()];
    let output = spawn::in_prefix(prefix, prefix, &words)?.output().context(|| "try the new Python".into())?;
    let said: Option<(PathBuf, PathBuf, PathBuf, String, Vec<String>, PathBuf)> =
        serde_json::from_slice(&output.stdout).ok();
    let Some((own, purelib, scripts, pip, missing, pip_file)) = said else {
        let why = String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or("it said nothing").to_owned();
        return Err(cannot(format!(
            "the copy of '{}' does not start: {}",
            visible_path(&python.executable),
            visible(&why)
        )));
    };
    if own != prefix || ![&purelib, &scripts, &pip_file].iter().all(|path| path.starts_with(prefix)) {
        let message =
            format!("the copy of '{}' believes to be in '{}'", visible_path(&python.executable), visible_path(&own));
        return Err(cannot(message));
    }
    for module in missing {
        libsbox::output::warn(format_args!("Python {} has no module {}", python.version, visible(&module)));
    }
    let package =
        |name: &str, version: &str| Package { name: name.into(), version: version.into(), ..Package::default() };
    Ok(vec![package("python", &python.version), package("pip", &pip)])
}
