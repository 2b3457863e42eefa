//! The daemon's entry in `processes.json`. A full disk does not end a daemon: what could not be
//! written is written later.

use crate::args::Args;
use crate::place;
use libsbox::daemon::Started;
use libsbox::daemon::last::{self, Reserved};
use libsbox::daemon::living::Memory;
use libsbox::daemon::processes;
use libsbox::daemon::record::{Record, State};
use libsbox::error::{Error, Result};
use libsbox::process::Identity;
use libsbox::project::Project;
use libsbox::time;
use std::time::Duration;

/// Between two tries to write what could not be written.
const AGAIN: Duration = Duration::from_secs(5);

pub struct Registration {
    project: Project,
    record: Record,
    /// What stood there before.
    before: Option<Record>,
    unwritten: bool,
    /// The same for everybody who asks, on no disk.
    memory: Option<Memory>,
    /// Room for the end on a disk that is full.
    end: Option<Reserved>,
}

impl Registration {
    /// Takes the name, if no living daemon has it.
    pub fn reserve(project: &Project, args: &Args) -> Result<Registration> {
        let record = Record {
            pid: 0,
            command_pid: 0,
            name: args.name.clone(),
            command: args.shown(),
            start_time: time::rfc3339(time::now()),
            status: State::Starting,
            log_file: project.logs().join(format!("{}.log", args.name)).to_string_lossy().into_owned(),
            project: project.root().to_string_lossy().into_owned(),
            words: args.words(),
            isolation: args.isolation.clone(),
            supervisor: Identity::own(),
            restarts: 0,
            exit_code: None,
            ended_at: None,
            reason: None,
            stop_timeout: args.stop_timeout.as_secs(),
        };
        let before = processes::update(project, |records| {
            let before = records.iter().position(|other| other.name == record.name);
            if let Some(at) = before
                && records[at].status.is_live()
            {
                return Err(running(&records[at]));
            }
            let before = before.map(|at| records.remove(at));
            records.push(record.clone());
            Ok(before)
        })?;
        // After the name is taken: two that want it at once must not find each other there.
        let (memory, end) = (Memory::new().ok(), Reserved::new(project, &args.name).ok());
        if let Some(memory) = &memory {
            memory.write(&record);
        }
        Ok(Registration { project: project.clone(), record, before, unwritten: false, memory, end })
    }

    /// After a start that came to nothing: as if there had been none.
    pub fn rollback(&mut self) {
        let own = self.record.supervisor.clone();
        let before = self.before.take();
        self.memory = None;
        let _ = processes::update(&self.project, |records| {
            records.retain(|record| record.supervisor != own);
            records.extend(before);
            Ok(())
        });
        last::remove(&self.project, &self.record.name);
    }

    pub fn runs(&mut self, started: &Started) {
        self.change(|record| {
            (record.pid, record.command_pid) = (started.pid, started.command);
            (record.status, record.start_time) = (State::Running, time::rfc3339(time::now()));
        });
    }

    pub fn restarted(&mut self, started: &Started) {
        self.record.restarts += 1;
        self.runs(started);
    }

    /// How long the daemon has to end: as it was started with, unless `sbox stop --timeout` wrote another time there.
    pub fn stop_timeout(&mut self) -> Duration {
        let records = self.place().map(|project| processes::in_file(&project)).unwrap_or_default();
        if let Some(own) = records.iter().find(|record| record.supervisor == self.record.supervisor) {
            self.record.stop_timeout = own.stop_timeout;
        }
        Duration::from_secs(self.record.stop_timeout)
    }

    pub fn stops(&mut self) {
        self.change(|record| record.status = State::Stopping);
    }

    pub fn backs_off(&mut self, code: u8, reason: Option<String>) {
        self.ended(State::BackingOff, code, reason);
    }

    pub fn ended(&mut self, state: State, code: u8, reason: Option<String>) {
        self.change(|record| {
            (record.pid, record.command_pid, record.status) = (0, 0, state);
            (record.exit_code, record.reason) = (Some(code), reason);
            record.ended_at = Some(time::rfc3339(time::now()));
        });
    }

    /// When to try again what could not be written.
    pub fn pause(&self) -> Option<Duration> {
        self.unwritten.then_some(AGAIN)
    }

    /// Tries it.
    pub fn retry(&mut self) {
        if self.unwritten {
            self.change(|_| {});
        }
    }

    /// Where the project is now; nothing if it is gone.
    fn place(&self) -> Option<Project> {
        place::project(&self.project)
    }

    fn change(&mut self, change: impl FnOnce(&mut Record)) {
        change(&mut self.record);
        let Some(project) = self.place() else { return self.unwritten() };
        self.record.project = project.root().to_string_lossy().into_owned();
        let own = &self.record;
        if let Some(memory) = &self.memory {
            memory.write(own);
        }
        let written = processes::update(&project, |records| {
            match records.iter_mut().find(|record| record.name == own.name) {
                Some(record) => record.clone_from(own),
                None => records.push(own.clone()),
            }
            Ok(())
        });
        match written {
            Ok(()) => {
                self.unwritten = false;
                if !self.record.status.is_live() {
                    last::remove(&project, &self.record.name);
                }
            }
            Err(_) => self.unwritten(),
        }
    }

    fn unwritten(&mut self) {
        self.unwritten = true;
        if let Some(memory) = &self.memory {
            memory.write(&self.record);
        }
        if let (Some(end), false) = (&self.end, self.record.status.is_live()) {
            end.write(&self.record);
        }
    }
}

fn running(record: &Record) -> Error {
    let name = &record.name;
    Error::new(format!("a daemon '{name}' is {} already", record.status.name()))
        .hint(format!("sbox restart {name}, or another name: sbox run -d --name NAME"))
}
