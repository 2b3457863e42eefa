//! sbox-relocate: rewrite the paths that the files of an environment have written in them.
//!
//! Runs no code and uses no network. The trees may be an agent's: nothing outside of them is read or written.
#![forbid(unsafe_code)]

mod binary;
mod boundary;
mod bytecode;
mod content;
mod elf;
mod forms;
mod installed_metadata;
mod journal;
mod plan;
mod report;
mod shebang;

use forms::Mapping;
use journal::Journal;
use lexopt::prelude::*;
use libsbox::cli::{self, Tool};
use libsbox::dir::Dir;
use libsbox::error::{Context, Error, Result};
use libsbox::escape::visible_path;
use libsbox::fs;
use plan::{Planner, Rule, Tree};
use report::Report;
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const TOOL: Tool = Tool { name: "sbox-relocate", usage: USAGE, runs_a_command: false };
const USAGE: &str = "\
usage: sbox-relocate [options] --from OLD --to NEW [--from OLD --to NEW]...
                     [DIR] [--data DIR]
Replace the path OLD by NEW in the files below DIR: in text, and in the strings
of compiled programs. Prints each file that it changed.

      --from OLD      a path that is written in the files
      --to NEW        the path to write in its place; belongs to the --from
                      before it
      --data DIR      a tree in which only text is changed, in the same move;
                      each printed path then begins with its tree's name
  -n, --dry-run       print what would change
  -v, --verbose       print on stderr what names OLD and is left as it is
  -0, --null          end each printed path by NUL
      --json          print a JSON object a line: changes, what is left, and
                      what cannot move
      --only FILE     look only at these files: paths as they are printed, each
                      ended by NUL; - reads them from stdin
      --skip PATH     do not look at PATH, written as paths are printed
      --slots FILE    what room earlier moves left in binary files: read, and
                      written for the next one
      --journal DIR   where new files are made before the move, and it is
                      recorded; the caller removes it when it has noted the move
  -h, --help          print this text
  -V, --version       print the version

All of it happens or nothing. If a string in a program would have to leave its
room, nothing is changed, and each such file is named on stderr (exit code 1). A
move that was killed is finished by the next run with the same journal.
";

fn main() -> ExitCode {
    TOOL.main(run)
}

#[derive(Default)]
struct Options {
    dry_run: bool,
    verbose: bool,
    null: bool,
    json: bool,
    only: Option<PathBuf>,
    skip: Vec<PathBuf>,
    slots: Option<PathBuf>,
    journal: Option<PathBuf>,
    mappings: Vec<Mapping>,
}

fn run(args: &mut lexopt::Parser) -> Result<u8> {
    let (mut options, mut from) = (Options::default(), None::<Vec<u8>>);
    let mut dirs: Vec<(PathBuf, Rule)> = Vec::new();
    while let Some(arg) = args.next()? {
        match arg {
            Short('n') | Long("dry-run") => options.dry_run = true,
            Short('v') | Long("verbose") => options.verbose = true,
            Short('0') | Long("null") => options.null = true,
            Long("json") => options.json = true,
            Long("only") => options.only = Some(args.value()?.into()),
            Long("skip") => options.skip.push(args.value()?.into()),
            Long("slots") => options.slots = Some(args.value()?.into()),
            Long("journal") => options.journal = Some(args.value()?.into()),
            Long("data") => dirs.push((args.value()?.into(), Rule::Data)),
            Long("from") => from = Some(args.value()?.into_vec()),
            Long("to") => {
                let from = from.take().ok_or_else(|| Error::usage("'--to' without a '--from' before it"))?;
                options.mappings.push(Mapping::new(from, args.value()?.into_vec())?);
            }
            Value(value) if dirs.iter().all(|(_, rule)| *rule == Rule::Data) => {
                dirs.push((value.into(), Rule::Software))
            }
            other => return Err(cli::common(other)),
        }
    }
    if options.mappings.is_empty() || from.is_some() {
        return Err(Error::usage("missing '--from OLD --to NEW'"));
    }
    // The software first, in whatever order they were named.
    dirs.sort_by_key(|(_, rule)| *rule == Rule::Data);
    let (first, _) = dirs.first().ok_or_else(|| Error::usage("missing directory"))?;
    let journal = options.journal.clone().unwrap_or_else(|| journal_beside(first));
    let several = dirs.len() > 1;
    let open = |(path, rule): &(PathBuf, Rule)| {
        let name = if several { path.file_name().map(PathBuf::from).unwrap_or_default() } else { PathBuf::new() };
        Ok(Tree { dir: Dir::open(path)?, rule: *rule, name })
    };
    let trees: Vec<Tree> = dirs.iter().map(open).collect::<Result<_>>()?;
    relocate(&options, &trees, &journal)
}

fn relocate(options: &Options, trees: &[Tree], place: &Path) -> Result<u8> {
    let report = Report { null: options.null, json: options.json, verbose: options.verbose, trees };
    let earlier = options.journal.as_ref().and_then(|place| Journal::read(place));
    let mut mappings = options.mappings.clone();
    if let Some(earlier) = &earlier {
        for (tree, path) in earlier.rest(place) {
            report.change(tree, &path, "rewrite")?;
        }
        if !options.dry_run {
            earlier.commit(place, trees)?;
        }
        mappings.extend(earlier.onward(&options.mappings));
    }
    let slots = options.slots.as_deref().and_then(fs::read_plain);
    let slots = slots.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
    let mut planner = Planner::new(&mappings, &options.skip, slots);
    let only = options.only.as_deref().map(listed).transpose()?;
    for (number, tree) in trees.iter().enumerate() {
        let only: Option<Vec<PathBuf>> = only
            .as_ref()
            .map(|all| all.iter().filter_map(|path| path.strip_prefix(&tree.name).ok()).map(Path::to_owned).collect());
        planner.look(number, tree, only.as_deref())?;
    }
    let plan = std::mem::take(&mut planner.plan);
    report.left(&plan)?;
    if !plan.lacking.is_empty() {
        return report.lacking(&plan, &mappings).map(|()| 1);
    }
    if let Some(error) = plan::refusal(&plan, trees) {
        return Err(error);
    }
    if !options.dry_run && !plan.changes.is_empty() {
        write(options, &planner, &plan, trees, place)?;
    }
    report.changes(&plan)?;
    if options.slots.is_some() && plan.changes.values().any(|change| matches!(change, plan::Change::Strings(_))) {
        report.slots()?;
    }
    Ok(0)
}

fn write(options: &Options, planner: &Planner<'_>, plan: &plan::Plan, trees: &[Tree], place: &Path) -> Result<()> {
    let staged = journal::stage(place, planner, plan, trees, options.journal.is_some());
    let journal = match staged {
        Ok(journal) => journal,
        Err(error) => {
            let _ = fs::remove_tree(place);
            let hint = error.hint_text().unwrap_or("nothing was changed; run the command again").to_owned();
            return Err(Error::of(error.kind(), error.to_string()).hint(hint));
        }
    };
    if let Some(slots) = options.slots.as_ref().filter(|_| !plan.slots.is_empty()) {
        // First: a slot that is larger than its content harms nothing, one that was forgotten is lost.
        let text = serde_json::to_string(&plan.slots)?;
        fs::write_atomic(slots, text.as_bytes(), 0o600)?;
    }
    journal.commit(place, trees)?;
    if options.journal.is_none() { fs::remove_tree(place) } else { Ok(()) }
}

fn listed(list: &Path) -> Result<Vec<PathBuf>> {
    let mut bytes = Vec::new();
    let shown = || format!("read '{}'", visible_path(list));
    if list == Path::new("-") {
        std::io::stdin().lock().read_to_end(&mut bytes).context(shown)?;
    } else {
        bytes = std::fs::read(list).context(shown)?;
    }
    let places = bytes.split(|byte| *byte == 0).filter(|place| !place.is_empty());
    Ok(places.map(|place| PathBuf::from(OsStr::from_bytes(place))).collect())
}

/// Where a move is recorded for which no place was named. One that was killed is there for whoever looks for it.
fn journal_beside(tree: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(tree.file_name().unwrap_or_default());
    name.push(format!(".move-{}", std::process::id()));
    tree.with_file_name(name)
}
