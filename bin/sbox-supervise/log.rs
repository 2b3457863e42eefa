//! The daemon's log. It never keeps the daemon waiting: what a full disk does not take is counted and dropped, and said in
//! the log as soon as it takes anything again.

use crate::args::Args;
use crate::place;
use libsbox::error::{Error, Result, reason};
use libsbox::logs;
use libsbox::project::Project;
use libsbox::time;
use rustix::fs::{Mode, OFlags};
use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

/// How often to look whether the file is still the one that its name leads to.
const LOOK: Duration = Duration::from_secs(1);

/// A line longer than this may be split between two files.
const LONGEST_LINE: u64 = 1 << 20;

pub struct Log {
    project: Project,
    name: String,
    most: u64,
    keep: u32,
    file: Option<File>,
    size: u64,
    /// When bytes were last stamped, in seconds since 1970.
    second: u64,
    looked: Instant,
    /// Whether the last byte ended a line.
    at_line: bool,
    lost: Dropped,
}

#[derive(Default)]
struct Dropped {
    bytes: u64,
    lines: u64,
    why: String,
}

impl Log {
    /// Opens the log of a daemon for what it will print, or makes it.
    pub fn open(project: &Project, name: &str, most: u64, keep: u32) -> Result<Log> {
        let mut log = Log {
            project: project.clone(),
            name: name.to_owned(),
            most: most.max(4096),
            keep,
            file: None,
            size: 0,
            second: 0,
            looked: Instant::now(),
            at_line: true,
            lost: Dropped::default(),
        };
        log.reopen()?;
        Ok(log)
    }

    fn logs(&self) -> Result<libsbox::dir::Dir> {
        let project = place::project(&self.project).ok_or_else(|| Error::new("the project is gone"))?;
        project.open_logs()
    }

    fn reopen(&mut self) -> Result<()> {
        let dir = self.logs()?;
        let file = dir.append(OsStr::new(&logs::file(&self.name, 0)))?;
        self.size = file.metadata().map_or(0, |metadata| metadata.len());
        self.file = Some(file);
        self.second = 0;
        self.looked = Instant::now();
        self.at_line = true;
        Ok(())
    }

    /// The lines with which each start begins.
    pub fn header(&mut self, args: &Args) {
        let text = format!(
            "=== sbox daemon started at {} ===\nName: {}\nCommand: {}\nWorkdir: {}\n{}\n",
            time::rfc3339(time::now()),
            args.name,
            libsbox::escape::visible(&args.shown()),
            libsbox::escape::visible(&args.workdir),
            "=".repeat(47),
        );
        self.own_line(&text);
    }

    /// A line of ours among the daemon's.
    pub fn note(&mut self, text: &str) {
        self.own_line(&format!("=== sbox: {text}, {} ===\n", time::rfc3339(time::now())));
    }

    fn own_line(&mut self, text: &str) {
        if !self.at_line {
            self.write(b"\n");
        }
        self.write(text.as_bytes());
    }

    /// Writes what was printed; to the next file, once this one is large enough and a line has ended.
    pub fn write(&mut self, mut bytes: &[u8]) {
        self.look();
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(self.part(bytes));
            if now.is_empty() {
                self.rotate();
                continue;
            }
            self.put(now);
            bytes = later;
        }
    }

    /// How many of these bytes belong to the current file.
    fn part(&self, bytes: &[u8]) -> usize {
        let Some(room) = self.most.checked_sub(self.size).filter(|room| *room > 0) else {
            // Full. The line that is being written ends here, unless it never ends.
            return match memchr::memchr(b'\n', bytes) {
                _ if self.at_line || self.size >= self.most + LONGEST_LINE => 0,
                Some(newline) => newline + 1,
                None => bytes.len(),
            };
        };
        match bytes.get(room as usize..).map(|beyond| memchr::memchr(b'\n', beyond)) {
            None => bytes.len(),
            Some(Some(newline)) => room as usize + newline + 1,
            Some(None) => bytes.len(),
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        if self.lost.bytes > 0 {
            self.report_dropped();
        }
        if self.lost.bytes == 0 {
            self.stamp();
        }
        let (written, why) = match self.lost.bytes {
            0 => self.append(bytes),
            // Nothing in between is to look as if it were whole.
            _ => (0, None),
        };
        if let Some(last) = bytes[..written].last() {
            self.at_line = *last == b'\n';
        }
        let lost = &bytes[written..];
        self.lost.bytes += lost.len() as u64;
        self.lost.lines += memchr::memchr_iter(b'\n', lost).count() as u64;
        if let Some(why) = why {
            self.lost.why = why;
        }
    }

    /// Says what was lost, if that can be written now.
    fn report_dropped(&mut self) {
        let Dropped { bytes, lines, why } = &self.lost;
        let begin = if self.at_line { "" } else { "\n" };
        let text = format!(
            "{begin}=== sbox: {bytes} bytes of output ({lines} lines) were lost here: {why}, {} ===\n",
            time::rfc3339(time::now())
        );
        let size = self.size;
        match self.append(text.as_bytes()) {
            (written, _) if written == text.len() => {
                self.lost = Dropped::default();
                self.at_line = true;
            }
            (0, _) => {}
            _ => {
                // Not half of it.
                if self.file.as_ref().is_some_and(|file| file.set_len(size).is_ok()) {
                    self.size = size;
                }
            }
        }
    }

    /// Appends; gives how many bytes went in, and why not more.
    fn append(&mut self, bytes: &[u8]) -> (usize, Option<String>) {
        let mut written = 0;
        let mut why = None;
        let Some(file) = &mut self.file else { return (0, Some("the log cannot be opened".into())) };
        while written < bytes.len() {
            match file.write(&bytes[written..]) {
                Ok(0) => break,
                Ok(length) => written += length,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    why = Some(reason(&error));
                    break;
                }
            }
        }
        self.size += written as u64;
        (written, why)
    }

    /// Notes when the bytes that follow are written.
    fn stamp(&mut self) {
        let now = time::now();
        if now == self.second {
            return;
        }
        // Once a second at most, so that no descriptor is kept for it.
        let times = self.logs().and_then(|dir| dir.append(OsStr::new(&logs::times(&self.name, 0))));
        if times.is_ok_and(|mut times| writeln!(times, "{} {now}", self.size).is_ok()) {
            self.second = now;
        }
    }

    /// Gives every file the next number, and begins a new one.
    fn rotate(&mut self) {
        let _ = self.try_rotate();
        if self.size >= self.most {
            // It did not work. Better one large file than a lost line.
            self.most = self.most.saturating_add(self.size);
        }
    }

    fn try_rotate(&mut self) -> Result<()> {
        let dir = self.logs()?;
        for names in [logs::file, logs::times] {
            dir.remove_tree(OsStr::new(&names(&self.name, self.keep)))?;
            for number in (0..self.keep).rev() {
                let (from, to) = (names(&self.name, number), names(&self.name, number + 1));
                let _ = rustix::fs::renameat(dir.as_fd(), &from, dir.as_fd(), &to);
            }
        }
        self.reopen()
    }

    /// Looks whether somebody has removed or moved the file: then there is a new one.
    fn look(&mut self) {
        if self.looked.elapsed() < LOOK {
            return;
        }
        self.looked = Instant::now();
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Some(project) = place::project(&self.project) else { return };
        let path = project.logs().join(logs::file(&self.name, 0));
        let there = rustix::fs::open(path, flags, Mode::empty()).and_then(rustix::fs::fstat);
        let own = self.file.as_ref().and_then(|file| file.metadata().ok());
        if own.is_none() || there.ok().map(|stat| stat.st_ino) != own.map(|own| own.ino()) {
            let _ = self.reopen();
        }
    }

    /// When something is to be tried again.
    pub fn pause(&self) -> Option<Duration> {
        (self.lost.bytes > 0).then_some(LOOK)
    }

    /// Says what was lost, if nothing more will be printed.
    pub fn flush(&mut self) {
        if self.lost.bytes > 0 {
            self.report_dropped();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(name: &str, most: u64) -> (Log, std::path::PathBuf) {
        let root = std::env::temp_dir().join(format!("sbox-log-{name}-{}", std::process::id()));
        std::fs::create_dir_all(root.join(".sbox")).unwrap();
        let project = Project::at(&root).unwrap();
        (Log::open(&project, "web", most, 2).unwrap(), root)
    }

    #[test]
    fn a_full_disk_loses_what_it_must_and_says_so() {
        let (mut log, root) = log("full", 1 << 20);
        log.write(b"before\nhal");
        let whole = log.file.replace(File::options().write(true).open("/dev/full").unwrap());
        log.write(b"f\nlost 1\nlost 2\n");
        log.write(b"lost 3\n");
        assert!(log.pause().is_some());
        log.file = whole;
        log.write(b"after\n");
        let text = std::fs::read_to_string(root.join(".sbox/logs/web.log")).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines[0], lines[1], lines[3]), ("before", "hal", "after"), "{text}");
        assert!(lines[2].starts_with("=== sbox: 23 bytes of output (4 lines) were lost here: no space left"), "{text}");
        assert!(log.pause().is_none());
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_line_without_an_end_fills_no_file_for_ever() {
        let (mut log, root) = log("endless", 4096);
        for _ in 0..1100 {
            log.write(&[b'x'; 2048]);
        }
        let size = |name: &str| std::fs::metadata(root.join(".sbox/logs").join(name)).map_or(0, |file| file.len());
        assert!(size("web.log.1") > 0 && size("web.log.1") <= 4096 + LONGEST_LINE + 2048);
        assert_eq!(size("web.log") + size("web.log.1") + size("web.log.2"), 1100 * 2048);
        std::fs::remove_dir_all(root).unwrap();
    }
}
