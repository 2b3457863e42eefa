//! What another environment brings: the packages that are different, and the program that fetched them.

use libsbox::dir::Dir;
use libsbox::error::Result;
use libsbox::escape::visible;
use libsbox::lockfile::{Package, RuntimeRecord};
use libsbox::output;
use libsbox::project::Project;
use std::collections::BTreeMap;
use std::path::Path;

/// Prints what is other than it was. Only an update says that nothing is.
pub fn print_difference(old: &[RuntimeRecord], new: &[RuntimeRecord], asked: bool) {
    if old.is_empty() {
        return;
    }
    let lines = difference(old, new);
    for line in &lines {
        output::info(line);
    }
    if asked && lines.is_empty() {
        output::info("nothing is newer");
    }
}

fn difference(old: &[RuntimeRecord], new: &[RuntimeRecord]) -> Vec<String> {
    let (before, after) = (all(old), all(new));
    let providers =
        |records: &[RuntimeRecord]| records.iter().map(|record| record.provider.clone()).collect::<Vec<_>>().join(", ");
    let mut lines = Vec::new();
    if providers(old) != providers(new) {
        lines.push(format!("provider: {} -> {}", visible(&providers(old)), visible(&providers(new))));
    }
    for (name, package) in &after {
        match before.get(name) {
            None => lines.push(format!("{}: added {}", visible(name), visible(&package.version))),
            Some(was) if was.version != package.version => {
                lines.push(format!("{}: {} -> {}", visible(name), visible(&was.version), visible(&package.version)));
            }
            Some(was) if was.hash != package.hash => {
                lines.push(format!("{}: rebuilt {}", visible(name), visible(&package.version)));
            }
            Some(_) => {}
        }
    }
    let gone = before.iter().filter(|(name, _)| !after.contains_key(*name));
    lines.extend(gone.map(|(name, was)| format!("{}: removed (was {})", visible(name), visible(&was.version))));
    lines
}

fn all(records: &[RuntimeRecord]) -> BTreeMap<String, Package> {
    let runtimes = records.iter().map(|record| {
        let name = record.spec.split(':').next().unwrap_or_default().to_owned();
        (name.clone(), Package { name, version: record.version.clone(), ..Package::default() })
    });
    let packages =
        records.iter().flat_map(|record| &record.packages).map(|package| (package.name.clone(), package.clone()));
    // A package that is the runtime itself has more to tell.
    runtimes.chain(packages).collect()
}

/// `.sbox/bin/micromamba`, for whoever wants to call it: a link to the one in the cache. One that the user placed stays.
pub fn show_micromamba(project: &Project, records: &[RuntimeRecord]) -> Result<()> {
    let program = libsbox::cache::micromamba()?;
    if records.iter().any(|record| record.provider == "conda") && program.is_file() {
        let bin = Dir::open(&project.state())?.sub_or_make(Path::new("bin"))?;
        if bin.stat("micromamba".as_ref())?.is_none() {
            bin.put_link("micromamba".as_ref(), &program)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_different_is_told_by_name() {
        let record = |packages: &[(&str, &str, &str)]| RuntimeRecord {
            spec: "python:3.12".into(),
            provider: "conda".into(),
            version: "3.12.1".into(),
            packages: packages
                .iter()
                .map(|(name, version, hash)| Package {
                    name: (*name).into(),
                    version: (*version).into(),
                    hash: (*hash).into(),
                    ..Package::default()
                })
                .collect(),
            ..RuntimeRecord::default()
        };
        let old = record(&[("a", "1", "x"), ("b", "1", "x"), ("c", "1", "x")]);
        let new = record(&[("a", "2", "y"), ("b", "1", "y"), ("d", "1", "x")]);
        let lines = difference(std::slice::from_ref(&old), &[new]);
        assert_eq!(lines, ["a: 1 -> 2", "b: rebuilt 1", "d: added 1", "c: removed (was 1)"]);
        assert!(difference(std::slice::from_ref(&old), std::slice::from_ref(&old)).is_empty());
    }
}
