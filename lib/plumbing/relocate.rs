//! `sbox-relocate` for a whole project: both trees in one move, all of it or nothing.

use super::{answer, output_of, program, reply_lines};
use crate::error::{Error, Result};
use crate::project::Project;
use serde::Deserialize;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A move of a project.
#[derive(Debug)]
pub struct Relocation<'a> {
    /// The project where it is now.
    pub project: &'a Project,
    /// The root whose paths are written in its files.
    pub from: &'a Path,
    /// Change nothing, and only say what would be.
    pub dry_run: bool,
    /// Leave the environment alone: another one takes its place.
    pub data_only: bool,
    /// The only files to look at, below `.sbox`; all if there is no list.
    pub only: Option<&'a [PathBuf]>,
}

/// What a move did, or would do. Paths are below `.sbox`, bytes that are not UTF-8 as `%XX`.
#[derive(Debug, Default)]
pub struct Moved {
    /// Files that were changed, and how: `rewrite`, `link`, `record`, `remove`.
    pub changed: Vec<(String, String)>,
    /// Files that name the old path and stay as they are, and why.
    pub left: Vec<(String, String)>,
    /// Files in which the new path does not fit, and by how many bytes a path may be longer than the old one. If there is
    /// one, nothing was changed.
    pub unrelocatable: Vec<(String, i64)>,
}

#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    path: String,
    change: Option<String>,
    left: Option<String>,
    growth: Option<i64>,
    #[serde(default)]
    slots: bool,
}

impl Moved {
    /// Says which files the path does not fit into, and by how many bytes.
    pub fn warn(&self, from: &Path, to: &Path) {
        let difference = to.as_os_str().len() as i64 - from.as_os_str().len() as i64;
        for (path, growth) in &self.unrelocatable {
            let bytes = difference - growth;
            let shown = crate::escape::visible(path);
            crate::output::warn(format_args!(
                "cannot relocate '.sbox/{shown}': the new path is {bytes} bytes too long"
            ));
        }
    }

    /// The longest path of a project, in bytes, at which everything fits.
    pub fn longest(&self, from: &Path) -> Option<usize> {
        let growth = self.unrelocatable.iter().map(|(_, growth)| *growth).min()?;
        usize::try_from(from.as_os_str().len() as i64 + growth).ok()
    }
}

impl Relocation<'_> {
    /// Where new files are made and the move is recorded, until [`Relocation::forget`].
    fn journal(&self) -> PathBuf {
        self.project.state().join("moving")
    }

    /// Moves the project, or finishes a move that was killed.
    pub fn run(&self) -> Result<Moved> {
        let is_there = |path: &Path| std::fs::symlink_metadata(path).is_ok();
        let (env, rootfs) = (!self.data_only && is_there(&self.project.env()), is_there(&self.project.rootfs()));
        // With two trees each path begins with the name of its tree.
        let (lead, tree) = match (env, rootfs) {
            (true, true) => ("", ""),
            (true, false) => ("env/", "env"),
            (false, true) => ("rootfs/", "rootfs"),
            (false, false) => return Ok(Moved::default()),
        };
        let named = |place: &Path| place.strip_prefix(tree).map(Path::to_owned).ok();
        let mut command = program("sbox-relocate")?;
        command.arg("--json");
        for place in SKIPPED.iter().filter_map(|place| named(&Path::new("rootfs").join(place))) {
            command.arg("--skip").arg(place);
        }
        command.args(self.dry_run.then_some("--dry-run"));
        command.args(self.only.map(|_| ["--only", "-"]).into_iter().flatten());
        let (from, to) = (trees(self.from), trees(self.project.root()));
        add_ways(&mut command, from.iter().zip(&to).map(|(from, to)| (&**from, &**to)));
        command.arg("--journal").arg(self.journal());
        if env {
            command.arg("--slots").arg(self.project.slots()).arg(self.project.env());
        }
        if rootfs {
            command.arg("--data").arg(self.project.rootfs());
        }
        let list: Vec<_> = self.only.unwrap_or_default().iter().filter_map(|path| named(path)).collect();
        let list = null_terminated(list.iter().map(|path| &**path));
        let output = answer(&mut command, &list)?;
        let moved = read(&output.stdout, lead)?;
        if output.status.success() || !moved.unrelocatable.is_empty() {
            return Ok(moved);
        }
        Err(Error::reported(crate::status::of(output.status)))
    }

    /// Removes the record of the move: its result is recorded elsewhere.
    pub fn forget(&self) {
        let _ = crate::fs::remove_tree(&self.journal());
    }
}

/// A command line of `sbox-relocate` that prints which files it changes.
#[derive(Debug)]
pub struct Relocate {
    command: Command,
    only: Vec<u8>,
}

impl Relocate {
    /// Replaces the first path of each pair by the second.
    pub fn new<'a>(ways: impl IntoIterator<Item = (&'a Path, &'a Path)>) -> Result<Relocate> {
        let mut command = program("sbox-relocate")?;
        add_ways(command.arg("--null"), ways);
        Ok(Relocate { command, only: Vec::new() })
    }

    /// Changes nothing, and only says what would be.
    pub fn dry_run(mut self) -> Relocate {
        self.command.arg("--dry-run");
        self
    }

    /// Looks at these files alone.
    pub fn only<'a>(mut self, places: impl IntoIterator<Item = &'a Path>) -> Relocate {
        self.command.args(["--only", "-"]);
        self.only = null_terminated(places);
        self
    }

    /// Does not look into these places.
    pub fn skip(mut self, places: impl IntoIterator<Item = PathBuf>) -> Relocate {
        for place in places {
            self.command.arg("--skip").arg(place);
        }
        self
    }

    /// Leaves the record of the move in this directory.
    pub fn journal(mut self, directory: &Path) -> Relocate {
        self.command.arg("--journal").arg(directory);
        self
    }

    /// Does it in a tree of programs, and in one of data if there is one. Gives the files below them.
    pub fn run(mut self, programs: &Path, data: Option<&Path>) -> Result<Vec<PathBuf>> {
        self.command.arg(programs);
        if let Some(data) = data {
            self.command.arg("--data").arg(data);
        }
        let list = output_of(&mut self.command, &self.only)?;
        let places = list.split(|byte| *byte == 0).filter(|name| !name.is_empty());
        Ok(places.map(|name| PathBuf::from(OsStr::from_bytes(name))).collect())
    }
}

fn add_ways<'a>(command: &mut Command, ways: impl IntoIterator<Item = (&'a Path, &'a Path)>) {
    for (from, to) in ways {
        command.arg("--from").arg(from).arg("--to").arg(to);
    }
}

fn null_terminated<'a>(places: impl IntoIterator<Item = &'a Path>) -> Vec<u8> {
    places.into_iter().flat_map(|place| [place.as_os_str().as_bytes(), b"\0"].concat()).collect()
}

/// The places of a project in which its own path can stand: nothing else of it can be seen inside under that.
pub fn trees(root: &Path) -> [PathBuf; 2] {
    [".sbox/env", ".sbox/rootfs"].map(|tree| root.join(tree))
}

/// Places in rootfs that are not looked into: what is there for a while, and stores that know their files by their content,
/// where a changed one would be a broken one.
const SKIPPED: [&str; 6] = [
    "tmp",
    "home/.npm/_cacache",
    "home/.local/share/pnpm/store",
    "home/.yarn/cache",
    "home/.cargo/registry",
    "home/.cache/pip",
];

fn read(lines: &[u8], tree: &str) -> Result<Moved> {
    let mut moved = Moved::default();
    for line in reply_lines::<Line>("sbox-relocate", lines)? {
        let path = if line.slots { "slots.json".to_owned() } else { format!("{tree}{}", line.path) };
        match line {
            Line { change: Some(change), .. } => moved.changed.push((path, change)),
            Line { left: Some(left), .. } => moved.left.push((path, left)),
            Line { growth: Some(growth), .. } => moved.unrelocatable.push((path, growth)),
            _ if line.slots => moved.changed.push((path, "record".into())),
            _ => {}
        }
    }
    Ok(moved)
}
