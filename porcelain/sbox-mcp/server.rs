//! The server: what comes in is answered or handed to a thread, what goes out is one line.

use crate::jobs::Job;
use crate::message::{self, Failure, Message, Request};
use crate::session::{Answer, Outcome, Server};
use crate::tools;
use crate::{apply, files, looks, run};
use libsbox::error::Result;
use libsbox::thread;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

impl Server {
    /// Takes one line.
    pub fn take(self: &Arc<Self>, line: &[u8]) -> Result<()> {
        match message::read(line) {
            Err(failure) => self.send(&message::answer(&Value::Null, Err(failure))),
            Ok(Message::Answer { id, result }) => self.jobs.answered(&id, result),
            Ok(Message::Notification { method, params }) => {
                if let ("notifications/cancelled", Some(id)) = (&*method, params.get("requestId")) {
                    self.jobs.cancel(id);
                }
            }
            Ok(Message::Request(request)) if request.method == "tools/call" => self.call(request),
            Ok(Message::Request(request)) => {
                let result = self.answer(&request).map(|result| self.complete(&request, result));
                self.send(&message::answer(&request.id, result));
            }
        }
        Ok(())
    }

    /// What every result of the newer versions has.
    fn complete(&self, request: &Request, mut result: Value) -> Value {
        if request.version().is_some() || request.method == "server/discover" {
            if result.get("resultType").is_none() {
                message::set(&mut result, "resultType", "complete");
            }
            message::set(&mut result, "_meta", json!({"io.modelcontextprotocol/serverInfo": info()}));
        }
        result
    }

    /// A client says first who it is, or says it each time.
    fn require_version(&self, request: &Request) -> Result<(), Failure> {
        match request.version() {
            Some(version) if message::BY_REQUEST.contains(&version) => Ok(()),
            Some(version) => Err(Failure {
                data: Some(json!({"supported": versions(), "requested": version})),
                ..Failure::new(message::VERSION_UNKNOWN, "Unsupported protocol version")
            }),
            None if self.is_initialized.load(Ordering::Acquire) => Ok(()),
            None => Err(Failure::new(
                message::INVALID,
                "the first request is 'initialize', or names its version in '_meta'",
            )),
        }
    }

    fn answer(&self, request: &Request) -> Result<Value, Failure> {
        let cached = |mut value: Value| {
            if request.version().is_some() || request.method == "server/discover" {
                message::set(&mut value, "ttlMs", 3_600_000);
                message::set(&mut value, "cacheScope", "private");
            }
            value
        };
        match &*request.method {
            "initialize" => self.initialize(&request.params),
            "ping" => Ok(json!({})),
            "server/discover" => {
                if request.version().is_some() {
                    self.require_version(request)?;
                }
                let own = json!({"supportedVersions": versions(), "capabilities": {"tools": {}}, "instructions": tools::INSTRUCTIONS});
                Ok(cached(own))
            }
            "tools/list" => {
                self.require_version(request)?;
                Ok(cached(json!({"tools": tools::list()})))
            }
            other => {
                let shown = libsbox::escape::visible(other);
                Err(Failure::new(message::NO_METHOD, format!("there is no method '{shown}'")))
            }
        }
    }

    fn initialize(&self, params: &Value) -> Result<Value, Failure> {
        let asked = params.get("protocolVersion").and_then(Value::as_str);
        let asked = asked.ok_or_else(|| Failure::new(message::PARAMETERS, "'protocolVersion' is missing"))?;
        // One that is not known here gets the newest that is: the client decides whether it can go on.
        let known = message::WITH_HANDSHAKE.into_iter().find(|version| *version == asked);
        self.elicits.store(params.get("capabilities").is_some_and(message::can_elicit), Ordering::Release);
        self.is_initialized.store(true, Ordering::Release);
        Ok(json!({
            "protocolVersion": known.unwrap_or(message::WITH_HANDSHAKE[0]),
            "capabilities": {"tools": {}},
            "serverInfo": info(),
            "instructions": tools::INSTRUCTIONS,
        }))
    }

    /// Hands a call to a thread of its own.
    fn call(self: &Arc<Self>, request: Request) {
        let failure = |failure: Failure| self.send(&message::answer(&request.id, Err(failure)));
        if let Err(error) = self.require_version(&request) {
            return failure(error);
        }
        let Some(job) = self.jobs.begin(&request.id, request.progress_token().cloned()) else {
            return failure(Failure::new(message::INVALID, "too many calls go on, or one with this id"));
        };
        let (server, id) = (Arc::clone(self), request.id.clone());
        let started = thread::spawn(move || {
            let result = server.tool(&request, &job);
            server.jobs.end(&request.id);
            // Nobody waits for the answer to a call that was cancelled.
            if !job.is_cancelled() {
                let result = result.map(|result| server.complete(&request, result));
                server.send(&message::answer(&request.id, result));
            }
        });
        if let Err(error) = started {
            self.jobs.end(&id);
            self.send(&message::answer(&id, Err(Failure::new(message::INVALID, error.to_string()))));
        }
    }

    fn tool(&self, request: &Request, job: &Job) -> Result<Value, Failure> {
        let name = request.params.get("name").and_then(Value::as_str).unwrap_or_default();
        let arguments = match request.params.get("arguments") {
            None | Some(Value::Null) => json!({}),
            Some(arguments) => arguments.clone(),
        };
        let answer = match name {
            "run" => with(arguments, |arguments| run::call(self, arguments, job)),
            "read" => with(arguments, |arguments| files::read(self, arguments, job)),
            "write" => with(arguments, |arguments| files::write(self, arguments, job)),
            "list" => with(arguments, |arguments| files::list(self, arguments, job)),
            "diff" => with(arguments, |arguments| looks::diff(self, arguments, job)),
            "logs" => with(arguments, |arguments| looks::logs(self, arguments, job)),
            "report" => with(arguments, |arguments| looks::report(self, arguments, job)),
            "why" => with(arguments, |arguments| looks::of_subject(self, &arguments, job)),
            "policy" => with(arguments, |looks::Nothing {}| looks::policy(self)),
            "apply" => match serde_json::from_value(arguments) {
                Err(error) => wrong(&error),
                Ok(arguments) => match apply::call(self, &arguments, request, job) {
                    Ok(Outcome::Pending(result)) => return Ok(result),
                    Ok(Outcome::Answer(answer)) => answer,
                    Err(error) => failed(&error),
                },
            },
            other => {
                let shown = libsbox::escape::visible(other);
                return Err(Failure::new(message::PARAMETERS, format!("there is no tool '{shown}'")));
            }
        };
        Ok(answer.result())
    }

    /// Ends what goes on.
    pub fn end(&self) {
        const GRACE: Duration = Duration::from_secs(5);
        let start = Instant::now();
        while self.jobs.cancel_all() && start.elapsed() < GRACE {
            std::thread::sleep(Duration::from_millis(10));
        }
        self.jobs.kill_all();
    }
}

fn with<T: DeserializeOwned>(arguments: Value, call: impl FnOnce(T) -> Result<Answer>) -> Answer {
    match serde_json::from_value(arguments) {
        Err(error) => wrong(&error),
        Ok(arguments) => call(arguments).unwrap_or_else(|error| failed(&error)),
    }
}

/// Wrong arguments are the model's, which can do better when it reads why.
fn wrong(error: &serde_json::Error) -> Answer {
    Answer::error(format!("these arguments do not fit the tool: {error}"))
}

fn failed(error: &libsbox::error::Error) -> Answer {
    match error.hint_text() {
        Some(hint) => Answer::error(format!("{error}\n→ {hint}")),
        None => Answer::error(error.to_string()),
    }
}

fn info() -> Value {
    json!({"name": "sbox", "title": "sbox", "version": env!("CARGO_PKG_VERSION")})
}

fn versions() -> Vec<&'static str> {
    message::BY_REQUEST.into_iter().chain(message::WITH_HANDSHAKE).collect()
}
