//! The levels without mounts, at which paths are the host's.

use crate::Facts;
use crate::answer::{Answer, By};
use crate::line::item;
use libsbox::locate::Step;
use std::path::Path;

/// What the agent has at a path of the host.
pub fn answer(facts: &Facts, asked: &str, path: &Path) -> Answer {
    let level = facts.lines.by_key("isolation", &format!("'{}' is what this host supports", facts.level));
    let exists = path.symlink_metadata().is_ok();
    if facts.level != "landlock" {
        let verdict = if exists {
            "there: level 'env' hides nothing of the host"
        } else {
            "not there: the host does not have it"
        };
        let mut answer = Answer::new("path", asked, exists, verdict, level);
        answer.change("to show only what is mounted", "isolation: namespace");
        return answer;
    }
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let config = &facts.config;
    let mount = config.mount.iter().enumerate().find(|(_, mount)| real.starts_with(&mount.src));
    if let Some((index, mount)) = mount {
        let by = facts.lines.by(&[Step::Key("mount".into()), Step::Index(index)]);
        let way = mount.mode.name();
        return Answer::new(
            "path",
            asked,
            exists,
            if exists { format!("there: {way}") } else { "not there: the host does not have it".into() },
            by,
        );
    }
    let state = facts.project.state();
    if real.starts_with(facts.project.rootfs()) || real.starts_with(facts.project.env()) {
        let by = By::built_in("the sandbox's own files");
        return Answer::new("path", asked, exists, if exists { "there: read-write" } else { "not there" }, by);
    }
    if libsbox::model::is_system(&real) && !real.starts_with(state) {
        let by = By::built_in("the system's programs and libraries");
        return Answer::new("path", asked, exists, if exists { "there: read-only" } else { "not there" }, by);
    }
    let mut answer = Answer::new(
        "path",
        asked,
        false,
        "denied: it is not mounted",
        By::nothing("no line of the configuration mounts it"),
    );
    answer.note("level 'landlock' denies what is not mounted; that something exists can be seen");
    answer.change("to show it, read-only, add to 'mount'", item(&real, "ro"));
    answer
}
