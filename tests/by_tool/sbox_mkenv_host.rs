use crate::common::{Scratch, need_python, stderr, stdout};
use predicates::str::contains;

/// Makes the Python that the host has; gives its prefix.
fn python(scratch: &Scratch, below: &str) -> Option<std::path::PathBuf> {
    let spec = need_python()?;
    let prefix = scratch.path(below);
    let output = scratch.program("sbox-mkenv-host").arg(spec).arg(&prefix).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    Some(prefix)
}

#[test]
fn the_copy_is_whole_and_says_its_own_prefix_everywhere() {
    let scratch = Scratch::new("host python's copy");
    let Some(prefix) = python(&scratch, "env") else { return };
    let ask = |words: &[&str]| {
        let output = scratch
            .program("sbox-spawn")
            .args(["--network", "none", "--own"])
            .args([&prefix, &prefix])
            .arg("--")
            .arg(prefix.join(words[0]))
            .args(&words[1..])
            .output()
            .unwrap();
        assert!(output.status.success(), "{words:?}: {}", stderr(&output));
        stdout(&output)
    };
    let at = prefix.to_str().unwrap();
    let code = "import sys, sysconfig; print(sys.prefix); print(sysconfig.get_path('purelib')); print(sysconfig.get_path('scripts')); print(sysconfig.get_config_var('INCLUDEPY') or sysconfig.get_path('include'))";
    assert!(ask(&["bin/python", "-c", code]).lines().all(|line| line.starts_with(at)));
    assert!(ask(&["bin/pip", "--version"]).contains(at));
    ask(&["bin/python3", "-c", "import ssl, sqlite3, ctypes, zlib, lzma, bz2, hashlib, venv"]);
}

#[test]
fn byte_code_is_valid_for_every_module() {
    let scratch = Scratch::new("host-pyc");
    let Some(prefix) = python(&scratch, "env") else { return };
    // For each source: its byte code names its time and size (PEP 552, flags 0).
    let code = r"
import importlib.util, os, struct, sys
stale = []
for top, _, names in os.walk(os.path.dirname(os.__file__)):
    for name in names:
        path = os.path.join(top, name)
        if name.endswith('.py') and 'lib2to3' not in path and 'site-packages' not in path:
            pyc = importlib.util.cache_from_source(path)
            try: head = open(pyc, 'rb').read(16)
            except FileNotFoundError: stale.append(path); continue
            stat = os.stat(path)
            if struct.unpack('<II', head[8:]) != (int(stat.st_mtime) & 0xffffffff, stat.st_size & 0xffffffff): stale.append(path)
print(len(stale), stale[:3])
";
    let output = scratch
        .program("sbox-spawn")
        .arg("--own")
        .args([&prefix, &prefix])
        .arg("--")
        .arg(prefix.join("bin/python3"))
        .args(["-c", code])
        .output()
        .unwrap();
    assert!(stdout(&output).starts_with("0 "), "{}{}", stdout(&output), stderr(&output));
}

#[test]
fn what_others_installed_and_tests_stay_behind() {
    let scratch = Scratch::new("host-left");
    let Some(prefix) = python(&scratch, "env") else { return };
    let mut found = Vec::new();
    for entry in std::process::Command::new("find").arg(&prefix).output().map(|output| stdout(&output)).unwrap().lines()
    {
        if entry.ends_with(".a") || entry.ends_with("EXTERNALLY-MANAGED") || entry.ends_with("/test/test_os.py") {
            found.push(entry.to_owned());
        }
    }
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn resolving_makes_nothing_and_a_missing_version_lists_what_there_is() {
    let Some(spec) = need_python() else { return };
    let scratch = Scratch::new("host-resolve");
    let output = scratch.program("sbox-mkenv-host").args(["--resolve", spec]).output().unwrap();
    let json: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert!(json["version"].as_str().unwrap().starts_with(spec.trim_start_matches("python:")));
    scratch
        .program("sbox-mkenv-host")
        .args(["--resolve", "python:3.99"])
        .assert()
        .code(3)
        .stdout(contains("it has 3."));
    scratch.program("sbox-mkenv-host").args([spec, "relative"]).assert().code(2);
}

#[test]
fn an_interpreter_that_lies_is_not_taken() {
    use std::os::unix::fs::PermissionsExt;
    if need_python().is_none() {
        return;
    }
    let scratch = Scratch::new("host-lies");
    for (name, text) in [("python3.99", "#!/bin/sh\necho 3.99\n"), ("python3", "#!/bin/sh\nexit 1\n")] {
        let path = scratch.write(&format!("bin/{name}"), text);
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = format!("{}:/usr/bin:/bin", scratch.path("bin").display());
    scratch.program("sbox-mkenv-host").env("PATH", path).args(["--resolve", "python:3.99"]).assert().code(3);
}

#[test]
fn an_interpreter_is_asked_once_and_again_when_it_was_replaced() {
    let scratch = Scratch::new("host-known");
    let put = |version: &str| {
        use std::os::unix::fs::PermissionsExt;
        let say = format!(
            r#"{{"version":"{version}","implementation":"cpython","executable":"/bin/sh","prefix":"/p","built_prefix":"/p","stdlib":"/p/l","include":"/p/i","debian":false}}"#
        );
        let asked = scratch.path("asked");
        let path = scratch.write("bin/.new", &format!("#!/bin/sh\necho >>{}\necho '{say}'\n", asked.display()));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::rename(path, scratch.path("bin/python3.98")).unwrap();
    };
    let resolved = || {
        let path = format!("{}:/usr/bin:/bin", scratch.path("bin").display());
        let output =
            scratch.program("sbox-mkenv-host").env("PATH", path).args(["--resolve", "python:3.98"]).output().unwrap();
        let json: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
        let count = scratch.read("asked").lines().count();
        (json["version"].as_str().unwrap().to_owned(), count)
    };
    put("3.98.1");
    assert_eq!((resolved(), resolved()), (("3.98.1".into(), 1), ("3.98.1".into(), 1)));
    // As a package manager does it: under the same name, of the same size.
    put("3.98.2");
    assert_eq!((resolved(), resolved()), (("3.98.2".into(), 2), ("3.98.2".into(), 2)));
}

#[test]
fn a_node_of_the_host_is_copied_with_its_npm() {
    if !crate::common::need_sandbox() {
        return;
    }
    let Ok(host) = std::process::Command::new("node").arg("--version").output() else {
        crate::common::skip::skip("this host has no Node.js");
        return;
    };
    let scratch = Scratch::new("host-node");
    let version = stdout(&host).trim().trim_start_matches('v').to_owned();
    let prefix = scratch.path("env");
    let output = scratch.program("sbox-mkenv-host").arg(format!("node:{version}")).arg(&prefix).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let json: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(json["version"], version.as_str());
    let node = |words: &[&str]| {
        let mut command = scratch.program("sbox-spawn");
        command
            .arg("--own")
            .args([&prefix, &prefix])
            .args(["--network", "none", "--"])
            .arg(prefix.join("bin/node"))
            .args(words);
        stdout(&command.output().unwrap())
    };
    assert_eq!(node(&["-p", "process.execPath"]).trim(), prefix.join("bin/node").to_str().unwrap());
    if prefix.join("bin/npm").exists() {
        let npm = prefix.join("bin/npm");
        assert!(node(&[npm.to_str().unwrap(), "--version"]).trim().split('.').count() == 3);
    }
}
