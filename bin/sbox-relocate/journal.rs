//! All or nothing: every new file is made beside the trees first. When the last one is whole, a journal says where each goes,
//! and from then on the move is only renames, which the next run finishes if this one is killed.

use crate::binary;
use crate::content::{self, Outcome};
use crate::forms::Mapping;
use crate::installed_metadata::{self, Sum};
use crate::plan::{self, Change, Plan, Planner, Tree};
use crate::shebang;
use libsbox::dir::Dir;
use libsbox::error::{Context, Result};
use libsbox::escape::visible_path;
use libsbox::fs;
use serde::{Deserialize, Serialize};
use sha2::Digest;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io::{Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// What a committed move still has to do, or has done: then none of the new files is there any more.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Journal {
    /// What the files say afterwards, by what they said before. Bytes, since a path need not be text.
    mappings: Vec<(Vec<u8>, Vec<u8>)>,
    puts: Vec<(usize, Vec<u8>, usize)>,
    removes: Vec<(usize, Vec<u8>)>,
}

const NAME: &str = "journal.json";

impl Journal {
    /// The journal of an earlier run; nothing if none got so far.
    pub fn read(place: &Path) -> Option<Journal> {
        serde_json::from_slice(&fs::read_plain(&place.join(NAME))?).ok()
    }

    /// Where the earlier run moved to, as mappings to where this one moves.
    pub fn onward(&self, mappings: &[Mapping]) -> Vec<Mapping> {
        let went =
            |mapping: &Mapping| self.mappings.iter().find(|(from, to)| *from == mapping.from && *to != mapping.to);
        let onward = mappings.iter().filter_map(|mapping| Some((went(mapping)?.1.clone(), mapping.to.clone())));
        onward.filter_map(|(from, to)| Mapping::new(from, to).ok()).collect()
    }

    /// The places that are still to be changed.
    pub fn rest(&self, place: &Path) -> Vec<(usize, PathBuf)> {
        let waits =
            |(_, _, number): &&(usize, Vec<u8>, usize)| place.join(number.to_string()).symlink_metadata().is_ok();
        self.puts.iter().filter(waits).map(|(tree, path, _)| (*tree, path_of(path))).collect()
    }

    /// Puts every new file in its place. What was put before is not there any more.
    pub fn commit(&self, place: &Path, trees: &[Tree]) -> Result<()> {
        let staging = Dir::open(place)?;
        for (tree, path, number) in &self.puts {
            let name = OsString::from(number.to_string());
            let path = path_of(path);
            let (Some(tree), Some(parent), Some(target)) = (trees.get(*tree), path.parent(), path.file_name()) else {
                continue;
            };
            if staging.stat(&name)?.is_none() {
                continue;
            }
            let dir = tree.dir.sub_lent_at(parent)?;
            dir.lend(|| {
                rustix::fs::renameat(&staging, &name, &dir, target)
                    .context(|| format!("replace '{}'", visible_path(dir.path().join(target))))
            })?;
        }
        for (tree, path) in &self.removes {
            let path = path_of(path);
            let (Some(tree), Some(parent), Some(name)) = (trees.get(*tree), path.parent(), path.file_name()) else {
                continue;
            };
            if let Ok(dir) = tree.dir.sub_lent_at(parent) {
                let _ = dir.lend(|| Ok(dir.remove_file(name)));
            }
        }
        Ok(())
    }
}

fn path_of(bytes: &[u8]) -> PathBuf {
    OsString::from_vec(bytes.to_vec()).into()
}

/// Makes all new files in the directory `place`, and the journal last.
pub fn stage(place: &Path, planner: &Planner<'_>, plan: &Plan, trees: &[Tree], durable: bool) -> Result<Journal> {
    fs::remove_tree(place)?;
    fs::make_dirs(place)?;
    let staging = Dir::open(place)?;
    let _ = std::fs::set_permissions(place, std::fs::Permissions::from_mode(0o700));
    let mappings = planner.mappings.iter().map(|mapping| (mapping.from.clone(), mapping.to.clone())).collect();
    let mut journal = Journal { mappings, ..Journal::default() };
    let mut numbers: BTreeMap<(usize, PathBuf), usize> = BTreeMap::new();
    // Records come last: they tell of the others.
    let records = |change: &Change| matches!(change, Change::Record);
    for ((number, path), change) in plan.changes.iter().filter(|(_, change)| !records(change)) {
        if matches!(change, Change::Remove) {
            journal.removes.push((*number, path.as_os_str().as_bytes().to_vec()));
            continue;
        }
        let id = journal.puts.len();
        let name = OsString::from(id.to_string());
        let dir = trees[*number].dir.sub_lent_at(path.parent().unwrap_or(Path::new("")))?;
        let old = path.file_name().unwrap_or_default();
        match change {
            Change::Link(target) => rustix::fs::symlinkat(target, &staging, &name)
                .context(|| format!("link '{}'", visible_path(dir.path().join(old))))?,
            _ => file(planner, &dir, old, path, change, &staging, &name)?,
        }
        journal.puts.push((*number, path.as_os_str().as_bytes().to_vec(), id));
        numbers.insert((*number, path.clone()), id);
    }
    for (number, tree) in trees.iter().enumerate().filter(|(_, tree)| tree.rule == plan::Rule::Software) {
        stage_records((number, tree), plan, &staging, &numbers, &mut journal)?;
    }
    // Without a place of the caller's nobody would find it: then the move is finished by this run or not at all.
    if durable {
        let text = serde_json::to_vec(&journal)?;
        // After a power cut, too, a journal must not name files whose content was not written.
        rustix::fs::syncfs(&staging).context(|| "write the journal".into())?;
        fs::write_atomic(&place.join(NAME), &text, 0o600)?;
    }
    Ok(journal)
}

/// The records of a tree, with the hashes of what was staged.
fn stage_records(
    (number, tree): (usize, &Tree),
    plan: &Plan,
    staging: &Dir,
    numbers: &BTreeMap<(usize, PathBuf), usize>,
    journal: &mut Journal,
) -> Result<()> {
    let changed = plan.changes.keys().filter(|(tree, _)| *tree == number).map(|(_, place)| place.clone()).collect();
    let sum = |path: &Path| sum_of(&staging.file(numbers.get(&(number, path.to_owned()))?.to_string()).ok()?);
    for path in installed_metadata::affected(&tree.dir, &changed)? {
        let staged = numbers.get(&(number, path.clone())).map(ToString::to_string);
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { continue };
        let dir = tree.dir.sub_lent_at(parent)?;
        let shown = || format!("write '{}'", visible_path(dir.path().join(name)));
        let source = match &staged {
            Some(staged) => staging.file(staged)?,
            None => dir.file_lent(name)?,
        };
        let metadata = source.metadata().context(shown)?;
        let text = plan::whole(&source, metadata.len()).context(shown)?;
        let Some(new) = installed_metadata::updated(&path, &text, &changed, &sum) else { continue };
        let id = match &staged {
            Some(staged) => staged.parse().unwrap_or_default(),
            None => {
                journal.puts.push((number, path.as_os_str().as_bytes().to_vec(), journal.puts.len()));
                journal.puts.len() - 1
            }
        };
        let target = OsString::from(id.to_string());
        staging.put_file(&target, metadata.mode(), |file| {
            file.write_all(&new)?;
            keep(&source, file, &metadata)
        })?;
    }
    Ok(())
}

/// A new file in the place of the old one: a hard link elsewhere keeps its content, a running program its code, and a
/// read-only file can be replaced too.
fn file(
    planner: &Planner<'_>,
    dir: &Dir,
    name: &OsStr,
    path: &Path,
    change: &Change,
    staging: &Dir,
    target: &OsStr,
) -> Result<()> {
    let shown = || format!("read '{}'", visible_path(dir.path().join(name)));
    let old = dir.file_lent(name)?;
    let metadata = old.metadata().context(shown)?;
    let size = metadata.len();
    let forms = if plan::is_python(path) { &planner.python } else { &planner.forms };
    let head = content::head(&old).context(shown)?;
    staging.put_file(target, metadata.mode(), |new| {
        match change {
            Change::Text(encoding) => {
                let first = shebang::moved(&head, planner.mappings);
                let mut to = std::io::BufWriter::with_capacity(1 << 16, &mut *new);
                let from = first.map_or(Ok(0), |(line, end)| to.write_all(&line).map(|()| end as u64))?;
                let outcome = content::replace(&old, size, from, forms, *encoding, &mut |bytes| to.write_all(bytes))?;
                to.flush()?;
                if outcome == Outcome::Counted {
                    return Err(std::io::Error::other("it changed while it was read"));
                }
            }
            Change::Wide(wide) => {
                let text = content::decode(&plan::whole(&old, size)?, *wide).unwrap_or_default();
                let moved = planner.forms.replaced(text.as_bytes(), crate::boundary::Encoding::Utf8);
                let moved = moved.and_then(|moved| String::from_utf8(moved).ok());
                new.write_all(&content::encode(&moved.unwrap_or(text), *wide))?;
            }
            Change::FirstLine => {
                let (line, end) = shebang::moved(&head, planner.mappings).unwrap_or_default();
                new.write_all(&line)?;
                let mut rest = &old;
                std::io::Seek::seek(&mut rest, std::io::SeekFrom::Start(end as u64))?;
                std::io::copy(&mut rest, new)?;
            }
            Change::Strings(patches) => {
                fs::fill(&old, new)?;
                binary::apply(new, patches)?;
            }
            Change::Link(_) | Change::Remove | Change::Record => {}
        }
        keep(&old, new, &metadata)
    })
}

/// Owner, attributes and times of the old file.
fn keep(old: &File, new: &File, metadata: &Metadata) -> std::io::Result<()> {
    if rustix::process::geteuid().is_root() && metadata.uid() != 0 {
        // Root moves the files of others, and they stay theirs.
        let (user, group) = (rustix::fs::Uid::from_raw(metadata.uid()), rustix::fs::Gid::from_raw(metadata.gid()));
        let _ = rustix::fs::fchown(new, Some(user), Some(group));
    }
    // Extended attributes that users set; those of the system are made again by it.
    let mut names = [0u8; 4096];
    let length = rustix::fs::flistxattr(old, &mut names[..]).unwrap_or(0);
    for name in names[..length].split(|byte| *byte == 0).filter(|name| name.starts_with(b"user.")) {
        let mut value = [0u8; 4096];
        if let Ok(length) = rustix::fs::fgetxattr(old, name, &mut value[..]) {
            let _ = rustix::fs::fsetxattr(new, name, &value[..length], rustix::fs::XattrFlags::empty());
        }
    }
    fs::keep_times(new, metadata)
}

fn sum_of(file: &File) -> Option<Sum> {
    let mut hash = sha2::Sha256::new();
    let (mut file, mut buffer, mut size) = (file, vec![0; 1 << 16], 0);
    loop {
        let read = file.read(&mut buffer).ok()?;
        if read == 0 {
            return Some((hash.finalize().into(), size));
        }
        hash.update(&buffer[..read]);
        size += read as u64;
    }
}
