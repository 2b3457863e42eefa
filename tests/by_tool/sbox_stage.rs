use crate::common::{Scratch, stderr, stdout};
use predicates::prelude::*;
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

fn program(name: &str) -> String {
    crate::common::bin().join(name).to_string_lossy().into_owned()
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
fn a_record_and_a_root_may_be_named_without_a_directory() {
    let scratch = Scratch::new("stage-named");
    scratch.write("src/a", "x");
    let entry = serde_json::json!({"kind": "copy", "src": scratch.path("src"), "dst": "/app"}).to_string();
    for changes in ["put /app/a\n", ""] {
        let mut command = scratch.program("sbox-stage");
        command.args(["--into", "root", "--record", "record.json"]).current_dir(scratch.path("."));
        command.write_stdin(entry.clone()).assert().success().stdout(changes);
    }
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

/// The entry of [`stage`], to be fed to a program that does not end well.
fn entry(scratch: &Scratch) -> String {
    serde_json::json!({"kind": "copy", "src": scratch.path("src"), "dst": "/app"}).to_string() + "\n"
}

fn start(scratch: &Scratch) -> assert_cmd::Command {
    let mut command = scratch.program("sbox-stage");
    command.arg("--into").arg(scratch.path("root")).arg("--record").arg(scratch.path("record.json"));
    command.write_stdin(entry(scratch));
    command
}

#[test]
fn what_a_failed_staging_put_there_goes_with_its_source() {
    let scratch = Scratch::new("stage-journal");
    scratch.write("src/.env", "secret");
    scratch.write("src/zz", "x");
    // It comes after the first and before the last, and is larger than a file may be.
    scratch.write("src/large", &"x".repeat(200_000));
    let limited = format!("ulimit -f 100; exec '{}' --into root --record record.json", program("sbox-stage"));
    let mut command = assert_cmd::Command::new("sh");
    command.args(["-c", &limited]).current_dir(&scratch.root).write_stdin(entry(&scratch)).assert().failure();
    assert_eq!(scratch.read("root/app/.env"), "secret", "the test is about a file that was put before");
    std::fs::remove_file(scratch.path("src/.env")).unwrap();
    std::fs::remove_file(scratch.path("src/large")).unwrap();
    let done = stage(&scratch, &[]);
    assert!(done.contains(&"remove /app/.env".into()), "{done:?}");
    assert!(!scratch.path("root/app/.env").exists() && scratch.path("root/app/zz").exists());
}

#[test]
fn killed_at_any_moment_a_staging_is_taken_up_by_the_next() {
    let scratch = Scratch::new("stage-killed");
    for number in 0..300 {
        scratch.write(&format!("src/d{}/f{number}", number % 7), "content");
    }
    for round in 0..12 {
        scratch.write("src/.env", "secret");
        let mut child = std::process::Command::new(program("sbox-stage"));
        child.arg("--into").arg(scratch.path("root")).arg("--record").arg(scratch.path("record.json"));
        child.args(["--force"]).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut child = child.spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), entry(&scratch).as_bytes()).unwrap();
        // After a number of lines: each is printed right before its file is put.
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
        assert!(lines.by_ref().nth(round * 23).is_some());
        child.kill().unwrap();
        child.wait().unwrap();
        std::fs::remove_file(scratch.path("src/.env")).unwrap();
        stage(&scratch, &[]);
        let listed = |place: &str| {
            let mut names: Vec<_> = walkdir::WalkDir::new(scratch.path(place))
                .into_iter()
                .map(|entry| entry.unwrap().path().strip_prefix(scratch.path(place)).unwrap().to_owned())
                .collect();
            names.sort();
            names
        };
        assert_eq!(listed("src"), listed("root/app"), "round {round}");
        assert!(stage(&scratch, &["-n"]).is_empty());
    }
}

#[test]
fn other_content_of_the_same_size_and_time_is_noticed_and_the_same_content_is_left_alone() {
    let scratch = Scratch::new("stage-ctime");
    let file = scratch.write("src/a", "first.");
    scratch.write("src/touched", "same");
    let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    let set = |path: &Path| std::fs::File::options().write(true).open(path).unwrap().set_modified(old).unwrap();
    set(&file);
    set(&scratch.path("src/touched"));
    stage(&scratch, &[]);
    let fingerprint = |scratch: &Scratch| {
        let record: serde_json::Value = serde_json::from_str(&scratch.read("record.json")).unwrap();
        record["fingerprint"].as_str().unwrap().to_owned()
    };
    let before = fingerprint(&scratch);
    std::fs::write(&file, "second").unwrap();
    set(&file);
    set(&scratch.path("src/touched"));
    assert_eq!(stage(&scratch, &["-n"]), ["put /app/a"]);
    assert_eq!(stage(&scratch, &[]), ["put /app/a"]);
    assert_eq!(scratch.read("root/app/a"), "second");
    assert_ne!(fingerprint(&scratch), before);
    assert!(stage(&scratch, &[]).is_empty());
}

#[test]
fn a_source_that_changes_or_vanishes_or_cannot_be_read_is_named() {
    let scratch = Scratch::new("stage-vanish");
    // A pipe in place of stdout holds it up between the walk and the copy: it prints before it puts.
    for number in 0..3000 {
        scratch.write(&format!("src/{number:04}{}", "x".repeat(60)), "");
    }
    scratch.write("src/zzz", "content");
    let mut child = std::process::Command::new(program("sbox-stage"));
    child.arg("--into").arg(scratch.path("root")).stdin(std::process::Stdio::piped());
    let mut child = child.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), entry(&scratch).as_bytes()).unwrap();
    let mut stdout = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut stdout, &mut String::new()).unwrap();
    std::fs::remove_file(scratch.path("src/zzz")).unwrap();
    std::io::copy(&mut stdout, &mut std::io::sink()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.contains("zzz' vanished while it was copied") && !said.contains("os error"), "{said}");
}

#[test]
fn an_unreadable_source_is_not_called_unwritable() {
    if !crate::common::need_ordinary_user() {
        return;
    }
    let scratch = Scratch::new("stage-unreadable");
    let file = scratch.write("src/a", "x");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o000)).unwrap();
    start(&scratch).assert().code(1).stderr(contains("cannot read source").and(contains("permission denied")));
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::set_permissions(scratch.path("src"), std::fs::Permissions::from_mode(0o000)).unwrap();
    start(&scratch).assert().code(1).stderr(contains("cannot read source").and(contains("permission denied")));
    std::fs::set_permissions(scratch.path("src"), std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_directory_that_the_agent_closed_does_not_keep_what_is_gone() {
    let scratch = Scratch::new("stage-closed");
    scratch.write("src/deep/.env", "secret");
    stage(&scratch, &[]);
    std::fs::set_permissions(scratch.path("root/app/deep"), std::fs::Permissions::from_mode(0o000)).unwrap();
    std::fs::remove_dir_all(scratch.path("src/deep")).unwrap();
    stage(&scratch, &[]);
    assert!(std::fs::symlink_metadata(scratch.path("root/app/deep")).is_err());
}

#[test]
fn a_record_that_cannot_be_read_is_not_taken_for_none() {
    let scratch = Scratch::new("stage-broken");
    scratch.write("src/a", "x");
    stage(&scratch, &[]);
    scratch.write("record.json", "{");
    start(&scratch).assert().code(1).stderr(contains("is not a record of what was copied").and(contains("--force")));
    std::fs::remove_file(scratch.path("record.json")).unwrap();
    std::fs::create_dir(scratch.path("record.json")).unwrap();
    start(&scratch).assert().code(1).stderr(contains("record.json"));
}

#[test]
fn a_source_in_a_writable_mount_is_not_followed_through_a_link_g5() {
    let scratch = Scratch::new("stage-inner");
    scratch.write("secret/key", "canary");
    scratch.write("tree/data/file", "mine");
    let (tree, data) = (scratch.path("tree"), scratch.path("tree/data"));
    let staged = |writable: bool| {
        let mount = serde_json::json!({"kind": "mount", "src": tree, "dst": "/w", "writable": writable});
        let copy = serde_json::json!({"kind": "copy", "src": data, "dst": "/data"});
        let _ = std::fs::remove_dir_all(scratch.path("root"));
        let mut command = scratch.program("sbox-stage");
        command.arg("--into").arg(scratch.path("root")).write_stdin(format!("{mount}\n{copy}\n")).output().unwrap()
    };
    assert!(staged(true).status.success());
    assert_eq!(scratch.read("root/data/file"), "mine");
    // What the agent can put there: a link in the place of the directory, and of a file.
    std::fs::rename(&data, scratch.path("tree/old")).unwrap();
    symlink(scratch.path("secret"), &data).unwrap();
    let output = staged(true);
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    assert!(stderr(&output).contains("which a sandbox can change"), "{}", stderr(&output));
    assert!(!scratch.path("root/data/key").exists());
    // Where no sandbox can write, the link is the user's own.
    assert!(staged(false).status.success());
    assert_eq!(scratch.read("root/data/key"), "canary");
}
