//! Reading entries of a layer or of the host by their paths, one after the other.

use crate::dir::Dir;
use crate::error::{Error, Result};
use std::fs::File;
use std::path::{Path, PathBuf};

/// A tree whose entries are read by path. The directory of the last one stays open: most come from the same.
#[derive(Debug)]
pub struct Tree {
    root: Dir,
    layer: bool,
    last: Option<(PathBuf, Dir)>,
}

impl Tree {
    /// The tree of the host.
    pub fn host(layer: &super::Layer) -> Result<Tree> {
        Ok(Tree { root: layer.host()?, layer: false, last: None })
    }

    /// The tree of a layer: what the agent made unreadable can be read, too.
    pub fn layer(root: &Path) -> Result<Tree> {
        Ok(Tree { root: Dir::open(root)?, layer: true, last: None })
    }

    /// The directory that `path` is in.
    pub fn parent(&mut self, path: &Path) -> Result<&Dir> {
        let place = path.parent().unwrap_or(Path::new(""));
        if self.last.as_ref().is_none_or(|(last, _)| last != place) {
            self.last = Some((place.to_owned(), self.open(place)?));
        }
        let dir = self.last.as_ref().map(|(_, dir)| dir);
        dir.ok_or_else(|| Error::new("a directory was not opened"))
    }

    /// Forgets what is open: directories may have been replaced.
    pub fn forget(&mut self) {
        self.last = None;
    }

    fn open(&self, place: &Path) -> Result<Dir> {
        if !self.layer {
            return self.root.sub(if place.as_os_str().is_empty() { Path::new(".") } else { place });
        }
        self.root.sub_lent_at(place)
    }

    /// The regular file at `path`.
    pub fn file(&mut self, path: &Path) -> Result<File> {
        let (layer, name) = (self.layer, path.file_name().unwrap_or_default());
        let dir = self.parent(path)?;
        if layer { dir.file_lent(name) } else { dir.file(name) }
    }

    /// Where the link at `path` points.
    pub fn link(&mut self, path: &Path) -> Result<PathBuf> {
        self.parent(path)?.link(path.file_name().unwrap_or_default())
    }
}
