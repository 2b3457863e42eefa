//! Counting what an agent can repeat: each thing is an event once, and a number at the end.

use super::{Asked, Call, Event, MOST_LISTED, MOST_NAMES, shown};
use std::collections::HashMap;

/// What was counted in one run.
#[derive(Debug, Default)]
pub struct Tally {
    asked: Vec<Asked>,
    /// Where a name and a verdict are in `asked`.
    places: HashMap<(String, u16, bool), usize>,
    more_asked: (u64, u64),
    calls: Vec<Call>,
}

impl Tally {
    /// Counts a request. Gives the event, if it is the first of its kind and there is room for it.
    pub fn ask(&mut self, mut asked: Asked) -> Option<Event> {
        asked.host = shown(&asked.host);
        asked.reason = asked.reason.as_deref().map(shown);
        asked.rule = asked.rule.as_deref().map(shown);
        let key = (asked.host.clone(), asked.port, asked.allowed);
        if let Some(at) = self.places.get(&key) {
            let known = &mut self.asked[*at];
            known.count = known.count.saturating_add(asked.count);
            known.sent = known.sent.saturating_add(asked.sent);
            known.received = known.received.saturating_add(asked.received);
            return None;
        }
        // The bytes of a name that is not listed.
        if asked.count == 0 {
            return None;
        }
        // Refused ones are for the agent to make up; they take no room from those that were let through.
        if self.asked.iter().filter(|other| other.allowed == asked.allowed).count() >= MOST_NAMES {
            let more = if asked.allowed { &mut self.more_asked.0 } else { &mut self.more_asked.1 };
            *more = more.saturating_add(asked.count);
            return None;
        }
        self.places.insert(key, self.asked.len());
        self.asked.push(asked.clone());
        Some(Event::Network(asked))
    }

    /// Counts a refused system call, in the same way.
    pub fn refuse(&mut self, call: Call) -> Option<Event> {
        if let Some(known) = self.calls.iter_mut().find(|known| known.call == call.call && known.what == call.what) {
            known.count = known.count.saturating_add(call.count);
            return None;
        }
        // What there is to refuse is a list, which has an end.
        if self.calls.len() >= 2 * MOST_LISTED {
            return None;
        }
        self.calls.push(call.clone());
        Some(Event::Call(call))
    }

    /// What was asked of the network, in the order of the first time.
    pub fn asked(&self) -> &[Asked] {
        &self.asked
    }

    /// Requests for names beyond those: allowed, refused.
    pub fn more_asked(&self) -> (u64, u64) {
        self.more_asked
    }

    /// The system calls that were refused.
    pub fn calls(&self) -> &[Call] {
        &self.calls
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(host: &str, allowed: bool) -> Asked {
        Asked { host: host.into(), port: 443, allowed, count: 1, ..Asked::default() }
    }

    #[test]
    fn a_flood_of_names_is_counted_and_leaves_room_for_what_was_let_through() {
        let mut tally = Tally::default();
        let told = (0..100_000).filter(|n| tally.ask(asked(&format!("{n}.example"), false)).is_some()).count();
        assert_eq!((told, tally.more_asked()), (MOST_NAMES, (0, 100_000 - MOST_NAMES as u64)));
        assert!(tally.ask(asked("good.example", true)).is_some() && tally.ask(asked("good.example", true)).is_none());
        assert_eq!(tally.asked().last().map(|asked| asked.count), Some(2));
    }

    #[test]
    fn a_call_in_a_loop_is_one_event() {
        let mut tally = Tally::default();
        let call = || Call { call: "mount".into(), what: "mounts".into(), key: None, count: 1 };
        assert_eq!((0..1000).filter(|_| tally.refuse(call()).is_some()).count(), 1);
        assert_eq!(tally.calls()[0].count, 1000);
    }
}
