//! Projects of one-off runs: made in `~/.sbox/runs`, removed at the end of the run.
//!
//! A file in `.sbox` marks such a project, and is locked while its run goes on. One that was killed, or whose changes were
//! applied later, is removed by the next one-off run.

use crate::check;
use crate::cow::{self, Layer};
use crate::error::{Context, Error, Result};
use crate::escape::visible_path;
use crate::fs;
use crate::project::Project;
use std::path::Path;

/// The project of a one-off run.
#[derive(Debug)]
pub struct OneOff(Project);

impl OneOff {
    /// Makes a fresh one with this configuration. Until what this gives is dropped, and the programs that were started in
    /// the meantime have ended, nobody removes it.
    pub fn new(name: &str, configuration: &str, is_kept: bool) -> Result<(OneOff, Option<fs::Lock>)> {
        let runs = Project::one_off_runs()?;
        fs::make_dirs(&runs)?;
        for number in 0.. {
            let root = runs.join(format!("{name}-{}-{number}", std::process::id()));
            match std::fs::create_dir(&root) {
                Ok(()) => return OneOff::fill(&root, configuration, is_kept),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error).context(|| format!("make '{}'", visible_path(&root))),
            }
        }
        Err(Error::new("there is no free name for a one-off run"))
    }

    fn fill(root: &Path, configuration: &str, is_kept: bool) -> Result<(OneOff, Option<fs::Lock>)> {
        let project = Project::at(root)?;
        fs::make_dirs(&project.state())?;
        project.close_to_others();
        // The user has typed every word of it: of one that goes afterwards the mark says so, of one that stays this does.
        let lock = match is_kept {
            true => crate::trust::remember(&project).map(|()| None)?,
            false => Some(fs::Lock::shared(&project.one_off_mark())?),
        };
        fs::write_new(&project.config(), configuration.as_bytes(), 0o600)?;
        Ok((OneOff(project), lock))
    }

    /// The one at `root`; an error if what is there is not one.
    pub fn at(root: &Path) -> Result<OneOff> {
        let project = Project::at(root)?;
        match std::fs::symlink_metadata(project.one_off_mark()) {
            Ok(metadata) if metadata.is_file() => Ok(OneOff(project)),
            _ => Err(Error::new(format!("'{}' is not of a one-off run", visible_path(root)))),
        }
    }

    /// The project.
    pub fn project(&self) -> &Project {
        &self.0
    }

    /// What waits in its copy-on-write mounts, in sentences.
    pub fn pending(&self) -> Result<Vec<String>> {
        // If that fails, nobody knows: then it stays.
        let mounts = check::load(&self.0)?.mount;
        let mut lines = Vec::new();
        for layer in Layer::all(&self.0, &mounts)? {
            let dst = visible_path(layer.dst());
            match cow::pending(&layer)? {
                (0, false) => {}
                (0, true) => lines.push(format!("the repository in '{dst}' changed; the sandbox is kept")),
                (1, _) => lines.push(format!("1 change waits in '{dst}'; the sandbox is kept for it")),
                (count, _) => lines.push(format!("{count} changes wait in '{dst}'; the sandbox is kept for them")),
            }
        }
        Ok(lines)
    }
}

/// Removes what earlier one-off runs left and nobody can want.
pub fn sweep() {
    let entries =
        Project::one_off_runs().and_then(|runs| std::fs::read_dir(runs).context(|| "look at earlier runs".into()));
    for entry in entries.into_iter().flatten().flatten() {
        let Ok(one_off) = OneOff::at(&entry.path()) else { continue };
        // In use while its run goes on, also by one of these that looks at the same time.
        let Ok(Some(_lock)) = fs::Lock::at_once(&one_off.project().one_off_mark()) else { continue };
        if one_off.pending().is_ok_and(|lines| lines.is_empty()) {
            let _ = fs::remove_tree(one_off.project().root());
        }
    }
}
