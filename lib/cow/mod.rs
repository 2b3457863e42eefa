//! Copy-on-write mounts: what the agent changed lies in a *layer* below `.sbox/cow`, and the host's tree is as it was.
//!
//! A layer belongs to one mount of the configuration. It lives across runs and builds, until its changes are applied or
//! discarded. It has one of two kinds: the upper directory of an overlay, which holds the changes and nothing else, or a
//! private copy of the whole tree with a record of what was copied, where the host cannot make an overlay.
//!
//! Everything in a layer was written by the agent: it is looked at beneath an open directory, never through a link, and
//! without believing its modes, sizes or names.

mod base;
mod change;
mod compare;
mod held;
mod ignored;
mod known;
mod layer;
mod led;
mod mounts;
mod node;
mod offline;
mod pending;
mod private;
mod runs;
mod scan;
mod select;
mod touched;
mod tree;
mod worktree;

/// How deep a tree may be: deeper ones are made to exhaust who walks them.
const DEPTH: usize = 200;

pub use change::{Change, Scan, Verdict, leads_out};
pub use compare::{same, same_as};
pub use held::{Held, held};
pub use layer::{Kind, Layer, Use};
pub use mounts::{begin, planned};
pub use node::{Node, What};
pub use offline::{discard, remember_applied, settle, settle_applied};
pub use pending::{ignored_line, pending, pending_line};
pub use runs::{Runs, now};
pub use scan::{scan, scan_without_ignored};
pub use select::Selection;
pub use touched::{Touched, touched};
pub use tree::Tree;
pub use worktree::common_directory;
