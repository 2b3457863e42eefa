//! What of an interpreter is copied: its standard library, programs, headers, libraries and pip.

use super::Python;
use crate::libraries;
use libsbox::error::{Context, Result};
use libsbox::escape::visible_path;
use libsbox::fs;
use std::path::{Path, PathBuf};

/// Copies the parts to their places below `base`.
pub fn copy(python: &Python, base: &Path) -> Result<()> {
    let stdlib = python.stdlib.strip_prefix(&python.prefix).map(PathBuf::from);
    let stdlib = base.join(stdlib.unwrap_or_else(|_| Path::new("lib").join(python.name())));
    fs::copy_tree(&python.stdlib, &stdlib, &|path| keeps(&python.stdlib, path))?;
    programs(python, base)?;
    if python.include.is_dir() {
        fs::copy_tree(
            &python.include,
            &base.join("include").join(python.include.file_name().unwrap_or_default()),
            &|_| true,
        )?;
    }
    let lib = base.join("lib");
    if !python.is_the_systems() {
        companions(python, &lib)?;
    }
    if !python.debian {
        site_packages(python, &lib.join(python.name()).join("site-packages"))?;
    }
    let mut originals = libraries::elf_files(files(&python.stdlib.join("lib-dynload")));
    originals.push(python.executable.clone());
    let foreign = libraries::foreign(&originals)?;
    libraries::copy(&foreign, &lib)?;
    let copied = libraries::elf_files(files(base));
    libraries::lead_to(&lib, &copied, &foreign)
}

pub fn files(below: &Path) -> impl Iterator<Item = PathBuf> {
    walkdir::WalkDir::new(below)
        .into_iter()
        .flatten()
        .filter(|entry| entry.file_type().is_file())
        .map(walkdir::DirEntry::into_path)
}

pub fn directories(below: &Path) -> impl Iterator<Item = PathBuf> {
    walkdir::WalkDir::new(below)
        .into_iter()
        .flatten()
        .filter(|entry| entry.file_type().is_dir())
        .map(walkdir::DirEntry::into_path)
}

/// What of the standard library comes along: not the test suite, not static libraries, not what others installed, and no
/// link that leads out of it (Debian's sitecustomize is the host's).
fn keeps(stdlib: &Path, path: &Path) -> bool {
    const LEFT_OUT: [&str; 12] = [
        "site-packages",
        "dist-packages",
        "EXTERNALLY-MANAGED",
        "test",
        "idlelib/idle_test",
        "lib2to3/tests",
        "ctypes/test",
        "distutils/tests",
        "sqlite3/test",
        "tkinter/test",
        "unittest/test",
        "sitecustomize.py",
    ];
    if LEFT_OUT.iter().any(|name| path == Path::new(name))
        || path.extension().is_some_and(|end| end == "a" || end == "o")
    {
        return false;
    }
    match stdlib.join(path).read_link() {
        Ok(target) => {
            target.is_relative() && stdlib.join(path).canonicalize().is_ok_and(|real| real.starts_with(stdlib))
        }
        Err(_) => true,
    }
}

/// The interpreter under its three names, and the scripts that belong to it.
fn programs(python: &Python, base: &Path) -> Result<()> {
    let bin = base.join("bin");
    fs::make_dirs(&bin)?;
    fs::copy_file(&python.executable, &bin.join(python.name()))?;
    for name in ["python3", "python"] {
        link(&python.name(), &bin.join(name))?;
    }
    let own = python.executable.parent().unwrap_or(Path::new("/usr/bin"));
    let wanted: &[&str] = if python.debian { &[] } else { &["pip", "pydoc", "idle", "2to3"] };
    for entry in std::fs::read_dir(own).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let plain = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.' || c == '-');
        let config = [format!("{}-config", python.name()), "python3-config".into(), "python-config".into()];
        let mine = wanted.contains(&plain) || (config.contains(&name) && !python.is_the_systems());
        let target = bin.join(&name);
        if !mine || target.symlink_metadata().is_ok() {
            continue;
        }
        match entry.path().read_link() {
            Ok(place) if place.components().count() == 1 => link(&place.to_string_lossy(), &target)?,
            Ok(_) => {}
            Err(_) => fs::copy_file(&entry.path(), &target)?,
        }
    }
    Ok(())
}

fn link(target: &str, at: &Path) -> Result<()> {
    std::os::unix::fs::symlink(target, at).context(|| format!("link '{}'", visible_path(at)))
}

/// Beside the standard library: libpython, pkg-config files, Tcl and Tk.
fn companions(python: &Python, lib: &Path) -> Result<()> {
    let from = python.prefix.join("lib");
    for entry in std::fs::read_dir(&from).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let shared = name.starts_with("libpython") && name.contains(".so");
        let data = ["tcl", "tk", "itcl", "tdbc", "thread"]
            .iter()
            .any(|start| name.strip_prefix(start).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit())));
        let target = lib.join(&name);
        fs::make_dirs(lib)?;
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && (data || name == "pkgconfig") => {
                let keep = |path: &Path| data || path.to_string_lossy().starts_with("python");
                fs::copy_tree(&entry.path(), &target, &keep)?;
            }
            Ok(kind) if kind.is_file() && shared => fs::copy_file(&entry.path(), &target)?,
            Ok(kind) if kind.is_symlink() && shared => {
                let place = entry.path().read_link().unwrap_or_default();
                if place.components().count() == 1 {
                    link(&place.to_string_lossy(), &target)?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Of what is installed: pip and what it builds packages with. Everything else is the user's, not the agent's.
fn site_packages(python: &Python, target: &Path) -> Result<()> {
    fs::make_dirs(target)?;
    // Fedora has the standard library in lib64 and packages in lib.
    let from =
        [python.stdlib.join("site-packages"), python.prefix.join("lib").join(python.name()).join("site-packages")];
    let Some(from) = from.into_iter().find(|path| path.join("pip").is_dir()) else { return Ok(()) };
    let wanted = |path: &Path| {
        let first =
            path.components().next().map(|part| part.as_os_str().to_string_lossy().into_owned()).unwrap_or_default();
        let package = first.split('-').next().unwrap_or_default();
        let is_information = first.ends_with(".dist-info") || first.ends_with(".egg-info");
        match package {
            "pip" | "setuptools" | "wheel" => first == package || is_information,
            "distutils" => first == "distutils-precedence.pth",
            _ => ["pkg_resources", "_distutils_hack", "README.txt"].contains(&first.as_str()),
        }
    };
    fs::copy_tree(&from, target, &wanted)
}

/// `pyvenv.cfg`, the interpreter's names as links to the base, and a place for packages (PEP 405).
pub fn environment_on(python: &Python, prefix: &Path) -> Result<()> {
    let bin = prefix.join("bin");
    fs::make_dirs(&bin)?;
    fs::make_dirs(&prefix.join(format!("lib/{}/site-packages", python.name())))?;
    let home = prefix.join("base/bin");
    let text =
        format!("home = {}\ninclude-system-site-packages = false\nversion = {}\n", home.display(), python.version);
    fs::write_atomic(&prefix.join("pyvenv.cfg"), text.as_bytes(), 0o644)?;
    link(&format!("../base/bin/{}", python.name()), &bin.join(python.name()))?;
    link(&python.name(), &bin.join("python3"))?;
    link(&python.name(), &bin.join("python"))
}
