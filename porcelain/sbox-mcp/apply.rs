//! `apply`: the one tool that changes the user's files. The user agrees to a list, and to what is in those files then: if the
//! agent changes something before they are written, nothing is applied.

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
    let preview = apply(server, &arguments.words(&["-n", "--digest"]), job)?;
    let all = preview.stdout.text();
    // The last line is the digest. No path of the list can look like it: each begins with a letter and a space.
    let (list, digest) = all
        .trim_end()
        .rsplit_once('\n')
        .map_or((String::new(), all.trim()), |(list, digest)| (format!("{list}\n"), digest));
    let shown = list.clone() + &preview.stderr.text();
    if preview.code != 0 {
        return Ok(Outcome::Answer(Answer::error(shown)));
    }
    if arguments.dry_run || list.trim().is_empty() {
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
    let subject = fs::sha256(format!("{:?}\0{}\0{shown}\0{digest}", arguments.paths, arguments.partial).as_bytes());
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
            return Ok(Outcome::Answer(Answer::error(
                "the user did not agree; nothing was applied. They can do it: sbox apply".into(),
            )));
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
    // Not compared here: whoever writes in the sandbox could be faster.
    let applied = apply(server, &arguments.words(&["--expect", digest]), job)?;
    let text = applied.words();
    Ok(Outcome::Answer(Answer { text, structured: None, is_error: applied.code != 0 }))
}

fn apply(server: &Server, words: &[String], job: &Job) -> Result<Ended> {
    let mut command = plumbing::program("sbox-apply")?;
    command.args(words).current_dir(server.project.root());
    child::run(command, None, job, PATIENCE, |_| ())
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
