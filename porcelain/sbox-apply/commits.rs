//! The agent's commits, without anything that the agent could make the host run.
//!
//! Git makes a bundle inside the sandbox: there the agent's hooks, filters and settings may do what they like. What comes
//! out is bytes. The host's git, in the host's repository and by the host's settings, fetches that file, checks each object
//! and sets one branch. Nothing of the agent's `.git` is opened on the host.

use libsbox::config::{Config, MountEntry};
use libsbox::cow::Layer;
use libsbox::error::{Context, Error, Result};
use libsbox::escape::{shell_word, visible, visible_path};
use libsbox::model::MountMode;
use libsbox::output;
use libsbox::plumbing::{self, sandbox::ProjectSandbox};
use libsbox::project::Project;
use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// More than this is not somebody's commits.
const LARGEST: u64 = 8 << 30;

/// What is asked of git inside. Names come as arguments, never as a part of the script: the commits that the host has are
/// left out as far as the agent's repository knows them.
const BUNDLE: &str = "\
branch=$1; shift
[ -n \"$branch\" ] || branch=$(git symbolic-ref --quiet --short HEAD) || exit 3
git rev-parse --verify --quiet \"refs/heads/$branch^{commit}\" >/dev/null || exit 4
printf '%s\\n' \"$branch\"
exec git bundle create --quiet - --ignore-missing \"refs/heads/$branch\" --not \"$@\"
";

/// Brings the commits of one branch.
pub fn bring(project: &Project, config: &Config, words: &[PathBuf], dry_run: bool) -> Result<u8> {
    if words.len() > 1 {
        return Err(Error::usage("'--commits' takes one BRANCH"));
    }
    let branch = words.first().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
    if !branch.is_empty() {
        require_branch_name(&branch)?;
    }
    let layer = repository(project, config)?;
    let _alone = layer.alone()?;
    let have = host_commits(layer.src())?;
    let (branch, bundle) = bundle(project, config, &layer, &branch, &have)?;
    require_branch_name(&branch)?;
    let target = format!("sbox/{branch}");
    let Some(bundle) = bundle else {
        let branch = visible(&branch);
        output::info(format_args!("all commits of '{branch}' are on the host already"));
        return Ok(0);
    };
    let result = match dry_run {
        true => list(layer.src(), &bundle, &branch),
        false => fetch(layer.src(), &bundle, &branch, &target),
    };
    let _ = std::fs::remove_file(&bundle);
    result
}

/// The layer whose tree of the host is a repository.
fn repository(project: &Project, config: &Config) -> Result<Layer> {
    let layers = Layer::all(project, &config.mount)?;
    layers.into_iter().find(|layer| layer.src().join(".git").exists()).ok_or_else(|| {
        Error::new("no copy-on-write mount is a git working tree on the host").hint("sbox apply brings its files")
    })
}

/// Git on the host, with everything off that could start a program: the repository is the user's own, and what is fetched
/// is not. Replaced objects and grafts are for showing, not for copying.
fn git(at: &Path) -> Command {
    let mut git = Command::new("git");
    git.current_dir(at)
        .env("GIT_NO_REPLACE_OBJECTS", "1")
        .env("GIT_NO_LAZY_FETCH", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("LC_ALL", "C");
    for name in
        ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES"]
    {
        git.env_remove(name);
    }
    for setting in [
        "core.hooksPath=/dev/null",
        "core.fsmonitor=false",
        "core.pager=cat",
        "core.alternateRefsCommand=true",
        "fetch.fsckObjects=true",
        "transfer.fsckObjects=true",
        "fetch.recurseSubmodules=no",
        "fetch.writeCommitGraph=false",
        "fetch.bundleURI=",
        "protocol.allow=never",
        "protocol.file.allow=always",
        "gc.auto=0",
        "maintenance.auto=false",
    ] {
        git.args(["-c", setting]);
    }
    git
}

/// A name that git takes for a branch, and nothing that it takes for an option or for something else.
fn require_branch_name(name: &str) -> Result<()> {
    let wrong = || Error::new(format!("'{}' cannot be the name of a branch", visible(name)));
    if name.starts_with('-') || name.len() > 200 || name.contains('\0') {
        return Err(wrong());
    }
    let status = git(Path::new("/"))
        .args(["check-ref-format", &format!("refs/heads/sbox/{name}")])
        .status()
        .context(|| "start 'git'".into())?;
    if status.success() { Ok(()) } else { Err(wrong()) }
}

/// The tips of what the host has: they need not be in the bundle.
fn host_commits(at: &Path) -> Result<Vec<String>> {
    let output = git(at)
        .args([
            "for-each-ref",
            "--format=%(objectname)",
            "--count=200",
            "--sort=-creatordate",
            "refs/heads",
            "refs/remotes",
        ])
        .stderr(Stdio::inherit())
        .output()
        .context(|| "start 'git'".into())?;
    if !output.status.success() {
        return Err(Error::new(format!("'{}' is not a repository that git can read", visible_path(at))));
    }
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}

/// Makes the bundle inside the sandbox; gives the branch, and the file if there is anything new.
fn bundle(
    project: &Project,
    config: &Config,
    layer: &Layer,
    branch: &str,
    have: &[String],
) -> Result<(String, Option<PathBuf>)> {
    let mut config = config.clone();
    config.network = libsbox::model::Network::None;
    config.ports.clear();
    // There is nobody who could exchange them, and git needs none.
    config.secrets.clear();
    config.reach.clear();
    let is_mounted = |mount: &MountEntry| mount.is_copy_on_write() && mount.dst == layer.dst();
    if !config.mount.iter().any(is_mounted) {
        // It was given for one run, in the place of what the configuration has there.
        config.mount.retain(|mount| mount.dst != layer.dst());
        let (src, dst) = (layer.src().to_owned(), layer.dst().to_owned());
        let (mode, written) = (MountMode::CopyOnWrite, String::new());
        config.mount.push(MountEntry { src, dst, mode, written, is_given: true });
    }
    let mut words: Vec<OsString> = vec!["/bin/sh".into(), "-c".into(), BUNDLE.into(), "sh".into(), branch.into()];
    words.extend(have.iter().map(OsString::from));
    let directory = layer.dst().to_string_lossy();
    let mut prepared = ProjectSandbox::new(project, &config).command(&directory, &words)?;
    plumbing::trace(&prepared.command);
    prepared.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut inside = prepared.command.spawn().context(|| "start 'sbox-spawn'".into())?;
    let file = layer.path().join("commits.bundle");
    let target = file.clone();
    let (mut stdout, mut stderr) = (inside.stdout.take(), inside.stderr.take());
    // Both are read at once: who waits for one may be waited for by the other.
    let complaint = libsbox::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = stderr.take().map(|pipe| pipe.take(64 << 10).read_to_end(&mut text));
        String::from_utf8_lossy(&text).into_owned()
    });
    let complaint = complaint.inspect_err(|_| drop(inside.kill()))?;
    let received = stdout.take().map(|mut pipe| receive(&mut pipe, &target)).unwrap_or_else(|| Ok((String::new(), 0)));
    if received.is_err() {
        let _ = inside.kill();
    }
    let status = inside.wait().context(|| "wait for 'sbox-spawn'".into())?;
    let complaint = complaint.join().unwrap_or_default();
    if !status.success() {
        let _ = std::fs::remove_file(&file);
    }
    let (name, length) = received?;
    match status.code() {
        Some(0) if length > 0 => Ok((name, Some(file))),
        Some(3) => Err(Error::new("no branch is checked out inside").hint("name one: sbox apply --commits BRANCH")),
        Some(4) => Err(Error::new(format!("there is no branch '{}' inside", visible(branch)))),
        _ if complaint.contains("empty bundle") => Ok((name, None)),
        _ => {
            for line in complaint.lines().take(20) {
                output::line(visible(line));
            }
            Err(Error::new("git could not make a bundle inside the sandbox"))
        }
    }
}

/// The first line names the branch, all after it is the bundle.
fn receive(pipe: &mut impl Read, file: &Path) -> Result<(String, u64)> {
    let shown = || format!("write '{}'", visible_path(file));
    let (mut name, mut byte) = (Vec::new(), [0]);
    while pipe.read(&mut byte).context(|| "read from the sandbox".into())? == 1 && byte[0] != b'\n' {
        name.push(byte[0]);
        if name.len() > 4096 {
            return Err(Error::new("the sandbox answered something that is not a branch"));
        }
    }
    let _ = std::fs::remove_file(file);
    let mut target = std::fs::OpenOptions::new().write(true).create_new(true).open(file).context(shown)?;
    let length = std::io::copy(&mut pipe.take(LARGEST + 1), &mut target).context(shown)?;
    target.flush().context(shown)?;
    if length > LARGEST {
        let _ = std::fs::remove_file(file);
        return Err(Error::new("the sandbox gave more than 8 GiB for a bundle"));
    }
    Ok((String::from_utf8_lossy(&name).into_owned(), length))
}

/// What a fetch would bring.
fn list(at: &Path, bundle: &Path, branch: &str) -> Result<u8> {
    let output = git(at).args(["bundle", "list-heads"]).arg(bundle).arg(format!("refs/heads/{branch}")).output();
    let output = output.context(|| "start 'git'".into())?;
    let text = String::from_utf8_lossy(&output.stdout);
    for line in text.lines() {
        libsbox::cli::out_line(visible(line))?;
    }
    if output.status.success() { Ok(0) } else { Err(refused()) }
}

/// Sets the branch. Never one that would lose commits, and never the one that is checked out: git refuses both.
fn fetch(at: &Path, bundle: &Path, branch: &str, target: &str) -> Result<u8> {
    let output = git(at)
        .args(["fetch", "--no-tags", "--no-recurse-submodules", "--no-auto-maintenance", "--no-write-fetch-head"])
        .args(["--no-auto-gc", "--"])
        .arg(bundle)
        .arg(format!("refs/heads/{branch}:refs/heads/{target}"))
        .output()
        .context(|| "start 'git'".into())?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        for line in said.lines().take(20) {
            output::line(visible(line));
        }
        if said.contains("non-fast-forward") {
            let (shown, branch) = (visible(target), visible(branch));
            let message = format!("the host's branch '{shown}' has commits that the agent's '{branch}' has not");
            let (word, old) = (word(target), word(&format!("{target}-old")));
            return Err(Error::new(message).hint(format!("git branch -m {word} {old}, then again")));
        }
        return Err(refused());
    }
    output::ok(format_args!("the agent's commits are the branch '{}'", visible(target)));
    warn_of_triggers(at, target)?;
    let (word, range) = (word(target), word(&format!("...{target}")));
    output::hint(format_args!("git log {word}; git diff {range}; git merge {word}"));
    Ok(0)
}

/// A name of the agent's as one word for the shell: the user copies the line.
fn word(name: &str) -> String {
    shell_word(&visible(name))
}

fn refused() -> Error {
    Error::new("git refused what came out of the sandbox; the repository is as it was")
}

/// Names the files in the commits that programs of the host act on: checking the branch out puts them there.
fn warn_of_triggers(at: &Path, target: &str) -> Result<()> {
    let names = |words: &[&str]| {
        let mut command = git(at);
        command.args(words).arg("--").stderr(Stdio::null()).output().context(|| "start 'git'".into())
    };
    let plain = ["diff", "--name-only", "-z", "--no-ext-diff", "--no-textconv", "--no-renames"];
    let branch = format!("refs/heads/{target}");
    let mut output = names(&[&plain[..], &[&format!("HEAD...{branch}")]].concat())?;
    if !output.status.success() {
        // A branch without a common beginning, or a repository without a commit: all of it is new.
        output = names(&["ls-tree", "-r", "-z", "--name-only", "--full-tree", &branch])?;
    }
    if !output.status.success() {
        output::warn(format_args!("git cannot list the files of '{}': look at them first", visible(target)));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let held: Vec<(&str, &str)> =
        text.split('\0').filter_map(|path| Some((path, libsbox::cow::held(Path::new(path))?.reason))).collect();
    if held.is_empty() {
        return Ok(());
    }
    output::warn(format_args!(
        "programs on this host act on files of '{}' once it is checked out ({}):",
        visible(target),
        held.len()
    ));
    for (path, reason) in held.iter().take(20) {
        output::line(format_args!("    {}: {reason}", visible(path)));
    }
    Ok(())
}
