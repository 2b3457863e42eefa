//! sbox-apply: bring what the agent changed to the host.
#![forbid(unsafe_code)]

mod ask;
mod commits;
mod expected;
mod journal;
mod report;
mod write;

use journal::{Interrupted, Journal};
use lexopt::prelude::*;
use libsbox::cli::{self, Tool};
use libsbox::config::Config;
use libsbox::cow::{self, Change, Layer, Selection, Verdict};
use libsbox::error::{Error, Result};
use libsbox::escape::visible_path;
use libsbox::fs::Lock;
use libsbox::output;
use libsbox::project::Project;
use report::Report;
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::process::ExitCode;
use write::{Outcome, Shown, Writer};

const TOOL: Tool = Tool { name: "sbox-apply", usage: USAGE, runs_a_command: false };
const USAGE: &str = "\
usage: sbox apply [-n [--digest]] [-i] [--ignored] [--partial]
                  [--expect DIGEST] [PATH...]
       sbox apply [-n] --commits [BRANCH]
Bring what the agent changed in copy-on-write mounts to the host, file by file.
With PATHs only what is at or below them: paths of the host, or as the sandbox
sees them. Files that programs of the host act on are applied only when named.

  -n, --dry-run        print what would change
  -i, --interactive    show each change and ask for one key
      --ignored        files that the host's git ignores, too
      --partial        leave files that changed on both sides, apply the rest
      --digest         with -n: end with a digest of all that would change
      --expect DIGEST  apply only if the digest is still this one
      --commits        bring the agent's commits, as branch sbox/BRANCH
                       [the branch that is checked out inside]
  -h, --help           print this text
  -V, --version        print the version
";

fn main() -> ExitCode {
    TOOL.main(run)
}

#[derive(Default)]
struct Options {
    dry_run: bool,
    interactive: bool,
    partial: bool,
    ignored: bool,
    digest: bool,
    expect: Option<String>,
}

fn run(args: &mut lexopt::Parser) -> Result<u8> {
    let (mut options, mut commits, mut words) = (Options::default(), false, Vec::new());
    while let Some(arg) = args.next()? {
        match arg {
            Short('n') | Long("dry-run") => options.dry_run = true,
            Short('i') | Long("interactive") => options.interactive = true,
            Long("partial") => options.partial = true,
            Long("ignored") => options.ignored = true,
            Long("digest") => options.digest = true,
            Long("expect") => options.expect = Some(args.value()?.string()?),
            Long("commits") => commits = true,
            Value(word) => words.push(PathBuf::from(word)),
            other => return Err(cli::common(other)),
        }
    }
    let is_bound = options.digest || options.expect.is_some();
    if commits && (options.interactive || options.partial || options.ignored || is_bound) {
        return Err(Error::usage("'--commits' can be used together with '-n' and no other option"));
    }
    if options.digest && !options.dry_run {
        return Err(Error::usage("'--digest' needs '-n'"));
    }
    if options.expect.is_some() && (options.dry_run || options.interactive) {
        return Err(cli::exclusive("'--expect' and '-n' or '-i'"));
    }
    if options.interactive && options.dry_run {
        return Err(cli::exclusive("'-i' and '-n'"));
    }
    let project = Project::find()?;
    let config = libsbox::check::load(&project)?;
    libsbox::trust::require(&project, &config)?;
    if commits {
        return commits::bring(&project, &config, &words, options.dry_run);
    }
    if options.interactive {
        ask::require_a_terminal()?;
    }
    apply(&project, &config, &words, &options)
}

fn apply(project: &Project, config: &Config, words: &[PathBuf], options: &Options) -> Result<u8> {
    let mut selection = Selection::new(project, &config.mount, words)?.without_strays()?;
    selection.with_ignored = options.ignored;
    let mut report = Report::new();
    // Held until the end: nobody else changes host or layer meanwhile.
    let _alone = match options.dry_run {
        false => selection.layers.iter().map(|(layer, _)| layer.alone()).collect::<Result<Vec<_>>>()?,
        true => Vec::new(),
    };
    let mut interrupted = HashMap::new();
    for (layer, _) in selection.layers.iter().filter(|_| !options.dry_run) {
        let left = Journal::recover(layer)?;
        if !left.is_empty() {
            interrupted.insert(layer.path().to_owned(), left);
        }
    }
    if !interrupted.is_empty() {
        output::info("finishing what an interrupted 'sbox apply' began");
    }
    // A run that begins now waits until the layer is tidied. While questions are asked it need not.
    let mut offline = Vec::new();
    if !options.dry_run && !options.interactive {
        offline = take_all(&selection)?;
    }
    let (mut plans, mut shown) = (Vec::new(), Shown::new());
    let mut settled = HashMap::new();
    for (layer, scan) in selection.scan()? {
        settled.insert(layer.path().to_owned(), scan.settled);
        report.repositories(layer, &scan.repositories);
        report.ignored(&scan.ignored);
        let mut plan = Vec::new();
        for change in scan.changes {
            let left = interrupted.get(layer.path());
            let named = selection.names(layer, &change) || left.is_some_and(|left| left.has(&change));
            match &change.verdict {
                Verdict::Ready => plan.push(change),
                Verdict::Held(_) if named || options.interactive => plan.push(change),
                _ => report.left(layer, change),
            }
        }
        plans.push((layer, plan));
    }
    // Whatever was named then, an interrupted apply is finished.
    finish_others(&selection, &mut plans, &interrupted)?;
    if report.has_conflicts() && !(options.partial || options.interactive) {
        report.print_conflicts(!options.dry_run);
        if !options.dry_run {
            return Ok(1);
        }
    }
    if options.interactive {
        (plans, shown) = ask::choose(plans)?;
        // What was the same before the questions need not be now.
        settled.clear();
        offline = take_all(&selection)?;
    }
    if let Some(expected) = &options.expect {
        let digest;
        (digest, shown) = expected::digest(&plans)?;
        if digest != *expected {
            return Err(Error::new("the changes are not those of this digest any more; nothing was applied")
                .hint("sbox apply -n --digest shows what they are now"));
        }
    }
    for (layer, plan) in &plans {
        match options.dry_run {
            true => report.would(layer, plan)?,
            false => {
                let alone = offline.iter().find(|(path, _)| path == layer.path()).and_then(|(_, lock)| lock.as_ref());
                let settled = settled.remove(layer.path()).unwrap_or_default();
                bring(layer, plan, settled, (alone, &shown), &mut report)?;
            }
        }
    }
    if options.digest {
        cli::out_line(expected::digest(&plans)?.0)?;
    }
    report.finish();
    Ok(report.code())
}

/// The layers that nobody uses, locked: what was applied can go from them.
fn take_all(selection: &Selection) -> Result<Vec<(PathBuf, Option<Lock>)>> {
    let take = |(layer, _): &(Layer, _)| Ok((layer.path().to_owned(), layer.take()?));
    selection.layers.iter().map(take).collect()
}

/// Adds what an interrupted apply of other paths has still to do.
fn finish_others<'a>(
    selection: &'a Selection,
    plans: &mut Vec<(&'a Layer, Vec<Change>)>,
    interrupted: &HashMap<PathBuf, Interrupted>,
) -> Result<()> {
    if interrupted.is_empty() || selection.everything {
        return Ok(());
    }
    for (layer, _) in &selection.layers {
        let Some(left) = interrupted.get(layer.path()) else { continue };
        let wanted = |change: &Change| left.has(change) && matches!(change.verdict, Verdict::Ready | Verdict::Held(_));
        let all = cow::scan(layer)?.changes;
        let known = plans.iter().position(|(other, _)| other.path() == layer.path());
        let planned: HashSet<PathBuf> =
            known.map(|at| plans[at].1.iter().map(|change| change.path.clone()).collect()).unwrap_or_default();
        let plan: Vec<Change> =
            all.into_iter().filter(|change| planned.contains(&change.path) || wanted(change)).collect();
        match known {
            Some(at) => plans[at].1 = plan,
            None => plans.push((layer, plan)),
        }
    }
    Ok(())
}

/// Applies the changes of one layer.
fn bring(
    layer: &Layer,
    plan: &[Change],
    settled: Vec<PathBuf>,
    (offline, shown): (Option<&Lock>, &Shown),
    report: &mut Report,
) -> Result<()> {
    if plan.is_empty() && settled.is_empty() {
        // One that was killed when all was done and the journal still there.
        return Journal::forget(layer);
    }
    let journal = Journal::begin(layer, plan)?;
    let mut writer = Writer::new(layer, journal.token(), shown)?;
    let mut done = Vec::with_capacity(plan.len());
    for change in plan {
        match writer.apply(change) {
            Ok(Outcome::Applied(ids)) => done.push((change.path.clone(), ids)),
            Ok(Outcome::Conflict(why)) => {
                report.left(layer, Change { verdict: Verdict::Conflict(why), ..change.clone() });
            }
            Err(error) => report.failed(&change.path, &error),
        }
    }
    // On the disk before the layer forgets it.
    writer.sync()?;
    report.applied(layer, done.len());
    match offline {
        Some(alone) => {
            // What an earlier one applied and could not take out goes now, too.
            let mut done: Vec<PathBuf> = done.into_iter().map(|(path, _)| path).collect();
            done.extend(settled);
            cow::settle(layer, alone, &done)?;
            cow::settle_applied(layer, alone)?;
        }
        None if done.is_empty() => {}
        None => {
            cow::remember_applied(layer, &done)?;
            output::info(format_args!(
                "a sandbox uses '{}': the layer is tidied once that has ended",
                visible_path(layer.dst())
            ));
        }
    }
    journal.end()
}
