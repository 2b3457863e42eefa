//! The user's cache: `~/.sbox/cache/{bin,runtimes,pkgs}`, or what `SBOX_CACHE` names.
//!
//! An entry of `runtimes` is a directory `LANGUAGE-SERIES/PROVIDER-VERSION-FINGERPRINT` with `env` and `entry.json`. It is
//! published by one rename and never changed after: what is under a final name is whole.

use crate::checksums::{self, Sum, Sums};
use crate::error::{Context, Error, Result};
use crate::fs;
use crate::lockfile::Package;
use crate::model::{Language, Runtime};
use crate::project::Project;
use crate::registries::Registries;
use crate::time;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The root of the cache; it may not exist yet. Its path is UTF-8: it is written into records, which are JSON, and into files
/// of the environments in it.
pub fn root() -> Result<PathBuf> {
    let root = match std::env::var_os("SBOX_CACHE").filter(|path| !path.is_empty()) {
        Some(path) => std::path::absolute(path).context(|| "find the cache".into())?,
        None => crate::fs::user_home().map(|home| home.join(".sbox/cache")).ok_or_else(|| {
            Error::new("cannot find the cache: HOME is not set").hint("set HOME, or SBOX_CACHE to a directory")
        })?,
    };
    match root.to_str() {
        Some(_) => Ok(root),
        None => {
            let shown = crate::escape::visible_path(&root);
            Err(Error::new(format!("cannot use the cache '{shown}': its path is not valid UTF-8"))
                .hint("set SBOX_CACHE to another directory"))
        }
    }
}

/// What `entry.json` says.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Entry {
    /// Who made it.
    pub provider: String,
    /// The exact version of the runtime.
    pub version: String,
    /// The exact versions, where one environment has several runtimes; in the order in which they were asked for.
    pub versions: Vec<String>,
    /// What was asked for beside the runtime, or with it: see [`request`]. Empty if it was the runtime alone.
    pub request: String,
    /// Tells two runtimes of one version apart: what they were made from.
    pub fingerprint: String,
    /// Where it came from.
    pub source: String,
    /// The prefix that is written in its files.
    pub prefix: PathBuf,
    /// When it was made, RFC 3339.
    pub made_at: String,
    /// Packages in it.
    pub packages: Vec<Package>,
    /// Files below `env` in which the prefix is written.
    pub sites: Vec<PathBuf>,
    /// Bytes of its files.
    pub size: u64,
    /// SHA-256 of the file `SHA256SUMS`, which has that of each file below `env`.
    pub sums: String,
    /// Where it is. Not in the file.
    #[serde(skip)]
    pub path: PathBuf,
}

/// The name of the group that serves a runtime: `python-3.11`, `node-22`.
pub fn group(runtime: &Runtime) -> String {
    let parts = if runtime.language == Language::Python { 2 } else { 1 };
    let series = runtime.version.split('.').take(parts).collect::<Vec<_>>().join(".");
    format!("{}-{series}", runtime.language.name())
}

/// What tells two requests apart that one provider serves in different ways: several runtimes, packages, channels. A
/// hash; empty for a runtime alone.
pub fn request(runtimes: &[Runtime], channels: &[String], packages: &[String]) -> String {
    if runtimes.len() < 2 && channels.is_empty() && packages.is_empty() {
        return String::new();
    }
    let specs: Vec<String> = runtimes.iter().map(ToString::to_string).collect();
    let mut packages = packages.to_vec();
    packages.sort();
    fs::sha256(format!("{specs:?}{channels:?}{packages:?}").as_bytes())
}

/// What tells two environments of exact packages apart: the packages, by what they were verified with, and the request.
pub fn fingerprint(request: &str, packages: &[Package]) -> String {
    let mut lines: Vec<String> = packages.iter().map(|package| format!("{} {}", package.url, package.hash)).collect();
    lines.sort();
    fs::sha256(format!("{request}\n{}", lines.join("\n")).as_bytes())
}

/// The published entries that serve a runtime, newest version first; those that came with a packed sandbox
/// (`SBOX_CACHE_BESIDE`) after the user's own.
pub fn entries(runtime: &Runtime) -> Result<Vec<Entry>> {
    let beside = std::env::var_os("SBOX_CACHE_BESIDE").map(PathBuf::from).filter(|path| path.is_absolute());
    let of = |root: &Path| in_group(&root.join("runtimes").join(group(runtime)));
    let mut found = of(&root()?);
    if let Some(beside) = beside {
        found.extend(of(&beside).into_iter().filter(|entry| is_plain(entry, &beside)));
    }
    found.retain(|entry| runtime.accepts(&entry.version));
    found.sort_by_key(|entry| std::cmp::Reverse(version_key(&entry.version)));
    Ok(found)
}

/// Whether no link leads to an entry, nor to its environment: one that came with an archive would be copied from wherever it
/// leads, and an agent would read it.
fn is_plain(entry: &Entry, root: &Path) -> bool {
    let place = entry.path.strip_prefix(root).ok().map(|place| place.join("env"));
    place.is_some_and(|place| crate::dir::Dir::open(root).and_then(|root| root.sub(place)).is_ok())
}

/// The published entries of a group.
fn in_group(directory: &Path) -> Vec<Entry> {
    let items = std::fs::read_dir(directory).into_iter().flatten().flatten();
    // Entries are made under plain names. Another one came with an archive, and can be in no record.
    let published = items.filter(|item| item.file_name().to_str().is_some_and(|name| !name.starts_with('.')));
    published.filter_map(|item| read_entry(&item.path())).collect()
}

/// Every published entry, by group and version.
pub fn all() -> Result<Vec<Entry>> {
    let groups = std::fs::read_dir(root()?.join("runtimes")).into_iter().flatten().flatten();
    let mut found: Vec<Entry> =
        groups.filter(|group| group.path().is_dir()).flat_map(|group| in_group(&group.path())).collect();
    found.sort_by_key(|entry| (entry.path.parent().map(Path::to_owned), version_key(&entry.version)));
    Ok(found)
}

/// In an entry: what the npm and pip of its environment have built in.
pub const REGISTRIES: &str = "registries.json";

/// That, if they were asked.
pub fn registries(entry: &Entry) -> Option<Registries> {
    serde_json::from_slice(&fs::read_plain(&entry.path.join(REGISTRIES))?).ok()
}

/// When a build used an entry last, in seconds since 1970.
pub fn last_used(entry: &Entry) -> u64 {
    let noted = std::fs::read_to_string(entry.path.join("last_used")).ok();
    noted.and_then(|text| time::seconds_of(text.trim())).or_else(|| time::seconds_of(&entry.made_at)).unwrap_or(0)
}

/// Bytes of an entry's files.
pub fn size(entry: &Entry) -> u64 {
    // Entries of the first versions did not note it.
    if entry.size > 0 { entry.size } else { fs::measure(&entry.path).1 }
}

/// Held while an entry is copied, so that nobody removes it.
pub fn hold(entry: &Entry) -> Result<fs::Lock> {
    fs::Lock::shared(&entry.path.join("in_use"))
}

/// Removes an entry: out of sight at once, then for good. `false` if a build copies it at the moment.
pub fn remove(entry: &Entry) -> Result<bool> {
    let Some(_lock) = fs::Lock::alone(&entry.path.join("in_use"))? else { return Ok(false) };
    let trash = root()?.join("runtimes/.trash");
    fs::set_aside(&entry.path, &trash)?;
    if let Some(group) = entry.path.parent() {
        let _ = std::fs::remove_dir(group);
    }
    fs::empty_trash(&trash);
    Ok(true)
}

/// Where a micromamba that was downloaded for this machine is, if one was.
pub fn micromamba() -> Result<PathBuf> {
    Ok(root()?.join("bin/micromamba"))
}

/// The place in a project for a micromamba that its user brings, whether or not one is there; nothing if a build made a
/// link to [`micromamba`] of it, for whoever looks there.
pub fn placed_micromamba(project: &Project) -> Option<PathBuf> {
    let path = project.state().join("bin/micromamba");
    let linked = std::fs::read_link(&path).ok();
    if linked.is_some() && linked == micromamba().ok() { None } else { Some(path) }
}

/// The lock under which packages are chosen and fetched: several micromambas with one cache break each other's downloads.
/// It lies beside the packages, so that they can be moved away under it.
pub fn lock_packages(waiting: impl FnOnce()) -> Result<fs::Lock> {
    let root = root()?;
    fs::make_dirs(&root)?;
    fs::Lock::exclusive(&root.join(".pkgs.lock"), waiting)
}

/// Removes packages and programs that were downloaded; the next build fetches them again.
pub fn clear_rest() -> Result<()> {
    let root = root()?;
    let trash = root.join(".trash");
    if root.join("pkgs").symlink_metadata().is_ok() {
        // A build that fetches would lose what it has just checked.
        let _lock = lock_packages(|| crate::output::info("waiting for a build to leave the package cache"))?;
        fs::set_aside(&root.join("pkgs"), &trash)?;
    }
    for name in ["npm", "bin", "interpreters.json"] {
        fs::set_aside(&root.join(name), &trash)?;
    }
    fs::empty_trash(&trash);
    Ok(())
}

/// The checksums of an environment: of every file, and of where every link in it leads.
fn sums(env: &Path) -> Result<Sums> {
    let mut sums = Sums::new();
    crate::dir::Dir::open(env)?.walk(&mut |dir, entry, place| {
        let sum = match entry.kind {
            rustix::fs::FileType::RegularFile => {
                let shown = || format!("read '{}'", crate::escape::visible_path(place));
                Sum::File(fs::sha256_of(&mut dir.file(&entry.name)?).context(shown)?)
            }
            rustix::fs::FileType::Symlink => {
                Sum::Link(fs::sha256(dir.link(&entry.name)?.as_os_str().as_encoded_bytes()))
            }
            _ => return Ok(()),
        };
        sums.insert(place.to_owned(), sum);
        Ok(())
    })?;
    Ok(sums)
}

/// What in an entry is not as it was made.
pub fn verify(entry: &Entry) -> Result<Vec<String>> {
    let Ok(made) = std::fs::read(entry.path.join(checksums::NAME)) else {
        let name = checksums::NAME;
        return Ok(vec![format!("'{name}' is missing: it was made by an older version, or is damaged")]);
    };
    let made = match checksums::parse(&made) {
        Some(sums) if fs::sha256(&made) == entry.sums => sums,
        _ => return Ok(vec![format!("'{}' was changed", checksums::NAME)]),
    };
    let now = sums(&entry.path.join("env"))?;
    let lost = made.iter().filter_map(|(place, sum)| match now.get(place) {
        None => Some((place, "is missing")),
        Some(other) if other != sum => Some((place, "was changed")),
        _ => None,
    });
    let added = now.keys().filter(|place| !made.contains_key(*place)).map(|place| (place, "was added"));
    Ok(lost.chain(added).map(|(place, how)| format!("{}: {how}", crate::escape::visible_path(place))).collect())
}

/// A version as numbers, to compare: `3.9` is before `3.11`.
pub fn version_key(version: &str) -> Vec<u64> {
    version.split('.').map(|part| part.parse().unwrap_or(0)).collect()
}

fn read_entry(path: &Path) -> Option<Entry> {
    let mut entry: Entry = serde_json::from_slice(&fs::read_plain(&path.join("entry.json"))?).ok()?;
    entry.path = path.to_owned();
    Some(entry)
}

/// A place to make an entry in. Its name is never that of an entry, and it goes away unless it is published.
#[derive(Debug)]
pub struct Draft {
    directory: PathBuf,
    group: PathBuf,
    /// Held by whoever makes it, and by the programs that it started.
    _making: fs::Lock,
}

/// The file by whose lock a draft is in use.
const MAKING: &str = "making";

impl Draft {
    /// A fresh place in the group that serves `runtime`. Drafts that a killed process left there are removed.
    pub fn new(runtime: &Runtime) -> Result<Draft> {
        let name = group(runtime);
        // For the moment that this takes, not while anything is made.
        let _lock = lock(&name)?;
        let group = root()?.join("runtimes").join(name);
        fs::make_dirs(&group)?;
        sweep(&group)?;
        let directory = group.join(format!(".draft-{}", std::process::id()));
        fs::remove_tree(&directory)?;
        fs::make_dirs(&directory)?;
        let _making = fs::Lock::exclusive(&directory.join(MAKING), || ())?;
        Ok(Draft { directory, group, _making })
    }

    /// Where the environment goes.
    pub fn env(&self) -> PathBuf {
        self.directory.join("env")
    }

    /// Publishes the draft under its final name. If another process was first, its entry is the one that counts.
    pub fn publish(self, mut entry: Entry) -> Result<Entry> {
        let mut text = Vec::new();
        for (place, sum) in sums(&self.env())? {
            checksums::add(&mut text, &place, &sum);
        }
        entry.sums = fs::sha256(&text);
        entry.size = fs::measure(&self.env()).1;
        fs::write_atomic(&self.directory.join(checksums::NAME), &text, 0o644)?;
        let text = serde_json::to_string_pretty(&entry)?;
        fs::write_atomic(&self.directory.join("entry.json"), text.as_bytes(), 0o644)?;
        std::fs::remove_file(self.directory.join(MAKING)).context(|| "publish a cache entry".into())?;
        // The name must not survive a power cut that the content does not.
        let directory = std::fs::File::open(&self.directory).context(|| "sync the cache".into())?;
        rustix::fs::syncfs(&directory).context(|| "sync the cache".into())?;
        let name =
            format!("{}-{}-{}", entry.provider, entry.version, &entry.fingerprint[..entry.fingerprint.len().min(8)]);
        entry.path = self.group.join(name);
        match std::fs::rename(&self.directory, &entry.path) {
            Ok(()) => Ok(entry),
            Err(_) if read_entry(&entry.path).is_some() => Ok(entry),
            Err(error) => Err(error).context(|| format!("publish '{}'", entry.path.display())),
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let _ = fs::remove_tree(&self.directory);
    }
}

/// Takes the lock under which what serves a request is made: two builds of one request make it once. Another request for
/// the same runtime has a lock of its own: scripts of packages that somebody else asked for may take as long as they like.
pub fn lock_making(runtime: &Runtime, request: &str) -> Result<fs::Lock> {
    let group = group(runtime);
    lock(&if request.is_empty() {
        format!("{group}.making")
    } else {
        format!("{group}-{}.making", &request[..16.min(request.len())])
    })
}

fn lock(name: &str) -> Result<fs::Lock> {
    let runtimes = root()?.join("runtimes");
    fs::make_dirs(&runtimes)?;
    fs::Lock::exclusive(&runtimes.join(format!(".{name}.lock")), || {
        let name = name.trim_end_matches(".making");
        crate::output::info(format_args!("waiting for another build of {name}"));
    })
}

/// Removes drafts that a killed process left in a group. The caller holds the group's lock, so that none appears meanwhile.
fn sweep(group: &Path) -> Result<()> {
    for item in std::fs::read_dir(group).into_iter().flatten().flatten() {
        let is_draft = item.file_name().as_encoded_bytes().starts_with(b".draft-");
        if is_draft && fs::Lock::at_once(&item.path().join(MAKING))?.is_some() {
            fs::remove_tree(&item.path())?;
        }
    }
    Ok(())
}

/// Notes that an entry was used now.
pub fn touch(entry: &Entry) {
    // A cache on a read-only disk serves as well. Not synced: a date that is lost is of no matter, and every build waits here.
    let note = |dir: crate::dir::Dir| {
        dir.put_file("last_used".as_ref(), 0o644, |file| {
            std::io::Write::write_all(file, time::rfc3339(time::now()).as_bytes())
        })
    };
    let _ = crate::dir::Dir::open(&entry.path).and_then(note);
}
