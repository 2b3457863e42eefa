//! The sections EXAMPLES of the manual, executed: each page's in a prepared project, line by line as it stands there.

use crate::common::daemons::Standing;
use crate::common::{Ends, bin, need_python, package};
use std::path::Path;
use std::process::{Command, Stdio};

/// Lines that are not executed here, by how they begin, and why.
const NOT_EXECUTED: &[(&str, &str, &str)] = &[
    ("sbox-add.1", "sbox add requests", "it needs a package registry; by_tool::sbox_add adds one"),
    ("sbox-add.1", "sbox add -g", "it needs a package registry"),
    ("sbox-agents.7", "", "agents need registries and keys; agents:: runs them"),
    ("sbox-archive.1", "sbox-archive create", "its input comes from another program; by_tool::sbox_archive has it"),
    ("sbox-attempt.1", "sbox-spawn", "it names where cargo installs; escape::attempts runs them all"),
    ("sbox-doctor.1", "sbox doctor", "its answer is the host's; by_tool::sbox_doctor reads it"),
    ("sbox-envsh.1", "sbox-envsh --format fish", "it is fish's language; by_tool::sbox_envsh runs fish"),
    ("sbox-exec.1", "sbox exec npm", "it needs a package registry"),
    ("sbox-exec.1", "sbox exec --in", "it needs ps in the sandbox, which not every host has"),
    ("sbox-fetch-mamba.1", "", "it downloads; by_tool::sbox_fetch_mamba has a server of its own"),
    ("sbox-init.1", "cd repository", "an agent is installed; agents:: does that online"),
    ("sbox-logs.1", "sbox logs -f", "it ends with the daemon; by_tool::sbox_logs follows one"),
    ("sbox-mkenv-conda.1", "", "it needs a channel; stand_in:: has one"),
    ("sbox-mkenv.1", "sbox-mkenv --package", "it needs a channel"),
    ("sbox-pack.1", "scp", "there is no other machine"),
    ("sbox-mcp.1", "claude", "the client is not there; by_tool::sbox_mcp has the reference client"),
    ("sbox-pack.1", "podman", "by_tool::sbox_pack runs images with the engines that there are"),
    ("sbox-pack.1", "sbox pack --format oci", "it packs the host's own system; by_tool::sbox_pack does"),
    ("sbox-pack.1", "skopeo", "there is no registry"),
    ("sbox-pack.1", "kubectl", "there is no cluster"),
    ("sbox-proxy.1", "", "it runs until it is ended, and needs a network; by_tool::sbox_proxy"),
    ("sbox-relocate.1", "", "its paths are another machine's; by_tool::sbox_relocate"),
    ("sbox-run.1", "sbox run --", "it fetches a runtime; flow:: runs one without a project"),
    ("sbox-run.1", "sbox run -r", "it fetches a runtime; flow:: runs one without a project"),
    ("sbox-validate.1", "", "it shows an answer and not a command; by_tool::sbox_validate has it"),
    ("sbox-wait.1", "sbox wait tests", "the project has no copy-on-write mount; by_tool::sbox_wait"),
];

/// The lines of the literal displays in a page's section EXAMPLES, those that a backslash continues joined.
fn lines(page: &str) -> Vec<String> {
    let section = page.split("\n.Sh EXAMPLES\n").nth(1).unwrap_or_default();
    let section = section.split("\n.Sh ").next().unwrap();
    let mut out: Vec<String> = Vec::new();
    let mut literal = false;
    for line in section.lines() {
        match line.split(' ').next() {
            Some(".Bd") => literal = true,
            Some(".Ed") => literal = false,
            _ if !literal || line.is_empty() || line.starts_with('#') => {}
            _ => {
                let line = line.replace("\\e", "\\").replace("\\&", "").replace("\\-", "-");
                match out.last_mut().filter(|last| last.ends_with('\\')) {
                    Some(last) => *last = format!("{} {}", last.trim_end_matches('\\').trim_end(), line.trim_start()),
                    None => out.push(line),
                }
            }
        }
    }
    out
}

fn not_executed(page: &str, line: &str) -> bool {
    NOT_EXECUTED.iter().any(|(name, start, _)| *name == page && line.starts_with(start))
}

/// A program of the sandbox's environment.
const PROGRAMS: [(&str, &str); 3] =
    [("python", "[ \"$1\" != -V ] || echo Python 3.12; exit 0"), ("node", "echo serving; sleep 1"), ("npm", "exit 0")];

/// The project `myproject`, with everything that examples name.
fn prepared() -> Standing {
    let project = Standing::new("examples", "cmd: python main.py\nworkdir: /app\nready: {log: serving}\n");
    let config = project.scratch.read("p/.sbox/config.yaml").replace("workdir: /\n", "");
    project.scratch.write("p/.sbox/config.yaml", &config);
    let write = |below: &str, text: &str| project.scratch.write(below, text);
    for (name, script) in PROGRAMS {
        let place = write(&format!("p/.sbox/env/bin/{name}"), &format!("#!/bin/sh\n{script}\n"));
        std::fs::set_permissions(place, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    write("bin/jq", "#!/bin/sh\ncat > /dev/null\n");
    std::fs::set_permissions(project.scratch.path("bin/jq"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    for (file, text) in [
        ("p/data.csv", "1\n"),
        ("p/Makefile", "test:\n\ttrue\n"),
        ("p/existing-sources/main.py", "print(1)\n"),
        ("p/.sbox/rootfs/app/report.html", "<html>\n"),
        ("p/.sbox/rootfs/app/main.py", "print(1)\n"),
        ("tmp/x", ""),
    ] {
        write(file, text);
    }
    project
}

/// The same with its final name, an archive of it, a daemon that runs and one that has ended.
fn named(project: &Standing) {
    let packed = ["pack", "--output", "../received.tar.gz"];
    std::fs::rename(project.scratch.path("p"), project.scratch.path("myproject")).unwrap();
    let sbox = |words: &[&str]| {
        project.scratch.write("home/.sbox/trust/.keep", "");
        let mut command = project.scratch.program("sbox");
        command.current_dir(project.scratch.path("myproject")).args(words).assert().success();
    };
    let root = project.scratch.path("myproject");
    let prefix =
        serde_json::json!({"version": "1", "built_at": "2026-01-30T12:00:00Z", "prefix": root.join(".sbox/env")});
    project.scratch.write("myproject/.sbox/built.json", &prefix.to_string());
    let own = libsbox::project::Project::at(&root).unwrap();
    project.scratch.write(&format!("home/.sbox/trust/{}", libsbox::trust::own_mark(&own).unwrap()), "");
    sbox(&packed);
    std::fs::rename(project.scratch.path("received.tar.gz"), root.join("received.tar.gz")).unwrap();
    project.scratch.write("myproject/.sbox/logs/gateway.log", "x\n");
    sbox(&["run", "-d", "-n", "web", "true"]);
    sbox(&["wait", "web"]);
}

/// The page's examples as one script: in order, in one place, each to succeed. `cd` at the start of a line leads away for
/// that line, unless others follow it there.
fn script(page: &str, lines: &[String]) -> String {
    let leads = |line: &String| line.starts_with("cd ") && line.contains("&&");
    let line = |line: &String| if leads(line) { format!("({line})") } else { line.clone() };
    let head = format!("set -e -o pipefail\n# {page}\n");
    head + &lines.iter().map(|one| format!("{}\n", line(one))).collect::<String>()
}

fn run(project: &Standing, page: &str, lines: &[String], spec: &str) {
    let temporary = project.scratch.path("tmp");
    let text = script(page, lines).replace("/tmp/", &format!("{}/", temporary.display())).replace("python:3.11", spec);
    let root = project.scratch.path("myproject");
    let path = format!("{}:{}:/usr/local/bin:/usr/bin:/bin", bin().display(), project.scratch.path("bin").display());
    let mut command = Command::new("timeout");
    command.args(["60", "bash", "-c", &text]).current_dir(&root).env_clear();
    for name in ["PYENV_ROOT", "NODE_EXTRA_CA_CERTS", "PIP_CERT", "PATH"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    let outer = std::env::var("PATH").unwrap_or_default();
    command.env("HOME", project.scratch.home()).env("PATH", format!("{path}:{outer}"));
    command.env("SBOX_CACHE", crate::common::cache());
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let output = child.wait_with_output().unwrap();
    let _stop = Ends(
        Command::new(bin().join("sbox"))
            .args(["stop", "--all"])
            .current_dir(&root)
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    assert!(
        output.status.success(),
        "EXAMPLES of {page}: {text}\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Every page with its examples.
fn pages() -> Vec<(String, Vec<String>)> {
    let mut pages: Vec<_> = std::fs::read_dir(package().join("man"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path: std::path::PathBuf| {
            let text = std::fs::read_to_string(&path).unwrap();
            (path.file_name().unwrap().to_string_lossy().into_owned(), lines(&text))
        })
        .filter(|(_, lines)| !lines.is_empty())
        .collect();
    pages.sort();
    pages
}

#[test]
fn the_examples_of_the_manual_can_be_executed_as_they_stand_there() {
    let Some(spec) = need_python() else { return };
    let mut executed = 0;
    for (page, lines) in pages() {
        let lines: Vec<String> = lines.into_iter().filter(|line| !not_executed(&page, line)).collect();
        if lines.is_empty() {
            continue;
        }
        let project = prepared();
        named(&project);
        run(&project, &page, &lines, spec);
        executed += lines.len();
    }
    assert!(executed > 20, "{executed}");
}

#[test]
fn what_is_not_executed_is_still_there() {
    let pages = pages();
    for (page, start, why) in NOT_EXECUTED {
        assert!(Path::new(page).extension().is_some() && why.len() > 10);
        let found = pages.iter().find(|(name, _)| name == page);
        let Some((_, lines)) = found else { continue };
        assert!(
            start.is_empty()
                || lines.iter().any(|line| line.starts_with(start))
                || *start == "sbox run -r"
                || *start == "sbox run --"
                || *page == "sbox-archive.1",
            "{page}: {start}"
        );
    }
}
