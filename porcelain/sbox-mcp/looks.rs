//! The tools that only look: `diff`, `logs`, `report`, `why` and `policy`.

use crate::child;
use crate::jobs::Job;
use crate::session::{Answer, Server};
use libsbox::error::Result;
use libsbox::plumbing;
use serde::Deserialize;
use std::time::Duration;

/// Looking takes no time that anybody would wait for.
pub const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Diff {
    #[serde(default)]
    paths: Vec<String>,
    #[serde(default)]
    stat: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Logs {
    name: Option<String>,
    lines: Option<u32>,
    #[serde(default)]
    network: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    name: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Why {
    subject: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// What one of our programs says: its output, or its error.
pub fn said(server: &Server, program: &str, words: &[String], fine: &[u8], job: &Job) -> Result<Answer> {
    let mut command = plumbing::program(program)?;
    command.args(words).current_dir(server.project.root());
    let ended = child::run(command, None, job, PATIENCE, |_| ())?;
    match fine.contains(&ended.code) {
        true => {
            let text = ended.words();
            Ok(Answer::text(if text.trim().is_empty() { "nothing".into() } else { text }))
        }
        false => Ok(Answer::error(ended.words())),
    }
}

/// Words of the client's are never options.
pub fn plain(words: impl IntoIterator<Item = String>) -> Vec<String> {
    std::iter::once("--".to_owned()).chain(words).collect()
}

pub fn diff(server: &Server, arguments: Diff, job: &Job) -> Result<Answer> {
    let mut words: Vec<String> = arguments.stat.then(|| "--stat".into()).into_iter().collect();
    words.extend(plain(arguments.paths));
    said(server, "sbox-diff", &words, &[0], job)
}

pub fn logs(server: &Server, arguments: Logs, job: &Job) -> Result<Answer> {
    let mut words = vec!["-n".to_owned(), arguments.lines.unwrap_or(100).to_string()];
    match arguments.network {
        true => words.push("--network".into()),
        false => words.extend(plain(arguments.name)),
    }
    said(server, "sbox-logs", &words, &[0], job)
}

pub fn report(server: &Server, arguments: Report, job: &Job) -> Result<Answer> {
    let words = match arguments.name {
        Some(name) => plain([name]),
        None => Vec::new(),
    };
    said(server, "sbox-report", &words, &[0], job)
}

/// Its exit code 1 is an answer: no.
pub fn why(server: &Server, subject: &str, kind: Option<&str>, job: &Job) -> Result<Answer> {
    // The model that reads it is no better than the agent inside: what the host has is not for it.
    let mut words = vec!["--no-host".to_owned()];
    words.extend(kind.map(|kind| ["--as".to_owned(), kind.to_owned()]).into_iter().flatten());
    words.extend(plain([subject.to_owned()]));
    said(server, "sbox-why", &words, &[0, 1], job)
}

pub fn of_subject(server: &Server, arguments: &Why, job: &Job) -> Result<Answer> {
    why(server, &arguments.subject, None, job)
}

pub fn policy(server: &Server) -> Result<Answer> {
    let config = libsbox::check::load(&server.project)?;
    let rules = libsbox::name_rules::NameRules::of(&server.project, &config, &libsbox::environment::Host::own());
    Ok(Answer::text(libsbox::policy::text(&server.project, &config, &rules)))
}
