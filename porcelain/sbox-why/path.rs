//! Whether a path is there, and by what.

use crate::answer::{Answer, By};
use crate::line::item;
use crate::{Facts, absolute, weaker};
use libsbox::config::MountEntry;
use libsbox::error::Result;
use libsbox::host_triggers;
use libsbox::locate::Step;
use libsbox::model;
use libsbox::operation::{Access, Op};
use libsbox::plumbing::in_home;
use libsbox::view::{Found, Lack, Missing, View, Way};
use std::path::Path;

pub fn answer(facts: &Facts, asked: &Path) -> Result<Answer> {
    let (path, is_hosts) = match facts.no_host {
        // As a command inside would take it.
        true => (Path::new(&facts.config.workdir).join(asked), false),
        false => absolute(asked)?,
    };
    let shown = asked.to_string_lossy().into_owned();
    if facts.level != "namespace" {
        return Ok(weaker::answer(facts, &shown, &path));
    }
    let view = facts.view()?;
    let real = path.canonicalize().ok().filter(|_| !facts.no_host);
    let own = real.clone().unwrap_or_else(|| path.clone());
    let places = if facts.no_host { Vec::new() } else { view.shows(&own) };
    // What a person names by a path of the host is the file there, wherever it is inside.
    let inside = if is_hosts { places.first().cloned().unwrap_or_else(|| path.clone()) } else { path.clone() };
    let mut answer = match view.find(&inside) {
        Ok(found) => there(facts, &shown, &found),
        Err(missing) => not_there(facts, &view, &shown, &inside, &missing, real.as_deref()),
    };
    let own_place = answer.path.clone();
    answer.also_at = places.iter().map(|place| place.display().to_string()).collect();
    answer.also_at.retain(|place| Some(place) != own_place.as_ref() && *place != inside.display().to_string());
    if let Some(what) = model::is_private(&own).filter(|_| !answer.changes.is_empty() && !answer.yes) {
        answer.note(format!("careful: {what}"));
    }
    Ok(answer)
}

fn there(facts: &Facts, asked: &str, found: &Found<'_>) -> Answer {
    let way = way(facts, found);
    let mut answer = match way {
        Way::Covered => Answer::new(
            "path",
            asked,
            false,
            "covered: something is there, and the agent sees nothing of it",
            by(facts, found),
        ),
        way => Answer::new("path", asked, true, format!("there, {}", way.name()), by(facts, found)),
    };
    answer.access = Some(way.name());
    answer.path = Some(found.path.display().to_string());
    answer.host_path = found.host.as_ref().filter(|_| !facts.no_host).map(|host| host.display().to_string());
    if found.is_changed {
        answer.note("the agent has a version of its own: sbox diff");
    }
    if way == Way::Kernel {
        answer.note("what is there depends on who asks: the agent's own processes, and nothing of the host's");
    }
    if let Some(Op::RemountReadOnly { dst }) = found.sealed_by
        && let Some((trigger, _)) = host_triggers::judge(dst)
    {
        answer.note(format!("programs of the host act on it: {}", trigger.reason));
    }
    let entry = found.by.and_then(|op| mount_of(facts, op));
    match (way, entry, found.sealed_by) {
        (Way::ReadOnly, Some((_, mount)), None) if mount.src.is_dir() => {
            answer.change("to let the agent change it, and keep the host's as it is", entry_as(mount, "cow"));
            answer.change("to let the agent change it on the host", entry_as(mount, "rw"));
        }
        (Way::ReadOnly, Some((_, mount)), None) => {
            answer.change("to let the agent change it on the host", entry_as(mount, "rw"))
        }
        (Way::ReadOnly, Some((_, mount)), Some(_)) => {
            answer.change("to let the agent change it, and keep the host's as it is", entry_as(mount, "cow"))
        }
        (Way::ReadWrite | Way::CopyOnWrite, Some((_, mount)), _) => {
            answer.change("to let the agent only read it", entry_as(mount, "ro"))
        }
        _ => {}
    }
    answer
}

/// The access; a copy-on-write mount that no run has used yet is planned as a read-only one, and a private copy as a
/// read-write one.
fn way(facts: &Facts, found: &Found<'_>) -> Way {
    let is_cow = || found.by.and_then(|op| mount_of(facts, op)).is_some_and(|(_, mount)| mount.is_copy_on_write());
    match found.way {
        Way::ReadOnly | Way::ReadWrite if found.sealed_by.is_none() && is_cow() => Way::CopyOnWrite,
        way => way,
    }
}

/// Which entry of `mount` an operation is of.
fn mount_of<'a>(facts: &'a Facts, op: &Op) -> Option<(usize, &'a MountEntry)> {
    if !matches!(op, Op::Bind { .. } | Op::BindBeneath { .. } | Op::Overlay { .. }) {
        return None;
    }
    let inside = libsbox::built::Built::seen_from_inside(&facts.project);
    let is_at = |dst: &Path, mount: &MountEntry| {
        // What is mounted below `/home` is mounted below HOME.
        dst == op.dst()
            || dst.strip_prefix("/home").is_ok_and(|rest| inside.home().join(rest) == op.dst())
                && !mount.src.as_os_str().is_empty()
    };
    facts.config.mount.iter().enumerate().rev().find(|(_, mount)| {
        let place = in_home::place(&facts.project, &facts.config, mount);
        is_at(place.as_ref().unwrap_or(&mount.dst), mount)
    })
}

/// Who says that it is there, and like that.
pub fn by(facts: &Facts, found: &Found<'_>) -> By {
    let Some(op) = found.by else { return By::built_in("a directory on the way to what is mounted below it") };
    if let Some(Op::RemountReadOnly { dst }) = found.sealed_by
        && !dst.starts_with("/proc")
    {
        return By::built_in(format!("'{}' is kept as it is, in a mount that the agent can write", dst.display()));
    }
    by_op(facts, op, &found.path)
}

fn by_op(facts: &Facts, op: &Op, path: &Path) -> By {
    if let Some((index, _)) = mount_of(facts, op) {
        return facts.lines.by(&[Step::Key("mount".into()), Step::Index(index)]);
    }
    let dst = op.dst();
    match op {
        Op::BindBeneath { root, name, access: Access::ReadOnly, .. } if root.join(name) == facts.project.config() => {
            By::built_in("the configuration shows in a working tree, read-only, so that git does not see it deleted")
        }
        Op::BindBeneath { root, name, .. } if root.join(name) == facts.project.env() => {
            let mut by = facts.lines.by_key("runtime", "");
            by.text += " (the environment that was built of it)";
            by
        }
        Op::BindBeneath { .. } => by_root(facts, path),
        Op::Overlay { src, .. } => {
            By::built_in(format!("the repository that a mounted working tree is of: {}", src.display()))
        }
        Op::Bind { access: Access::Device, .. } => match facts
            .config
            .devices
            .iter()
            .position(|device| device.nodes().is_ok_and(|nodes| nodes.iter().any(|node| dst == node)))
        {
            Some(index) => facts.lines.by(&[Step::Key("devices".into()), Step::Index(index)]),
            None => By::built_in("a device that every program may use"),
        },
        Op::Bind { .. } if model::is_system(dst) => By::built_in("the system's programs and libraries, read-only"),
        Op::Bind { .. } | Op::Copy { .. } if dst.starts_with("/etc") => {
            By::built_in("one of the files of /etc that programs need, read-only")
        }
        Op::File { .. } if dst == Path::new("/etc/gitconfig") => facts.lines.by_key("git_identity", "true"),
        Op::File { .. } if dst == Path::new(libsbox::policy::PLACE) => {
            By::built_in("what the agent may know of its limits")
        }
        Op::File { .. } | Op::Link { .. } => By::built_in("made by sbox"),
        Op::Tmpfs { size: Some(_), mode: 0o1777, .. } if facts.config.limits.tmp.is_some() => {
            facts.lines.by(&[Step::Key("limits".into()), Step::Key("tmp".into())])
        }
        Op::Tmpfs { .. } if dst.ends_with(".sbox") => By::built_in("a project's state is never visible"),
        Op::Tmpfs { seal: true, .. } => By::built_in("a directory of sbox's own, read-only"),
        Op::Tmpfs { .. } => By::built_in("a directory in memory"),
        Op::Proc { .. } => By::built_in("the process table of the sandbox"),
        Op::Mask { .. } if dst.starts_with("/proc") => By::built_in("what it tells of the host's kernel is covered"),
        Op::Mask { .. } => By::built_in("a project's state is covered"),
        _ => By::built_in("made by sbox"),
    }
}

/// The sandbox's own files: what was copied in, or the agent's.
fn by_root(facts: &Facts, path: &Path) -> By {
    let inside = libsbox::built::Built::seen_from_inside(&facts.project);
    let own = path.strip_prefix(inside.rootfs()).map(|below| Path::new("/").join(below));
    let path = own.as_deref().unwrap_or(path);
    let copied = facts.config.copy.iter().enumerate().filter(|(_, entry)| path.starts_with(&entry.dst));
    match copied.max_by_key(|(_, entry)| entry.dst.components().count()) {
        Some((index, _)) => facts.lines.by(&[Step::Key("copy".into()), Step::Index(index)]),
        None => By::built_in("the sandbox's own files, in .sbox/rootfs, which the agent can change"),
    }
}

fn not_there(
    facts: &Facts,
    view: &View,
    asked: &str,
    path: &Path,
    missing: &Missing<'_>,
    real: Option<&Path>,
) -> Answer {
    let at = missing.at.display();
    let by = || {
        missing
            .by
            .map_or_else(|| By::nothing(format!("nothing is mounted at {at}")), |op| by_op(facts, op, &missing.at))
    };
    let mut answer = match missing.lack {
        Lack::Deleted => {
            let mut answer =
                Answer::new("path", asked, false, "not there: the agent deleted it, in its own version", by());
            answer.change(
                "to give it back to the agent",
                format!("sbox discard {}", libsbox::escape::shell_word(&missing.at.to_string_lossy())),
            );
            return answer;
        }
        Lack::Covered => Answer::new("path", asked, false, "not there: it is covered", by()),
        Lack::Closed => {
            let mut answer = Answer::new("path", asked, false, "not reached", by());
            answer.note(format!("the permissions of {at} close it, or its links lead in circles"));
            return answer;
        }
        Lack::NotDirectory => {
            let mut answer = Answer::new("path", asked, false, "not there", by());
            answer.note(format!("{at} is a file"));
            return answer;
        }
        Lack::NotInMount => {
            let mut answer = Answer::new("path", asked, false, "not there: the mount has no such entry", by());
            if let Some(host) = missing.host.as_ref().filter(|_| !facts.no_host) {
                answer.note(format!("on the host there is no {}", host.display()));
            }
            answer
        }
        Lack::NotMounted => Answer::new(
            "path",
            asked,
            false,
            "not there: nothing is mounted there",
            By::nothing("no line of the configuration mounts it"),
        ),
    };
    answer.path = Some(path.display().to_string());
    if facts.no_host {
        if missing.lack == Lack::NotMounted && model::reserved(path).is_none() {
            answer.change("to show what the host has there, read-only, the user adds to 'mount'", item(path, "ro"));
        }
        return answer;
    }
    let state = facts.project.state();
    if let Some(real) = real.filter(|real| view.shows(real).is_empty()) {
        let kind = if real.is_dir() { "a directory" } else { "a file" };
        answer.note(format!("the host has {kind} there"));
        if real.starts_with(&state) {
            answer.note("what is below .sbox is sbox's own: nothing shows it");
        } else if let Some(system) = model::reserved(real)
            .or_else(|| real.starts_with("/etc").then_some("/etc"))
            .filter(|system| *system != "/etc" || real == Path::new("/etc"))
        {
            answer.note(format!("the sandbox makes '{system}' itself: nothing can be mounted there"));
        } else if missing.lack == Lack::Covered {
            answer.note("nothing in the configuration changes that");
        } else {
            answer.change("to show it, read-only, add to 'mount'", item(real, "ro"));
        }
    } else if real.is_none() && missing.lack == Lack::NotMounted {
        answer.note("the host has nothing there either");
    }
    answer
}

fn entry_as(mount: &MountEntry, mode: &str) -> String {
    format!("- {}", libsbox::config::mount_item(&mount.src, &mount.dst, mode))
}
