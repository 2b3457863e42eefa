//! What a copy-on-write mount of the configuration becomes for a run.

use super::{Kind, Layer, Use, common_directory};
use crate::config::MountEntry;
use crate::error::{Error, Result};
use crate::escape::visible_path;
use crate::inner_source;
use crate::model::Isolation;
use crate::project::Project;
use std::path::{Path, PathBuf};

/// Prepares the layers of one mount for a run that begins now, at an isolation level: its own, and for a linked working
/// tree that of the repository's common directory, at its own path. `can_overlay` is asked when a layer is made, with what
/// would be mounted: source, destination, layer.
pub fn begin(
    project: &Project,
    (mounts, mount): (&[MountEntry], &MountEntry),
    isolation: Isolation,
    can_overlay: &dyn Fn(&Path, &Path, &Path) -> bool,
) -> Result<Vec<Use>> {
    if isolation == Isolation::Env {
        let message = format!("level 'env' cannot mount '{}' copy-on-write", visible_path(&mount.dst));
        return Err(Error::new(message).hint("use level 'namespace' or 'landlock'"));
    }
    let one = |src: &Path, dst: &Path| -> Result<Use> {
        let only_copies = isolation == Isolation::Landlock;
        if only_copies {
            let known = Layer::of(project, src, (dst, mount.is_given))?;
            if let Some(layer) = known.filter(|layer| layer.kind() == Kind::Overlay) {
                change_kind(&layer)?;
            }
        }
        let new =
            Layer::begin(project, src, (dst, mount.is_given), |layer| !only_copies && can_overlay(src, dst, layer))?;
        if new.is_new && new.layer.kind() == Kind::Copy {
            crate::output::info(format_args!(
                "'{}' is a private copy: an overlay cannot be had here; what you change meanwhile shows in the next run",
                visible_path(dst)
            ));
        }
        Ok(new)
    };
    let src = real_source(mounts, mount)?;
    let mut uses = vec![one(&src, &mount.dst)?];
    // At level 'landlock' a path means what it means on the host, and nothing can be put in the place of that directory.
    if let Some(common) = common_directory(&src).filter(|_| isolation != Isolation::Landlock) {
        uses.push(one(&common, &common)?);
    }
    Ok(uses)
}

/// What [`begin`] would prepare, as it is now: source, destination, and the layer if a run has made one.
pub fn planned(
    project: &Project,
    (mounts, mount): (&[MountEntry], &MountEntry),
) -> Result<Vec<(PathBuf, PathBuf, Option<Layer>)>> {
    let src = real_source(mounts, mount)?;
    let common = common_directory(&src).map(|common| (common.clone(), common));
    let places = [(src, mount.dst.clone())].into_iter().chain(common);
    places.map(|(src, dst)| Layer::of(project, &src, (&dst, mount.is_given)).map(|layer| (src, dst, layer))).collect()
}

/// The source of a mount without links, found before anything is mounted. Where it lies in a directory that another mount makes
/// writable, a link there is the agent's, and is refused.
pub(super) fn real_source(mounts: &[MountEntry], mount: &MountEntry) -> Result<PathBuf> {
    let writable = |other: &&MountEntry| !other.is_read_only() && !other.is_copy_on_write();
    let writable: Vec<PathBuf> =
        mounts.iter().filter(writable).filter_map(|other| other.src.canonicalize().ok()).collect();
    Ok(inner_source::resolve(&mount.src, &writable)?.path)
}

/// An overlay that holds nothing is forgotten, so that a copy can take its place.
fn change_kind(layer: &Layer) -> Result<()> {
    let refuse = |why: &str| -> Error {
        let message = format!("'{}' cannot be used at level 'landlock': {why}", visible_path(layer.dst()));
        Error::new(message).hint("sbox apply or sbox discard, then run it again")
    };
    let alone: crate::fs::Lock = layer.take()?.ok_or_else(|| refuse("a sandbox of another level uses it"))?;
    match layer.is_empty() {
        true => layer.forget(&alone),
        false => Err(refuse("its overlay has changes of the agent's")),
    }
}
