//! Records of a real micromamba, for tests: `tests/fixtures/conda/records`.

use std::path::Path;

/// One run.
#[derive(Debug, Clone)]
pub struct Record {
    pub title: String,
    pub exit: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// The runs in a file.
pub fn read(name: &str) -> Vec<Record> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/conda/records/{name}.txt"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.split(&format!("{}\n", "=".repeat(72))).skip(1).map(parse).collect()
}

pub fn find(name: &str, title: &str) -> &'static Record {
    let found = read(name).into_iter().find(|record| record.title.contains(title));
    Box::leak(Box::new(found.unwrap_or_else(|| panic!("{name}: {title}"))))
}

fn parse(text: &str) -> Record {
    let line = |start: &str| text.lines().find_map(|line| line.strip_prefix(start)).unwrap_or_default();
    let section = |start: &str| {
        let lines = text.lines().skip_while(|line| *line != start).skip(1);
        let lines = lines.take_while(|line| !line.starts_with("--- ")).filter(|line| *line != "(nothing)");
        lines.collect::<Vec<_>>().join("\n")
    };
    Record {
        title: line("## ").to_owned(),
        exit: line("exit: ").split(' ').next().and_then(|code| code.parse().ok()),
        stdout: section("--- stdout"),
        stderr: section("--- stderr"),
    }
}
