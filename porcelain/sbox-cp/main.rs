//! sbox-cp: copy files into the sandbox and out of it.
#![forbid(unsafe_code)]

mod place;
mod through;
mod tree;

use lexopt::prelude::*;
use libsbox::cli::{self, Tool};
use libsbox::daemon;
use libsbox::daemon::processes;
use libsbox::error::{Error, Result};
use libsbox::escape;
use libsbox::format;
use libsbox::output;
use libsbox::progress::Progress;
use libsbox::project::Project;
use place::{Place, Places};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use through::Passage;
use tree::Copier;

const TOOL: Tool = Tool { name: "sbox-cp", usage: USAGE, runs_a_command: false };
const USAGE: &str = "\
usage: sbox cp PATH... :DIR
       sbox cp :PATH... DIR
Copy files and directories into the project's sandbox, or out of it. A path in
the sandbox begins with a colon; NAME:PATH, with the name of a daemon, is the
same. A target that is not a directory gives the copy its name.

  -q, --quiet      do not say what was copied
  -h, --help       print this text
  -V, --version    print the version
";

/// How many of the things that were not copied are named.
const NAMED: usize = 10;

fn main() -> ExitCode {
    TOOL.main(run)
}

/// A path as it was written.
enum Written {
    Host(PathBuf),
    /// In the sandbox; of this daemon, if one was named.
    Inside(Option<String>, PathBuf),
}

impl Written {
    /// As docker and scp read it: there is a colon before the first slash.
    fn of(word: &OsString) -> Result<Written> {
        let bytes = word.as_bytes();
        let colon = bytes.iter().position(|byte| *byte == b':');
        let slash = bytes.iter().position(|byte| *byte == b'/').unwrap_or(bytes.len());
        let Some(colon) = colon.filter(|colon| *colon < slash) else { return Ok(Written::Host(word.into())) };
        let path = PathBuf::from(OsString::from_vec(bytes[colon + 1..].to_vec()));
        let name = String::from_utf8_lossy(&bytes[..colon]).into_owned();
        if !path.is_absolute() {
            let shown = escape::visible(&word.to_string_lossy());
            return Err(Error::usage(format!("'{shown}' is not a path in the sandbox"))
                .hint("write :/app/FILE; a file of this machine with a colon in its name is ./NAME"));
        }
        Ok(Written::Inside(Some(name).filter(|name| !name.is_empty()), path))
    }

    fn is_inside(&self) -> bool {
        matches!(self, Written::Inside(..))
    }
}

fn run(args: &mut lexopt::Parser) -> Result<u8> {
    let (mut quiet, mut words) = (false, Vec::new());
    while let Some(arg) = args.next()? {
        match arg {
            Short('q') | Long("quiet") => quiet = true,
            Value(word) => words.push(Written::of(&word)?),
            other => return Err(cli::common(other)),
        }
    }
    let Some(target) = words.pop().filter(|_| !words.is_empty()) else {
        return Err(Error::usage("missing PATH").hint("sbox cp data.csv :/app/data.csv"));
    };
    if words.iter().any(|word| word.is_inside() == target.is_inside()) {
        let message = "one side has to be in the sandbox, and the other one on this machine";
        return Err(Error::usage(message).hint("a path in the sandbox begins with a colon: sbox cp :/app/out.txt ."));
    }
    let project = Project::find()?;
    let config = libsbox::check::load(&project)?;
    libsbox::trust::require(&project, &config)?;
    libsbox::built::require(&project, &config)?;
    known(&project, words.iter().chain([&target]))?;
    // Nobody cleans up what is being copied.
    let _in_use = project.lock_shared()?;
    let places = Places::new(&project, &config);
    let passage = Passage::open(&project, &config)?;
    if let Written::Inside(_, path) = &target
        && places.is_in_overlay(path)?
    {
        let mut copier = Copier::new(&project, false)?;
        let (between, seen) = passage.directory()?;
        let progress = Progress::spin("Copying");
        let mut names = Vec::new();
        for word in &words {
            let source = source_of(&places, &passage, word)?;
            copier.copy(&source, &between, &source.name)?;
            names.push(source.name);
        }
        passage.deliver(&seen, &names, path)?;
        drop(progress);
        return Ok(say(&copier, &shown(&target, path), quiet));
    }
    let (target, shown) = target_of(&places, &target, words.len() > 1)?;
    let mut copier =
        Copier::new(&project, !matches!(&target, Target::Into(place) | Target::Named(place) if place.inside))?;
    let progress = Progress::spin("Copying");
    for word in &words {
        let source = source_of(&places, &passage, word)?;
        let name = source.name.clone();
        match &target {
            Target::Into(place) => copier.copy(&source, &place.directory()?, &name)?,
            Target::Named(place) => copier.copy(&source, &place.parent, &place.name)?,
        }
    }
    drop(progress);
    Ok(say(&copier, &shown, quiet))
}

fn say(copier: &Copier, target: &str, quiet: bool) -> u8 {
    for (path, why) in copier.left.iter().take(NAMED) {
        output::warn(format_args!("'{}' is not copied: {why}", escape::visible_path(path)));
    }
    if copier.left.len() > NAMED {
        output::warn(format_args!("{} more are not copied", copier.left.len() - NAMED));
    }
    if !quiet {
        let (files, size) = (format::count(copier.files, "file"), format::size(copier.bytes));
        output::ok(format_args!("Copied {files} ({size}) to '{target}'"));
    }
    u8::from(!copier.left.is_empty())
}

/// Daemons that are named exist: all of a project see the same files, so that it does not matter which.
fn known<'a>(project: &Project, words: impl Iterator<Item = &'a Written>) -> Result<()> {
    for word in words {
        if let Written::Inside(Some(name), _) = word {
            daemon::choose(project, &processes::list(project)?, Some(name))?;
        }
    }
    Ok(())
}

fn source_of(places: &Places, passage: &Passage, word: &Written) -> Result<Place> {
    let (place, path) = match word {
        Written::Host(path) => (places.host(path)?, path),
        Written::Inside(_, path) if places.is_in_overlay(path)? => (passage.fetch(path)?, path),
        Written::Inside(_, path) => (places.inside(path, false)?, path),
    };
    match place.kind()? {
        None => Err(Error::new(format!("there is no '{}'", shown(word, path)))),
        Some(rustix::fs::FileType::Symlink) => {
            let link = escape::visible_path(place.parent.link(&place.name)?);
            Err(Error::new(format!("'{}' is a symbolic link to '{link}'", shown(word, path)))
                .hint("name what it leads to, if you want that"))
        }
        Some(_) => Ok(place),
    }
}

fn shown(word: &Written, path: &Path) -> String {
    format!("{}{}", if word.is_inside() { ":" } else { "" }, escape::visible_path(path))
}

enum Target {
    /// A directory, in which the copy has the name of its source.
    Into(Place),
    /// What the copy is called.
    Named(Place),
}

fn target_of(places: &Places, word: &Written, several: bool) -> Result<(Target, String)> {
    let (place, path) = match word {
        Written::Host(path) => (places.host(path).or_else(|_| places.host_to_be(path))?, path),
        Written::Inside(_, path) => (places.inside(path, true)?, path),
    };
    let shown = shown(word, path);
    match place.kind()? {
        Some(rustix::fs::FileType::Directory) => Ok((Target::Into(place), shown)),
        Some(rustix::fs::FileType::Symlink) if place.inside => {
            Err(Error::new(format!("'{shown}' is a symbolic link, which is not followed"))
                .hint("name what it leads to, if you want that"))
        }
        _ if several || path.as_os_str().as_bytes().ends_with(b"/") => {
            Err(Error::new(format!("'{shown}' is not a directory")))
        }
        _ => Ok((Target::Named(place), shown)),
    }
}
