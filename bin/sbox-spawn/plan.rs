//! The new root as an ordered list of operations: built here, printed by `--dry-run`, executed by `assemble`.

use crate::args::{Args, Mount};
use crate::base;
use crate::guard::Guard;
use crate::op::{Access, Op};
use libsbox::error::{Context, Error, Result};
use std::path::{Path, PathBuf};

/// The whole root for `args`; `home` is where the account's home directory is inside.
pub fn build(args: &Args, home: &Path, guard: &Guard) -> Result<Vec<Op>> {
    let mut ops = base::system(home, hostname(args), args.nested)?;
    if let Some(root) = &args.root {
        ops.extend(root_entries(root)?);
    } else {
        ops.extend([home, Path::new("/tmp")].map(|dst| Op::Tmpfs {
            dst: dst.into(),
            mode: 0o1777,
            seal: false,
            size: None,
        }));
    }
    for mount in &args.mounts {
        match mount.clone() {
            Mount::Tmpfs { dst } => ops.push(Op::Tmpfs { dst, mode: 0o755, seal: false, size: None }),
            Mount::Bind { src, dst, read_only } => {
                let access = if read_only { Access::ReadOnly } else { Access::ReadWrite };
                let guarded = guard.ops(&dst);
                ops.push(Op::Bind { src: real(&src)?, dst, access, optional: false });
                ops.extend(guarded);
            }
        }
    }
    let hidden = args.hide.iter().map(|path| real(path)).collect::<Result<Vec<_>>>()?;
    let mut ops = with_covers(ops, &hidden)?;
    for (dir, dst) in &args.bind_nofollow {
        if let Some(root) = &args.root {
            make_way(root, dst)?;
        }
        let name = dir.file_name().map(PathBuf::from).unwrap_or_default();
        let root = dir.parent().unwrap_or(Path::new("/")).to_owned();
        ops.push(Op::BindBeneath { root, name, dst: dst.clone() });
        if let (Some(size), true) = (args.limits.tmp, args.root.as_ref() == Some(dir)) {
            ops.push(limited_tmp(&dst.join("tmp"), size));
        }
    }
    if let Some(size) = args.limits.tmp {
        ops.push(limited_tmp(Path::new("/tmp"), size));
    }
    Ok(ops)
}

/// Files for a while, in memory, and no more of them than `size`.
fn limited_tmp(dst: &Path, size: u64) -> Op {
    Op::Tmpfs { dst: dst.into(), mode: 0o1777, seal: false, size: Some(size) }
}

/// A place below `/home` or another entry of the root is one in a directory that the agent can write: it is made there,
/// and what an earlier run may have planted in its way is removed.
fn make_way(root: &Path, dst: &Path) -> Result<()> {
    let place = dst.strip_prefix("/").unwrap_or(dst);
    let first = place.components().next().map(|part| root.join(part));
    if first.is_some_and(|entry| std::fs::symlink_metadata(entry).is_ok_and(|metadata| metadata.is_dir())) {
        libsbox::dir::Dir::open(root)?.sub_or_make(place)?;
    }
    Ok(())
}

/// The name of the host inside.
pub fn hostname(args: &Args) -> &std::ffi::OsStr {
    args.hostname.as_deref().unwrap_or("sbox".as_ref())
}

fn real(path: &Path) -> Result<PathBuf> {
    path.canonicalize().context(|| format!("bind '{}'", libsbox::escape::visible_path(path)))
}

/// Top-level names that belong to the base: an entry of that name in the root directory stays invisible at `/`.
const TAKEN: [&str; 12] = ["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "proc", "dev", "sys", "nix", "gnu"];

fn root_entries(root: &Path) -> Result<Vec<Op>> {
    if !std::fs::symlink_metadata(root).is_ok_and(|metadata| metadata.is_dir()) {
        return Err(Error::new(format!("'{}' is no directory", libsbox::escape::visible_path(root))));
    }
    let mut names: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(root).context(|| format!("read '{}'", libsbox::escape::visible_path(root)))? {
        let entry = entry.context(|| format!("read '{}'", libsbox::escape::visible_path(root)))?;
        let name = PathBuf::from(entry.file_name());
        let kind = entry.file_type().context(|| format!("read '{}'", libsbox::escape::visible_path(entry.path())))?;
        if name == Path::new("etc") && kind.is_dir() {
            names.extend(etc_entries(root));
        } else if (kind.is_dir() || kind.is_file()) && !TAKEN.iter().any(|taken| name == Path::new(taken)) {
            names.push(name);
        }
    }
    names.sort();
    let entry = |name: PathBuf| Op::BindBeneath { root: root.into(), dst: Path::new("/").join(&name), name };
    Ok(names.into_iter().map(entry).collect())
}

/// `/etc` is made by the base; what was staged into it is laid over it, entry by entry.
fn etc_entries(root: &Path) -> Vec<PathBuf> {
    let plain = |entry: std::fs::DirEntry| {
        let kind = entry.file_type().ok()?;
        (kind.is_dir() || kind.is_file()).then(|| Path::new("etc").join(entry.file_name()))
    };
    std::fs::read_dir(root.join("etc")).into_iter().flatten().flatten().filter_map(plain).collect()
}

/// Puts a cover right after every bind through which a hidden path would show.
fn with_covers(ops: Vec<Op>, hidden: &[PathBuf]) -> Result<Vec<Op>> {
    let mut out = Vec::with_capacity(ops.len());
    for op in ops {
        let mut covers = Vec::new();
        if let Op::Bind { src, dst, optional, .. } = &op {
            for path in hidden {
                let Ok(rest) = path.strip_prefix(src) else { continue };
                if rest.as_os_str().is_empty() && !optional {
                    return Err(Error::new(format!(
                        "cannot bind '{}': it is hidden",
                        libsbox::escape::visible_path(src)
                    )));
                }
                covers.push(Op::Tmpfs { dst: dst.join(rest), mode: 0o755, seal: true, size: None });
            }
        }
        out.push(op);
        out.extend(covers);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(src: &str, dst: &str) -> Op {
        Op::Bind { src: src.into(), dst: dst.into(), access: Access::ReadWrite, optional: false }
    }

    #[test]
    fn a_hidden_path_is_covered_in_every_bind_that_holds_it() {
        let ops = vec![bind("/home/u/p", "/app"), bind("/data", "/data"), bind("/home", "/h")];
        let covered = with_covers(ops, &["/home/u/p/.sbox".into()]).unwrap();
        let dsts: Vec<_> = covered
            .iter()
            .filter_map(|op| if let Op::Tmpfs { dst, seal: true, .. } = op { dst.to_str() } else { None })
            .collect();
        assert_eq!(dsts, ["/app/.sbox", "/h/u/p/.sbox"]);
    }

    #[test]
    fn a_neighbour_with_a_longer_name_is_not_covered() {
        let ops = with_covers(vec![bind("/home/u/p", "/app")], &["/home/u/p2/.sbox".into()]).unwrap();
        assert_eq!(ops.len(), 1);
    }

    #[test]
    fn what_is_hidden_cannot_be_bound_itself() {
        assert!(with_covers(vec![bind("/p/.sbox", "/x")], &["/p/.sbox".into()]).is_err());
    }
}
