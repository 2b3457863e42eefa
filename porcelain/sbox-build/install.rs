//! The install layer: commands run in order, inside the sandbox, each again only when what it depends on changed.
//!
//! A command that only installs dependencies depends on the files that list them; any other may read every source. From
//! the first command that has to run, all that follow run too.

use crate::Build;
use libsbox::built::{Built, InstallRecord};
use libsbox::config::Config;
use libsbox::dir::Dir;
use libsbox::error::{Context, Error, Result};
use libsbox::escape;
use libsbox::fs;
use libsbox::output;
use libsbox::plumbing;
use libsbox::plumbing::sandbox::ProjectSandbox;
use libsbox::plumbing::stage::Sources;
use libsbox::project::WHEELS;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::Stdio;

/// The files that list dependencies, and those that the command names, with what tells a change of them.
fn dependencies(sources: &Sources, command: &str) -> String {
    let named = |place: &str| {
        command.split(|c: char| c.is_whitespace() || "='\"".contains(c)).any(|word| {
            let word = word.trim_start_matches("./").trim_start_matches('/');
            !word.is_empty() && (place == word || place.ends_with(&format!("/{word}")))
        })
    };
    let lines = sources.items.iter().filter(|(place, _)| lists_dependencies(place) || named(place));
    lines.map(|(place, stamp)| format!("{place}\0{stamp}\0")).collect()
}

/// Files by which package managers decide what to install.
fn lists_dependencies(place: &str) -> bool {
    const NAMES: [&str; 16] = [
        "package.json",
        "package-lock.json",
        "npm-shrinkwrap.json",
        "pnpm-lock.yaml",
        "pnpm-workspace.yaml",
        "yarn.lock",
        ".npmrc",
        ".yarnrc.yml",
        "pyproject.toml",
        "setup.py",
        "setup.cfg",
        "Pipfile",
        "Pipfile.lock",
        "poetry.lock",
        "uv.lock",
        "pip.conf",
    ];
    let name = place.rsplit('/').next().unwrap_or(place);
    NAMES.contains(&name) || (name.ends_with(".txt") && (name.contains("requirements") || name.contains("constraints")))
}

/// Whether a command installs dependencies and reads nothing else of the sources.
fn only_installs(command: &str) -> bool {
    command.split("&&").all(|part| {
        let words: Vec<&str> = part.split_whitespace().collect();
        match words[..] {
            ["cd", _] => true,
            ["pip" | "pip3", "install", ref rest @ ..]
            | ["python" | "python3", "-m", "pip", "install", ref rest @ ..] => {
                // A path installs the sources themselves.
                !rest.iter().any(|word| {
                    matches!(*word, "-e" | "--editable" | ".")
                        || word.starts_with("./")
                        || word.starts_with('/') && !word.ends_with(".txt")
                })
            }
            ["npm", "config" | "install" | "i" | "ci", ..] | ["pnpm", "install" | "i" | "config" | "fetch", ..] => true,
            ["yarn"] | ["yarn", "install" | "config", ..] | ["corepack", ..] => true,
            _ => false,
        }
    })
}

/// The key of every command: a change in what it depends on, or in a command before it, changes it.
fn keys(config: &Config, lock: &Built, sources: &Sources) -> Vec<String> {
    let runtime: String = lock
        .runtimes
        .iter()
        .map(|record| format!("{} {} {}\n", record.spec, record.provider, record.version))
        .collect();
    let mut chain = fs::sha256(format!("{runtime}{:?}{}", config.env, config.workdir).as_bytes());
    config
        .install
        .iter()
        .map(|command| {
            let inputs =
                if only_installs(command) { dependencies(sources, command) } else { sources.fingerprint.clone() };
            chain = fs::sha256(format!("{chain}\0{command}\0{inputs}").as_bytes());
            chain.clone()
        })
        .collect()
}

/// The first command that has to run; `None` if all are done.
pub fn pending(record: &Path, config: &Config, lock: &Built) -> Result<Option<usize>> {
    if config.install.is_empty() {
        return Ok((!lock.install.is_empty()).then_some(0));
    }
    let keys = keys(config, lock, &Sources::of(record)?);
    let first = keys.iter().enumerate().find(|(at, key)| lock.install.get(*at).is_none_or(|done| done.key != **key));
    let fewer = lock.install.len() > keys.len();
    Ok(first.map(|(at, _)| at).or_else(|| fewer.then_some(keys.len())))
}

/// Runs what has to run.
pub fn commands(build: &mut Build<'_>) -> Result<bool> {
    let Some(first) = pending(&build.record, build.config, &build.built)? else { return Ok(false) };
    let keys = keys(build.config, &build.built, &Sources::of(&build.record)?);
    build.built.install.truncate(first);
    let in_place = build.env == build.project.env();
    // One build, one log.
    build.project.open_logs()?.remove_tree("build.log".as_ref())?;
    for (at, command) in build.config.install.iter().enumerate().skip(first) {
        if in_place {
            // Killed from here on, the next build begins with this command.
            build.built.write(build.project)?;
        }
        output::step(format_args!("Install {}/{}: {}", at + 1, build.config.install.len(), escape::visible(command)));
        run(build, command)?;
        build.built.install.push(InstallRecord { command: command.clone(), key: keys[at].clone() });
    }
    Ok(true)
}

fn run(build: &Build<'_>, command: &str) -> Result<()> {
    // The ports and the time are those of the program, not of making it.
    let mut config = build.config.clone();
    config.ports.clear();
    config.limits.time = None;
    if build.options.offline {
        config.network = libsbox::model::Network::None;
        config.reach.clear();
        config.env.extend(from_caches(build));
    }
    let mut confine = ProjectSandbox::new(build.project, &config);
    confine.env.clone_from(&build.env);
    confine.rootfs.clone_from(&build.rootfs);
    // Whatever takes the place of the rootfs, the home stays the agent's.
    confine.home = (build.rootfs != build.project.rootfs()).then(|| build.project.home());
    let words: [OsString; 3] = ["/bin/sh".into(), "-c".into(), command.into()];
    let mut prepared = confine.command(directory(build, command), &words)?;
    let (output, input) = std::io::pipe().context(|| "make a pipe".into())?;
    let second = input.try_clone().context(|| "make a pipe".into())?;
    plumbing::trace(&prepared.command);
    let mut child = plumbing::die_with_parent(&mut prepared.command)
        .stdin(Stdio::null())
        .stdout(input)
        .stderr(second)
        .spawn()
        .context(|| "start 'sbox-spawn'".into())?;
    drop(prepared);
    let progress = (!build.options.verbose).then(|| libsbox::progress::Progress::spin("installing"));
    let said = listen(build, output)?;
    let status = child.wait().context(|| "wait for the command".into())?;
    drop(progress);
    if status.success() {
        return Ok(());
    }
    if !build.options.verbose {
        said.iter().for_each(|line| output::line(format_args!("  {line}")));
    }
    let code = status.code().map_or_else(|| "a signal".into(), |code| code.to_string());
    Err(Error::new(format!("install command failed (exit code {code}): {}", escape::visible(command)))
        .hint("fix it and run 'sbox build' again; the build resumes here. Full output: .sbox/logs/build.log"))
}

/// What has pip and npm take what came with an archive, instead of asking an index or a registry. Settings of the user's own
/// stay, and so does pip's cache, if there are no wheels.
fn from_caches(build: &Build<'_>) -> Vec<(String, String)> {
    let inside = Built::seen_from_inside(build.project).home().join(WHEELS);
    let is_there = Dir::open(&build.project.home()).and_then(|home| home.sub(WHEELS)).is_ok();
    let mut variables = vec![("npm_config_offline".to_owned(), "true".to_owned())];
    if is_there {
        // An address, since pip takes a blank for the end of a place; and a dollar would begin the name of a variable.
        let text = inside.to_string_lossy().replace('%', "%25").replace(' ', "%20").replace('$', "$$");
        let place = format!("file://{text}");
        variables.extend([("PIP_NO_INDEX".into(), "1".into()), ("PIP_FIND_LINKS".into(), place)]);
    }
    variables.retain(|(name, _)| build.config.env.iter().all(|(known, _)| known != name));
    variables
}

/// Where a command runs: in the workdir, unless a path that it names is only there when seen from `/`. Both are habits:
/// `pip install -r requirements.txt` and `pip install -r app/requirements.txt`.
fn directory<'a>(build: &'a Build<'_>, command: &str) -> &'a str {
    let Ok(root) = Dir::open(&build.rootfs) else { return &build.config.workdir };
    let there = |place: &Path| {
        let parent = place.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let dir = root.sub(parent);
        dir.ok().and_then(|dir| dir.stat(place.file_name()?).ok().flatten()).is_some()
    };
    let workdir = Path::new(build.config.workdir.trim_start_matches('/'));
    let paths = command
        .split(|c: char| c.is_whitespace() || "='\"".contains(c))
        .filter(|word| word.contains('/') && !word.starts_with(['/', '-', '.', '~']));
    let only_from_root = paths.into_iter().any(|word| !there(&workdir.join(word)) && there(Path::new(word)));
    if only_from_root { "/" } else { &build.config.workdir }
}

/// The last lines of a command's output; the whole goes to `.sbox/logs/build.log`. It is an agent's text: nothing in it
/// reaches the terminal raw, and an endless line takes no endless memory.
fn listen(build: &Build<'_>, output: std::io::PipeReader) -> Result<Vec<String>> {
    const KEPT: usize = 40;
    const LONGEST: u64 = 64 * 1024;
    let shown = || String::from("write '.sbox/logs/build.log'");
    let mut log = build.project.open_logs()?.append("build.log".as_ref())?;
    let mut reader = BufReader::new(output);
    let mut kept = std::collections::VecDeque::new();
    loop {
        let mut line = Vec::new();
        let read = reader
            .by_ref()
            .take(LONGEST)
            .read_until(b'\n', &mut line)
            .context(|| "read the command's output".into())?;
        if read == 0 {
            return Ok(kept.into());
        }
        log.write_all(&line).context(shown)?;
        let text = escape::visible(String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']));
        if build.options.verbose {
            output::line(format_args!("  {text}"));
        }
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_that_only_install_are_told_from_those_that_read_sources() {
        for command in [
            "pip install -r requirements.txt",
            "npm install",
            "cd /app && pnpm install --registry https://x",
            "python -m pip install requests",
            "npm ci",
        ] {
            assert!(only_installs(command), "{command}");
        }
        for command in [
            "npm run build",
            "pip install .",
            "pip install -e .",
            "cd /app && pnpm build",
            "make",
            "python setup.py develop",
        ] {
            assert!(!only_installs(command), "{command}");
        }
    }

    #[test]
    fn a_dependency_list_changes_the_key_and_a_source_does_not() {
        let sources = |stamp: &str, other: &str| Sources {
            fingerprint: format!("{stamp}{other}"),
            items: [
                ("app/requirements.txt".to_owned(), stamp.to_owned()),
                ("app/main.py".to_owned(), other.to_owned()),
            ]
            .into(),
        };
        let key = |sources: &Sources| dependencies(sources, "pip install -r requirements.txt");
        assert_eq!(key(&sources("1", "a")), key(&sources("1", "b")));
        assert_ne!(key(&sources("1", "a")), key(&sources("2", "a")));
    }
}
