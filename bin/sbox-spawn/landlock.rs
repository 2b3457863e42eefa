//! Landlock: at level `namespace` a second wall behind the first, at level `landlock` the only one.
//!
//! A rule names a directory by descriptor and holds for everything beneath it; what no rule allows is denied. The rules
//! are inherited by every child and can never be taken off.

use crate::args::Mount;
use crate::sandbox::Sandbox;
use crate::{assemble, base, symlink_layout};
use landlock::{
    ABI, Access, AccessFs, BitFlags, PathBeneath, RestrictionStatus, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use libsbox::error::{Context, Error, Kind, Result};
use libsbox::escape::visible_path;
use libsbox::inner_source;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use std::path::Path;

/// The newest version of Landlock that this was tried with. What an older kernel does not know is left out.
const TRIED: ABI = ABI::V7;

/// Nothing can be opened that is not beneath the new root, whichever descriptor or link of /proc leads to it, and no
/// abstract socket of the host can be reached. With `nested` only the sockets: a process under file rules may not mount.
pub fn restrict_to_root(nested: bool) -> Result<()> {
    let ruleset = Ruleset::default().scope(Scope::AbstractUnixSocket | Scope::Signal);
    let enforced = if nested {
        ruleset.and_then(Ruleset::create).and_then(RulesetCreated::restrict_self)
    } else {
        let everything = AccessFs::from_all(TRIED);
        ruleset
            .and_then(|ruleset| ruleset.handle_access(everything))
            .and_then(Ruleset::create)
            .and_then(|ruleset| allow(ruleset, Path::new("/"), everything))
            .and_then(streams)
            .and_then(RulesetCreated::restrict_self)
    };
    // A kernel without Landlock has the namespaces still: they carry every promise but that of abstract sockets.
    enforced.map(drop).map_err(cannot)
}

/// The host's files, of which only those are left that the caller named, and the system's programs.
pub fn rules(sandbox: &Sandbox) -> Result<()> {
    let status = enforce(sandbox, sources(sandbox)?).map_err(cannot)?;
    match status.ruleset {
        RulesetStatus::NotEnforced => Err(none()),
        _ => Ok(()),
    }
}

/// The error of a kernel that has none.
pub fn none() -> Error {
    Error::of(Kind::Unavailable, "this kernel has no Landlock")
        .hint("Linux 5.13 and later have it; it must be in the list of the boot parameter 'lsm='")
}

/// What is mounted, by descriptor, and whether it is read-only. One that lies in a directory which the command may write is
/// opened beneath that: by its path, a link that was put there would be followed.
fn sources(sandbox: &Sandbox) -> Result<Vec<(OwnedFd, bool)>> {
    let writable = sandbox.args.writable_sources();
    let mut all = Vec::new();
    for mount in &sandbox.args.mounts {
        let Mount::Bind { src, read_only, .. } = mount else { continue };
        let source = inner_source::resolve(src, &writable)?;
        let fd = match source.below() {
            Some((root, name)) => assemble::open_beneath(root, name)?,
            None => rustix::fs::open(&source.path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
                .context(|| format!("open '{}'", visible_path(src)))?,
        };
        all.push((fd, *read_only));
    }
    Ok(all)
}

fn enforce(sandbox: &Sandbox, sources: Vec<(OwnedFd, bool)>) -> Result<RestrictionStatus, RulesetError> {
    let all = AccessFs::from_all(TRIED);
    // Everything but what makes device nodes.
    let write = all & !(AccessFs::MakeChar | AccessFs::MakeBlock);
    let read = BitFlags::from(AccessFs::ReadFile) | AccessFs::ReadDir | AccessFs::Execute;
    let device = BitFlags::from(AccessFs::ReadFile) | AccessFs::WriteFile | AccessFs::IoctlDev;
    let device_tree = device | AccessFs::ReadDir;
    let mut ruleset =
        Ruleset::default().handle_access(all)?.scope(Scope::AbstractUnixSocket | Scope::Signal)?.create()?;
    for path in base::readable_on_host() {
        ruleset = allow(ruleset, &path, read)?;
    }
    for name in base::DEVICES {
        ruleset = allow(ruleset, &Path::new("/dev").join(name), device)?;
    }
    for (device, _) in &sandbox.args.devices {
        ruleset = allow(ruleset, device, device_tree)?;
    }
    for path in symlink_layout::own(sandbox) {
        ruleset = allow(ruleset, &path, write)?;
    }
    for (fd, read_only) in sources {
        ruleset = allow_descriptor(ruleset, &fd, if read_only { read } else { write })?;
    }
    streams(ruleset)?.restrict_self()
}

/// A rule for what is at `path`, if anything is.
fn allow(ruleset: RulesetCreated, path: &Path, access: BitFlags<AccessFs>) -> Result<RulesetCreated, RulesetError> {
    match rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
        Ok(fd) => allow_descriptor(ruleset, &fd, access),
        Err(_) => Ok(ruleset),
    }
}

fn allow_descriptor(
    ruleset: RulesetCreated,
    fd: &OwnedFd,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    let is_directory =
        rustix::fs::fstat(fd).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory);
    let access = if is_directory { access } else { access & AccessFs::from_file(TRIED) };
    ruleset.add_rule(PathBeneath::new(fd, access))
}

/// The standard streams may be opened again (`/dev/stdout`), for what they were opened for and no more: a file that the
/// caller gave for reading stays one for reading.
fn streams(mut ruleset: RulesetCreated) -> Result<RulesetCreated, RulesetError> {
    for stream in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
        if let Some((fd, access)) = stream_rule(stream) {
            ruleset = allow_descriptor(ruleset, &fd, access)?;
        }
    }
    Ok(ruleset)
}

fn stream_rule(stream: BorrowedFd<'_>) -> Option<(OwnedFd, BitFlags<AccessFs>)> {
    use std::os::fd::AsRawFd;
    let kind = FileType::from_raw_mode(rustix::fs::fstat(stream).ok()?.st_mode);
    // Pipes and sockets have no place in a tree, and Landlock lets them be.
    if !matches!(kind, FileType::RegularFile | FileType::CharacterDevice) {
        return None;
    }
    // By the number of this process: the sandbox's own /proc has it.
    let path = format!("/proc/self/fd/{}", stream.as_fd().as_raw_fd());
    if std::fs::read_link(&path).is_ok_and(|target| target.as_os_str().as_encoded_bytes().starts_with(b"/memfd:")) {
        // Nor has a file in memory only, and a rule for it is an error.
        return None;
    }
    let flags = rustix::fs::fcntl_getfl(stream).ok()?;
    let mut access = BitFlags::from(AccessFs::IoctlDev);
    match flags & OFlags::RWMODE {
        OFlags::RDONLY => access |= AccessFs::ReadFile,
        OFlags::WRONLY => access |= AccessFs::WriteFile | AccessFs::Truncate,
        _ => access |= AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Truncate,
    }
    let fd = rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?;
    Some((fd, access))
}

fn cannot(error: RulesetError) -> Error {
    Error::new(format!("cannot restrict files with Landlock: {error}"))
}
