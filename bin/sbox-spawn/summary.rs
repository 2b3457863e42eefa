//! The end of a run in front of a person: at most five lines, and none where there is nothing to say.

use crate::args::{Args, Mount};
use crate::recorder::Recorder;
use libsbox::cow;
use libsbox::escape::visible;
use libsbox::output;

/// Lines in all.
const MOST: usize = 5;

/// Refused names that are shown.
const NAMES: usize = 5;

/// Says what was refused and changed. `said` lines were said before.
pub fn tell(recorder: &Recorder, args: &Args, said: usize) {
    let mut lines = Vec::new();
    refused_names(recorder, &mut lines);
    refused_calls(recorder, &mut lines);
    if args.ephemeral.is_none() {
        lines.extend(waiting(args).map(Line::Info));
    }
    let room = MOST.saturating_sub(said);
    let is_cut = lines.len() > room;
    for line in lines.iter().take(if is_cut { room.saturating_sub(1) } else { room }) {
        match line {
            Line::Info(text) => output::info(text),
            Line::Hint(text) => output::hint(text),
        }
    }
    if is_cut && let Some(run) = recorder.run() {
        output::hint(format_args!("more: sbox report {run}"));
    }
}

enum Line {
    Info(String),
    Hint(String),
}

/// What was refused, and the line that would allow it. Most programs hide the proxy's reason.
fn refused_names(recorder: &Recorder, lines: &mut Vec<Line>) {
    let mut refused: Vec<String> = Vec::new();
    for rule in recorder.tally.asked().iter().filter(|asked| !asked.allowed).filter_map(|asked| asked.rule.as_deref()) {
        let rule = visible(rule);
        if !refused.contains(&rule) {
            refused.push(rule);
        }
    }
    let shown = &refused[..refused.len().min(NAMES)];
    if shown.is_empty() {
        return;
    }
    let more = refused.len() - shown.len();
    let more = if more > 0 { format!(" and {more} more (sbox logs --network)") } else { String::new() };
    lines.push(Line::Info(format!("the network refused {}{more}", shown.join(", "))));
    let quoted: Vec<String> = shown.iter().map(|name| format!("\"{name}\"")).collect();
    lines.push(Line::Hint(format!("to allow them: network: {{allow: [{}]}}", quoted.join(", "))));
}

/// What a line of the configuration would allow. Others that were refused are in the record: nobody can do anything about
/// them, and most programs go on without.
fn refused_calls(recorder: &Recorder, lines: &mut Vec<Line>) {
    let mut asked: Vec<(&str, u64)> = Vec::new();
    for call in recorder.tally.calls().iter().filter(|call| call.key.as_deref() == Some("nested: true")) {
        let what = if call.what.ends_with("namespaces") { call.what.as_str() } else { "mounts" };
        match asked.iter_mut().find(|(other, _)| *other == what) {
            Some((_, count)) => *count += call.count,
            None => asked.push((what, call.count)),
        }
    }
    let Some((what, count)) = asked.iter().find(|(what, _)| *what == "user namespaces").or_else(|| asked.first())
    else {
        return;
    };
    let times = if *count == 1 { "once".to_owned() } else { format!("{count} times") };
    lines.push(Line::Info(format!("it asked for {what} {times}; 'nested: true' in the configuration allows them")));
}

/// What waits in copy-on-write mounts: the user decides what becomes of it.
fn waiting(args: &Args) -> impl Iterator<Item = String> {
    args.mounts.iter().filter_map(|mount| match mount {
        Mount::Cow { layer, .. } => cow::pending_line(layer),
        _ => None,
    })
}
