//! The command line of `sbox-archive`, and its reply.

use super::{output, output_of, program, reply};
use crate::error::Result;
use crate::progress::Progress;
use serde::Deserialize;
use serde_json::Value;
use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

/// An archive that is to be written: options first, then [`Create::write`].
#[derive(Debug)]
pub struct Create(Command);

/// What was written.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Written {
    /// Files in it.
    pub files: u64,
    /// Bytes of the archive.
    pub size: u64,
    /// What could not go in.
    pub left_out: Vec<String>,
    /// SHA-256 of the archive, if it was asked for.
    pub sha256: String,
    /// SHA-256 of the tar in it, likewise.
    pub tar_sha256: String,
}

impl Create {
    /// One in the file `output`.
    pub fn new(output: &Path) -> Result<Create> {
        let mut command = program("sbox-archive")?;
        command.args(["create", "--output"]).arg(output);
        Ok(Create(command))
    }

    fn option(mut self, name: &str, value: impl AsRef<OsStr>) -> Create {
        self.0.arg(name).arg(value);
        self
    }

    fn flag(mut self, name: &str) -> Create {
        self.0.arg(name);
        self
    }

    /// The one folder at its top.
    pub fn name(self, name: &str) -> Create {
        self.option("--name", name)
    }

    /// No folder at its top.
    pub fn flat(self) -> Create {
        self.flag("--flat")
    }

    /// `tar.gz`, `tar.zst` or `tar`.
    pub fn format(self, format: &str) -> Create {
        self.option("--format", format)
    }

    /// The level of gzip.
    pub fn level(self, level: u32) -> Create {
        self.option("--level", level.to_string())
    }

    /// Where the checksums go.
    pub fn sums(self, place: &str) -> Create {
        self.option("--sums", place)
    }

    /// Where the list of files goes that contain the path `prefix`.
    pub fn sites(self, place: &str, prefix: &Path) -> Create {
        self.option("--sites", place).option("--prefix", prefix)
    }

    /// No time in it is later: seconds since 1970.
    pub fn time(self, seconds: u64) -> Create {
        self.option("--time", seconds.to_string())
    }

    /// The time of what has no source: seconds since 1970.
    pub fn made_time(self, seconds: &str) -> Create {
        self.option("--made-time", seconds)
    }

    /// Whose everything in it is: `UID:GID`.
    pub fn owner(self, owner: &str) -> Create {
        self.option("--owner", owner)
    }

    /// The group may do what the owner may.
    pub fn group_like_owner(self) -> Create {
        self.flag("--group-like-owner")
    }

    /// The reply has digests.
    pub fn digests(self) -> Create {
        self.flag("--digests")
    }

    /// Writes it from items, as sbox-archive(1) describes them.
    pub fn write(mut self, items: &[Value]) -> Result<Written> {
        let text: String = items.iter().map(|item| format!("{item}\n")).collect();
        let progress = Progress::spin("packing");
        progress.watch(&mut self.0);
        reply("sbox-archive", &output_of(&mut self.0, text.as_bytes())?)
    }
}

/// Compares all files of an archive, or of a directory that one was extracted to, with its checksums.
pub fn verify(what: &Path) -> Result<()> {
    output(program("sbox-archive")?.arg("verify").arg(what)).map(drop)
}
