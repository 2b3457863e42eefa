//! The agent's home, which has two names: `/home`, and the path that HOME says, below the root's second place.
//!
//! It is one directory. What is mounted below `/home` is mounted below HOME, and `/home` leads there by symbolic links: two
//! mounts of one tree would need every cover twice. Nothing but the home's own entries is in it: where the project itself
//! lies below `/home`, the way to it is made in a directory of ours and not in the agent's.

use crate::args::{Args, Mount};
use libsbox::dir::Dir;
use libsbox::operation::Op;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The short name.
const SHORT: &str = "/home";

/// More entries than this of a home are not listed in `/home` where that is a directory of ours; in HOME they are.
const MOST_ENTRIES: usize = 4096;

/// Where the home is inside, if it is not at [`SHORT`] itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    /// What HOME says.
    place: PathBuf,
    /// The directory on the host.
    source: PathBuf,
    /// The entries of `/home` that are not the home's: the way to something that lies below it.
    others: BTreeSet<OsString>,
}

impl Home {
    /// The home of a sandbox in which HOME is `place`; nothing if that is not the home of its root at a second place.
    pub fn of(args: &Args, place: &Path) -> Option<Home> {
        let root = args.root.as_deref()?;
        let bound = |wanted: &Path| args.bind_nofollow.iter().rev().find(|(_, dst)| dst == wanted).map(|(dir, _)| dir);
        let source = match bound(place) {
            Some(dir) => dir.clone(),
            None => {
                let is_root = place.ends_with("home") && bound(place.parent()?).is_some_and(|dir| dir == root);
                is_root.then(|| root.join("home"))?
            }
        };
        let elsewhere = args.bind_nofollow.iter().map(|(_, dst)| dst).chain(args.links.iter().map(|(_, dst)| dst));
        let elsewhere = elsewhere.chain(args.own_overlays.iter().map(|(_, dst, _)| dst));
        let others = elsewhere.filter_map(|dst| first_below(dst)).collect();
        (place != Path::new(SHORT)).then(|| Home { place: place.to_owned(), source, others })
    }

    /// Gives what is mounted below `/home` its place below HOME.
    pub fn move_mounts(&self, args: &mut Args) {
        for mount in &mut args.mounts {
            let (Mount::Bind { dst, .. } | Mount::Cow { dst, .. } | Mount::Tmpfs { dst }) = mount;
            let first = first_below(dst);
            if let Ok(rest) = dst.strip_prefix(SHORT)
                && first.is_none_or(|first| !self.others.contains(&first))
            {
                *dst = if rest.as_os_str().is_empty() { self.place.clone() } else { self.place.join(rest) };
            }
        }
    }

    /// What of `/home` is there before anything is mounted.
    pub fn before(&self) -> Option<Op> {
        let own = Op::Tmpfs { dst: SHORT.into(), mode: 0o755, seal: true, size: None };
        (!self.others.is_empty()).then_some(own)
    }

    /// The links that lead from `/home` to HOME, once everything is mounted.
    pub fn links(&self, args: &Args) -> Vec<Op> {
        if self.others.is_empty() {
            return vec![Op::Link { dst: SHORT.into(), target: self.place.clone() }];
        }
        let mounted = args.mounts.iter().rev().find(|mount| mount.dst() == self.place);
        let source = match mounted {
            Some(Mount::Bind { src, .. } | Mount::Cow { src, .. }) => src,
            _ => &self.source,
        };
        let entries = std::fs::read_dir(source).into_iter().flatten().flatten().map(|entry| entry.file_name());
        let mut names: BTreeSet<OsString> = entries.take(MOST_ENTRIES).collect();
        let places = args.mounts.iter().map(Mount::dst);
        let first = |dst: &Path| Some(dst.strip_prefix(&self.place).ok()?.components().next()?.as_os_str().to_owned());
        names.extend(places.filter_map(first));
        let names = names.into_iter().filter(|name| !self.others.contains(name));
        names.map(|name| Op::Link { dst: Path::new(SHORT).join(&name), target: self.place.join(name) }).collect()
    }

    /// Whether something is in the home, or on the way to it from `/home`.
    pub fn has(&self, dst: &Path) -> bool {
        dst.starts_with(&self.place)
    }

    /// Removes from the agent's home the empty way to the project that version 0.1.0 made there.
    pub fn clear_old_way(&self, args: &Args) {
        for (_, dst) in &args.bind_nofollow {
            let Ok(rest) = dst.strip_prefix(SHORT) else { continue };
            let is_there = rest.components().next().map(|first| self.source.join(first));
            if !is_there.is_some_and(|first| std::fs::symlink_metadata(first).is_ok_and(|first| first.is_dir())) {
                continue;
            }
            let Ok(home) = Dir::open(&self.source) else { return };
            for at in rest.ancestors() {
                let (Some(parent), Some(name)) = (at.parent(), at.file_name()) else { break };
                let parent = if parent.as_os_str().is_empty() { Dir::open(&self.source) } else { home.sub(parent) };
                if parent.is_ok_and(|parent| !parent.remove_empty(name)) {
                    break;
                }
            }
        }
    }
}

/// The first name of a path below `/home`.
fn first_below(dst: &Path) -> Option<OsString> {
    Some(dst.strip_prefix(SHORT).ok()?.components().next()?.as_os_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(project: &str, places: &[&str]) -> Args {
        let root = PathBuf::from("/x/rootfs");
        let bind = |dst: &&str| Mount::Bind { src: "/s".into(), dst: dst.into(), read_only: true };
        Args {
            root: Some(root.clone()),
            mounts: places.iter().map(bind).collect(),
            bind_nofollow: vec![(root, Path::new(project).join(".sbox/rootfs"))],
            ..Args::default()
        }
    }

    fn moved(project: &str, places: &[&str]) -> (Vec<PathBuf>, Vec<PathBuf>) {
        let mut args = args(project, places);
        let home = Home::of(&args, &Path::new(project).join(".sbox/rootfs/home")).unwrap();
        home.move_mounts(&mut args);
        let links = home.links(&args).into_iter().map(|op| op.dst().to_owned()).collect();
        (args.mounts.iter().map(|mount| mount.dst().to_owned()).collect(), links)
    }

    #[test]
    fn what_is_mounted_below_home_is_mounted_where_home_says() {
        let (places, links) = moved("/srv/p", &["/home/.claude", "/home", "/homes/x", "/work"]);
        let home = Path::new("/srv/p/.sbox/rootfs/home");
        assert_eq!(places, [home.join(".claude"), home.to_owned(), "/homes/x".into(), "/work".into()]);
        assert_eq!(links, [Path::new("/home")]);
    }

    #[test]
    fn the_way_to_a_project_below_home_is_left_alone() {
        let (places, links) = moved("/home/u/p", &["/home/.claude", "/home/u/p"]);
        assert_eq!(places, [Path::new("/home/u/p/.sbox/rootfs/home/.claude"), Path::new("/home/u/p")]);
        assert_eq!(links, [Path::new("/home/.claude")]);
    }

    #[test]
    fn what_is_mounted_as_the_home_has_its_short_names() {
        let scratch = libsbox::testing::Scratch::new("spawn-home");
        std::fs::write(scratch.join("notes"), "").unwrap();
        let mut args = args("/home/u/p", &["/home"]);
        args.mounts = vec![Mount::Bind { src: scratch.to_path_buf(), dst: "/home".into(), read_only: false }];
        let home = Home::of(&args, Path::new("/home/u/p/.sbox/rootfs/home")).unwrap();
        home.move_mounts(&mut args);
        let links: Vec<_> = home.links(&args).into_iter().map(|op| op.dst().to_owned()).collect();
        assert_eq!(links, [Path::new("/home/notes")]);
    }

    #[test]
    fn a_home_that_is_not_the_roots_is_nobodys_business() {
        assert_eq!(Home::of(&args("/srv/p", &[]), Path::new("/home")), None);
        assert_eq!(Home::of(&args("/srv/p", &[]), Path::new("/srv/q/home")), None);
        assert_eq!(Home::of(&Args::default(), Path::new("/srv/p/.sbox/rootfs/home")), None);
    }
}
