//! The agent's home, `.sbox/rootfs/home`: its logins, sessions, histories. It outlives the rootfs around it.

use super::Project;
use crate::error::{Context, Result};
use crate::escape::visible_path;
use crate::fs;
use std::path::{Path, PathBuf};

impl Project {
    /// `.sbox/rootfs/home`.
    pub fn home(&self) -> PathBuf {
        self.rootfs().join("home")
    }

    /// `.sbox/home.kept`: where the home is for the moment in which the rootfs around it goes.
    fn kept_home(&self) -> PathBuf {
        self.state().join("home.kept")
    }
}

/// Puts `new`, or nothing, in the place of the rootfs, whose home goes over. Killed at any point, [`restore`] ends it.
pub fn replace_rootfs(project: &Project, new: Option<&Path>) -> Result<()> {
    restore(project)?;
    // The agent may have closed it: a home that cannot be seen would go with it.
    fs::reopen(&project.rootfs())?;
    // An archive can bring a link in its place: then there is no home that would be ours.
    if is_directory(&project.rootfs()) && is_directory(&project.home()) {
        rename(&project.home(), &project.kept_home())?;
    }
    fs::set_aside(&project.rootfs(), &project.trash())?;
    if let Some(new) = new {
        rename(new, &project.rootfs())?;
    }
    restore(project)
}

/// Puts a home back that an interrupted [`replace_rootfs`] has kept.
pub fn restore(project: &Project) -> Result<()> {
    if !is_directory(&project.kept_home()) {
        return Ok(());
    }
    if !is_directory(&project.rootfs()) {
        fs::set_aside(&project.rootfs(), &project.trash())?;
        // It was whole, or the old one would not have gone.
        match is_directory(&project.rootfs_new()) {
            true => rename(&project.rootfs_new(), &project.rootfs())?,
            false => fs::make_dirs(&project.rootfs())?,
        }
    }
    fs::reopen(&project.rootfs())?;
    fs::set_aside(&project.home(), &project.trash())?;
    rename(&project.kept_home(), &project.home())
}

fn is_directory(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    // To move a directory to another parent, its own `..` is written.
    fs::reopen(from)?;
    std::fs::rename(from, to).context(|| format!("move '{}' to '{}'", visible_path(from), visible_path(to)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(name: &str) -> Project {
        let root = std::env::temp_dir().join(format!("sbox-home-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&root);
        std::fs::create_dir_all(root.join(".sbox/rootfs/home")).unwrap();
        std::fs::create_dir_all(root.join(".sbox/rootfs.new/home")).unwrap();
        std::fs::write(root.join(".sbox/rootfs/home/login"), "x").unwrap();
        std::fs::write(root.join(".sbox/rootfs.new/app"), "x").unwrap();
        Project::at(&root).unwrap()
    }

    #[test]
    fn a_home_goes_over_to_the_new_rootfs() {
        let project = project("over");
        replace_rootfs(&project, Some(&project.rootfs_new())).unwrap();
        assert!(project.home().join("login").is_file() && project.rootfs().join("app").is_file());
        replace_rootfs(&project, None).unwrap();
        assert!(project.home().join("login").is_file() && !project.rootfs().join("app").exists());
        std::fs::remove_dir_all(project.root()).unwrap();
    }

    #[test]
    fn killed_at_any_point_the_home_is_put_back() {
        for steps in 1..4 {
            let project = project(&format!("killed-{steps}"));
            rename(&project.home(), &project.kept_home()).unwrap();
            if steps > 1 {
                fs::set_aside(&project.rootfs(), &project.trash()).unwrap();
            }
            if steps > 2 {
                rename(&project.rootfs_new(), &project.rootfs()).unwrap();
            }
            restore(&project).unwrap();
            assert!(project.home().join("login").is_file(), "{steps}");
            assert_eq!(project.rootfs().join("app").exists(), steps > 1);
            std::fs::remove_dir_all(project.root()).unwrap();
        }
    }

    #[test]
    fn a_link_in_the_place_of_the_rootfs_gives_away_no_home() {
        let project = project("link");
        let outside = project.root().join("outside");
        std::fs::rename(project.rootfs(), &outside).unwrap();
        std::os::unix::fs::symlink(&outside, project.rootfs()).unwrap();
        replace_rootfs(&project, Some(&project.rootfs_new())).unwrap();
        assert!(outside.join("home/login").is_file() && !project.home().join("login").exists());
        std::fs::remove_dir_all(project.root()).unwrap();
    }
}
