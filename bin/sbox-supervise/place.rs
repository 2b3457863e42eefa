//! Where the project is now: it may be moved while its daemon runs.

use libsbox::project::Project;
use std::path::Path;

/// Goes to the project's state, by which this process is found and finds its way back.
pub fn enter(project: &Project) -> std::io::Result<()> {
    std::env::set_current_dir(project.state())
}

/// The project, at the place where it is; nothing if it is gone. `started` is where it was at the start, for whoever did
/// not [`enter`] it.
pub fn project(started: &Project) -> Option<Project> {
    let here = std::env::current_dir().ok()?;
    match here.parent().filter(|_| here.ends_with(Path::new(".sbox"))) {
        Some(root) => Project::at(root).ok(),
        None => Some(started.clone()),
    }
}
