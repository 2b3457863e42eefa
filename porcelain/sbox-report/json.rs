//! The same for programs.

use libsbox::record::{Run, Verified};
use serde_json::{Value, json};

pub fn run(run: &Run) -> Value {
    let events: Vec<Value> = run.events.iter().map(|(time, event)| json!({"time": time, "what": event})).collect();
    json!({
        "run": run.number,
        "started_at": run.start.as_ref().map(|(time, _)| time),
        "ended_at": run.end.as_ref().map(|(time, _)| time),
        "is_running": run.is_running(),
        "start": run.start.as_ref().map(|(_, start)| start),
        "events": events,
        "end": run.end.as_ref().map(|(_, end)| end),
    })
}

pub fn verified(verified: &Verified) -> Value {
    json!({
        "is_whole": verified.is_whole(),
        "lines": verified.lines,
        "first": verified.first,
        "last": verified.last,
        "hash": verified.hash,
        "findings": verified.findings,
    })
}
