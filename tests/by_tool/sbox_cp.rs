use crate::common::cow::need_overlay;
use crate::common::daemons::Standing;
use crate::common::need_sandbox;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

/// A project that looks built, with a secret beside it.
fn project(name: &str, config: &str) -> Standing {
    let project = Standing::new(name, config);
    project.scratch.write("secret", "the key\n");
    project
}

fn mode(path: &Path) -> u32 {
    path.symlink_metadata().unwrap().permissions().mode() & 0o7777
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn files_and_trees_go_in_and_come_out() {
    let project = project("cp", "");
    let source = project.scratch.write("p/in/data.csv", "1,2\n");
    chmod(&source, 0o640);
    project.scratch.write("p/in/deep/er/x", "x");
    symlink("data.csv", project.scratch.path("p/in/link")).unwrap();
    let said = "Copied 1 file (4 B) to ':/app'";
    project.sbox(&["cp", "in/data.csv", ":/app"]).assert().success().stderr(contains(said));
    let inside = project.state("rootfs/app/data.csv");
    assert_eq!((std::fs::read_to_string(&inside).unwrap().as_str(), mode(&inside)), ("1,2\n", 0o640));
    let times = |path: &Path| path.metadata().unwrap().modified().unwrap();
    assert_eq!(times(&inside), times(&source));
    project.sbox(&["cp", "-q", "in", ":/app/tree"]).assert().success().stderr("");
    assert_eq!(std::fs::read_link(project.state("rootfs/app/tree/link")).unwrap(), Path::new("data.csv"));
    // Once more, it goes into the directory that is there now.
    project.sbox(&["cp", "in", ":/app/tree"]).assert().success();
    assert!(project.state("rootfs/app/tree/in/deep/er/x").is_file());
    project.sbox(&["cp", ":/app/tree/in", ":/app/data.csv", "."]).assert().success();
    assert_eq!(project.scratch.read("p/in/deep/er/x") + &project.scratch.read("p/data.csv"), "x1,2\n");
    project.sbox(&["cp", ":/app/data.csv", "renamed"]).assert().success();
    assert!(project.scratch.path("p/renamed").is_file());
}

#[test]
fn the_projects_own_state_is_not_swallowed() {
    let project = project("cp-self", "");
    project.scratch.write("p/main.py", "x");
    project.sbox(&["cp", ".", ":/app"]).assert().success();
    assert!(project.state("rootfs/app/p/main.py").is_file());
    assert!(!project.state("rootfs/app/p/.sbox").exists());
}

#[test]
fn a_link_of_the_agents_leads_nowhere() {
    let project = project("cp-links", "mount:\n  - ./out:/out:rw\n");
    let outside = project.scratch.path("");
    std::fs::create_dir_all(project.scratch.path("p/out")).unwrap();
    let app = project.state("rootfs/app");
    symlink(outside.join("secret"), app.join("file")).unwrap();
    symlink(&outside, app.join("directory")).unwrap();
    project.sbox(&["cp", ":/app/file", "stolen"]).assert().code(1).stderr(contains("is a symbolic link to"));
    for path in [":/app/directory/secret", ":/app/directory"] {
        project.sbox(&["cp", path, "stolen"]).assert().code(1).stderr(contains("symbolic link"));
    }
    project.scratch.write("p/mine", "mine\n");
    // Neither is written through: not as a directory, not as a file.
    project.sbox(&["cp", "mine", ":/app/directory/planted"]).assert().code(1).stderr(contains("symbolic link"));
    project.sbox(&["cp", "mine", ":/app/file"]).assert().code(1);
    assert_eq!((project.scratch.read("secret").as_str(), outside.join("planted").exists()), ("the key\n", false));
    // A tree has them: what leads out of the copy is left, and named.
    symlink("sibling", app.join("inner")).unwrap();
    let output = project.sbox(&["cp", ":/app", "tree"]).assert().code(1);
    output.stderr(contains("'directory' is not copied").and(contains("'file' is not copied")));
    assert_eq!(std::fs::read_link(project.scratch.path("p/tree/inner")).unwrap(), Path::new("sibling"));
    assert!(project.scratch.path("p/tree/file").symlink_metadata().is_err());
    // In a read-write mount, on the way from this machine as well.
    symlink(outside.join("secret"), project.scratch.path("p/out/file")).unwrap();
    symlink(&outside, project.scratch.path("p/out/directory")).unwrap();
    project.sbox(&["cp", "out/file", ":/app/copy"]).assert().code(1).stderr(contains("which a sandbox can change"));
    project.sbox(&["cp", "out/directory/secret", ":/app/copy"]).assert().code(1);
    project.sbox(&["cp", ":/out/directory/secret", "stolen"]).assert().code(1);
    project.sbox(&["cp", "mine", ":/out/directory/planted"]).assert().code(1);
    project.scratch.write("p/.sbox/rootfs/app/fine", "fine\n");
    project.sbox(&["cp", ":/app/fine", "out/directory/planted"]).assert().code(1);
    assert!(!app.join("copy").exists() && !outside.join("planted").exists());
    assert!(!project.scratch.path("p/stolen").exists());
}

#[test]
fn no_copy_is_set_uid() {
    let project = project("cp-setuid", "");
    let inside = project.scratch.write("p/.sbox/rootfs/app/tool", "x");
    chmod(&inside, 0o6755);
    project.sbox(&["cp", ":/app/tool", "tool"]).assert().success();
    project.sbox(&["cp", ":/app", "tree"]).assert().success();
    assert_eq!(["p/tool", "p/tree/tool"].map(|path| mode(&project.scratch.path(path))), [0o755, 0o755]);
    chmod(&project.scratch.path("p/tool"), 0o6711);
    project.sbox(&["cp", "tool", ":/app/back"]).assert().success();
    assert_eq!(mode(&project.state("rootfs/app/back")), 0o711);
}

#[test]
fn what_programs_of_this_machine_act_on_is_left_until_it_is_named() {
    let project = project("cp-triggers", "");
    for file in [".envrc", "repo/.git/HEAD", "repo/.git/config", "bare/HEAD", "bare/objects/x", "bare/refs/x", "ok"] {
        project.scratch.write(&format!("p/.sbox/rootfs/app/w/{file}"), "x");
    }
    let output = project.sbox(&["cp", ":/app/w", "w"]).assert().code(1);
    output.stderr(
        contains("'.envrc' is not copied: ").and(contains("'repo/.git' is not")).and(contains("'bare' is not")),
    );
    let there = |path: &str| project.scratch.path("p/w").join(path).exists();
    assert_eq!(["ok", "repo", ".envrc", "repo/.git", "bare"].map(there), [true, true, false, false, false]);
    project.sbox(&["cp", ":/app/w/.envrc", "w"]).assert().success();
    assert!(there(".envrc"));
}

#[test]
fn pipes_do_not_block_and_closed_directories_are_opened() {
    let project = project("cp-special", "");
    let app = project.state("rootfs/app");
    assert!(std::process::Command::new("mkfifo").arg(app.join("pipe")).status().unwrap().success());
    project.scratch.write("p/.sbox/rootfs/app/closed/x", "x");
    chmod(&app.join("closed/x"), 0);
    chmod(&app.join("closed"), 0);
    project.sbox(&["cp", ":/app", "w"]).assert().code(1).stderr(contains("'pipe' is not copied"));
    assert!(project.scratch.path("p/w/closed/x").is_file());
    assert_eq!(mode(&app.join("closed")), 0);
    chmod(&app.join("closed"), 0o700);
    project.sbox(&["cp", ":/app/pipe", "w"]).assert().code(1).stderr(contains("neither a file nor a directory"));
}

#[test]
fn a_path_is_where_the_sandbox_shows_it() {
    let config = "mount:\n  - ./data:/data:ro\n  - ./out:/data/out:rw\n  - ./tree:/work:cow\n";
    let project = project("cp-mounts", config);
    for file in ["data/in.csv", "tree/x", "mine"] {
        project.scratch.write(&format!("p/{file}"), file);
    }
    std::fs::create_dir_all(project.scratch.path("p/out")).unwrap();
    project.sbox(&["cp", ":/data/in.csv", "copy"]).assert().success();
    assert_eq!(project.scratch.read("p/copy"), "data/in.csv");
    project.sbox(&["cp", "mine", ":/data"]).assert().code(1).stderr(contains("read-only mount"));
    project.sbox(&["cp", "mine", ":/data/out"]).assert().success();
    assert_eq!(project.scratch.read("p/out/mine"), "mine");
    project.sbox(&["cp", ":/usr/bin/env", "."]).assert().code(1).stderr(contains("this machine's"));
    let env = project.state("env/mine").display().to_string();
    project.sbox(&["cp", "mine", &format!(":{env}")]).assert().success();
    assert!(project.state("env/mine").is_file());
}

#[test]
fn what_cannot_be_meant_is_wrong_usage() {
    let project = project("cp-usage", "");
    project.scratch.write("p/a", "a");
    project.sbox(&["cp"]).assert().code(2).stderr(contains("missing PATH"));
    project.sbox(&["cp", "a", "b"]).assert().code(2).stderr(contains("one side has to be in the sandbox"));
    project.sbox(&["cp", ":/a", ":/b"]).assert().code(2);
    project.sbox(&["cp", "a", ":app/x"]).assert().code(2).stderr(contains("is not a path in the sandbox"));
    project.sbox(&["cp", "a", ":/app/../../x"]).assert().code(2).stderr(contains("has '..' in it"));
    project.sbox(&["cp", "a", "web:/app/x"]).assert().code(1).stderr(contains("there is no daemon 'web'"));
    project.sbox(&["cp", "missing", ":/app"]).assert().code(1).stderr(contains("missing"));
    project.sbox(&["cp", ":/app/missing", "."]).assert().code(1).stderr(contains("there is no ':/app/missing'"));
    project.scratch.write("p/.sbox/rootfs/app/d/a/x", "x");
    project.sbox(&["cp", "a", ":/app/d"]).assert().code(1).stderr(contains("it is a directory"));
}

#[test]
fn copy_on_write_mounts_are_copied_into_and_out_of_as_a_sandbox_sees_them() {
    if !(need_sandbox() && need_overlay()) {
        return;
    }
    let project = project("cp-cow", "mount:\n  - ./tree:/work:cow\n");
    for file in ["tree/old", "tree/d/below", "mine", "more/x"] {
        project.scratch.write(&format!("p/{file}"), file);
    }
    chmod(&project.scratch.path("p/mine"), 0o4640);
    // Before any run, after one that changed it, and while one is running.
    project.sbox(&["cp", ":/work/d", "first"]).assert().success();
    assert_eq!(project.scratch.read("p/first/below"), "tree/d/below");
    let change = "cd /work; echo new > new; rm old; rm -r d; mkdir d; echo e > d/e; ln -s /etc/passwd link";
    project.sbox(&["exec", "sh", "-c", change]).assert().success();
    project
        .sbox(&["cp", ":/work/new", ":/work/d", "out"])
        .assert()
        .code(1)
        .stderr(contains("'out' is not a directory"));
    std::fs::create_dir(project.scratch.path("p/out")).unwrap();
    project.sbox(&["cp", ":/work/new", ":/work/d", "out"]).assert().success();
    assert_eq!(project.scratch.read("p/out/new") + &project.scratch.read("p/out/d/e"), "new\ne\n");
    assert!(!project.scratch.path("p/out/d/below").exists());
    project.sbox(&["cp", ":/work/old", "out"]).assert().code(1).stderr(contains("there is no ':/work/old'"));
    // A link is the agent's: not followed alone, and left in a tree.
    project.sbox(&["cp", ":/work/link", "out"]).assert().code(1).stderr(contains("is a symbolic link to"));
    project.sbox(&["cp", ":/work", "whole"]).assert().code(1).stderr(contains("'link' is not copied"));
    assert!(project.scratch.path("p/whole/new").is_file() && !project.scratch.path("p/whole/link").exists());
    project.start("web", "until [ -e /work/mine ]; do sleep 0.02; done; cat /work/mine /work/more/x; sleep 1000");
    project.sbox(&["cp", "mine", "more", ":/work"]).assert().success().stderr(contains("Copied 2 files"));
    assert!(crate::common::becomes(|| project.log("web").contains("minemore/x")), "{}", project.log("web"));
    project.sbox(&["cp", "mine", ":/work/no/such/place"]).assert().code(1).stderr(contains("cannot write ':/work/no"));
    // It waits like the agent's own, without the bit; the tree of the host is as it was.
    assert!(project.stdout(&["diff", "--name-only"]).contains("mine\n"));
    let mode_inside = project.stdout(&["exec", "--in", "web", "stat", "-c", "%a", "/work/mine"]);
    assert_eq!(mode_inside, "640\n");
    assert!(!project.scratch.path("p/tree/mine").exists() && project.scratch.path("p/tree/old").exists());
    let left = std::fs::read_dir(project.state("rootfs"))
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    assert!(left.into_iter().all(|name| !name.contains("sbox-cp")));
    project.sbox(&["stop", "web"]).assert().success();
}
