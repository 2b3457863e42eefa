//! Trees that are removed: at once out of sight, later for good.

use super::make_dirs;
use crate::error::{Context, Error, Result};
use crate::escape::visible_path;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// Removes a tree, also one whose directories were made read-only. Missing is fine.
pub fn remove_tree(path: &Path) -> Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Error::new(format!("cannot remove '{}'", visible_path(path))));
    };
    match crate::dir::Dir::open(parent) {
        Ok(parent) => parent.remove_tree(name),
        Err(_) if !parent.exists() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Gives the owner access to a directory of ours that an agent may have closed (`chmod 0`): it could not be read, moved or
/// removed otherwise. Anything but a real directory is left as it is. The caller's own directory holds it, so that no
/// agent can swap it for a link.
pub fn reopen(path: &Path) -> Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() && metadata.mode() & 0o700 != 0o700 => {
            let mode = std::fs::Permissions::from_mode(metadata.mode() & 0o777 | 0o700);
            std::fs::set_permissions(path, mode).context(|| format!("open '{}'", visible_path(path)))
        }
        _ => Ok(()),
    }
}

/// Moves a tree out of the way into `trash`, where [`empty_trash`] removes it later: at once out of sight, and cheap.
pub fn set_aside(path: &Path, trash: &Path) -> Result<()> {
    if std::fs::symlink_metadata(path).is_err() {
        return Ok(());
    }
    if trash.is_symlink() {
        // It came with an archive: what is thrown away stays in the project.
        std::fs::remove_file(trash).context(|| format!("remove '{}'", visible_path(trash)))?;
    }
    make_dirs(trash)?;
    // To move a directory to another parent, its own `..` is written.
    reopen(path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    for number in 0.. {
        let target = trash.join(format!("{name}-{}-{number}", std::process::id()));
        if std::fs::symlink_metadata(&target).is_err() {
            return std::fs::rename(path, &target).context(|| format!("move '{}' away", visible_path(path)));
        }
    }
    Ok(())
}

/// Removes what was set aside, by this process or by one that was killed. A failure is not worth one here: the next
/// command tries again.
pub fn empty_trash(trash: &Path) {
    if trash.exists() {
        let _ = remove_tree(trash);
    }
}
