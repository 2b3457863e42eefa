use crate::common::{Scratch, stderr, stdout};
use predicates::str::contains;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

/// Stages `src` of the scratch directory to `/app`; gives what was changed.
fn stage(scratch: &Scratch, options: &[&str]) -> Vec<String> {
    let entry = serde_json::json!({"kind": "copy", "src": scratch.path("src"), "dst": "/app"});
    let output = scratch
        .program("sbox-stage")
        .args(options)
        .arg("--into")
        .arg(scratch.path("root"))
        .arg("--record")
        .arg(scratch.path("record.json"))
        .write_stdin(format!("{entry}\n"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    stdout(&output).lines().map(str::to_owned).collect()
}

#[test]
fn one_edit_restages_one_file() {
    let scratch = Scratch::new("stage");
    for name in ["a", "b", "deep/c"] {
        scratch.write(&format!("src/{name}"), name);
    }
    assert_eq!(stage(&scratch, &[]), ["put /app/a", "put /app/b", "put /app/deep/c"]);
    assert!(stage(&scratch, &[]).is_empty());
    scratch.write("src/b", "edited");
    assert_eq!(stage(&scratch, &["-n"]), ["put /app/b"]);
    assert_eq!(stage(&scratch, &[]), ["put /app/b"]);
    assert_eq!(scratch.read("root/app/b"), "edited");
}

#[test]
fn what_is_gone_from_the_sources_goes_and_what_others_made_stays() {
    let scratch = Scratch::new("stage-remove");
    scratch.write("src/old/file", "x");
    scratch.write("src/kept", "x");
    stage(&scratch, &[]);
    scratch.write("root/app/node_modules/made", "by install");
    scratch.write("root/app/old/made", "by the agent");
    std::fs::remove_dir_all(scratch.path("src/old")).unwrap();
    assert_eq!(stage(&scratch, &[]), ["remove /app/old/file"]);
    assert!(scratch.path("root/app/node_modules/made").exists() && scratch.path("root/app/old/made").exists());
    assert!(!scratch.path("root/app/old/file").exists());
}

#[test]
fn what_came_from_a_source_that_is_gone_is_kept_only_if_that_is_asked_for_and_recorded() {
    let scratch = Scratch::new("stage-kept");
    scratch.write("src/a", "source");
    stage(&scratch, &[]);
    std::fs::rename(scratch.path("src"), scratch.path("elsewhere")).unwrap();
    let record = scratch.read("record.json");
    assert!(stage(&scratch, &["--keep-missing"]).is_empty());
    assert!(stage(&scratch, &["--keep-missing", "--force"]).is_empty());
    assert_eq!((scratch.read("root/app/a"), scratch.read("record.json")), ("source".into(), record));
    let entry = serde_json::json!({"kind": "copy", "src": scratch.path("src"), "dst": "/app"}).to_string();
    let fails = |options: &[&str]| {
        let mut command = scratch.program("sbox-stage");
        command.args(options).arg("--into").arg(scratch.path("root")).write_stdin(entry.clone());
        command.assert().code(1).stderr(contains("cannot read source"));
    };
    fails(&["--keep-missing"]);
    fails(&["--record", scratch.path("record.json").to_str().unwrap()]);
    assert_eq!(scratch.read("root/app/a"), "source");
}

#[test]
fn a_deleted_file_comes_back_and_an_agents_edit_stays() {
    let scratch = Scratch::new("stage-back");
    scratch.write("src/a", "source");
    scratch.write("src/b", "source");
    stage(&scratch, &[]);
    std::fs::remove_file(scratch.path("root/app/a")).unwrap();
    scratch.write("root/app/b", "the agent's");
    assert_eq!(stage(&scratch, &[]), ["put /app/a"]);
    assert_eq!(scratch.read("root/app/b"), "the agent's");
    stage(&scratch, &["--force"]);
    assert_eq!(scratch.read("root/app/b"), "source");
}

#[test]
fn modes_times_and_links_are_kept_and_set_uid_bits_are_not() {
    let scratch = Scratch::new("stage-modes");
    let file = scratch.write("src/tool", "x");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o4755)).unwrap();
    symlink("tool", scratch.path("src/link")).unwrap();
    stage(&scratch, &[]);
    let (from, to) = (std::fs::metadata(file).unwrap(), std::fs::metadata(scratch.path("root/app/tool")).unwrap());
    assert_eq!((to.mode() & 0o7777, to.mtime_nsec(), to.mtime()), (0o755, from.mtime_nsec(), from.mtime()));
    assert_ne!(to.ino(), from.ino());
    assert_eq!(std::fs::read_link(scratch.path("root/app/link")).unwrap(), Path::new("tool"));
}

#[test]
fn planted_links_never_lead_outside() {
    let scratch = Scratch::new("stage-planted");
    scratch.write("outside/file", "precious");
    scratch.write("src/sub/file", "new");
    scratch.write("src/file", "new");
    std::fs::create_dir_all(scratch.path("root/app")).unwrap();
    symlink(scratch.path("outside"), scratch.path("root/app/sub")).unwrap();
    symlink(scratch.path("outside/file"), scratch.path("root/app/file")).unwrap();
    stage(&scratch, &[]);
    assert_eq!(scratch.read("outside/file"), "precious");
    assert_eq!((scratch.read("root/app/sub/file"), scratch.read("root/app/file")), ("new".into(), "new".into()));
    // And on removal.
    std::fs::remove_dir_all(scratch.path("root/app/sub")).unwrap();
    symlink(scratch.path("outside"), scratch.path("root/app/sub")).unwrap();
    std::fs::remove_dir_all(scratch.path("src/sub")).unwrap();
    stage(&scratch, &[]);
    assert_eq!(scratch.read("outside/file"), "precious");
}

#[test]
fn the_root_itself_may_not_be_a_link() {
    let scratch = Scratch::new("stage-root");
    scratch.write("src/file", "x");
    std::fs::create_dir(scratch.path("outside")).unwrap();
    symlink(scratch.path("outside"), scratch.path("root")).unwrap();
    scratch
        .program("sbox-stage")
        .arg("--into")
        .arg(scratch.path("root"))
        .write_stdin("{\"kind\":\"dir\",\"dst\":\"/app\"}\n")
        .assert()
        .code(1);
    assert_eq!(std::fs::read_dir(scratch.path("outside")).unwrap().count(), 0);
}

#[test]
fn a_destination_outside_the_root_is_refused() {
    let scratch = Scratch::new("stage-out");
    let run = |line: &str| {
        let mut command = scratch.program("sbox-stage");
        command.arg("--into").arg(scratch.path("root")).write_stdin(format!("{line}\n"));
        command
    };
    run("{\"kind\":\"dir\",\"dst\":\"/../x\"}")
        .assert()
        .code(1)
        .stderr(contains("is not a valid path inside the root"));
    run("{\"kind\":\"dir\",\"dst\":\"x\"}").assert().code(1);
    run("nonsense").assert().code(2);
    assert!(!scratch.path("x").exists());
}

#[test]
fn sbox_own_files_and_special_files_stay_out() {
    let scratch = Scratch::new("stage-own");
    for name in [".sbox/config.yaml", "sbox.lock", "p-sbox.tar.gz", "sub/sbox.lock", "main"] {
        scratch.write(&format!("src/{name}"), "x");
    }
    let fifo = scratch.path("src/fifo");
    assert!(std::process::Command::new("mkfifo").arg(fifo).status().unwrap().success());
    assert_eq!(stage(&scratch, &[]), ["put /app/main", "put /app/sub/sbox.lock"]);
}

#[test]
fn any_file_name_works() {
    use std::os::unix::ffi::OsStrExt;
    let scratch = Scratch::new("stage-names");
    for name in [&b"with space"[..], b"new\nline", b"\xff\xfe", b"100%", b"-dash", b"\x1b[31m"] {
        let path = scratch.path("src").join(std::ffi::OsStr::from_bytes(name));
        std::fs::create_dir_all(scratch.path("src")).unwrap();
        std::fs::write(path, "x").unwrap();
    }
    let changes = stage(&scratch, &[]);
    assert_eq!(changes.len(), 6);
    assert!(changes.iter().all(|line| !line.contains('\x1b')));
    assert!(stage(&scratch, &[]).is_empty());
    assert_eq!(std::fs::read_dir(scratch.path("root/app")).unwrap().count(), 6);
}

#[test]
fn a_place_to_mount_on_is_made_and_its_content_is_nobodys_business() {
    let scratch = Scratch::new("stage-mount");
    let data = scratch.write("data/file", "x");
    let run = |entries: &[serde_json::Value]| {
        let lines: String = entries.iter().map(|entry| format!("{entry}\n")).collect();
        let mut command = scratch.program("sbox-stage");
        command
            .arg("--into")
            .arg(scratch.path("root"))
            .arg("--record")
            .arg(scratch.path("r"))
            .write_stdin(lines)
            .assert()
            .success();
    };
    let (dir, file) = (
        serde_json::json!({"kind": "mount", "src": scratch.path("data"), "dst": "/app/data"}),
        serde_json::json!({"kind": "mount", "src": data, "dst": "/app/f"}),
    );
    run(&[dir, file]);
    assert!(scratch.path("root/app/data").is_dir() && scratch.path("root/app/f").is_file());
    scratch.write("root/app/data/kept", "x");
    run(&[]);
    assert!(scratch.path("root/app/data/kept").exists() && !scratch.path("root/app/f").exists());
}
