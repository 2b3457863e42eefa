//! Where interpreters live on a host.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// A directory variable, or a place below the home directory.
fn place(variable: &str, below_home: &str) -> Option<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(below_home));
    std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute()).or_else(home)
}

fn children(directory: Option<PathBuf>) -> Vec<PathBuf> {
    let entries = directory.into_iter().filter_map(|path| std::fs::read_dir(path).ok()).flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn on_path() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).filter(|place| place.is_absolute()).collect()
}

/// The files of these names in the `bin` directories of everything that manages Pythons, and on PATH.
pub fn pythons(names: &[String]) -> Vec<PathBuf> {
    let mut prefixes = children(place("PYENV_ROOT", ".pyenv").map(|root| root.join("versions")));
    prefixes.extend(children(place("ASDF_DATA_DIR", ".asdf").map(|root| root.join("installs/python"))));
    prefixes.extend(children(place("MISE_DATA_DIR", ".local/share/mise").map(|root| root.join("installs/python"))));
    prefixes.extend(children(place("UV_PYTHON_INSTALL_DIR", ".local/share/uv/python")));
    let condas = ["miniconda3", "anaconda3", "miniforge3", "mambaforge", "micromamba"].map(|name| place("", name));
    for root in condas.into_iter().flatten().chain(["/opt/conda".into(), "/opt/miniconda3".into()]) {
        prefixes.extend(children(Some(root.join("envs"))));
        prefixes.push(root);
    }
    for brew in ["/home/linuxbrew/.linuxbrew/opt", "/opt/homebrew/opt", "/usr/local/opt"] {
        prefixes
            .extend(children(Some(brew.into())).into_iter().filter(|path| path.to_string_lossy().contains("/python@")));
    }
    files(prefixes, names)
}

/// As [`pythons`], for `node`.
pub fn nodes() -> Vec<PathBuf> {
    let mut prefixes = children(place("NVM_DIR", ".nvm").map(|root| root.join("versions/node")));
    prefixes.extend(children(place("ASDF_DATA_DIR", ".asdf").map(|root| root.join("installs/nodejs"))));
    prefixes.extend(children(place("MISE_DATA_DIR", ".local/share/mise").map(|root| root.join("installs/node"))));
    let fnm = children(place("FNM_DIR", ".local/share/fnm").map(|root| root.join("node-versions")));
    prefixes.extend(fnm.into_iter().map(|version| version.join("installation")));
    prefixes.extend(children(place("VOLTA_HOME", ".volta").map(|root| root.join("tools/image/node"))));
    for brew in ["/home/linuxbrew/.linuxbrew/opt", "/opt/homebrew/opt", "/usr/local/opt"] {
        prefixes
            .extend(children(Some(brew.into())).into_iter().filter(|path| path.to_string_lossy().contains("/node")));
    }
    files(prefixes, &["node".into(), "nodejs".into()])
}

/// The files that exist, each real file once: PATH first, then the `bin` of every prefix. Directories of shims come last:
/// pyenv, asdf and mise put scripts there that look for the interpreter themselves, and take longer for it than a whole
/// environment takes to be copied. Where they would lead is among the prefixes.
fn files(prefixes: Vec<PathBuf>, names: &[String]) -> Vec<PathBuf> {
    let (shims, path): (Vec<_>, Vec<_>) = on_path().into_iter().partition(|place| place.ends_with("shims"));
    let places = path.into_iter().chain(prefixes.into_iter().map(|prefix| prefix.join("bin")));
    let system = ["/usr/local/bin", "/usr/bin", "/bin"].map(PathBuf::from);
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    for place in places.chain(system).chain(shims) {
        for file in names.iter().map(|name| place.join(name)) {
            if let Ok(real) = file.canonicalize()
                && real.is_file()
                && seen.insert(real)
            {
                found.push(file);
            }
        }
    }
    found
}
