//! Mounts of what lies in the user's home: `~/.claude` is there in the agent's home, too.
//!
//! A bare entry (`- ~/.gitconfig`) appears at its own path, which is where scripts look that name it, and the agent's programs
//! look below HOME. It is mounted there, and its own path is a link to it: nothing of that path shows in the agent's home.

use crate::config::{Config, MountEntry};
use crate::project::Project;
use std::path::{Path, PathBuf};

/// The agent's home as a configuration names it.
const HOME: &str = "/home";

/// The place below `/home` of a mount of something in the user's home that has no other place.
pub fn place(project: &Project, config: &Config, mount: &MountEntry) -> Option<PathBuf> {
    let home = crate::fs::user_home()?;
    place_in(&home, project, config, mount)
}

/// Where a mount has its place in the rootfs; none is made for what lies in the user's home and is not in the agent's.
pub fn staged_place(project: &Project, config: &Config, mount: &MountEntry) -> Option<PathBuf> {
    let home = crate::fs::user_home().filter(|home| home.starts_with(HOME) && home != Path::new(HOME));
    match place(project, config, mount) {
        Some(place) => Some(place),
        None => (!home.is_some_and(|home| mount.dst.starts_with(home))).then(|| mount.dst.clone()),
    }
}

fn place_in(home: &Path, project: &Project, config: &Config, mount: &MountEntry) -> Option<PathBuf> {
    if home == Path::new(HOME) || home.parent().is_none() || mount.is_copy_on_write() {
        return None;
    }
    let rest = mount.dst.strip_prefix(home).ok().filter(|rest| !rest.as_os_str().is_empty())?;
    // A tree that holds the project stays where it is: the way to the project leads through it.
    if project.root().starts_with(&mount.dst) {
        return None;
    }
    let mut around = around(config, mount).peekable();
    let is_bare = mount.src == mount.dst;
    let goes = match around.peek() {
        // What is mounted in a tree goes where that goes.
        Some(_) => around.all(|outer| place_in(home, project, config, outer).is_some()),
        None => is_bare,
    };
    goes.then(|| Path::new(HOME).join(rest))
}

/// What the link at the mount's own path leads to; nothing where an outer mount's link leads there already.
pub fn link(inside: &Project, config: &Config, mount: &MountEntry, place: &Path) -> Option<PathBuf> {
    let rest = place.strip_prefix(HOME).ok()?;
    around(config, mount).next().is_none().then(|| inside.home().join(rest))
}

fn around<'a>(config: &'a Config, mount: &'a MountEntry) -> impl Iterator<Item = &'a MountEntry> {
    config.mount.iter().filter(|outer| mount.dst.starts_with(&outer.dst) && mount.dst != outer.dst)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(project: &str, mounts: &str) -> Vec<Option<PathBuf>> {
        let root = Path::new(project);
        let config = crate::check::check(&format!("runtime: node:22\nmount: [{mounts}]\n"), root).config.unwrap();
        let project = Project::at(root).unwrap();
        config.mount.iter().map(|mount| place_in(Path::new("/home/u"), &project, &config, mount)).collect()
    }

    #[test]
    fn a_bare_entry_of_the_users_home_goes_to_the_agents() {
        let all = places(
            "/home/u/p",
            "/home/u/.claude, /home/u/.claude/x, /srv/x, \"/home/u/a:/b\", \"/x:/home/u/.claude/y\"",
        );
        let at = |name: &str| Some(PathBuf::from(name));
        assert_eq!(all, [at("/home/.claude"), at("/home/.claude/x"), None, None, at("/home/.claude/y")]);
    }

    #[test]
    fn what_holds_the_project_stays_where_it_is() {
        assert_eq!(places("/home/u/w/p", "/home/u, /home/u/w, /home/u/.ssh"), [None, None, None]);
    }
}
