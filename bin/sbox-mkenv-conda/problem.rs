//! Why packages cannot be had together: what libmamba draws as a tree, as sentences.

use std::fmt::Write;

/// One thing that is in the way.
#[derive(Debug, PartialEq, Eq)]
pub enum Problem {
    /// It was asked for, and the channels do not have it.
    Missing(Spec),
    /// A package needs what the channels do not have.
    NeedsMissing { package: Spec, needs: Spec },
    /// A package needs what this machine does not have: `__cuda`, `__glibc`.
    NeedsSystem { package: Spec, needs: Spec },
    /// Two things cannot be in one environment.
    Clash(Side, Side),
}

/// A package, and which versions of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    pub name: String,
    /// `3.9`, `>=9`, or nothing for any.
    pub version: String,
}

/// One side of a clash.
#[derive(Debug, PartialEq, Eq)]
pub struct Side {
    pub package: Spec,
    /// What it needs, if it is not itself what clashes.
    pub needs: Option<Spec>,
}

impl Spec {
    /// From what libmamba writes, `python =3.9 *`; it means 3.9 and what begins with that.
    fn parse(text: &str) -> Spec {
        let mut words = text.split_whitespace();
        let name = words.next().unwrap_or_default().to_owned();
        let version = words.next().unwrap_or_default();
        let version = version.strip_prefix('=').filter(|rest| !rest.starts_with('=')).unwrap_or(version);
        let version = version.trim_start_matches("==");
        Spec { name, version: if version == "*" { String::new() } else { version.to_owned() } }
    }
}

impl std::fmt::Display for Spec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)?;
        if self.version.is_empty() { Ok(()) } else { write!(f, " {}", self.version) }
    }
}

impl Side {
    fn sentence(&self) -> String {
        match &self.needs {
            Some(needs) => format!("'{}' needs {needs}", self.package),
            None => format!("'{}' is asked for", self.package),
        }
    }
}

/// A clash in one sentence.
pub fn clash(first: &Side, second: &Side) -> String {
    match (&first.needs, &second.needs) {
        (None, None) => format!("'{}' and '{}' are both asked for", first.package, second.package),
        _ => format!("{}, and {}", first.sentence(), second.sentence()),
    }
}

/// A node of the tree: its depth, and its text.
fn nodes(lines: &[&str]) -> Vec<(usize, String)> {
    let node = |line: &&str| {
        let text = line.trim_start_matches(['│', '├', '└', '─', ' ']);
        let depth = line.chars().count() - text.chars().count();
        // The first level has its own signs; a heading has none.
        (depth > 0).then(|| (depth / 3 - 1, text.trim_end_matches(['.', ';', ',']).to_owned()))
    };
    lines.iter().filter_map(node).collect()
}

const CLASHES: &str = " is not installable because it conflicts with any installable versions previously reported";

/// The problems that a tree tells of; nothing if it has branches of another kind.
pub fn read(lines: &[&str]) -> Option<Vec<Problem>> {
    let nodes = nodes(lines);
    let mut branches: Vec<Vec<&str>> = Vec::new();
    for (depth, text) in &nodes {
        match (depth, branches.last_mut()) {
            (0, _) => branches.push(vec![text]),
            (1, Some(branch)) => branch.push(text),
            _ => return None,
        }
    }
    let (mut problems, mut sides) = (Vec::new(), Vec::new());
    for branch in &branches {
        let head = branch[0];
        let package = |end: &str| head.strip_suffix(end).map(Spec::parse);
        if let Some((spec, _)) = head.split_once(" does not exist (perhaps a typo or a missing channel)") {
            problems.push(Problem::Missing(Spec::parse(spec)));
        } else if let Some(package) = package(" is not installable because it requires") {
            for needs in &branch[1..] {
                let (needs, why) = needs.split_once(", which ")?;
                let (package, needs) = (package.clone(), Spec::parse(needs));
                problems.push(match why.starts_with("is missing on the system") {
                    true => Problem::NeedsSystem { package, needs },
                    false => Problem::NeedsMissing { package, needs },
                });
            }
        } else if let Some(package) = package(" is requested and can be installed").or_else(|| package(CLASHES)) {
            sides.push(Side { package, needs: None });
        } else {
            let package = package(" is installable and it requires")?;
            let [_, needs] = branch[..] else { return None };
            sides.push(Side { package, needs: Some(Spec::parse(needs.split_once(", which ")?.0)) });
        }
    }
    match (sides.len(), problems.is_empty()) {
        (0, false) => Some(problems),
        (2, true) => {
            let second = sides.pop()?;
            Some(vec![Problem::Clash(sides.pop()?, second)])
        }
        _ => None,
    }
}

/// The tree as it is drawn, for what no sentence was found for: without what is the same in every one.
pub fn drawn(lines: &[&str]) -> String {
    let mut text = String::new();
    for line in lines.iter().take(30) {
        let _ = writeln!(text, "  {}", libsbox::escape::visible(line));
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mamba_error::MambaError;
    use crate::records;

    fn spec(name: &str, version: &str) -> Spec {
        Spec { name: name.into(), version: version.into() }
    }

    fn problems(file: &str, title: &str) -> Vec<Problem> {
        let record = records::find(file, title);
        let error = MambaError::of(record.exit, record.stderr.as_bytes(), b"");
        read(&error.tree()).unwrap_or_else(|| panic!("{file} {title}: {:?}", error.tree()))
    }

    #[test]
    fn every_explanation_on_record_is_understood() {
        for file in ["solve-missing-version", "solve-missing-package", "solve-nested-missing", "solve-conflict"] {
            for record in records::read(file).iter().filter(|record| record.title.contains("without --json")) {
                assert!(!problems(file, &record.title).is_empty());
            }
        }
    }

    #[test]
    fn what_is_missing_is_not_what_a_dependency_misses() {
        let missing = |version: &str| vec![Problem::Missing(spec("python", version))];
        assert_eq!(problems("solve-missing-version", "without --json"), missing("3.9"));
        let two = problems("solve-missing-package", "two that are missing; without --json");
        assert_eq!(two, [Problem::Missing(spec("nosuchthing", "")), Problem::Missing(spec("wheel", ">=9"))]);
        let nested = problems("solve-nested-missing", "3.11 and 3.12; without --json");
        assert_eq!(nested, [Problem::NeedsMissing { package: spec("wantsnew", ""), needs: spec("python", "3.13") }]);
        let system = problems("solve-conflict", "virtual package; without --json");
        assert_eq!(system, [Problem::NeedsSystem { package: spec("virt", ""), needs: spec("__cuda", ">=99") }]);
    }

    #[test]
    fn a_clash_is_one_sentence() {
        let of = |title: &str| match &problems("solve-conflict", title)[..] {
            [Problem::Clash(first, second)] => clash(first, second),
            other => panic!("{other:?}"),
        };
        assert_eq!(of("two versions; without --json"), "'small 1.0' and 'small 2.0' are both asked for");
        assert_eq!(
            of("needs python 3.11.*; without --json"),
            "'oldonly' needs python 3.11, and 'python 3.12' is asked for"
        );
    }

    #[test]
    fn a_tree_of_another_kind_is_not_guessed_at() {
        assert_eq!(read(&["The following", "└─ a =* * is a riddle"]), None);
        let deep = [
            "└─ a =* * is not installable because it requires",
            "   └─ b =1 *, which requires",
            "      └─ c =1 *, which does not exist",
        ];
        assert_eq!(read(&deep), None);
    }
}
