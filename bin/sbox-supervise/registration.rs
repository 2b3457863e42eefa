//! The daemon's entry in `processes.json`. A full disk does not end a daemon: what could not be
//! written is written later.

use crate::args::Args;
use crate::place;
use libsbox::daemon::Started;
use libsbox::daemon::last;
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
            options: args.options.clone(),
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
        let memory = Memory::new().ok();
        if let Some(memory) = &memory {
            memory.write(&record);
        }
        // Without it the end is found in the log only, if the disk is full then.
        let _ = last::reserve(project, &args.name);
        Ok(Registration { project: project.clone(), record, before, unwritten: false, memory })
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
        self.note_start(started);
        self.write();
    }

    pub fn restarted(&mut self, started: &Started) {
        self.record.restarts += 1;
        self.note_start(started);
        self.tell();
    }

    fn note_start(&mut self, started: &Started) {
        let record = &mut self.record;
        (record.pid, record.command_pid) = (started.pid, started.command);
        (record.status, record.start_time) = (State::Running, time::rfc3339(time::now()));
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
        self.record.status = State::Stopping;
        self.tell();
    }

    pub fn backs_off(&mut self, code: u8, reason: Option<String>) {
        self.note_end(State::BackingOff, code, reason);
        self.tell();
    }

    pub fn ended(&mut self, state: State, code: u8, reason: Option<String>) {
        self.note_end(state, code, reason);
        self.remember();
        let Some(project) = self.place() else { return };
        let own = &self.record;
        // First where there is room for it. Who finds the list in use leaves the rest to whoever reads it next: many that
        // end at once would wait for each other.
        let is_kept = last::write(&project, own);
        let put = |records: &mut Vec<Record>| {
            match records.iter_mut().find(|record| record.name == own.name) {
                Some(record) => record.clone_from(own),
                None => records.push(own.clone()),
            }
            Ok(())
        };
        let written = match is_kept {
            true => processes::update_at_once(&project, put),
            false => processes::update(&project, put).map(|()| true),
        };
        if written.is_ok_and(|written| written) {
            last::remove(&project, &self.record.name);
        }
    }

    fn note_end(&mut self, state: State, code: u8, reason: Option<String>) {
        let record = &mut self.record;
        (record.pid, record.command_pid, record.status) = (0, 0, state);
        (record.exit_code, record.reason) = (Some(code), reason);
        record.ended_at = Some(time::rfc3339(time::now()));
    }

    /// When to try again what could not be written.
    pub fn pause(&self) -> Option<Duration> {
        self.unwritten.then_some(AGAIN)
    }

    /// Tries it.
    pub fn retry(&mut self) {
        if self.unwritten {
            self.write();
        }
    }

    /// Where the project is now; nothing if it is gone.
    fn place(&self) -> Option<Project> {
        place::project(&self.project)
    }

    /// Says it to whoever asks while this process lives: nobody needs the list for that.
    fn tell(&mut self) {
        match self.memory {
            Some(_) => self.remember(),
            None => self.write(),
        }
    }

    fn remember(&mut self) {
        if let Some(project) = self.place() {
            self.record.project = project.root().to_string_lossy().into_owned();
        }
        if let Some(memory) = &self.memory {
            memory.write(&self.record);
        }
    }

    /// The same, and in the list; later if that is not possible now.
    fn write(&mut self) {
        self.remember();
        self.unwritten = self.place().is_none_or(|project| processes::put(&project, &self.record).is_err());
    }
}

fn running(record: &Record) -> Error {
    let name = &record.name;
    Error::new(format!("daemon '{name}' is already {}", record.status.name()))
        .hint(format!("sbox restart {name}, or another name: sbox run -d --name NAME"))
}
