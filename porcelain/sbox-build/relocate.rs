//! A project that moved: its environment names the old place.

use crate::Build;
use libsbox::error::Result;
use libsbox::escape;
use libsbox::fs;
use libsbox::output;
use libsbox::plumbing;
use std::path::Path;

/// Makes an environment that was built elsewhere work here. One that cannot be moved is made anew by the next layer.
pub fn moved(build: &mut Build<'_>) -> Result<bool> {
    let project = build.project;
    let old = Path::new(&build.built.prefix).to_owned();
    let here = project.env();
    if build.built.prefix.is_empty() || old == here || build.options.force || !here.is_dir() {
        return Ok(false);
    }
    output::step(format_args!("The project moved: from '{}'", escape::visible_path(&old)));
    // `.sbox/env` belongs to a project, whose own path may be written in the environment too.
    let root = old.parent().and_then(Path::parent);
    let (from, to) = match root {
        Some(root) if old.ends_with(".sbox/env") => (root.to_owned(), project.root().to_owned()),
        _ => (old, here.clone()),
    };
    for directory in [here.clone(), project.rootfs()] {
        let mut command = plumbing::program("sbox-relocate")?;
        if directory == here {
            command.arg("--slots").arg(project.slots());
        }
        command.arg("--from").arg(&from).arg("--to").arg(&to).arg(&directory);
        if directory.is_dir() && plumbing::output(&mut command).is_err() {
            output::info("it cannot be moved as it is, and is made anew");
            fs::set_aside(&here, &project.trash())?;
            build.built = libsbox::built::Built::default();
            return Ok(true);
        }
    }
    build.built.prefix = here.to_string_lossy().into_owned();
    Ok(true)
}
