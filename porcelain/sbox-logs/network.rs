//! `--network`: what was asked of the proxy, as a table for a person. Each request is in the log of the network, if it was
//! refused or `log: true` is set; the record of the runs has how many bytes went, and every name that was let through.

use libsbox::cli;
use libsbox::error::Result;
use libsbox::escape::visible;
use libsbox::format;
use libsbox::logs::Reader;
use libsbox::output;
use libsbox::project::Project;
use libsbox::record::{self, Event};
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
        if self.host.is_empty() { "-".into() } else { visible(&self.host) }
    }

    fn port(&self) -> String {
        if self.port == 0 { "-".into() } else { self.port.to_string() }
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

/// One row of the table.
#[derive(Debug, Clone, Default)]
struct Row {
    asked: Asked,
    times: u64,
    sent: u64,
    received: u64,
}

/// The last `lines` different requests of those that are not older than `since`, the newest last.
pub fn print(project: &Project, lines: usize, since: Option<u64>) -> Result<u8> {
    let mut reader = Reader::open(project, "network", None, None)?;
    let mut rows: Vec<Row> = Vec::new();
    for asked in read(&mut reader, &mut Vec::new())? {
        if since.is_some_and(|since| time::seconds_of(&asked.time).is_some_and(|time| time < since)) {
            continue;
        }
        let same = |row: &Row| {
            let other = &row.asked;
            (&other.host, other.port, other.allowed) == (&asked.host, asked.port, asked.allowed)
                && other.reason == asked.reason
        };
        let times = rows.iter().position(same).map_or(0, |at| rows.remove(at).times);
        rows.push(Row { asked, times: times + 1, ..Row::default() });
        // The agent decides how many different ones there are.
        if rows.len() > lines {
            rows.remove(0);
        }
    }
    for allowed in let_through(project, since) {
        let same = |row: &&mut Row| {
            let (own, other) = (&row.asked, &allowed.asked);
            own.allowed && (&own.host, own.port) == (&other.host, other.port)
        };
        match rows.iter_mut().find(same) {
            Some(row) => (row.sent, row.received) = (allowed.sent, allowed.received),
            None => rows.push(allowed),
        }
    }
    if rows.is_empty() {
        output::info("nothing was asked of a network of some names");
        return Ok(0);
    }
    rows.sort_by(|one, other| one.asked.time.cmp(&other.asked.time));
    let rows = &rows[rows.len().saturating_sub(lines)..];
    let title = ["LAST", "NAME", "PORT", "RESULT", "TIMES", "SENT", "RECEIVED", "WHY, OR WHAT WOULD ALLOW IT"];
    let title = title.map(str::to_owned).to_vec();
    let bytes = |count: u64| if count > 0 { format::size(count) } else { "-".into() };
    let row = |row: &Row| {
        let asked = &row.asked;
        vec![
            visible(&asked.time),
            asked.name(),
            asked.port(),
            asked.verdict().into(),
            row.times.to_string(),
            bytes(row.sent),
            bytes(row.received),
            asked.why(),
        ]
    };
    let table: Vec<Vec<String>> = std::iter::once(title).chain(rows.iter().map(row)).collect();
    cli::out(output::table(&table).as_bytes())?;
    Ok(0)
}

/// What the runs of the record were let through to, each name and port once.
fn let_through(project: &Project, since: Option<u64>) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let mut count = |time: &str, asked: &record::Asked| {
        let is_old = since.is_some_and(|since| time::seconds_of(time).is_some_and(|time| time < since));
        if !asked.allowed || is_old {
            return;
        }
        let same = |row: &Row| (&row.asked.host, row.asked.port) == (&asked.host, asked.port);
        let at = rows.iter().position(same).unwrap_or_else(|| {
            let new = Asked { host: asked.host.clone(), port: asked.port, allowed: true, ..Asked::default() };
            rows.push(Row { asked: new, ..Row::default() });
            rows.len() - 1
        });
        if let Some(row) = rows.get_mut(at) {
            time.clone_into(&mut row.asked.time);
            row.times = row.times.saturating_add(asked.count);
            row.sent = row.sent.saturating_add(asked.sent);
            row.received = row.received.saturating_add(asked.received);
        }
    };
    for run in record::runs(&project.logs()) {
        // The end has the numbers; before it there is the first time of each.
        match &run.end {
            Some((time, end)) => end.asked.iter().for_each(|asked| count(time, asked)),
            None => run.events.iter().for_each(|(time, event)| {
                if let Event::Network(asked) = event {
                    count(time, asked);
                }
            }),
        }
    }
    rows
}

/// New requests, one a line, as they come.
pub fn print_new(reader: &mut Reader, rest: &mut Vec<u8>) -> Result<()> {
    for asked in read(reader, rest)? {
        let (time, name, port) = (visible(&asked.time), asked.name(), asked.port());
        let line = format!("{time}  {name}  {port}  {}  {}", asked.verdict(), asked.why());
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
