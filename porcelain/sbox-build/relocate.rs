//! A project that moved: its environment names the old place.

use crate::Build;
use sbox::error::Result;
use sbox::{fsx, plumb, words};
use std::path::Path;

/// Makes an environment that was built elsewhere work here. One that cannot be moved is made anew by the next layer.
pub fn moved(build: &mut Build<'_>) -> Result<bool> {
    let project = build.project;
    let old = Path::new(&build.lock.prefix).to_owned();
    let here = project.env();
    if build.lock.prefix.is_empty() || old == here || build.options.force || !here.is_dir() {
        return Ok(false);
    }
    words::step(format_args!("The project moved: from '{}'", words::visible_path(&old)));
    // `.sbox/env` belongs to a project, whose own path may be written in the environment too.
    let root = old.parent().and_then(Path::parent);
    let (from, to) = match root {
        Some(root) if old.ends_with(".sbox/env") => (root.to_owned(), project.root().to_owned()),
        _ => (old, here.clone()),
    };
    for directory in [here.clone(), project.rootfs()] {
        let mut command = plumb::program("sbox-relocate")?;
        if directory == here {
            command.arg("--slots").arg(project.slots());
        }
        command.arg("--from").arg(&from).arg("--to").arg(&to).arg(&directory);
        if directory.is_dir() && plumb::output(&mut command).is_err() {
            words::info("it cannot be moved as it is, and is made anew");
            fsx::set_aside(&here, &project.trash())?;
            build.lock = sbox::lockfile::Lockfile::default();
            return Ok(true);
        }
    }
    build.lock.prefix = here.to_string_lossy().into_owned();
    Ok(true)
}
