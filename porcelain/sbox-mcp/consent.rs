//! Asking the user, through the client: in the older versions by a request of ours while the call waits, since 2026-07-28 by
//! an answer that says what is missing, to which the client comes back.

use crate::jobs::{Job, lock};
use crate::message::Request;
use crate::server::Server;
use serde_json::{Value, json};
use std::sync::Mutex;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How long a person may think.
const PATIENCE: Duration = Duration::from_secs(600);

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

/// Questions that a client was told to ask: what they are about, and since when. Each is good for one answer.
#[derive(Default)]
pub struct Open(Mutex<Vec<(String, String, Instant)>>);

impl Open {
    /// A state that nobody can guess, for a question about `subject`.
    fn add(&self, subject: &str) -> Option<String> {
        const MOST: usize = 16;
        let mut random = [0u8; 24];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty()).ok()?;
        let state: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut all = lock(&self.0);
        all.retain(|(_, _, since)| since.elapsed() < PATIENCE);
        if all.len() >= MOST {
            all.remove(0);
        }
        all.push((state.clone(), subject.to_owned(), Instant::now()));
        Some(state)
    }

    /// Whether a question with this state was asked about just this. It is spent.
    fn take(&self, state: &str, subject: &str) -> bool {
        let mut all = lock(&self.0);
        all.retain(|(_, _, since)| since.elapsed() < PATIENCE);
        let found = all.iter().position(|(own, about, _)| own == state && about == subject);
        found.map(|at| all.remove(at)).is_some()
    }
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
    fn an_answer_holds_once_and_for_what_was_asked() {
        let open = Open::default();
        let state = open.add("a").unwrap();
        assert!(!open.take(&state, "b") && !open.take("", "a"));
        assert!(open.take(&state, "a") && !open.take(&state, "a"));
        for _ in 0..100 {
            open.add("a").unwrap();
        }
        assert!(lock(&open.0).len() <= 16);
    }

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
