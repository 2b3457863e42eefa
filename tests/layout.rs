//! The shape of the house: a stranger finds the source, the page and the tests of a program by its name.

use crate::common::{package, programs};
use libsbox::commands::COMMANDS;
use std::path::Path;

#[test]
fn every_program_has_its_source_page_and_tests() {
    let modules = std::fs::read_to_string(package().join("tests/by_tool/mod.rs")).unwrap();
    for program in programs() {
        let at = |place: String| package().join(place).exists();
        let sources = ["bin", "porcelain"]
            .iter()
            .any(|room| at(format!("{room}/{program}.rs")) || at(format!("{room}/{program}/main.rs")));
        assert!(sources, "source of {program}");
        assert!(at(format!("man/{program}.1")), "page of {program}");
        let tests = program.replace('-', "_");
        assert!(at(format!("tests/by_tool/{tests}.rs")), "tests of {program}");
        assert!(modules.contains(&format!("mod {tests};\n")), "tests of {program} in tests/by_tool/mod.rs");
    }
}

#[test]
fn every_program_is_a_command_in_the_table() {
    let named: Vec<String> = COMMANDS.iter().map(|command| format!("sbox-{}", command.name)).collect();
    let programs = programs();
    for program in programs.iter().filter(|program| *program != "sbox") {
        assert!(named.contains(program), "{program} is not in lib/commands.rs");
    }
    for name in named {
        assert!(programs.contains(&name), "{name} is in lib/commands.rs and not in Cargo.toml");
    }
}

#[test]
fn the_top_level_holds_nothing_else() {
    let allowed = [
        "Cargo.toml",
        "Cargo.lock",
        "LICENSE",
        "README.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "CHANGELOG.md",
        "bin",
        "completions",
        "lib",
        "man",
        "porcelain",
        "target",
        "tests",
    ];
    for entry in std::fs::read_dir(package()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(name.starts_with('.') || allowed.contains(&name.as_str()), "{name}");
    }
}

fn sources(directory: &Path, out: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|end| end == "rs") {
            let place = path.strip_prefix(package()).unwrap().to_string_lossy().into_owned();
            out.push((place, std::fs::read_to_string(&path).unwrap()));
        }
    }
}

fn all_sources() -> Vec<(String, String)> {
    let mut out = Vec::new();
    for room in ["bin", "lib", "porcelain"] {
        sources(&package().join(room), &mut out);
    }
    out
}

#[test]
fn unsafe_code_lives_in_sys_alone_and_programs_forbid_it() {
    for (place, text) in all_sources() {
        let is_program = place.ends_with("main.rs") || (place.matches('/').count() == 1 && !place.starts_with("lib/"));
        if is_program {
            assert!(text.contains("#![forbid(unsafe_code)]"), "{place}");
        }
        assert!(place.starts_with("lib/sys/") || !text.contains("unsafe {"), "{place}");
    }
}

#[test]
fn porcelain_starts_plumbing_and_never_links_it() {
    for (place, text) in all_sources() {
        if place.starts_with("porcelain/") {
            assert!(!text.contains("libsbox::sys") && !text.contains("use libsbox::{sys"), "{place}");
        }
        assert!(!text.contains("#[path"), "{place} includes another program's source");
    }
}

#[test]
fn yaml_is_read_in_few_files() {
    for (place, text) in all_sources() {
        let may = ["lib/check/mod.rs", "lib/check/shape.rs", "lib/locate.rs"].contains(&place.as_str());
        assert!(may || !text.contains("serde_yaml::"), "{place}");
    }
}

/// What is in backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn the_guides_name_what_is_there() {
    let rooms = ["porcelain/", "bin/", "lib/", "man/", "completions/", "tests/", ".ci/"];
    for guide in ["CONTRIBUTING.md", "SECURITY.md"] {
        let text = std::fs::read_to_string(package().join(guide)).unwrap();
        let prose: String = text.split("```").step_by(2).collect();
        let paths = quoted(&prose).filter(|word| rooms.iter().any(|room| word.starts_with(room)));
        let mut seen = 0;
        for path in paths.filter(|path| !path.contains("NAME")) {
            assert!(package().join(path).exists(), "{guide} names '{path}'");
            seen += 1;
        }
        assert!(seen > 2, "{guide}");
    }
    let changes = std::fs::read_to_string(package().join("CHANGELOG.md")).unwrap();
    assert!(changes.contains(&format!("## {}\n", env!("CARGO_PKG_VERSION"))), "CHANGELOG.md lacks this version");
}

/// What panics where a file that somebody else wrote, or a limit on processes, says so.
#[test]
fn nothing_is_used_that_panics_on_what_others_decide() {
    // To assign to a key of a JSON value panics if the value is a text or a list. Allowed where the value is made there.
    let own = [
        "bin/sbox-mkenv/provision.rs",
        "bin/sbox-archive/create.rs",
        "bin/sbox-archive/writer.rs",
        "bin/sbox-spawn/probe.rs",
        "bin/sbox-spawn/report.rs",
        "porcelain/sbox-pack/oci.rs",
        "porcelain/sbox-pack/oci/job.rs",
        "porcelain/sbox-status.rs",
    ];
    for (place, text) in all_sources() {
        let code = text.split("#[cfg(test)]").next().unwrap();
        for (number, line) in code.lines().enumerate() {
            let assigns = line.trim_start().split_once("\"] = ").is_some_and(|(left, _)| left.contains("[\""));
            let indexes = line.contains("\"].as_array_mut") || line.contains("\"].as_object_mut");
            assert!(!indexes && (!assigns || own.contains(&place.as_str())), "{place}:{}: {line}", number + 1);
            // A width that is computed, in a format: output::padded() has no limit.
            let is_wide = line.contains("width$}");
            assert!(!is_wide || place == "porcelain/sbox-init/templates.rs", "{place}:{}: {line}", number + 1);
            // lib/thread.rs has those that give an error.
            let starts = line.contains("std::thread::spawn(") || line.contains("scope.spawn(");
            assert!(!starts, "{place}:{}: {line}", number + 1);
        }
    }
}
