//! The lists of commands in sbox(1) and sbox-plumbing(7), written from the table of commands.

use super::same;
use crate::common::{Scratch, package, stdout};
use libsbox::commands::{COMMANDS, Command, Group};

/// The file with what stands between its two marks replaced.
fn with_list(place: &str, [begin, end]: [&str; 2], list: &str) -> String {
    let text = std::fs::read_to_string(package().join(place)).unwrap();
    let (before, rest) = text.split_once(begin).unwrap_or_else(|| panic!("'{begin}' in {place}"));
    let (_, after) = rest.split_once(end).unwrap_or_else(|| panic!("'{end}' in {place}"));
    format!("{before}{begin}{list}{end}{after}")
}

fn of(group: Group) -> impl Iterator<Item = &'static Command> {
    COMMANDS.iter().filter(move |command| command.group == group)
}

fn sentence(line: &str) -> String {
    let mut letters = line.chars();
    let first = letters.next().unwrap().to_uppercase();
    format!("{first}{}.", letters.as_str())
}

const MDOC: [&str; 2] = [".\\\" Written by the test 'manual' from lib/commands.rs.\n", ".\\\" End of the list.\n"];
fn mdoc(group: Group) -> String {
    let items = of(group).map(|command| format!(".It Xr sbox-{} 1\n{}\n", command.name, sentence(command.line)));
    format!(".Bl -tag -width sbox-validate(1)\n{}.El\n", items.collect::<String>())
}

#[test]
fn the_manual_lists_every_command() {
    let groups = Group::PORCELAIN.iter().map(|(group, heading)| format!(".Ss {heading}\n{}", mdoc(*group)));
    same("man/sbox.1", &with_list("man/sbox.1", MDOC, &groups.collect::<String>()));
    same("man/sbox-plumbing.7", &with_list("man/sbox-plumbing.7", MDOC, &mdoc(Group::Plumbing)));
}

#[test]
fn the_help_of_sbox_lists_every_command_of_the_porcelain_and_each_can_be_started() {
    let scratch = Scratch::new("list");
    let help = stdout(&scratch.program("sbox").arg("--help").output().unwrap());
    let can = stdout(&scratch.program("sbox").arg("--list-cmds=all").output().unwrap());
    for Command { name, group, line } in COMMANDS {
        let listed =
            help.lines().any(|text| text.trim_start().starts_with(&format!("{name} ")) && text.ends_with(line));
        assert_eq!(listed, *group != Group::Plumbing, "{name}");
        assert!(can.lines().any(|text| text == *name), "{name}");
    }
}
