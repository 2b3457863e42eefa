//! Which changes a command line names.

use super::{Change, Layer, Node, Scan, Verdict, scan, scan_without_ignored};
use crate::config::MountEntry;
use crate::error::{Error, Result};
use crate::escape::visible_path;
use crate::project::Project;
use std::path::{Component, Path, PathBuf};

/// The layers of a project, and for each what the command line names of it.
#[derive(Debug)]
pub struct Selection {
    /// Each layer with the paths that were named below its root.
    pub layers: Vec<(Layer, Vec<PathBuf>)>,
    /// Whether everything is meant, because nothing was named.
    pub everything: bool,
    /// Whether what the host's git ignores is meant, too.
    pub with_ignored: bool,
    /// How many layers at the end belong to mounts that the configuration does not have any more.
    pub strays: usize,
}

impl Selection {
    /// Looks up the paths in the layers of a project: as paths of the host, or as the sandbox sees them.
    pub fn new(project: &Project, mounts: &[MountEntry], words: &[PathBuf]) -> Result<Selection> {
        let mut layers = Layer::all(project, mounts)?;
        let strays = Layer::strays(project, &layers);
        if layers.is_empty() && strays.is_empty() && !mounts.iter().any(MountEntry::is_copy_on_write) {
            return Err(Error::new("this project has no copy-on-write mount")
                .hint("add one to .sbox/config.yaml: mount: [\".:/work:cow\"]"));
        }
        let count = strays.len();
        layers.extend(strays);
        let mut layers: Vec<(Layer, Vec<PathBuf>)> = layers.into_iter().map(|layer| (layer, Vec::new())).collect();
        let here = std::env::current_dir().and_then(|here| here.canonicalize()).unwrap_or_default();
        for word in words {
            let at =
                layers.iter().enumerate().filter_map(|(number, (layer, _))| Some((number, below(layer, &here, word)?)));
            // The innermost of those that hold it.
            let configured = layers.len() - count;
            let found = at.min_by_key(|(number, path)| (*number >= configured, path.components().count()));
            let Some((number, path)) = found else {
                return Err(Error::usage(format!("'{}' is not in a copy-on-write mount", visible_path(word)))
                    .hint("name a path of the mounted tree, or one as the sandbox sees it"));
            };
            layers[number].1.push(path);
        }
        Ok(Selection { layers, everything: words.is_empty(), with_ignored: false, strays: count })
    }

    /// Whether a layer belongs to no mount of the configuration.
    pub fn is_stray(&self, layer: &Layer) -> bool {
        let configured = self.layers.len() - self.strays;
        self.layers.iter().skip(configured).any(|(stray, _)| stray.path() == layer.path())
    }

    /// Leaves out the layers of mounts that the configuration does not have any more; an error if one was named.
    pub fn without_strays(mut self) -> Result<Selection> {
        let configured = self.layers.len() - self.strays;
        if let Some((layer, _)) = self.layers.iter().skip(configured).find(|(_, named)| !named.is_empty()) {
            let dst = visible_path(layer.dst());
            return Err(Error::new(format!("'{dst}' is no longer a mount of the configuration"))
                .hint("add it again to apply its changes, or forget them with sbox discard"));
        }
        self.layers.truncate(configured);
        self.strays = 0;
        Ok(self)
    }

    /// What is different in the layers, as far as it was named.
    pub fn scan(&self) -> Result<Vec<(&Layer, Scan)>> {
        let mut all = Vec::new();
        for (layer, named) in self.layers.iter().filter(|(_, named)| self.everything || !named.is_empty()) {
            let mut scan = if self.with_ignored { scan(layer)? } else { scan_without_ignored(layer, named)? };
            let fits = |path: &Path| self.everything || named.iter().any(|name| path.starts_with(name));
            // A directory that has to be there first comes along.
            let leads =
                |change: &Change| is_directory(change) && named.iter().any(|name| name.starts_with(&change.path));
            scan.changes.retain(|change| fits(&change.path) || leads(change));
            scan.repositories.retain(|path| fits(path));
            scan.ignored.retain(|change| fits(&change.path));
            all.push((layer, scan));
        }
        Ok(all)
    }

    /// The same; of a layer without a mount nobody asks that its tree is still there.
    pub fn scan_for_discard(&self) -> Result<Vec<(&Layer, Scan)>> {
        let mut all = Vec::new();
        for (layer, named) in &self.layers {
            let one = Selection {
                layers: vec![(layer.clone(), named.clone())],
                everything: self.everything,
                with_ignored: self.with_ignored,
                strays: 0,
            };
            match one.scan() {
                Ok(scans) => all.extend(scans.into_iter().map(|(_, scan)| (layer, scan))),
                Err(_) if self.is_stray(layer) => all.push((layer, Scan::default())),
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    /// Whether a change that is held back was named: it, or something between it and the name that holds it back.
    pub fn names(&self, layer: &Layer, change: &Change) -> bool {
        let Verdict::Held(held) = &change.verdict else { return false };
        let named = self.layers.iter().find(|(other, _)| other.path() == layer.path());
        named.is_some_and(|(_, named)| {
            named.iter().any(|name| {
                // The root of a tree stands for all of it, and names nothing.
                let leads = is_directory(change) && name.starts_with(&change.path);
                !name.as_os_str().is_empty() && name.starts_with(&held.root) && (change.path.starts_with(name) || leads)
            })
        })
    }
}

fn is_directory(change: &Change) -> bool {
    change.new.as_ref().is_some_and(Node::is_directory)
}

/// The path of `word` below the root of a layer.
fn below(layer: &Layer, here: &Path, word: &Path) -> Option<PathBuf> {
    let path = plain(&here.join(word));
    let real = || {
        let parent = path.parent()?.canonicalize().ok()?;
        Some(parent.join(path.file_name()?))
    };
    let on_the_host = path.strip_prefix(layer.src()).map(Path::to_owned).ok();
    on_the_host
        .or_else(|| real()?.strip_prefix(layer.src()).map(Path::to_owned).ok())
        .or_else(|| word.strip_prefix(layer.dst()).ok().map(plain))
}

/// A path without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(out.pop()),
            part => out.push(part),
        }
    }
    out
}
