//! What git(1) takes for a repository, and which settings of one make it run programs.
//!
//! An agent may make repositories. One whose configuration has nothing but the harmless settings of the table below, and
//! which has no hooks, runs nothing on the host whatever the user does in it; any other does.

use crate::dir::Dir;
use rustix::fs::FileType;
use std::io::Read;
use std::path::{Path, PathBuf};

/// What in a repository's own directory leads git to programs: `commondir` and `config.worktree` lead it to another
/// configuration (gitrepository-layout(5)).
pub const OBEYED: [&str; 4] = ["config", "config.worktree", "hooks", "commondir"];

/// What git keeps its data in: many directories, nothing that is run.
pub const BULK: [&str; 4] = ["objects", "refs", "logs", "lfs"];

/// The entries by which git recognises a repository (`is_git_directory` in its setup.c). `worktrees` is one because the
/// `commondir` of a worktree leads to the directory above it, which needs no `HEAD` of its own.
pub const SIGNS: [&str; 5] = ["HEAD", "objects", "refs", "commondir", "worktrees"];

/// Whether git takes this directory for a repository's own: `.git`, a bare repository, what `--separate-git-dir` made, a
/// submodule's or a worktree's, or what a worktree has in common with others. It need not have that name.
pub fn is_repository(dir: &Dir) -> bool {
    is_repository_with(&|name| dir.stat(name.as_ref()).is_ok_and(|stat| stat.is_some()))
}

/// The same for a directory of which `has` says what is in it.
pub fn is_repository_with(has: &dyn Fn(&str) -> bool) -> bool {
    let has_data = || has("objects") && has("refs");
    has("HEAD") && (has("commondir") || has_data()) || has("worktrees") && has_data()
}

/// The entry without which it would not be one.
pub fn heart(dir: &Dir) -> &'static str {
    let has_head = dir.stat("HEAD".as_ref()).is_ok_and(|stat| stat.is_some());
    if has_head { "HEAD" } else { "worktrees" }
}

/// Whether the configuration file `name` of the repository at `place` makes git run nothing, and read or write nothing
/// elsewhere. One that is missing or empty is harmless; one that is not a plain file, too long, or not written as git
/// writes it, is not.
pub fn is_harmless_config(dir: &Dir, place: &Path, name: &str) -> bool {
    match dir.stat(name.as_ref()) {
        Ok(None) => true,
        Ok(Some(stat)) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {
            read(dir, name).is_some_and(|text| is_harmless_text(&text, place))
        }
        _ => false,
    }
}

/// Whether `hooks` has nothing that git runs: only the samples that `git init` puts there.
pub fn has_harmless_hooks(dir: &Dir) -> bool {
    match dir.stat("hooks".as_ref()) {
        Ok(None) => true,
        Ok(Some(stat)) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
            let entries = dir.sub("hooks").and_then(|hooks| hooks.entries());
            let sample = |name: &std::ffi::OsStr| name.to_str().is_some_and(|name| name.ends_with(".sample"));
            entries.is_ok_and(|entries| entries.iter().all(|entry| sample(&entry.name)))
        }
        _ => false,
    }
}

/// Whether `commondir` is what `git worktree add` writes: the way up to the repository that the worktree is of. An empty one
/// is being written, and git stops at it.
pub fn has_harmless_commondir(dir: &Dir, place: &Path) -> bool {
    match dir.stat("commondir".as_ref()) {
        Ok(None) => true,
        Ok(Some(_)) => {
            let of_worktree = place.parent().is_some_and(|above| above.ends_with("worktrees"));
            read(dir, "commondir").is_some_and(|text| text.is_empty() || of_worktree && text.trim_end() == "../..")
        }
        Err(_) => false,
    }
}

/// Whether one entry of a repository's own directory, of [`OBEYED`], leads git to nothing that runs.
pub fn is_harmless_entry(dir: &Dir, place: &Path, name: &str) -> bool {
    match name {
        "hooks" => has_harmless_hooks(dir),
        "commondir" => has_harmless_commondir(dir, place),
        name => is_harmless_config(dir, place, name),
    }
}

/// The paths that the configuration of the repository at `place` leads git to, as they are written: of hooks, of other
/// configurations, of programs. `false` beside one that may be a word of another kind: of a command (`sh pager.sh`).
pub fn led_to(dir: &Dir, place: &Path) -> Vec<(PathBuf, bool)> {
    let mut all = Vec::new();
    for name in ["config", "config.worktree"] {
        let text = read(dir, name).unwrap_or_default();
        // What is not written as git writes it is read line by line: a word too many does no harm.
        let loose = || text.lines().filter_map(|line| line.split_once('='));
        let loose = || loose().map(|(key, value)| (key.trim().to_ascii_lowercase(), value.to_owned())).collect();
        let strict = |all: Vec<Setting>| {
            let all = all.into_iter().filter(|setting| setting.key != "worktree" && !is_harmless(setting, place));
            all.map(|Setting { key, value, .. }| (key, value)).collect()
        };
        let settings: Vec<(String, String)> = settings(&text).map_or_else(loose, strict);
        for (key, value) in settings {
            let names_a_file = ["hookspath", "path", "attributesfile", "excludesfile"].contains(&key.as_str());
            let words = value.split(|letter: char| letter.is_whitespace() || "\"'!;|&<>()".contains(letter));
            let words = words.filter(|word| !word.is_empty());
            all.extend(words.map(|word| (PathBuf::from(word), names_a_file || word.contains('/'))));
        }
    }
    all
}

const LONGEST: u64 = 256 << 10;

/// The text of a small configuration file.
pub(crate) fn read(dir: &Dir, name: &str) -> Option<String> {
    let mut text = String::new();
    let file = dir.file(name).ok()?;
    if file.metadata().ok()?.len() > LONGEST {
        return None;
    }
    file.take(LONGEST).read_to_string(&mut text).ok()?;
    Some(text)
}

fn is_harmless_text(text: &str, place: &Path) -> bool {
    settings(text).is_some_and(|all| all.iter().all(|setting| is_harmless(setting, place)))
}

/// One setting. Section and key are in lower case.
struct Setting {
    section: String,
    key: String,
    value: String,
}

/// All settings of a file, if it is written line by line as git writes it. What git would read and this does not
/// understand (a key behind a section's head, a value that goes on in the next line) makes it `None`.
fn settings(text: &str) -> Option<Vec<Setting>> {
    let (mut section, mut all) = (None::<String>, Vec::new());
    for line in text.lines() {
        let line = line.trim_matches([' ', '\t']);
        if line.contains(['\0', '\r', '\u{b}', '\u{c}']) || line.ends_with('\\') {
            return None;
        }
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(head) = line.strip_prefix('[') {
            section = Some(section_of(head.strip_suffix(']')?)?);
            continue;
        }
        let (key, value) = line.split_once('=').unwrap_or((line, ""));
        let (key, value) = (key.trim_matches([' ', '\t']), value.trim_matches([' ', '\t']));
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return None;
        }
        all.push(Setting { section: section.clone()?, key: key.to_ascii_lowercase(), value: value.into() });
    }
    Some(all)
}

/// The section of a head without its brackets: `core`, or `remote "origin"`.
fn section_of(head: &str) -> Option<String> {
    let is_name =
        |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let (name, subsection) = head.split_once(' ').unwrap_or((head, "\"\""));
    let subsection = subsection.strip_prefix('"')?.strip_suffix('"')?;
    (is_name(name) && !subsection.contains(['"', '\\', ']'])).then(|| name.to_ascii_lowercase())
}

/// Settings that neither name a program nor another file that git reads. A section alone means all of its keys.
const HARMLESS: [(&str, &[&str]); 18] = [
    (
        "core",
        &[
            "repositoryformatversion",
            "filemode",
            "bare",
            "logallrefupdates",
            "symlinks",
            "ignorecase",
            "precomposeunicode",
            "autocrlf",
            "eol",
            "safecrlf",
            "quotepath",
            "abbrev",
            "compression",
            "sparsecheckout",
            "sparsecheckoutcone",
            "longpaths",
            "trustctime",
            "checkstat",
            "untrackedcache",
            "splitindex",
            "preloadindex",
        ],
    ),
    (
        "remote",
        &[
            "url",
            "fetch",
            "pushurl",
            "push",
            "mirror",
            "prune",
            "tagopt",
            "promisor",
            "partialclonefilter",
            "gh-resolved",
        ],
    ),
    (
        "branch",
        &["remote", "merge", "rebase", "description", "pushremote", "vscode-merge-base", "github-pr-owner-number"],
    ),
    ("submodule", &["url", "active", "branch", "ignore", "fetchrecursesubmodules", "shallow", "recurse"]),
    ("user", &["name", "email"]),
    ("author", &["name", "email"]),
    ("committer", &["name", "email"]),
    ("extensions", &["worktreeconfig", "partialclone", "objectformat", "refstorage", "preciousobjects", "noop"]),
    ("index", &["sparse", "version", "threads", "skiphash"]),
    ("pull", &["rebase", "ff"]),
    ("push", &["default", "autosetupremote", "followtags"]),
    ("fetch", &["prune", "prunetags", "parallel", "fsckobjects"]),
    ("rebase", &["autostash", "autosquash", "updaterefs"]),
    ("merge", &["ff", "conflictstyle", "renamelimit"]),
    ("gc", &["auto", "autodetach", "autopacklimit", "pruneexpire", "reflogexpire"]),
    ("init", &["defaultbranch"]),
    ("advice", &[]),
    ("color", &[]),
];

fn is_harmless(Setting { section, key, value }: &Setting, place: &Path) -> bool {
    if section == "core" && key == "worktree" {
        return stays_below(place, Path::new(value));
    }
    HARMLESS.iter().any(|(name, keys)| name == section && (keys.is_empty() || keys.contains(&key.as_str())))
}

/// Whether the files that a submodule's repository checks out are in the same tree: `git checkout` writes there.
fn stays_below(place: &Path, worktree: &Path) -> bool {
    let mut depth = place.components().count();
    worktree.components().all(|part| match part {
        std::path::Component::ParentDir => depth.checked_sub(1).map(|up| depth = up).is_some(),
        std::path::Component::Normal(_) => {
            depth += 1;
            true
        }
        std::path::Component::CurDir => true,
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn harmless(text: &str) -> bool {
        is_harmless_text(text, Path::new("top/.git/modules/sub"))
    }

    #[test]
    fn what_git_itself_writes_is_harmless() {
        assert!(harmless(""));
        assert!(harmless(
            "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n[remote \"origin\"]\n\turl = https://a/b\n\
             \tfetch = +refs/heads/*:refs/remotes/origin/*\n[branch \"main\"]\n\tremote = origin\n\tmerge = refs/heads/main\n# x\n"
        ));
    }

    #[test]
    fn what_names_a_program_or_another_file_is_not() {
        assert!(harmless("[core]\n\tworktree = ../../../sub\n"));
        for text in [
            "[core]\n\tworktree = /home/you\n",
            "[core]\n\tworktree = ../../../../../you\n",
            "[core]\n\tfsmonitor = /w/evil\n",
            "[core]\n\thooksPath = x\n",
            "[core] fsmonitor = x\n",
            "[CORE]\n\tFSMonitor = x\n",
            "[include]\n\tpath = x\n",
            "[includeIf \"gitdir:/\"]\n\tpath = x\n",
            "[filter \"x\"]\n\tclean = x\n",
            "[alias]\n\tst = !x\n",
            "[remote \"x\"]\n\tuploadpack = x\n",
            "[submodule \"x\"]\n\tupdate = !x\n",
            "[core]\n\tbare = false \\\n\tfsmonitor = x\n",
            "[core]\r\tfsmonitor=x\n\tbare = true",
            "[core.fsmonitor]\nx = y\n",
            "[remote \"a]\n[core\"]\n\tfsmonitor = x\n",
            "key = 1\n",
            "\u{feff}[core]\n\tbare = true\n",
            "[merge]\n\ttool = x\n",
            "[user]\n\tsigningkey = x\n",
        ] {
            assert!(!harmless(text), "{text:?}");
        }
    }
}
