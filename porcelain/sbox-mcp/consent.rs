//! Asking the user, through the client: in the older versions by a request of ours while the call waits, since 2026-07-28 by
//! an answer that says what is missing, to which the client comes back.

use crate::jobs::Job;
use crate::message::Request;
use crate::open::PATIENCE;
use crate::session::Server;
use serde_json::{Value, json};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// The name of the one question.
const QUESTION: &str = "apply";

/// What came of asking.
pub enum Consent {
    /// Yes, by a person.
    Given,
    Refused,
    /// The client has to be told to ask, and comes back.
    Pending(Value),
    /// This client has no way to ask.
    Impossible,
}

fn form(message: &str) -> Value {
    json!({
        "mode": "form",
        "message": message,
        "requestedSchema": {
            "type": "object",
            "properties": {QUESTION: {"type": "boolean", "title": "Apply these changes", "default": false}},
            "required": [QUESTION],
        },
    })
}

fn is_yes(answer: &Value) -> bool {
    answer["action"] == "accept" && answer["content"][QUESTION] == true
}

/// Asks. `subject` is what exactly the question is about: the answer holds for that and nothing else.
pub fn ask(server: &Server, request: &Request, job: &Job, message: &str, subject: &str) -> Consent {
    if request.version().is_some() {
        return by_answer(server, request, message, subject);
    }
    if !server.can_elicit() {
        return Consent::Impossible;
    }
    let (to, from) = mpsc::channel();
    let mut form = form(message);
    // Older versions know one mode, and no name for it.
    form.as_object_mut().map(|form| form.remove("mode"));
    let Some(id) = server.request("elicitation/create", form, to) else { return Consent::Impossible };
    let start = Instant::now();
    loop {
        match from.recv_timeout(Duration::from_millis(100)) {
            Ok(Some(answer)) if is_yes(&answer) => return Consent::Given,
            Err(RecvTimeoutError::Timeout) if start.elapsed() < PATIENCE && !job.is_cancelled() => {}
            _ => {
                server.jobs.forget(&id);
                return Consent::Refused;
            }
        }
    }
}

fn by_answer(server: &Server, request: &Request, message: &str, subject: &str) -> Consent {
    if let Some(answer) = request.params.get("inputResponses").and_then(|answers| answers.get(QUESTION)) {
        let state = request.params.get("requestState").and_then(Value::as_str).unwrap_or_default();
        let is_ours = server.open.take(state, subject);
        return if is_ours && is_yes(answer) { Consent::Given } else { Consent::Refused };
    }
    if !request.can_elicit() {
        return Consent::Impossible;
    }
    let Some(state) = server.open.add(subject) else { return Consent::Impossible };
    let question = json!({"method": "elicitation/create", "params": form(message)});
    Consent::Pending(
        json!({"resultType": "input_required", "inputRequests": {QUESTION: question}, "requestState": state}),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_yes_is_one() {
        assert!(is_yes(&json!({"action": "accept", "content": {"apply": true}})));
        for no in [
            json!({"action": "accept", "content": {"apply": false}}),
            json!({"action": "accept"}),
            json!({"action": "accept", "content": {"apply": "true"}}),
            json!({"action": "decline", "content": {"apply": true}}),
            json!({}),
        ] {
            assert!(!is_yes(&no), "{no}");
        }
    }
}
