//! The end of a one-off run: its project goes, unless somebody may still want something of it.

use libsbox::error::Result;
use libsbox::escape::{shell_word, visible_path};
use libsbox::one_off::OneOff;
use libsbox::plumbing;
use libsbox::{fs, output};
use std::io::IsTerminal;
use std::path::Path;
use std::process::Stdio;

/// Removes the project, or says where it is kept and what to do with it. That is said in any case: nobody would look there.
pub fn end(root: &Path) {
    if let Err(error) = remove_or_tell(root) {
        output::warn(format_args!("the one-off sandbox '{}' is left: {error}", visible_path(root)));
    }
}

fn remove_or_tell(root: &Path) -> Result<()> {
    let one_off = OneOff::at(root)?;
    let lines = one_off.pending()?;
    if lines.is_empty() {
        return fs::remove_tree(root);
    }
    for line in &lines {
        output::info(line);
    }
    if std::io::stderr().is_terminal()
        && let Ok(mut diff) = plumbing::program("sbox-diff")
    {
        // What changed is the agent's, and sbox-diff makes it harmless. The words go where the others go.
        let stderr = rustix::io::dup(rustix::stdio::stderr()).map_or_else(|_| Stdio::null(), Stdio::from);
        let _ = diff.arg("--stat").current_dir(root).stdin(Stdio::null()).stdout(stderr).status();
    }
    let shown = shell_word(&visible_path(root));
    output::line(format_args!("  → to look: sbox -C {shown} diff"));
    output::line(format_args!("  → to bring them over: sbox -C {shown} apply"));
    output::line(format_args!("  → to forget them: sbox -C {shown} discard"));
    Ok(())
}
