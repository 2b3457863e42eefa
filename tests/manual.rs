//! What `--help`, the manual page and the completions say of a program's options is the same.

use crate::common::{Scratch, package, programs, stdout};
use std::collections::BTreeSet;

/// The options in a text of `--help`: words that begin with a dash at the start of an indented line.
fn in_help(text: &str) -> BTreeSet<String> {
    let lines = text.lines().filter(|line| line.starts_with("  ") && line.trim_start().starts_with('-'));
    lines
        .flat_map(|line| line.trim_start().split("  ").next().unwrap().split(", "))
        .filter_map(|part| part.split_whitespace().next())
        .filter(|word| word.starts_with('-'))
        .map(str::to_owned)
        .collect()
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

fn help(program: &str) -> String {
    let scratch = Scratch::new("help");
    let output = scratch.program(program).arg("--help").output().unwrap();
    assert!(output.status.success(), "{program} --help");
    stdout(&output)
}

#[test]
fn help_and_manual_page_have_the_same_options() {
    for program in programs() {
        assert_eq!(in_help(&help(&program)), in_page(&page(&program)), "{program}");
    }
}

#[test]
fn completions_have_every_option() {
    let read = |name: &str| std::fs::read_to_string(package().join("completions").join(name)).unwrap();
    let (bash, zsh, fish) = (read("sbox.bash"), read("_sbox"), read("sbox.fish"));
    for program in programs().into_iter().filter(|program| program != "sbox") {
        let verb = program.strip_prefix("sbox-").unwrap();
        let bash_line = bash
            .lines()
            .find(|line| line.trim().starts_with(&format!("{verb}) echo")))
            .unwrap_or_else(|| panic!("{verb} in bash"));
        let zsh_part = zsh.split(&format!("\n        {verb})\n")).nth(1).unwrap_or_else(|| panic!("{verb} in zsh"));
        let zsh_part = zsh_part.split(";;").next().unwrap();
        for option in in_help(&help(&program)) {
            assert!(
                bash_line.contains(&format!("{option} ")) || bash_line.contains(&format!("{option}\"")),
                "{program} {option} in bash"
            );
            assert!(zsh_part.contains(&option), "{program} {option} in zsh");
            let fish_option = match option.strip_prefix("--") {
                Some(long) => format!(" -l {long} "),
                None => format!(" -s {} ", option.trim_start_matches('-')),
            };
            let found = fish
                .lines()
                .any(|line| line.starts_with(&format!("complete -c {program} ")) && line.contains(&fish_option));
            assert!(found, "{program} {option} in fish");
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
