//! Writing the record of one run. What goes wrong with it never makes a run fail: it is said at the end.

use super::chain::{Head, Line};
use super::{Event, FILE, HEAD, KEPT, LARGEST, Start, file};
use crate::dir::Dir;
use crate::error::{Context, Error, Result, reason};
use crate::time;
use rustix::fs::{FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long another writer may take. It holds the lock for microseconds, unless somebody has stopped it in between.
const PATIENCE: Duration = Duration::from_millis(500);

/// Events that wait for a disk that is full.
const MOST_WAITING: usize = 512;

/// Writes down what happens to one run.
#[derive(Debug)]
pub struct Writer {
    place: PathBuf,
    /// The same directory, should the project be moved while it runs.
    dir: Option<Dir>,
    /// Its number; 0 until its first line is written.
    run: u64,
    waiting: Vec<(String, Event)>,
    lost: u64,
    why: Option<String>,
    is_unsynced: bool,
}

impl Writer {
    /// Begins the record of a run in the directory `place`, which is made if it is missing.
    pub fn begin(place: &Path, start: Start) -> Writer {
        let dir = open(place).ok();
        let (waiting, place) = (Vec::new(), place.to_owned());
        let mut writer = Writer { place, dir, run: 0, waiting, lost: 0, why: None, is_unsynced: false };
        writer.write(vec![Event::Start(Box::new(start))]);
        writer
    }

    /// The number of the run, once it is recorded.
    pub fn run(&self) -> Option<u64> {
        (self.run > 0).then_some(self.run)
    }

    /// Writes events down, or keeps them for later.
    pub fn write(&mut self, events: Vec<Event>) {
        let now = time::rfc3339(time::now());
        for event in events {
            if self.waiting.len() < MOST_WAITING {
                self.waiting.push((now.clone(), event));
            } else {
                self.lost += 1;
            }
        }
        self.flush();
    }

    /// Writes what waits.
    fn flush(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        match self.try_flush() {
            Ok(()) => {
                self.waiting.clear();
                (self.why, self.is_unsynced) = (None, true);
            }
            Err(error) => self.why = Some(error.to_string()),
        }
    }

    fn try_flush(&mut self) -> Result<()> {
        let dir = self.here()?;
        if self.lost > 0 {
            let what = format!("{} events were lost: there was no room for them", self.lost);
            self.waiting.push((time::rfc3339(time::now()), Event::Note { what }));
            self.lost = 0;
        }
        self.run = append(&dir, self.run, &self.waiting)?;
        Ok(())
    }

    /// The directory: the same one wherever the project is now, since another may be at its old place. By its name once
    /// somebody has removed the logs, and there is a new one.
    fn here(&self) -> Result<Dir> {
        let is_there = |dir: &&Dir| rustix::fs::fstat(dir.as_fd()).is_ok_and(|stat| stat.st_nlink > 0);
        match self.dir.as_ref().filter(is_there) {
            Some(dir) => dir.sub("."),
            None => open(&self.place),
        }
    }

    /// After the last event: why it is not all there, if it is not. With `sync` a machine that goes down next does not
    /// take it along.
    pub fn finish(mut self, sync: bool) -> Option<String> {
        self.flush();
        if self.why.is_none() && sync && self.is_unsynced {
            let file = self.here().ok().and_then(|dir| dir.file(FILE).ok());
            let _ = file.map(|file| file.sync_data());
        }
        self.why
    }
}

/// The directory of the record. A link in its place, which came with an archive, is replaced.
fn open(place: &Path) -> Result<Dir> {
    let (Some(parent), Some(name)) = (place.parent(), place.file_name()) else {
        return Err(Error::new("the record has no place"));
    };
    match Dir::open(place) {
        Ok(dir) => Ok(dir),
        Err(_) => Dir::open(parent)?.sub_or_make(Path::new(name)),
    }
}

fn plain(dir: &Dir, name: &str, flags: OFlags) -> Result<File> {
    let shown = || format!("write '{}'", crate::escape::visible_path(dir.path().join(name)));
    let flags = flags | OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(dir.as_fd(), name, flags, Mode::from_raw_mode(0o600)).context(shown)?;
    match FileType::from_raw_mode(rustix::fs::fstat(&fd).context(shown)?.st_mode) {
        FileType::RegularFile => Ok(File::from(fd)),
        _ => Err(Error::new(format!("cannot {}: it is not a regular file", shown()))),
    }
}

fn lock(head: &File) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    loop {
        match rustix::fs::flock(head, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK | Errno::INTR) if Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(Errno::WOULDBLOCK) => return Err(Error::new("another program holds the record")),
            locked => return locked.context(|| "lock the record".into()),
        }
    }
}

/// Appends events of a run; gives its number, which is a new one for run 0. All of them are written, or none.
fn append(dir: &Dir, run: u64, events: &[(String, Event)]) -> Result<u64> {
    let head_file = plain(dir, HEAD, OFlags::empty())?;
    lock(&head_file)?;
    let mut file = plain(dir, FILE, OFlags::APPEND)?;
    let mut head = current(dir, &head_file, &mut file)?;
    let run = if run == 0 { head.run.saturating_add(1) } else { run };
    let mut text = String::new();
    for (time, event) in events {
        let line =
            Line { seq: head.seq.saturating_add(1), time: time.clone(), run, event: event.clone(), prev: head.hash };
        let (written, hash) = line.written();
        text.push_str(&written);
        text.push('\n');
        (head.seq, head.hash, head.run) = (line.seq, hash, head.run.max(run));
    }
    if head.size > 0 && head.size + text.len() as u64 > LARGEST {
        file = rotate(dir, &file)?;
        head.size = 0;
    }
    let written = file.write_all(text.as_bytes());
    if let Err(error) = written {
        // Not half of it.
        let _ = file.set_len(head.size);
        return Err(Error::new(format!(
            "cannot write '{}': {}",
            crate::escape::visible_path(dir.path().join(FILE)),
            reason(&error)
        )));
    }
    head.size += text.len() as u64;
    // If this does not succeed, the next writer sees the difference in size and finds the place by itself.
    let _ = head_file.write_all_at(head.written().as_bytes(), 0);
    Ok(run)
}

/// What is the last line now, in a file that ends with a newline.
fn current(dir: &Dir, head_file: &File, file: &mut File) -> Result<Head> {
    let shown = || String::from("read the record");
    let mut text = vec![0; 200];
    let length = head_file.read_at(&mut text, 0).context(shown)?;
    let head = Head::read(&text[..length]);
    let size = file.metadata().context(shown)?.len();
    match head {
        Some(head) if head.size == size => Ok(head),
        head => recover(dir, head, file, size),
    }
}

/// A writer was killed between the line and the head, or somebody has changed something. What was removed or changed stays
/// visible: the chain goes on from what the head knows, as long as that knows more than the file does.
fn recover(dir: &Dir, head: Option<Head>, file: &mut File, size: u64) -> Result<Head> {
    let (mut found, mut is_torn) = (Head::none(), false);
    // Without a head the newest of the older files has the numbers that this one goes on from.
    for number in (0..=u32::from(head.is_none())).rev() {
        let content = super::reader::content(dir, number).unwrap_or_default();
        is_torn = content.last().is_some_and(|last| *last != b'\n');
        for text in content.split_inclusive(|byte| *byte == b'\n') {
            let whole = text.strip_suffix(b"\n");
            if let Some((text, line)) = whole.and_then(|text| Some((text, Line::read(text)?))) {
                (found.seq, found.run, found.hash) = (line.seq, found.run.max(line.run), crate::fs::sha256(text));
            }
        }
    }
    let mut now = match head {
        Some(head) if head.seq >= found.seq => head,
        Some(head) => Head { run: found.run.max(head.run), ..found },
        None => found,
    };
    now.size = size;
    if is_torn {
        file.write_all(b"\n").context(|| "write the record".into())?;
        now.size += 1;
    }
    Ok(now)
}

/// Gives each file the next number; the oldest goes.
fn rotate(dir: &Dir, current: &File) -> Result<File> {
    let _ = current.sync_data();
    for number in (0..KEPT).rev() {
        match rustix::fs::renameat(dir.as_fd(), file(number), dir.as_fd(), file(number + 1)) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error).context(|| "begin a new file of the record".into()),
        }
    }
    plain(dir, FILE, OFlags::APPEND)
}

#[cfg(test)]
mod tests;
