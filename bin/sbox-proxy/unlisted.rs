//! Names that no rule has: refused, unless somebody is asked, or everything is let through to see what is asked for.

use libsbox::model::{DEFAULT_PORTS, Grant, Place};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::Mutex;

/// Different names that a person is asked about in one run. The agent decides how many there are.
const MOST: usize = 64;

/// What becomes of a name that no rule allows and none denies.
#[derive(Default)]
pub enum Unlisted {
    #[default]
    Refuse,
    /// It is let through, and recorded.
    Any,
    Ask(Mutex<Asker>),
}

/// The line to who asks.
pub struct Asker {
    line: BufReader<UnixStream>,
    /// What was answered for the rest of the run.
    answered: HashMap<(String, u16), bool>,
    questions: usize,
}

impl Unlisted {
    /// Asks over a descriptor.
    pub fn ask(fd: std::os::fd::OwnedFd) -> Unlisted {
        let asker = Asker { line: BufReader::new(UnixStream::from(fd)), answered: HashMap::new(), questions: 0 };
        Unlisted::Ask(Mutex::new(asker))
    }

    /// What a name is let through by. Who asks at the same time waits for its turn.
    pub fn grant(&self, host: &str, port: u16) -> Option<Grant> {
        let is_allowed = match self {
            Unlisted::Refuse => false,
            Unlisted::Any => true,
            Unlisted::Ask(asker) => asker.lock().is_ok_and(|mut asker| asker.ask(host, port)),
        };
        let any_protocol = !DEFAULT_PORTS.contains(&port);
        is_allowed.then_some(Grant { index: usize::MAX, any_protocol, place: Place::Public })
    }
}

impl Asker {
    /// Nobody there, or a word that is not known, is a no.
    fn ask(&mut self, host: &str, port: u16) -> bool {
        let key = (host.to_owned(), port);
        if let Some(answer) = self.answered.get(&key) {
            return *answer;
        }
        if self.questions >= MOST {
            return false;
        }
        self.questions += 1;
        let question = serde_json::json!({"host": host, "port": port});
        let sent = writeln!(self.line.get_mut(), "{question}");
        let mut answer = String::new();
        let heard = sent.and_then(|()| self.line.read_line(&mut answer));
        let word = if heard.is_ok() { answer.trim() } else { "no" };
        if word != "once" {
            self.answered.insert(key, word == "run");
        }
        matches!(word, "once" | "run")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_holds_as_long_as_it_says() {
        let (own, other) = UnixStream::pair().unwrap();
        let asker = std::thread::spawn(move || {
            let mut line = BufReader::new(other);
            let mut asked = Vec::new();
            for word in ["once", "run", "no", "nonsense"] {
                let mut text = String::new();
                line.read_line(&mut text).unwrap();
                asked.push(serde_json::from_str::<serde_json::Value>(&text).unwrap()["host"].clone());
                writeln!(line.get_mut(), "{word}").unwrap();
            }
            asked
        });
        let unlisted = Unlisted::ask(own.into());
        let is = |host: &str| unlisted.grant(host, 443).is_some();
        assert!(is("a") && is("a") && is("a"));
        assert!(!is("b") && !is("b") && !is("c"));
        assert_eq!(asker.join().unwrap(), ["a", "a", "b", "c"]);
        // Nobody is there any more.
        assert!(!is("d") && is("a"));
        assert!(Unlisted::Refuse.grant("a", 443).is_none() && Unlisted::Any.grant("a", 22).is_some());
    }
}
