//! Where a value comes from, and whether what comes is one.

use libsbox::inner_source;
use libsbox::model::secret::Wanted;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long a command may take: it may ask its maker's server for a new token.
const PATIENCE: Duration = Duration::from_secs(60);

/// No key is longer; what is longer is another file.
const LONGEST: u64 = 16 * 1024;

/// What is shorter occurs in any text by chance, and could not be known again in one.
const SHORTEST: usize = 8;

pub enum Source {
    Value(String),
    /// A file, and what an agent can write.
    File(PathBuf, Vec<PathBuf>),
    Command(String),
}

impl Source {
    pub fn of(wanted: &Wanted) -> Source {
        match (&wanted.value, &wanted.file, &wanted.command) {
            (_, Some(file), _) => Source::File(file.clone(), wanted.writable.clone()),
            (_, _, Some(command)) => Source::Command(command.clone()),
            (value, _, _) => Source::Value(value.clone().unwrap_or_default()),
        }
    }

    /// The value, or a reason in words, which has nothing of it.
    pub fn get(&self) -> Result<String, String> {
        let bytes = match self {
            Source::Value(value) => value.clone().into_bytes(),
            Source::File(path, writable) => read(path, writable)?,
            Source::Command(line) => output(line)?,
        };
        let text = String::from_utf8(bytes).map_err(|_| String::from("its value is not text"))?;
        let text = text.trim();
        if text.is_empty() {
            return Err("its value is empty".into());
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') {
            return Err("its value has characters that no header can have, or more than one line".into());
        }
        if text.len() < SHORTEST {
            return Err(format!("its value has less than {SHORTEST} characters"));
        }
        Ok(text.to_owned())
    }
}

fn read(path: &Path, writable: &[PathBuf]) -> Result<Vec<u8>, String> {
    let shown = libsbox::escape::visible_path(path);
    let failed = |error: std::io::Error| format!("cannot read '{shown}': {}", libsbox::error::reason(&error));
    // Each time that it is read: an agent that could write a step on the way would choose what goes to a key's host.
    let file = inner_source::open_apart(path, writable).map_err(|place| {
        format!("'{shown}' leads through '{}', which the agent can write", libsbox::escape::visible_path(&place))
    })?;
    let file = std::fs::File::from(file.map_err(failed)?);
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(format!("'{shown}' is not a file"));
    }
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > LONGEST {
        return Err(format!("'{shown}' is too long for a key"));
    }
    Ok(bytes)
}

/// What a command prints. Its stderr is the launcher's while that waits, and nobody's afterwards.
fn output(line: &str) -> Result<Vec<u8>, String> {
    let failed = |error: std::io::Error| format!("cannot start its command: {}", libsbox::error::reason(&error));
    // A group of its own: what hangs is ended with all that it has started.
    let mut child = Command::new("/bin/sh")
        .args(["-c", line])
        // Always the same: at the first time it would be the caller's, in which the agent may have put a program.
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(failed)?;
    let end = Instant::now() + PATIENCE;
    let (mut bytes, mut stdout) = (Vec::new(), child.stdout.take());
    let status = loop {
        if let Some(from) = &mut stdout {
            use rustix::event::{PollFd, PollFlags, Timespec};
            let pause = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
            let ready = rustix::event::poll(&mut [PollFd::new(from, PollFlags::IN)], Some(&pause)).unwrap_or(0) > 0;
            let mut space = [0; 4096];
            match ready.then(|| from.read(&mut space)) {
                Some(Ok(0) | Err(_)) => stdout = None,
                Some(Ok(count)) if bytes.len() as u64 <= LONGEST => bytes.extend_from_slice(&space[..count]),
                _ => {}
            }
        } else {
            std::thread::sleep(Duration::from_millis(5));
        }
        match child.try_wait() {
            Ok(Some(status)) if stdout.is_none() => break status,
            Ok(_) if Instant::now() < end => {}
            _ => {
                if let Some(group) = rustix::process::Pid::from_raw(child.id() as i32) {
                    let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
                }
                let _ = child.wait();
                return Err(format!("its command did not end within {} seconds", PATIENCE.as_secs()));
            }
        }
    };
    match status.success() {
        true if bytes.len() as u64 <= LONGEST => Ok(bytes),
        true => Err("its command prints too much for a key".into()),
        false => Err(format!("its command failed (exit code {})", libsbox::status::of(status))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_header_can_have_is_no_value() {
        for (text, is_one) in [
            ("sk-12345678\n", true),
            ("short", false),
            ("", false),
            ("two\nlines-of-it", false),
            ("sk-\u{e9}1234567", false),
        ] {
            assert_eq!(Source::Value(text.into()).get().is_ok(), is_one, "{text:?}");
        }
    }

    #[test]
    fn a_pipe_in_the_place_of_a_file_is_refused_at_once() {
        let place = std::env::temp_dir().join(format!("sbox-secret-pipe-{}", std::process::id()));
        let made = Command::new("mkfifo").arg(&place).status().unwrap();
        assert!(made.success());
        assert!(read(&place, &[]).unwrap_err().contains("is not a file"));
        std::fs::remove_file(&place).unwrap();
    }

    #[test]
    fn a_command_that_fails_has_no_value_and_says_nothing_of_what_it_printed() {
        assert_eq!(Source::Command("echo sk-123456789".into()).get().as_deref(), Ok("sk-123456789"));
        let why = Source::Command("echo sk-123456789; exit 3".into()).get().unwrap_err();
        assert_eq!(why, "its command failed (exit code 3)");
    }

    #[test]
    fn a_file_on_whose_way_an_agent_can_write_is_not_read() {
        let base = std::env::temp_dir().join(format!("sbox-secret-way-{}", std::process::id()));
        std::fs::create_dir_all(base.join("agents")).unwrap();
        std::fs::write(base.join("key"), "sk-0123456789").unwrap();
        std::os::unix::fs::symlink("../key", base.join("agents/key")).unwrap();
        assert_eq!(read(&base.join("key"), &[base.join("agents")]).unwrap(), b"sk-0123456789");
        let why = read(&base.join("agents/key"), &[base.join("agents")]).unwrap_err();
        assert!(why.ends_with("which the agent can write"), "{why}");
        std::fs::remove_dir_all(base).unwrap();
    }

    #[test]
    fn a_command_runs_in_the_root_at_the_first_time_too() {
        assert_eq!(Source::Command("echo in:$(pwd):here".into()).get().as_deref(), Ok("in:/:here"));
    }
}
