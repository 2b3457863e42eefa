//! Removing entries and trees, of any depth and whatever their modes are.

use super::Dir;
use crate::error::{Context, Result};
use crate::escape::visible_path;
use rustix::fs::AtFlags;
use rustix::io::Errno;
use std::ffi::OsStr;

impl Dir {
    /// Removes `name` and everything below it, following nothing. Missing is fine; directories made read-only are no
    /// obstacle, nor is a tree deeper than there are descriptors or than a stack is: directories are moved up before
    /// they are looked into.
    pub fn remove_tree(&self, name: &OsStr) -> Result<()> {
        let shown = || format!("remove '{}'", visible_path(self.path.join(name)));
        if self.unlink(name)? {
            return Ok(());
        }
        let top = self.sub_to_empty(name)?;
        let mut moved = 0;
        loop {
            let entries = top.entries()?;
            if entries.is_empty() {
                break;
            }
            for entry in entries {
                if !top.unlink(&entry.name)? {
                    top.sub_to_empty(&entry.name)?.empty_into(&top, &mut moved)?;
                    rustix::fs::unlinkat(&top.fd, &entry.name, AtFlags::REMOVEDIR).context(shown)?;
                }
            }
        }
        drop(top);
        rustix::fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR).context(shown)
    }

    /// Removes what is in this directory; its directories are moved to `top` under names that nobody has.
    fn empty_into(&self, top: &Dir, moved: &mut u64) -> Result<()> {
        for entry in self.entries()? {
            if self.unlink(&entry.name)? {
                continue;
            }
            // To move a directory to another parent, its own `..` is written.
            self.open_to_owner(&entry.name)?;
            loop {
                *moved += 1;
                let name = format!(".sbox-removed-{moved}");
                let flags = rustix::fs::RenameFlags::NOREPLACE;
                match rustix::fs::renameat_with(&self.fd, &entry.name, &top.fd, &name, flags) {
                    Err(Errno::EXIST) => {}
                    result => {
                        break result.context(|| format!("remove '{}'", visible_path(self.path.join(&entry.name))))?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The directory `name`, which is to be removed.
    fn sub_to_empty(&self, name: &OsStr) -> Result<Dir> {
        // What belongs to another owner may be open all the same.
        let _ = self.open_to_owner(name);
        self.sub(name)
    }

    /// Removes `name` unless it is a directory; returns whether it is gone.
    fn unlink(&self, name: &OsStr) -> Result<bool> {
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(true),
            Err(Errno::ISDIR | Errno::PERM) => Ok(false),
            Err(error) => Err(error).context(|| format!("remove '{}'", visible_path(self.path.join(name)))),
        }
    }

    /// Removes `name` if it is not a directory; returns whether it did.
    pub fn remove_file(&self, name: &OsStr) -> bool {
        rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()).is_ok()
    }

    /// Removes the directory `name` if it is empty; returns whether it did.
    pub fn remove_empty(&self, name: &OsStr) -> bool {
        rustix::fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Scratch;
    use std::path::{Path, PathBuf};

    #[test]
    fn a_tree_deeper_than_there_are_descriptors_is_removed() {
        let base = Scratch::new("dir-deep");
        std::fs::create_dir(base.join("root")).unwrap();
        let mut dir = Dir::open(&base.join("root")).unwrap();
        for level in 0..3000 {
            let deeper = dir.sub_or_make(Path::new("a-long-name-so-that-the-path-is-too-long-for-the-kernel")).unwrap();
            if level % 500 == 0 {
                deeper.put_file("f".as_ref(), 0o600, |_| Ok(())).unwrap();
                deeper.put_file(".sbox-removed-1".as_ref(), 0o600, |_| Ok(())).unwrap();
            }
            dir = Dir { path: PathBuf::from("deep"), ..deeper };
        }
        drop(dir);
        Dir::open(&base).unwrap().remove_tree("root".as_ref()).unwrap();
        assert!(!base.join("root").exists());
    }

    #[test]
    fn removing_a_tree_removes_links_and_not_their_targets() {
        let base = Scratch::new("dir-remove");
        std::fs::create_dir(base.join("root")).unwrap();
        std::fs::write(base.join("kept"), "x").unwrap();
        std::fs::create_dir_all(base.join("root/a/b")).unwrap();
        std::os::unix::fs::symlink(&*base, base.join("root/a/b/up")).unwrap();
        let mut mode = std::fs::metadata(base.join("root/a/b")).unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut mode, 0o000);
        std::fs::set_permissions(base.join("root/a/b"), mode).unwrap();
        Dir::open(&base.join("root")).unwrap().remove_tree("a".as_ref()).unwrap();
        assert!(base.join("kept").is_file() && !base.join("root/a").exists());
    }
}
