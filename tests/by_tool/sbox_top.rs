use crate::common::daemons::{Standing, long_nap};
use crate::common::{Ends, becomes, bin, need_sandbox, running};
use predicates::str::contains;
use serde_json::Value;

/// The sandboxes of this project: others may run at the same time.
fn own(project: &Standing) -> Vec<Value> {
    let all: Vec<Value> = serde_json::from_str(&project.stdout(&["top", "--json"])).unwrap();
    let root = project.scratch.path("p").display().to_string();
    all.into_iter().filter(|one| one["project"] == *root).collect()
}

#[test]
fn daemons_and_runs_are_there_with_what_they_use() {
    if !need_sandbox() {
        return;
    }
    let nap = long_nap();
    let project = Standing::new("top", "network: {allow: [example.org]}\nmount:\n  - ./w:/w:cow\n");
    std::fs::create_dir_all(project.scratch.path("p/w")).unwrap();
    project.start("web", &format!("while :; do :; done & exec sleep {nap}"));
    let mut run = std::process::Command::new(bin().join("sbox"));
    let _run = Ends(run.args(["exec", "sleep", &nap]).current_dir(project.scratch.path("p")).spawn().unwrap());
    assert!(becomes(|| running("sleep", &nap) == 2));
    let all = own(&project);
    let (daemon, other) =
        (all.iter().find(|one| one["name"] == "web").unwrap(), all.iter().find(|one| one["name"].is_null()));
    assert_eq!((all.len(), &daemon["pid"]), (2, &project.ps("web")["pid"]));
    assert!(daemon["cpu_percent"].as_f64() > Some(1.0) && daemon["processes"].as_u64() >= Some(3), "{daemon}");
    assert!(daemon["memory"].as_u64() > Some(50_000) && daemon["network"] == "proxy", "{daemon}");
    // Bytes over its own loopback, where it has one: this one has said nothing yet.
    assert_eq!(daemon["loopback_bytes"], 0, "{daemon}");
    let ping = "exec 3<>/dev/udp/127.0.0.1/9; printf %1000s x >&3";
    project.sbox(&["exec", "--in", "web", "bash", "-c", ping]).assert().success();
    let daemon_now = own(&project).into_iter().find(|one| one["name"] == "web").unwrap();
    assert!(daemon_now["loopback_bytes"].as_u64() >= Some(1000), "{daemon_now}");
    assert!(other.unwrap()["command"].as_str().unwrap().ends_with(&format!("sleep {nap}")), "{other:?}");
    // What is joined is a part of it, and not a sandbox of its own.
    let before = daemon["processes"].as_u64();
    let mut beside = std::process::Command::new(bin().join("sbox"));
    beside.args(["exec", "--in", "web", "sleep", &nap]).current_dir(project.scratch.path("p"));
    let _beside = Ends(beside.spawn().unwrap());
    assert!(becomes(|| running("sleep", &nap) == 3));
    let all = own(&project);
    let daemon = all.iter().find(|one| one["name"] == "web").unwrap();
    assert!(all.len() == 2 && daemon["processes"].as_u64() > before, "{all:?}");
    let text = project.stdout(&["top"]);
    let words: Vec<&str> = text.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(words, ["PID", "NAME", "CPU", "MEMORY", "PROCS", "NETWORK", "TRAFFIC", "UPTIME", "PROJECT"]);
    project.sbox(&["stop", "-a", "-t", "0"]).assert().success();
}

#[test]
fn it_looks_as_often_as_it_is_told() {
    let project = Standing::new("top-count", "");
    let text = project.stdout(&["top", "--json", "-n", "2", "-i", "1"]);
    let looks = serde_json::Deserializer::from_str(&text).into_iter::<Value>().map(Result::unwrap);
    assert!(looks.filter(Value::is_array).count() == 2, "{text}");
    project.sbox(&["top", "-n", "0"]).assert().code(2).stderr(contains("begins with 1"));
}
