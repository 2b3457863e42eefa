//! The numbers by which the filter knows system calls, on architectures that no test runs on: compared with the headers of
//! the kernel.

use crate::common::package;
use crate::common::skip::skip;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

type Table = BTreeMap<String, i64>;

fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// The numbers in a table of the kernel's headers (`#define __NR_mount 40`) or of the libc crate
/// (`pub const SYS_mount: c_long = 40;`).
fn table(text: &str, before: &str) -> Table {
    let entry = |line: &str| {
        let (name, number) = line.trim().strip_prefix(before)?.split_once([' ', '\t', ':'])?;
        let number = number.trim().rsplit([' ', '\t']).next()?.trim_end_matches(';');
        Some((name.to_owned(), number.parse().ok()?))
    };
    text.lines().filter_map(entry).collect()
}

/// The names of calls that a source file of the filter has, and the numbers that it has by itself.
fn used(text: &str) -> (BTreeSet<String>, Table) {
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    let of_libc = text.match_indices("SYS_").map(|(at, _)| {
        let rest = &text[at + 4..];
        let end = rest.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        rest[..end.unwrap_or(rest.len())].to_owned()
    });
    let own = text.lines().filter_map(|line| {
        let (name, number) = line.trim().strip_prefix("const ")?.split_once(": c_long = ")?;
        Some((name.to_lowercase(), number.trim_end_matches(';').parse().ok()?))
    });
    (of_libc.filter(|name| !name.is_empty()).collect(), own.collect())
}

/// The source of the libc crate that this was built with, if cargo has it here.
fn libc_source() -> Option<PathBuf> {
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo"));
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from).or_else(home)?;
    let lock = read(package().join("Cargo.lock"));
    let version = lock.split("name = \"libc\"\nversion = \"").nth(1)?.split('"').next()?;
    let registries = std::fs::read_dir(home.join("registry/src")).ok()?.flatten();
    registries.map(|entry| entry.path().join(format!("libc-{version}"))).find(|path| path.is_dir())
}

#[test]
fn numbers_are_those_of_the_kernel_on_each_architecture() {
    // Debian's linux-libc-dev: the table of x86-64, and the one that aarch64 and riscv64 share.
    let x86_64 = table(&read("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), "#define __NR_");
    let generic = table(&read("/usr/include/asm-generic/unistd.h"), "#define __NR_");
    if x86_64.is_empty() || generic.is_empty() {
        skip("the headers of Linux are not here");
        return;
    }
    let (mut names, mut own) = (BTreeSet::new(), Table::new());
    for name in ["denied.rs", "filter.rs"] {
        let (more, numbers) = used(&read(package().join("bin/sbox-spawn").join(name)));
        names.extend(more);
        own.extend(numbers);
    }
    assert!(names.len() > 60 && own.len() >= 5, "{} {}", names.len(), own.len());
    for (name, number) in &own {
        for table in [&x86_64, &generic] {
            // What the headers do not have is newer than they are.
            let newest = table.values().copied().filter(|number| *number < 1000).max().unwrap_or_default();
            let found = table.get(name);
            assert!(found.map_or(*number > newest, |found| found == number), "{name} is {number}, not {found:?}");
        }
    }
    let Some(libc) = libc_source() else {
        skip("the source of the libc crate is not here");
        return;
    };
    for (architecture, headers) in [("x86_64", &x86_64), ("aarch64", &generic), ("riscv64", &generic)] {
        let place = libc.join("src/unix/linux_like/linux/gnu/b64").join(architecture);
        let text = ["mod.rs", "not_x32.rs"].map(|name| read(place.join(name))).concat();
        let numbers = table(&text, "pub const SYS_");
        assert!(numbers.len() > 250, "{architecture}: {}", numbers.len());
        let mut compared = 0;
        // A name that the crate does not have there does not compile there.
        for name in &names {
            if let (Some(of_libc), Some(of_kernel)) = (numbers.get(name), headers.get(name)) {
                assert_eq!(of_libc, of_kernel, "{architecture} {name}");
                compared += 1;
            }
        }
        assert!(compared > 60, "{architecture}: {compared}");
    }
}
