//! Sources that lie inside a directory which a sandbox can write.
//!
//! With `.:/work` and `./data:/data` the agent can put a link in the place of `data`: whoever opens the source by its path
//! follows it, to `~/.ssh`. Above the writable directory links are the user's and are followed; from there on none is, and
//! the source is opened beneath that directory by descriptor.

use crate::error::{Context, Error, Result};
use crate::escape::visible_path;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

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
    const MOST_LINKS: usize = 40;
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
}
