//! Sources that lie inside a directory which a sandbox can write.
//!
//! With `.:/work` and `./data:/data` the agent can put a link in the place of `data`: whoever opens the source by its path
//! follows it, to `~/.ssh`. Above the writable directory links are the user's and are followed; from there on none is, and
//! the source is opened beneath that directory by descriptor.

use crate::error::{Context, Error, Result};
use crate::escape::visible_path;
use rustix::fd::OwnedFd;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// As many as the kernel follows.
const MOST_LINKS: usize = 40;

/// Where a source is.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// Its path without links.
    pub path: PathBuf,
    /// The outermost writable directory that it lies in, if it does.
    pub within: Option<PathBuf>,
}

impl Source {
    /// Its path below the writable directory.
    pub fn below(&self) -> Option<(&Path, &Path)> {
        let within = self.within.as_deref()?;
        Some((within, self.path.strip_prefix(within).ok()?))
    }
}

/// Follows `src` to where it is; `writable` are the real paths of what sandboxes can write. A link in one is an error.
pub fn resolve(src: &Path, writable: &[PathBuf]) -> Result<Source> {
    // A relative path is one from the current directory, and never from the root.
    let absolute = std::path::absolute(src).context(|| format!("find source '{}'", visible_path(src)))?;
    let mut rest: VecDeque<OsString> = names(&absolute);
    let (mut here, mut links) = (PathBuf::from("/"), 0);
    while let Some(name) = rest.pop_front() {
        if name == ".." {
            here.pop();
            continue;
        }
        let next = here.join(&name);
        let metadata = std::fs::symlink_metadata(&next).context(|| format!("read source '{}'", visible_path(src)))?;
        if !metadata.is_symlink() {
            here = next;
            continue;
        }
        links += 1;
        if writable.iter().any(|directory| here.starts_with(directory)) || links > MOST_LINKS {
            let (src, link) = (visible_path(src), visible_path(&next));
            return Err(Error::new(format!("'{src}' leads through the link '{link}', which a sandbox can change"))
                .hint("it lies in a directory that is mounted read-write: name what the link leads to"));
        }
        let target = std::fs::read_link(&next).context(|| format!("read link '{}'", visible_path(&next)))?;
        if target.is_absolute() {
            here = PathBuf::from("/");
        }
        for name in names(&target).into_iter().rev() {
            rest.push_front(name);
        }
    }
    let holds = |directory: &&PathBuf| here.starts_with(directory) && here != **directory;
    let within = writable.iter().filter(holds).min_by_key(|directory| directory.components().count()).cloned();
    Ok(Source { path: here, within })
}

/// The writable directory, or file, that a path leads through or to, however it gets there: whoever can write it decides
/// what the path names. What is not there yet is taken as it is written. Directories are compared as the kernel knows
/// them, so that another name of one does not hide it.
pub fn leads_through(path: &Path, writable: &[PathBuf]) -> Option<PathBuf> {
    leads(path, writable).err()
}

/// Opens a file that no directory on the way to it can be written by a sandbox: not by the names in `path`, and not by
/// the links that they lead through. The error is the first that can.
pub fn open_apart(path: &Path, writable: &[PathBuf]) -> std::result::Result<std::io::Result<OwnedFd>, PathBuf> {
    use rustix::fs::{Mode, OFlags, ResolveFlags};
    let real = leads(path, writable)?;
    // Not a terminal, and not a pipe that nobody writes to.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    // Links were followed above: what has become one since is not the file that was looked at.
    Ok(rustix::fs::openat2(rustix::fs::CWD, &real, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS).map_err(Into::into))
}

/// Where a path leads to, without links; or the writable place on the way.
fn leads(path: &Path, writable: &[PathBuf]) -> std::result::Result<PathBuf, PathBuf> {
    use std::os::unix::fs::MetadataExt;
    let identity = |path: &Path| std::fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    let known: Vec<_> = writable.iter().map(|place| identity(place)).collect();
    let which = |metadata: &std::fs::Metadata| {
        let own = Some((metadata.dev(), metadata.ino()));
        known.iter().position(|place| *place == own).map(|at| writable[at].clone())
    };
    let by_name = |path: &Path| writable.iter().find(|place| path.starts_with(place)).cloned();
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut rest = names(&absolute);
    // Each directory that was entered, and whether the ones below are the agent's.
    let mut stack: Vec<(PathBuf, Option<PathBuf>)> = vec![(PathBuf::from("/"), None)];
    let mut links = 0;
    while let Some(name) = rest.pop_front() {
        let (here, within) = stack.last().cloned().unwrap_or_default();
        if let Some(place) = within {
            return Err(place);
        }
        if name == ".." {
            if stack.len() > 1 {
                stack.pop();
            }
            continue;
        }
        let next = here.join(&name);
        let Ok(metadata) = std::fs::symlink_metadata(&next) else {
            let missing = rest.iter().fold(next, |path, name| path.join(name));
            return by_name(&missing).map_or(Ok(missing), Err);
        };
        if !metadata.is_symlink() {
            let place = which(&metadata);
            stack.push((next, place));
            continue;
        }
        links += 1;
        let target = std::fs::read_link(&next).ok().filter(|_| links <= MOST_LINKS);
        // What cannot be followed cannot be opened.
        let Some(target) = target else { return Ok(next) };
        if target.is_absolute() {
            stack.truncate(1);
        }
        for name in names(&target).into_iter().rev() {
            rest.push_front(name);
        }
    }
    match stack.pop().unwrap_or_default() {
        (_, Some(place)) => Err(place),
        (path, None) => Ok(path),
    }
}

/// The steps of a path, `..` included, which is taken where a link has led to.
pub fn names(path: &Path) -> VecDeque<OsString> {
    let name = |part: Component<'_>| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    };
    path.components().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_are_followed_above_a_writable_directory_and_not_in_it() {
        let base = crate::testing::Scratch::new("inner");
        std::fs::create_dir_all(base.join("p/data/deep")).unwrap();
        symlink(base.join("p"), base.join("q")).unwrap();
        symlink("/etc", base.join("p/evil")).unwrap();
        let writable = [base.join("p")];
        let inside = resolve(&base.join("q/data/../data/deep"), &writable).unwrap();
        assert_eq!((inside.path, inside.within), (base.join("p/data/deep"), Some(base.join("p"))));
        assert_eq!(resolve(&base.join("q"), &writable).unwrap().within, None);
        assert!(resolve(&base.join("q/evil"), &writable).is_err());
        assert!(resolve(&base.join("p/evil/ssh"), &writable).is_err());
        let here = std::env::current_dir().unwrap().canonicalize().unwrap();
        assert_eq!(resolve(Path::new("."), &[]).unwrap().path, here);
        // Without a mount around it the link is the user's own.
        assert_eq!(resolve(&base.join("p/evil"), &[]).unwrap().path, Path::new("/etc").canonicalize().unwrap());
    }

    #[test]
    fn a_path_that_leads_through_what_a_sandbox_can_write_is_known() {
        let base = crate::testing::Scratch::new("apart");
        std::fs::create_dir_all(base.join("p/deep")).unwrap();
        std::fs::create_dir_all(base.join("safe")).unwrap();
        std::fs::write(base.join("safe/key"), "k").unwrap();
        std::fs::write(base.join("p/deep/key"), "k").unwrap();
        std::fs::write(base.join("single"), "k").unwrap();
        symlink(base.join("p/deep/key"), base.join("safe/points")).unwrap();
        symlink("../safe/key", base.join("p/back")).unwrap();
        symlink("key", base.join("safe/other")).unwrap();
        let writable = [base.join("p"), base.join("single"), base.join("later")];
        for (path, is_safe) in [
            ("safe/key", true),
            ("safe/other", true),
            ("safe/none", true),
            ("p/deep/key", false),
            ("p/deep/../../safe/key", false),
            ("p/none", false),
            ("safe/points", false),
            ("p/back", false),
            ("single", false),
            ("later/key", false),
        ] {
            assert_eq!(leads_through(&base.join(path), &writable).is_none(), is_safe, "{path}");
        }
        assert!(open_apart(&base.join("safe/other"), &writable).unwrap().is_ok());
        assert_eq!(open_apart(&base.join("p/back"), &writable).unwrap_err(), base.join("p"));
    }
}
