//! What is to be done in the trees: everything is looked at before anything is written.

use crate::binary::{self, Known, Lacking, Patches, Slots};
use crate::boundary::Encoding;
use crate::content::{self, Kind, Outcome, Reader};
use crate::forms::{Forms, Mapping};
use crate::{bytecode, installed_metadata, shebang};
use libsbox::dir::{Dir, DirEntry};
use libsbox::error::{Context, Error, Result};
use libsbox::escape::{percent_encoded, visible_path};
use rustix::fs::{Access, FileType};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What may be changed in a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Installed programs: text, and strings in binary files whose format is known.
    Software,
    /// Somebody's data: text, and nothing else.
    Data,
}

/// A tree, and the name that stands before the places in it.
pub struct Tree {
    pub dir: Dir,
    pub rule: Rule,
    pub name: PathBuf,
}

/// How to write a file again.
#[derive(Debug)]
pub enum Change {
    Text(Encoding),
    Wide(content::Wide),
    /// The line before an archive.
    FirstLine,
    Strings(Patches),
    Link(PathBuf),
    /// Byte code of a source that changes.
    Remove,
    /// A record that tells the hashes of files that change.
    Record,
}

/// Why a file that names a path stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    Data,
    Counted,
    TooLarge,
    Unreadable,
    TooDeep,
}

impl Left {
    pub fn why(self) -> &'static str {
        match self {
            Left::Data => "data",
            Left::Counted => "has lengths of strings in it",
            Left::TooLarge => "too large for its encoding",
            Left::Unreadable => "cannot be read",
            Left::TooDeep => "too many directories deep",
        }
    }
}

#[derive(Default)]
pub struct Plan {
    /// By the number of the tree.
    pub changes: BTreeMap<(usize, PathBuf), Change>,
    pub left: Vec<(usize, PathBuf, Left)>,
    pub lacking: Vec<(usize, PathBuf, Lacking)>,
    /// Directories that nothing can be written in.
    pub closed: BTreeSet<(usize, PathBuf)>,
    pub slots: BTreeMap<String, Slots>,
}

/// No directory deeper than this is looked into: each takes a descriptor.
const DEEPEST: usize = 400;

/// What looking needs.
pub struct Planner<'a> {
    pub mappings: &'a [Mapping],
    pub forms: Forms,
    pub python: Forms,
    pub skip: &'a [PathBuf],
    reader: Reader,
    placeholders: BTreeMap<PathBuf, (usize, usize)>,
    pub plan: Plan,
}

impl<'a> Planner<'a> {
    pub fn new(mappings: &'a [Mapping], skip: &'a [PathBuf], slots: BTreeMap<String, Slots>) -> Planner<'a> {
        let (forms, python) = (Forms::new(mappings, false), Forms::new(mappings, true));
        let plan = Plan { slots, ..Plan::default() };
        Planner { mappings, forms, python, skip, reader: Reader::new(), placeholders: BTreeMap::new(), plan }
    }

    /// Looks through a tree; at the listed places only, if there is a list.
    pub fn look(&mut self, number: usize, tree: &Tree, only: Option<&[PathBuf]>) -> Result<()> {
        let now = self.mappings.first().map_or(0, |mapping| mapping.from.len());
        let declared =
            if tree.rule == Rule::Software { installed_metadata::placeholders(&tree.dir) } else { BTreeMap::new() };
        self.placeholders = declared.into_iter().map(|(place, built)| (place, (built, now))).collect();
        match only {
            None => self.walk(number, tree, &tree.dir, Path::new(""), 0)?,
            Some(places) => {
                for place in places {
                    if !self.is_skipped(tree, place) {
                        self.listed(number, tree, place)?;
                    }
                }
            }
        }
        self.follow(number, tree)
    }

    fn is_skipped(&self, tree: &Tree, place: &Path) -> bool {
        self.skip.iter().any(|skip| tree.name.join(place).starts_with(skip))
    }

    fn walk(&mut self, number: usize, tree: &Tree, dir: &Dir, place: &Path, depth: usize) -> Result<()> {
        for entry in dir.entries()? {
            let below = place.join(&entry.name);
            if self.is_skipped(tree, &below) {
                continue;
            }
            if entry.kind != FileType::Directory {
                self.entry(number, tree, dir, &entry, &below)?;
            } else if depth == DEEPEST {
                self.plan.left.push((number, below, Left::TooDeep));
            } else {
                match dir.sub_lent(&entry.name) {
                    Ok(sub) => self.walk(number, tree, &sub, &below, depth + 1)?,
                    Err(_) => self.plan.left.push((number, below, Left::Unreadable)),
                }
            }
        }
        Ok(())
    }

    /// Looks at one listed place. One that is no longer there has nothing to move.
    fn listed(&mut self, number: usize, tree: &Tree, place: &Path) -> Result<()> {
        let (Some(name), Some(parent)) = (place.file_name(), place.parent()) else { return Ok(()) };
        let plain = place.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        if !plain {
            return Ok(());
        }
        let Ok(dir) = tree.dir.sub_lent_at(parent) else { return Ok(()) };
        match dir.stat(name)? {
            Some(stat) => {
                let entry = DirEntry { name: name.into(), kind: FileType::from_raw_mode(stat.st_mode) };
                self.entry(number, tree, &dir, &entry, place)
            }
            None => Ok(()),
        }
    }

    fn entry(&mut self, number: usize, tree: &Tree, dir: &Dir, entry: &DirEntry, place: &Path) -> Result<()> {
        let key = || (number, place.to_owned());
        match entry.kind {
            // Its strings have their length before them, and Python corrects the file name when it loads it.
            FileType::RegularFile if bytecode::is_byte_code(&entry.name) => {}
            FileType::RegularFile => {
                let shown = || format!("read '{}'", visible_path(dir.path().join(&entry.name)));
                let Ok(file) = dir.file_lent(&entry.name) else {
                    self.plan.left.push((number, place.into(), Left::Unreadable));
                    return Ok(());
                };
                let size = file.metadata().context(shown)?.len();
                self.file(number, tree, &file, size, place).context(shown)?;
            }
            FileType::Symlink => {
                let target = dir.link(&entry.name)?;
                if let Some(new) = moved_link(&target, self.mappings) {
                    self.plan.changes.insert(key(), Change::Link(new));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn file(&mut self, number: usize, tree: &Tree, file: &File, size: u64, place: &Path) -> std::io::Result<()> {
        let forms = if is_python(place) { &self.python } else { &self.forms };
        let head = content::head(file)?;
        if let Some(wide) = content::wide(&head) {
            return self.wide(number, file, size, place, wide);
        }
        if !self.reader.names(file, size, forms)? {
            return Ok(());
        }
        let declared = self.placeholders.get(place).copied();
        let key = (number, place.to_owned());
        match content::kind(&mut self.reader, file, size)? {
            Kind::Text(encoding) => {
                let moves_first = shebang::moved(&head, self.mappings).is_some();
                match content::replace(file, size, 0, forms, encoding, &mut |_| Ok(()))? {
                    Outcome::Counted => self.plan.left.push((key.0, key.1, Left::Counted)),
                    Outcome::Changed => drop(self.plan.changes.insert(key, Change::Text(encoding))),
                    Outcome::Nothing if moves_first => drop(self.plan.changes.insert(key, Change::Text(encoding))),
                    Outcome::Nothing => {}
                }
            }
            Kind::Application if tree.rule == Rule::Software => match shebang::moved(&head, self.mappings) {
                Some(_) => drop(self.plan.changes.insert(key, Change::FirstLine)),
                None => self.plan.left.push((key.0, key.1, Left::Data)),
            },
            kind if tree.rule == Rule::Software && (kind == Kind::Elf || declared.is_some()) => {
                let name = percent_encoded(place);
                let known =
                    Known { slots: self.plan.slots.get(&name), placeholder: declared, is_declared: declared.is_some() };
                let patches = binary::patches(&mut self.reader, file, size, &self.forms, &known)?;
                if let Some(lacking) = patches.lacking {
                    self.plan.lacking.push((key.0, key.1, lacking));
                    return Ok(());
                }
                if patches.leaves {
                    self.plan.left.push((number, place.to_owned(), Left::Data));
                }
                if !patches.writes.is_empty() {
                    if !patches.slots.is_empty() {
                        self.plan.slots.insert(name, patches.slots.clone());
                    }
                    self.plan.changes.insert(key, Change::Strings(patches));
                }
            }
            _ => self.plan.left.push((key.0, key.1, Left::Data)),
        }
        Ok(())
    }

    fn wide(
        &mut self,
        number: usize,
        file: &File,
        size: u64,
        place: &Path,
        wide: content::Wide,
    ) -> std::io::Result<()> {
        if size > content::LONGEST_WIDE {
            self.plan.left.push((number, place.into(), Left::TooLarge));
            return Ok(());
        }
        let text = whole(file, size)?;
        if let Some(text) = content::decode(&text, wide)
            && self.forms.replaced(text.as_bytes(), Encoding::Utf8).is_some()
        {
            self.plan.changes.insert((number, place.into()), Change::Wide(wide));
        }
        Ok(())
    }

    /// What changes because something else does: byte code, and records with hashes. And whether it can be written there.
    fn follow(&mut self, number: usize, tree: &Tree) -> Result<()> {
        let changed: BTreeSet<PathBuf> =
            self.plan.changes.keys().filter(|(tree, _)| *tree == number).map(|(_, place)| place.clone()).collect();
        for source in changed.iter().filter(|place| is_python(place)) {
            for stale in bytecode::of(&tree.dir, source) {
                self.plan.changes.insert((number, stale), Change::Remove);
            }
        }
        if tree.rule == Rule::Software {
            for record in installed_metadata::affected(&tree.dir, &changed)? {
                self.plan.changes.entry((number, record)).or_insert(Change::Record);
            }
        }
        let places: Vec<PathBuf> =
            self.plan.changes.keys().filter(|(tree, _)| *tree == number).map(|(_, place)| place.clone()).collect();
        let parents: BTreeSet<&Path> = places.iter().filter_map(|place| place.parent()).collect();
        for parent in parents {
            let dir = tree.dir.sub_lent_at(parent)?;
            let is_open = rustix::fs::accessat(&dir, ".", Access::WRITE_OK, rustix::fs::AtFlags::EACCESS).is_ok()
                || rustix::fs::fstat(&dir).is_ok_and(|stat| stat.st_uid == rustix::process::geteuid().as_raw());
            if !is_open {
                self.plan.closed.insert((number, parent.to_owned()));
            }
        }
        Ok(())
    }
}

pub fn is_python(place: &Path) -> bool {
    place.extension().is_some_and(|extension| extension == "py")
}

pub fn whole(file: &File, size: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; size as usize];
    std::os::unix::fs::FileExt::read_exact_at(file, &mut bytes, 0)?;
    Ok(bytes)
}

/// Where a link leads then. Only one that begins with the path leads there.
fn moved_link(target: &Path, mappings: &[Mapping]) -> Option<PathBuf> {
    let bytes = target.as_os_str().as_bytes();
    mappings.iter().find_map(|mapping| {
        let rest =
            bytes.strip_prefix(mapping.from.as_slice()).filter(|rest| rest.is_empty() || rest.starts_with(b"/"))?;
        Some(PathBuf::from(OsStr::from_bytes(&[&mapping.to, rest].concat())))
    })
}

/// Says why nothing is changed, if something stands in the way; nothing that is only data does.
pub fn refusal(plan: &Plan, trees: &[Tree]) -> Option<Error> {
    let (number, place) = plan.closed.iter().next()?;
    let shown = visible_path(trees[*number].dir.path().join(place));
    Some(
        Error::new(format!("nothing was changed: the directory '{shown}' cannot be written"))
            .hint("give yourself write access to it, and run the command again"),
    )
}
