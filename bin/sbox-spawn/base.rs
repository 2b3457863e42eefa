//! What every sandbox has, whoever runs in it: the host's programs read-only, a small `/etc`, `/proc` and `/dev`.

use crate::etc;
use libsbox::error::Result;
use libsbox::model::SYSTEM_DIRS;
use libsbox::operation::{Access, Op};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// The same in every sandbox, so that it identifies none; a valid machine-id(5).
const MACHINE_ID: &str = "5b0c5b0c5b0c5b0c5b0c5b0c5b0c5b0c\n";

/// The device nodes that every program may use.
pub const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Of `/proc`: kept readable, since programs look there, but a write would reach the whole host when the caller is
/// real root (`core_pattern` and `sysrq-trigger` are the classics).
const PROC_READ_ONLY: [&str; 5] = ["sys", "sysrq-trigger", "irq", "bus", "fs"];

/// Of `/proc`: facts about the kernel's memory, keys and devices that no agent needs.
const PROC_MASKED: [&str; 19] = [
    "acpi",
    "asound",
    "driver",
    "iomem",
    "ioports",
    "kallsyms",
    "kcore",
    "key-users",
    "keys",
    "kmsg",
    "kpagecgroup",
    "kpagecount",
    "kpageflags",
    "latency_stats",
    "sched_debug",
    "scsi",
    "slabinfo",
    "timer_list",
    "vmallocinfo",
];

/// The base system, in order.
pub fn system(home: &Path, hostname: &OsStr, nested: bool) -> Result<Vec<Op>> {
    let mut ops = programs();
    ops.extend(etc_of_ours(home, hostname));
    ops.extend(proc(nested));
    ops.extend(dev());
    Ok(ops)
}

/// What of the host a command may read that sees its paths: programs, the same files of `/etc`, the account list that tells
/// it who it is, and `/proc`, whose files of other processes Landlock keeps from it.
pub fn readable_on_host() -> Vec<PathBuf> {
    let accounts = ["passwd", "group", "hosts", "hostname"].map(|name| Path::new("/etc").join(name));
    SYSTEM_DIRS
        .iter()
        .map(PathBuf::from)
        .chain(etc::files())
        .chain(etc::bound())
        .chain(accounts)
        .chain(["/proc".into()])
        .collect()
}

/// Where a distribution keeps its programs: real directories are bound, symbolic links (merged /usr) are repeated.
fn programs() -> Vec<Op> {
    let op = |path: &&str| {
        let path = PathBuf::from(path);
        match path.read_link() {
            Ok(target) => Some(Op::Link { dst: path, target }),
            Err(_) if path.is_dir() => Some(read_only(&path)),
            Err(_) => None,
        }
    };
    SYSTEM_DIRS.iter().filter_map(op).collect()
}

fn read_only(path: &Path) -> Op {
    Op::Bind { src: path.into(), dst: path.into(), access: Access::ReadOnly, optional: true }
}

fn etc_of_ours(home: &Path, hostname: &OsStr) -> Vec<Op> {
    let etc = Path::new("/etc");
    let mut ops = vec![Op::Tmpfs { dst: etc.into(), mode: 0o755, seal: true, size: None }];
    ops.extend(etc::files().map(|path| Op::Copy { src: path.clone(), dst: path }));
    ops.extend(etc::bound().iter().map(|path| read_only(path)));
    let file = |name: &str, content: String| Op::File { dst: etc.join(name), content };
    let (passwd, group) = accounts(home);
    ops.push(file("passwd", passwd));
    ops.push(file("group", group));
    ops.push(file("machine-id", MACHINE_ID.into()));
    ops.push(file("hostname", format!("{}\n", hostname.to_string_lossy())));
    ops.push(file("hosts", hosts(hostname)));
    ops
}

/// The host's names, and the sandbox's own.
fn hosts(hostname: &OsStr) -> String {
    let mut hosts =
        std::fs::read_to_string("/etc/hosts").unwrap_or_else(|_| "127.0.0.1 localhost\n::1 localhost\n".into());
    if !hosts.ends_with('\n') {
        hosts.push('\n');
    }
    hosts + &format!("127.0.1.1 {}\n", hostname.to_string_lossy())
}

/// An account list without the host's other users: the user, whose home is the virtual one, and the owner of what is not theirs.
fn accounts(home: &Path) -> (String, String) {
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let user = name_of(uid, "/etc/passwd").unwrap_or_else(|| "agent".into());
    let group = name_of(gid, "/etc/group").unwrap_or_else(|| user.clone());
    let shell = if Path::new("/bin/bash").exists() { "/bin/bash" } else { "/bin/sh" };
    let home = home.to_string_lossy();
    let mut passwd = format!("{user}:x:{uid}:{gid}:{user}:{home}:{shell}\n");
    let mut groups = format!("{group}:x:{gid}:\n");
    if uid != 65534 {
        passwd += "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n";
    }
    if gid != 65534 {
        groups += "nogroup:x:65534:\n";
    }
    (passwd, groups)
}

/// The name that a passwd(5) or group(5) file gives to a number: the third field of its line.
fn name_of(id: u32, file: &str) -> Option<String> {
    let text = String::from_utf8_lossy(&std::fs::read(file).ok()?).into_owned();
    let line = text.lines().find(|line| line.split(':').nth(2).and_then(|field| field.parse().ok()) == Some(id))?;
    line.split(':').next().map(str::to_owned)
}

/// A sandbox that an agent brings along needs its own /proc, which the kernel only gives to those who see the whole of
/// one. Where the agent is nobody to the kernel the covers are a second wall, and are left out for it; root's never are.
fn proc(nested: bool) -> Vec<Op> {
    let at = |name: &&str| Path::new("/proc").join(name);
    let mut ops = vec![Op::Proc { dst: "/proc".into() }];
    if nested && !rustix::process::geteuid().is_root() {
        return ops;
    }
    ops.extend(PROC_READ_ONLY.iter().map(|name| Op::RemountReadOnly { dst: at(name) }));
    ops.extend(PROC_MASKED.iter().map(|name| Op::Mask { dst: at(name) }));
    ops
}

fn dev() -> Vec<Op> {
    let at = |name: &str| Path::new("/dev").join(name);
    let mut ops = vec![Op::Tmpfs { dst: "/dev".into(), mode: 0o755, seal: true, size: None }];
    for name in DEVICES {
        ops.push(Op::Bind { src: at(name), dst: at(name), access: Access::Device, optional: name == "tty" });
    }
    ops.push(Op::Pts { dst: at("pts") });
    ops.push(Op::Tmpfs { dst: at("shm"), mode: 0o1777, seal: false, size: None });
    let links = [
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ];
    ops.extend(links.map(|(name, target)| Op::Link { dst: at(name), target: target.into() }));
    ops
}
