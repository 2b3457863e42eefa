//! One layer: where it lies, what it belongs to, and who uses it.

use super::{Runs, base, now, offline};
use crate::config::MountEntry;
use crate::dir::Dir;
use crate::error::{Context, Error, Result};
use crate::escape::visible_path;
use crate::fs::{self, Lock};
use crate::marks;
use crate::project::Project;
use serde::{Deserialize, Serialize};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Where a mount appears, and whether it was given on the command line, for one run.
pub type Place<'a> = (&'a Path, bool);

/// With this begin the names of the layers of such mounts.
const GIVEN: &str = "given-";

/// What their directories are marked as.
const MARK: &str = "given";

/// How the agent's changes are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// In the upper directory of an overlay.
    Overlay,
    /// In a private copy of the whole tree.
    Copy,
}

/// The changes of one mount.
#[derive(Debug, Clone)]
pub struct Layer {
    path: PathBuf,
    record: Record,
    own: Option<PathBuf>,
}

/// What a layer knows of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    version: u32,
    src: PathBuf,
    dev: u64,
    ino: u64,
    dst: PathBuf,
    kind: Kind,
    created: i64,
}

/// A layer that a sandbox uses, until this is dropped and the programs that were started in the meantime have ended.
#[derive(Debug)]
pub struct Use {
    /// The layer.
    pub layer: Layer,
    /// Whether it was made by this, and is therefore empty.
    pub is_new: bool,
    _lock: Lock,
}

/// What a layer is made of, beside its record of itself and its locks.
const LEFTOVERS: [&str; 11] =
    ["upper", "work", "copy", "base", "runs.jsonl", "known", "applied", "journal", "trash", "shown", "commits.bundle"];

impl Layer {
    /// The directory of the layers of a project.
    pub fn all_below(project: &Project) -> PathBuf {
        project.state().join("cow")
    }

    fn place(project: &Project, src: &Path, (dst, is_given): Place<'_>) -> PathBuf {
        let text = dst.to_string_lossy();
        let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
        let name: String = text.trim_start_matches('/').chars().map(plain).take(40).collect();
        // What is given for one run may be something else the next time.
        let of = if is_given { [src.as_os_str().as_encoded_bytes(), b"\0"].concat() } else { Vec::new() };
        let hash = fs::sha256(&[&of, dst.as_os_str().as_encoded_bytes()].concat());
        let lead = if is_given { GIVEN } else { "" };
        Layer::all_below(project).join(format!("{lead}{name}-{}", &hash[..8]))
    }

    /// The layer of a mount, if there is one. `src` is a path without a link in it.
    pub fn of(project: &Project, src: &Path, place: Place<'_>) -> Result<Option<Layer>> {
        let path = Layer::place(project, src, place);
        let Some(mut layer) = Layer::open(&path)? else { return Ok(None) };
        layer.is_of(src)?;
        layer.own = own(project, &layer.record.src);
        Ok(Some(layer))
    }

    /// The layer in a directory, whatever it is of.
    pub fn open(path: &Path) -> Result<Option<Layer>> {
        let Some(bytes) = fs::read_plain(&path.join("layer.json")) else { return Ok(None) };
        let record: Record = serde_json::from_slice(&bytes)
            .map_err(|error| Error::new(format!("'{}' is damaged: {error}", visible_path(path.join("layer.json")))))?;
        let state = path.parent().and_then(Path::parent).and_then(|state| state.canonicalize().ok());
        let own = state.and_then(|state| state.strip_prefix(&record.src).map(Path::to_owned).ok());
        Ok(Some(Layer { path: path.to_owned(), record, own }))
    }

    /// The layers of the configuration's mounts, in their order, with those of the repositories that they belong to.
    pub fn all(project: &Project, mounts: &[MountEntry]) -> Result<Vec<Layer>> {
        let mut layers = Vec::new();
        for mount in mounts.iter().filter(|mount| mount.is_copy_on_write()) {
            let src = super::mounts::real_source(mounts, mount)?;
            layers.extend(Layer::of(project, &src, (&mount.dst, false))?);
            if let Some(common) = super::common_directory(&src) {
                layers.extend(Layer::of(project, &common, (&common, false))?);
            }
        }
        for layer in Layer::on_disk(project).into_iter().filter(Layer::is_of_a_given_mount) {
            layers.extend(Layer::of(project, layer.src(), (layer.dst(), true))?);
        }
        Ok(layers)
    }

    /// The layers of mounts that the configuration does not have any more; `known` are those that it has.
    pub fn strays(project: &Project, known: &[Layer]) -> Vec<Layer> {
        let is_known = |layer: &Layer| known.iter().any(|known| known.path() == layer.path());
        let mut strays = Layer::on_disk(project);
        strays.retain(|layer| !(is_known(layer) || layer.is_given() && layer.is_empty()));
        strays
    }

    fn on_disk(project: &Project) -> Vec<Layer> {
        let Ok(all) = Dir::open(&project.state()).and_then(|state| state.sub("cow")) else { return Vec::new() };
        let names = all.entries().unwrap_or_default().into_iter().map(|entry| entry.name);
        names.filter_map(|name| Layer::open(&Layer::all_below(project).join(name)).ok()?).collect()
    }

    fn is_given(&self) -> bool {
        self.path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(GIVEN.as_bytes()))
    }

    /// Whether it is of a mount that the user gave on this machine for one run, and holds something. No configuration says where
    /// its changes go, and an archive could bring a layer that names any directory: so it has to be marked.
    fn is_of_a_given_mount(&self) -> bool {
        let is_marked = || marks::identity(MARK, &self.path).is_some_and(|identity| marks::is_set(&identity));
        self.is_given() && !self.is_empty() && self.record.src.is_dir() && is_marked()
    }

    /// Remembers that the user gave its mount.
    pub(super) fn remember_given(&self) -> Result<()> {
        match marks::identity(MARK, &self.path) {
            Some(identity) if !marks::is_set(&identity) => marks::set(&identity, &self.path.to_string_lossy()),
            _ => Ok(()),
        }
    }

    /// Prepares the layer of a mount for a run that begins now. `can_overlay` is asked when the layer is made.
    pub fn begin(project: &Project, src: &Path, to: Place<'_>, can_overlay: impl FnOnce(&Path) -> bool) -> Result<Use> {
        let (path, dst) = (Layer::place(project, src, to), to.0);
        let below = path.strip_prefix(project.state()).unwrap_or(&path);
        Dir::open(&project.state())?.sub_or_make(below)?;
        for private in [path.parent().unwrap_or(&path), &path] {
            let mode = std::fs::Permissions::from_mode(0o700);
            std::fs::set_permissions(private, mode).context(|| format!("close '{}'", visible_path(private)))?;
        }
        let alone = Lock::at_once(&path.join("use.lock"))?;
        let known = Layer::of(project, src, to)?;
        let is_new = known.is_none();
        let layer = match known {
            Some(layer) => layer,
            None => Layer::make(project, &path, src, dst, can_overlay)?,
        };
        if let (Some(alone), false) = (&alone, is_new) {
            offline::before_a_run(&layer, alone)?;
        }
        // While others use it no run begins by itself: what one of theirs has read from the host, it may write at any time, and a
        // change of the user's since their start is one that it may not have seen.
        if alone.is_some() || is_new {
            Runs::record(&layer.runs())?;
        }
        if to.1 {
            layer.remember_given()?;
        }
        drop(alone);
        let lock = Lock::shared(&path.join("use.lock"))?;
        Ok(Use { layer, is_new, _lock: lock })
    }

    fn make(
        project: &Project,
        path: &Path,
        src: &Path,
        dst: &Path,
        can_overlay: impl FnOnce(&Path) -> bool,
    ) -> Result<Layer> {
        let shown = || format!("look at '{}'", visible_path(src));
        let (id, mode) = look_at(src)?;
        // What an earlier attempt that was killed has left here is not a layer of anything.
        let dir = Dir::open(path)?;
        for name in LEFTOVERS {
            dir.remove_tree(name.as_ref())?;
        }
        for name in ["upper", "work"] {
            std::fs::create_dir(path.join(name)).context(|| format!("make '{}'", visible_path(path)))?;
        }
        // The root of the overlay has the mode of the upper directory.
        let mode = std::fs::Permissions::from_mode(mode & 0o777);
        std::fs::set_permissions(path.join("upper"), mode).context(shown)?;
        let kind = if can_overlay(path) { Kind::Overlay } else { Kind::Copy };
        let own = own(project, src);
        let (src, dst) = (src.to_owned(), dst.to_owned());
        let record = Record { version: 1, src, dev: id.0, ino: id.1, dst, kind, created: now() };
        let layer = Layer { path: path.to_owned(), record, own };
        if kind == Kind::Copy {
            dir.remove_tree("upper".as_ref())?;
            dir.remove_tree("work".as_ref())?;
            base::copy(&layer)?;
        }
        layer.write()?;
        Ok(layer)
    }

    /// Last of what makes a layer: from here on it is one.
    fn write(&self) -> Result<()> {
        let text = serde_json::to_vec(&self.record)?;
        fs::write_locked(&self.path.join("layer.json"), &text, 0o600)
    }

    /// Makes sure that the layer is one of this source. A tree that was moved keeps its inode, one that was made again its path.
    fn is_of(&mut self, src: &Path) -> Result<()> {
        let real = src.to_owned();
        let (id, _) = look_at(src)?;
        let (same_path, same_id) = (real == self.record.src, id == (self.record.dev, self.record.ino));
        if !same_path && !same_id && !self.is_empty() {
            let message = format!(
                "the layer of '{}' holds changes of '{}', not of '{}'",
                visible_path(&self.record.dst),
                visible_path(&self.record.src),
                visible_path(&real)
            );
            let hint = format!("name that directory again, or remove '{}' to forget them", visible_path(&self.path));
            return Err(Error::new(message).hint(hint));
        }
        if !same_path || !same_id {
            (self.record.src, self.record.dev, self.record.ino) = (real, id.0, id.1);
            // Who only reads does not fail on a full disk: the next one finds the same, and writes it.
            let _ = self.write();
        }
        Ok(())
    }

    /// Whether nothing was changed in it: exact for an overlay, and never true of a copy.
    pub(super) fn is_empty(&self) -> bool {
        self.kind() == Kind::Overlay && std::fs::read_dir(self.changes()).is_ok_and(|mut dir| dir.next().is_none())
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The tree of the host that it belongs to.
    pub fn src(&self) -> &Path {
        &self.record.src
    }

    /// That tree, opened. Its path has no link in it, and what has put one there since is not followed: a part of the path may
    /// lie in a directory that a sandbox can write.
    pub fn host(&self) -> Result<Dir> {
        Dir::open_real(&self.record.src)
    }

    /// Where it appears in the sandbox.
    pub fn dst(&self) -> &Path {
        &self.record.dst
    }

    /// How it keeps changes.
    pub fn kind(&self) -> Kind {
        self.record.kind
    }

    /// The tree that the agent writes: `upper` or `copy`.
    pub fn changes(&self) -> PathBuf {
        self.path.join(if self.kind() == Kind::Overlay { "upper" } else { "copy" })
    }

    /// The record of the runs.
    pub fn runs(&self) -> PathBuf {
        self.path.join("runs.jsonl")
    }

    /// The place of the project's own `.sbox` in the tree, if the tree has it.
    pub fn own(&self) -> Option<&Path> {
        self.own.as_deref()
    }

    /// Takes the layer from all sandboxes, if none uses it.
    pub fn take(&self) -> Result<Option<Lock>> {
        Lock::at_once(&self.path.join("use.lock"))
    }

    /// Forgets everything. From the first step on it is not a layer: what is left by one that is killed, the next run removes.
    pub fn forget(&self, _alone: &Lock) -> Result<()> {
        let dir = Dir::open(&self.path)?;
        if self.is_given() {
            let _ = marks::identity(MARK, &self.path).map(|identity| marks::remove(&identity));
        }
        dir.remove_tree("layer.json".as_ref())?;
        for name in LEFTOVERS {
            dir.remove_tree(name.as_ref())?;
        }
        Ok(())
    }

    /// Makes sure that nobody else applies or discards.
    pub fn alone(&self) -> Result<Lock> {
        Lock::exclusive(&self.path.join("change.lock"), || {
            crate::output::info("waiting for another 'sbox apply' or 'sbox discard'");
        })
    }
}

/// Device and inode of a directory, and its mode. What has put a link into its path is not followed.
fn look_at(src: &Path) -> Result<((u64, u64), u32)> {
    let stat = rustix::fs::fstat(Dir::open_real(src)?).context(|| format!("look at '{}'", visible_path(src)))?;
    Ok(((stat.st_dev, stat.st_ino), stat.st_mode))
}

/// Where the project's `.sbox` lies below `src`.
fn own(project: &Project, src: &Path) -> Option<PathBuf> {
    let state = project.state().canonicalize().ok()?;
    state.strip_prefix(src).map(Path::to_owned).ok()
}
