//! CPython of the host: the interpreter, its standard library, its headers, and pip.

use crate::known::Known;
use crate::wheels;
use crate::{find, libraries};
use libsbox::bytecode;
use libsbox::cache::version_key;
use libsbox::error::{Context, Error, Result};
use libsbox::escape::{visible, visible_path};
use libsbox::fs;
use libsbox::lockfile::Package;
use libsbox::model::Runtime;
use libsbox::plumbing;
use libsbox::plumbing::spawn;
use libsbox::provider::cannot;
use libsbox::thread;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
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
    copy(python, &base)?;
    if python.debian {
        environment_on(python, prefix)?;
    }
    relocate(python, &base)?;
    let lib = prefix.join(format!("lib/{}", python.name()));
    if !lib.join("site-packages/pip").is_dir() {
        install_pip(python, prefix, &base)?;
    }
    compile(python, prefix)?;
    check(python, prefix)
}

/// Copies the parts to their places below `base`.
fn copy(python: &Python, base: &Path) -> Result<()> {
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

fn files(below: &Path) -> impl Iterator<Item = PathBuf> {
    walkdir::WalkDir::new(below)
        .into_iter()
        .flatten()
        .filter(|entry| entry.file_type().is_file())
        .map(walkdir::DirEntry::into_path)
}

fn directories(below: &Path) -> impl Iterator<Item = PathBuf> {
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
fn environment_on(python: &Python, prefix: &Path) -> Result<()> {
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

/// Makes the files name the new prefix. Only text: the interpreter finds its prefix by itself, from where it is.
fn relocate(python: &Python, base: &Path) -> Result<()> {
    let built = python.built_prefix.clone();
    let is_configuration = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.starts_with("_sysconfigdata")
            || name == "Makefile"
            || name.ends_with(".pc")
            || name.ends_with("-config")
            || name == "python-config.py"
    };
    let texts: Vec<PathBuf> = files(base).filter(|path| !libraries::is_elf(path)).collect();
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
    let list: Vec<u8> = below.flat_map(|path| [path.as_os_str().as_bytes(), b"\0"].concat()).collect();
    let mut command = plumbing::program("sbox-relocate")?;
    command.args(["--only", "-"]);
    for (from, to) in moved {
        command.arg("--from").arg(from).arg("--to").arg(to);
    }
    let result = plumbing::output_of(command.arg(base), &list);
    result.map(drop)
}

/// Installs pip from a wheel: no network.
fn install_pip(python: &Python, prefix: &Path, base: &Path) -> Result<()> {
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
fn compile(python: &Python, prefix: &Path) -> Result<()> {
    for directory in directories(&prefix.join("lib")).chain(directories(&prefix.join("base"))) {
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
fn check(python: &Python, prefix: &Path) -> Result<Vec<Package>> {
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
