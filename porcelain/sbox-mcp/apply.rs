//! `apply`: the one tool that changes the user's files. The user agrees to a list, and to what is in those files then: if the
//! agent changes something before the answer comes, nothing is applied.

use crate::child::{self, Ended};
use crate::consent::{self, Consent};
use crate::jobs::Job;
use crate::looks::{PATIENCE, plain};
use crate::message::Request;
use crate::session::{Answer, Outcome, Server};
use libsbox::error::Result;
use libsbox::{fs, host_triggers, plumbing};
use serde::Deserialize;
use std::path::Path;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arguments {
    #[serde(default)]
    paths: Vec<String>,
    #[serde(default)]
    partial: bool,
    #[serde(default)]
    dry_run: bool,
}

impl Arguments {
    fn words(&self, options: &[&str]) -> Vec<String> {
        let mut words: Vec<String> = options.iter().map(ToString::to_string).collect();
        words.extend(self.partial.then(|| "--partial".into()));
        words.extend(plain(self.paths.clone()));
        words
    }
}

pub fn call(server: &Server, arguments: &Arguments, request: &Request, job: &Job) -> Result<Outcome> {
    let preview = apply(server, &arguments.words(&["-n"]), job)?;
    let shown = preview.words();
    if preview.code != 0 {
        return Ok(Outcome::Answer(Answer::error(shown)));
    }
    if arguments.dry_run || preview.stdout.text().trim().is_empty() {
        return Ok(Outcome::Answer(Answer::text(if shown.trim().is_empty() {
            "there is nothing to apply".into()
        } else {
            shown
        })));
    }
    if server.jobs.count() > 1 {
        return Ok(Outcome::Answer(Answer::error(
            "other calls go on, and could change what is applied: wait for their end".into(),
        )));
    }
    let subject = subject(server, arguments, &shown, job)?;
    let named = arguments
        .paths
        .iter()
        .find_map(|path| host_triggers::judge(Path::new(path)).map(|(trigger, _)| (path, trigger.reason)));
    let consent = match named {
        None if server.options.allow_apply => Consent::Given,
        _ => consent::ask(server, request, job, &question(&shown), &subject),
    };
    match consent {
        Consent::Given => {}
        Consent::Pending(result) => return Ok(Outcome::Pending(result)),
        Consent::Refused => {
            return Ok(Outcome::Answer(Answer::error("the user did not agree; nothing was applied".into())));
        }
        Consent::Impossible => {
            let why = match named {
                Some((path, reason)) => format!(
                    "'{path}' is one that programs of the user act on ({reason}), and this client cannot ask the user"
                ),
                None => "this client cannot ask the user, and the server was started without --allow-apply".into(),
            };
            return Ok(Outcome::Answer(Answer::error(format!(
                "{why}; nothing was applied. The user can do it: sbox apply\n{shown}"
            ))));
        }
    }
    if subject != self::subject(server, arguments, &apply(server, &arguments.words(&["-n"]), job)?.words(), job)? {
        let why = "the changes are not those that the user has seen any more; nothing was applied";
        return Ok(Outcome::Answer(Answer::error(why.into())));
    }
    let applied = apply(server, &arguments.words(&[]), job)?;
    let text = applied.words();
    Ok(Outcome::Answer(Answer { text, structured: None, is_error: applied.code != 0 }))
}

fn apply(server: &Server, words: &[String], job: &Job) -> Result<Ended> {
    let mut command = plumbing::program("sbox-apply")?;
    command.args(words).current_dir(server.project.root());
    child::run(command, None, job, PATIENCE, |_| ())
}

/// What the question is about: the list, and every byte of the changes.
fn subject(server: &Server, arguments: &Arguments, list: &str, job: &Job) -> Result<String> {
    let mut command = plumbing::program("sbox-diff")?;
    command.args(plain(arguments.paths.clone())).current_dir(server.project.root());
    let diff = child::run(command, None, job, PATIENCE, |_| ())?;
    let all = format!("{:?}\0{}\0{list}\0{}\0{}", arguments.paths, arguments.partial, diff.code, diff.stdout.digest());
    Ok(fs::sha256(all.as_bytes()))
}

fn question(list: &str) -> String {
    const SHOWN: usize = 40;
    let lines: Vec<&str> = list.lines().collect();
    let mut text =
        format!("Bring these changes of the agent's to your files?\n{}", lines[..lines.len().min(SHOWN)].join("\n"));
    if lines.len() > SHOWN {
        text += &format!("\n... and {} more; 'sbox apply -n' lists all", lines.len() - SHOWN);
    }
    text
}
