//! Attacks on a sandbox of this host. Each is made outside too, where it should succeed: one that fails everywhere proves
//! nothing, and is not counted as proof.

use crate::checks;
use crate::fixtures::{Fixtures, as_nobody, strange};
use libsbox::cli;
use libsbox::error::{Context, Error, Result};
use libsbox::escape;
use libsbox::model::{Isolation, Level};
use libsbox::output;
use libsbox::plumbing;
use libsbox::plumbing::spawn::{self, Spawn};
use libsbox::promises::{self, Host};
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::process::Command;

/// What `sbox-attempt` says of one attempt.
#[derive(Debug, Clone, Deserialize)]
struct Said {
    class: String,
    name: String,
    what: String,
    outcome: String,
    got: String,
}

/// An attempt inside, and what the same came to outside.
#[derive(Debug)]
struct Verdict {
    inside: Said,
    proved: bool,
    promised: bool,
}

impl Verdict {
    fn got_through(&self) -> bool {
        self.inside.outcome == "reached"
    }
}

/// Makes all of them and prints what came of it.
pub fn run(level: &str, as_json: bool) -> Result<u8> {
    let probe = spawn::probe(Isolation::Auto);
    let level = match level {
        "auto" if probe.level == "none" => {
            let reason = probe.reason.as_deref().unwrap_or("the reason is not known");
            return Err(Error::new(format!("there is no sandbox here to attack: {reason}"))
                .hint(probe.hint.as_deref().unwrap_or("sbox doctor")));
        }
        "auto" => probe.level.clone(),
        level => level.to_owned(),
    };
    let host = Host { landlock: probe.landlock, keeps_root: checks::keeps_root() };
    let verdicts = attack(&level, &host)?;
    let leaks = verdicts.iter().filter(|verdict| verdict.got_through() && verdict.promised).count();
    if as_json {
        let all: Vec<_> = verdicts.iter().map(|verdict| {
            let Said { class, name, what, outcome, got } = &verdict.inside;
            json!({"class": class, "name": name, "what": what, "outcome": outcome, "got": got, "proved": verdict.proved, "promised": verdict.promised})
        }).collect();
        cli::out_json(&json!({"level": level, "held": leaks == 0, "attempts": all}))?;
    } else {
        show(&level, &verdicts, leaks)?;
    }
    Ok(u8::from(leaks > 0))
}

fn attack(level: &str, host: &Host) -> Result<Vec<Verdict>> {
    let named: Level = level.parse()?;
    let (outside, inside) = (Fixtures::new(true)?, Fixtures::new(false)?);
    let words = [attempts(&outside), outside.of_tree("tree")].concat();
    let mut control = outside.carelessly(&words);
    as_nobody(&mut control);
    let control: BTreeMap<String, Said> =
        said(&mut control)?.into_iter().map(|said| (said.name.clone(), said)).collect();
    let mut all = said(&mut inside.carelessly(&confined(&inside, named, &[])?))?;
    if level == "namespace" {
        // The network is its own, with a way out to names that do not exist, and to one that is the host itself.
        let own = format!("localhost:{}", inside.port());
        let words = confined(&inside, named, &["allowed.invalid", &own])?;
        let network = said(&mut inside.carelessly(&words))?;
        all.retain(|said| said.class != "network");
        all.extend(network.into_iter().filter(|said| said.class == "network"));
    }
    if all.is_empty() {
        return Err(Error::new("the sandbox could not be started; the reason is above").hint("sbox doctor"));
    }
    let verdict = |inside: Said| Verdict {
        // Outside there is no proxy to ask: what it refuses is proof by itself.
        proved: control.get(&inside.name).is_some_and(|outside| outside.outcome == "reached")
            || inside.name.starts_with("proxy-"),
        promised: promises::is_promised(named, host, &inside.class, &inside.name),
        inside,
    };
    Ok(all.into_iter().filter(|said| said.outcome != "impossible").map(verdict).collect())
}

fn attempts(fixtures: &Fixtures) -> Vec<String> {
    let program = fixtures.path("sbox-attempt").display().to_string();
    [program].into_iter().chain(fixtures.arguments()).collect()
}

/// The attempts in a sandbox that reaches `names`, if there are any.
fn confined(fixtures: &Fixtures, level: Level, names: &[&str]) -> Result<Vec<OsString>> {
    // Where the host has the name that sandboxes have, as in another sandbox, this one gets another.
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let mut spawn = Spawn::new()?.isolation(level.into()).hostname(if host == "sbox" { "inner" } else { "sbox" });
    if !names.is_empty() {
        spawn = spawn.names(names);
    }
    for (place, read_only) in [("data", true), ("work", false), ("sbox-attempt", true)] {
        let place = fixtures.path(place);
        spawn = spawn.bind(&place, &place, read_only);
    }
    let mut words = attempts(fixtures);
    let (tree, seen, layer) = (fixtures.path("tree"), fixtures.path("seen"), fixtures.path("layer"));
    // A host without overlays has private copies, and nothing to be tried here.
    if level == Level::Namespace && spawn::can_overlay(Isolation::Namespace, &tree, &tree, &layer) {
        spawn = spawn.cow(&tree, &tree, &layer).bind(&tree, &seen, true);
        words.extend(fixtures.of_tree("seen"));
    }
    let command = spawn.command(&words.into_iter().map(OsString::from).collect::<Vec<_>>());
    Ok(std::iter::once(command.get_program()).chain(command.get_args()).map(OsString::from).collect())
}

fn said(command: &mut Command) -> Result<Vec<Said>> {
    plumbing::trace(command);
    // What was planted is reported on stderr, and is what is tried here.
    let output = command.output().context(|| "start 'sbox-attempt'".into())?;
    if output.stdout.is_empty() {
        output::line(String::from_utf8_lossy(&output.stderr).trim_end());
    }
    let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).map_err(|_| strange(&String::from_utf8_lossy(line)))).collect()
}

fn show(level: &str, verdicts: &[Verdict], leaks: usize) -> Result<()> {
    let colour = output::colour(std::io::stdout().is_terminal());
    let mut classes: Vec<&str> = Vec::new();
    for verdict in verdicts {
        if !classes.contains(&verdict.inside.class.as_str()) {
            classes.push(&verdict.inside.class);
        }
    }
    cli::out_line(output::paint(colour, "1", &format!("Attacks on a sandbox of this host, level '{level}'")))?;
    for class in classes {
        let all: Vec<&Verdict> = verdicts.iter().filter(|verdict| verdict.inside.class == class).collect();
        let through: Vec<&&Verdict> = all.iter().filter(|verdict| verdict.got_through()).collect();
        let proved = all.iter().filter(|verdict| verdict.proved && !verdict.got_through()).count();
        let bad = through.iter().any(|verdict| verdict.promised);
        let mark = match (bad, through.is_empty()) {
            (true, _) => output::paint(colour, "31", "✗"),
            (_, false) => output::paint(colour, "33", "•"),
            _ => output::paint(colour, "32", "✓"),
        };
        let refused = all.len() - through.len();
        cli::out_line(format_args!(
            "{mark} {class:<12} {refused:>2} of {:>2} refused, {proved} of them possible outside",
            all.len()
        ))?;
        for verdict in through {
            let note = if verdict.promised { "" } else { " (not promised at this level)" };
            cli::out_line(format_args!("    {}: {}{note}", verdict.inside.what, escape::visible(&verdict.inside.got)))?;
        }
    }
    let end = match leaks {
        0 => output::paint(colour, "32", "Everything this level promises to block was blocked."),
        count => output::paint(
            colour,
            "31",
            &format!("{count} attack(s) got through: do not trust this sandbox, and please report it."),
        ),
    };
    cli::out_line(end)
}
