//! One step towards the root of a sandbox: `sbox-spawn` plans them, executes them, and prints them with `--dry-run`; whoever
//! explains what a sandbox shows ([`crate::view`]) reads those.

use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// One operation. All `dst` are paths in the new root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
#[allow(missing_docs, reason = "each operation says what its fields are")]
pub enum Op {
    /// The mount tree at `src` appears at `dst`. `optional`: skipped where the host has no `src`.
    Bind { src: PathBuf, dst: PathBuf, access: Access, optional: bool },
    /// The directory at `src` appears at `dst`, and every change to it goes to the directory `layer` instead.
    Overlay { src: PathBuf, dst: PathBuf, layer: PathBuf },
    /// An entry of a directory that others can write: taken by descriptor, never through a symbolic link.
    BindBeneath { root: PathBuf, name: PathBuf, dst: PathBuf, access: Access },
    /// A copy of the file at `src`, if there is one: small, and no mount that tells where it came from.
    Copy { src: PathBuf, dst: PathBuf },
    /// A file with this content.
    File { dst: PathBuf, content: String },
    /// A symbolic link.
    Link { dst: PathBuf, target: PathBuf },
    /// What the operations before put at `of` also appears at `dst`, read-only, if there is something at `dst`.
    Show { of: PathBuf, dst: PathBuf },
    /// A fresh tmpfs with this mode. `seal`: made read-only when everything is in place.
    Tmpfs {
        dst: PathBuf,
        mode: u32,
        seal: bool,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        size: Option<u64>,
    },
    /// The process table of the new pid namespace.
    Proc { dst: PathBuf },
    /// A fresh set of pseudo-terminals.
    Pts { dst: PathBuf },
    /// What the operations before put at `dst` becomes read-only, but stays.
    RemountReadOnly { dst: PathBuf },
    /// What the operations before put at `dst` becomes a mount of its own: it can be neither moved nor removed.
    SelfBind { dst: PathBuf },
    /// What the operations before put at `dst` is covered: a directory by an empty one, a file by `/dev/null`.
    Mask { dst: PathBuf },
}

impl Op {
    /// Whether it shows something that the caller named, and not the system.
    pub fn is_the_callers(&self) -> bool {
        match self {
            Op::Bind { access, optional, .. } => !optional && *access != Access::Device,
            Op::BindBeneath { .. } | Op::Overlay { .. } => true,
            _ => false,
        }
    }

    /// Where it takes effect.
    pub fn dst(&self) -> &Path {
        match self {
            Op::Bind { dst, .. }
            | Op::BindBeneath { dst, .. }
            | Op::Overlay { dst, .. }
            | Op::Copy { dst, .. }
            | Op::File { dst, .. }
            | Op::Link { dst, .. }
            | Op::Show { dst, .. }
            | Op::Tmpfs { dst, .. }
            | Op::Proc { dst }
            | Op::Pts { dst }
            | Op::RemountReadOnly { dst }
            | Op::SelfBind { dst }
            | Op::Mask { dst } => dst,
        }
    }
}

/// What a bind allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Reading.
    ReadOnly,
    /// Writing, too.
    ReadWrite,
    /// A device node: read-write, and the only kind of bind on which device nodes work.
    Device,
}
