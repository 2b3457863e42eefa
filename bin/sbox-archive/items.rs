//! What `create` is asked for: its options, and what goes into the archive.

use crate::compress::Codec;
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashSet;
use std::path::PathBuf;

/// What `create` was asked for.
#[derive(Debug)]
pub struct Options {
    /// Nothing: stdout.
    pub output: Option<PathBuf>,
    /// The one folder at the top; none if it is empty.
    pub name: String,
    /// How it is compressed; plain tar without it.
    pub codec: Option<Codec>,
    /// Where the checksums go in the archive.
    pub sums: Option<String>,
    /// Where the index of files goes that name `prefix`.
    pub sites: Option<String>,
    pub prefix: Option<String>,
    /// No time in the archive is later.
    pub latest: u64,
    /// The time of directories, and of what has no file.
    pub made_time: Option<u64>,
    /// Whether the group may do what the owner may.
    pub group_like_owner: bool,
    /// Whose everything is: user and group.
    pub owner: (u64, u64),
    /// Whether the digests of the archive, and of the tar in it, are wanted.
    pub digests: bool,
}

/// A line on stdin.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    pub dst: String,
    /// A file or a tree of the host's.
    pub src: Option<PathBuf>,
    /// Places in that tree that stay out. A directory is there, and empty.
    #[serde(default)]
    pub skip: HashSet<PathBuf>,
    /// Places in that tree that are not in the archive at all.
    #[serde(default)]
    pub omit: HashSet<PathBuf>,
    /// The only places in that tree that are in the archive: directories that lead to others, too.
    pub only: Option<HashSet<PathBuf>>,
    /// Or the content itself.
    pub text: Option<String>,
    /// Or where a symbolic link leads.
    pub link: Option<PathBuf>,
    /// Or the mode of an empty directory.
    pub directory: Option<u32>,
    /// Or an object, to which the counts and checksums of what came before are added.
    pub metadata: Option<serde_json::Map<String, Value>>,
}
