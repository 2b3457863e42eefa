//! Files of the user's own: written whole or not at all, locked, copied, thrown away, hashed.
//!
//! What an agent could have written is touched through [`crate::dir`].

mod atomic;
mod copy;
mod copy_tree;
mod hash;
mod holes;
mod lock;
mod noexec;
mod trash;

pub use atomic::{
    beside, make_dirs, read_plain, read_plain_or_error, sweep_beside, write_atomic, write_locked, write_new,
};
pub use copy::{copy_file, fill, keep_times, measure};
pub use copy_tree::copy_tree;
pub use hash::{hex, is_sha256, sha256, sha256_of};
pub use holes::{GRAIN, has_holes, segments};
pub use lock::Lock;
pub use noexec::{runs_programs, temporary};
pub use trash::{empty_trash, remove_tree, reopen, set_aside};

/// The home directory of the user, if HOME names one.
pub fn user_home() -> Option<std::path::PathBuf> {
    std::env::var_os("HOME").map(std::path::PathBuf::from).filter(|home| home.is_absolute())
}
