//! A terminal for a test: a program leads a session on it, and the test types and reads.
#![allow(unsafe_code, reason = "a controlling terminal is taken between fork and exec")]

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long something may take to appear: on a host that does other things, too, everything comes late.
const PATIENCE: Duration = Duration::from_secs(60);

/// A pseudo-terminal, and the process that leads the session on it. Whoever leads is what `ssh -t` or a terminal window
/// starts; an interactive shell as the leader is what a user types into.
pub struct Pty {
    master: Option<File>,
    leader: Child,
    seen: Vec<u8>,
    /// Up to where [`Pty::expect`] has read.
    at: usize,
}

fn check(result: i32, what: &str) {
    assert!(result >= 0, "{what}: {}", std::io::Error::last_os_error());
}

impl Pty {
    /// Starts the leader of a new session on a new terminal, 24 lines of 80 columns.
    pub fn start(mut command: Command) -> Pty {
        let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
        // SAFETY: takes numbers only.
        let fd = unsafe { libc::posix_openpt(flags) };
        check(fd, "posix_openpt");
        // SAFETY: the descriptor is new and nobody else's.
        let master = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
        let mut name = [0 as libc::c_char; 64];
        // SAFETY: the name has the length that is given.
        unsafe {
            check(libc::grantpt(fd), "grantpt");
            check(libc::unlockpt(fd), "unlockpt");
            assert_eq!(libc::ptsname_r(fd, name.as_mut_ptr(), name.len()), 0);
        }
        // SAFETY: ptsname_r has written a C string.
        let name = unsafe { std::ffi::CStr::from_ptr(name.as_ptr()) }.to_str().unwrap().to_owned();
        let open = || {
            use std::os::unix::fs::OpenOptionsExt;
            OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOCTTY).open(&name).unwrap()
        };
        command.stdin(Stdio::from(open())).stdout(Stdio::from(open())).stderr(Stdio::from(open()));
        // SAFETY: all of these calls may be made between fork and exec.
        unsafe {
            command.pre_exec(|| {
                // Whoever runs the suite in the background has these ignored, and that is inherited.
                for signal in [libc::SIGINT, libc::SIGQUIT, libc::SIGHUP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU] {
                    libc::signal(signal, libc::SIG_DFL);
                }
                match libc::setsid() >= 0 && libc::ioctl(0, libc::TIOCSCTTY, 0) >= 0 {
                    true => Ok(()),
                    false => Err(std::io::Error::last_os_error()),
                }
            });
        }
        set_size(&master, 24, 80);
        let leader = command.spawn().unwrap();
        drop(command);
        Pty { master: Some(master), leader, seen: Vec::new(), at: 0 }
    }

    /// An interactive bash with job control, whose prompt is `READY> `, in the directory and environment of `command`.
    pub fn shell(mut environment: Command) -> Pty {
        environment.args(["--norc", "--noprofile", "-i"]).env("PS1", "READY> ").env("TERM", "xterm");
        environment.env_remove("HISTFILE");
        let mut pty = Pty::start(environment);
        pty.expect("READY> ");
        pty
    }

    /// Types.
    pub fn send(&mut self, keys: &str) {
        self.master.as_mut().unwrap().write_all(keys.as_bytes()).unwrap();
    }

    /// Types a line and the return key.
    pub fn line(&mut self, line: &str) {
        self.send(&format!("{line}\r"));
    }

    /// Reads until `text` has appeared, after what was expected last; gives what came before it.
    pub fn expect(&mut self, text: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let new = &self.seen[self.at..];
            if let Some(at) = memchr::memmem::find(new, text.as_bytes()) {
                let before = String::from_utf8_lossy(&new[..at]).into_owned();
                self.at += at + text.len();
                return before;
            }
            let is_over = !self.read(end.saturating_duration_since(Instant::now()));
            assert!(!is_over && Instant::now() < end, "'{text}' did not come; all that came: {}", self.all());
        }
    }

    /// All that has appeared.
    pub fn all(&self) -> String {
        String::from_utf8_lossy(&self.seen).into_owned()
    }

    /// Reads what there is, waiting for it at most so long; `false` once nobody has the terminal any more.
    fn read(&mut self, pause: Duration) -> bool {
        let Some(master) = &mut self.master else { return false };
        let mut poll = libc::pollfd { fd: master.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one whole structure.
        if unsafe { libc::poll(&raw mut poll, 1, pause.as_millis().min(1000) as i32) } <= 0 {
            return true;
        }
        let mut space = [0u8; 4096];
        match master.read(&mut space) {
            Ok(length @ 1..) => {
                self.seen.extend_from_slice(&space[..length]);
                true
            }
            _ => false,
        }
    }

    /// Whether what is typed is shown, and handed over line by line: what a shell finds in good order.
    pub fn is_cooked(&self) -> bool {
        // SAFETY: all-zero is a valid termios, and it is a whole one.
        let (mut modes, fd) =
            (unsafe { std::mem::zeroed::<libc::termios>() }, self.master.as_ref().unwrap().as_raw_fd());
        // SAFETY: as above.
        check(unsafe { libc::tcgetattr(fd, &raw mut modes) }, "tcgetattr");
        modes.c_lflag & (libc::ECHO | libc::ICANON) == libc::ECHO | libc::ICANON
    }

    /// Gives the window another size.
    pub fn resize(&self, rows: u16, columns: u16) {
        set_size(self.master.as_ref().unwrap(), rows, columns);
    }

    /// The terminal goes away, as when its window is closed or the line is cut.
    pub fn hang_up(&mut self) {
        self.master = None;
    }

    /// Waits for the end of the leader.
    pub fn wait(&mut self) -> ExitStatus {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.leader.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "the leader did not end; all that came: {}", self.all());
            // What it prints must not keep it.
            if !self.read(Duration::from_millis(20)) {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        self.hang_up();
        // A shell that is killed leaves what it has in the background, and what ignores the end of its terminal stays. Its
        // number is nobody else's until it has been waited for.
        if matches!(self.leader.try_wait(), Ok(None)) {
            for pid in session(self.leader.id()) {
                // SAFETY: takes numbers only.
                unsafe { libc::kill(pid, libc::SIGKILL) };
            }
        }
        let _ = self.leader.kill();
        let _ = self.leader.wait();
    }
}

/// The processes of a session.
fn session(leader: u32) -> Vec<i32> {
    let pids =
        std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_in_it = |pid: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        fields.split_whitespace().nth(3) == Some(leader.to_string().as_str())
    };
    pids.filter(is_in_it).collect()
}

fn set_size(master: &File, rows: u16, columns: u16) {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the structure is whole and outlives the call.
    check(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) }, "TIOCSWINSZ");
}
