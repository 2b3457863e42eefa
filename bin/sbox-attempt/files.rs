//! Reading what is not mounted, and writing what is not writable.

use crate::{Attempt, Fixtures, Outcome, Tried};
use libsbox::sys::attempt;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, XattrFlags};
use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

pub const ATTEMPTS: &[Attempt] = &[
    Attempt {
        class: "files",
        name: "read-secret",
        what: "read a file that is not mounted",
        run: |f| read(f.get("secret")?),
    },
    Attempt {
        class: "files",
        name: "stat-secret",
        what: "see that it exists",
        run: |f| fs::symlink_metadata(f.get("secret")?).map(|m| format!("{} bytes", m.len())).map_err(Outcome::from),
    },
    Attempt { class: "files", name: "list-secret", what: "list its directory", run: list_secret },
    Attempt {
        class: "files",
        name: "link-to-secret",
        what: "read it through its own symbolic link",
        run: through_a_link,
    },
    Attempt {
        class: "files",
        name: "hard-link-secret",
        what: "make a hard link to it",
        run: |f| {
            fs::hard_link(f.get("secret")?, work(f)?.join("hard")).map(|()| "linked".into()).map_err(Outcome::from)
        },
    },
    Attempt {
        class: "files",
        name: "dots-to-secret",
        what: "climb to it with '..'",
        run: |f| read(&format!("{}/{}{}", f.get("work")?, "../".repeat(30), f.get("secret")?)),
    },
    Attempt {
        class: "files",
        name: "secret-in-proc-root",
        what: "reach it through /proc/1/root",
        run: |f| read(&format!("/proc/1/root{}", f.get("secret")?)),
    },
    Attempt {
        class: "files",
        name: "secret-in-other-root",
        what: "reach it through another process's root",
        run: |f| read(&format!("/proc/{}/root{}", f.get("pid")?, f.get("secret")?)),
    },
    Attempt {
        class: "files",
        name: "inherited-descriptors",
        what: "find an open file of the caller's",
        run: descriptors,
    },
    Attempt {
        class: "files",
        name: "host-homes",
        what: "list the homes of the host",
        run: |_| {
            fs::read_dir("/root").or_else(|_| fs::read_dir("/var/lib")).map(|_| "listed".into()).map_err(Outcome::from)
        },
    },
    Attempt {
        class: "files",
        name: "host-devices",
        what: "look at the host's devices in /sys",
        run: |_| fs::read_dir("/sys/class").map(|_| "listed".into()).map_err(Outcome::from),
    },
    Attempt { class: "files", name: "host-accounts", what: "read the host's list of accounts", run: accounts },
    Attempt { class: "files", name: "host-mounts", what: "see in mountinfo where mounts come from", run: mountinfo },
    Attempt {
        class: "files",
        name: "disk-device",
        what: "make a device node",
        run: |f| {
            rustix::fs::mknodat(
                CWD,
                work(f)?.join("disk"),
                FileType::BlockDevice,
                Mode::from_raw_mode(0o600),
                rustix::fs::makedev(7, 0),
            )
            .map(|()| "made".into())
            .map_err(Outcome::from)
        },
    },
    Attempt {
        class: "writes",
        name: "write-read-only",
        what: "write to a read-only mount",
        run: |f| OpenOptions::new().append(true).open(data(f)?).map(|_| "opened".into()).map_err(Outcome::from),
    },
    Attempt {
        class: "writes",
        name: "truncate-read-only",
        what: "truncate a file of it",
        run: |f| {
            // To the size that it has: nothing is lost, should it be possible.
            let size = fs::metadata(data(f)?).map_err(Outcome::from)?.len();
            attempt::truncate(&data(f)?, size).map(|()| "truncated".into()).map_err(Outcome::from)
        },
    },
    Attempt {
        class: "writes",
        name: "truncate-by-reading",
        what: "empty a file of it by opening it for reading",
        run: |f| {
            let flags = OFlags::RDONLY | OFlags::TRUNC;
            rustix::fs::open(data(f)?, flags, Mode::empty()).map(|_| "emptied".into()).map_err(Outcome::from)
        },
    },
    Attempt {
        class: "writes",
        name: "truncate-unmounted",
        what: "truncate a file that is not mounted",
        run: |f| attempt::truncate(Path::new(f.get("secret")?), 8).map(|()| "truncated".into()).map_err(Outcome::from),
    },
    Attempt {
        class: "writes",
        name: "chmod-read-only",
        what: "change the mode of a file of it",
        run: |f| {
            fs::set_permissions(data(f)?, Permissions::from_mode(0o644))
                .map(|()| "changed".into())
                .map_err(Outcome::from)
        },
    },
    Attempt { class: "writes", name: "touch-read-only", what: "change the times of a file of it", run: touch },
    Attempt {
        class: "writes",
        name: "xattr-read-only",
        what: "give a file of it an attribute",
        run: |f| {
            rustix::fs::setxattr(data(f)?, "user.sbox", b"x", XattrFlags::empty())
                .map(|()| "set".into())
                .map_err(Outcome::from)
        },
    },
    Attempt {
        class: "writes",
        name: "mkdir-read-only",
        what: "make a directory in it",
        run: |f| fs::create_dir(data(f)?.with_file_name("made")).map(|()| "made".into()).map_err(Outcome::from),
    },
    Attempt {
        class: "writes",
        name: "link-read-only",
        what: "make a link in it",
        run: |f| symlink("x", data(f)?.with_file_name("link")).map(|()| "made".into()).map_err(Outcome::from),
    },
    Attempt {
        class: "writes",
        name: "rename-read-only",
        what: "rename a file of it",
        run: |f| {
            let file = data(f)?;
            fs::rename(&file, file.with_file_name("other"))
                .and_then(|()| fs::rename(file.with_file_name("other"), &file))
                .map(|()| "renamed".into())
                .map_err(Outcome::from)
        },
    },
    Attempt {
        class: "writes",
        name: "change-program",
        what: "change a program in /usr",
        run: |_| OpenOptions::new().append(true).open("/usr/bin/env").map(|_| "opened".into()).map_err(Outcome::from),
    },
    Attempt {
        class: "writes",
        name: "core-pattern",
        what: "set what runs when a program crashes",
        run: |_| {
            OpenOptions::new()
                .append(true)
                .open("/proc/sys/kernel/core_pattern")
                .map(|_| "opened".into())
                .map_err(Outcome::from)
        },
    },
    Attempt {
        class: "writes",
        name: "sysrq",
        what: "open the kernel's emergency keys",
        run: |_| {
            OpenOptions::new().append(true).open("/proc/sysrq-trigger").map(|_| "opened".into()).map_err(Outcome::from)
        },
    },
    Attempt {
        class: "writes",
        name: "set-uid",
        what: "leave a set-uid program in a mount",
        run: |f| {
            let file = work(f)?.join("suid");
            fs::write(&file, "x")?;
            fs::set_permissions(&file, Permissions::from_mode(0o4755)).map(|()| "set".into()).map_err(Outcome::from)
        },
    },
    Attempt {
        class: "writes",
        name: "set-uid-at-birth",
        what: "make one that is set-uid from the beginning",
        run: |f| {
            rustix::fs::open(work(f)?.join("born"), OFlags::WRONLY | OFlags::CREATE, Mode::from_raw_mode(0o4755))
                .map(|_| "made".into())
                .map_err(Outcome::from)
        },
    },
    Attempt {
        class: "writes",
        name: "set-uid-unseen",
        what: "leave one that was made with a call whose mode no filter sees",
        run: set_uid_unseen,
    },
    Attempt {
        class: "working tree",
        name: "git-hook",
        what: "plant a git hook in a mount",
        run: |f| {
            fs::write(work(f)?.join(".git/hooks/pre-commit"), "x").map(|()| "written".into()).map_err(Outcome::from)
        },
    },
    Attempt {
        class: "working tree",
        name: "git-config",
        what: "change the configuration of a repository",
        run: |f| {
            OpenOptions::new()
                .append(true)
                .open(work(f)?.join(".git/config"))
                .map(|_| "opened".into())
                .map_err(Outcome::from)
        },
    },
    Attempt {
        class: "working tree",
        name: "nested-git-hook",
        what: "plant a hook in a repository further below",
        run: |f| {
            fs::write(work(f)?.join("deep/below/.git/hooks/pre-commit"), "x")
                .map(|()| "written".into())
                .map_err(Outcome::from)
        },
    },
    Attempt {
        class: "working tree",
        name: "swap-git",
        what: "swap '.git' for another",
        run: |f| {
            let git = work(f)?.join(".git");
            fs::rename(&git, git.with_file_name("old"))
                .and_then(|()| fs::rename(git.with_file_name("old"), &git))
                .map(|()| "moved".into())
                .map_err(Outcome::from)
        },
    },
    Attempt {
        class: "working tree",
        name: "direnv",
        what: "change a file for direnv",
        run: |f| {
            OpenOptions::new()
                .append(true)
                .open(work(f)?.join(".envrc"))
                .map(|_| "opened".into())
                .map_err(Outcome::from)
        },
    },
    Attempt {
        class: "working tree",
        name: "editor-settings",
        what: "add a task to an editor's settings",
        run: |f| fs::write(work(f)?.join(".vscode/tasks.json"), "{}").map(|()| "written".into()).map_err(Outcome::from),
    },
    Attempt {
        class: "working tree",
        name: "agent-settings",
        what: "change the settings of a coding agent",
        run: |f| {
            fs::write(work(f)?.join(".claude/settings.json"), "{}").map(|()| "written".into()).map_err(Outcome::from)
        },
    },
    Attempt {
        class: "working tree",
        name: "own-configuration",
        what: "change the configuration that confines it",
        run: |f| {
            fs::write(work(f)?.join("deep/.sbox/config.yaml"), "x").map(|()| "written".into()).map_err(Outcome::from)
        },
    },
    Attempt {
        class: "working tree",
        name: "chmod-unmounted",
        what: "change the mode of a file that is not mounted",
        run: |f| {
            let secret = f.get("secret")?;
            // To what it is: nothing changes, whatever the boundary does.
            fs::metadata(secret)
                .and_then(|metadata| fs::set_permissions(secret, metadata.permissions()))
                .map(|()| "changed".into())
                .map_err(Outcome::from)
        },
    },
];

fn read(path: &str) -> Tried {
    let bytes = fs::read(path)?;
    Ok(format!("{} bytes", bytes.len()))
}

fn data(fixtures: &Fixtures) -> Result<PathBuf, Outcome> {
    Ok(Path::new(fixtures.get("data")?).join("file"))
}

fn work(fixtures: &Fixtures) -> Result<PathBuf, Outcome> {
    Ok(PathBuf::from(fixtures.get("work")?))
}

fn list_secret(fixtures: &Fixtures) -> Tried {
    let secret = Path::new(fixtures.get("secret")?);
    let names = fs::read_dir(secret.parent().unwrap_or(secret))?.flatten();
    match names.into_iter().any(|entry| Some(entry.file_name().as_os_str()) == secret.file_name()) {
        true => Ok("it is in the list".into()),
        false => Err(Outcome::Refused("it is not in the list".into())),
    }
}

fn through_a_link(fixtures: &Fixtures) -> Tried {
    let link = work(fixtures)?.join("link-to-secret");
    let _ = fs::remove_file(&link);
    symlink(fixtures.get("secret")?, &link)?;
    read(&link.to_string_lossy())
}

/// Whether a descriptor above 2 leads to what is not mounted.
fn descriptors(_: &Fixtures) -> Tried {
    for fd in 3..64 {
        let target = fs::read_link(format!("/proc/self/fd/{fd}"));
        if let Ok(target) = target
            && target.is_absolute()
            && !target.starts_with("/proc")
            && File::open(format!("/proc/self/fd/{fd}")).is_ok()
        {
            return Ok(target.display().to_string());
        }
    }
    Err(Outcome::Refused("none is open".into()))
}

fn accounts(_: &Fixtures) -> Tried {
    let count = fs::read_to_string("/etc/passwd")?.lines().count();
    if count > 2 { Ok(format!("{count} accounts")) } else { Err(Outcome::Refused("it lists no other users".into())) }
}

/// Places of the host's that no sandbox has, but for the fixtures.
fn mountinfo(fixtures: &Fixtures) -> Tried {
    let text = fs::read_to_string("/proc/self/mountinfo")?;
    let own = work(fixtures)?;
    let own = own.parent().unwrap_or(&own);
    let of_host = |line: &&str| {
        let place = Path::new(line.split(' ').nth(4).unwrap_or_default());
        let known = ["/root", "/var", "/boot", "/sys", "/run"].iter().any(|host| place.starts_with(host));
        known && !place.starts_with(own) && !own.starts_with(place)
    };
    match text.lines().find(of_host) {
        Some(line) => Ok(line.split(' ').nth(4).unwrap_or_default().into()),
        None => Err(Outcome::Refused("no mount of the host's is listed".into())),
    }
}

/// What is made so is there for a moment; the question is whether it stays.
fn set_uid_unseen(fixtures: &Fixtures) -> Tried {
    let path = work(fixtures)?.join("unseen");
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    rustix::fs::openat2(CWD, &path, flags, Mode::from_raw_mode(0o4755), rustix::fs::ResolveFlags::empty())?;
    for _ in 0..100 {
        if fs::metadata(&path)?.permissions().mode() & 0o6000 == 0 {
            return Err(Outcome::Refused("the bit was taken away again".into()));
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    Ok("it stays".into())
}

fn touch(fixtures: &Fixtures) -> Tried {
    let now = rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
    let times = rustix::fs::Timestamps { last_access: now, last_modification: now };
    rustix::fs::utimensat(CWD, data(fixtures)?, &times, AtFlags::empty())?;
    Ok("changed".into())
}
