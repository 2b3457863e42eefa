//! Answering in a window of its own, for all runs of a project.

use crate::queue::Queue;
use crate::{Word, can_keep, question};
use libsbox::error::{Error, Result};
use libsbox::output;
use libsbox::project::Project;
use std::collections::HashSet;
use std::io::{BufRead, IsTerminal};
use std::time::Duration;

pub fn run(project: &Project) -> Result<u8> {
    let queue = Queue::open(project)?;
    let Some(_watching) = queue.watch()? else {
        return Err(Error::new("another 'sbox ask' answers for this project already"));
    };
    if std::io::stdin().is_terminal() {
        output::info("waiting for questions of runs with --ask; Ctrl-C ends this");
    }
    let mut answered = HashSet::new();
    loop {
        let next = queue.all().into_iter().find(|(id, _)| !answered.contains(id));
        let Some((id, asked)) = next else {
            std::thread::sleep(Duration::from_millis(100));
            continue;
        };
        output::ask(format_args!(
            "[sbox] {}",
            question(&asked.host, asked.port, asked.daemon.as_deref(), can_keep(project))
        ));
        let mut line = String::new();
        if std::io::stdin().lock().read_line(&mut line).unwrap_or(0) == 0 {
            return Ok(0);
        }
        queue.answer(&id, Word::read(&line))?;
        answered.insert(id);
    }
}
