//! sbox-info: paths, runtime, environment, mounts.
#![forbid(unsafe_code)]

use libsbox::built::Built;
use libsbox::cache;
use libsbox::check;
use libsbox::cli::{self, Tool};
use libsbox::config::{Config, MountEntry};
use libsbox::environment::Host;
use libsbox::error::Result;
use libsbox::escape;
use libsbox::format;
use libsbox::fs;
use libsbox::locate::{Step, locate};
use libsbox::name_rules::NameRules;
use libsbox::plumbing::spawn;
use libsbox::project::Project;
use libsbox::width;
use serde_json::{Value, json};
use std::path::Path;
use std::process::ExitCode;

const TOOL: Tool = Tool { name: "sbox-info", usage: USAGE, runs_a_command: false };
const USAGE: &str = "\
usage: sbox info [-j]
Show paths, sizes, where the runtime comes from, what is visible inside the
sandbox, and which variables are set there.

  -j, --json       print JSON
  -h, --help       print this text
  -V, --version    print the version
";

fn main() -> ExitCode {
    TOOL.main(run)
}

fn run(args: &mut lexopt::Parser) -> Result<u8> {
    let as_json = cli::is_json(args)?;
    let project = Project::find()?;
    let config = libsbox::check::load(&project)?;
    let facts = facts(&project, &config)?;
    if as_json {
        cli::out_json(&facts)?
    } else {
        cli::out(text(&facts).as_bytes())?
    }
    Ok(0)
}

fn facts(project: &Project, config: &Config) -> Result<Value> {
    let lock = Built::read(project).filter(Built::is_whole);
    let size = |path: &Path| {
        let (files, bytes) = fs::measure(path);
        json!({"path": path, "exists": path.is_dir(), "files": files, "bytes": bytes})
    };
    let isolation = spawn::probe(config.isolation);
    Ok(json!({
        "project": {"name": project.name(), "root": project.root(), "config": project.config(), "lock": project.lock()},
        "runtime": {
            "asked": config.runtimes.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "provider": config.provider,
            "built": lock.map(|lock| lock.runtimes).unwrap_or_default(),
        },
        "isolation": {"level": isolation.level, "configured": config.isolation, "network": config.network.to_string(), "limits": config.limits.written().join(" ")},
        "network": network(project, config),
        "disk": {"env": size(&project.env()), "rootfs": size(&project.rootfs())},
        // A path that is not UTF-8 would be a panic here, not an error.
        "cache": cache::root().ok().map(|root| root.to_string_lossy().into_owned()),
        "copy": config.copy.iter().map(entry).collect::<Vec<_>>(),
        "mount": config.mount.iter().map(entry).collect::<Vec<_>>(),
        "install": config.install,
        "env": config.env.iter().map(|(name, value)| (name.clone(), masked(name, value).into())).collect::<serde_json::Map<_, _>>(),
    }))
}

/// Every name that the network leads to or refuses, and where the rule comes from.
fn network(project: &Project, config: &Config) -> Vec<Value> {
    let rules = NameRules::of(project, config, &Host::own());
    let text = libsbox::config::read(project).unwrap_or_default();
    let line = &|list: &str, index: usize| {
        let path = [Step::Key("network".into()), Step::Key(list.into()), Step::Index(index)];
        let place = locate(&text, &path, false).or_else(|| locate(&text, &path[..2], false));
        place.map(|(line, _)| line)
    };
    let lists = [("allow", &rules.allow), ("deny", &rules.deny)];
    let rows = lists.into_iter().flat_map(|(list, rules)| {
        rules.iter().map(move |rule| {
            json!({
                "rule": rule.rule.to_string(), "list": list, "line": line(list, rule.index),
                "set": rule.set.map(|set| set.to_string()), "why": rule.why,
            })
        })
    });
    let unusable = rules.unusable.iter().map(|why| json!({"rule": null, "why": why}));
    rows.chain(unusable).collect()
}

fn entry(entry: &MountEntry) -> Value {
    json!({"src": entry.src, "dst": entry.dst, "ro": entry.is_read_only(), "mode": entry.mode})
}

/// A value as it is in the configuration, references unexpanded; what looks like a secret is not shown.
fn masked(name: &str, value: &str) -> String {
    if check::is_secret(name, value) { "********".into() } else { value.to_owned() }
}

/// The same facts for a person, in a fixed order.
fn text(facts: &Value) -> String {
    let rows = |key: &str| -> Rows {
        let object = facts[key].as_object().into_iter().flatten();
        object.map(|(name, value)| (escape::visible(name), shown(value))).collect()
    };
    let asked: Vec<String> = list(&facts["runtime"]["asked"]).map(shown).collect();
    let built = list(&facts["runtime"]["built"]).map(|built| {
        format!("{} {} from {}", shown(&built["provider"]), shown(&built["version"]), shown(&built["source"]))
    });
    let runtime = [("asked".into(), asked.join(", "))].into_iter().chain(built.map(|built| ("built".into(), built)));
    let disk = ["env", "rootfs"].map(|part| (part.into(), disk(&facts["disk"][part])));
    let disk = disk.into_iter().chain([("cache".into(), shown(&facts["cache"]))]);
    let install = list(&facts["install"]).zip(1..).map(|(line, number): (_, u32)| (number.to_string(), shown(line)));
    let sections: [(&str, Rows); 9] = [
        ("Project", rows("project")),
        ("Runtime", runtime.collect()),
        ("Isolation", rows("isolation")),
        ("Network", list(&facts["network"]).map(rule).collect()),
        ("Disk", disk.collect()),
        ("Copied", list(&facts["copy"]).map(mounted).collect()),
        ("Mounted", list(&facts["mount"]).map(mounted).collect()),
        ("Install", install.collect()),
        ("Environment", rows("env")),
    ];
    let sections: Vec<String> = sections.iter().filter(|(_, rows)| !rows.is_empty()).map(section).collect();
    sections.join("\n")
}

type Rows = Vec<(String, String)>;

fn section((title, rows): &(&str, Rows)) -> String {
    let widest = rows.iter().map(|(name, _)| width::of(name)).max().unwrap_or(0);
    let lines = rows.iter().map(|(name, value)| format!("  {}  {value}\n", width::padded(name, widest)));
    format!("{title}\n{}", lines.collect::<String>())
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) if text.is_empty() => "-".into(),
        Value::String(text) => escape::visible(text),
        other => other.to_string(),
    }
}

fn disk(part: &Value) -> String {
    if part["exists"] != true {
        return "not built".into();
    }
    let size = format::size(part["bytes"].as_u64().unwrap_or(0));
    format!("{size} in {} files  {}", part["files"], shown(&part["path"]))
}

fn mounted(entry: &Value) -> (String, String) {
    let end = if entry["ro"] == true { " (read-only)" } else { "" };
    (shown(&entry["dst"]), shown(&entry["src"]) + end)
}

fn rule(rule: &Value) -> (String, String) {
    let from = [
        rule["set"].as_str().map(str::to_owned),
        Some(shown(&rule["why"])).filter(|why| why != "-"),
        rule["line"].as_u64().map(|line| format!("config.yaml:{line}")),
    ];
    let from: Vec<String> = from.into_iter().flatten().collect();
    let denied = if rule["list"] == "deny" { "denied; " } else { "" };
    (shown(&rule["rule"]), format!("{denied}{}", from.join(", ")))
}
