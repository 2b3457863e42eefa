//! The warden: a process on the host's side that watches the writable directories while the sandbox runs.
//!
//! What a command plants there is moved away a moment after it was made, and again at the end, when the last process of
//! the sandbox is gone. It is told of that end by the launcher, or by the launcher's death, so that a sandbox that was
//! killed leaves no more behind than one that ended.

use crate::guard::Guard;
use libsbox::dir::Dir;
use libsbox::error::{Context, Result};
use libsbox::sys::{self, Fork};
use rustix::event::{PollFd, PollFlags};
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::process::{Pid, WaitOptions};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Directories that are watched; each takes about a kilobyte of the kernel's memory. What is in others is found at the end.
const MOST: usize = 20_000;

/// A sandbox whose launcher was killed is killed with it; so long that may take.
const AFTERMATH: Duration = Duration::from_millis(200);

/// The launcher's side.
pub struct Warden {
    process: Option<Pid>,
    line: Option<OwnedFd>,
}

impl Warden {
    /// Starts it, if there is anything to watch. Before anything else is opened: it must hold no end of another pipe.
    pub fn start(guard: &Guard) -> Result<Warden> {
        if guard.is_empty() {
            return Ok(Warden { process: None, line: None });
        }
        let (end, line) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).context(|| "make a pipe".into())?;
        match sys::fork().context(|| "start a process".into())? {
            Fork::Child => {
                drop(line);
                watch(guard, &end);
                crate::end(0)
            }
            Fork::Parent(process) => Ok(Warden { process: Some(process), line: Some(line) }),
        }
    }

    /// The sandbox has ended: waits until everything has been looked at.
    pub fn finish(mut self) {
        if let (Some(line), Some(process)) = (self.line.take(), self.process) {
            let _ = rustix::io::write(&line, b"!");
            drop(line);
            while let Err(rustix::io::Errno::INTR) = rustix::process::waitpid(Some(process), WaitOptions::empty()) {}
        }
    }
}

/// Watches until the launcher says that it is over, or is gone; then looks at everything once more.
fn watch(guard: &Guard, end: &OwnedFd) {
    let _ = rustix::thread::set_name(c"sbox-warden");
    // Whoever reads the command's output must not wait for this process.
    if let Ok(null) = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdin(&null);
        let _ = rustix::stdio::dup2_stdout(&null);
    }
    match Watches::new(guard) {
        // Without watches there is the look at the end.
        None => drop(rustix::io::read(end, &mut [0u8; 1])),
        Some(mut watches) => watches.run(end),
    }
    guard.report();
}

struct Watches<'a> {
    guard: &'a Guard,
    ear: OwnedFd,
    /// By the kernel's number of a watch: which writable directory, and the path below it.
    places: HashMap<i32, (usize, PathBuf)>,
}

impl<'a> Watches<'a> {
    fn new(guard: &'a Guard) -> Option<Watches<'a>> {
        let ear = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok()?;
        let mut watches = Watches { guard, ear, places: HashMap::new() };
        for (number, src) in guard.sources().enumerate() {
            watches.add(number, &Dir::open(src).ok()?, Path::new(""));
        }
        Some(watches)
    }

    /// Watches a directory and all below it; what is in it already is looked at too, since it may have come before the
    /// watch did.
    fn add(&mut self, number: usize, dir: &Dir, place: &Path) {
        if self.places.len() >= MOST {
            return;
        }
        let flags = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR;
        let path = format!("/proc/self/fd/{}", dir.as_fd().as_raw_fd());
        let Ok(watch) = inotify::add_watch(&self.ear, path, flags) else { return };
        self.places.insert(watch, (number, place.to_owned()));
        for entry in dir.entries().unwrap_or_default() {
            let below = place.join(&entry.name);
            let moved = self.guard.met(number, &below);
            if !moved
                && entry.kind == rustix::fs::FileType::Directory
                && Guard::walks_into(&below)
                && let Ok(sub) = dir.sub(&entry.name)
            {
                self.add(number, &sub, &below);
            }
        }
    }

    fn run(&mut self, end: &OwnedFd) {
        loop {
            let mut both = [PollFd::new(end, PollFlags::IN), PollFd::new(&self.ear, PollFlags::IN)];
            if rustix::event::poll(&mut both, None).is_err() {
                continue;
            }
            let (over, heard) = (!both[0].revents().is_empty(), !both[1].revents().is_empty());
            if heard {
                self.hear();
            }
            if over {
                if !matches!(rustix::io::read(end, &mut [0u8; 1]), Ok(1)) {
                    std::thread::sleep(AFTERMATH);
                }
                return;
            }
        }
    }

    fn hear(&mut self) {
        use std::os::unix::ffi::OsStrExt;
        let mut space = [std::mem::MaybeUninit::uninit(); 16 * 1024];
        let mut names = Vec::new();
        let mut reader = inotify::Reader::new(&self.ear, &mut space);
        while let Ok(event) = reader.next() {
            if let (Some((number, place)), Some(name)) = (self.places.get(&event.wd()), event.file_name()) {
                names.push((*number, place.join(std::ffi::OsStr::from_bytes(name.to_bytes()))));
            }
        }
        for (number, path) in names {
            if !self.guard.met(number, &path)
                && Guard::walks_into(&path)
                && let Some(dir) = self.guard.open(number, &path)
            {
                self.add(number, &dir, &path);
            }
        }
    }
}
