//! `--network`: what was asked of the proxy, as a table for a person.

use libsbox::cli;
use libsbox::error::Result;
use libsbox::escape::visible;
use libsbox::logs::Reader;
use libsbox::output;
use libsbox::project::Project;
use libsbox::time;
use serde::Deserialize;

/// A line of the log. The names in it are an agent's.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Asked {
    time: String,
    host: String,
    port: u16,
    allowed: bool,
    reason: Option<String>,
    rule: Option<String>,
}

impl Asked {
    fn name(&self) -> String {
        if self.host.is_empty() { "-".into() } else { visible(&format!("{}:{}", self.host, self.port)) }
    }

    /// Why it was refused, or which entry would have allowed it.
    fn why(&self) -> String {
        match (&self.rule, &self.reason) {
            (Some(rule), Some(reason)) if reason.contains("is not allowed") => visible(&format!("allow: [\"{rule}\"]")),
            (_, Some(reason)) => visible(reason),
            _ => String::new(),
        }
    }

    fn verdict(&self) -> &'static str {
        if self.allowed { "allowed" } else { "refused" }
    }
}

/// The last `lines` different requests of those that are not older than `since`, the newest last.
pub fn print(project: &Project, lines: usize, since: Option<u64>) -> Result<u8> {
    let mut reader = Reader::open(project, "network", None, None)?;
    let mut rows: Vec<(Asked, usize)> = Vec::new();
    for asked in read(&mut reader, &mut Vec::new())? {
        if since.is_some_and(|since| time::seconds_of(&asked.time).is_some_and(|time| time < since)) {
            continue;
        }
        let same = |(other, _): &(Asked, usize)| {
            (&other.host, other.port, other.allowed) == (&asked.host, asked.port, asked.allowed)
                && other.reason == asked.reason
        };
        let count = rows.iter().position(same).map_or(0, |at| rows.remove(at).1);
        rows.push((asked, count + 1));
        // The agent decides how many different ones there are.
        if rows.len() > lines {
            rows.remove(0);
        }
    }
    if rows.is_empty() {
        output::info("the network refused nothing; requests that were allowed are recorded with 'log: true'");
        return Ok(0);
    }
    let title = ["LAST", "TIMES", "RESULT", "NAME", "WHY, OR WHAT WOULD ALLOW IT"].map(str::to_owned).to_vec();
    let row = |(asked, count): &(Asked, usize)| {
        vec![visible(&asked.time), count.to_string(), asked.verdict().into(), asked.name(), asked.why()]
    };
    let table: Vec<Vec<String>> = std::iter::once(title).chain(rows.iter().map(row)).collect();
    cli::out(output::table(&table).as_bytes())?;
    Ok(0)
}

/// New requests, one a line, as they come.
pub fn print_new(reader: &mut Reader, rest: &mut Vec<u8>) -> Result<()> {
    for asked in read(reader, rest)? {
        let line = format!("{}  {}  {}  {}", visible(&asked.time), asked.verdict(), asked.name(), asked.why());
        cli::out_line(line.trim_end())?;
    }
    Ok(())
}

/// What can be read now. `rest` is the beginning of a line whose end is not there yet.
fn read(reader: &mut Reader, rest: &mut Vec<u8>) -> Result<Vec<Asked>> {
    let (mut all, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
    loop {
        let length = reader.read(&mut buffer)?;
        if length == 0 {
            return Ok(all);
        }
        rest.extend(&buffer[..length]);
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let line: Vec<u8> = rest.drain(..=end).collect();
            all.extend(serde_json::from_slice::<Asked>(&line));
        }
    }
}
