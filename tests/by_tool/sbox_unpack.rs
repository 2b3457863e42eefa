use crate::common::daemons::Standing;
use crate::common::{Scratch, need_python, need_registries, specimens, stderr};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use std::os::unix::fs::symlink;
use std::process::Command;

/// A packed project, extracted at another path; the first one is gone.
fn elsewhere(project: &Standing, place: &str) -> std::path::PathBuf {
    project.sbox(&["pack", "--force", "-o", "../packed.tar.gz"]).assert().success();
    let there = project.scratch.path(place);
    std::fs::create_dir_all(&there).unwrap();
    let tar = Command::new("tar").arg("-xzf").arg(project.scratch.path("packed.tar.gz")).arg("-C").arg(&there).status();
    assert!(tar.unwrap().success());
    std::fs::rename(project.scratch.path("p"), project.scratch.path("old")).unwrap();
    there.join("p")
}

#[test]
fn an_extracted_sandbox_works_where_it_is() {
    let project = Standing::new("unpack", "cmd: tool\ncopy: [./gone:/gone]\n");
    let old = project.scratch.path("p/.sbox/env");
    let first = project.scratch.path("p").display().to_string();
    let tool =
        project.scratch.write("p/.sbox/env/bin/tool", &format!("#!/bin/sh\necho {} {first}-other\n", old.display()));
    Command::new("chmod").arg("755").arg(&tool).status().unwrap();
    project.scratch.write("p/.sbox/env/conda-meta/x-1.json", &format!("{{\"prefix\": \"{}\"}}", old.display()));
    symlink(old.join("bin/tool"), project.state("env/bin/link")).unwrap();
    let there = elsewhere(&project, "a/much/longer/path");
    let sbox = |words: &[&str]| {
        let mut command = project.scratch.sbox("a/much/longer/path/p");
        command.args(words);
        command
    };
    sbox(&["run"]).assert().code(125).stderr(contains("has moved"));
    let dry = sbox(&["unpack", "--dry-run", "--verbose"]).output().unwrap();
    assert!(stderr(&dry).contains("[INFO] Would update: .sbox/env/bin/tool"), "{}", stderr(&dry));
    assert!(std::fs::read_to_string(there.join(".sbox/env/bin/tool")).unwrap().contains(old.to_str().unwrap()));
    let output = sbox(&["unpack", "--verify"]).output().unwrap();
    assert!(output.status.success());
    let said = stderr(&output);
    for line in [
        "[STEP] Relocating paths for: p".to_owned(),
        format!("[INFO] Original prefix: {first}"),
        format!("[INFO] New prefix: {}", there.display()),
        "[STEP] Regenerating environment script...".into(),
        format!("[INFO] Writing: {}/.sbox/env.sh", there.display()),
        "[INFO] Updating: .sbox/env/conda-meta/x-1.json".into(),
    ] {
        assert!(said.contains(&line), "{line}: {said}");
    }
    let env = there.join(".sbox/env");
    let text = std::fs::read_to_string(env.join("bin/tool")).unwrap();
    assert_eq!(text, format!("#!/bin/sh\necho {} {first}-other\n", env.display()));
    assert_eq!(std::fs::read_link(env.join("bin/link")).unwrap(), env.join("bin/tool"));
    assert!(std::fs::read_to_string(there.join(".sbox/env.sh")).unwrap().contains(env.to_str().unwrap()));
    // Twice is once.
    sbox(&["unpack"]).assert().success().stderr(contains("(0 files)"));
    if crate::common::need_sandbox() {
        sbox(&["run"]).assert().success().stdout(contains(env.to_str().unwrap()));
    }
}

#[test]
fn an_index_that_does_not_fit_is_not_believed() {
    let project = Standing::new("unpack-index", "");
    let old = project.scratch.path("p/.sbox/env");
    project.scratch.write("p/.sbox/env/a", &format!("{}\n", old.display()));
    let there = elsewhere(&project, "b");
    // Something was added after it was packed, and the index knows nothing of it.
    std::fs::write(there.join(".sbox/env/added"), format!("{}\n", old.display())).unwrap();
    project.scratch.sbox("b/p").arg("unpack").assert().success();
    for file in ["a", "added"] {
        assert_eq!(
            std::fs::read_to_string(there.join(".sbox/env").join(file)).unwrap(),
            format!("{}\n", there.join(".sbox/env").display())
        );
    }
}

#[test]
fn what_cannot_move_is_named_and_keeps_its_old_path_inside() {
    let project = Standing::new("unpack-stuck", "");
    let old = project.scratch.path("p/.sbox/env");
    let binary = format!("\x7fELF\0{}/lib\0", old.display());
    project.scratch.write("p/.sbox/env/lib/x.so", &binary);
    project.scratch.write("p/.sbox/env/text", &format!("{}\n", old.display()));
    let there = elsewhere(&project, "much/longer");
    let output = project.scratch.sbox("much/longer/p").arg("unpack").output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let longest = format!("a path of at most {} bytes fits", old.parent().unwrap().parent().unwrap().as_os_str().len());
    for part in [
        "[WARN] cannot relocate '.sbox/env/lib/x.so': the new path is 12 bytes too long",
        "[WARN] the environment keeps its old path inside the sandbox",
        &longest,
    ] {
        assert!(stderr(&output).contains(part), "{part}: {}", stderr(&output));
    }
    assert_eq!(std::fs::read_to_string(there.join(".sbox/env/text")).unwrap(), format!("{}\n", old.display()));
    // In the sandbox it is where it was.
    if crate::common::need_sandbox() {
        let line = format!("cat {}/text; echo $HOME", old.display());
        let run = project.scratch.sbox("much/longer/p").args(["run", &line]).output().unwrap();
        let home = project.scratch.path("p/.sbox/rootfs/home");
        assert_eq!(crate::common::stdout(&run), format!("{}\n{}\n", old.display(), home.display()), "{}", stderr(&run));
        let level = ["run", "--isolation", "env", "true"];
        project.scratch.sbox("much/longer/p").args(level).assert().code(125);
    }
    // Back to a place that is shorter, and from there to one that is as long as the first: the room was kept.
    std::fs::rename(&there, project.scratch.path("s")).unwrap();
    project.scratch.sbox("s").arg("unpack").assert().success();
    std::fs::rename(project.scratch.path("s"), project.scratch.path("q")).unwrap();
    project.scratch.sbox("q").arg("unpack").assert().success();
    let now = project.scratch.path("q/.sbox/env");
    assert_eq!(std::fs::read_to_string(now.join("lib/x.so")).unwrap(), format!("\x7fELF\0{}/lib\0", now.display()));
}

#[test]
fn a_hostile_archive_makes_it_read_and_write_nothing_outside() {
    let scratch = Scratch::new("unpack-hostile");
    let original = "/usr/share/some/place";
    let precious = format!("{original} precious\n");
    let metadata = format!("{{\"sbox_version\": \"1\", \"original_prefix\": \"{original}\"}}");
    let planted: [(&str, &str); 8] = [
        (".sbox/env", "dir"),
        (".sbox/env/bin", "dir"),
        (".sbox/rootfs", "dir"),
        (".sbox/env.sh", "file"),
        ("sbox.lock", "file"),
        ("metadata.json", "metadata"),
        (".sbox/env/conda-meta/a.json", "file"),
        (".sbox/slots.json", "file"),
    ];
    for (place, what) in planted {
        let name = place.replace(['/', '.'], "-");
        scratch.write(&format!("{name}/outside/file"), &precious);
        scratch.write(&format!("{name}/outside/metadata.json"), &metadata);
        let root = scratch.project(&format!("{name}/p"), "runtime: node:22\nenv: {X: \"$(touch PWN)\"}\n");
        std::fs::write(root.join("metadata.json"), &metadata).unwrap();
        let link = root.join(place);
        std::fs::create_dir_all(link.parent().unwrap()).unwrap();
        let _ = std::fs::remove_file(&link);
        let target = match what {
            "dir" => scratch.path(&format!("{name}/outside")),
            "file" => scratch.path(&format!("{name}/outside/file")),
            _ => scratch.path(&format!("{name}/outside/metadata.json")),
        };
        symlink(target, &link).unwrap();
        let output =
            scratch.sbox(&format!("{name}/p")).arg("unpack").timeout(std::time::Duration::from_secs(30)).output();
        let output = output.unwrap();
        if what == "metadata" {
            // Nor is anything outside read.
            assert!(stderr(&output).contains("no packed sandbox"), "{}", stderr(&output));
        }
        assert_eq!(scratch.read(&format!("{name}/outside/file")), precious, "{place}");
        assert_eq!(scratch.read(&format!("{name}/outside/metadata.json")), metadata, "{place}");
        assert!(!root.join("PWN").exists());
        let mut shell = Command::new("sh");
        shell.args(["-c", ". ./.sbox/env.sh 2>/dev/null; true"]).current_dir(&root);
        if std::fs::symlink_metadata(root.join(".sbox/env.sh")).is_ok_and(|script| script.is_file()) {
            shell.status().unwrap();
            assert!(!root.join("PWN").exists(), "{place}");
        }
    }
}

#[test]
fn wild_prefixes_are_refused() {
    let scratch = Scratch::new("unpack-wild");
    scratch.project("p", "runtime: node:22\n");
    scratch.write("p/.sbox/env/x", "/ .. .* /usr/bin/env\n");
    for prefix in ["\"\"", "\"/\"", "\"..\"", "\"/a/../b\"", "\"relative\"", "7", "null", "\"/a\\nb\"", "[]"] {
        scratch.write("p/metadata.json", &format!("{{\"sbox_version\": \"1\", \"original_prefix\": {prefix}}}"));
        scratch.sbox("p").arg("unpack").assert().code(1);
        assert_eq!(scratch.read("p/.sbox/env/x"), "/ .. .* /usr/bin/env\n", "{prefix}");
    }
    // Text that a pattern would match is not the prefix.
    scratch.write("p/metadata.json", "{\"sbox_version\": \"1\", \"original_prefix\": \"/u.*\"}");
    scratch.sbox("p").arg("unpack").assert().success();
    assert_eq!(scratch.read("p/.sbox/env/x"), "/ .. .* /usr/bin/env\n");
    scratch.sbox(".").arg("unpack").assert().code(1).stderr(contains("no packed sandbox"));
}

#[test]
fn an_unpacked_configuration_gets_nothing_of_the_host_before_it_is_trusted() {
    let project = Standing::new("unpack-trust", "env: {K: \"${OPENAI_API_KEY}\"}\ncmd: env\n");
    project.sbox(&["trust"]).assert().success();
    elsewhere(&project, "other");
    let sbox = |words: &[&str]| {
        let mut command = project.scratch.sbox("other/p");
        command.args(words).env("OPENAI_API_KEY", "precious");
        command
    };
    sbox(&["unpack"]).assert().success().stderr(contains("sbox trust && sbox run"));
    sbox(&["run"]).assert().failure().stderr(contains("sbox trust")).stdout("");
    sbox(&["trust"]).assert().success();
    sbox(&["unpack"]).assert().success().stderr(contains("sbox trust").not());
}

#[test]
fn a_python_environment_moves_with_everything_in_it() {
    let Some(spec) = need_python().filter(|_| need_registries()) else { return };
    let scratch = Scratch::new("unpack-python");
    scratch.write("first/p/app/pkg/pyproject.toml", "[project]\nname = \"mine\"\nversion = \"1\"\n[project.scripts]\nmine = \"mine:main\"\n[build-system]\nrequires = [\"setuptools\"]\nbuild-backend = \"setuptools.build_meta\"\n");
    scratch
        .write("first/p/app/pkg/mine.py", "import numpy\ndef main(): print('mine', numpy.arange(3).sum(), __file__)\n");
    let config = format!(
        "runtime: {spec}\ncopy: [./app:/app]\ninstall:\n  - pip install -q numpy requests\n  - pip install -q -e /app/pkg\n  - python -m venv $HOME/venv\ncmd: mine\n"
    );
    scratch.project("first/p", &config);
    scratch.sbox("first/p").arg("build").assert().success();
    scratch.sbox("first/p").args(["pack", "-o", "../../p.tar.gz"]).assert().success();
    std::fs::create_dir_all(scratch.path("a much/longer/path")).unwrap();
    let mut extract = scratch.program("sbox-archive");
    extract
        .args(["extract", "-C"])
        .arg(scratch.path("a much/longer/path"))
        .arg(scratch.path("p.tar.gz"))
        .assert()
        .success();
    std::fs::remove_dir_all(scratch.path("first")).unwrap();
    let place = "a much/longer/path/p";
    scratch.sbox(place).args(["unpack", "--verify"]).assert().success();
    let run = |line: &str| crate::common::stdout(&scratch.sbox(place).args(["run", line]).output().unwrap());
    assert!(run("mine").starts_with("mine 3 /app/pkg/mine.py"), "{}", run("mine"));
    assert!(run("pip --version").contains(place));
    assert!(run("python -c 'import requests, sys; print(requests.__name__, sys.prefix)'").contains(place));
    assert!(run("python -m venv /tmp/v && /tmp/v/bin/python -c 'import sys; print(sys.prefix)'").contains("/tmp/v"));
    assert!(run("\"$HOME\"/venv/bin/python -c 'import sys; print(sys.base_prefix)'").contains(place));
    assert!(run("pip check").contains("No broken requirements"));
    assert!(run("pip uninstall -y requests && pip list").contains("numpy"));
}

/// Every file of the two trees with its content.
fn content(root: &std::path::Path) -> std::collections::BTreeMap<std::path::PathBuf, Vec<u8>> {
    let files = ["env", "rootfs"].into_iter().flat_map(|tree| {
        walkdir::WalkDir::new(root.join(".sbox").join(tree)).into_iter().map(Result::unwrap).collect::<Vec<_>>()
    });
    files
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| (entry.path().strip_prefix(root).unwrap().to_owned(), std::fs::read(entry.path()).unwrap()))
        .collect()
}

#[test]
fn data_arrives_as_it_was_by_an_archive_and_by_a_move_at_any_length() {
    for (name, place) in [("unpack-data", "s"), ("unpack-data", "a/longer/way"), ("unpack-data-mv", "")] {
        let project = Standing::new(name, "");
        let env = project.scratch.path("p/.sbox/env");
        for (name, bytes) in specimens::data(env.to_str().unwrap()) {
            for tree in ["env/share", "rootfs/home"] {
                project.scratch.write(&format!("p/.sbox/{tree}/{name}"), "");
                std::fs::write(project.state(&format!("{tree}/{name}")), &bytes).unwrap();
            }
        }
        let text = format!("{}/bin\n", env.display());
        project.scratch.write("p/.sbox/rootfs/home/settings", &text);
        let before = content(&project.scratch.path("p"));
        let (there, words) = if place.is_empty() {
            let there = project.scratch.path("moved to another place");
            std::fs::rename(project.scratch.path("p"), &there).unwrap();
            // What a build does first; what it then makes is not to be seen here.
            (there, "build")
        } else {
            (elsewhere(&project, place), "unpack")
        };
        let mut command = std::process::Command::new(crate::common::bin().join("sbox"));
        let output = command.arg(words).current_dir(&there).env("HOME", project.scratch.home()).output().unwrap();
        let said = stderr(&output);
        assert!(said.contains("files that name the old path are data, and stay as they are"), "{said}");
        let after = content(&there);
        for (place, bytes) in &before {
            let moved = place.ends_with("settings");
            if place.starts_with(".sbox/rootfs") || words == "unpack" {
                assert!(moved || after.get(place) == Some(bytes), "{}: {said}", place.display());
            }
        }
        let settings = std::fs::read_to_string(there.join(".sbox/rootfs/home/settings")).unwrap();
        assert_eq!(settings, format!("{}/.sbox/env/bin\n", there.display()));
    }
}

#[test]
fn a_dry_run_lists_what_the_real_run_changes() {
    let project = Standing::new("unpack-plan", "");
    let env = project.scratch.path("p/.sbox/env").display().to_string();
    project.scratch.write("p/.sbox/env/bin/tool", &format!("#!{env}/bin/x\n"));
    project.scratch.write("p/.sbox/env/lib/x.so", &format!("\x7fELF\0{env}/lib\0"));
    let record = r#"{"paths_data": {"paths": [{"_path": "bin/tool", "sha256_in_prefix": "0"}]}}"#;
    project.scratch.write("p/.sbox/env/conda-meta/x-1.json", record);
    project.scratch.write("p/.sbox/rootfs/home/x", &format!("{env}\n"));
    project.sbox(&["pack", "--force", "-o", "../packed.tar.gz"]).assert().success();
    let there = project.scratch.path("s");
    std::fs::create_dir(&there).unwrap();
    let tar = Command::new("tar").arg("-xzf").arg(project.scratch.path("packed.tar.gz")).arg("-C").arg(&there).status();
    assert!(tar.unwrap().success());
    std::fs::rename(there.join("p"), project.scratch.path("q")).unwrap();
    let list = |words: &[&str]| -> serde_json::Value {
        let output = project.scratch.sbox("q").args(words).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let dry = list(&["unpack", "--dry-run", "--json"]);
    let before: Vec<_> = content(&project.scratch.path("q")).into_iter().collect();
    let real = list(&["unpack", "--json"]);
    assert_eq!(dry["changed"], real["changed"]);
    let places: Vec<&str> =
        real["changed"].as_array().unwrap().iter().map(|one| one["path"].as_str().unwrap()).collect();
    let expected = [
        "env/bin/tool",
        "env/conda-meta/x-1.json",
        "env/lib/x.so",
        "rootfs/home/x",
        "slots.json",
        "env.sh",
        "built.json",
    ];
    assert_eq!(places, expected);
    // And nothing else did.
    let after = content(&project.scratch.path("q"));
    let changed = before.iter().filter(|(place, bytes)| after[place] != *bytes).count();
    assert_eq!(changed, 4);
}

#[test]
fn a_pinned_path_survives_the_next_pack_and_is_given_up_where_it_fits() {
    let project = Standing::new("unpack-pin", "");
    let env = project.scratch.path("p/.sbox/env").display().to_string();
    let program = format!("\x7fELF\0{env}/lib\0");
    project.scratch.write("p/.sbox/env/lib/x.so", &program);
    project.scratch.write("p/.sbox/rootfs/home/x", &format!("{env}\n"));
    elsewhere(&project, "much/longer");
    project.scratch.sbox("much/longer/p").arg("unpack").assert().success().stderr(contains("keeps its old path"));
    let json = |place: &str| -> serde_json::Value { serde_json::from_str(&project.scratch.read(place)).unwrap() };
    assert_eq!(json("much/longer/p/.sbox/built.json")["pinned_prefix"], true);
    assert_eq!(project.scratch.read("much/longer/p/.sbox/rootfs/home/x"), format!("{env}\n"), "all of it or nothing");
    let pack = ["pack", "--force", "-o", "../../../again.tar.gz"];
    project.scratch.sbox("much/longer/p").args(pack).assert().success();
    std::fs::create_dir(project.scratch.path("z")).unwrap();
    let mut tar = Command::new("tar");
    tar.arg("-xzf").arg(project.scratch.path("again.tar.gz")).arg("-C").arg(project.scratch.path("z"));
    assert!(tar.status().unwrap().success());
    std::fs::rename(project.scratch.path("z/p"), project.scratch.path("o")).unwrap();
    project.scratch.sbox("o").arg("unpack").assert().success();
    let here = project.scratch.path("o/.sbox/env").display().to_string();
    assert_eq!(project.scratch.read("o/.sbox/env/lib/x.so"), format!("\x7fELF\0{here}/lib\0"));
    assert_eq!(project.scratch.read("o/.sbox/rootfs/home/x"), format!("{here}\n"));
    assert_eq!(json("o/.sbox/built.json")["pinned_prefix"], serde_json::Value::Null);
}
