//! The package cache: where micromamba puts what it fetched, and whether that is what was meant.
//!
//! Since 2.6 a package lies in a folder of its address, `https/HOST_PORT/CHANNEL/SUBDIR`, with its archive beside it; before,
//! everything lay side by side. What lies there from before is still used, and stays where it is.

use crate::channel;
use crate::mamba_error::{Cause, MambaError};
use libsbox::error::{Context, Result};
use libsbox::escape;
use libsbox::fs;
use libsbox::lockfile::Package;
use serde_json::Value;
use std::fs::File;
use std::path::{Path, PathBuf};

pub struct PackageCache {
    pub dir: PathBuf,
}

/// Where a package is.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    /// What was unpacked.
    pub folder: PathBuf,
    pub archive: PathBuf,
}

impl PackageCache {
    /// Where a package is, or will be if it is in neither of its places.
    pub fn place(&self, package: &Package) -> Place {
        let [by_address, flat] = self.places(package);
        let is_there = |place: &Place| place.folder.join("info").is_dir() || place.archive.is_file();
        if !is_there(&by_address) && is_there(&flat) { flat } else { by_address }
    }

    fn places(&self, package: &Package) -> [Place; 2] {
        let file = package.url.rsplit('/').next().unwrap_or_default();
        let stem = stem(package).unwrap_or(file);
        let by_address = self.dir.join(folder_of(&package.url));
        [by_address, self.dir.clone()].map(|dir| Place { folder: dir.join(stem), archive: dir.join(file) })
    }

    /// What micromamba noted when it unpacked a package.
    fn noted(&self, package: &Package) -> Option<Value> {
        let text = fs::read_plain(&self.place(package).folder.join("info/repodata_record.json"))?;
        serde_json::from_slice(&text).ok()
    }

    /// Whether a package need not be fetched.
    pub fn has(&self, package: &Package) -> bool {
        let unpacked = self.noted(package).is_some_and(|record| match wanted(package) {
            Some(hash) if is_sha256(&record["sha256"]) => record["sha256"] == hash,
            _ => record["md5"] == *package.md5,
        });
        unpacked || self.place(package).archive.is_file()
    }

    /// Compares what was fetched with the SHA-256 that was solved for, or locked: an MD5, by which old versions check their
    /// lists, stops nobody who means it. micromamba notes the SHA-256 of what it unpacked; where it did not (before 2.6, or
    /// the record is gone), the archive is hashed.
    pub fn verify(&self, packages: &[Package]) -> Result<(), MambaError> {
        for package in packages {
            let Some(wanted) = wanted(package) else { continue };
            let place = self.place(package);
            let noted = self.noted(package).map(|record| record["sha256"].clone()).filter(is_sha256);
            let found = match (&noted, File::open(&place.archive)) {
                (Some(noted), _) => noted.as_str().unwrap_or_default().to_owned(),
                (None, Ok(mut file)) => {
                    fs::sha256_of(&mut file).context(|| format!("read '{}'", escape::visible_path(&place.archive)))?
                }
                // A record that is missing is not damage: it only says nothing.
                (None, Err(_)) => {
                    let words = format!("the cache has neither the archive nor the hash of '{}'", package.name);
                    return Err(MambaError::own(Cause::Unchecked, words));
                }
            };
            if found != wanted {
                let name = format!("{} {}", package.name, package.version);
                let words = format!("'{name}' has SHA-256 {found}, not {wanted}: {}", place.archive.display());
                return Err(MambaError::own(Cause::Damage, words));
            }
        }
        Ok(())
    }

    /// Removes those packages from the cache that `words` name, all if they name none.
    pub fn forget(&self, packages: &[Package], words: &str) -> Result<()> {
        let is_named = |package: &&Package| stem(package).is_some_and(|stem| words.contains(stem));
        let named: Vec<&Package> = packages.iter().filter(is_named).collect();
        let named = if named.is_empty() { packages.iter().collect() } else { named };
        let trash = self.dir.join(".trash");
        for place in named.iter().flat_map(|package| self.places(package)) {
            fs::set_aside(&place.archive, &trash)?;
            fs::set_aside(&place.folder, &trash)?;
        }
        fs::empty_trash(&trash);
        Ok(())
    }

    /// Takes passwords and tokens out of what micromamba noted on packages: other users of the cache, and whoever is shown it
    /// in a sandbox, are not to read them.
    pub fn hide_secrets(&self, packages: &[Package]) -> Result<()> {
        for package in packages {
            let place = self.place(package);
            self.hide_in_urls(place.archive.with_file_name("urls.txt"))?;
            let path = place.folder.join("info/repodata_record.json");
            let Some(mut record) = self.noted(package) else { continue };
            let Some(url) = record["url"].as_str().map(ToOwned::to_owned) else { continue };
            if channel::shown(&url) == url {
                continue;
            }
            let channel = record["channel"].as_str().map(channel::shown);
            if let Some(record) = record.as_object_mut() {
                record.insert("url".into(), channel::shown(&url).into());
                record.extend(channel.map(|channel| ("channel".into(), channel.into())));
            }
            fs::write_atomic(&path, format!("{record:#}").as_bytes(), 0o644)?;
        }
        self.hide_in_urls(self.dir.join("urls.txt"))
    }

    fn hide_in_urls(&self, path: PathBuf) -> Result<()> {
        let Some(text) = fs::read_plain(&path).and_then(|text| String::from_utf8(text).ok()) else { return Ok(()) };
        let public: String = text.lines().map(|line| channel::shown(line) + "\n").collect();
        if public == text { Ok(()) } else { fs::write_atomic(&path, public.as_bytes(), 0o644) }
    }

    /// How much is in the cache: packages, and bytes of what is being fetched. It changes while something comes.
    pub fn progress(&self) -> (u64, u64) {
        let is_unpacked = |entry: &walkdir::DirEntry| entry.file_type().is_dir() && entry.path().join("info").is_dir();
        let mut walk = walkdir::WalkDir::new(&self.dir).into_iter();
        let mut sum = (0, 0);
        while let Some(entry) = walk.next() {
            let Ok(entry) = entry else { continue };
            if is_unpacked(&entry) {
                sum.0 += 1;
                walk.skip_current_dir();
            } else if entry.file_type().is_file() {
                sum.1 += entry.metadata().map_or(0, |metadata| metadata.len());
            }
        }
        sum
    }
}

/// The name of a package's file without its ending, under which it is unpacked in the cache.
pub fn stem(package: &Package) -> Option<&str> {
    let name = package.url.rsplit('/').next()?;
    name.strip_suffix(".conda").or_else(|| name.strip_suffix(".tar.bz2"))
}

/// The folder of a package's address: without secrets, and without colons.
fn folder_of(url: &str) -> PathBuf {
    let url = channel::shown(url);
    let (scheme, rest) = url.split_once("://").unwrap_or(("", &url));
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let segments = path.split('/').filter(|segment| !matches!(*segment, "" | "." | ".."));
    let mut folder: PathBuf = [scheme, &host.replace(':', "_")].iter().collect();
    folder.extend(segments);
    folder.parent().map(Path::to_owned).unwrap_or_default()
}

fn wanted(package: &Package) -> Option<&str> {
    package.hash.strip_prefix("sha256:").filter(|hash| !hash.is_empty())
}

fn is_sha256(value: &Value) -> bool {
    value.as_str().is_some_and(libsbox::fs::is_sha256)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_that_of_the_address() {
        // cache-layout-urls.txt
        for (url, folder) in [
            ("http://127.0.0.1:8080/extra/linux-64/small-2.0-h0_0.conda", "http/127.0.0.1_8080/extra/linux-64"),
            ("http://user:secret@127.0.0.1:8080/extra/linux-64/s-2-0.conda", "http/127.0.0.1_8080/extra/linux-64"),
            ("http://127.0.0.1:8080/t/tk-1234/extra/linux-64/s-2-0.conda", "http/127.0.0.1_8080/extra/linux-64"),
            ("http://localhost:8080/extra/linux-64/s-2-0.conda", "http/localhost_8080/extra/linux-64"),
            ("file:///channels/extra/linux-64/s-2-0.conda", "file/channels/extra/linux-64"),
            ("https://h/../../x/s-2-0.conda", "https/h/x"),
        ] {
            assert_eq!(folder_of(url), Path::new(folder), "{url}");
        }
    }

    #[test]
    fn what_lies_there_from_before_is_found() {
        let dir = libsbox::testing::Scratch::new("pkgs");
        let cache = PackageCache { dir: dir.to_path_buf() };
        let package = Package { url: "https://h/c/noarch/x-1-0.conda".into(), ..Package::default() };
        assert_eq!(cache.place(&package).folder, dir.join("https/h/c/noarch/x-1-0"));
        std::fs::create_dir_all(dir.join("x-1-0/info")).unwrap();
        assert_eq!(cache.place(&package).folder, dir.join("x-1-0"));
        std::fs::create_dir_all(dir.join("https/h/c/noarch/x-1-0/info")).unwrap();
        assert_eq!(cache.place(&package).folder, dir.join("https/h/c/noarch/x-1-0"));
    }
}
