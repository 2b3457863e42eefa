//! Which file a program's name stands for, on the PATH of the sandbox.

use crate::Facts;
use crate::answer::{Answer, By};
use crate::line::item;
use crate::path;
use libsbox::error::Result;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

pub fn answer(facts: &Facts, asked: &OsStr) -> Result<Answer> {
    let shown = asked.to_string_lossy().into_owned();
    let view = facts.view()?;
    let variables = facts.sandbox().variables()?;
    let list = variables.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.clone()).unwrap_or_default();
    let places: Vec<PathBuf> = std::env::split_paths(&list).collect();
    let mut found = Vec::new();
    let mut others = Vec::new();
    for place in &places {
        match view.find(&place.join(asked)) {
            Ok(at) if at.is_program => found.push((place.join(asked), at)),
            Ok(at) if !at.is_directory => others.push(format!("{} cannot be executed", at.path.display())),
            _ => {}
        }
    }
    let Some((place, at)) = found.first() else { return Ok(missing(facts, asked, &shown, &places, others)) };
    let by = path::by(facts, at);
    let mut answer = Answer::new("program", &shown, true, format!("there: {}", place.display()), by);
    answer.path = Some(at.path.display().to_string());
    for (place, _) in found[1..].iter().filter(|(_, other)| other.path != at.path) {
        answer.note(format!("it comes before {}", place.display()));
    }
    answer.notes.extend(others);
    Ok(answer)
}

fn missing(facts: &Facts, asked: &OsStr, shown: &str, places: &[PathBuf], others: Vec<String>) -> Answer {
    let list: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
    let by = By::nothing(format!("it is in no directory of PATH inside: {}", list.join(":")));
    let mut answer = Answer::new("program", shown, false, "not there", by);
    answer.notes.extend(others);
    if let Some(file) = on_host(asked).filter(|_| !facts.no_host) {
        answer.note(format!(
            "on the host it is {}, which is in no directory that the sandbox looks into",
            file.display()
        ));
        answer.change("to show it, read-only, at its own path, add to 'mount'", item(&file, "ro"));
    }
    let runtime = match shown {
        "python" | "python3" | "pip" | "pip3" => Some("python:3.12"),
        "node" | "npm" | "npx" => Some("node:22"),
        _ => None,
    };
    match runtime {
        Some(runtime) => answer.change("to have it in the environment, add to 'runtime'", format!("- {runtime}")),
        None => answer.change("to install it into the environment, if it is a package", format!("sbox add {shown}")),
    }
    answer
}

fn on_host(asked: &OsStr) -> Option<PathBuf> {
    let list = std::env::var_os("PATH")?;
    let all = std::env::split_paths(&list).filter(|place| place.is_absolute()).map(|place| place.join(asked));
    let is_program = |file: &Path| {
        use std::os::unix::fs::PermissionsExt;
        file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    };
    all.into_iter().find(|file| is_program(file))
}
