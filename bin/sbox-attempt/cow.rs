//! Changing the host's files through a copy-on-write mount of them, and getting at its layer. `seen` is the same directory as
//! it is on the host.

use crate::{Attempt, Fixtures, Outcome, Tried};
use rustix::fs::{CWD, FileType, Mode};
use std::fs::{self, OpenOptions, Permissions};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const CLASS: &str = "copy-on-write";

pub const ATTEMPTS: &[Attempt] = &[
    Attempt { class: CLASS, name: "cow-write", what: "write into a file of a copy-on-write mount", run: write },
    Attempt { class: CLASS, name: "cow-replace", what: "put another file in the place of one", run: replace },
    Attempt { class: CLASS, name: "cow-delete", what: "remove a file", run: delete },
    Attempt { class: CLASS, name: "cow-mode", what: "change who may read a file", run: mode },
    Attempt { class: CLASS, name: "cow-descriptor", what: "write through a descriptor of /proc", run: descriptor },
    Attempt { class: CLASS, name: "cow-hook", what: "plant a git hook in it", run: hook },
    Attempt {
        class: CLASS,
        name: "cow-whiteout",
        what: "make the overlay's mark of a deletion by hand",
        run: whiteout,
    },
    Attempt {
        class: CLASS,
        name: "cow-layer",
        what: "find the layer that holds the changes",
        run: |f| fs::read_dir(f.get("layer")?).map(|_| "listed".into()).map_err(Outcome::from),
    },
];

fn tree(fixtures: &Fixtures) -> Result<PathBuf, Outcome> {
    fixtures.get("tree").map(PathBuf::from)
}

/// Whether the host has it now.
fn on_the_host(fixtures: &Fixtures, is_changed: impl Fn(&Path) -> bool) -> Tried {
    match is_changed(Path::new(fixtures.get("seen")?)) {
        true => Ok("the host has it".into()),
        false => Err(Outcome::Refused("the host's file is as it was".into())),
    }
}

fn holds(file: PathBuf, word: &str) -> bool {
    fs::read_to_string(file).is_ok_and(|text| text.contains(word))
}

fn write(fixtures: &Fixtures) -> Tried {
    OpenOptions::new().append(true).open(tree(fixtures)?.join("file"))?.write_all(b"written\n")?;
    on_the_host(fixtures, |seen| holds(seen.join("file"), "written"))
}

fn replace(fixtures: &Fixtures) -> Tried {
    let tree = tree(fixtures)?;
    fs::write(tree.join("new"), "replaced\n")?;
    fs::rename(tree.join("new"), tree.join("other"))?;
    on_the_host(fixtures, |seen| holds(seen.join("other"), "replaced"))
}

fn delete(fixtures: &Fixtures) -> Tried {
    fs::remove_file(tree(fixtures)?.join("gone"))?;
    on_the_host(fixtures, |seen| !seen.join("gone").exists())
}

fn mode(fixtures: &Fixtures) -> Tried {
    fs::set_permissions(tree(fixtures)?.join("file"), Permissions::from_mode(0o600))?;
    on_the_host(fixtures, |seen| {
        fs::metadata(seen.join("file")).is_ok_and(|file| file.permissions().mode() & 0o777 == 0o600)
    })
}

fn descriptor(fixtures: &Fixtures) -> Tried {
    let file = fs::File::open(tree(fixtures)?.join("third"))?;
    fs::write(format!("/proc/self/fd/{}", file.as_raw_fd()), "through\n")?;
    on_the_host(fixtures, |seen| holds(seen.join("third"), "through"))
}

fn hook(fixtures: &Fixtures) -> Tried {
    fs::write(tree(fixtures)?.join(".git/hooks/pre-commit"), "x")?;
    on_the_host(fixtures, |seen| seen.join(".git/hooks/pre-commit").exists())
}

fn whiteout(fixtures: &Fixtures) -> Tried {
    let place = tree(fixtures)?.join("whiteout");
    rustix::fs::mknodat(CWD, &place, FileType::CharacterDevice, Mode::from_raw_mode(0o600), 0)?;
    Ok("made".into())
}
