//! The logs of daemons: where they are, and reading them.
//!
//! `logs/NAME.log` holds what a daemon printed, as it printed it; older parts are `NAME.log.1`, `NAME.log.2` and so on.
//! When a part of a file was written is recorded beside it, in `.NAME.log.times`: lines of an offset in bytes and seconds since
//! 1970, one for each second in which something was written.

use crate::dir::Dir;
use crate::error::{Context, Result};
use crate::project::Project;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt};

/// How much is read at once.
const BLOCK: usize = 64 * 1024;

/// The name of a log file: the current one is number 0.
pub fn file(name: &str, number: u32) -> String {
    match number {
        0 => format!("{name}.log"),
        number => format!("{name}.log.{number}"),
    }
}

/// The name of the file that says when it was written.
pub fn times(name: &str, number: u32) -> String {
    format!(".{}.times", file(name, number))
}

/// One file of a log that is open, and up to where it was read.
#[derive(Debug)]
struct Part {
    file: File,
    at: u64,
}

/// Reads a log from some place on, across the files that it consists of, and those that it goes on in.
#[derive(Debug)]
pub struct Reader {
    project: Project,
    name: String,
    part: Option<Part>,
}

impl Reader {
    /// The last `lines` lines.
    pub fn last(project: &Project, name: &str, lines: usize) -> Result<Reader> {
        Reader::open(project, name, None, Some(lines))
    }

    /// The last `lines` lines of what was written at `since` (seconds since 1970) or later: the later of both places.
    pub fn open(project: &Project, name: &str, since: Option<u64>, lines: Option<usize>) -> Result<Reader> {
        let since = since.map(|since| place_since(project, name, since)).transpose()?;
        let last = lines.map(|lines| place_of_last(project, name, lines)).transpose()?;
        // The file with the smaller number is the newer one.
        let later = |place: &(u32, u64)| (std::cmp::Reverse(place.0), place.1);
        let (number, at) = since.into_iter().chain(last).max_by_key(later).unwrap_or((0, 0));
        let part = open(project, name, number).map(|file| Part { file, at });
        Ok(Reader { project: project.clone(), name: name.to_owned(), part })
    }

    /// Whether there is a log at all.
    pub fn is_there(&self) -> bool {
        self.part.is_some()
    }

    /// The next bytes, at most as many as `buffer` takes; 0 if there are none now.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        loop {
            let Some(part) = &mut self.part else {
                self.part = open(&self.project, &self.name, 0).map(|file| Part { file, at: 0 });
                if self.part.is_none() {
                    return Ok(0);
                }
                continue;
            };
            let metadata = part.file.metadata().context(|| "look at a log".into())?;
            if metadata.len() < part.at {
                // Somebody has emptied it.
                part.at = 0;
            }
            let length = part.file.read_at(buffer, part.at).context(|| format!("read log '{}'", self.name))?;
            if length > 0 {
                part.at += length as u64;
                return Ok(length);
            }
            let Some(next) = self.next(metadata.ino()) else { return Ok(0) };
            // What was written between the last look and the renaming.
            let part = self.part.as_mut().map_or(Ok(0), |part| {
                let length = part.file.read_at(buffer, part.at)?;
                part.at += length as u64;
                Ok::<_, std::io::Error>(length)
            });
            match part.context(|| format!("read log '{}'", self.name))? {
                0 => self.part = Some(Part { file: next, at: 0 }),
                length => return Ok(length),
            }
        }
    }

    /// The file that follows the one with this inode; nothing if it is the last.
    fn next(&self, inode: u64) -> Option<File> {
        let mut newer = None;
        for number in 0.. {
            let Some(file) = open(&self.project, &self.name, number) else { break };
            if file.metadata().ok()?.ino() == inode {
                return newer;
            }
            newer = Some(file);
        }
        // It was removed meanwhile: what is oldest now comes next.
        newer
    }

    /// When the byte before the place that was read up to was written.
    pub fn time(&self, times: &mut Option<(u64, Times)>, before: u64) -> Option<u64> {
        let part = self.part.as_ref()?;
        let inode = part.file.metadata().ok()?.ino();
        let at = part.at.saturating_sub(before);
        let known = |times: &(u64, Times)| times.0 == inode && at < times.1.until;
        if !times.as_ref().is_some_and(known) {
            let number = (0..)
                .map_while(|number| Some((number, open(&self.project, &self.name, number)?)))
                .find(|(_, file)| file.metadata().is_ok_and(|metadata| metadata.ino() == inode));
            *times = Some((inode, Times::read(&self.project, &self.name, number?.0)));
        }
        times.as_ref()?.1.at(at)
    }
}

/// Where the last `lines` lines begin: the number of a file and an offset. What is read for it is in proportion to
/// them, not to the log.
fn place_of_last(project: &Project, name: &str, lines: usize) -> Result<(u32, u64)> {
    let mut left = lines;
    let mut place = (0, 0);
    for number in 0.. {
        let Some(file) = open(project, name, number) else { break };
        let end = file.metadata().context(|| "look at a log".into())?.len();
        if left == 0 {
            return Ok((0, end));
        }
        let (at, found) = line_from_end(&file, end, left).context(|| format!("read '{}'", self::file(name, number)))?;
        place = (number, at);
        left -= found;
        if left == 0 {
            break;
        }
    }
    Ok(place)
}

/// Where that begins which was written at `since` or later, to the second.
fn place_since(project: &Project, name: &str, since: u64) -> Result<(u32, u64)> {
    let mut place = (0, 0);
    for number in 0.. {
        let Some(file) = open(project, name, number) else { break };
        let all = Times::read(project, name, number);
        // A file without times, or with times that all lie before, is older.
        let Some(at) = all.first_since(since) else {
            if number == 0 {
                place = (0, file.metadata().context(|| "look at a log".into())?.len());
            }
            break;
        };
        place = (number, at);
        if at > 0 {
            break;
        }
    }
    Ok(place)
}

/// When the parts of a log file were written.
#[derive(Debug, Default)]
pub struct Times {
    /// Offsets and seconds.
    marks: Vec<(u64, u64)>,
    /// How long the log was at least when they were read.
    until: u64,
}

impl Times {
    fn read(project: &Project, name: &str, number: u32) -> Times {
        let until = open(project, name, number).and_then(|file| file.metadata().ok()).map_or(0, |log| log.len());
        let mut text = String::new();
        let file = Dir::open(&project.logs()).ok().and_then(|dir| dir.file(times(name, number)).ok());
        if let Some(mut file) = file {
            let _ = file.read_to_string(&mut text);
        }
        let pair = |line: &str| {
            let (offset, time) = line.split_once(' ')?;
            Some((offset.parse().ok()?, time.parse().ok()?))
        };
        Times { marks: text.lines().filter_map(pair).collect(), until }
    }

    /// Where the first part begins that was written at `since` or later.
    fn first_since(&self, since: u64) -> Option<u64> {
        self.marks.get(self.marks.partition_point(|(_, time)| *time < since)).map(|(offset, _)| *offset)
    }

    fn at(&self, at: u64) -> Option<u64> {
        self.marks.get(self.marks.partition_point(|(offset, _)| *offset <= at).checked_sub(1)?).map(|(_, time)| *time)
    }
}

/// A log file, if it is a plain one: what an archive brought is not followed.
fn open(project: &Project, name: &str, number: u32) -> Option<File> {
    Dir::open(&project.logs()).ok()?.file(file(name, number)).ok()
}

/// Where the last `lines` lines before `end` begin, and how many there are.
fn line_from_end(file: &File, end: u64, lines: usize) -> std::io::Result<(u64, usize)> {
    let mut buffer = vec![0u8; BLOCK];
    // A newline at the very end ends the last line and begins none.
    let mut at = end;
    let mut found = 0;
    while at > 0 {
        let start = at.saturating_sub(BLOCK as u64);
        let block = &mut buffer[..(at - start) as usize];
        file.read_exact_at(block, start)?;
        for newline in memchr::memrchr_iter(b'\n', block) {
            let line = start + newline as u64 + 1;
            if line == end {
                continue;
            }
            found += 1;
            if found == lines {
                return Ok((line, found));
            }
        }
        at = start;
    }
    Ok((0, if end > 0 { found + 1 } else { 0 }))
}

/// Removes the log of a daemon: all files that it consists of, and those that say when they were written.
pub fn remove(project: &Project, name: &str) -> Result<()> {
    let Ok(dir) = Dir::open(&project.logs()) else { return Ok(()) };
    for entry in dir.entries()? {
        let is_part = |text: &str| {
            let rest = text.strip_prefix(name)?.strip_prefix(".log")?;
            let number = rest.strip_prefix('.').unwrap_or(rest);
            number.bytes().all(|byte| byte.is_ascii_digit()).then_some(())
        };
        let text = entry.name.to_str().unwrap_or_default();
        let times = text.strip_prefix('.').and_then(|text| text.strip_suffix(".times"));
        if is_part(text).or_else(|| is_part(times?)).is_some() {
            dir.remove_tree(&entry.name)?;
        }
    }
    Ok(())
}

/// The logs of a project, by name, with the bytes of all their files.
pub fn list(project: &Project) -> Vec<(String, u64)> {
    let Ok(entries) = Dir::open(&project.logs()).and_then(|dir| dir.entries()) else { return Vec::new() };
    let names = entries.iter().filter_map(|entry| entry.name.to_str()?.strip_suffix(".log"));
    let size = |name: &str| {
        let parts = (0..).map_while(|number| open(project, name, number));
        parts.filter_map(|part| part.metadata().ok()).map(|metadata| metadata.len()).sum()
    };
    let plain = names.filter(|name| !name.starts_with('.') && open(project, name, 0).is_some());
    plain.map(|name| (name.to_owned(), size(name))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last(text: &str, lines: usize) -> (u64, usize) {
        use std::io::Write;
        let mut file = File::from(rustix::fs::memfd_create("log", rustix::fs::MemfdFlags::empty()).unwrap());
        file.write_all(text.as_bytes()).unwrap();
        line_from_end(&file, text.len() as u64, lines).unwrap()
    }

    #[test]
    fn lines_are_counted_from_the_end() {
        assert_eq!(last("a\nb\nc\n", 2), (2, 2));
        assert_eq!(last("a\nb\nc", 2), (2, 2));
        assert_eq!(last("a\nb\n", 5), (0, 2));
        assert_eq!(last("", 5), (0, 0));
        assert_eq!(last("\n\n\n", 2), (1, 2));
        let long = format!("first\n{}\nlast\n", "x".repeat(3 * BLOCK));
        assert_eq!(last(&long, 2), (6, 2));
    }

    #[test]
    fn a_time_leads_to_a_place_and_back() {
        let times = Times { marks: vec![(0, 100), (50, 101), (80, 105)], until: 100 };
        assert_eq!(
            [99, 100, 101, 102, 105, 106].map(|t| times.first_since(t)),
            [Some(0), Some(0), Some(50), Some(80), Some(80), None]
        );
        assert_eq!([0, 49, 50, 200].map(|at| times.at(at)), [Some(100), Some(100), Some(101), Some(105)]);
    }
}
