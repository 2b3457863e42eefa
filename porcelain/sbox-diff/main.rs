//! sbox-diff: what the agent changed in copy-on-write mounts.
#![forbid(unsafe_code)]

mod binary;
mod pager;
mod patch;
mod summary;

use lexopt::prelude::*;
use libsbox::cli::{self, Tool};
use libsbox::cow::{Change, Layer, Node, Scan, Selection, Tree};
use libsbox::error::{Error, Kind, Result};
use libsbox::output;
use libsbox::project::Project;
use libsbox::thread;
use patch::Shown;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};

const TOOL: Tool = Tool { name: "sbox-diff", usage: USAGE, runs_a_command: false };
const USAGE: &str = "\
usage: sbox diff [--stat | --name-only | -j] [--ignored] [--no-pager] [PATH...]
Show what the agent changed in copy-on-write mounts, as a patch that 'git apply'
takes. With PATHs only what is at or below them: paths of the host, or as the
sandbox sees them.

      --stat           one line for each file: how many lines changed
      --name-only      the paths alone
  -j, --json           print it as JSON
      --ignored        files that the host's git ignores, too
      --no-pager       do not start a pager on a terminal
      --for-reading    make control characters visible, also in a file
      --digests FILE   write SHA-256 and path of each version shown to FILE
  -h, --help           print this text
  -V, --version        print the version
";

fn main() -> ExitCode {
    TOOL.main(run)
}

#[derive(PartialEq)]
enum Form {
    Patch,
    Stat,
    NameOnly,
    Json,
}

fn run(args: &mut lexopt::Parser) -> Result<u8> {
    let (mut forms, mut use_pager, mut for_reading, mut words) = (Vec::new(), true, false, Vec::new());
    let (mut digests, mut with_ignored) = (None, false);
    while let Some(arg) = args.next()? {
        match arg {
            Long("stat") => forms.push(Form::Stat),
            Long("name-only") => forms.push(Form::NameOnly),
            Short('j') | Long("json") => forms.push(Form::Json),
            Long("ignored") => with_ignored = true,
            Long("no-pager") => use_pager = false,
            Long("digests") => digests = Some(PathBuf::from(args.value()?)),
            Long("for-reading") => for_reading = true,
            Value(word) => words.push(PathBuf::from(word)),
            other => return Err(cli::common(other)),
        }
    }
    let form = cli::at_most_one(forms, "'--stat', '--name-only' and '--json'")?.unwrap_or(Form::Patch);
    let project = Project::find()?;
    let config = libsbox::check::load(&project)?;
    let mut selection = Selection::new(&project, &config.mount, &words)?;
    if selection.everything {
        selection = selection.without_strays()?;
    }
    // The one who asks has left it out or not.
    selection.with_ignored = with_ignored || digests.is_some();
    let scans = selection.scan()?;
    match form {
        Form::Json => summary::json(&scans)?,
        Form::NameOnly => summary::names(&scans)?,
        Form::Stat => summary::stat(&scans)?,
        Form::Patch => {
            let mut out = pager::Output::new(use_pager, for_reading);
            let result = patches(&mut out, &scans, digests.as_deref());
            out.finish();
            match result {
                Err(error) if error.kind() != Kind::ClosedPipe => return Err(error),
                _ => {}
            }
        }
    }
    let ignored = scans.iter().map(|(_, scan)| scan.ignored.len()).sum();
    if let Some(line) = libsbox::cow::ignored_line(ignored) {
        output::info(line);
    }
    Ok(0)
}

/// All patches, in order. Several are made at once, and few are held in memory.
fn patches(out: &mut pager::Output, scans: &[(&Layer, Scan)], digests: Option<&Path>) -> Result<()> {
    let mut shown = Vec::new();
    for (layer, scan) in scans {
        if scans.len() > 1 && !scan.changes.is_empty() {
            out.write(summary::heading(layer).as_bytes())?;
        }
        for batch in batches(&scan.changes) {
            for (change, patch) in batch.iter().zip(each(layer, batch)?) {
                out.write(&patch.text)?;
                if let (Some(digest), Some(_)) = (&patch.digest, digests) {
                    shown.extend(format!("{digest} ").into_bytes());
                    shown.extend(layer.src().join(&change.path).as_os_str().as_encoded_bytes());
                    shown.push(0);
                }
            }
        }
    }
    digests.map_or(Ok(()), |file| libsbox::fs::write_atomic(file, &shown, 0o600))
}

/// Changes that are made into text at once: many small ones, and few large ones. All of it is held in memory.
pub fn batches(changes: &[Change]) -> impl Iterator<Item = &[Change]> {
    let mut rest = changes;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |change: &&Change| {
            let size = |node: &Option<Node>| node.as_ref().map_or(0, |node| node.size.min(patch::LARGEST));
            bytes += size(&change.old) + size(&change.new);
            bytes <= BATCH
        };
        let count = rest.iter().take(512).take_while(fits).count().max(1).min(rest.len());
        let (batch, others) = rest.split_at(count);
        rest = others;
        (!batch.is_empty()).then_some(batch)
    })
}

/// Bytes of both sides in one batch, if it is of more than one change.
const BATCH: u64 = 32 << 20;

/// The text of a patch, what it is, and SHA-256 of the agent's version that it shows.
pub struct Patch {
    /// In the format of git.
    pub text: Vec<u8>,
    /// Text, binary or a note.
    pub shown: Shown,
    /// None where nothing of it is shown.
    pub digest: Option<String>,
}

/// A patch for each change, made by as many threads as there are processors.
fn each(layer: &Layer, changes: &[Change]) -> Result<Vec<Patch>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8).min(changes.len() / 16 + 1);
    let next = AtomicUsize::new(0);
    let work = || -> Result<Vec<(usize, Patch)>> {
        let (mut host, mut tree) = (Tree::host(layer)?, Tree::layer(&layer.changes())?);
        let mut done = Vec::new();
        loop {
            let start = next.fetch_add(16, Ordering::Relaxed);
            for (number, change) in changes.iter().enumerate().skip(start).take(16) {
                // What cannot be read now is said in its place: the agent may be at work.
                let patch = patch::write(change, &mut host, &mut tree).unwrap_or_else(|error| {
                    let text = format!("# {}: {error}\n", patch::note(change)).into_bytes();
                    Patch { text, shown: Shown::Note, digest: None }
                });
                done.push((number, patch));
            }
            if start + 16 >= changes.len() {
                return Ok(done);
            }
        }
    };
    let mut all = std::thread::scope(|scope| {
        // One is enough, and this thread can be it.
        let workers: Vec<_> = (1..threads).filter_map(|_| thread::spawn_scoped(scope, work).ok()).collect();
        let own = work()?;
        workers.into_iter().try_fold(own, |mut all, worker| {
            all.extend(worker.join().unwrap_or_else(|_| Err(Error::new("a thread failed")))?);
            Ok::<_, Error>(all)
        })
    })?;
    all.sort_by_key(|(number, _)| *number);
    Ok(all.into_iter().map(|(_, made)| made).collect())
}
