//! Where a path is: the directory that it is in, opened without following what an agent can have put there, and its name.

use libsbox::config::{Config, MountEntry};
use libsbox::cow;
use libsbox::dir::Dir;
use libsbox::error::{Context, Error, Result};
use libsbox::escape::visible_path;
use libsbox::inner_source;
use libsbox::model;
use libsbox::project::Project;
use rustix::fs::FileType;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// One side of a copy.
pub struct Place {
    pub parent: Dir,
    pub name: OsString,
    /// Whether it is in the sandbox.
    pub inside: bool,
}

impl Place {
    /// What is there; nothing if there is nothing.
    pub fn kind(&self) -> Result<Option<FileType>> {
        Ok(self.parent.stat(&self.name)?.map(|stat| FileType::from_raw_mode(stat.st_mode)))
    }

    /// The directory that it is.
    pub fn directory(&self) -> Result<Dir> {
        self.parent.sub(&self.name)
    }

    /// `below` in a directory whose own path is trusted.
    fn below(root: &Path, below: &Path, inside: bool) -> Result<Place> {
        let name = below
            .file_name()
            .ok_or_else(|| Error::new(format!("'{}' cannot be copied as a whole", visible_path(root.join(below)))))?;
        let parent = below.parent().filter(|parent| !parent.as_os_str().is_empty());
        let root = Dir::open(root)?;
        let parent = parent.map_or(Ok(root.sub(".")?), |parent| root.sub(parent).map_err(|error| through(&error)))?;
        Ok(Place { parent, name: name.to_owned(), inside })
    }
}

/// The kernel's words for a link where none may be are about how many there are.
fn through(error: &Error) -> Error {
    let text = error.to_string();
    match text.split_once(": too many levels of symbolic links") {
        Some((what, _)) => Error::new(format!("{what}: it leads through a symbolic link, which is not followed"))
            .hint("name the directory that the link leads to, if you want that"),
        None => Error::new(text),
    }
}

/// The places of a project.
pub struct Places<'a> {
    project: &'a Project,
    config: &'a Config,
    /// Directories of this machine that the agent can write: links in them are its.
    writable: Vec<PathBuf>,
}

impl<'a> Places<'a> {
    pub fn new(project: &'a Project, config: &'a Config) -> Places<'a> {
        let can_write = config.mount.iter().filter(|mount| mount.mode == model::MountMode::ReadWrite);
        let writable = can_write.filter_map(|mount| mount.src.canonicalize().ok());
        let own = [project.rootfs(), project.env(), project.state().join("cow")];
        Places { project, config, writable: writable.chain(own).collect() }
    }

    /// A path of this machine that is there.
    pub fn host(&self, path: &Path) -> Result<Place> {
        let source = inner_source::resolve(path, &self.writable)?;
        Places::of_source(&source, Path::new(""), false)
    }

    /// One that is not there yet, in a directory that is.
    pub fn host_to_be(&self, path: &Path) -> Result<Place> {
        let path = std::path::absolute(path).context(|| format!("find '{}'", visible_path(path)))?;
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Error::new(format!("cannot write '{}'", visible_path(&path))));
        };
        let source = inner_source::resolve(parent, &self.writable)?;
        Places::of_source(&source, Path::new(name), false)
    }

    fn of_source(source: &inner_source::Source, rest: &Path, inside: bool) -> Result<Place> {
        let (root, below) = match source.below() {
            Some((root, below)) => (root, below.join(rest)),
            None => match (source.path.parent(), source.path.file_name()) {
                _ if !rest.as_os_str().is_empty() => (source.path.as_path(), rest.to_owned()),
                (Some(parent), Some(name)) => (parent, PathBuf::from(name)),
                _ => (source.path.as_path(), PathBuf::new()),
            },
        };
        Place::below(root, below.components().as_path(), inside)
    }

    /// Whether a path in the sandbox is in a mount of which only a sandbox sees the whole. A private copy of a tree is whole.
    pub fn is_in_overlay(&self, path: &Path) -> Result<bool> {
        let Some(mount) = self.mount_of(path).filter(|mount| mount.is_copy_on_write()) else { return Ok(false) };
        let layer = self.layer(mount)?;
        Ok(layer.is_none_or(|layer| layer.kind() == cow::Kind::Overlay))
    }

    fn layer(&self, mount: &MountEntry) -> Result<Option<cow::Layer>> {
        let source = inner_source::resolve(&mount.src, &self.writable)?;
        cow::Layer::of(self.project, &source.path, (&mount.dst, mount.is_given))
    }

    fn mount_of(&self, path: &Path) -> Option<&MountEntry> {
        let own = [self.project.env(), self.project.rootfs()];
        let covers = self.config.mount.iter().filter(|mount| path.starts_with(&mount.dst));
        let inner = covers.max_by_key(|mount| mount.dst.components().count());
        inner.filter(|_| !own.iter().any(|own| path.starts_with(own)))
    }

    /// A path in the sandbox, to be written or read.
    pub fn inside(&self, path: &Path, write: bool) -> Result<Place> {
        if path.components().any(|part| matches!(part, Component::ParentDir)) {
            return Err(Error::usage(format!("'{}' has '..' in it", visible_path(path))));
        }
        let path: PathBuf = path.components().collect();
        let shown = visible_path(&path);
        for (own, at) in [(self.project.env(), self.project.env()), (self.project.rootfs(), self.project.rootfs())] {
            if let Ok(below) = path.strip_prefix(&own) {
                return Place::below(&at, below, true);
            }
        }
        if let Some(mount) = self.mount_of(&path) {
            let written = visible_path(&mount.src);
            if write && mount.is_read_only() {
                return Err(Error::new(format!("'{shown}' is in a read-only mount of '{written}'"))
                    .hint("change the directory on this machine itself"));
            }
            let below = path.strip_prefix(&mount.dst).unwrap_or(Path::new(""));
            if let Some(layer) = self.layer(mount).ok().flatten().filter(|_| mount.is_copy_on_write()) {
                return Place::below(&layer.changes(), below, true);
            }
            let source = inner_source::resolve(&mount.src, &self.writable)?;
            return match below.as_os_str().is_empty() {
                true => Places::of_source(&source, Path::new(""), true),
                false => Places::of_source(&source, below, true),
            };
        }
        if let Some(directory) = model::reserved(&path) {
            return Err(Error::new(format!("'{shown}' is not the sandbox's own: '{directory}' is this machine's")));
        }
        Place::below(&self.project.rootfs(), path.strip_prefix("/").unwrap_or(&path), true)
    }
}
