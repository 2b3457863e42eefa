//! sbox-cache: the runtimes that were made once, for all projects.
#![forbid(unsafe_code)]

use lexopt::prelude::*;
use libsbox::cache::{self, Entry};
use libsbox::cli::{self, Tool};
use libsbox::error::{Error, Result};
use libsbox::escape;
use libsbox::format;
use libsbox::fs;
use libsbox::output;
use libsbox::suggest;
use libsbox::time;
use serde_json::json;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;

const TOOL: Tool = Tool { name: "sbox-cache", usage: USAGE, runs_a_command: false };
const USAGE: &str = "\
usage: sbox cache list [-q | -j]
       sbox cache info [-j]
       sbox cache path
       sbox cache clean [-a] [NAME...]
       sbox cache prune [--older-than TIME] [-n]
       sbox cache verify [-j]
Manage the runtimes that builds of all projects share. list shows them, info
the whole cache, path where it is. clean removes the runtimes NAME
(python-3.11), or all of them; prune those that no build has used for a while;
verify compares every file with its checksum.

  -a, --all              with clean: remove packages and downloaded programs too
      --older-than TIME  with prune: how long a runtime was unused [30d]
  -n, --dry-run          with prune: print what would be removed
  -q, --quiet            with list: print names only
  -j, --json             print JSON
  -h, --help             print this text
  -V, --version          print the version
";

/// The same as `--older-than 30d`.
const MONTH: u64 = 30 * 86_400;

fn main() -> ExitCode {
    TOOL.main(run)
}

fn run(args: &mut lexopt::Parser) -> Result<u8> {
    let (mut all, mut json, mut quiet, mut dry_run, mut age) = (false, false, false, false, MONTH);
    let mut words = Vec::new();
    while let Some(arg) = args.next()? {
        match arg {
            Short('a') | Long("all") => all = true,
            Short('j') | Long("json") => json = true,
            Short('q') | Long("quiet") => quiet = true,
            Short('n') | Long("dry-run") => dry_run = true,
            Long("older-than") => age = cli::span(&args.value()?.string()?)?,
            Value(word) => words.push(word.string()?),
            other => return Err(cli::common(other)),
        }
    }
    let subcommand = words.first().map(String::as_str).unwrap_or_default();
    match (subcommand, &words[1.min(words.len())..]) {
        ("list", []) => list(json, quiet),
        ("info", []) => info(json),
        ("path", []) => cli::out_line(cache::root()?.display()).map(|()| 0),
        ("clean", names) => clean(names, all),
        ("prune", []) => prune(age, dry_run),
        ("verify", []) => verify(json),
        ("list" | "info" | "path" | "prune" | "verify", [word, ..]) => {
            Err(Error::usage(format!("unexpected argument '{}'", escape::visible(word))))
        }
        ("", _) => Err(Error::usage("missing subcommand").hint("sbox cache list, info, path, clean, prune or verify")),
        (other, _) => Err(unknown(other)),
    }
}

fn unknown(subcommand: &str) -> Error {
    let error = Error::usage(format!("unknown subcommand '{}'", escape::visible(subcommand)));
    match suggest::did_you_mean(subcommand, ["list", "info", "path", "clean", "prune", "verify"]) {
        Some(meant) => error.hint(format!("Did you mean '{meant}'?")),
        None => error.hint("list, info, path, clean, prune or verify"),
    }
}

/// The name of an entry's group: `python-3.11`.
fn group(entry: &Entry) -> String {
    entry.path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned()
}

fn ago(seconds: u64) -> String {
    format!("{} ago", format::span(time::now().saturating_sub(seconds)))
}

fn to_json(entry: &Entry) -> serde_json::Value {
    let group = group(entry);
    json!({
        "name": group,
        "language": group.split('-').next(),
        "version": entry.version,
        "provider": entry.provider,
        "source": entry.source,
        "created_at": entry.made_at,
        "last_used": time::rfc3339(cache::last_used(entry)),
        "size": cache::size(entry),
        "path": entry.path.to_string_lossy(),
    })
}

fn list(as_json: bool, quiet: bool) -> Result<u8> {
    let entries = cache::all()?;
    if quiet {
        let names: BTreeSet<String> = entries.iter().map(group).collect();
        return names.iter().try_for_each(|name| cli::out_line(escape::visible(name))).map(|()| 0);
    }
    if as_json {
        cli::out_json(&entries.iter().map(to_json).collect::<Vec<_>>())?;
        return Ok(0);
    }
    if entries.is_empty() {
        output::info("No cached runtimes");
        return Ok(0);
    }
    let mut rows = vec![["NAME", "VERSION", "PROVIDER", "SIZE", "LAST USED"].map(String::from).to_vec()];
    rows.push(rows[0].iter().map(|title| "-".repeat(title.len())).collect());
    rows.extend(entries.iter().map(|entry| {
        vec![
            escape::visible(&group(entry)),
            escape::visible(&entry.version),
            escape::visible(&entry.provider),
            format::size(cache::size(entry)),
            ago(cache::last_used(entry)),
        ]
    }));
    cli::out(output::table(&rows).as_bytes())?;
    Ok(0)
}

fn info(as_json: bool) -> Result<u8> {
    let (root, entries) = (cache::root()?, cache::all()?);
    let runtimes: u64 = entries.iter().map(cache::size).sum();
    let (_, packages) = fs::measure(&root.join("pkgs"));
    let (_, programs) = fs::measure(&root.join("bin"));
    let total = runtimes + packages + programs;
    if as_json {
        cli::out_json(&json!({
            "path": root.to_string_lossy(), "total_size": total, "runtime_count": entries.len(), "runtimes_size": runtimes,
            "packages_size": packages, "programs_size": programs,
            "runtimes": entries.iter().map(to_json).collect::<Vec<_>>(),
        }))?;
        return Ok(0);
    }
    let rows = [
        ("Path", escape::visible_path(&root)),
        ("Size", format::size(total)),
        ("Runtimes", format!("{} ({})", entries.len(), format::size(runtimes))),
        ("Packages", format::size(packages)),
        ("Programs", format::size(programs)),
    ];
    let rows: Vec<Vec<String>> = rows.into_iter().map(|(name, value)| vec![format!("{name}:"), value]).collect();
    cli::out(output::table(&rows).as_bytes())?;
    Ok(0)
}

fn clean(names: &[String], all: bool) -> Result<u8> {
    if all && !names.is_empty() {
        return Err(cli::exclusive("'--all' and a name"));
    }
    let entries = cache::all()?;
    let is_meant = |entry: &Entry, name: &String| group(entry) == *name || group(entry).replace('-', ":") == *name;
    for name in names {
        if !entries.iter().any(|entry| is_meant(entry, name)) {
            let known: Vec<String> = entries.iter().map(group).collect();
            let error = Error::new(format!("'{}' is not in the cache", escape::visible(name)));
            return Err(match known.is_empty() {
                true => error,
                false => error.hint(format!("there are: {}", escape::visible(&known.join(", ")))),
            });
        }
    }
    let chosen = entries.iter().filter(|entry| names.is_empty() || names.iter().any(|name| is_meant(entry, name)));
    let busy = remove(chosen, false)?;
    if all {
        cache::clear_rest()?;
    }
    Ok(u8::from(busy > 0))
}

fn prune(age: u64, dry_run: bool) -> Result<u8> {
    let entries = cache::all()?;
    let now = time::now();
    let busy = remove(entries.iter().filter(|entry| now.saturating_sub(cache::last_used(entry)) > age), dry_run)?;
    Ok(u8::from(busy > 0))
}

/// Removes entries; gives how many are in use and stay.
fn remove<'a>(entries: impl Iterator<Item = &'a Entry>, dry_run: bool) -> Result<usize> {
    let (mut busy, mut bytes, mut count) = (0, 0, 0);
    for entry in entries {
        let size = cache::size(entry);
        let shown =
            format!("{} {} ({})", escape::visible(&group(entry)), escape::visible(&entry.version), format::size(size));
        if dry_run {
            output::info(format_args!("Would remove {shown}"));
        } else if cache::remove(entry)? {
            output::info(format_args!("Removed {shown}"));
        } else {
            output::warn(format_args!("kept {shown}: a build or a run is using it"));
            busy += 1;
            continue;
        }
        (bytes, count) = (bytes + size, count + 1);
    }
    match (count, dry_run) {
        (0, _) if busy == 0 => output::info("Nothing to remove"),
        (0, _) => {}
        (_, true) => output::info(format_args!("{} could be freed", format::size(bytes))),
        (_, false) => output::ok(format_args!("{} freed", format::size(bytes))),
    }
    Ok(busy)
}

fn verify(as_json: bool) -> Result<u8> {
    let mut broken = 0;
    let mut results = Vec::new();
    for entry in cache::all()? {
        let findings = cache::verify(&entry)?;
        broken += usize::from(!findings.is_empty());
        let name = format!("{} {}", group(&entry), entry.version);
        if as_json {
            results.push(
                json!({"name": group(&entry), "path": entry.path.to_string_lossy(), "ok": findings.is_empty(), "findings": findings}),
            );
            continue;
        }
        match findings.is_empty() {
            true => output::ok(escape::visible(&name)),
            false => {
                output::say(output::Label::Error, escape::visible(&name));
                for finding in findings.iter().take(10) {
                    output::line(format_args!("  {}", escape::visible(finding)));
                }
                output::hint(format_args!("sbox cache clean {}", escape::visible(&group(&entry))));
            }
        }
    }
    if as_json {
        cli::out_json(&results)?;
    }
    Ok(u8::from(broken > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_says_the_default_of_the_code() {
        assert_eq!(cli::default_in(USAGE, "--older-than").and_then(|text| cli::span(text).ok()), Some(MONTH));
    }
}
