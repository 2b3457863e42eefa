//! The session with a client: what is known of it, and what is written to it.

use crate::Options;
use crate::jobs::{Job, Jobs, lock};
use crate::message::{self, Failure};
use crate::open::Open;
use libsbox::cli;
use libsbox::error::Result;
use libsbox::project::Project;
use serde_json::{Value, json};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

/// What a tool answers.
pub struct Answer {
    pub text: String,
    pub structured: Option<Value>,
    /// Whether the tool failed; not whether a command did.
    pub is_error: bool,
}

impl Answer {
    pub fn text(text: String) -> Answer {
        Answer { text, structured: None, is_error: false }
    }

    pub fn error(text: String) -> Answer {
        Answer { text, structured: None, is_error: true }
    }

    /// As the protocol has it.
    pub fn result(self) -> Value {
        let mut result = json!({"content": [{"type": "text", "text": self.text}], "isError": self.is_error});
        if let Some(structured) = self.structured {
            message::set(&mut result, "structuredContent", structured);
        }
        result
    }
}

/// What comes of a call.
pub enum Outcome {
    Answer(Answer),
    /// The client is to ask its user, and to come back.
    Pending(Value),
}

pub struct Server {
    pub project: Project,
    pub options: Options,
    pub jobs: Jobs,
    pub open: Open,
    out: Mutex<()>,
    /// Of a client that began with `initialize`.
    pub is_initialized: AtomicBool,
    pub elicits: AtomicBool,
    questions: AtomicU64,
}

impl Server {
    pub fn new(project: Project, options: Options) -> Server {
        Server {
            project,
            options,
            jobs: Jobs::default(),
            open: Open::default(),
            out: Mutex::default(),
            is_initialized: AtomicBool::new(false),
            elicits: AtomicBool::new(false),
            questions: AtomicU64::new(0),
        }
    }

    pub fn can_elicit(&self) -> bool {
        self.elicits.load(Ordering::Acquire)
    }

    /// Writes a message. A client that has gone away is the end of the server at the next line that it does not write.
    pub fn send(&self, value: &Value) {
        let _one_at_a_time = lock(&self.out);
        let _ = cli::out_line(value);
    }

    /// Says that something is wrong which belongs to no request.
    pub fn refuse(&self, why: &str) -> Result<()> {
        self.send(&message::answer(&Value::Null, Err(Failure::new(message::INVALID, why))));
        Ok(())
    }

    /// Asks the client something; its answer goes to `to`.
    pub fn request(&self, method: &str, params: Value, to: Sender<Option<Value>>) -> Option<Value> {
        let id = json!(format!("sbox-{}", self.questions.fetch_add(1, Ordering::AcqRel)));
        self.jobs.ask(&id, to);
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
        Some(id)
    }

    /// Says that a call goes on, if its client wants to know.
    pub fn progress(&self, job: &Job, took: Duration) {
        if let (Some(token), false) = (&job.progress, job.is_cancelled()) {
            let params = json!({"progressToken": token, "progress": took.as_secs(), "message": format!("{} seconds", took.as_secs())});
            self.send(&json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params}));
        }
    }
}
