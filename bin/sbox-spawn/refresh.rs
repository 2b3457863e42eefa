//! What the user edits on the host shows inside a copy-on-write mount within a second.
//!
//! An overlay keeps the names and files that it has looked up: a file that an editor replaced on the host would be the old
//! one inside for as long as the kernel likes. A process on the host's side watches the sources and lets the overlays
//! forget. It has nothing of the sandbox but descriptors of its namespaces; a short-lived child enters them each time.
//! Nobody waits for its end: to close an inotify descriptor takes the kernel up to 16 ms.

use crate::{overlay, report};
use libsbox::dir::Dir;
use libsbox::error::{Context, Result};
use libsbox::sys::{self, Fork};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::FileType;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::process::{Pid, WaitOptions};
use rustix::thread::LinkNameSpaceType;
use std::collections::HashMap;
use std::ffi::CStr;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Directories that are watched; each takes about a kilobyte of the kernel's memory. Others are looked at now and then.
const MOST: usize = 8192;

/// Directories that a look goes through. A tree with more of them is refreshed without one.
const MOST_LOOKED_AT: usize = 200_000;

/// A program that writes many files on the host causes one refresh, not one for each.
const SETTLE: Duration = Duration::from_millis(100);

/// Before the first watch: a command that ends sooner pays for none, and one that starts has the processors to itself.
const WAIT: Duration = Duration::from_millis(150);

/// A name that a program inside uses at that very moment is not forgotten. So it is done again.
const REPEATS: u32 = 2;

/// Between two refreshes, and between two looks; a look that takes long is taken less often.
const PAUSE: Duration = Duration::from_millis(400);
const LOOK: Duration = Duration::from_secs(3);

/// A tree of the host that is mounted copy-on-write, and what in it is not shown.
pub struct Source {
    pub src: PathBuf,
    pub dst: PathBuf,
    pub hidden: Vec<PathBuf>,
    /// Where the overlay was made.
    pub namespaces: Namespaces,
}

impl Source {
    fn try_clone(&self) -> Result<Source> {
        let (src, dst, hidden) = (self.src.clone(), self.dst.clone(), self.hidden.clone());
        Ok(Source { src, dst, hidden, namespaces: self.namespaces.try_clone()? })
    }
}

/// The user and mount namespaces of a sandbox.
pub struct Namespaces {
    user: OwnedFd,
    mount: OwnedFd,
}

impl Namespaces {
    /// Of pid 1 while it waits for the monitor (later it lets nobody look), or of the command.
    pub fn of(process: Pid) -> Result<Namespaces> {
        let open = |name: &str| {
            let path = format!("/proc/{}/ns/{name}", process.as_raw_pid());
            std::fs::File::open(&path).context(|| format!("open '{path}'")).map(OwnedFd::from)
        };
        Ok(Namespaces { user: open("user")?, mount: open("mnt")? })
    }

    pub fn try_clone(&self) -> Result<Namespaces> {
        let copy = |fd: &OwnedFd| fd.try_clone().context(|| "keep a namespace".into());
        Ok(Namespaces { user: copy(&self.user)?, mount: copy(&self.mount)? })
    }

    /// Makes this process one of theirs, with every right in them. For a child that ends soon.
    pub fn enter(&self) -> rustix::io::Result<()> {
        rustix::thread::move_into_link_name_space(self.user.as_fd(), Some(LinkNameSpaceType::User))?;
        rustix::thread::move_into_link_name_space(self.mount.as_fd(), Some(LinkNameSpaceType::Mount))
    }
}

/// The monitor's end of a pipe: when it is closed, however that comes about, the watcher ends.
pub struct Refresher {
    held: OwnedFd,
    pid: Pid,
    /// For another one in its place.
    sources: Vec<Source>,
}

impl Refresher {
    /// Starts the watcher.
    pub fn start(sources: Vec<Source>) -> Result<Refresher> {
        let again = sources.iter().map(Source::try_clone).collect::<Result<_>>()?;
        let (end, held) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).context(|| "make a pipe".into())?;
        match sys::fork().context(|| "start a process".into())? {
            Fork::Child => {
                let used = sources.iter().flat_map(|source| [&source.namespaces.user, &source.namespaces.mount]);
                let _ = detach(c"sbox-refresh", used.chain([&end]));
                if !ended_within(&end, WAIT) {
                    Watcher::new(sources).run(&end);
                }
                report::end(0)
            }
            Fork::Parent(pid) => Ok(Refresher { held, pid, sources: again }),
        }
    }

    /// The sandbox has ended: this ends, too.
    pub fn finish(self) {
        drop(self.held);
        crate::reaper::wait_if_nobody_else_does(self.pid);
    }

    /// Starts it again if it has ended. If that does not work, changes of the host show later, and nothing else is lost.
    pub fn start_again(&mut self) {
        if let Ok(Some(_)) = rustix::process::waitpid(Some(self.pid), WaitOptions::NOHANG)
            && let Ok(new) = Refresher::start(std::mem::take(&mut self.sources))
        {
            *self = new;
        }
    }
}

/// Takes a name, and lets go of all that this process inherited but `keep`: whoever waits for the end of a pipe, or for a
/// lock, must not wait for it.
pub fn detach<'a>(name: &CStr, keep: impl Iterator<Item = &'a OwnedFd>) -> Result<()> {
    let shown = || String::from("close the inherited descriptors");
    let _ = rustix::thread::set_name(name);
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null").context(shown)?;
    rustix::stdio::dup2_stdin(&null).context(shown)?;
    rustix::stdio::dup2_stdout(&null).context(shown)?;
    rustix::stdio::dup2_stderr(&null).context(shown)?;
    drop(null);
    let mut kept: Vec<i32> = keep.map(|fd| fd.as_raw_fd()).collect();
    kept.sort_unstable();
    let mut first = 3;
    for fd in kept {
        if fd > first {
            sys::close_range(first, fd as u32 - 1).context(shown)?;
        }
        first = fd + 1;
    }
    sys::close_range(first, u32::MAX).context(shown)
}

struct Watcher {
    sources: Vec<Source>,
    /// The directories of the sources, which stay the overlays' lower ones whatever happens to their paths.
    tops: Vec<Option<Dir>>,
    inotify: Option<OwnedFd>,
    /// By the kernel's number of a watch: which source, and the path below it.
    places: HashMap<i32, (usize, PathBuf)>,
    /// Directories that are not watched, nor is what is below them.
    unwatched: Vec<(usize, PathBuf)>,
    /// What the last look at those found.
    seen: Option<u64>,
}

impl Watcher {
    fn new(sources: Vec<Source>) -> Watcher {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok();
        let tops = sources.iter().map(|source| Dir::open(&source.src).ok()).collect();
        let (places, unwatched) = (HashMap::new(), Vec::new());
        let mut watcher = Watcher { sources, tops, inotify, places, unwatched, seen: None };
        for number in 0..watcher.sources.len() {
            watcher.watch(number, Path::new(""));
        }
        watcher.seen = watcher.look();
        watcher
    }

    fn open(&self, number: usize, place: &Path) -> Option<Dir> {
        let place = if place.as_os_str().is_empty() { Path::new(".") } else { place };
        self.tops.get(number)?.as_ref()?.sub(place).ok()
    }

    /// What is not shown inside is not watched, nor are git's objects: a new one is named by a file that is.
    fn is_left_out(&self, number: usize, place: &Path) -> bool {
        let source = &self.sources[number];
        let path = source.src.join(place);
        source.hidden.contains(&path) || place.ends_with(".git/objects")
    }

    /// Watches a directory and all below it, through no link.
    fn watch(&mut self, number: usize, place: &Path) {
        let mut waiting = vec![place.to_owned()];
        while let Some(place) = waiting.pop() {
            if self.is_left_out(number, &place) {
                continue;
            }
            let Some(dir) = self.open(number, &place) else { continue };
            if !self.add(number, &dir, &place) {
                self.unwatched.push((number, place));
                continue;
            }
            let entries = dir.entries().unwrap_or_default();
            let directories = entries.into_iter().filter(|entry| entry.kind == FileType::Directory);
            waiting.extend(directories.map(|entry| place.join(entry.name)));
        }
    }

    fn add(&mut self, number: usize, dir: &Dir, place: &Path) -> bool {
        let Some(inotify) = self.inotify.as_ref().filter(|_| self.places.len() < MOST) else { return false };
        let flags = WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::MOVE | WatchFlags::ATTRIB;
        let path = format!("/proc/self/fd/{}", dir.as_fd().as_raw_fd());
        let watch = inotify::add_watch(inotify, path, flags | WatchFlags::ONLYDIR);
        watch.map(|watch| self.places.insert(watch, (number, place.to_owned()))).is_ok()
    }

    /// Runs until the monitor is gone.
    fn run(mut self, end: &OwnedFd) {
        let mut next_look = Instant::now() + LOOK;
        let mut repeats = 0;
        // What changed before it was watched.
        self.refresh();
        loop {
            let look = (!self.unwatched.is_empty()).then(|| next_look.saturating_duration_since(Instant::now()));
            let repeat = (repeats > 0).then_some(Duration::ZERO);
            let changed = match self.wait(end, look.into_iter().chain(repeat).min()) {
                Woken::End => return,
                Woken::Changed => self.take_events(),
                Woken::Time => look.is_some_and(|pause| pause.is_zero()) && self.has_changed(&mut next_look),
            };
            if changed {
                // Whoever replaces one file often replaces more.
                if ended_within(end, SETTLE) {
                    return;
                }
                self.take_events();
                repeats = REPEATS;
            } else if repeats == 0 {
                continue;
            } else {
                repeats -= 1;
            }
            self.refresh();
            if ended_within(end, PAUSE) {
                return;
            }
        }
    }

    /// Looks at what is not watched, and says when to look again.
    fn has_changed(&mut self, next_look: &mut Instant) -> bool {
        let begun = Instant::now();
        let now = self.look();
        *next_look = Instant::now() + LOOK.max(begun.elapsed() * 20);
        let changed = now.is_none() || now != self.seen;
        self.seen = now;
        changed
    }

    fn wait(&self, end: &OwnedFd, pause: Option<Duration>) -> Woken {
        let mut fds = vec![PollFd::new(end, PollFlags::IN)];
        fds.extend(self.inotify.as_ref().map(|inotify| PollFd::new(inotify, PollFlags::IN)));
        let pause = pause.and_then(|pause| Timespec::try_from(pause).ok());
        match rustix::event::poll(&mut fds, pause.as_ref()) {
            Ok(0) => Woken::Time,
            Ok(_) if !fds[0].revents().is_empty() => Woken::End,
            _ => Woken::Changed,
        }
    }

    /// Reads what happened, and watches new directories. Tells whether there was anything.
    fn take_events(&mut self) -> bool {
        use std::os::unix::ffi::OsStrExt;
        let Some(inotify) = &self.inotify else { return false };
        let mut space = [std::mem::MaybeUninit::uninit(); 16 * 1024];
        let mut reader = inotify::Reader::new(inotify, &mut space);
        let (mut any, mut new, mut gone) = (false, Vec::new(), Vec::new());
        while let Ok(event) = reader.next() {
            let flags = event.events();
            if flags.contains(inotify::ReadFlags::IGNORED) {
                gone.push(event.wd());
                continue;
            }
            any = true;
            if flags.contains(inotify::ReadFlags::ISDIR)
                && flags.intersects(inotify::ReadFlags::CREATE | inotify::ReadFlags::MOVED_TO)
                && let (Some((number, place)), Some(name)) = (self.places.get(&event.wd()), event.file_name())
            {
                new.push((*number, place.join(std::ffi::OsStr::from_bytes(name.to_bytes()))));
            }
        }
        for watch in gone {
            self.places.remove(&watch);
        }
        for (number, place) in new {
            self.watch(number, &place);
        }
        any
    }

    /// A number that changes when a name comes or goes below a directory that is not watched; nothing if there are too
    /// many of them.
    fn look(&self) -> Option<u64> {
        let mut hasher = DefaultHasher::new();
        let mut waiting = self.unwatched.clone();
        let mut looked = 0;
        while let Some((number, place)) = waiting.pop() {
            let Some(dir) = self.open(number, &place) else { continue };
            looked += 1;
            if looked > MOST_LOOKED_AT {
                return None;
            }
            if let Ok(stat) = rustix::fs::fstat(dir.as_fd()) {
                (stat.st_ino, stat.st_ctime, stat.st_ctime_nsec).hash(&mut hasher);
            }
            let entries = dir.entries().unwrap_or_default();
            let directories = entries.into_iter().filter(|entry| entry.kind == FileType::Directory);
            let below = directories.map(|entry| (number, place.join(entry.name)));
            waiting.extend(below.filter(|(number, place)| !self.is_left_out(*number, place)));
        }
        Some(hasher.finish())
    }

    /// Only a process in the namespaces that an overlay was made in may change it. A child enters them and ends.
    fn refresh(&self) {
        for source in &self.sources {
            match sys::fork() {
                Ok(Fork::Child) => {
                    let _ = source.namespaces.enter().and_then(|()| overlay::refresh(&source.dst));
                    report::end(0)
                }
                Ok(Fork::Parent(child)) => {
                    let wait = || rustix::process::waitpid(Some(child), WaitOptions::empty());
                    while let Err(rustix::io::Errno::INTR) = wait() {}
                }
                Err(_) => {}
            }
        }
    }
}

enum Woken {
    /// The monitor is gone.
    End,
    Changed,
    Time,
}

fn ended_within(end: &OwnedFd, pause: Duration) -> bool {
    let mut poll = [PollFd::new(end, PollFlags::IN)];
    let pause = Timespec::try_from(pause).ok();
    rustix::event::poll(&mut poll, pause.as_ref()).is_ok_and(|ready| ready > 0)
}
