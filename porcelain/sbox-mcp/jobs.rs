//! Calls that are going on, by the ids of their requests; and questions of ours that wait for an answer.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Calls at once: each can be a sandbox.
const MOST: usize = 16;

/// One call.
#[derive(Default)]
pub struct Job {
    cancelled: AtomicBool,
    child: Mutex<Option<Pid>>,
    /// What goes to the client while it lasts.
    pub progress: Option<Value>,
}

impl Job {
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    /// Takes the child that works for it. While it is taken it was not reaped, so that its number means nobody else.
    pub fn has(&self, child: Option<u32>) {
        *lock(&self.child) = child.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    }

    /// Sends the child a signal.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = *lock(&self.child) {
            let _ = kill_process(pid, signal);
        }
    }

    fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
        self.signal(Signal::TERM);
    }
}

#[derive(Default)]
pub struct Jobs {
    calls: Mutex<HashMap<String, Arc<Job>>>,
    questions: Mutex<HashMap<String, Sender<Option<Value>>>>,
}

impl Jobs {
    /// A new call; nothing if there are too many, or one has this id.
    pub fn begin(&self, id: &Value, progress: Option<Value>) -> Option<Arc<Job>> {
        let mut calls = lock(&self.calls);
        if calls.len() >= MOST || calls.contains_key(&id.to_string()) {
            return None;
        }
        let job = Arc::new(Job { progress, ..Job::default() });
        calls.insert(id.to_string(), Arc::clone(&job));
        Some(job)
    }

    pub fn end(&self, id: &Value) {
        lock(&self.calls).remove(&id.to_string());
    }

    pub fn cancel(&self, id: &Value) {
        if let Some(job) = lock(&self.calls).get(&id.to_string()) {
            job.cancel();
        }
    }

    /// Cancels all, and says whether there is one left.
    pub fn cancel_all(&self) -> bool {
        let calls = lock(&self.calls);
        calls.values().for_each(|job| job.cancel());
        !calls.is_empty()
    }

    pub fn kill_all(&self) {
        lock(&self.calls).values().for_each(|job| job.signal(Signal::KILL));
    }

    /// How many calls go on.
    pub fn count(&self) -> usize {
        lock(&self.calls).len()
    }

    /// A question of ours, whose answer goes to `to`.
    pub fn ask(&self, id: &Value, to: Sender<Option<Value>>) {
        lock(&self.questions).insert(id.to_string(), to);
    }

    pub fn forget(&self, id: &Value) {
        lock(&self.questions).remove(&id.to_string());
    }

    pub fn answered(&self, id: &Value, result: Option<Value>) {
        if let Some(to) = lock(&self.questions).remove(&id.to_string()) {
            let _ = to.send(result);
        }
    }
}

/// A thread that panicked has left nothing half done in these.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
