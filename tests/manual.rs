//! What `--help`, the manual pages and the completions say is the same, and what the README says is true.
//!
//! `SBOX_BLESS=1 cargo test --test suite manual` writes what follows from `--help` and the table of commands: the lists
//! of commands and the completions. Without it the tests compare.

mod completions;
mod examples;
mod help;
mod lists;
mod promises;

use crate::common::{Scratch, package, programs};
use help::Help;
use std::collections::BTreeSet;

/// Compares a generated file with the one in the tree, or writes it.
fn same(place: &str, generated: &str) {
    let path = package().join(place);
    if std::env::var_os("SBOX_BLESS").is_some() {
        std::fs::write(&path, generated).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = there.lines().zip(generated.lines()).find(|(a, b)| a != b);
    assert!(
        there == generated,
        "{place} does not follow from --help and lib/commands.rs (first difference: {differs:?}); \
         write it with: SBOX_BLESS=1 cargo test --test suite manual"
    );
}

/// The options in the list of a manual page: `.It Fl n , Fl -dry-run`.
fn in_page(text: &str) -> BTreeSet<String> {
    let items = text.lines().filter_map(|line| line.strip_prefix(".It Fl "));
    items
        .flat_map(|item| item.split(" , Fl "))
        .filter_map(|part| part.split_whitespace().next())
        .map(|flag| format!("-{flag}"))
        .collect()
}

fn page(program: &str) -> String {
    std::fs::read_to_string(package().join(format!("man/{program}.1"))).unwrap()
}

#[test]
fn help_and_manual_page_have_the_same_options() {
    for program in programs() {
        assert_eq!(Help::of(&program).names(), in_page(&page(&program)), "{program}");
    }
}

/// What a manual page says on the option `--NAME`, up to the next one.
fn on_option<'a>(page: &'a str, long: &str) -> &'a str {
    let flag = format!("Fl -{}", long.trim_start_matches("--"));
    let is_it = |item: &&str| item.lines().next().unwrap().split(" , ").any(|one| one.trim().starts_with(&flag));
    page.split("\n.It ").find(is_it).unwrap_or_default().split("\n.El").next().unwrap()
}

#[test]
fn a_default_is_the_same_in_help_and_manual_page() {
    let mut wrong = String::new();
    for program in programs() {
        let page = page(&program);
        for option in Help::of(&program).options {
            let (Some(default), Some(long)) = (option.default(), &option.long) else { continue };
            let text = on_option(&page, long);
            let mut words = text.split(|letter: char| letter.is_whitespace() || ",;()\"".contains(letter));
            if !words.any(|word| word.trim_end_matches('.') == default.trim_end_matches('.')) {
                wrong += &format!("{program} {long}: [{default}] in --help, not in the page: {text}\n");
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn help_fits_the_terminal() {
    for program in programs() {
        for line in Help::of(&program).text.lines() {
            assert!(line.chars().count() <= 80, "{program}: {line}");
        }
    }
}

#[test]
fn every_page_is_compiled_in() {
    let scratch = Scratch::new("pages");
    scratch.program("sbox").args(["help", "--install"]).arg(scratch.path("share")).assert().success();
    for entry in std::fs::read_dir(package().join("man")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let section = name.rsplit('.').next().unwrap();
        assert!(scratch.path(&format!("share/man{section}/{name}")).is_file(), "{name}");
    }
}
