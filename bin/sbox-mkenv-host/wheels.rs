//! The wheels of pip and its friends that a host has on its disk: what makes an environment of an interpreter without pip.

use libsbox::error::Result;
use libsbox::escape::visible_path;
use libsbox::provider::cannot;
use std::path::{Path, PathBuf};

/// The wheels that Python or the distribution has on the disk.
pub fn all(stdlib: &Path) -> Vec<PathBuf> {
    let bundled = stdlib.join("ensurepip/_bundled");
    let mut wheels: Vec<PathBuf> = [bundled, "/usr/share/python-wheels".into(), "/usr/share/python3-wheels".into()]
        .into_iter()
        .flat_map(|directory| std::fs::read_dir(directory).into_iter().flatten().flatten())
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|end| end == "whl"))
        .collect();
    wheels.sort();
    wheels
}

/// The last of the wheels whose name begins so.
pub fn named<'a>(wheels: &'a [PathBuf], start: &str) -> Option<&'a PathBuf> {
    let is_it = |path: &&PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(start));
    wheels.iter().rfind(is_it)
}

/// pip's own wheel. That of Debian 11 lacks the libraries that pip brings elsewhere, and cannot install itself.
pub fn pip<'a>(wheels: &'a [PathBuf], executable: &Path) -> Result<&'a PathBuf> {
    let shown = visible_path(executable);
    let Some(pip) = named(wheels, "pip-") else {
        let what = format!("'{shown}' has no pip, and there is no wheel of it on this host");
        return Err(cannot(format!("{what} (Debian: apt-get install python3-pip-whl)")));
    };
    match named(wheels, "CacheControl-") {
        None => Ok(pip),
        Some(_) => Err(cannot(format!("the pip of '{shown}' is split into pieces, as in Debian 11"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pip_that_cannot_install_itself_is_none() {
        let python = Path::new("/usr/bin/python3.9");
        let wheels = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
        let whole = wheels(&["/w/pip-23.0-py3-none-any.whl", "/w/pip-24.0-py3-none-any.whl", "/w/wheel-0.38.whl"]);
        assert!(pip(&whole, python).unwrap().ends_with("pip-24.0-py3-none-any.whl"));
        let refused = |names: &[&str]| pip(&wheels(names), python).unwrap_err().to_string();
        assert!(refused(&["/w/setuptools-66.whl"]).contains("apt-get install python3-pip-whl"));
        assert!(refused(&["/w/CacheControl-0.12.whl", "/w/pip-20.3.4.whl"]).contains("split into pieces"));
    }
}
