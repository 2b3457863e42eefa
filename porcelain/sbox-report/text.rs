//! The words, 80 columns of them. All of it was written by sbox, or cut and escaped by it; the record may come with an
//! archive all the same.

use crate::gathered::Gathered;
use libsbox::escape::visible;
use libsbox::format;
use libsbox::output;
use libsbox::record::{Asked, Changes, Run};
use libsbox::time;
use libsbox::width;

const COLUMNS: usize = 80;

/// Runs that are listed below a report of all.
const RUNS: usize = 20;

/// Characters of a word that are shown; the record has none that is longer.
const LONGEST_WORD: usize = 2000;

/// Names, calls and files that are listed of each kind.
const LISTED: usize = 40;

/// One run.
pub fn one(run: &Run, all: &Gathered) -> String {
    let mut out = format!("Run {}: {}\n", run.number, how(run));
    if let Some((begun, start)) = &run.start {
        fact(&mut out, "Command", &visible(&start.command));
        fact(&mut out, "Started", &ago(begun));
        let level = run.end.as_ref().and_then(|(_, end)| end.isolation.as_deref()).unwrap_or(&start.isolation);
        let nested = if start.nested { ", may make namespaces of its own (nested)" } else { "" };
        fact(&mut out, "Isolation", &format!("{}{nested}", visible(level)));
        fact(&mut out, "Network", network(&start.network));
        for mount in &start.mounts {
            let (src, dst) = (visible(&mount.src), visible(&mount.dst));
            let mode = match mount.mode.as_str() {
                "cow" => "copy-on-write of",
                "ro" => "read-only:",
                _ => "WRITES REACH THE HOST:",
            };
            fact(&mut out, "Mount", &format!("{dst} {mode} {src}"));
        }
    }
    sections(&mut out, all);
    out
}

/// All of them.
pub fn several(runs: &[Run], all: &Gathered) -> String {
    let begun = runs.iter().find_map(|run| run.start.as_ref());
    let since = begun.map_or_else(String::new, |(begun, _)| format!(" since {}", ago(begun)));
    let mut out = format!("{} runs{since}\n", runs.len());
    let failed = runs.iter().filter(|run| run.end.as_ref().is_some_and(|(_, end)| end.code != 0)).count();
    let running = runs.iter().filter(|run| run.is_running()).count();
    let killed = runs.iter().filter(|run| run.end.is_none()).count() - running;
    fact(&mut out, "Ended", &format!("{} with 0, {failed} with another code", runs.len() - failed - running - killed));
    if killed > 0 {
        fact(&mut out, "Killed", &format!("{killed}, or the machine went down: the record has no end of them"));
    }
    if running > 0 {
        fact(&mut out, "Running", &running.to_string());
    }
    let mut writable: Vec<String> = Vec::new();
    for mount in runs.iter().filter_map(|run| run.start.as_ref()).flat_map(|(_, start)| &start.mounts) {
        let shown = visible(&mount.src);
        if mount.mode == "rw" && !writable.contains(&shown) {
            writable.push(shown);
        }
    }
    for src in writable {
        fact(&mut out, "Mount", &format!("WRITES REACH THE HOST: {src}"));
    }
    sections(&mut out, all);
    out.push_str("\nRuns\n");
    if runs.len() > RUNS {
        out.push_str(&format!("  the last {RUNS}; all: sbox report --list\n"));
    }
    for line in list(runs, RUNS).lines() {
        out.push_str(&format!("  {}\n", width::shortened(line, COLUMNS - 2)));
    }
    out.push_str("  one of them: sbox report RUN\n");
    out
}

/// A table of the last `most`.
pub fn list(runs: &[Run], most: usize) -> String {
    let title = ["RUN", "STARTED", "WHAT", "ENDED", "COMMAND"].map(str::to_owned).to_vec();
    let row = |run: &Run| {
        let (begun, what, command) = run.start.as_ref().map_or_else(Default::default, |(begun, start)| {
            let what = start.name.as_ref().map_or_else(|| start.kind.clone(), |name| format!("{} {name}", start.kind));
            (clock(begun), visible(&what), visible(&start.command))
        });
        let ended = match (&run.end, run.is_running()) {
            (Some((_, end)), _) => format!("{} after {}", end.code, lasted(end.seconds)),
            (None, true) => "is running".into(),
            (None, false) => "was killed".into(),
        };
        let row = vec![run.number.to_string(), begun, width::shortened(&what, 20), ended];
        let used: usize = row.iter().map(|cell| width::of(cell).max(9) + 2).sum();
        [row, vec![width::shortened(&command, COLUMNS.saturating_sub(used).max(20))]].concat()
    };
    let shown = &runs[runs.len().saturating_sub(most)..];
    let table: Vec<Vec<String>> = std::iter::once(title).chain(shown.iter().map(row)).collect();
    output::table(&table)
}

fn sections(out: &mut String, all: &Gathered) {
    let (refused, allowed): (Vec<&Asked>, Vec<&Asked>) = all.asked.iter().partition(|asked| !asked.allowed);
    let mut nothing: Vec<&str> = Vec::new();
    if refused.is_empty() && all.more_asked.1 == 0 {
        nothing.push("no name was refused");
    } else {
        out.push_str("\nRefused by the network\n");
        requests(out, &refused, all.more_asked.1);
        let mut rules: Vec<String> = Vec::new();
        for rule in refused.iter().filter_map(|asked| asked.rule.as_deref()).map(visible) {
            if !rules.contains(&rule) && rules.len() < 5 {
                rules.push(rule);
            }
        }
        if !rules.is_empty() {
            let quoted: Vec<String> = rules.iter().map(|rule| format!("\"{rule}\"")).collect();
            wrapped(out, "  to allow them: ", &format!("network: {{allow: [{}]}}", quoted.join(", ")));
        }
    }
    if allowed.is_empty() && all.more_asked.0 == 0 {
        nothing.push("no name was let through");
    } else {
        out.push_str("\nLet through by the network\n");
        requests(out, &allowed, all.more_asked.0);
    }
    calls(out, all, &mut nothing);
    match all.limits.is_empty() {
        true => nothing.push("no limit was met"),
        false => out.push_str("\nLimits met\n"),
    }
    for (what, count) in &all.limits {
        wrapped(out, "  ", &format!("{}{}", visible(what), times(*count)));
    }
    if !all.guard.is_empty() {
        out.push_str("\nWhat needs attention in read-write mounts\n");
    }
    for (what, hint) in all.guard.iter().take(LISTED) {
        wrapped(out, "  ", &visible(what));
        hint.iter().for_each(|hint| wrapped(out, "    ", &visible(hint)));
    }
    rest(out, all.guard.len());
    match all.changes.is_empty() {
        true => nothing.push("no file was changed in a copy-on-write mount"),
        false => out.push_str("\nFiles changed, made or deleted in copy-on-write mounts\n"),
    }
    all.changes.iter().for_each(|changes| changed(out, changes));
    if !all.changes.is_empty() {
        out.push_str("  what waits of it: sbox diff\n");
    }
    if all.left_in_all > 0 {
        out.push_str("\nStill running when the command had ended, and ended with it\n");
        let names: Vec<String> = all.left.iter().take(LISTED).map(|name| visible(name)).collect();
        wrapped(out, "  ", &format!("{} in all: {}", all.left_in_all, names.join(", ")));
    }
    for note in &all.notes {
        wrapped(out, "\nNote: ", &visible(note));
    }
    if !nothing.is_empty() {
        out.push('\n');
        let text = nothing.join(", ");
        let mut letters = text.chars();
        let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
        wrapped(out, "", &format!("{first}{}.", letters.as_str()));
    }
}

fn requests(out: &mut String, asked: &[&Asked], more: u64) {
    let has_bytes = asked.iter().any(|asked| asked.sent > 0 || asked.received > 0);
    let mut title = vec!["  NAME".to_owned(), "PORT".into(), "TIMES".into()];
    if has_bytes {
        title.extend(["SENT".to_owned(), "RECEIVED".into()]);
    }
    // Why, where it is not that nobody has allowed it.
    let why = |asked: &Asked| match (&asked.reason, &asked.rule) {
        (Some(reason), None) => visible(reason),
        (Some(reason), Some(_)) if !reason.contains("is not allowed") => visible(reason),
        _ => String::new(),
    };
    let mut rows = vec![title];
    // What was asked for most comes first: a flood of names hides none that the agent comes back to.
    let mut asked = asked.to_vec();
    asked.sort_by_key(|asked| std::cmp::Reverse(asked.count));
    for asked in asked.iter().take(LISTED) {
        let name = if asked.host.is_empty() { "-".to_owned() } else { visible(&asked.host) };
        let mut row =
            vec![format!("  {}", width::shortened(&name, 38)), asked.port.to_string(), asked.count.to_string()];
        if has_bytes {
            row.extend([format::size(asked.sent), format::size(asked.received)]);
        }
        row.push(why(asked));
        rows.push(row);
    }
    for line in output::table(&rows).lines() {
        out.push_str(&format!("{}\n", width::shortened(line, COLUMNS)));
    }
    rest(out, asked.len());
    if more > 0 {
        out.push_str(&format!("  and {more} requests for more names, which are not listed\n"));
    }
}

fn calls(out: &mut String, all: &Gathered, nothing: &mut Vec<&str>) {
    if all.calls.is_empty() {
        nothing.push(match all.has_uncounted_calls {
            true => "refused system calls could not be counted in all of them",
            false => "no system call was refused",
        });
        return;
    }
    out.push_str("\nRefused by the filter of system calls\n");
    for call in &all.calls {
        let key = call.key.as_deref().map_or_else(String::new, |key| format!("; '{}' allows it", visible(key)));
        let what = if call.what.is_empty() { String::new() } else { format!(" ({})", visible(&call.what)) };
        wrapped(out, "  ", &format!("{}{what}{}{key}", visible(&call.call), times(call.count)));
    }
    if all.has_uncounted_calls {
        out.push_str("  in some of the runs they could not be counted\n");
    }
}

fn changed(out: &mut String, changes: &Changes) {
    let count = if changes.is_cut { format!("at least {}", changes.count) } else { changes.count.to_string() };
    let git = match changes.in_git {
        0 => String::new(),
        count => format!(", and {count} of git's own"),
    };
    let files: Vec<String> = changes.files.iter().take(LISTED).map(|file| visible(file)).collect();
    let more = changes.count.saturating_sub(files.len() as u64);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let colon = if files.is_empty() { "" } else { ": " };
    wrapped(out, "  ", &format!("{}: {count}{git}{colon}{}{more}", visible(&changes.dst), files.join(", ")));
}

fn rest(out: &mut String, count: usize) {
    if count > LISTED {
        out.push_str(&format!("  and {} more: sbox report --json\n", count - LISTED));
    }
}

/// How a run ended, in words.
fn how(run: &Run) -> String {
    let what = run.start.as_ref().map_or_else(
        || "its beginning is not in the record any more".into(),
        |(_, start)| match &start.name {
            Some(name) => format!("{} '{}'", visible(&start.kind), visible(name)),
            None => visible(&start.kind),
        },
    );
    let ended = match &run.end {
        Some((_, end)) => {
            let signal = if end.code > 128 { format!(" (signal {})", end.code - 128) } else { String::new() };
            let why = end.reason.as_deref().map_or_else(String::new, |why| format!(": {}", visible(why)));
            format!("ended with code {}{signal} after {}{why}", end.code, lasted(end.seconds))
        }
        None if run.is_running() => "is running".into(),
        None => "was killed, or the machine went down: the record has no end of it".into(),
    };
    format!("{what}, {ended}")
}

fn network(mode: &str) -> &'static str {
    match mode {
        "host" => "the host's, without limits: what was asked of it is not recorded",
        "none" => "none",
        "proxy" => "some names only",
        _ => "of a kind that this version does not know",
    }
}

fn lasted(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 10.0 => format!("{seconds:.2}s"),
        seconds => format::span(seconds as u64),
    }
}

/// `2026-01-30 12:00:00 UTC (5m ago)`.
fn ago(moment: &str) -> String {
    match time::seconds_of(moment) {
        Some(at) => format!("{} UTC ({} ago)", clock(moment), format::span(time::now().saturating_sub(at))),
        None => visible(moment),
    }
}

fn clock(moment: &str) -> String {
    visible(moment).replace('T', " ").trim_end_matches('Z').to_owned()
}

fn times(count: u64) -> String {
    if count > 1 { format!(", {count} times") } else { String::new() }
}

fn fact(out: &mut String, name: &str, text: &str) {
    wrapped(out, &format!("  {name:<10} "), text);
}

/// Text in lines of at most 80 columns, which begin below the text of the first.
fn wrapped(out: &mut String, first: &str, text: &str) {
    let indent = width::of(first.trim_start_matches('\n'));
    out.push_str(first);
    let mut used = indent;
    for (at, word) in text.split(' ').enumerate() {
        // Each of its lines looks at all that is left of it: a forged record is not to keep anybody waiting.
        let mut word = word.char_indices().nth(LONGEST_WORD).map_or(word, |(at, _)| &word[..at]);
        let space = usize::from(at > 0);
        if used + space + width::of(word) > COLUMNS && used > indent {
            out.push_str(&format!("\n{}", " ".repeat(indent)));
            used = indent;
        } else if at > 0 {
            out.push(' ');
            used += 1;
        }
        // One that fits in no line is cut, where it is.
        while used + width::of(word) > COLUMNS {
            let fits = |(at, c): &(usize, char)| used + width::of(&word[..at + c.len_utf8()]) <= COLUMNS;
            let end = word.char_indices().take_while(fits).last().map_or(word.len(), |(at, c)| at + c.len_utf8());
            out.push_str(&format!("{}\n{}", &word[..end], " ".repeat(indent)));
            (word, used) = (&word[end..], indent);
        }
        out.push_str(word);
        used += width::of(word);
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_wider_than_a_terminal() {
        let long = "x".repeat(300);
        let mut out = String::new();
        wrapped(&mut out, "  Command    ", &format!("a b {long} {} end", "word ".repeat(50)));
        assert!(out.lines().all(|line| width::of(line) <= COLUMNS), "{out}");
        assert!(out.lines().count() > 6 && out.ends_with("end\n"), "{out}");
        let joined: String = out.split_whitespace().collect();
        assert!(joined.contains(&long));
    }
}
