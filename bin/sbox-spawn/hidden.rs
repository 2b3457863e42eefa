//! What must not show through any mount, although a directory that holds it is mounted: `--hide`, and the layers of
//! copy-on-write mounts, through which an agent could otherwise change what its own mount holds behind the kernel's back.

use crate::args::Args;
use libsbox::error::{Context, Error, Result};
use libsbox::escape::visible_path;
use libsbox::operation::{Access, Op};
use std::path::{Path, PathBuf};

/// The directory of a project's state, and the one file of it that a working tree shows: git must not see it deleted.
const STATE: &str = ".sbox";
const CONFIGURATION: &str = "config.yaml";

/// Room for what programs inside put beside the configuration: a nested sandbox needs a place to mount on.
const STATE_ROOM: u64 = 1 << 20;

/// Real paths of the host.
pub struct Hidden {
    paths: Vec<PathBuf>,
    layers: Vec<PathBuf>,
}

impl Hidden {
    pub fn of(args: &Args) -> Result<Hidden> {
        let real = |path: &Path| path.canonicalize().context(|| format!("hide '{}'", visible_path(path)));
        let mut paths = args.hide.iter().map(|path| real(path)).collect::<Result<Vec<_>>>()?;
        let layers = args.overlays().map(|(_, _, layer)| layer);
        let layers = layers.chain(args.own_overlays.iter().map(|(_, _, layer)| &**layer));
        let layers = layers.map(real).collect::<Result<Vec<_>>>()?;
        let uncovered = layers.iter().filter(|layer| !paths.iter().any(|path| layer.starts_with(path)));
        paths.extend(uncovered.cloned().collect::<Vec<_>>());
        Ok(Hidden { paths, layers })
    }

    /// Puts the covers that it needs after each operation.
    pub fn cover(&self, ops: Vec<Op>) -> Result<Vec<Op>> {
        let mut out = Vec::with_capacity(ops.len());
        for op in ops {
            let covers = self.covers(&op)?;
            out.push(op);
            out.extend(covers);
        }
        Ok(out)
    }

    /// The operations that hide what would show through `op`.
    pub fn covers(&self, op: &Op) -> Result<Vec<Op>> {
        let (src, dst, optional) = match op {
            Op::Bind { src, dst, optional, .. } => (src.clone(), dst, *optional),
            Op::Overlay { src, dst, .. } => (src.clone(), dst, false),
            Op::BindBeneath { root, name, dst, .. } => (root.join(name), dst, false),
            _ => return Ok(Vec::new()),
        };
        let is_hidden = !optional && self.paths.contains(&src);
        if is_hidden || self.layers.iter().any(|layer| src.starts_with(layer)) {
            return Err(Error::new(format!("cannot bind '{}': it is hidden", visible_path(&src))));
        }
        let cover = |path: &PathBuf| Some(cover(path, dst.join(path.strip_prefix(&src).ok()?)));
        Ok(self.paths.iter().filter_map(cover).flatten().collect())
    }
}

fn cover(path: &Path, dst: PathBuf) -> Vec<Op> {
    let configuration = path.join(CONFIGURATION);
    let is_state = path.ends_with(STATE) && std::fs::symlink_metadata(configuration).is_ok_and(|file| file.is_file());
    if !is_state {
        return vec![Op::Tmpfs { dst, mode: 0o755, seal: true, size: None }];
    }
    let file = Op::BindBeneath {
        root: path.to_owned(),
        name: CONFIGURATION.into(),
        dst: dst.join(CONFIGURATION),
        access: Access::ReadOnly,
    };
    vec![Op::Tmpfs { dst, mode: 0o755, seal: false, size: Some(STATE_ROOM) }, file]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(src: &str, dst: &str) -> Op {
        Op::Bind { src: src.into(), dst: dst.into(), access: Access::ReadWrite, optional: false }
    }

    fn hidden(paths: &[&str]) -> Hidden {
        Hidden { paths: paths.iter().map(PathBuf::from).collect(), layers: vec!["/p/layer".into()] }
    }

    #[test]
    fn a_hidden_path_is_covered_in_every_mount_that_holds_it() {
        let overlay = Op::Overlay { src: "/home/u/p".into(), dst: "/work".into(), layer: "/l".into() };
        let ops = vec![bind("/home/u/p", "/app"), bind("/data", "/data"), bind("/home", "/h"), overlay];
        let covered = hidden(&["/home/u/p/.sbox"]).cover(ops).unwrap();
        let covers = covered.iter().filter(|op| matches!(op, Op::Tmpfs { seal: true, .. }));
        let dsts: Vec<_> = covers.filter_map(|op| op.dst().to_str()).collect();
        assert_eq!(dsts, ["/app/.sbox", "/h/u/p/.sbox", "/work/.sbox"]);
    }

    #[test]
    fn a_neighbour_with_a_longer_name_is_not_covered() {
        assert_eq!(hidden(&["/home/u/p2/.sbox"]).covers(&bind("/home/u/p", "/app")).unwrap(), []);
    }

    #[test]
    fn what_is_hidden_cannot_be_bound_itself_nor_can_a_part_of_a_layer() {
        assert!(hidden(&["/p/.sbox"]).covers(&bind("/p/.sbox", "/x")).is_err());
        assert!(hidden(&[]).covers(&bind("/p/layer/upper", "/x")).is_err());
        assert!(hidden(&["/p/.sbox"]).covers(&bind("/p/.sbox/rootfs", "/x")).is_ok());
    }
}
