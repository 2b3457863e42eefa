//! Where the links of an archive really lead: through each other, as the kernel would follow them.
//!
//! A link may lead to something in the archive's folder, or to the system's own directories. What the archive says of itself
//! allows nothing. A link to the place where the project was before is written as a link to the folder that is made here,
//! which is where `sbox unpack` would make it lead, and is judged as such.
//!
//! The root file system of the sandbox is the root to whatever runs there: an absolute link in it (`/app/x`, `/home/agent/y`)
//! leads to its own files, and no program of ours follows a link in it on the host.

use libsbox::error::{Error, Result};
use libsbox::escape::visible_path;
use libsbox::model::is_system;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// What a link may name beside the directories of the system: it is the same inside every sandbox, and belongs to root.
/// `/proc` is not among them: `/proc/self/root` leads everywhere.
const LED_TO: [&str; 2] = ["/etc/alternatives", "/etc/ssl/certs"];

/// What the agent has as its root, below the archive's folder.
const ROOTFS: &str = ".sbox/rootfs";

/// The kernel follows no more than this.
const MOST: u32 = 40;

/// All links of an archive.
pub struct Links {
    /// The archive's folder.
    top: PathBuf,
    /// Place and target.
    all: BTreeMap<PathBuf, PathBuf>,
}

impl Links {
    /// `old` is where the project was, as the archive says; `new` is the folder that is made.
    pub fn new(found: Vec<(PathBuf, PathBuf)>, top: &Path, old: Option<&Path>, new: &Path) -> Result<Links> {
        let mut all = BTreeMap::new();
        for (path, target) in found {
            let target = old.and_then(|old| moved(&target, old, new)).unwrap_or(target);
            if all.insert(path.clone(), target).is_some() {
                return Err(Error::new(format!("'{}' is in the archive twice", visible_path(path))));
            }
        }
        let links = Links { top: top.to_owned(), all };
        for (path, target) in &links.all {
            if !links.stays(path, target, new) {
                let (path, target) = (visible_path(path), visible_path(target));
                let message = format!("the link '{path}' leads out of the archive's folder, to '{target}'");
                return Err(Error::new(message).hint("if you trust the archive, tar extracts it as it is"));
            }
        }
        Ok(links)
    }

    /// Place and target of each.
    pub fn iter(&self) -> impl Iterator<Item = (&PathBuf, &PathBuf)> {
        self.all.iter()
    }

    /// Whether a link leads to nothing outside.
    fn stays(&self, path: &Path, target: &Path, new: &Path) -> bool {
        let mut here: Vec<OsString> = parts(path.parent().unwrap_or(Path::new("")));
        // What is to be walked still, the next last.
        let mut left: Vec<PathBuf> = vec![target.to_owned()];
        let rootfs = self.top.join(ROOTFS);
        // How many directories above here there have to be: the archive's folder, or the sandbox's root.
        let mut floor = 1;
        let mut followed = 0;
        if target.as_os_str().is_empty() {
            return false;
        }
        while let Some(next) = left.pop() {
            if next.is_absolute() {
                match next.strip_prefix(new) {
                    Ok(below) => {
                        here = parts(&self.top);
                        left.push(below.to_owned());
                    }
                    // Out of the system's directories there must be no way back up.
                    Err(_) if is_the_systems(&next) => return left.iter().all(|part| is_plain(part)),
                    Err(_) if path.starts_with(&rootfs) && is_the_sandboxes(&next) => {
                        here = parts(&rootfs);
                        floor = here.len();
                        left.extend(next.strip_prefix("/").map(Path::to_owned));
                    }
                    Err(_) => return false,
                }
                continue;
            }
            let mut components = next.components();
            let Some(first) = components.next() else { continue };
            left.push(components.as_path().to_owned());
            match first {
                Component::Normal(name) => here.push(name.to_owned()),
                Component::CurDir => continue,
                Component::ParentDir if here.len() > floor => {
                    here.pop();
                    continue;
                }
                _ => return false,
            }
            if let Some(target) = self.all.get(&here.iter().collect::<PathBuf>()) {
                followed += 1;
                if followed > MOST {
                    // It leads nowhere, for anybody.
                    return true;
                }
                here.pop();
                left.push(target.clone());
            }
        }
        true
    }
}

fn parts(path: &Path) -> Vec<OsString> {
    path.components().map(|part| part.as_os_str().to_owned()).collect()
}

fn is_plain(path: &Path) -> bool {
    !path.components().any(|part| part == Component::ParentDir)
}

fn is_the_systems(path: &Path) -> bool {
    is_plain(path) && (is_system(path) || LED_TO.iter().any(|place| path.starts_with(place)))
}

/// Whether an absolute path can be one of the sandbox's own files. Those of the kernel lead wherever it likes.
fn is_the_sandboxes(path: &Path) -> bool {
    is_plain(path) && !["/proc", "/sys"].iter().any(|place| path.starts_with(place))
}

/// The target of a link into the project at its old place, at the new one.
fn moved(target: &Path, old: &Path, new: &Path) -> Option<PathBuf> {
    let below = target.strip_prefix(old).ok().filter(|_| old.is_absolute())?;
    let is_ours = [".sbox/env", ".sbox/rootfs"].iter().any(|tree| below.starts_with(tree));
    is_ours.then(|| new.join(below))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether an archive with these links is taken; it was made at `/home/a/p` and goes to `/new/top`.
    fn taken(links: &[(&str, &str)]) -> bool {
        let links = links.iter().map(|(path, target)| (path.into(), target.into())).collect();
        Links::new(links, Path::new("top"), Some(Path::new("/home/a/p")), Path::new("/new/top")).is_ok()
    }

    #[test]
    fn links_lead_to_the_folder_or_to_the_system() {
        assert!(taken(&[("top/env/bin/python3", "python3.11"), ("top/env/lib64", "lib"), ("top/a/b", "../c")]));
        assert!(taken(&[("top/x", "/home/a/p/.sbox/env/bin/python"), ("top/y", "/usr/bin/python3")]));
        for target in [
            "../x",
            "../../x",
            "a/../../../x",
            "/etc/passwd",
            "/home/a",
            "/home/a/p",
            "/home/a/p/.ssh/id",
            "/home/a/p/.sbox/env/../../../.ssh",
            "/home/a/p2/.sbox/env/x",
            "/usr/../etc/x",
            "/proc/self/root/home/you/.ssh",
            "/new/top/../x",
            "",
        ] {
            assert!(!taken(&[("top/x", target)]), "{target}");
        }
    }

    #[test]
    fn a_chain_of_links_leads_where_its_end_leads() {
        // `d/e` is deep by its name and not where it is.
        assert!(!taken(&[("top/a/b", "."), ("top/x", "a/b/../../y")]));
        assert!(!taken(&[("top/d/e", "../f"), ("top/g", "d/e/../../secret")]));
        assert!(!taken(&[("top/u", "/usr"), ("top/x", "u/../etc/passwd")]));
        assert!(!taken(&[("top/s", "/usr/share"), ("top/x", "s/..")]));
        assert!(!taken(&[("top/1", "2"), ("top/2", "3"), ("top/3", "../x")]));
        assert!(!taken(&[("top/p", "/home/a/p/.sbox/env"), ("top/x", "p/../../../x")]));
        assert!(taken(&[("top/u", "/usr"), ("top/x", "u/share/y")]));
        assert!(taken(&[("top/a/b", "../c"), ("top/x", "a/b/../y")]));
        // One that leads to itself leads nowhere.
        assert!(taken(&[("top/x", "x"), ("top/y", "z"), ("top/z", "y")]));
    }

    #[test]
    fn in_the_root_file_system_an_absolute_link_leads_to_the_sandbox_s_own_files() {
        let rootfs = |links: &[(&str, &str)]| {
            let links: Vec<(String, &str)> =
                links.iter().map(|(path, target)| (format!("top/.sbox/rootfs/{path}"), *target)).collect();
            taken(&links.iter().map(|(path, target)| (path.as_str(), *target)).collect::<Vec<_>>())
        };
        for target in ["/app/x", "/home/agent/.local/bin/x", "/tmp/x", "/dev/null", "../../app/x"] {
            assert!(rootfs(&[("home/bin/x", target)]), "{target}");
        }
        assert!(rootfs(&[("app/d", "/home/d"), ("home/d", "/tmp"), ("app/x", "/app/d/y")]));
        for target in ["/proc/self/root/etc/passwd", "/sys/x", "/app/../../x", "/app/../etc", "../../../../../x"] {
            assert!(!rootfs(&[("home/bin/x", target)]), "{target}");
        }
        // Not past the sandbox's root, and not out of the archive from anywhere else.
        assert!(!rootfs(&[("app/up", ".."), ("app/x", "/app/up/../../..")]));
        assert!(!rootfs(&[("app/up", "../.."), ("app/x", "/app/up/env")]));
        assert!(!taken(&[("top/.sbox/env/x", "/app/x")]) && !taken(&[("top/.sbox/rootfs2/x", "/app/x")]));
        assert!(!taken(&[("top/.sbox/rootfs/app/x", "/home/you"), ("top/x", ".sbox/rootfs/app/x/.ssh")]));
    }

    #[test]
    fn no_claim_of_the_archive_allows_anything() {
        for old in ["/", "/home", "/home/you", "", "relative", "/home/you/.ssh"] {
            let links = vec![("top/x".into(), "/home/you/.ssh/id".into())];
            assert!(Links::new(links, Path::new("top"), Some(Path::new(old)), Path::new("/new/top")).is_err(), "{old}");
        }
        // What was the project's own is now the folder's own.
        let links = vec![("top/x".into(), "/home/you/.sbox/rootfs/home/key".into())];
        let links = Links::new(links, Path::new("top"), Some(Path::new("/home/you")), Path::new("/new/top")).unwrap();
        assert_eq!(links.iter().next().unwrap().1, Path::new("/new/top/.sbox/rootfs/home/key"));
    }
}
