//! What is said of a move: paths on stdout, or a JSON object a line.

use crate::forms::Mapping;
use crate::plan::{Change, Plan, Tree};
use libsbox::cli;
use libsbox::error::Result;
use libsbox::escape::{percent_encoded, visible_path};
use libsbox::output;
use serde_json::json;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

pub struct Report<'a> {
    pub null: bool,
    pub json: bool,
    pub verbose: bool,
    pub trees: &'a [Tree],
}

impl Report<'_> {
    fn place(&self, tree: usize, path: &Path) -> PathBuf {
        self.trees.get(tree).map_or_else(PathBuf::new, |tree| tree.name.join(path))
    }

    pub fn change(&self, tree: usize, path: &Path, what: &str) -> Result<()> {
        let place = self.place(tree, path);
        match (self.json, self.null) {
            (true, _) => cli::out_line(json!({"path": percent_encoded(&place), "change": what})),
            (false, true) => cli::out(&[place.as_os_str().as_bytes(), b"\0"].concat()),
            (false, false) => cli::out_line(visible_path(place)),
        }
    }

    pub fn changes(&self, plan: &Plan) -> Result<()> {
        for ((tree, path), change) in &plan.changes {
            let what = match change {
                Change::Link(_) => "link",
                Change::Remove => "remove",
                Change::Record => "record",
                _ => "rewrite",
            };
            self.change(*tree, path, what)?;
        }
        Ok(())
    }

    /// The file with the slots, which lies in no tree.
    pub fn slots(&self) -> Result<()> {
        if self.json { cli::out_line(json!({"slots": true})) } else { Ok(()) }
    }

    pub fn left(&self, plan: &Plan) -> Result<()> {
        for (tree, path, left) in &plan.left {
            let place = self.place(*tree, path);
            if self.json {
                cli::out_line(json!({"path": percent_encoded(&place), "left": left.why()}))?;
            } else if self.verbose {
                output::info(format_args!("left as it is ({}): '{}'", left.why(), visible_path(place)));
            }
        }
        Ok(())
    }

    pub fn lacking(&self, plan: &Plan, mappings: &[Mapping]) -> Result<()> {
        let mut growth = i64::MAX;
        for (tree, path, lacking) in &plan.lacking {
            let place = self.place(*tree, path);
            growth = growth.min(lacking.growth);
            if self.json {
                cli::out_line(
                    json!({"path": percent_encoded(&place), "lacks": lacking.bytes, "growth": lacking.growth}),
                )?;
            } else {
                let shown = visible_path(place);
                let difference =
                    mappings.first().map_or(0, |mapping| mapping.to.len() as i64 - mapping.from.len() as i64);
                let bytes = difference - lacking.growth;
                output::warn(format_args!(
                    "sbox-relocate: cannot relocate '{shown}': the new path is {bytes} bytes too long"
                ));
            }
        }
        if let (Some(mapping), false) = (mappings.first(), self.json) {
            let most = mapping.from.len() as i64 + growth;
            let over = mapping.to.len() as i64 - most;
            output::say(
                output::Label::Error,
                format_args!(
                    "sbox-relocate: nothing was changed: the path is {over} bytes too long for compiled programs"
                ),
            );
            output::hint(format_args!("a path of at most {most} bytes fits"));
        }
        Ok(())
    }
}
