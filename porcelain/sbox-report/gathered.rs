//! What several runs come to together.

use libsbox::record::{Asked, Call, Changes, Event, Run};

/// Everything but how each of them began and ended, each thing once.
#[derive(Debug, Default)]
pub struct Gathered {
    pub asked: Vec<Asked>,
    /// Requests for further names: allowed, refused.
    pub more_asked: (u64, u64),
    pub calls: Vec<Call>,
    /// In some of them they could not be counted.
    pub has_uncounted_calls: bool,
    pub limits: Vec<(String, u64)>,
    pub guard: Vec<(String, Option<String>)>,
    pub changes: Vec<Changes>,
    pub left: Vec<String>,
    pub left_in_all: u64,
    pub notes: Vec<String>,
}

impl Gathered {
    pub fn of(runs: &[Run]) -> Gathered {
        let mut all = Gathered::default();
        for run in runs {
            match &run.end {
                // It has the numbers.
                Some((_, end)) => {
                    end.asked.iter().for_each(|asked| all.ask(asked));
                    end.calls.iter().for_each(|call| all.call(call));
                    all.more_asked.0 = all.more_asked.0.saturating_add(end.more_asked.0);
                    all.more_asked.1 = all.more_asked.1.saturating_add(end.more_asked.1);
                    all.has_uncounted_calls |= !end.are_calls_counted && end.isolation.is_some();
                }
                None => run.events.iter().for_each(|(_, event)| match event {
                    Event::Network(asked) => all.ask(asked),
                    Event::Call(call) => all.call(call),
                    _ => {}
                }),
            }
            run.events.iter().for_each(|(_, event)| all.event(event));
        }
        all
    }

    fn ask(&mut self, asked: &Asked) {
        let same =
            |other: &&mut Asked| (&other.host, other.port, other.allowed) == (&asked.host, asked.port, asked.allowed);
        match self.asked.iter_mut().find(same) {
            Some(known) => {
                known.count = known.count.saturating_add(asked.count);
                known.sent = known.sent.saturating_add(asked.sent);
                known.received = known.received.saturating_add(asked.received);
            }
            None => self.asked.push(asked.clone()),
        }
    }

    fn call(&mut self, call: &Call) {
        match self.calls.iter_mut().find(|other| other.call == call.call && other.what == call.what) {
            Some(known) => known.count = known.count.saturating_add(call.count),
            None => self.calls.push(call.clone()),
        }
    }

    fn event(&mut self, event: &Event) {
        match event {
            Event::Limit { what } => match self.limits.iter_mut().find(|(other, _)| other == what) {
                Some((_, count)) => *count += 1,
                None => self.limits.push((what.clone(), 1)),
            },
            Event::Guard { what, hint } if !self.guard.iter().any(|(other, _)| other == what) => {
                self.guard.push((what.clone(), hint.clone()));
            }
            Event::Changes(changes) => self.change(changes),
            Event::Left { count, programs } => {
                self.left_in_all = self.left_in_all.saturating_add(*count);
                for program in programs {
                    if !self.left.contains(program) {
                        self.left.push(program.clone());
                    }
                }
            }
            Event::Note { what } => self.notes.push(what.clone()),
            _ => {}
        }
    }

    /// A file that two runs changed is counted once, as far as both list it.
    fn change(&mut self, changes: &Changes) {
        let Some(known) = self.changes.iter_mut().find(|other| other.dst == changes.dst) else {
            return self.changes.push(changes.clone());
        };
        let unlisted = |changes: &Changes| changes.count.saturating_sub(changes.files.len() as u64);
        let more = unlisted(known).max(unlisted(changes));
        for file in &changes.files {
            if !known.files.contains(file) {
                known.files.push(file.clone());
            }
        }
        known.count = (known.files.len() as u64).saturating_add(more);
        known.in_git = known.in_git.max(changes.in_git);
        known.is_cut |= changes.is_cut || more > 0;
    }
}
