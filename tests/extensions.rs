//! The programs that sbox-extensions(7) shows, taken from the page and run.

use crate::common::daemons::{Standing, long_nap};
use crate::common::skip::skip;
use crate::common::{Scratch, becomes, need_program, need_registries, need_sandbox, package, stderr, stdout};
use assert_cmd::Command;
use std::path::PathBuf;

/// The program after the line that names it, as a formatter shows it.
fn shown(name: &str) -> String {
    let page = std::fs::read_to_string(package().join("man/sbox-extensions.7")).unwrap();
    let (_, rest) = page.split_once(&format!(".Pa {name}\n")).unwrap_or_else(|| panic!("{name} in the page"));
    let (_, rest) = rest.split_once(".Bd -literal -offset indent\n").unwrap();
    let text = rest.split("\n.Ed").next().unwrap().replace("\\e", "\\").replace("\\&", "");
    assert!(text.starts_with("#!") && text.lines().count() > 4, "{text}");
    text + "\n"
}

/// Puts it on a PATH, which this gives.
fn install(scratch: &Scratch, name: &str) -> String {
    let place = scratch.write(&format!("extensions/{name}"), &shown(name));
    std::fs::set_permissions(&place, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    format!("{}:{}", place.parent().unwrap().display(), std::env::var("PATH").unwrap_or_default())
}

#[test]
fn a_command_in_shell_starts_every_daemon_again() {
    if !need_sandbox() {
        return;
    }
    let nap = long_nap();
    let project = Standing::new("extension-shell", "");
    let path = install(&project.scratch, "sbox-restart-all");
    for name in ["a", "b"] {
        project.start(name, &format!("exec sleep {nap}"));
    }
    let pids = ["a", "b"].map(|name| project.ps(name)["pid"].clone());
    project.sbox(&["restart-all"]).env("PATH", &path).assert().success();
    let after = ["a", "b"].map(|name| project.ps(name)["pid"].clone());
    assert!(pids[0] != after[0] && pids[1] != after[1], "{pids:?} {after:?}");
    assert_eq!(["a", "b"].map(|name| project.status(name)), ["running", "running"]);
    // The exit code is the program's own, and the shell's is that of what it called last.
    let mut outside = project.scratch.program("sbox");
    outside.current_dir("/").env("PATH", &path).arg("restart-all").assert().success();
}

#[test]
fn a_command_in_python_reads_json() {
    if !need_sandbox() || !need_program("python3") {
        return;
    }
    let nap = long_nap();
    let project = Standing::new("extension-python", "");
    let path = install(&project.scratch, "sbox-heaviest");
    project.start("a", &format!("exec sleep {nap}"));
    assert!(becomes(|| project.status("a") == "running"));
    let output = project.sbox(&["heaviest"]).env("PATH", &path).output().unwrap();
    let text = stdout(&output);
    assert!(output.status.success() && text.contains(" MB  '/"), "{text}{}", stderr(&output));
}

fn mkenv(scratch: &Scratch, path: &str, spec: &str) -> Command {
    let mut command = scratch.program("sbox-mkenv");
    command.env("PATH", path).args(["--provider", "uv", spec]).arg(scratch.path("made"));
    command
}

/// What uv does as far as the provider sees it: an interpreter in a directory with its version, and a link to that.
const STAND_IN: &str = r#"#!/bin/sh
set -eu
while [ "$1" != --install-dir ]; do shift; done
[ "$3" = 3.12 ] || exit 2
made=$2/cpython-3.12.7-linux
mkdir -p "$made/bin" "$made/lib/python3.12"
touch "$made/lib/python3.12/EXTERNALLY-MANAGED"
printf '#!/bin/sh\n# %s\necho 3.12.7\n' "$made" > "$made/bin/python3"
chmod 755 "$made/bin/python3"
ln -s cpython-3.12.7-linux "$2/cpython-3.12-linux"
"#;

#[test]
fn a_provider_makes_a_runtime_that_is_moved_to_its_place() {
    let scratch = Scratch::new("extension-provider");
    let path = install(&scratch, "sbox-mkenv-uv");
    let refused = |path: &str, spec: &str| stderr(&mkenv(&scratch, path, spec).output().unwrap());
    let without = format!("{}:/usr/bin:/bin", scratch.path("extensions").display());
    assert!(refused(&path, "node:22").contains("uv has Python only"));
    if !PathBuf::from("/usr/bin/uv").exists() {
        assert!(refused(&without, "python:3.12").contains("uv is not installed"));
    }
    let place = scratch.write("extensions/uv", STAND_IN);
    std::fs::set_permissions(place, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    assert!(refused(&path, "python:3.8").contains("uv has no Python 3.8"));
    let output = mkenv(&scratch, &path, "python:3.12").output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let made: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(made["runtimes"][0]["version"], "3.12.7");
    // The path that it was made at is not in it any more.
    assert!(scratch.read("made/bin/python3").contains(&format!("# {}\n", scratch.path("made").display())));
    assert!(!scratch.path("made/lib/python3.12/EXTERNALLY-MANAGED").exists());
}

#[test]
fn a_provider_uses_uv_itself_online() {
    if !need_registries() || !need_program("python3") {
        return;
    }
    let scratch = Scratch::new("extension-uv");
    let path = install(&scratch, "sbox-mkenv-uv");
    let pip = std::process::Command::new("sh")
        .arg("-c")
        .arg(format!("python3 -m venv '{0}/v' && '{0}/v/bin/pip' install -q uv", scratch.root.display()))
        .output()
        .unwrap();
    if !pip.status.success() {
        skip(&format!("uv cannot be installed here: {}", stderr(&pip)));
        return;
    }
    let path = format!("{}:{path}", scratch.path("v/bin").display());
    let mut command = mkenv(&scratch, &path, "python:3.12");
    let output =
        command.envs(std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SSL_"))).output();
    let output = output.unwrap();
    if stderr(&output).contains("uv has no Python") {
        skip("uv cannot download a Python here: it takes them from another place than packages");
        return;
    }
    let python = std::process::Command::new(scratch.path("made/bin/python3")).args(["-m", "pip", "--version"]).output();
    assert!(python.unwrap().status.success());
}
