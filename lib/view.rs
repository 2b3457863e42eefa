//! What a sandbox shows at a path: the operations that make its root ([`crate::operation`]), followed as the kernel would.
//!
//! Nothing is mounted for it. A later mount hides what is below its place; links are followed as they would be inside; what
//! lies in a bind is looked up on the host beneath its source, and never through a link, since agents write there.

mod look;

use crate::inner_source::names;
use crate::operation::{Access, Op};
use look::Entry;
use std::path::{Path, PathBuf};

/// The root of a sandbox, as it would be.
#[derive(Debug)]
pub struct View(Vec<Op>);

/// What the agent can do at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Read it.
    ReadOnly,
    /// Change it, there and on the host.
    ReadWrite,
    /// Change it; the host's stays as it is.
    CopyOnWrite,
    /// Change it while the sandbox is there: it is in memory.
    InMemory,
    /// Ask the kernel, which answers for the sandbox's own processes.
    Kernel,
    /// See that something is there, and nothing of it.
    Covered,
}

impl Way {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Way::ReadOnly => "read-only",
            Way::ReadWrite => "read-write",
            Way::CopyOnWrite => "copy-on-write",
            Way::InMemory => "in memory",
            Way::Kernel => "answered by the kernel",
            Way::Covered => "covered",
        }
    }
}

/// Something that is there.
#[derive(Debug)]
pub struct Found<'a> {
    /// Its path inside, without links.
    pub path: PathBuf,
    /// What shows it; nothing for a directory on the way to something.
    pub by: Option<&'a Op>,
    /// What makes it read-only, if something else does.
    pub sealed_by: Option<&'a Op>,
    /// What can be done with it.
    pub way: Way,
    /// Where it is on the host, if it is.
    pub host: Option<PathBuf>,
    /// Whether it can be executed, where that is known: a regular file of which somebody can.
    pub is_program: bool,
    /// Whether it is a directory.
    pub is_directory: bool,
    /// Whether it is the agent's own version, in the layer of a copy-on-write mount.
    pub is_changed: bool,
}

/// Why nothing is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    /// Nothing is mounted there.
    NotMounted,
    /// The mount is there, and has no such entry.
    NotInMount,
    /// The agent deleted it in its own version.
    Deleted,
    /// An empty directory of ours hides what would be there.
    Covered,
    /// A file is in the way.
    NotDirectory,
    /// Permissions close it, or a link leads in circles.
    Closed,
}

/// Something that is not there.
#[derive(Debug)]
pub struct Missing<'a> {
    /// The first part of the path that is not there: its path inside, without links.
    pub at: PathBuf,
    /// What of the path follows after it.
    pub rest: PathBuf,
    /// In which mount that is.
    pub by: Option<&'a Op>,
    /// Where it would be on the host.
    pub host: Option<PathBuf>,
    /// Why it is not there.
    pub lack: Lack,
}

/// What is at a path.
pub type Sight<'a> = Result<Found<'a>, Missing<'a>>;

/// As the kernel: more links in a path are a circle.
const MOST_LINKS: usize = 40;

impl View {
    /// The view of a plan.
    pub fn new(ops: Vec<Op>) -> View {
        let is_made = |op: &Op| match op {
            Op::Bind { src, optional: true, .. } => src.exists(),
            Op::Copy { src, .. } => src.is_file(),
            _ => true,
        };
        let mut shown: Vec<Op> = Vec::with_capacity(ops.len());
        for op in ops.into_iter().filter(is_made) {
            let stays = matches!(op, Op::RemountReadOnly { .. } | Op::SelfBind { .. } | Op::Link { .. });
            if !stays && !matches!(op, Op::Mask { .. }) {
                shown.retain(|old| !old.dst().starts_with(op.dst()));
            }
            shown.push(op);
        }
        View(shown)
    }

    /// All that is shown, in the order in which it is made.
    pub fn ops(&self) -> &[Op] {
        &self.0
    }

    /// What is at an absolute path inside.
    pub fn find(&self, path: &Path) -> Sight<'_> {
        let mut rest = names(path);
        let (mut here, mut links) = (PathBuf::from("/"), 0);
        while let Some(name) = rest.pop_front() {
            if name == ".." {
                here.pop();
                continue;
            }
            let next = here.join(&name);
            let lack = match self.entry(&next) {
                Entry::Link(target) if links < MOST_LINKS => {
                    links += 1;
                    if target.is_absolute() {
                        here = PathBuf::from("/");
                    }
                    names(&target).into_iter().rev().for_each(|name| rest.push_front(name));
                    continue;
                }
                Entry::Kernel => {
                    here = rest.iter().fold(next, |path, name| path.join(name));
                    break;
                }
                Entry::Directory => {
                    here = next;
                    continue;
                }
                Entry::File { .. } if rest.is_empty() => {
                    here = next;
                    continue;
                }
                Entry::File { .. } => Lack::NotDirectory,
                Entry::Link(_) | Entry::Closed => Lack::Closed,
                Entry::Deleted => Lack::Deleted,
                Entry::Nothing => self.lack(&next),
            };
            let by = self.governing(&next);
            let host = by.and_then(|op| look::on_host(op, &next));
            return Err(Missing { at: next, rest: rest.into_iter().collect(), by, host, lack });
        }
        Ok(self.found(here))
    }

    fn lack(&self, path: &Path) -> Lack {
        match self.governing(path) {
            None => Lack::NotMounted,
            Some(op) if look::is_cover(op, &self.0) => Lack::Covered,
            // What is made for the way to a mount has nothing else in it.
            Some(Op::Tmpfs { seal: true, .. }) => Lack::NotMounted,
            Some(_) => Lack::NotInMount,
        }
    }

    fn found(&self, path: PathBuf) -> Found<'_> {
        let by = self.governing(&path);
        let entry = if path == Path::new("/") { Entry::Directory } else { self.entry(&path) };
        let sealed_by = by.and_then(|by| self.sealed_by(&path, by));
        let (is_program, is_changed) = match entry {
            Entry::File { is_program, is_changed, .. } => (is_program, is_changed),
            _ => (false, false),
        };
        let way = match by {
            Some(Op::Mask { .. }) => Way::Covered,
            _ if sealed_by.is_some() => Way::ReadOnly,
            Some(Op::Bind { access, .. } | Op::BindBeneath { access, .. }) => match access {
                Access::ReadOnly => Way::ReadOnly,
                Access::ReadWrite | Access::Device => Way::ReadWrite,
            },
            Some(Op::Overlay { .. }) => Way::CopyOnWrite,
            Some(Op::Tmpfs { seal: false, .. }) => Way::InMemory,
            Some(op @ Op::Tmpfs { seal: true, .. }) if look::is_cover(op, &self.0) => Way::Covered,
            Some(Op::Proc { .. } | Op::Pts { .. }) => Way::Kernel,
            _ => Way::ReadOnly,
        };
        let host = by.and_then(|op| look::on_host(op, &path));
        let is_directory = matches!(entry, Entry::Directory);
        Found { path, by, sealed_by, way, host, is_program, is_directory, is_changed }
    }

    /// The mount that a path is in: the nearest one, and of two at one place the later.
    fn governing(&self, path: &Path) -> Option<&Op> {
        let is_mount = |op: &&Op| !matches!(op, Op::RemountReadOnly { .. } | Op::SelfBind { .. });
        let over = self.0.iter().filter(is_mount).filter(|op| path.starts_with(op.dst()));
        over.max_by_key(|op| op.dst().components().count())
    }

    /// What makes a place in a mount read-only.
    fn sealed_by(&self, path: &Path, by: &Op) -> Option<&Op> {
        let seals =
            |op: &&Op| matches!(op, Op::RemountReadOnly { dst } if path.starts_with(dst) && dst.starts_with(by.dst()));
        self.0.iter().find(seals)
    }

    fn entry(&self, path: &Path) -> Entry {
        let way_to_something = || self.0.iter().any(|op| op.dst() != path && op.dst().starts_with(path));
        let Some(by) = self.governing(path) else {
            return if way_to_something() { Entry::Directory } else { Entry::Nothing };
        };
        match look::look(by, path) {
            Entry::Nothing if way_to_something() => Entry::Directory,
            entry => entry,
        }
    }

    /// Where a file of the host is inside: every path at which a mount shows it, once.
    pub fn shows(&self, host: &Path) -> Vec<PathBuf> {
        let place = |op: &Op| {
            let source = match op {
                Op::Bind { src, .. } | Op::Overlay { src, .. } => src.clone(),
                Op::BindBeneath { root, name, .. } => root.join(name),
                Op::Copy { src, .. } => src.clone(),
                _ => return None,
            };
            let below = host.strip_prefix(source).ok()?;
            Some(if below.as_os_str().is_empty() { op.dst().to_owned() } else { op.dst().join(below) })
        };
        let is_it = |inside: &PathBuf| {
            self.find(inside).is_ok_and(|found| found.path == *inside && found.host.as_deref() == Some(host))
        };
        let mut all: Vec<PathBuf> = self.0.iter().filter_map(place).filter(is_it).collect();
        all.sort();
        all.dedup();
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(src: &str, dst: &str, access: Access) -> Op {
        Op::Bind { src: src.into(), dst: dst.into(), access, optional: false }
    }

    fn way(view: &View, path: &str) -> Result<Way, Lack> {
        view.find(Path::new(path)).map(|found| found.way).map_err(|missing| missing.lack)
    }

    #[test]
    fn the_nearest_mount_counts_and_a_later_one_hides_what_is_below_it() {
        let view = View::new(vec![
            bind("/usr", "/usr", Access::ReadOnly),
            bind("/usr/lib", "/w/lib", Access::ReadWrite),
            bind("/usr", "/w", Access::ReadOnly),
            bind("/usr/bin", "/w/bin", Access::ReadWrite),
            Op::RemountReadOnly { dst: "/w/bin/env".into() },
        ]);
        assert_eq!(way(&view, "/w/lib"), Ok(Way::ReadOnly));
        assert_eq!(way(&view, "/w/bin"), Ok(Way::ReadWrite));
        assert_eq!(way(&view, "/w/bin/env"), Ok(Way::ReadOnly));
        assert_eq!(way(&view, "/w/nothing"), Err(Lack::NotInMount));
        assert_eq!(way(&view, "/w/bin/env/x"), Err(Lack::NotDirectory));
        assert_eq!(way(&view, "/root"), Err(Lack::NotMounted));
        assert_eq!(way(&view, "/w/../usr/bin/env"), Ok(Way::ReadOnly));
        let shown = view.shows(Path::new("/usr/bin/env"));
        assert_eq!(shown, [Path::new("/usr/bin/env"), Path::new("/w/bin/env")]);
    }

    #[test]
    fn links_lead_where_they_lead_inside() {
        let view = View::new(vec![
            bind("/usr", "/usr", Access::ReadOnly),
            Op::Link { dst: "/bin".into(), target: "usr/bin".into() },
            Op::Link { dst: "/round".into(), target: "/round".into() },
            Op::Tmpfs { dst: "/etc".into(), mode: 0o755, seal: true, size: None },
            Op::File { dst: "/etc/passwd".into(), content: String::new() },
        ]);
        assert_eq!(view.find(Path::new("/bin/env")).unwrap().path, Path::new("/usr/bin/env"));
        assert!(view.find(Path::new("/bin/env")).unwrap().is_program);
        assert_eq!(way(&view, "/round"), Err(Lack::Closed));
        assert_eq!(way(&view, "/etc/passwd"), Ok(Way::ReadOnly));
        assert_eq!(way(&view, "/etc/shadow"), Err(Lack::NotMounted));
        assert_eq!(way(&view, "/etc"), Ok(Way::ReadOnly));
    }
}
