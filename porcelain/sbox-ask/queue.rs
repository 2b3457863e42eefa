//! Questions of runs, as files below `.sbox/ask`, which no sandbox sees: `ID.json` has one, `ID.answer` its answer.

use crate::Word;
use libsbox::dir::Dir;
use libsbox::error::Result;
use libsbox::fs::{self, Lock};
use libsbox::project::Project;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// One question.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Question {
    pub host: String,
    pub port: u16,
    /// Of the run.
    pub pid: i32,
    /// The daemon that it is.
    #[serde(default)]
    pub daemon: Option<String>,
}

pub struct Queue(PathBuf);

impl Queue {
    pub fn open(project: &Project) -> Result<Queue> {
        let place = project.state().join("ask");
        fs::make_dirs(&place)?;
        Ok(Queue(place))
    }

    fn watched(&self) -> PathBuf {
        self.0.join("watched")
    }

    /// Held by who answers in another window.
    pub fn watch(&self) -> Result<Option<Lock>> {
        Lock::at_once(&self.watched())
    }

    /// Whether somebody would answer there.
    pub fn is_watched(&self) -> bool {
        Lock::at_once(&self.watched()).is_ok_and(|lock| lock.is_none())
    }

    pub fn add(&self, id: &str, question: &Question) -> Result<()> {
        let text = serde_json::to_vec(question).unwrap_or_default();
        fs::write_atomic(&self.0.join(format!("{id}.json")), &text, 0o600)
    }

    pub fn answer_to(&self, id: &str) -> Option<Word> {
        let text = fs::read_plain(&self.0.join(format!("{id}.answer")))?;
        Some(Word::read(&String::from_utf8_lossy(&text)))
    }

    pub fn answer(&self, id: &str, word: Word) -> Result<()> {
        fs::write_atomic(&self.0.join(format!("{id}.answer")), word.name().as_bytes(), 0o600)
    }

    pub fn remove(&self, id: &str) {
        for kind in ["json", "answer"] {
            let _ = std::fs::remove_file(self.0.join(format!("{id}.{kind}")));
        }
    }

    /// What waits for an answer: ids and questions. Those of runs that are gone are removed.
    pub fn all(&self) -> Vec<(String, Question)> {
        let entries = Dir::open(&self.0).and_then(|dir| dir.entries()).unwrap_or_default();
        let mut all = Vec::new();
        for entry in entries {
            let Some(id) = entry.name.to_str().and_then(|name| name.strip_suffix(".json")) else { continue };
            let text = fs::read_plain(&self.0.join(&entry.name)).unwrap_or_default();
            let Ok(question) = serde_json::from_slice::<Question>(&text) else { continue };
            let is_alive = rustix::process::Pid::from_raw(question.pid)
                .is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH));
            match is_alive {
                true if self.answer_to(id).is_none() => all.push((id.to_owned(), question)),
                true => {}
                false => self.remove(id),
            }
        }
        all
    }
}
