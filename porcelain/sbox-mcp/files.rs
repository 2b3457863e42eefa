//! `read`, `write` and `list`: by programs inside, so that a path means what it means there and no link leads out.

use crate::child::{self, Ended};
use crate::cut;
use crate::jobs::Job;
use crate::looks;
use crate::run;
use crate::session::{Answer, Server};
use libsbox::error::Result;
use serde::Deserialize;
use serde_json::json;
use std::ffi::OsString;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Read {
    path: String,
    #[serde(default)]
    offset: u64,
    limit: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Write {
    path: String,
    content: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct List {
    path: Option<String>,
}

/// What a script says that found something else than what was asked for.
const NOT_THERE: u8 = 3;

fn script(server: &Server, text: &str, words: &[&str], input: Option<Vec<u8>>, job: &Job) -> Result<Ended> {
    let mut all: Vec<OsString> = ["/bin/sh", "-c", text, "sh"].map(OsString::from).to_vec();
    all.extend(words.iter().map(OsString::from));
    let command = run::command(server, &all, None)?;
    child::run(command, input, job, server.options.timeout, |took| server.progress(job, took))
}

/// Why it failed: what the programs said, and what `sbox why` says of the path.
fn failed(server: &Server, path: &str, ended: &Ended, job: &Job) -> Result<Answer> {
    let mut text = ended.words();
    if ended.code != 125 && path.starts_with('/') {
        text += &looks::why(server, path, Some("path"), job)?.text;
    }
    Ok(Answer::error(text))
}

pub fn read(server: &Server, arguments: Read, job: &Job) -> Result<Answer> {
    const SCRIPT: &str = "\
        [ -e \"$1\" ] || [ -L \"$1\" ] || { echo \"'$1' does not exist\" >&2; exit 3; }\n\
        [ -f \"$1\" ] || { echo \"'$1' is not a file\" >&2; exit 3; }\n\
        exec <\"$1\" || exit 3\n\
        wc -c <\"$1\" | tr -d ' ' || exit 3\n\
        tail -c +\"$2\" | head -c \"$3\"\n";
    // The line with the size comes before it.
    let most = cut::MOST as u64 - 64;
    let limit = arguments.limit.unwrap_or(most).clamp(1, most);
    let from = arguments.offset.saturating_add(1).to_string();
    let ended = script(server, SCRIPT, &[&arguments.path, &from, &limit.to_string()], None, job)?;
    if ended.code != 0 {
        return failed(server, &arguments.path, &ended, job);
    }
    let text = ended.stdout.text();
    let (size, content) = text.split_once('\n').unwrap_or(("0", ""));
    let size: u64 = size.parse().unwrap_or(0);
    let end = arguments.offset.saturating_add(limit).min(size);
    let mut text = content.to_owned();
    if content.contains('\u{fffd}') {
        text += "\n[not all of this is text: what is not UTF-8 is shown as \u{fffd}]";
    }
    if end < size {
        text += &format!("\n[bytes {} to {end} of {size}; go on with offset {end}]", arguments.offset);
    }
    let structured = json!({"content": content, "size": size, "next_offset": (end < size).then_some(end)});
    Ok(Answer { text, structured: Some(structured), is_error: false })
}

pub fn write(server: &Server, arguments: Write, job: &Job) -> Result<Answer> {
    const SCRIPT: &str = "\
        case $1 in */*) mkdir -p \"${1%/*}/\" || exit 3;; esac\n\
        cat >\"$1\" || exit 3\n";
    let size = arguments.content.len();
    let ended = script(server, SCRIPT, &[&arguments.path], Some(arguments.content.into_bytes()), job)?;
    match ended.code {
        0 => Ok(Answer::text(format!("{size} bytes written to {}", arguments.path))),
        _ => failed(server, &arguments.path, &ended, job),
    }
}

pub fn list(server: &Server, arguments: List, job: &Job) -> Result<Answer> {
    let path = arguments.path.as_deref().unwrap_or(".");
    let ended = script(server, "cd \"$1\" || exit 3; exec ls -lAp", &[path], None, job)?;
    match ended.code {
        0 => {
            let mut text = ended.stdout.text();
            if ended.stdout.is_cut() {
                text += "\n[the list was cut: use 'run' with find or ls to see a part]";
            }
            Ok(Answer::text(text))
        }
        NOT_THERE => failed(server, path, &ended, job),
        _ => Ok(Answer::error(ended.words())),
    }
}
