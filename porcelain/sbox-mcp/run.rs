//! `run`: a command in the sandbox.

use crate::child;
use crate::jobs::Job;
use crate::session::{Answer, Server};
use libsbox::error::Result;
use libsbox::escape::visible;
use libsbox::plumbing;
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{Read, Seek, SeekFrom};
use std::process::Command;
use std::time::Duration;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arguments {
    command: String,
    args: Option<Vec<String>>,
    cwd: Option<String>,
    stdin: Option<String>,
    timeout_seconds: Option<u32>,
}

/// A command line that executes `words` in the sandbox, in `cwd` or where commands start.
pub fn command(server: &Server, words: &[OsString], cwd: Option<&str>) -> Result<Command> {
    let mut command = plumbing::program("sbox-exec")?;
    command.current_dir(server.project.root());
    if let Some(name) = &server.options.inside {
        command.arg("--in").arg(name);
    }
    if let Some(cwd) = cwd {
        // Not an option of sbox's: a sandbox that is there takes none.
        let script = "cd \"$1\" || exit 125; shift; exec \"$@\"";
        command.args(["/bin/sh", "-c", script, "sh", cwd]);
    }
    command.args(words);
    Ok(command)
}

pub fn call(server: &Server, arguments: Arguments, job: &Job) -> Result<Answer> {
    let words: Vec<OsString> = match arguments.args {
        Some(args) => std::iter::once(arguments.command).chain(args).map(OsString::from).collect(),
        None => ["/bin/sh", "-c", &arguments.command].map(OsString::from).to_vec(),
    };
    let timeout = arguments.timeout_seconds.map_or(server.options.timeout, |seconds| {
        Duration::from_secs(seconds.max(1).into()).min(server.options.timeout)
    });
    let before = log_length(server);
    let command = command(server, &words, arguments.cwd.as_deref())?;
    let input = arguments.stdin.map(String::into_bytes);
    let ended = child::run(command, input, job, timeout, |took| server.progress(job, took))?;
    let mut notes = Vec::new();
    if ended.timed_out {
        notes.push(format!("it was ended after {} seconds, the limit of this call", timeout.as_secs()));
    }
    if ended.stdout.is_cut() || ended.stderr.is_cut() {
        notes.push("the output was cut: write it to a file and read that in parts".into());
    }
    notes.extend(refused_since(server, before));
    let (stdout, stderr) = (ended.stdout.text(), ended.stderr.text());
    let mut text = format!("exit code {}\n", ended.code);
    for note in &notes {
        text += &format!("note: {note}\n");
    }
    for (name, stream) in
        [("stdout", &stdout), ("stderr", &stderr)].into_iter().filter(|(_, stream)| !stream.is_empty())
    {
        text += &format!("--- {name}\n{stream}");
        if !stream.ends_with('\n') {
            text.push('\n');
        }
    }
    let structured = json!({
        "exit_code": ended.code, "stdout": stdout, "stderr": stderr, "timed_out": ended.timed_out, "notes": notes,
        "seconds": (ended.took.as_secs_f64() * 1000.0).round() / 1000.0,
    });
    // 125 is sbox's own: then nothing was run.
    Ok(Answer { text, structured: Some(structured), is_error: ended.code == 125 })
}

fn log_length(server: &Server) -> u64 {
    server.project.network_log().symlink_metadata().map_or(0, |metadata| metadata.len())
}

/// The names that the network refused in the meantime, each with the line that would allow it.
fn refused_since(server: &Server, before: u64) -> Vec<String> {
    const MOST: u64 = 1 << 20;
    const SHOWN: usize = 8;
    let length = log_length(server);
    // A shorter file is a new one.
    let start = if length < before { 0 } else { before };
    let Ok(dir) = libsbox::dir::Dir::open(&server.project.logs()) else { return Vec::new() };
    let log = server.project.network_log();
    let Some(mut file) = log.file_name().and_then(|name| dir.file(name).ok()) else { return Vec::new() };
    let mut text = Vec::new();
    if file.seek(SeekFrom::Start(start)).is_err() || file.take(MOST).read_to_end(&mut text).is_err() {
        return Vec::new();
    }
    let mut refused = BTreeSet::new();
    for line in text.split(|byte| *byte == b'\n') {
        let Ok(line) = serde_json::from_slice::<serde_json::Value>(line) else { continue };
        if line["allowed"] == false {
            let host = visible(line["host"].as_str().unwrap_or_default());
            let rule = line["rule"]
                .as_str()
                .map(|rule| format!("; the user could allow it: network: {{allow: [\"{}\"]}}", visible(rule)));
            let reason = visible(line["reason"].as_str().unwrap_or("refused"));
            refused.insert(match rule {
                Some(rule) => format!("the network refused '{host}'{rule}"),
                None => format!("the network refused '{host}': {reason}"),
            });
        }
    }
    refused.into_iter().take(SHOWN).collect()
}
